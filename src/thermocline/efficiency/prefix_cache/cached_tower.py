"""One tower whose frozen first layers run once a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from thermocline.efficiency.prefix_cache.call_shapes import Watch
from thermocline.efficiency.prefix_cache.deferred_calls import Session
from thermocline.efficiency.prefix_cache.lazy_tensor import settle
from thermocline.efficiency.prefix_cache.prefix import Prefix
from thermocline.efficiency.prefix_cache.row_store import Form, Misfit, RowStore
from thermocline.efficiency.prefix_cache.tower_rows import TowerRows

WHOLE = "features"  # the name of a whole tower's output
FEW = 0.1  # share of the rows that are computed at once, when the others are there
DRAWS = "something in them draws random numbers in every pass"
SHARES_OUT = "they share rows out among experts, and which rows meet there changes the rounding"


class CachedTower:
    """A tower with a prefix in the cache.

    Args:
        module: The tower.
        prefix: Which of its layers are frozen.
        session: Passes over them; `None` where they are the whole tower.
        rows: The tower's rows, by split.
        usual: Rows of a training batch whose values may be kept.
        device: Where the tower is.
    """

    def __init__(
        self,
        module: nn.Module,
        prefix: Prefix,
        session: Session | None,
        rows: Mapping[str, TowerRows],
        *,
        usual: int,
        device: torch.device,
    ) -> None:
        self.module, self.prefix, self.session = module, prefix, session
        self.rows, self.usual, self.device = dict(rows), usual, device
        self.stores: dict[str, RowStore] = {}
        self.names: tuple[str, ...] = ()
        self.where = "in memory"
        self.taken = 0  # bytes of the budget
        self.taken_up = 0  # values of batches that came from the stores
        self._told = 0  # damaged items that were asked about

    # the trial

    def trial(self) -> tuple[str | None, dict[str, Form], dict[str, torch.Tensor]]:
        """Run rows beside others and compare.

        Returns:
            Why the prefix cannot be kept, if so; the forms of its values; and the values of the second composition.
        """
        rows = self.rows["train"]
        *others, last = rows.compositions(self.usual)
        alone = [self._gathered(positions) for positions in others]
        with Watch() if self.session is None else nullcontext(self.session) as watch:
            beside = self._gathered(last)
        if watch.shares_out:  # small batches may show no trace of it in their values
            return SHARES_OUT, {}, {}
        if not beside and not any(alone):
            return "there is nothing in them that takes longer than reading it", {}, {}
        if any(set(one) != set(beside) for one in alone):
            return "the model takes another way for other rows", {}, {}
        awake = self._gathered(last, training=True) if self.session is not None else beside
        if set(awake) != set(beside) or (self.session is not None and self.session.draws):
            return DRAWS, {}, {}
        forms = {}
        for name, value in beside.items():
            try:
                forms[name] = rows.form(value, last)
                right = rows.by_row(value, last)
                lefts = [rows.by_row(one[name], positions) for one, positions in zip(alone, others, strict=True)]
            except Misfit:  # small things that do not depend on rows: made anew every time
                forms.pop(name, None)
                continue
            # on other devices rounding depends on a batch's composition, cached or not
            exact = all(torch.equal(left[r], right[r]) for left in lefts for r in left.keys() & right)
            if self.device.type == "cpu" and not exact:
                return "a row's values depend on the rows beside it", {}, {}
        return None if forms else "what they give does not come row by row", forms, beside

    def _gathered(self, positions: np.ndarray, *, training: bool = False) -> dict[str, torch.Tensor]:
        """Return what the prefix gives for a batch, by name; what trains runs in train mode or in eval mode."""
        rows = self.rows["train"]
        inputs = rows.inputs(positions, rows.first_epoch, self.device)
        with self._aside(training=training):
            if self.session is None:
                return {WHOLE: self.module(inputs)}
            if rows.part.decoded_shapes(0):  # as they are served
                given = inputs
                inputs = self._put_off(rows, lambda: given, positions)
            shelf = _Gather()
            with self.session.running(shelf):
                settle(self.module(inputs))
            return shelf.values

    def reread(self, values: Mapping[str, torch.Tensor]) -> str | None:
        """Put the trial's values into the store, run the tower from there, and say how that differs from a pass."""
        rows = self.rows["train"]
        *_, positions = rows.compositions(self.usual)
        epoch = rows.first_epoch
        for name in self.names:
            self.stores["train"].keep(name, rows.items(positions, epoch), values[name])
        inputs = rows.inputs(positions, epoch, self.device)
        self.taken_up = 0
        with self._aside():
            # for a whole tower the trial's was an ordinary pass
            expected = values[WHOLE] if self.session is None else self.module(inputs)
            with self.serving("train", inputs, positions, epoch) as given:
                out = given["features"] if self.session is None else settle(self.module(given))
        left, right = (_tensors(one) for one in (out, expected))
        if len(left) == len(right) and all(map(torch.equal, left, right)):
            return None if self.taken_up or self.session is None else "what is kept of them is not asked for again"
        worst = max((float((a.float() - b.float()).abs().max()) for a, b in zip(left, right, strict=False)), default=0)
        return f"a batch through the cache differs from the ordinary pass (by up to {worst:.1e})"

    # serving

    def serves(self, split: str, positions: np.ndarray, epoch: int | None) -> bool:
        """Whether a batch is one whose values are kept: of the usual size, or one that comes again as it is."""
        if split not in self.stores or not self.rows[split].keeps(epoch):
            return False
        return split != "train" or len(positions) == self.usual

    def filled(self, split: str) -> bool:
        """Whether the values of all rows are there."""
        return all(map(self.stores[split].full, self.names))

    def holds(self, split: str, positions: np.ndarray, epoch: int | None) -> bool:
        """Whether all values of a batch are there."""
        if self.filled(split):
            return True
        store = self.stores[split]
        items = self.rows[split].items(positions, epoch)
        return all(store.holds(name, items) for name in self.names)

    def known(self, split: str, positions: np.ndarray, epoch: int | None) -> torch.Tensor | None:
        """Return the whole tower's features of a batch, where they are all there."""
        return self.stores[split].take(WHOLE, self.rows[split].items(positions, epoch), None, self.device)

    @contextmanager
    def serving(
        self, split: str, inputs: Mapping[str, Any] | None, positions: np.ndarray, epoch: int | None
    ) -> Iterator[dict[str, Any]]:
        """Yield the tower's part of a batch, such that what is kept is not computed while this lasts.

        Args:
            split: `train` or `valid`.
            inputs: The tower's inputs, or `None`: they are made where they are needed.
            positions: Row positions.
            epoch: The epoch of training, or `None`.
        """
        rows = self.rows[split]
        made = dict(inputs) if inputs is not None and rows.decoded(inputs) else None

        def given() -> dict[str, Any]:
            nonlocal made
            made = made or rows.inputs(positions, epoch, self.device)
            return made

        if self.session is None:
            items = rows.items(positions, epoch)
            features = self.known(split, positions, epoch)
            if features is None:
                with torch.no_grad():
                    features = self.module(given())
                self.stores[split].keep(WHOLE, items, features)
            yield {"features": features}
            return
        batch = self._put_off(rows, given, positions) if rows.part.decoded_shapes(0) else given()
        ids = batch.get("input_ids")
        width = None if ids is None else int(ids.shape[1])
        shelf = _RowShelf(self, self.stores[split], rows.items(positions, epoch), width)
        with self.session.running(shelf):
            yield batch

    def _put_off(self, rows: TowerRows, given: Any, positions: np.ndarray) -> dict[str, torch.Tensor]:
        """Return a batch whose decoded arrays are made only when something needs them."""
        assert self.session is not None
        undecoded = rows.part.undecoded(positions)
        batch = {key: torch.from_numpy(value).to(self.device) for key, value in undecoded.items()}
        for name, (shape, dtype) in rows.part.decoded_shapes(len(positions)).items():
            batch[name] = self.session.put_off(partial(lambda name: given()[name], name), shape, dtype)
        return batch

    def complete(self, epoch: int | None) -> None:
        """Compute the rows that are absent, where they are few, in batches of the usual size beside others.

        An epoch's last, short batch is not kept; its rows would make batches of the next epoch run again.
        """
        rows, store = self.rows["train"], self.stores["train"]
        every = np.arange(len(rows))
        items = rows.items(every, epoch).reshape(len(every), -1)
        absent = np.unique(np.concatenate([store.absent(name) for name in self.names]))
        missing = every[np.isin(items, absent).any(axis=1)]
        if not 0 < len(missing) <= max(self.usual, FEW * len(every)) or len(missing) == len(every):
            return
        others = np.setdiff1d(every, missing)
        for start in range(0, len(missing), self.usual):
            chunk = missing[start : start + self.usual]
            positions = np.concatenate([chunk, others[: self.usual - len(chunk)]])
            with self._aside(), self.serving("train", None, positions, epoch) as batch:
                if self.session is not None:
                    settle(self.module(batch))

    @contextmanager
    def _aside(self, *, training: bool = False) -> Iterator[None]:
        """Run the tower such that nothing of it shows afterwards: no gradients, no draws, statistics as they were.

        Args:
            training: Whether in train mode, the prefix aside; else in eval mode.
        """
        modes = [(module, module.training) for module in self.module.modules()]
        buffers = [(buffer, buffer.clone()) for buffer in self.module.buffers()] if training else []
        devices = [self.device.index or 0] if self.device.type == "cuda" else []
        self.module.train(training)
        for module in () if self.session is None else self.session.modules:
            module.training = False
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=devices):
                yield
        finally:
            for module, mode in modes:
                module.training = mode
            for buffer, before in buffers:
                buffer.copy_(before)

    def close(self, *, remove: bool) -> None:
        """Leave the model as it was, and let go of the values."""
        if self.session is not None:
            self.session.remove()
        for store in self.stores.values():
            store.close(remove=remove)

    @property
    def bytes(self) -> int:
        """What is kept takes, in memory or on disk."""
        return sum(store.bytes for store in self.stores.values())

    @property
    def damaged(self) -> int:
        """Items whose bytes on disk were not what was written."""
        return sum(store.damaged for store in self.stores.values())

    def damage_is_new(self) -> bool:
        """Whether damaged items were found since this was last asked."""
        before, self._told = self._told, self.damaged
        return self._told > before


