"""Backbones compared by a linear probe of their frozen features, before any is tuned."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from thermocline.choose.layer_features import Place
from thermocline.choose.probe_results import plus_minus
from thermocline.choose.probes import MOST_SECONDS, features_for, tower_blocks
from thermocline.contracts.probing import FoldScores
from thermocline.contracts.request import Request
from thermocline.efficiency.costs.estimate import duration
from thermocline.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    ThermoclineError,
    counted,
    did_you_mean,
    first_line,
    listing,
)
from thermocline.pipeline.arguments import shown
from thermocline.pipeline.prepare import problem_of
from thermocline.pipeline.ready import ready
from thermocline.registry import input_infos
from thermocline.report.screen import paragraph
from thermocline.report.tables import count, html_block, html_lines, html_table, table

if TYPE_CHECKING:
    import pandas as pd

_RIGHT = (3, 4, 5, 6, 7)


@dataclass(frozen=True)
class Ranked:
    """A backbone that was probed, or that could not be.

    Attributes:
        checkpoint: What was given.
        weights: `pretrained` or `random`; empty where it was not loaded.
        parameters: Its number of weights.
        seconds: What it took to load it, to run it on the rows, and to probe it.
        scores: Of its features, on rows of folds that the linear model was not fitted to; None where it was not probed.
        rows: Positions of the training rows.
        why: Why it was not probed, else empty.
    """

    checkpoint: str
    weights: str = ""
    parameters: int = 0
    seconds: float = 0.0
    scores: FoldScores | None = field(default=None, repr=False, compare=False)
    rows: tuple[int, ...] = field(default=(), repr=False, compare=False)
    why: str = ""

    @property
    def loss(self) -> float:
        """The mean loss of a row; infinite where it was not probed."""
        return math.inf if self.scores is None else self.scores.loss

    def behind(self, best: Ranked) -> tuple[float, float]:
        """Return the loss above that of another one, and the standard error of this difference; NaN on other rows."""
        if self.scores is None or best.scores is None or self.rows != best.rows:
            return math.nan, math.nan
        return self.scores.behind(best.scores)


@dataclass(frozen=True)
class BackboneRanking:
    """Backbones, the one whose frozen features tell the most first.

    Attributes:
        tower: `text` or `image`: each was probed by its own features alone.
        backbones: The best first; behind them those that could not be probed.
        folds: Folds: each row is scored by a model of the others.
        loss_name: `log-loss`, or `error / variance`: the squared error, relative to the label's variance.
        metric_name: The metric.

    Example:
        >>> folder = tiny["model.text.checkpoint"]
        >>> ranking = predictor.rank_backbones(train, "text", [folder], hyperparameters=tiny)
        >>> ranking.tower, ranking.metric_name, ranking.best == folder
        ('text', 'roc_auc', True)
        >>> ranking.to_frame()["parameters"].tolist()
        [27840]
    """

    tower: str
    backbones: tuple[Ranked, ...]
    folds: int
    loss_name: str
    metric_name: str

    @property
    def best(self) -> str:
        """The checkpoint of the first one: a value of `model.<tower>.checkpoint`."""
        return self.backbones[0].checkpoint

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each backbone, the best first.

        Returns:
            Columns `checkpoint`, `weights`, `parameters`, `loss`, `loss_error`, `behind` (the loss above that of the
            best one), `behind_error` (the standard error of this difference on the same rows), `metric`,
            `metric_error`, `seconds` and `why` (why one could not be probed).
        """
        import pandas as pd

        return pd.DataFrame([self._values(one) for one in self.backbones])

    def _values(self, one: Ranked) -> dict[str, Any]:
        scores, (behind, error) = one.scores, one.behind(self.backbones[0])
        return {
            "checkpoint": one.checkpoint,
            "weights": one.weights,
            "parameters": one.parameters,
            "loss": math.nan if scores is None else scores.loss,
            "loss_error": math.nan if scores is None else scores.loss_error,
            "behind": behind,
            "behind_error": error,
            "metric": math.nan if scores is None else scores.metric,
            "metric_error": math.nan if scores is None else scores.metric_error,
            "seconds": one.seconds,
            "why": one.why,
        }

    @property
    def _headline(self) -> str:
        rows = self.backbones[0].rows
        return (
            f"Linear probes of {self.tower} backbones on {counted(len(rows), 'training row')}, "
            f"{counted(self.folds, 'fold')}, nothing is trained; ± 1 standard error"
        )

    @property
    def _header(self) -> list[str]:
        return ["", "checkpoint", "weights", "size", self.loss_name, "above best", self.metric_name, "time"]

    @property
    def _rows(self) -> list[list[str]]:
        rows = []
        for place, one in enumerate(self.backbones):
            if one.scores is None:
                rows.append(["–", one.checkpoint, "", "", "not probed", "", "", ""])
                continue
            behind, error = one.behind(self.backbones[0])
            above = "" if not place or math.isnan(behind) else plus_minus(behind, error, sign=True)
            loss = plus_minus(one.loss, one.scores.loss_error)
            metric = plus_minus(one.scores.metric, one.scores.metric_error)
            known = [str(place + 1), one.checkpoint, one.weights, count(one.parameters)]
            rows.append([*known, loss, above, metric, duration(one.seconds)])
        return rows

    @property
    def _reasons(self) -> list[str]:
        return [f"{one.checkpoint}: not probed, because {one.why}" for one in self.backbones if one.why]

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        made = table(self._rows, self._header, _RIGHT)
        return "\n".join([paragraph(self._headline), made, *map(paragraph, self._reasons)])

    def _repr_html_(self) -> str:
        ranked = html_table(self._rows, self._header, _RIGHT)
        return html_block(html_lines([self._headline], strong=True), ranked, html_lines(self._reasons))


