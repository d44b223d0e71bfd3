"""Before a prefix is cached: whether its values are the same bits in every batch, and through the stores."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from thermocline.efficiency.prefix_cache.cached_tower import WHOLE, CachedTower
from thermocline.efficiency.prefix_cache.call_shapes import OperatorWatch
from thermocline.efficiency.prefix_cache.lazy_tensor import computed
from thermocline.efficiency.prefix_cache.options import CacheOptions
from thermocline.efficiency.prefix_cache.row_store import Form, FormMismatch

DRAWS = "something in them draws random numbers in every pass"
ROUTES = "they route rows to experts, and which rows an expert gets together changes the rounding"

Values = dict[str, torch.Tensor]


@dataclass(frozen=True)
class PrefixCheck:
    """What comparing batches showed.

    Attributes:
        reason: Why the prefix cannot be cached; None where it can.
        forms: How its values are stored, by name.
        values: Those of the last batch of `TowerRows.compositions`.
    """

    reason: str | None
    forms: Mapping[str, Form] = field(default_factory=dict)
    values: Mapping[str, torch.Tensor] = field(default_factory=dict)


def compare_batches(tower: CachedTower) -> PrefixCheck:
    """Run the same rows in batches with different other rows, and compare the values of each row."""
    rows = tower.rows["train"]
    *others, last = rows.compositions(tower.usual)
    first = [_outputs(tower, positions) for positions in others]
    with OperatorWatch() if tower.deferred is None else nullcontext(tower.deferred) as watch:
        values = _outputs(tower, last)
    if watch.routes_rows:  # the values of small batches may be the same all the same
        return PrefixCheck(ROUTES)
    reason = _names_differ(tower, first, values, last)
    if reason is not None:
        return PrefixCheck(reason)
    forms = {}
    for name, value in values.items():
        try:
            form, same = rows.form(value, last), _same_rows(tower, name, [*first, values])
        except FormMismatch:  # small values that do not depend on rows: computed every time
            continue
        if not same:
            return PrefixCheck("a row's values depend on the other rows of its batch")
        forms[name] = form
    return PrefixCheck(None if forms else "their outputs do not come row by row", forms, values)


def found_differ(tower: CachedTower, options: CacheOptions) -> bool:
    """Whether values that an earlier run left are not those of an ordinary pass, for a batch of each split."""
    return any(_differ(tower, split, options.batch_size(split)) for split in tower.stores)


def _differ(tower: CachedTower, split: str, size: int) -> bool:
    rows, store = tower.rows[split], tower.stores[split]
    epoch = rows.first_epoch
    positions = _batch_with_values(tower, split, size)
    if positions is None:
        return False
    values = _outputs(tower, positions, split=split)
    for name in tower.names:
        expected, by_token = rows.by_row(values[name], positions), rows.form(values[name], positions).by_token
        for row in map(int, positions):
            one = np.array([row])
            found = store.read(name, rows.items(one, epoch), rows.width(one), tower.device)
            if found is not None and not _agree(rows.of_row(found, row, by_token=by_token), expected[row]):
                return True
    return False


def _batch_with_values(tower: CachedTower, split: str, size: int) -> np.ndarray | None:
    """Return a batch, as this run computes them, of rows of which some have values; or None where none has any."""
    rows, store = tower.rows[split], tower.stores[split]
    every = np.arange(len(rows))
    items = rows.items(every, rows.first_epoch).reshape(len(every), -1)
    missing = np.unique(np.concatenate([store.missing(name) for name in tower.names]))
    has_values = np.asarray(~np.isin(items, missing).any(axis=1))
    if not has_values.any():
        return None
    if split != "train":  # its batches are always the same
        return next(part for part in rows.inference_batches(size) if has_values[part].any())
    return np.concatenate([every[has_values], every[~has_values]])[:size]


def _agree(found: torch.Tensor, expected: torch.Tensor) -> bool:
    if found.device.type == "cpu":
        return torch.equal(found, expected)
    # on other devices the rounding depends on the other rows of a batch
    left, right = found.float(), expected.float()
    scale = max(float(right.abs().max()), 1e-6) if right.numel() else 1.0
    return found.dtype == expected.dtype and torch.allclose(left, right, rtol=0.02, atol=0.02 * scale)


def compare_stored(tower: CachedTower, values: Mapping[str, torch.Tensor]) -> str | None:
    """Run the tower from the stores, and return how that differs from a pass; values that are missing are written.

    Args:
        tower: With open stores.
        values: Of `PrefixCheck`.
    """
    rows = tower.rows["train"]
    *_, positions = rows.compositions(tower.usual)
    epoch = rows.first_epoch
    items, store = rows.items(positions, epoch), tower.stores["train"]
    for name in tower.names:
        if not store.has(name, items):
            store.write(name, items, values[name])
    inputs = rows.inputs(positions, epoch, tower.device)
    tower.reads = 0
    with tower.isolated():
        # for a whole tower the values are those of an ordinary pass
        expected = values[WHOLE] if tower.deferred is None else tower.module(inputs)
        with tower.serving("train", inputs, positions, epoch) as given:
            out = given["features"] if tower.deferred is None else computed(tower.module(given))
    left, right = _tensors(out), _tensors(expected)
    if len(left) == len(right) and all(map(torch.equal, left, right)):
        return None if tower.reads or tower.deferred is None else "their stored outputs are not asked for again"
    worst = max((float((a.float() - b.float()).abs().max()) for a, b in zip(left, right, strict=False)), default=0)
    return f"a batch through the cache differs from the ordinary pass (by up to {worst:.1e})"


def _names_differ(tower: CachedTower, first: list[Values], values: Values, last: np.ndarray) -> str | None:
    """Return why the prefix gives other values in other batches, as their names show; or None."""
    if not values and not any(first):
        return "nothing in them takes longer than reading its output"
    if any(set(one) != set(values) for one in first):
        return "the model computes other outputs for other rows"
    if tower.deferred is None:
        return None
    in_train_mode = _outputs(tower, last, training=True)
    return DRAWS if set(in_train_mode) != set(values) or tower.deferred.draws_random else None


def _same_rows(tower: CachedTower, name: str, batches: list[Values]) -> bool:
    """Whether rows have the same values in the last batch as in the others.

    Raises:
        FormMismatch: The values do not come row by row.
    """
    rows = tower.rows["train"]
    *others, last = (
        rows.by_row(batch[name], positions)
        for batch, positions in zip(batches, rows.compositions(tower.usual), strict=True)
    )
    if tower.device.type != "cpu":  # on other devices rounding depends on a batch's rows, cached or not
        return True
    return all(torch.equal(other[row], last[row]) for other in others for row in other.keys() & last.keys())


def _outputs(tower: CachedTower, positions: np.ndarray, *, split: str = "train", training: bool = False) -> Values:
    """Return the outputs of the prefix for a batch, by name; the other layers run in train mode or in eval mode."""
    rows = tower.rows[split]
    inputs = rows.inputs(positions, rows.first_epoch, tower.device)
    with tower.isolated(training=training):
        if tower.deferred is None:
            return {WHOLE: tower.module(inputs)}
        given = tower.lazy_inputs(rows, lambda: inputs, positions) if rows.decoded else inputs
        recorded = _Recorder()
        with tower.deferred.active(recorded):
            computed(tower.module(given))
        return recorded.values


class _Recorder:
    """A store without values that records what is written to it."""

    def __init__(self) -> None:
        self.values: Values = {}

    def read(self, _name: str) -> torch.Tensor | None:
        return None

    def write(self, name: str, value: torch.Tensor) -> None:
        self.values[name] = value.clone()  # a layer that trains may write into it


def _tensors(values: Any) -> list[torch.Tensor]:
    """The tensors of an output, however they are nested."""
    return [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, torch.Tensor)]
