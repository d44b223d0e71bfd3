"""A linear model of words and table cells beside the network, fitted at the end of a fit: whether, and what it counts.

In few rows a tuned backbone does not learn what single words say, and a text column of names or titles is nearly a
category. A linear model of TF-IDF terms knows both, and takes seconds.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from thermocline.contracts.closing import Closing
from thermocline.contracts.problem import Assembly
from thermocline.data.batches import Rows
from thermocline.inputs.text.rows import JOINT
from thermocline.inputs.text.tower import TextTower
from thermocline.problems.rowwise import blend
from thermocline.problems.rowwise.blend import FEWEST_VALID, Blended, Prior, best_share, both_classes
from thermocline.problems.rowwise.model import FusionModel
from thermocline.problems.rowwise.probe_solvers import unlimited
from thermocline.problems.rowwise.target import RowTarget
from thermocline.problems.rowwise.tfidf_model import TfidfModel
from thermocline.problems.rowwise.tfidf_rows import MOST_WORK, Terms, Vocabulary

STRENGTHS = (10.0, 100.0)  # C, the inverse of the penalty
ALONE = Prior(middle=0.25)
"""For its share where text is all there is: the network reads it better."""
BESIDE = Prior(middle=0.45, nats=8.0)
"""Where there are other columns: few rows do not teach a network which of them counts."""
ITERATIONS = 100
ABSENT = -20.0  # the logit of a class without rows
ROWS_AT_ONCE = 512  # that predictions are made for
END_SHARE = 0.05  # of a time limit, kept for the model
TIME_SHARE = 0.2  # of the time that is left, for one fit
TERM_SECONDS = 1e-8  # of an iteration for one term and output


def announced(model: FusionModel, target: RowTarget, asked: str, rows: int) -> tuple[bool, str]:
    """Return whether the model is going to be fitted, and a line on it; an empty one where nothing is to be said.

    Args:
        model: The network.
        target: What the label asks for.
        asked: `model.tfidf`.
        rows: Number of training rows.
    """
    text = dict(model.towers.items()).get("text")
    if not isinstance(text, TextTower):
        return False, ""
    why_not = "two texts are compared" if text.pair != JOINT else ""
    why_not = "there are several labels" if target.problem_type == "multilabel" else why_not
    planned = "a linear model of TF-IDF terms is fitted at the end, and blended in (model.tfidf)"
    loss, of_loss = target.loss, ""
    if loss is not None and (loss.own or target.problem_type == "regression"):
        of_loss = f"it cannot be fitted for optim.loss={loss}"
    return blend.announced("TF-IDF model", planned, asked, rows, why_not=why_not, of_loss=of_loss)


@dataclass(frozen=True)
class _Fitted:
    """A model, its C, its outputs on the validation rows `(rows, width)`, its share, and what that costs in nats."""

    model: TfidfModel
    strength: float
    raw: np.ndarray
    share: float
    cost: float


def fit_tfidf(assembly: Assembly, closing: Closing) -> Blended:
    """Fit a linear model of terms and cells to the training rows, and put it in with the share that validates best.

    It is judged by the validation rows, which it has not seen; with `optim.refit` it is then fitted to these as well.

    Args:
        assembly: The model, in the state that is kept.
        closing: Its outputs on the validation rows, the rows, and the time that is left.
    """
    network: FusionModel = assembly.model
    outputs, train, valid = closing.valid_outputs, closing.rows["train"], closing.rows["valid"]
    none = Blended(0.0, outputs)
    wanted, _ = announced(network, assembly.target, assembly.config.model.tfidf, len(train))
    if outputs is None or not wanted:
        return none
    known = blend.known_rows(outputs, valid.weights)
    work = _Work(network, assembly.target, closing.seed, closing.seconds_left)
    found = work.best(train, valid, outputs, known) if known.sum() >= FEWEST_VALID else "too few rows validated"
    if isinstance(found, str):
        return replace(none, notes=(f"TF-IDF model: none ({found})",))
    if not found.share:
        return replace(none, notes=("TF-IDF model: left out, the network validates better alone",))
    made = found.model
    if assembly.config.optim.refit == "auto" and closing.seconds_left() > 0:
        made = work.fitted(work.task([train, valid]), found.strength)
    made.share.fill_(found.share)
    network.tfidf = made.to(network.head.weight.device)
    mix = blend.mixed_where(known, outputs, found.raw, found.share)
    said = f"TF-IDF model: {made.shape.terms:,} terms, C={found.strength:g}; it counts {found.share:.2f}"
    return Blended(found.share, mix, (f"{said}, by the validation rows",))


@dataclass(frozen=True)
class TfidfTask:
    """What models are fitted to.

    Attributes:
        vocabulary: The terms that are known.
        x: Features of rows, sparse float64 `(rows, terms + cells)`.
        y: Class numbers int64 `(rows,)`, or numbers float32 `(rows,)`.
        weight: Row weights `(rows,)`, all above 0, with a mean of 1.
    """

    vocabulary: Vocabulary
    x: Any
    y: np.ndarray
    weight: np.ndarray


class _Work:
    """Fits linear models to rows.

    Args:
        network: The network beside which they predict.
        target: What the label asks for.
        seed: For the rows that are drawn where there are too many.
        seconds_left: Returns the seconds that are left; where they are few, so are the rows.
    """

    def __init__(
        self, network: FusionModel, target: RowTarget, seed: int, seconds_left: Callable[[], float] = unlimited
    ) -> None:
        table: Any = dict(network.towers.items()).get("table")
        self.prior = ALONE if len(network.towers) == 1 else BESIDE
        self.cardinalities = None if table is None else tuple(table.cardinalities)
        self.regression = target.problem_type == "regression"
        self.width, self.seed, self.seconds_left = target.width, seed, seconds_left
        self.outputs = 1 if self.width <= 2 else self.width

    def best(self, train: Rows, valid: Rows, outputs: np.ndarray, known: np.ndarray) -> _Fitted | str:
        """Return the model that is the best beside the network, or why there is none."""
        found: list[_Fitted] = []
        assert train.target is not None
        assert valid.target is not None
        if len(np.unique(train.target[train.weights > 0])) < 2:
            return "the training rows show no two targets"
        if self.seconds_left() <= 0:
            return "no time"
        task, weight = self.task([train]), valid.weights[known]
        for strength in STRENGTHS:
            begin = time.monotonic()
            model = self.fitted(task, strength)
            raw = both_classes(predicted(model, valid), outputs.shape[1]).numpy()
            share, cost = best_share(outputs[known], raw[known], valid.target[known], weight, self.prior)
            found.append(_Fitted(model, strength, raw, share, cost))
            if self.seconds_left() < 4 * (time.monotonic() - begin):
                break
        return min(found, key=lambda one: one.cost)

    def task(self, rows: list[Rows]) -> TfidfTask:
        """Return what models are fitted to: the terms and cells of as many rows as there is time for."""
        most = int(min(MOST_WORK, TIME_SHARE * max(self.seconds_left(), 0.0) / (ITERATIONS * TERM_SECONDS)))
        terms = Terms.of(rows, self.cardinalities, self.outputs, seed=self.seed, most_work=most)
        vocabulary = Vocabulary.of(terms, self.outputs)
        return TfidfTask(vocabulary, vocabulary.matrix(terms), terms.y, terms.weight / terms.weight.mean())

    def fitted(self, task: TfidfTask, strength: float) -> TfidfModel:
        """Return a model of the terms and cells of rows."""
        from threadpoolctl import threadpool_limits

        with warnings.catch_warnings(), threadpool_limits(torch.get_num_threads()):
            warnings.simplefilter("ignore")  # that it did not converge
            found = self._ridge(task, strength) if self.regression else self._logistic(task, strength)
        return task.vocabulary.model(*found)

    def _ridge(self, task: TfidfTask, strength: float) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=1 / strength, solver="sparse_cg").fit(task.x, task.y, sample_weight=task.weight)
        return model.coef_[None], np.array([model.intercept_])

    def _logistic(self, task: TfidfTask, strength: float) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.linear_model import LogisticRegression

        x, y = task.x, task.y
        coefficients, bias = np.zeros((self.outputs, x.shape[1])), np.full(self.outputs, ABSENT)
        if len(np.unique(y)) < 2:  # so few rows are there time for
            if self.outputs > 1:
                bias[y[0]] = 0.0
            return coefficients, bias if y[0] != 1 or self.outputs > 1 else -bias
        model = LogisticRegression(C=strength, max_iter=ITERATIONS).fit(x, y, sample_weight=task.weight)
        if self.outputs == 1:
            return model.coef_, model.intercept_
        if len(model.classes_) == 2:  # of many, that these rows show
            coefficients[model.classes_[1]], bias[model.classes_] = model.coef_[0], [0.0, model.intercept_[0]]
        else:
            coefficients[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
        return coefficients, bias


def predicted(model: TfidfModel, rows: Rows) -> torch.Tensor:
    """Return what a model gives for rows, float32 `(rows, outputs)`."""
    parts = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        chosen = np.arange(start, min(start + ROWS_AT_ONCE, len(rows)))
        towers = {name: rows.parts[name].batch(chosen) for name in ("text", "table") if name in rows.parts}
        batch = {n: {key: torch.from_numpy(array) for key, array in one.items()} for n, one in towers.items()}
        parts.append(model.raw(batch))
    return torch.cat(parts)