def rank_backbones(request: Request, tower: str, checkpoints: Sequence[Any]) -> BackboneRanking:
    """Return backbones in the order of a linear probe of their features; each is loaded as a fit with it would.

    Args:
        request: The fit that is asked for.
        tower: The tower whose backbone is looked for.
        checkpoints: Values of `model.<tower>.checkpoint`.

    Raises:
        CheckpointError: None of them can be probed.
        ConfigError: There is no such tower, or no such column; no checkpoints.
        ThermoclineError: As `fit`.
    """
    problem_of(request).check_probes()
    _check_tower(tower)
    found: list[Ranked] = []
    errors: list[ThermoclineError] = []
    names = "", ""
    folds = 0
    for checkpoint in _checked(checkpoints, tower):
        begin = time.monotonic()
        try:
            probed, judged = _probed(request, tower, checkpoint)
        except DataError:
            raise  # of the data, whatever the backbone
        except ThermoclineError as error:
            errors.append(error)
            found.append(Ranked(checkpoint, why=first_line(error)))
            continue
        names, folds = (judged.loss_name, judged.metric_name), judged.folds
        found.append(replace(probed, seconds=time.monotonic() - begin))
    if len(errors) == len(found):
        raise _none_of(found, errors)
    return BackboneRanking(tower, tuple(sorted(found, key=lambda one: one.loss)), folds, *names)


def _probed(request: Request, tower: str, checkpoint: str) -> tuple[Ranked, Any]:
    option = f"model.{tower}.checkpoint"
    found = ready(replace(request, chosen={**request.chosen, option: (checkpoint, "one of those to rank")}))
    if tower not in found.train.parts:
        raise DataError(
            f"There is no {tower} column in the data, so no {tower} backbone to choose. The columns are:\n"
            f"{found.assembly.columns}"
        )
    place = Place(tower)
    features, folds = features_for(found, [place], seconds=MOST_SECONDS)
    if place in features.left_out:
        raise CheckpointError(f"{checkpoint!r} cannot be probed: {features.left_out[place]}.")
    module = found.assembly.model.towers[tower]
    scores = folds.score(tower_blocks(module, features.values[place]))
    weights = "pretrained" if module.pretrained else "random"
    parameters = sum(one.numel() for one in module.parameters())
    return Ranked(checkpoint, weights, parameters, scores=scores, rows=tuple(features.rows.tolist())), folds


def _check_tower(tower: object) -> None:
    towers = [info.name for info in input_infos() if info.has_backbone]
    if tower not in towers:
        raise ConfigError(
            f"tower is the kind of columns that the backbone reads, {listing(towers)}, not {shown(tower)}."
            f"{did_you_mean(tower, towers)}"
        )


def _checked(checkpoints: Any, tower: str) -> list[str]:
    """Return the checkpoints that were given as texts, each once."""
    given = list(checkpoints) if isinstance(checkpoints, list | tuple) else []
    wrong = [one for one in given if not isinstance(one, str | os.PathLike) or not str(one).strip()]
    if wrong or not given:
        raise ConfigError(
            f"checkpoints is a list of values of model.{tower}.checkpoint, such as folders or names on the hub, not "
            f"{shown(wrong[0] if wrong else checkpoints)}."
        )
    return list(dict.fromkeys(str(one) for one in given))


def _none_of(found: Sequence[Ranked], errors: Sequence[ThermoclineError]) -> ThermoclineError:
    if len({str(error) for error in errors}) == 1:
        return errors[0]
    reasons = "".join(f"\n  {one.checkpoint}: {one.why}" for one in found)
    return CheckpointError(f"None of the {counted(len(found), 'backbone')} can be probed:{reasons}")
