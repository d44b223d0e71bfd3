"""Outputs of frozen first layers, stored by row: they are computed once for each row and not in every epoch.

Only exact values are stored. The first layers must be frozen and in eval mode with nothing before them that trains; a
row's inputs must be the same in every epoch; and rows must be computed in batches of one size, since the rounding of a
sum depends on it. Before a cache is used, a batch through it is compared with the ordinary pass, bit for bit.
Ludwig caches whole encoders' outputs (Molino et al. 2019, `cache_encoder_embeddings`); here it is any prefix.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from thermocline.data.batches import Batch, Rows
from thermocline.data.memory_budget import GIGABYTE
from thermocline.data.moving import on_host
from thermocline.efficiency.prefix_cache.cached_tower import CachedTower
from thermocline.efficiency.prefix_cache.deferred_calls import DeferredCalls
from thermocline.efficiency.prefix_cache.open_stores import open_stores
from thermocline.efficiency.prefix_cache.options import CacheOptions, reason_not_cached
from thermocline.efficiency.prefix_cache.prefix import Prefix, prefix_of
from thermocline.efficiency.prefix_cache.prefix_check import DRAWS, compare_batches, compare_stored, found_differ
from thermocline.efficiency.prefix_cache.tower_rows import TowerRows
from thermocline.errors import ThermoclineWarning, counted, first_line
from thermocline.tuning.apply import frozen_modules
from thermocline.tuning.layers.layer_map import LayerMap

COMPUTED_AGAIN = "they are computed again"


class PrefixCache:
    """Stores the outputs of frozen first layers.

    Args:
        model: A model with `towers`, whose `features` takes `{"features": …}` in place of a tower's inputs. One that
            does not, such as one over the features of tokens, has an attribute `takes_features` that is False.
        layer_map: Its layers.
        rows: `train`, and `valid`, whose batches are always the same.
        options: How.
        autocast: The precision of training.

    Attributes:
        lines: By tower with a frozen prefix: what is stored where, or why nothing is.
    """

    def __init__(
        self,
        model: nn.Module,
        layer_map: LayerMap,
        rows: Mapping[str, Rows],
        options: CacheOptions,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.model, self.layer_map, self.rows, self.options = model, layer_map, dict(rows), options
        self._autocast = autocast
        self._towers: dict[str, nn.Module] = dict(model.get_submodule("towers").named_children())
        self._tower_rows = {
            split: {name: TowerRows(each, name, whole=False) for name in each.parts} for split, each in rows.items()
        }
        self._cached: dict[str, CachedTower] = {}
        self._labels: dict[str, tuple[str, ...]] = {}
        self._complete: dict[str, frozenset[str]] = {}  # the answer of `ready` for all usual batches from now on
        self.lines: dict[str, str] = {}

    # what is cached

    def update(self, frozen: Iterable[str], uses: float, *, fresh: bool = False) -> None:
        """Cache the prefixes of the layers that are frozen now.

        Args:
            frozen: Labels of the layers that do not train.
            uses: Passes over the training rows for which this holds.
            fresh: Whether weights were replaced since.
        """
        frozen = frozenset(frozen)
        for name in self._towers:
            prefix = prefix_of(self.layer_map, name, frozen)
            if not getattr(self.model, "takes_features", True):
                prefix = replace(prefix, whole=False)
            if prefix.labels == self._labels.get(name, ()) and not fresh:
                continue
            self._drop(name)
            self._labels[name] = prefix.labels
            if prefix.labels and name in self.rows["train"].parts:
                reason = self._opened(prefix, uses)
                self.lines[name] = f"{prefix.in_words} frozen, " + (
                    self._stored_line(name) if reason is None else f"not cached: {reason}"
                )

    def keep_only(self, frozen: Iterable[str]) -> None:
        """Drop the prefixes that have other layers than these."""
        frozen = frozenset(frozen)
        for name, tower in list(self._cached.items()):
            if not frozen.issuperset(tower.prefix.labels):
                self._drop(name)

    def close(self, *, keep_files: bool = False) -> None:
        """Drop everything and leave the model as it was.

        Args:
            keep_files: Whether files are kept, for a run that is resumed.
        """
        for name in list(self._cached):
            self._drop(name, remove=not keep_files)
        self._labels = {}
        if not (self.options.shared or keep_files):
            shutil.rmtree(self.options.folder, ignore_errors=True)

    # batches

    def ready(self, split: str, positions: np.ndarray, epoch: int | None) -> frozenset[str]:
        """Return the towers whose inputs need not be decoded for a batch: all their values are stored.

        Without decoding, a tower of which a part runs needs its inputs all the same: masks are made of them.
        """
        usual = len(positions) == self.options.usual and epoch is not None
        if split in self._complete and usual:
            return self._complete[split]
        out = frozenset(
            name
            for name, tower in self._cached.items()
            if (tower.prefix.whole or self._tower_rows[split][name].decoded)
            and tower.can_store(split, positions, epoch)
            and tower.has(split, positions, epoch)
        )
        complete = out and all(tower.is_complete(split) for tower in self._cached.values())
        if complete and split == "train" and usual:
            self._complete[split] = out
        return out

    def serving(self, split: str, batch: Batch, epoch: int | None = None) -> AbstractContextManager[Batch]:
        """Use stored values in the forward pass inside the context.

        Args:
            split: `train` or `valid`.
            batch: On the model's device; of towers named by `ready`, the decoded inputs may be missing.
            epoch: The epoch of training, or `None` for rows without augmentation.

        Returns:
            A context that gives the batch to run.
        """
        simple = self._without_deferred_calls(split, batch, epoch)
        return self._serving(split, batch, epoch) if simple is None else nullcontext(simple)

    def _without_deferred_calls(self, split: str, batch: Batch, epoch: int | None) -> Batch | None:
        """Return the batch with stored features in place of inputs, where no more is needed to run it; else None."""
        out, positions = batch, None
        for name in self._towers:
            tower, whole = self._cached.get(name), self._is_whole(split, name, batch)
            if tower is None and whole:
                continue
            if tower is None or whole or tower.deferred is not None:
                return None
            positions = on_host(batch, "rows").numpy() if positions is None else positions
            features = tower.features(split, positions, epoch)
            if features is None:
                return None
            out = {**out, name: {"features": features}}
        return out

    @contextmanager
    def _serving(self, split: str, batch: Batch, epoch: int | None) -> Iterator[Batch]:
        positions = on_host(batch, "rows").numpy()
        with ExitStack() as stack:
            batch = dict(batch)
            for name in self._towers:
                tower = self._cached.get(name)
                if tower is not None and tower.can_store(split, positions, epoch):
                    if split == "train" and not tower.has(split, positions, epoch):
                        tower.fill_missing(positions, epoch)
                    batch[name] = stack.enter_context(tower.serving(split, batch.get(name), positions, epoch))
                elif not self._is_whole(split, name, batch):  # its cache was dropped since the batch was made
                    rows = self._tower_rows[split][name]
                    batch[name] = rows.inputs(positions, epoch, batch["rows"].device)
            yield batch
        self._check_served()

    def _is_whole(self, split: str, name: str, batch: Batch) -> bool:
        return self._tower_rows[split][name].is_whole(batch.get(name))

    def _check_served(self) -> None:
        """Warn of damaged files, and drop prefixes that draw random numbers."""
        for name, tower in list(self._cached.items()):
            if tower.new_damage():
                warnings.warn(
                    f"Cached values of the {name} tower are not what was written to {str(self.options.folder)!r}: "
                    f"those of {counted(tower.damaged, 'row')} so far. They are computed again.",
                    ThermoclineWarning,
                    stacklevel=4,
                )
            if tower.deferred is not None and tower.deferred.draws_random:
                self._drop(name)
                self.lines[name] = f"frozen layers not cached: {DRAWS}"
                self._warn(name, DRAWS)

    # opening and closing

    def _opened(self, prefix: Prefix, uses: float) -> str | None:
        """Open the cache of a tower, or return why it is not cached."""
        reason = reason_not_cached(self.layer_map, prefix, self.rows, self.options, uses)
        if reason is not None:
            return reason
        tower = CachedTower(
            self._towers[prefix.tower],
            prefix,
            None if prefix.whole else self._deferred(prefix),
            {split: TowerRows(rows, prefix.tower, whole=prefix.whole) for split, rows in self.rows.items()},
            usual=self.options.usual,
            device=next(self.model.parameters()).device,
        )
        self._cached[prefix.tower] = tower
        with self._autocast():
            reason = self._checked(tower)
        if reason is not None:
            self._drop(prefix.tower)
        return reason

    def _checked(self, tower: CachedTower) -> str | None:
        """Compare batches, open the stores, and compare a batch from them; return why the prefix is not cached."""
        check = compare_batches(tower)
        reason = check.reason or open_stores(tower, self.model, self.layer_map, self.options, check.forms)
        reason = reason or self._found_used(tower)
        if reason is not None:
            return reason
        reason = compare_stored(tower, check.values)
        if reason is not None:
            self._warn(tower.prefix.tower, reason)
        return reason

    def _found_used(self, tower: CachedTower) -> str | None:
        """Drop values that were found and are not those of this model; return why no others can be stored."""
        if not found_differ(tower, self.options):
            return None
        tower.told = f"; values that were found there are of another model: {COMPUTED_AGAIN}"
        warnings.warn(
            f"Cached values of the {tower.prefix.tower} tower in {str(self.options.folder)!r} differ from those of an "
            f"ordinary pass: another model or machine wrote them. {COMPUTED_AGAIN.capitalize()}.",
            ThermoclineWarning,
            stacklevel=4,
        )
        try:
            for store in tower.stores.values():
                store.forget()
        except OSError as error:
            return f"its files cannot be written to {str(self.options.folder)!r} ({first_line(error)})"
        return None

    def _deferred(self, prefix: Prefix) -> DeferredCalls:
        """Install deferred calls in a tower: of the prefix's frozen modules, with its other layers' modules."""
        inside = f"towers.{prefix.tower}."
        frozen = frozen_modules(self.model, self.layer_map, prefix.labels)
        others = [layer for layer in self.layer_map if layer.label not in prefix.labels]
        trained = [name for layer in others for name in layer.modules]
        deferred = DeferredCalls(
            self._towers[prefix.tower],
            [name.removeprefix(inside) for name in frozen if name.startswith(inside)],
            [name.removeprefix(inside) for name in trained if name.startswith(inside)],
        )
        deferred.install()
        return deferred

    def _stored_line(self, name: str) -> str:
        tower = self._cached[name]
        return f"run once a row; {tower.bytes / GIGABYTE:.3f} GB {tower.where}{tower.told}"

    def _warn(self, name: str, reason: str) -> None:
        warnings.warn(f"The prefix cache of the {name} tower is off: {reason}.", ThermoclineWarning, stacklevel=4)

    def _drop(self, name: str, *, remove: bool = True) -> None:
        self._complete = {}
        tower = self._cached.pop(name, None)
        self.lines.pop(name, None)
        if tower is not None:
            tower.close(remove=remove and not self.options.shared)
            self.options.budget.give_back(tower.budget_bytes)
