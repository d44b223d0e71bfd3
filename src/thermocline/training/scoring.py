"""Scoring a model on rows by the task's metric, as far as the time allows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from thermocline import metrics
from thermocline.efficiency.prefix_cache.cache import PrefixCache
from thermocline.problems.rowwise.fusion import FusionModel
from thermocline.training import inference
from thermocline.training.losses import row_losses
from thermocline.training.run import Run


class Scorer:
    """Runs the model over rows without training and scores what comes out.

    Args:
        run: The run.
        device: Where the model is.
        autocast: The precision of training.
        cache: Serves what frozen layers gave before.
    """

    def __init__(self, run: Run, device: torch.device, autocast: Callable[[], Any], cache: PrefixCache) -> None:
        self.run, self.device, self.autocast, self.cache = run, device, autocast, cache
        self.metric = run.task.eval_metric
        self.seconds = 0.0  # what the last scoring took
        self.by_loss = False  # whether the loss decided, the metric being undefined on these rows

    def score(self) -> tuple[float, dict[str, float]]:
        """Score the validation rows.

        Returns:
            A number of which more is better, and the metric by name. Where the metric is not defined on these rows
            (a single class, say) the loss decides, and is told beside it. Rows that the time limit cut off are left
            out.
        """
        begin = self.run.deadline.elapsed
        outputs, reached = self._outputs("valid", None, "validation", self.run.env.eval_batch_size or 64, share=1.0)
        self.seconds = self.run.deadline.elapsed - begin
        rows = np.flatnonzero(reached)
        if not len(rows):
            return -math.inf, {self.metric: math.nan}
        assert self.run.valid.target is not None
        target, outputs = self.run.valid.target[rows], outputs[rows]
        weight = None if self.run.valid.weight is None else self.run.valid.weight[rows]
        values = metrics.score(self.run.task, self.metric, target, outputs, weight)
        self.by_loss = not math.isfinite(values[self.metric])
        if not self.by_loss:
            return metrics.signed(self.metric, values[self.metric]), values
        losses = row_losses(self.run.task.loss_name, torch.from_numpy(outputs), torch.from_numpy(target))
        loss = float(losses.mean())
        return (-loss if math.isfinite(loss) else -math.inf), {**values, "loss": loss}

    def named(self, score: float) -> dict[str, float]:
        """Return a score as history has it: by the metric's name and sign, or as a loss where that decided."""
        if not math.isfinite(score):
            return {}
        if self.by_loss:
            return {"val_loss": -score}
        return {f"val_{self.metric}": score if metrics.get_metric(self.metric).greater_is_better else -score}

    def features(self, *, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of the training rows, for at most a share of the time that is left.

        In batches as training has them: what a frozen tower gives for them is kept, and is the same bits.

        Returns:
            Features, and which rows were reached.
        """
        model = self.run.model
        assert isinstance(model, FusionModel)
        return self._outputs("train", model.features, "probe", self.cache.options.usual, share=share)

    def _outputs(
        self, split: str, what: Callable[[Any], torch.Tensor] | None, title: str, size: int, *, share: float
    ) -> tuple[np.ndarray, np.ndarray]:
        until = self.run.deadline.elapsed + share * self.run.deadline.left
        return inference.run(
            self.run.model,
            self.run.train if split == "train" else self.run.valid,
            batch_size=size,
            device=self.device,
            what=what,
            autocast=self.autocast,
            num_workers=self.run.env.num_workers,
            go_on=lambda: self.run.deadline.elapsed < until,
            progress=lambda batches, total: self.run.show(batches, total, title),
            serving=lambda batch: self.cache.serving(split, batch),
            without=lambda rows: self.cache.ready(split, rows, None),
        )
