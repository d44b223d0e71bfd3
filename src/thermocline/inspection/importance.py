"""Permutation importance: what the score loses when a column is shuffled (Breiman 2001; Fisher et al. 2019)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from thermocline.contracts.collecting import ArrayCollector
from thermocline.contracts.inputs import RowSource
from thermocline.contracts.labelled import Labelled
from thermocline.contracts.problem import Assembly
from thermocline.data.batches import Rows
from thermocline.errors import ConfigError, DataError, counted, listing
from thermocline.inspection.checks import check_some_rows, used_columns
from thermocline.inspection.importance_table import Importance, ImportanceRow
from thermocline.pipeline.arguments import check_seed, shown, whole_number
from thermocline.pipeline.predict import found_rows, how_to_pass
from thermocline.registry import find_metric, named_metric
from thermocline.registry.metrics import Metric
from thermocline.report.console import Console
from thermocline.training.inference import Pass, collect

STREAM = 0x1A9F
Features = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Shuffling:
    """What is shuffled.

    Attributes:
        columns: Columns; None: all that the model reads.
        groups: Name → columns that are shuffled together, so that their rows stay whole.
        repeats: Permutations of the rows.
        max_rows: Rows that are used at most; None: all.
        seed: Of the rows and the permutations.
    """

    columns: Any = None
    groups: Any = None
    repeats: int = 5
    max_rows: int | None = 1000
    seed: int = 0

    def check(self) -> None:
        """Check the numbers.

        Raises:
            ConfigError: One is out of range.
        """
        whole_number("repeats", self.repeats, 1)
        check_seed(self.seed)
        if self.max_rows is not None:
            whole_number("max_rows", self.max_rows, 2)

    def units(self, assembly: Assembly) -> dict[str, list[str]]:
        """Return name → columns that are shuffled together, in the order of the columns.

        Raises:
            ConfigError: A column in two groups, or a group without columns.
            MissingColumnError: There is no such column.
        """
        groups = {} if self.groups is None else self.groups
        if not isinstance(groups, Mapping) or not all(isinstance(name, str) for name in groups):
            raise ConfigError(
                "groups maps a name to the columns that are shuffled together, such as "
                f"{{'address': ['street', 'city']}}, not {shown(self.groups)}."
            )
        named = {name: used_columns(assembly, own, what=f"groups[{name!r}]") for name, own in groups.items()}
        inside = [name for own in named.values() for name in own]
        twice = sorted({name for name in inside if inside.count(name) > 1})
        if twice:
            raise ConfigError(f"groups names {listing(twice)} in two groups. A column is in one.")
        alone = [name for name in used_columns(assembly, self.columns) if name not in inside]
        clash = [name for name in named if name in alone]
        if clash:
            raise ConfigError(f"groups has a group of the name of a column outside of it: {listing(clash)}. Rename it.")
        return {**{name: [name] for name in alone}, **named}

    def rows(self, count: int) -> np.ndarray | None:
        """Return sorted positions of the rows that are used; None: all."""
        if self.max_rows is None or count <= self.max_rows:
            return None
        return np.sort(np.random.default_rng([self.seed, STREAM]).permutation(count)[: self.max_rows])

    def permutations(self, count: int) -> list[np.ndarray]:
        """Return the permutations of the rows: the same for every column."""
        return [np.random.default_rng([self.seed, STREAM, one]).permutation(count) for one in range(self.repeats)]


def importance(
    assembly: Assembly,
    data: object,
    metric: Any,
    what: Shuffling,
    *,
    image_folder: object = None,
    verbosity: int = 0,
) -> Importance:
    """Return what the score loses when columns are shuffled.

    Args:
        assembly: The fitted model.
        data: As `evaluate`, with labels.
        metric: A metric; None: that of validation.
        what: Columns, repeats, rows.
        image_folder: As `predict`.
        verbosity: As `predict`.

    Raises:
        ConfigError: An argument, or a problem whose columns cannot be compared.
        DataError: Fewer than two rows, or as `evaluate`.
    """
    problem, target = assembly.problem, assembly.target
    problem.check_importance(target)
    what.check()
    units = what.units(assembly)
    asked = problem.check_metric(_metric(assembly, metric), target)
    found = found_rows(assembly, data, "score", image_folder)
    problem.check_labels(found, target, what="data")
    total = len(found)
    notes: tuple[str, ...] = ()
    check_some_rows(total, "importance")
    chosen = what.rows(total)
    if chosen is not None:
        found = problem.take(found, chosen)
        notes = (f"{len(found):,} of {counted(total, 'row')}, drawn with seed {what.seed}: max_rows={what.max_rows}",)
    if len(found) < 2:
        raise DataError("importance shuffles rows, and there is one. Give at least two, better a few hundred.")
    scored = Scored.of(assembly, found, asked, Console(verbosity))
    rows = [scored.of_unit(name, columns, what.permutations(len(found))) for name, columns in units.items()]
    rows.sort(key=lambda row: -row.importance)
    return Importance(scored.name, scored.base, len(found), what.repeats, tuple(rows), notes)


def _metric(assembly: Assembly, given: Any) -> Any:
    """Return the one metric that is asked for."""
    target = assembly.target
    if given is None:
        return getattr(target, "metric", None) or target.eval_metric
    if isinstance(given, list | tuple | set | dict):
        raise ConfigError(f"metric is one metric, not {shown(given)}. Call importance once for each.")
    return named_metric(given)


@dataclass(frozen=True, eq=False)
class Scored:
    """Labelled rows, their score, and what of it can be used again when a column is shuffled.

    Attributes:
        assembly: The fitted model.
        found: The frame.
        rows: Its rows.
        metric: The metric.
        how: How a pass is made.
        features: Tower → features of the rows, float32 `(rows, width)`; empty where the model takes none.
        base: The score of the rows as they are.
    """

    assembly: Assembly
    found: Labelled
    rows: Rows
    metric: str | Metric
    how: Pass
    features: Features
    base: float = 0.0

    @classmethod
    def of(cls, assembly: Assembly, found: Labelled, metric: str | Metric, console: Console) -> Scored:
        """Score the rows as they are.

        Raises:
            DataError: The metric is not defined on these rows.
        """
        rows = assembly.problem.rows(found, assembly, labelled=True)
        how = how_to_pass(assembly, console)
        features = _features(assembly, rows, how) if assembly.problem.takes_features else {}
        made = cls(assembly, found, rows, metric, how, features)
        base = made._score(found, rows, features)
        if not np.isfinite(base):
            raise DataError(
                f"{made.name} is not defined on these rows, such as where all are of one class. Give other rows, or "
                "another metric."
            )
        return replace(made, base=base)

    @property
    def name(self) -> str:
        """The metric's name."""
        return self.metric if isinstance(self.metric, str) else self.metric.name

    def of_unit(self, name: str, columns: list[str], permutations: list[np.ndarray]) -> ImportanceRow:
        """Return what the score loses when columns are shuffled together, once for each permutation."""
        kinds = [self.assembly.columns[one].kind for one in columns]
        kind = kinds[0] if len(set(kinds)) == 1 else "mixed"
        if all(_is_constant(self.found.frame[one]) for one in columns):
            return ImportanceRow(name, kind, (0.0,) * len(permutations), "the same in all rows")
        greater = find_metric(self.assembly.problem.info, self.metric, self.assembly.target.problem_type)
        sign = 1.0 if greater.greater_is_better else -1.0
        with warnings.catch_warnings():  # what the rows as they are have warned of, they warn of again
            warnings.simplefilter("ignore")
            lost = [sign * (self.base - self._shuffled(columns, one)) for one in permutations]
        return ImportanceRow(name, kind, tuple(lost))

    def _shuffled(self, columns: list[str], order: np.ndarray) -> float:
        """Return the score with the cells of some columns in another order.

        A tower none of whose columns are shuffled is not run, nor one all of whose columns are: its features are known.
        """
        frame = self.found.frame.copy(deep=False)
        for name in columns:
            frame[name] = frame[name].iloc[order].array
        found = replace(self.found, frame=frame)
        if not self.features:
            return self._score(found, self.assembly.problem.rows(found, self.assembly, labelled=True), {})
        rows, known = self.rows, dict(self.features)
        for name, one in self.assembly.built.inputs.items():
            own = {column.name for column in self.assembly.columns if column.kind in one.kind.info.column_types}
            if not own.intersection(columns):
                continue
            source = RowSource(frame, found.folder)
            rows = rows.with_part(name, one.with_config(self.assembly.config).rows(source))
            if own <= set(columns):
                known[name] = known[name][order]
            else:
                del known[name]
        return self._score(found, rows, known)

    def _score(self, found: Labelled, rows: Rows, known: Features) -> float:
        """Return the score of rows; towers whose features are known are not run."""
        problem = self.assembly.problem
        collector = problem.collector(self.assembly, rows, found, scoring=True)
        undecoded = frozenset(name for name in known if rows.parts[name].decoded_shapes(1))
        how = replace(self.how, serving=_serving(known), without=lambda _: undecoded)
        collect(self.assembly.model, rows, collector, how)
        return float(collector.scores([self.metric])[self.name])


def _serving(known: Features) -> Any:
    @contextmanager
    def serving(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        positions, given = batch["rows"].cpu().numpy(), dict(batch)
        for name, features in known.items():
            at = torch.from_numpy(features[positions]).to(batch["rows"].device)
            given[name] = {**batch.get(name, {}), "features": at}
        yield given

    return serving


def _features(assembly: Assembly, rows: Rows, how: Pass) -> Features:
    """Return the features of every tower, from one pass."""
    towers = assembly.model.towers

    def compute(batch: Mapping[str, Any]) -> torch.Tensor:
        return torch.cat([tower(batch[name]).float() for name, tower in towers.items()], dim=1)

    collector = ArrayCollector(compute, len(rows))
    collect(assembly.model, rows, collector, how)
    ends = np.cumsum([tower.width for tower in towers.values()])[:-1]
    return dict(zip(towers, np.split(collector.values, ends, axis=1), strict=True))


def _is_constant(series: pd.Series[Any]) -> bool:
    """Whether all cells are the same; False where they cannot be compared, such as pictures."""
    try:
        return bool(series.nunique(dropna=False) <= 1)
    except TypeError:
        return False
