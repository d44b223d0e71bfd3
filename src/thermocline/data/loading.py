"""Makes batches ahead of their use, here or in worker processes, with the same order and content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from thermocline.data.batches import Batch, Rows
from thermocline.data.worker_processes import check_main_guard, most, running, starting
from thermocline.errors import DataError


@dataclass(frozen=True, eq=False)
class Wanted:
    """A batch to be made.

    Attributes:
        positions: Row positions, int64 `(rows,)`.
        epoch: The epoch of training, or `None` for rows as they are (nothing augmented).
        without: Towers that are left out of the batch: nothing is decoded or padded for them.
    """

    positions: np.ndarray
    epoch: int | None = None
    without: frozenset[str] = frozenset()


class _Cutter(Dataset[Batch | DataError]):
    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __getitem__(self, wanted: Any) -> Batch | DataError:
        try:
            return _make(self.rows, wanted)
        except DataError as error:  # raised in a worker, it would arrive with a traceback for a message
            return error


class _Plan:
    """What is wanted next; a loader whose worker processes stay is given another one each time."""

    def __init__(self) -> None:
        self.wanted: Iterator[Wanted] = iter(())

    def __iter__(self) -> Iterator[Wanted]:
        return self.wanted


class KeptWorkers:
    """Worker processes that stay for the next pass over the same rows: to start them takes longer than a few batches.

    Each of the rows has its own, until `close`.

    Args:
        once: Whether they end with the first pass instead.
    """

    def __init__(self, *, once: bool = False) -> None:
        self._once = once
        self._loaders: dict[int, tuple[Rows, DataLoader[Any], _Plan]] = {}

    def loader(self, rows: Rows, wanted: Iterator[Wanted], number: int, *, pin_memory: bool) -> DataLoader[Any]:
        """Return the loader of rows, which makes what is wanted when it is iterated over."""
        if id(rows) not in self._loaders:
            plan = _Plan()
            made: DataLoader[Any] = DataLoader(
                _Cutter(rows),
                batch_size=None,
                sampler=plan,
                num_workers=min(number, most()),  # a saved predictor's may be that of a larger machine
                pin_memory=pin_memory,
                persistent_workers=not self._once,
                generator=torch.Generator(),  # or the workers' seed would be drawn from the caller's
            )
            self._loaders[id(rows)] = rows, made, plan
        _, loader, plan = self._loaders[id(rows)]
        plan.wanted = wanted
        return loader

    def close(self) -> None:
        """End the processes."""
        self._loaders.clear()


def load(
    rows: Rows,
    plan: Iterable[Wanted | tuple[np.ndarray, int | None]],
    *,
    num_workers: int = 0,
    pin_memory: bool = False,
    kept: KeptWorkers | None = None,
) -> Iterator[Batch]:
    """Yield the batch of everything in `plan`, in order.

    Args:
        rows: The processed rows.
        plan: What is wanted: each a `Wanted`, or `(row positions, epoch)`. It is read as batches are needed: one by
            one, or two ahead for each worker.
        num_workers: Processes that prepare batches ahead; 0 prepares them here. The result is the same.
        pin_memory: Put the tensors where a CUDA device copies them from while the program goes on.
        kept: Where worker processes stay for another plan of the same rows; None: they end with this one.

    Raises:
        DataError: A row cannot be read; it is raised where its batch is due.
        ConfigError: Worker processes cannot be started, or end before their work does.
    """
    wanted = (item if isinstance(item, Wanted) else Wanted(*item) for item in plan)
    if num_workers == 0:
        for item in wanted:
            batch = _make(rows, item)
            yield _pinned(batch) if pin_memory else batch
        return
    check_main_guard()
    batches = (kept or KeptWorkers(once=True)).loader(rows, wanted, num_workers, pin_memory=pin_memory)
    with starting(num_workers):
        stream: Iterator[Any] = iter(batches)
    while True:
        with running(num_workers):
            made = next(stream, None)
        if made is None:
            return
        if isinstance(made, DataError):
            raise made
        yield made


def load_steps(
    rows: Rows, steps: Iterable[Sequence[Wanted]], *, num_workers: int = 0, pin_memory: bool = False
) -> Iterator[list[Batch]]:
    """Yield the batches of every step, in order; see `load`.

    Args:
        rows: The processed rows.
        steps: For each step the micro-batches that are wanted, at least one.
        num_workers: As in `load`.
        pin_memory: As in `load`.
    """
    ahead, behind = tee(steps)  # workers read ahead of the batches that are taken
    stream = load(rows, (part for parts in ahead for part in parts), num_workers=num_workers, pin_memory=pin_memory)
    for parts in behind:
        yield [next(stream) for _ in parts]


def _make(rows: Rows, wanted: Wanted) -> Batch:
    return rows.batch(wanted.positions, wanted.epoch, without=wanted.without)


def _pinned(batch: Any) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.pin_memory()
    return {key: _pinned(value) for key, value in batch.items()}
