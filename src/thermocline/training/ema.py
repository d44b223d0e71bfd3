"""An exponential moving average of a model's weights and BatchNorm statistics, as some models are evaluated with.

After each optimizer step the average moves to the model by a share of `1 - d`, where `d` rises to `decay` as in
RT-DETR's and D-FINE's own training: `d = decay × (1 - exp(-steps / warmup))`. What is frozen stays bit for bit: the
average of a value that never changes is that value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from thermocline.errors import ConfigError

WARMUP = 2000


class Ema:
    """The moving average of a model's weights.

    Args:
        model: The model; parameters and persistent buffers are followed, tied ones once.
        decay: The share that stays at every step, from 0 up to but not including 1.
        warmup: Steps over which that share rises; 0 for none.

    Attributes:
        steps: How often the average was moved.

    Raises:
        ConfigError: A value that is not allowed.
    """

    def __init__(self, model: nn.Module, decay: float, *, warmup: int = WARMUP) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"ema must be a number from 0 up to but not including 1; got {decay!r}.")
        if warmup < 0:
            raise ConfigError(f"warmup must not be negative; got {warmup!r}.")
        self.model, self.decay, self.warmup, self.steps = model, float(decay), int(warmup), 0
        self._average = {name: value.detach().clone() for name, value in self._followed().items()}

    @property
    def rate(self) -> float:
        """The share of the average that stays at the next step."""
        if not self.warmup:
            return self.decay
        return self.decay * (1 - math.exp(-(self.steps + 1) / self.warmup))

    @torch.no_grad()
    def update(self, moved: torch.Tensor | None = None) -> None:
        """Move the average towards the model; call it after every optimizer step.

        Args:
            moved: Whether there was one, bool, on the device, for nobody to wait for; None: there was. Where there was
                none, the average stays, and `steps` is to be lowered once that is known.
        """
        weight = 1 - self.rate
        self.steps += 1
        moving: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for name, value in self._followed().items():
            average = self._average[name]
            if average.is_floating_point():
                moving[0].append(average)
                moving[1].append(value.detach())
            else:  # a count of batches
                average.copy_(value if moved is None else torch.where(moved, value, average))
        if moving[0]:
            differences = list(torch._foreach_sub(moving[1], moving[0]))
            if moved is not None:
                differences = [torch.where(moved, one, 0.0) for one in differences]
            torch._foreach_add_(moving[0], differences, alpha=weight)

    @contextmanager
    def swapped(self) -> Iterator[nn.Module]:
        """Put the average into the model for a while: to validate with it, or to keep it."""
        before = {name: value.detach().clone() for name, value in self._followed().items()}
        self._write(self._average)
        try:
            yield self.model
        finally:
            self._write(before)

    @torch.no_grad()
    def reset_to_model(self) -> None:
        """Set the average to the model as it is: its weights were replaced."""
        for name, value in self._followed().items():
            self._average[name].copy_(value)

    def _followed(self) -> dict[str, torch.Tensor]:
        """The model's tensors now, each once."""
        out: dict[str, torch.Tensor] = {}
        seen: set[int] = set()
        for name, value in self.model.state_dict(keep_vars=True).items():
            if id(value) not in seen:
                seen.add(id(value))
                out[name] = value
        return out

    @torch.no_grad()
    def _write(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, target in self._followed().items():
            target.copy_(values[name])
