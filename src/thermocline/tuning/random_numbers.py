"""torch's global generators, used by one thread at a time: dropout takes no generator of its own."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch


class _TurnLock:
    """A lock that threads get in the order in which they asked, and that a thread may take several times."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._owner, self._depth = 0, 0
        self._waiting: deque[tuple[int, threading.Event]] = deque()

    @property
    def wanted(self) -> bool:
        """Whether another thread waits for it."""
        return bool(self._waiting)

    def acquire(self) -> None:
        """Wait for the lock."""
        me = threading.get_ident()
        with self._mutex:
            if self._owner == me or not self._depth:
                self._owner, self._depth = me, self._depth + 1
                return
            turn = me, threading.Event()
            self._waiting.append(turn)
        try:
            turn[1].wait()
        except BaseException:  # Ctrl-C
            with self._mutex:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                else:
                    self._pass_on()
            raise

    def release(self) -> None:
        """Give the lock to the thread that has waited longest, once for each time it was acquired."""
        with self._mutex:
            if self._owner != threading.get_ident() or not self._depth:
                return  # a process that was forked meanwhile
            self._depth -= 1
            if not self._depth:
                self._pass_on()

    def _pass_on(self) -> None:
        self._owner, self._depth = 0, 0
        if self._waiting:
            self._owner, event = self._waiting.popleft()
            self._depth = 1
            event.set()


_LOCK = _TurnLock()
if hasattr(os, "register_at_fork"):  # a worker process has none of the threads that hold or want it
    os.register_at_fork(after_in_child=_LOCK.__init__)  # type: ignore[misc]


class RandomNumbers:
    """A context that has torch's global generators for itself among the threads of Thermocline.

    Whatever is drawn inside, the generators are afterwards as they were before.

    Args:
        seed: Seeds them inside the context; None leaves them as they are.
        devices: Indices of the GPUs whose generators are used besides that of the CPU.

    Example:
        >>> with RandomNumbers(0):
        ...     first = torch.rand(1)
        >>> with RandomNumbers(0):
        ...     again = torch.rand(1)
        >>> bool(first == again)
        True
    """

    def __init__(self, seed: int | None = None, *, devices: Sequence[int] = ()) -> None:
        self.seed, self.devices = seed, list(devices)
        self._before: list[torch.Tensor] = []

    def __enter__(self) -> RandomNumbers:
        _LOCK.acquire()
        self._before = self._states()
        if self.seed is not None:
            torch.default_generator.manual_seed(self.seed)
            for device in self.devices:
                torch.cuda.default_generators[device].manual_seed(self.seed)
        return self

    def __exit__(self, *_: Any) -> None:
        self._restore()
        _LOCK.release()

    def let_others(self) -> None:
        """Let other threads use the generators, if any wait; what comes next has to seed them anew."""
        if _LOCK.wanted:
            self._restore()
            _LOCK.release()
            _LOCK.acquire()
            self._before = self._states()

    def _states(self) -> list[torch.Tensor]:
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in self.devices)]

    def _restore(self) -> None:
        first, *others = self._before
        torch.set_rng_state(first)
        for device, state in zip(self.devices, others, strict=True):
            torch.cuda.set_rng_state(state, device)