def _tensors(values: Any) -> list[torch.Tensor]:
    """The tensors of an output, however they are nested."""
    return [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, torch.Tensor)]


class _Gather:
    """A shelf that has nothing and shows what it is given."""

    def __init__(self) -> None:
        self.values: dict[str, torch.Tensor] = {}

    def take(self, _name: str) -> torch.Tensor | None:
        return None

    def keep(self, name: str, value: torch.Tensor) -> None:
        self.values[name] = value.clone()  # what trains may write into it


class _RowShelf:
    """A shelf over a store, for the items of one batch."""

    def __init__(self, tower: CachedTower, store: RowStore, items: np.ndarray, width: int | None) -> None:
        self._tower, self._store, self._items, self._width = tower, store, items, width

    def take(self, name: str) -> torch.Tensor | None:
        value = self._store.take(name, self._items, self._width, self._tower.device)
        self._tower.taken_up += value is not None
        return value

    def keep(self, name: str, value: torch.Tensor) -> None:
        if name in self._store.names:
            self._store.keep(name, self._items, value)


def state_of(model: nn.Module, parameters: Iterable[str], inside: str) -> list[tuple[str, torch.Tensor]]:
    """Return the parameters of these names, and the buffers below a path: all that a frozen prefix depends on."""
    wanted = set(parameters)
    state: list[tuple[str, torch.Tensor]] = [(name, p) for name, p in model.named_parameters() if name in wanted]
    return state + [(name, buffer) for name, buffer in model.named_buffers() if name.startswith(inside)]
