"""The outputs of frozen first layers, kept by row: what is frozen runs once a row and not once an epoch.

Only what is exact is kept. The first layers must be frozen and in eval mode with nothing ahead of them that trains;
a row must come to them unchanged in every epoch; and rows must be computed in batches of one size, since a sum's
rounding depends on it. Before a cache is used, a batch through it is compared with the ordinary pass, bit for bit.
Ludwig keeps whole encoders' outputs (Molino et al. 2019, `cache_encoder_embeddings`); here it is any prefix.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from thermocline.data.batches import Batch, Rows
from thermocline.data.memory_budget import GIGABYTE
from thermocline.efficiency.prefix_cache.cached_tower import DRAWS, CachedTower, state_of
from thermocline.efficiency.prefix_cache.deferred_calls import Session
from thermocline.efficiency.prefix_cache.options import CacheOptions, refusal
from thermocline.efficiency.prefix_cache.prefix import Prefix, prefix_of
from thermocline.efficiency.prefix_cache.row_store import Form, RowStore
from thermocline.efficiency.prefix_cache.tower_rows import TowerRows
from thermocline.errors import ThermoclineWarning
from thermocline.tuning.apply import frozen_modules
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.verify import tensors_hash

DISK_SHARE = 0.5  # of the free space that files may take


class PrefixCache:
    """Keeps what frozen first layers give.

    Args:
        model: A model with `towers`, whose `features` takes `{"features": …}` in place of a tower's inputs.
        layer_map: Its layers.
        rows: `train`, and `valid`, whose batches are always the same.
        options: How.
        autocast: The precision of training.

    Attributes:
        lines: By tower with a frozen prefix: what is kept where, or why nothing is.
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
        self._cached: dict[str, CachedTower] = {}
        self._labels: dict[str, tuple[str, ...]] = {}
        self._full: dict[str, frozenset[str]] = {}  # what `ready` says of every usual batch from now on
        self.lines: dict[str, str] = {}

    def at(self, frozen: Iterable[str], uses: float, *, fresh: bool = False) -> None:
        """Fit the cache to what is frozen now.

        Args:
            frozen: Labels of the layers that do not train.
            uses: Passes over the training rows for which this holds.
            fresh: Whether weights were replaced since.
        """
        frozen = frozenset(frozen)
        for name in self._towers:
            prefix = prefix_of(self.layer_map, name, frozen)
            if prefix.labels == self._labels.get(name, ()) and not fresh:
                continue
            self._drop(name)
            self._labels[name] = prefix.labels
            if prefix.labels and name in self.rows["train"].parts:
                self.lines[name] = self._opened(prefix, uses)

    def ready(self, split: str, positions: np.ndarray, epoch: int | None) -> frozenset[str]:
        """Return the towers whose inputs a batch can go without: all that is wanted of them is there.

        A text tower of which a part runs wants them all the same: masks are made of them.
        """
        if split in self._full and len(positions) == self.options.usual and epoch is not None:
            return self._full[split]
        out = frozenset(
            name
            for name, tower in self._cached.items()
            if (tower.prefix.whole or name == "image")
            and tower.serves(split, positions, epoch)
            and tower.holds(split, positions, epoch)
        )
        whole = out and all(tower.filled(split) for tower in self._cached.values())
        if whole and split == "train" and len(positions) == self.options.usual and epoch is not None:
            self._full[split] = out
        return out

    def serving(self, split: str, batch: Batch, epoch: int | None = None) -> AbstractContextManager[Batch]:
        """Let the model pass over cached prefixes in the forward pass that happens inside.

        Args:
            split: `train` or `valid`.
            batch: On the model's device; towers named by `ready` may be left out.
            epoch: The epoch of training, or `None` for rows as they are.

        Returns:
            A context that gives the batch to run.
        """
        known = self._known(split, batch, epoch)
        return self._serving(split, batch, epoch) if known is None else nullcontext(known)

    def _known(self, split: str, batch: Batch, epoch: int | None) -> Batch | None:
        """Return a batch in which nothing is to be passed over: no tower is cached, or all that are are known whole."""
        out, positions = batch, None
        for name in self._towers:
            tower = self._cached.get(name)
            if name in batch and tower is None:
                if not self._tower_rows(split, name).decoded(batch[name]):
                    return None
                continue
            if name in batch and self._tower_rows(split, name).decoded(batch[name]):
                return None
            if tower is None or tower.session is not None:
                return None
            positions = batch["rows"].cpu().numpy() if positions is None else positions
            features = tower.known(split, positions, epoch)
            if features is None:
                return None
            out = {**out, name: {"features": features}}
        return out

    @contextmanager
    def _serving(self, split: str, batch: Batch, epoch: int | None) -> Iterator[Batch]:
        positions = batch["rows"].cpu().numpy()
        with ExitStack() as stack:
            batch = dict(batch)
            for name in self._towers:
                tower = self._cached.get(name)
                if tower is not None and tower.serves(split, positions, epoch):
                    if split == "train" and not tower.holds(split, positions, epoch):
                        tower.complete(epoch)
                    batch[name] = stack.enter_context(tower.serving(split, batch.get(name), positions, epoch))
                elif name not in batch or not self._tower_rows(split, name).decoded(batch[name]):
                    rows = self._tower_rows(split, name)  # dropped since the batch was made
                    batch[name] = rows.inputs(positions, epoch, batch["rows"].device)
            yield batch
        for name, tower in list(self._cached.items()):
            if tower.damage_is_new():
                warnings.warn(
                    f"Kept values of the {name} tower are not what was written to {str(self.options.folder)!r}: those "
                    f"of {tower.damaged} rows so far. They are computed again.",
                    ThermoclineWarning,
                    stacklevel=3,
                )
            if tower.session is not None and tower.session.draws:
                self._give_up(name, DRAWS)

    def _tower_rows(self, split: str, name: str) -> TowerRows:
        return TowerRows(self.rows[split], name, whole=False)

    def keep_only(self, frozen: Iterable[str]) -> None:
        """Drop the prefixes that are not of these layers alone."""
        frozen = frozenset(frozen)
        for name, tower in list(self._cached.items()):
            if not frozen.issuperset(tower.prefix.labels):
                self._drop(name)

    def close(self, *, keep_files: bool = False) -> None:
        """Drop everything and leave the model as it was.

        Args:
            keep_files: Leave files where they are, for a run that goes on from here.
        """
        for name in list(self._cached):
            self._drop(name, remove=not keep_files)
        self._labels = {}
        if not (self.options.shared or keep_files):
            shutil.rmtree(self.options.folder, ignore_errors=True)

    # whether

    def _opened(self, prefix: Prefix, uses: float) -> str:
        """Open the cache of a tower, and say what is kept where or why nothing is."""
        reason = refusal(self.layer_map, prefix, self.rows, self.options, uses)
        if reason is not None:
            return f"{prefix.told} frozen, not cached: {reason}"
        tower = CachedTower(
            self._towers[prefix.tower],
            prefix,
            None if prefix.whole else self._session(prefix),
            {split: TowerRows(rows, prefix.tower, whole=prefix.whole) for split, rows in self.rows.items()},
            usual=self.options.usual,
            device=next(self.model.parameters()).device,
        )
        self._cached[prefix.tower] = tower
        reason = self._tried(tower)
        if reason is not None:
            self._drop(prefix.tower)
            return f"{prefix.told} frozen, not cached: {reason}"
        return f"{prefix.told} frozen, run once a row; {tower.bytes / GIGABYTE:.3f} GB {tower.where}"

    def _session(self, prefix: Prefix) -> Session:
        """Put a session into a tower: over the frozen modules of the prefix, and at the doors of the others."""
        inside = f"towers.{prefix.tower}."
        frozen = frozen_modules(self.model, self.layer_map, prefix.labels)
        others = [layer for layer in self.layer_map if layer.label not in prefix.labels]
        entries = [name for layer in others for name in layer.modules]
        session = Session(
            self._towers[prefix.tower],
            [name.removeprefix(inside) for name in frozen if name.startswith(inside)],
            [name.removeprefix(inside) for name in entries if name.startswith(inside)],
        )
        session.install()
        return session

    def _tried(self, tower: CachedTower) -> str | None:
        """Run a batch both ways; where they agree, open the stores, else return what was wrong."""
        with self._autocast():
            reason, forms, values = tower.trial()
            reason = reason or self._placed(tower, forms)
            if reason is None:
                reason = tower.reread(values)
                if reason is not None:
                    self._warn(tower.prefix.tower, reason)
        return reason

    def _placed(self, tower: CachedTower, forms: Mapping[str, Form]) -> str | None:
        """Find room for the values of all rows, and open the stores; or return why there is none."""
        plain = {split: self._store(tower, split, None) for split, rows in tower.rows.items() if len(rows)}
        size = sum(store.needs(form) for store in plain.values() for form in forms.values())
        on_disk = self.options.mode == "disk"
        if not on_disk and self.options.budget.take(size):
            tower.taken = size
        elif not on_disk:
            left = self.options.budget.left / GIGABYTE
            if self.options.mode == "memory":
                return f"it takes {size / GIGABYTE:.3f} GB, and env.cache_memory leaves {left:.3f}"
            on_disk = True
        if on_disk:
            free = shutil.disk_usage(_existing(self.options.folder)).free
            if size > DISK_SHARE * free:
                return f"it takes {size / GIGABYTE:.2f} GB, and the disk has {free / GIGABYTE:.2f} free"
            tower.where = f"on disk, in {str(self.options.folder)!r}"
        stores = {split: self._store(tower, split, self._folder(tower, split)) for split in plain} if on_disk else plain
        for store in stores.values():
            for name, form in forms.items():
                store.open(name, form)
        tower.stores, tower.names = stores, tuple(forms)
        return None

    def _store(self, tower: CachedTower, split: str, folder: Path | None) -> RowStore:
        rows = tower.rows[split]
        return RowStore(rows.count, rows.lengths, folder=folder, facts=self.options.facts)

    def _folder(self, tower: CachedTower, split: str) -> Path:
        """Return a folder named after all that the values depend on."""
        prefix, rows = tower.prefix, tower.rows[split]
        names = [name for label in prefix.labels for name in self.layer_map[label].parameters]
        facts = {
            **self.options.facts,
            "weights": tensors_hash(state_of(self.model, names, f"towers.{prefix.tower}.")),
            "rows": rows.fingerprint(),
            "batch": self.options.usual,
            "layers": prefix.labels,
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
        return self.options.folder / f"{prefix.tower}-{split}-{digest[:16]}"

    def _give_up(self, name: str, reason: str) -> None:
        self._drop(name)
        self.lines[name] = f"frozen layers not cached: {reason}"
        self._warn(name, reason)

    def _warn(self, name: str, reason: str) -> None:
        warnings.warn(f"The prefix cache of the {name} tower is off: {reason}.", ThermoclineWarning, stacklevel=4)

    def _drop(self, name: str, *, remove: bool = True) -> None:
        self._full = {}
        tower = self._cached.pop(name, None)
        self.lines.pop(name, None)
        if tower is not None:
            tower.close(remove=remove and not self.options.shared)
            self.options.budget.give_back(tower.taken)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
