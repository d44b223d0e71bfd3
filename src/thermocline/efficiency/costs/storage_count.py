"""Which storages exist during a step, and when: an account of memory that is the same on every machine.

Each operator is a moment. A storage is there from the moment of the operator that made it to the moment after which
nothing refers to it. What a kernel allocates for itself and frees before it returns is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from thermocline.tuning.layers.meta_dispatch import tensors_in


@dataclass(frozen=True)
class Storages:
    """The storages of a step.

    Attributes:
        born: The moment at which each came to be, int64 `(storages,)`; 0 for what was there before.
        died: The last moment at which each was there, int64 `(storages,)`; `moments` for what is there in the end.
        sizes: Bytes, float64 `(storages,)`.
        gradients: Which of them are gradients of parameters, bool `(storages,)`.
        moments: Operators of the step.
        forward: The moment at which the forward pass ended.
    """

    born: np.ndarray
    died: np.ndarray
    sizes: np.ndarray
    gradients: np.ndarray
    moments: int
    forward: int

    def curve(self) -> np.ndarray:
        """Return the bytes that are there at each moment, float64 `(moments + 1,)`."""
        changes = np.zeros(self.moments + 2)
        np.add.at(changes, self.born, self.sizes)
        np.subtract.at(changes, self.died + 1, self.sizes)
        return changes.cumsum()[:-1]

    def same_course(self, other: Storages) -> bool:
        """Whether another step makes and frees its storages at the same moments."""
        mine = (self.moments, self.forward, len(self.born))
        return (
            mine == (other.moments, other.forward, len(other.born))
            and np.array_equal(self.born, other.born)
            and np.array_equal(self.died, other.died)
        )


class StorageCount(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every storage that operators make while the mode is on, on real tensors as on fake ones.

    Example:
        >>> count = StorageCount()
        >>> with count:
        ...     total = (torch.ones(1000) * 2).sum()
        >>> float(count.storages().curve().max())
        8000.0
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._moment = self._forward = 0
        self._born: list[int] = []
        self._died: list[int | None] = []
        self._sizes: list[int] = []
        self._known: dict[int, tuple[int, weakref.ref[Any]]] = {}  # by address, while the storage exists

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = self.run(func, args, kwargs or {})
        if func.namespace == "prim":  # questions about a tensor, not work on it
            return out
        self._moment += 1
        for tensor in tensors_in(out):
            self._note(tensor)
        return out

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run one operator and return what it makes."""
        return func(*args, **kwargs)

    def hold(self, tensors: Iterable[torch.Tensor]) -> None:
        """Count storages that are there already; call it before the step."""
        for tensor in tensors:
            self._note(tensor)

    def ignore(self, tensors: Iterable[torch.Tensor]) -> None:
        """Leave storages out that exist for longer than the step, such as parameters."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._known[storage._cdata] = (-1, weakref.ref(storage))

    def end_forward(self) -> None:
        """Say that the forward pass has ended."""
        self._forward = self._moment

    def storages(self, gradients: Iterable[torch.Tensor] = ()) -> Storages:
        """Return what was noted.

        Args:
            gradients: The gradients that the step left.
        """
        marked = np.zeros(len(self._born), dtype=bool)
        for gradient in gradients:
            number, _ = self._known.get(gradient.untyped_storage()._cdata, (-1, None))
            if number >= 0:
                marked[number] = True
        died = [self._moment if moment is None else moment for moment in self._died]
        return Storages(
            np.array(self._born, dtype=np.int64),
            np.array(died, dtype=np.int64),
            np.array(self._sizes, dtype=np.float64),
            marked,
            self._moment,
            self._forward,
        )

    def _note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = int(storage._cdata)
        if key in self._known:
            return
        number = len(self._born)
        self._born.append(self._moment)
        self._died.append(None)
        self._sizes.append(storage.nbytes())

        def gone(_: Any) -> None:
            self._died[number] = self._moment
            self._known.pop(key, None)

        self._known[key] = (number, weakref.ref(storage, gone))
