"""Scoring a model on the validation rows, as far as the time allows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from thermocline.contracts.closing import Compute
from thermocline.contracts.collecting import ArrayCollector
from thermocline.contracts.learning import Collector, Learning, Start
from thermocline.data.loading import KeptWorkers
from thermocline.efficiency.prefix_cache.cache import PrefixCache
from thermocline.errors import ThermoclineWarning, counted
from thermocline.registry import metric_of
from thermocline.registry.own_problem import scores_of
from thermocline.training.inference import Pass, collect
from thermocline.training.run import Run
from thermocline.training.stages import PROBE, VALIDATION, Stages

START_SHARE = 0.5  # of the time left that a start of the head may take
PASS_SHARE = 0.8  # of that, the pass over the training rows


class Scorer:
    """Runs the model over rows without training and scores what comes out.

    Args:
        run: The run.
        learning: Says which metrics are shown besides the one that decides.
        autocast: The precision of training.
        cache: Serves what frozen layers gave before.

    Attributes:
        seconds: What the last scoring took.
        cut: What the last scoring left out for lack of time, in words, or nothing.
        outputs: What was scored last, float32 `(rows, width)`, NaN where a row was left out; None where the problem
            collects no arrays.
        stages: How long what takes time has taken.
        workers: The processes that make batches of validation; closed at the end of a fit.
        not_started: Why there is no start of the head, in words, where the time is the reason, else nothing.
    """

    def __init__(
        self, run: Run, learning: Learning, autocast: Callable[[], AbstractContextManager[Any]], cache: PrefixCache
    ) -> None:
        self.run, self.autocast, self.cache = run, autocast, cache
        target, info = run.assembly.target, run.assembly.problem.info
        self.metric: str = target.eval_metric
        self._greater_is_better = metric_of(info, target).greater_is_better
        self._shown = tuple(dict.fromkeys((self.metric, *learning.also_score)))
        self._others = frozenset(self._shown) - {self.metric}
        self.seconds = 0.0
        self.cut = self.not_started = ""
        self.stages = Stages()
        self.workers = KeptWorkers()
        self.outputs: np.ndarray | None = None

    def score(self) -> tuple[float, dict[str, float]]:
        """Score the validation rows.

        Returns:
            A number of which more is better, and metrics by name. Where the metric is not defined on these rows (a
            single class, say) the loss decides, and is shown too. Rows that the time limit cut off are left out.
        """
        with self.stages.of(VALIDATION):
            return self._scored()

    def _scored(self) -> tuple[float, dict[str, float]]:
        run = self.run
        begin = run.time_limit.elapsed
        problem, size = run.assembly.problem, run.env.eval_batch_size
        assert size
        collector = problem.collector(run.assembly, run.valid, run.valid_found, scoring=True)
        passed = self._pass("valid", collector, "validation", size, share=1.0)
        self.cut = "" if passed == len(run.valid) else f"{passed:,} of {counted(len(run.valid), 'row')} (time limit)"
        outputs = collector.outputs()
        self.outputs = outputs if isinstance(outputs, np.ndarray) else None
        values = scores_of(collector, self.metric, self._shown)
        self.seconds = run.time_limit.elapsed - begin
        value = values[self.metric]
        if math.isfinite(value):
            return (value if self._greater_is_better else -value), values
        loss = collector.fallback_loss()
        if loss is None:
            return -math.inf, values
        return (-loss if math.isfinite(loss) else -math.inf), {**values, "loss": loss}

    def decisive(self, values: Mapping[str, float]) -> dict[str, float]:
        """Return what decided, as history names it: the metric or the loss, and what was chosen by it."""
        return {f"val_{k}": one for k, one in values.items() if k not in self._others and math.isfinite(one)}

    def unvalidated(self) -> str:
        """Return why the state that is kept has no score, and warn where the time limit is the reason."""
        limit = self.run.time_limit
        if limit.left > 0:
            return " (not validated: no score is finite)"
        warnings.warn(
            f"The model was not validated: time_limit={limit.seconds:g} s was over before. How good it is, is not "
            "known, and nothing was trained by it. Give more time, or fewer rows.",
            ThermoclineWarning,
            stacklevel=2,
        )
        return " (not validated: time limit)"

    def apply(self, start: Start) -> str:
        """Compute a start of the head, for at most a share of the time that is left, and return its note.

        Args:
            start: What is computed from features of training rows.
        """
        limit = self.run.time_limit
        end = limit.elapsed + START_SHARE * limit.left
        with self.stages.of(PROBE):
            features, reached = self.features(start, share=START_SHARE * PASS_SHARE)
            note = start.apply(features, reached, lambda: end - limit.elapsed)
        self.not_started = "" if limit.elapsed < end else f" (no time for {start.name})"
        return note

    def features(self, start: Start, *, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of the training rows that a start needs, for at most a share of the time that is left.

        In batches as training has them: what a frozen tower gives for them is kept, and is the same bits.

        Args:
            start: What computes them.
            share: Of the time left.

        Returns:
            Features float32 `(rows, width)` of `start.rows`, and which of these were reached, bool `(rows,)`.
        """
        return self.collect("train", start.features, start.rows, title="probe", share=share)

    def collect(
        self, split: str, compute: Compute, rows: np.ndarray, *, title: str = "outputs", share: float = START_SHARE
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what is computed of rows of a split, for at most a share of the time left; see `Closing.collect`."""
        size = self.cache.options.usual if split == "train" else self.run.env.eval_batch_size
        assert size
        collector = ArrayCollector(compute, len(rows), positions=rows)
        self._pass(split, collector, title, size, share=share, only=rows)
        return collector.values, collector.reached

    def _pass(
        self,
        split: str,
        collector: Collector,
        title: str,
        size: int,
        *,
        share: float,
        only: np.ndarray | None = None,
    ) -> int:
        run = self.run
        until = run.time_limit.elapsed + share * run.time_limit.left
        how = Pass(
            batch_size=size,
            device=next(run.model.parameters()).device,
            autocast=self.autocast,
            num_workers=run.env.num_workers,
            kept=self.workers,
            in_time=lambda: run.time_limit.elapsed < until,
            progress=lambda batches, total: run.reporting.show(batches, total, title),
            serving=lambda batch: self.cache.serving(split, batch),
            without=lambda rows: self.cache.ready(split, rows, None),
            only=only,
            mixed=run.seed,
        )
        return collect(run.model, run.train if split == "train" else run.valid, collector, how)
