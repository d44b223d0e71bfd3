"""What steps gave: their losses and gradient norms, which stay on a GPU until somebody looks at them.

Reading a number from a GPU waits for all that it was given to do, and meanwhile nothing is prepared for it. So steps
leave their numbers there, and whether a step is finite is decided there too (`Stepper.update_if_finite`). They are read
together: every `READ_EVERY` steps, and before anything is said, written, validated or shown to a callback that asks.
On the CPU reading costs nothing, and every step is read at once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from thermocline.errors import NonFiniteError

if TYPE_CHECKING:
    from thermocline.training.ema import Ema

PATIENCE_NON_FINITE = 10  # steps in a row
READ_EVERY = 10
"""Steps that a GPU is given before their losses are read."""
AHEAD = 2
"""Steps that a GPU may be behind the program: seconds of a step, and a time limit, are known as well as this."""


@dataclass(eq=False)
class StepLoss:
    """The loss of a step, which may not have been read yet.

    Attributes:
        step: The step, from 1; 0 before the first.
        losses: The detached losses of its micro-batches, whose sum it is; nothing once it is read.
        norm: The norm of its gradients, alike.
        then: Called with the loss when it is read.
        settle: Reads all that is unread.
    """

    step: int = 0
    losses: Sequence[torch.Tensor] = ()
    norm: torch.Tensor | None = None
    then: list[Callable[[float], None]] = field(default_factory=list)
    settle: Callable[[], None] = lambda: None
    _value: float = math.nan

    def __float__(self) -> float:
        """Return it; where it is unread, it is read now."""
        if self.losses:
            self.settle()
        return self._value

    def take(self, value: float) -> None:
        """Note what it is."""
        self._value, self.losses, self.norm = value, (), None


class StepResults:
    """The losses of the steps since the last validation, and how many in a row were not finite.

    Args:
        note: Writes a line into the history, of a skipped step.
        ema: The moving average, which a skipped step does not move.
        fp16: Whether gradients are scaled, so that some infinite ones are expected.

    Attributes:
        last: The loss of the last step, also where it was skipped.
        every: Steps after which they are read.
    """

    def __init__(self, note: Callable[[str], None], ema: Ema | None, *, fp16: bool) -> None:
        self.last, self.every = StepLoss(), READ_EVERY
        self._note, self._ema, self._fp16 = note, ema, fp16
        self._losses: list[float] = []
        self._bad_steps = 0
        self._unread: list[StepLoss] = []
        self._events: deque[Any] = deque()

    @property
    def losses(self) -> list[float]:
        """The losses of finite steps since they were last taken."""
        self.read()
        return self._losses

    @losses.setter
    def losses(self, losses: list[float]) -> None:
        self.read()
        self._losses = losses

    @property
    def bad_steps(self) -> int:
        """How many steps in a row, up to the last, were not finite."""
        self.read()
        return self._bad_steps

    @bad_steps.setter
    def bad_steps(self, number: int) -> None:
        self._bad_steps = number

    def took(self, step: int, loss: float, norm: float) -> None:
        """Note a step whose numbers are known.

        Raises:
            NonFiniteError: Too many in a row were not finite.
        """
        self.last = StepLoss(step)
        self.last.take(loss)
        self._judge(step, loss, norm)

    def left(self, step: int, losses: Sequence[torch.Tensor], norm: torch.Tensor) -> None:
        """Note a step whose numbers stay where they are; those of `every` steps are read.

        Args:
            step: The step.
            losses: The detached losses of its micro-batches.
            norm: The norm of its gradients.

        Raises:
            NonFiniteError: Too many in a row were not finite.
        """
        self.last = StepLoss(step, losses, norm, settle=self.read)
        self._unread.append(self.last)
        self._wait(norm.device)
        if len(self._unread) >= self.every:
            self.read()

    def then(self, call: Callable[[float], None]) -> None:
        """Call a function with the loss of the last step, as soon as that is read."""
        if self.last.losses:
            self.last.then.append(call)
        else:
            call(float(self.last))

    def read(self) -> None:
        """Read what is unread, in one transfer, and do step by step what follows from it.

        Raises:
            NonFiniteError: Too many steps in a row were not finite.
        """
        unread, self._unread = self._unread, []
        if not unread:
            return
        tensors = [value for one in unread for value in (*one.losses, one.norm) if value is not None]
        values = iter(torch.stack([value.double() for value in tensors]).tolist())
        for one in unread:
            loss = sum(next(values) for _ in one.losses)
            norm = next(values)
            one.take(loss)
            if self._ema is not None and not (math.isfinite(loss) and math.isfinite(norm)):
                self._ema.steps -= 1
            self._judge(one.step, loss, norm)
            for call in one.then:
                call(loss)

    def _judge(self, step: int, loss: float, norm: float) -> None:
        """Count a step; of those that are not finite fp16's scaler expects some, a run of them is an error."""
        if math.isfinite(loss) and math.isfinite(norm):
            self._losses.append(loss)
            self._bad_steps = 0
            return
        self._bad_steps += 1
        if self._bad_steps == 1 and not self._fp16:
            self._note(f"step {step} skipped: loss {loss}, gradient norm {norm}")
        if self._bad_steps >= PATIENCE_NON_FINITE:
            raise NonFiniteError(
                f"The loss ({loss}) or the gradient norm ({norm}) was not finite for {self._bad_steps} steps in a row, "
                f"up to step {step}. Lower optim.lr, raise optim.warmup, or set env.precision=fp32; check numeric "
                "columns for extreme values."
            )

    def _wait(self, device: torch.device) -> None:
        """Wait for the step before the last ones: what is given to a GPU is no more than `AHEAD` steps before it."""
        if device.type != "cuda":
            return
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._events.append(event)
        if len(self._events) > AHEAD:
            self._events.popleft().synchronize()
