"""One tower whose frozen first layers are computed once for each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from thermocline.efficiency.prefix_cache.deferred_calls import DeferredCalls
from thermocline.efficiency.prefix_cache.lazy_tensor import computed
from thermocline.efficiency.prefix_cache.prefix import Prefix
from thermocline.efficiency.prefix_cache.row_store import RowStore
from thermocline.efficiency.prefix_cache.tower_rows import TowerRows
from thermocline.tuning.random_numbers import RandomNumbers

WHOLE = "features"
"""The name of a whole tower's output."""
MOST_MISSING = 0.1
"""Share of the rows that are computed together, when all others have values."""

Inputs = dict[str, Any]


class CachedTower:
    """A tower with a prefix in the cache.

    Args:
        module: The tower.
        prefix: Which of its layers are frozen.
        deferred: Defers their calls; `None` where they are the whole tower.
        rows: The tower's rows, by split.
        usual: Rows of a training batch whose values may be stored.
        device: Where the tower is.

    Attributes:
        stores: The values, by split.
        names: The names of the values that are stored.
        where: Where they are, in words.
        budget_bytes: Bytes that were taken of the memory budget.
        told: What else there is to say of what is stored.
        reads: Values of batches that were read from the stores.
    """

    def __init__(
        self,
        module: nn.Module,
        prefix: Prefix,
        deferred: DeferredCalls | None,
        rows: Mapping[str, TowerRows],
        *,
        usual: int,
        device: torch.device,
    ) -> None:
        self.module, self.prefix, self.deferred = module, prefix, deferred
        self.rows, self.usual, self.device = dict(rows), usual, device
        self.stores: dict[str, RowStore] = {}
        self.names: tuple[str, ...] = ()
        self.where = "in memory"
        self.budget_bytes = 0
        self.told = ""
        self.reads = 0
        self._damage_reported = 0

    # what is stored

    def can_store(self, split: str, positions: np.ndarray, epoch: int | None) -> bool:
        """Whether a batch's values are stored: it has the usual size, or comes again with the same rows."""
        if split not in self.stores or not self.rows[split].stores(epoch):
            return False
        return split != "train" or len(positions) == self.usual

    def is_complete(self, split: str) -> bool:
        """Whether all rows have values."""
        return all(map(self.stores[split].complete, self.names))

    def has(self, split: str, positions: np.ndarray, epoch: int | None) -> bool:
        """Whether all values of a batch are stored."""
        if self.is_complete(split):
            return True
        store = self.stores[split]
        items = self.rows[split].items(positions, epoch)
        return all(store.has(name, items) for name in self.names)

    def features(self, split: str, positions: np.ndarray, epoch: int | None) -> torch.Tensor | None:
        """Return the whole tower's features of a batch `(rows, width)`, where they are all stored."""
        return self.stores[split].read(WHOLE, self.rows[split].items(positions, epoch), None, self.device)

    # a batch

    @contextmanager
    def serving(
        self, split: str, inputs: Mapping[str, Any] | None, positions: np.ndarray, epoch: int | None
    ) -> Iterator[Inputs]:
        """Yield the tower's part of a batch; inside the context, what is stored is read and not computed.

        Args:
            split: `train` or `valid`.
            inputs: The tower's inputs; those that are missing are made when something needs them.
            positions: Row positions, int64 `(batch,)`.
            epoch: The epoch of training, or `None` for rows without augmentation.
        """
        rows = self.rows[split]
        made: Inputs | None = dict(inputs) if inputs is not None and rows.is_whole(inputs) else None

        def whole() -> Inputs:
            nonlocal made
            made = made or rows.inputs(positions, epoch, self.device)
            return made

        if self.deferred is None:
            yield {"features": self._features(split, whole, positions, epoch)}
            return
        batch = self.lazy_inputs(rows, whole, positions, inputs) if rows.decoded else whole()
        stored = _StoredBatch(self, self.stores[split], rows.items(positions, epoch), rows.width(positions))
        with self.deferred.active(stored):
            yield batch

    def _features(
        self, split: str, inputs: Callable[[], Inputs], positions: np.ndarray, epoch: int | None
    ) -> torch.Tensor:
        features = self.features(split, positions, epoch)
        if features is None:
            with torch.no_grad():
                features = self.module(inputs())
            self.stores[split].write(WHOLE, self.rows[split].items(positions, epoch), features)
        return features

    def lazy_inputs(
        self,
        rows: TowerRows,
        whole: Callable[[], Inputs],
        positions: np.ndarray,
        given: Mapping[str, Any] | None = None,
    ) -> Inputs:
        """Return the tower's inputs, of which the decoded ones are made only when something needs them.

        Args:
            rows: Rows of a part that decodes.
            whole: Makes all inputs.
            positions: Row positions, int64 `(batch,)`.
            given: Inputs that are known, among them those that need no decoding; None makes them.
        """
        assert self.deferred is not None
        known = rows.undecoded(positions, self.device) if given is None else given
        batch = {name: value for name, value in known.items() if name not in rows.decoded}
        for name, (shape, dtype) in rows.part.decoded_shapes(len(positions)).items():
            batch[name] = self.deferred.lazy_input(f"input {name}", partial(_item, whole, name), shape, dtype)
        return batch

    def fill_missing(self, positions: np.ndarray, epoch: int | None) -> None:
        """Compute the rows without values, where they are few, in batches of the usual size together with others.

        The last, smaller batch of an epoch is not stored; its rows would make batches of the next epoch run again.

        Args:
            positions: Of the batch that is to run: where it has all rows without values, it is left to that batch.
            epoch: The epoch of training, or `None`.
        """
        rows, store = self.rows["train"], self.stores["train"]
        every = np.arange(len(rows))
        items = rows.items(every, epoch).reshape(len(every), -1)
        missing_items = np.unique(np.concatenate([store.missing(name) for name in self.names]))
        missing = every[np.isin(items, missing_items).any(axis=1)]
        if not 0 < len(missing) <= max(self.usual, MOST_MISSING * len(every)) or len(missing) == len(every):
            return
        if np.isin(missing, positions).all():
            return
        others = np.setdiff1d(every, missing)
        for start in range(0, len(missing), self.usual):
            chunk = missing[start : start + self.usual]
            together = np.concatenate([chunk, others[: self.usual - len(chunk)]])
            with self.isolated(), self.serving("train", None, together, epoch) as batch:
                if self.deferred is not None:
                    computed(self.module(batch))

    @contextmanager
    def isolated(self, *, training: bool = False) -> Iterator[None]:
        """Run the tower without side effects: no gradients, and modes, random state and statistics are restored.

        Args:
            training: Whether in train mode, but for the prefix; else in eval mode.
        """
        modes = [(module, module.training) for module in self.module.modules()]
        buffers = [(buffer, buffer.clone()) for buffer in self.module.buffers()] if training else []
        devices = [self.device.index or 0] if self.device.type == "cuda" else []
        self.module.train(training)
        for module in () if self.deferred is None else self.deferred.modules:
            module.training = False
        try:
            with torch.no_grad(), RandomNumbers(devices=devices):
                yield
        finally:
            for module, mode in modes:
                module.training = mode
            for buffer, before in buffers:
                buffer.copy_(before)

    # the end

    def close(self, *, remove: bool) -> None:
        """Leave the model as it was, and release the values; `remove` deletes their files."""
        if self.deferred is not None:
            self.deferred.remove()
        for store in self.stores.values():
            store.close(remove=remove)

    @property
    def bytes(self) -> int:
        """Bytes of what is stored, in memory or on disk."""
        return sum(store.bytes for store in self.stores.values())

    @property
    def damaged(self) -> int:
        """Items whose bytes on disk are not those that were written."""
        return sum(store.damaged for store in self.stores.values())

    def new_damage(self) -> bool:
        """Whether damaged items were found since the last call of this."""
        before, self._damage_reported = self._damage_reported, self.damaged
        return self._damage_reported > before


def _item(inputs: Callable[[], Inputs], name: str) -> torch.Tensor:
    value: torch.Tensor = inputs()[name]
    return value


class _StoredBatch:
    """The stored values of the items of one batch."""

    def __init__(self, tower: CachedTower, store: RowStore, items: np.ndarray, width: int | None) -> None:
        self._tower, self._store, self._items, self._width = tower, store, items, width

    def read(self, name: str) -> torch.Tensor | None:
        value = self._store.read(name, self._items, self._width, self._tower.device)
        self._tower.reads += value is not None
        return value

    def write(self, name: str, value: torch.Tensor) -> None:
        if name in self._store.names:
            self._store.write(name, self._items, value)
