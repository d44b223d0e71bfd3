"""Which rows are shown, and what is put together of each: before training, and with what a fitted model answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from thermocline.contracts.labelled import Labelled
from thermocline.contracts.problem import Assembly
from thermocline.contracts.request import Request
from thermocline.data.batches import Rows
from thermocline.data.label_columns import label_columns
from thermocline.data.tables import as_frame, as_rows
from thermocline.errors import ConfigError, DataError, MissingColumnError, counted
from thermocline.inspection.checks import check_some_rows
from thermocline.inspection.shown_rows import RowCard, ShownRows
from thermocline.pipeline.arguments import check_flags, check_seed, shown, whole_number
from thermocline.pipeline.predict import found_rows, outputs_of
from thermocline.pipeline.ready import ready

STREAM = 0x5B07
MOST_SHOWN = 48  # rows in one picture


@dataclass(frozen=True)
class Choice:
    """Which rows are shown, and how they are read.

    Attributes:
        n: How many at most.
        seed: Which; the run's seed where rows are varied as in training.
        augmented: Whether they are read as in training.
        epoch: Of training, whose variants are shown.
        least_score: Boxes or entities of a lower score are left out; None: as the kind of problem has it.
    """

    n: int = 9
    seed: int = 0
    augmented: bool = True
    epoch: int = 0
    least_score: float | None = None

    def check(self) -> None:
        """Check the arguments.

        Raises:
            ConfigError: One is none.
        """
        whole_number("n", self.n, 1, MOST_SHOWN)
        whole_number("epoch", self.epoch, 0)
        check_seed(self.seed)
        check_flags(augmented=self.augmented)
        least = 0.0 if self.least_score is None else self.least_score
        if isinstance(least, bool) or not isinstance(least, int | float) or not 0 <= least <= 1:
            raise ConfigError(f"least_score is a number from 0 to 1, not {shown(least)}.")

    def positions(self, count: int) -> np.ndarray:
        """Return sorted positions of the rows that are shown, of `count`."""
        drawn = np.random.default_rng([self.seed, STREAM]).permutation(count)[: self.n]
        return np.sort(drawn)


def batch_before(request: Request, choice: Choice) -> ShownRows:
    """Return training rows of a fit as it would read them, without training.

    Raises:
        ThermoclineError: As `Predictor.fit`.
    """
    choice.check()
    found = ready(request)
    prepared, assembly = found.prepared, found.assembly
    rows = found.train
    if not choice.augmented:
        rows = assembly.problem.rows(prepared.train, assembly, labelled=True)
    return _batch(assembly, prepared.train, rows, choice, labelled=True)


def batch_of(assembly: Assembly, data: object, choice: Choice, *, image_folder: object = None) -> ShownRows:
    """Return rows as a fitted model reads them.

    Raises:
        DataError: No rows, or as `predict`.
    """
    choice.check()
    found, labelled = _read(assembly, data, image_folder)
    check_some_rows(len(found), "show_batch")
    rows = assembly.problem.rows(
        found, assembly, labelled=labelled, training=choice.augmented, seed=choice.seed if choice.augmented else 0
    )
    return _batch(assembly, found, rows, choice, labelled=labelled)


def _batch(assembly: Assembly, found: Labelled, rows: Rows, choice: Choice, *, labelled: bool) -> ShownRows:
    positions, problem = choice.positions(len(found)), assembly.problem
    varied = choice.augmented and any(part.augmented for part in rows.parts.values())
    views = problem.views(found, assembly, rows, positions, choice.epoch if varied else None)
    some = problem.take(found, positions)
    labels: list[Any] = list(problem.label_texts(some, assembly)) if labelled else [None] * len(positions)
    names = map(str, found.frame.index[positions])
    cards = tuple(RowCard(name, tuple(own), label) for name, own, label in zip(names, views, labels, strict=True))
    how = f"as epoch {choice.epoch} of training reads them" if varied else "as the model reads them"
    return ShownRows(f"{_how_many(len(cards), len(found), choice.seed)}, {how}", cards, _batch_notes(assembly, choice))


def _batch_notes(assembly: Assembly, choice: Choice) -> tuple[str, ...]:
    optim = assembly.config.optim
    if choice.augmented and (optim.mixup or optim.cutmix):
        return ("mixup and cutmix mix these rows with each other in every step; that is not shown",)
    return ()


def results_of(
    assembly: Assembly, data: object, choice: Choice, *, image_folder: object = None, verbosity: int = 0
) -> ShownRows:
    """Return rows with their label and what the model answers.

    Args:
        assembly: The fitted model.
        data: As `predict`, with or without labels.
        choice: Which rows.
        image_folder: As `predict`.
        verbosity: As `predict`.

    Raises:
        DataError: No rows, or as `predict`.
        LabelError: Labels that training did not see.
    """
    choice.check()
    found, labelled = _read(assembly, data, image_folder)
    check_some_rows(len(found), "show_results")
    total, problem = len(found), assembly.problem
    found = problem.take(found, choice.positions(total))
    rows = problem.rows(found, assembly, labelled=False)
    views = problem.views(found, assembly, rows, np.arange(len(found)), None)
    least = problem.least_shown if choice.least_score is None else choice.least_score
    outputs = outputs_of(assembly, found, verbosity=verbosity, least_score=least)
    answers = problem.answers(outputs, found, assembly, labelled=labelled)
    names = map(str, found.frame.index)
    cards = [RowCard(name, tuple(own), one.label, one) for name, own, one in zip(names, views, answers, strict=True)]
    known = [one.right for one in answers if one.right is not None]
    score = f", {sum(known)} right and {len(known) - sum(known)} wrong" if known else ""
    return ShownRows(f"{_how_many(len(cards), total, choice.seed)}{score}", tuple(cards))


def _how_many(shown: int, total: int, seed: int) -> str:
    if shown == total:
        return counted(total, "row")
    return f"{shown} of {counted(total, 'row')} (drawn with seed {seed})"


def _read(assembly: Assembly, data: object, image_folder: object) -> tuple[Labelled, bool]:
    """Return a frame, and whether it has labels: where it has, they are read and checked."""
    data = as_rows(data, assembly.columns.used)
    try:
        table: pd.DataFrame | None = as_frame(data)
    except DataError:
        table = None  # files
    if table is not None and not (len(table) and set(label_columns(assembly.target.label)) <= set(table.columns)):
        return found_rows(assembly, data, "predict", image_folder), False
    try:
        found = found_rows(assembly, data, "score", image_folder)
    except MissingColumnError:
        if table is not None:
            raise
        return found_rows(assembly, data, "predict", image_folder), False
    assembly.problem.check_labels(found, assembly.target, what="data")
    return found, True


def check_unfitted(given: dict[str, Any]) -> None:
    """Check that a fitted predictor was given no arguments of a fit.

    Raises:
        ConfigError: It was.
    """
    named = [name for name, value in given.items() if value is not None]
    if named:
        raise ConfigError(
            f"{' and '.join(named)} {'has' if len(named) == 1 else 'have'} no effect on a fitted predictor, whose "
            "options are settled. Leave out, or show the batch of a new one: Predictor(label).show_batch(data, "
            f"{named[0]}=…)."
        )
