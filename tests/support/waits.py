"""Counts, on the CPU, what would make a program wait for a GPU.

The CPU stands for the GPU: what was moved there is an ordinary tensor, and reading one is counted. What stayed on the
host is an `OnHost`, and so is what derives from it; reading that is not counted.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from thermocline.data.moving import HOST
from thermocline.inputs.image import tower
from thermocline.training.trainer import Trainer

READS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive")
"""Operators whose result, or its size, the program has to know."""
OURS, SKIPPED = "/src/thermocline/", ("/torch/", "/support/waits.py")
METHODS = ("cpu", "numpy", "tolist", "__array__")


class OnHost(torch.Tensor):
    """A tensor of the host, as what derives from it is."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with Waits.paused():
            return super().__torch_function__(func, types, args, kwargs or {})


class Waits(TorchDispatchMode):
    """Counts by name what would wait while it is entered."""

    running: Waits | None = None

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.ours: Counter[str] = Counter()  # of these what is asked for in our own files, and where
        self.pause = 0

    def _note(self, name: str) -> None:
        self.found[name] += 1
        frame: Any = sys._getframe(2)
        while frame is not None and any(part in frame.f_code.co_filename for part in SKIPPED):
            frame = frame.f_back
        if frame is not None and OURS in frame.f_code.co_filename:
            self.ours[f"{name} in {frame.f_code.co_qualname}"] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = name in ("index", "index_put", "index_put_") and any(
            isinstance(one, torch.Tensor) and one.dtype == torch.bool for one in pytree.tree_leaves(args[1])
        )
        if not self.pause and (name in READS or masks):
            self._note(f"{name} of a mask" if masks else name)
        return func(*args, **(kwargs or {}))

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count inside the context, methods that bring a tensor to the host too."""
        with self, mock.patch.object(Waits, "running", self):
            patches = [mock.patch.object(torch.Tensor, name, self._counted(name)) for name in METHODS]
            for one in patches:
                one.start()
            try:
                yield
            finally:
                for one in patches:
                    one.stop()

    def _counted(self, name: str) -> Any:
        method = getattr(torch.Tensor, name)

        def counted(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if not self.pause and not isinstance(tensor, OnHost):
                self._note(name)
            with self.paused():
                return method(tensor, *args, **kwargs)

        return counted

    @classmethod
    @contextmanager
    def paused(cls) -> Iterator[None]:
        """Count nothing inside the context."""
        running = cls.running
        if running is None:
            yield
            return
        running.pause += 1
        try:
            yield
        finally:
            running.pause -= 1


def of_host(batch: Any) -> Any:
    """Return a nested batch as one of the host."""
    if isinstance(batch, torch.Tensor):
        return batch.as_subclass(OnHost)
    return {key: of_host(value) for key, value in batch.items()}


def as_moved(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch of the host as `moved` gives it for a GPU."""
    out = {
        key: value.as_subclass(torch.Tensor).clone() if isinstance(value, torch.Tensor) else as_moved(value)
        for key, value in batch.items()
    }
    return {**out, HOST: batch}


@contextmanager
def as_on_a_gpu() -> Iterator[dict[int, Waits]]:
    """Take the steps of fits inside the context as on a GPU; yield by step what would wait in it."""
    counted: dict[int, Waits] = {}
    begin, take, step = Trainer.train, Trainer.take_step, Trainer.step

    def train(self: Trainer) -> None:
        self.reads_late = True
        self.stepper.move = as_moved  # type: ignore[method-assign]
        draw = self.stepper._varying
        self.stepper._varying = None if draw is None else lambda: _on_the_host(draw)
        begin(self)

    def take_step(self: Trainer, number: int, *more: Any) -> None:
        waits = Waits()
        with waits.counting():
            take(self, number, *more)
        counted[number] = waits

    def on_given_batches(self: Trainer, number: int, batches: Any, optimizer: Any) -> None:
        with Waits.paused():  # batches are made on the host
            parts = [of_host(part) for part in next(batches)]
        step(self, number, iter([parts]), optimizer)

    with (
        mock.patch.object(Trainer, "train", train),
        mock.patch.object(Trainer, "take_step", take_step),
        mock.patch.object(Trainer, "step", on_given_batches),
        mock.patch.object(tower, "sent", lambda values, _: values.as_subclass(torch.Tensor).clone()),
    ):
        yield counted


def _on_the_host(draw: Any) -> Any:
    with Waits.paused():
        return draw()
