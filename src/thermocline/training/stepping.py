"""One optimizer step: forward pass, loss, backward pass, clipping, update. Nothing else happens inside one.

Between a step's calls there is no wrapper of another library: accelerate's take about 0.2 ms of each, ten times what
a head on kept features needs, and follow whatever a launcher left in the environment.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch

from thermocline.contracts.learning import Learning
from thermocline.data.batches import Batch
from thermocline.data.moving import moved
from thermocline.errors import ConfigError
from thermocline.training.device import Precision

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from thermocline.efficiency.prefix_cache.cache import PrefixCache
    from thermocline.training.run import Run


class Stepper:
    """Takes the steps of a run.

    Args:
        run: The run.
        learning: What is minimised, and how batches are varied.
        precision: The precision, and the scaler of fp16's gradients.
        cache: Serves what frozen layers gave before.
        total_steps: Steps of the run.
    """

    def __init__(
        self, run: Run, learning: Learning, precision: Precision, cache: PrefixCache, total_steps: int
    ) -> None:
        self._model, self._device = run.model, precision.device
        self._autocast, self._scaler = precision.autocast, precision.scaler
        self._objective, self._varying = learning.objective, learning.varying
        self._limit, self._cache = run.optim.gradient_clip, cache
        # a longer run draws the same seeds and more
        self._seeds = np.random.default_rng([run.seed, 0xD0]).integers(2**63, size=total_steps)

    def seed(self, step: int) -> None:
        """Seed torch for a step (1-based): dropout is a function of (seed, step)."""
        self.seed_with(int(self._seeds[step - 1]))

    def seed_with(self, number: int) -> None:
        """Seed torch with a number."""
        torch.default_generator.manual_seed(number)
        if self._device.type == "cuda":
            torch.cuda.manual_seed(number)

    def gradients(self, parts: Sequence[Batch], epoch: int, *, cached: bool = True) -> tuple[torch.Tensor, ...]:
        """Add up the gradients of a step's micro-batches, and return their losses, whose sum is the step's.

        The losses stay on the device; `loss_of` reads them.

        Args:
            parts: The micro-batches.
            epoch: The epoch of training.
            cached: Whether they are training rows, of which frozen layers may have given something before.
        """
        total = sum(self._objective.weight(part) for part in parts)
        losses = []
        for part in parts:
            batch = self.move(part)
            serving = self._cache.serving("train", batch, epoch) if cached else nullcontext(batch)
            more = {} if self._varying is None else self._varying()
            with self._autocast(), serving as given:
                outputs = self._model({**given, **more} if more else given)
            loss = self._objective.total(outputs, {**batch, **more} if more else batch) / max(total, 1e-12)
            (loss if self._scaler is None else self._scaler.scale(loss)).backward()
            losses.append(loss.detach())
        return tuple(losses)

    def move(self, batch: Batch) -> Batch:
        """Return a batch on the device."""
        return batch if self._device.type == "cpu" else moved(batch, self._device)

    def clip(self, optimizer: Optimizer, parameters: Sequence[torch.nn.Parameter]) -> float:
        """Clip the gradients and return their norm before, which is read from the device.

        Without clipping the norm is still looked at, since an infinite one ruins the weights.
        """
        grads = self._unscaled(optimizer, parameters)
        norm = _total_norm(grads).item() if grads else 0.0
        if self._limit is not None and norm > self._limit:
            torch._foreach_mul_(grads, self._limit / (norm + 1e-6))
        return norm

    def clip_unread(self, optimizer: Optimizer, parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
        """Clip the gradients as `clip` does, bit for bit, and return their norm, which nobody waits for."""
        grads = self._unscaled(optimizer, parameters)
        if not grads:
            return torch.zeros((), device=self._device)
        norm = _total_norm(grads)
        if self._limit is not None:
            wide = norm.double()  # the factor is computed as Python does, and rounded once
            factor = torch.where(wide > self._limit, self._limit / (wide + 1e-6), 1.0)
            torch._foreach_mul_(grads, factor.to(norm.dtype))
        return norm

    def _unscaled(self, optimizer: Optimizer, parameters: Sequence[torch.nn.Parameter]) -> list[torch.Tensor]:
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)
        return [p.grad for p in parameters if p.grad is not None]

    def update(self, optimizer: Optimizer) -> None:
        """Move the weights; with fp16's scaler, unless the gradients are infinite, which lowers its scale."""
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)
            self._scaler.update()

    def update_if_finite(
        self, optimizer: Optimizer, losses: Sequence[torch.Tensor], norm: torch.Tensor
    ) -> torch.Tensor:
        """Move the weights as `update` does, unless a loss or the norm is not finite; the device decides.

        Args:
            optimizer: One that `decides_on_device`.
            losses: Of the micro-batches.
            norm: Of the gradients.

        Returns:
            Whether they moved, bool, on the device.
        """
        finite = torch.isfinite(norm)
        for loss in losses:
            finite = finite & torch.isfinite(loss)
        if self._scaler is not None:
            self.update(optimizer)
            return finite
        optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]  # as torch's GradScaler says it
        try:
            optimizer.step()
        finally:
            del optimizer.found_inf  # type: ignore[attr-defined]
        return finite


def loss_of(losses: Sequence[torch.Tensor]) -> float:
    """Return the loss of a step, read from the device: the sum of those of its micro-batches."""
    return sum((loss.item() for loss in losses), 0.0)


def decides_on_device(optimizer: Optimizer) -> bool:
    """Whether an optimizer leaves a step out by a tensor's value: the fused ones of Adam's family do.

    The fused SGD of torch does too, but begins with a momentum of arbitrary values where it leaves out the first step.
    """
    return isinstance(optimizer, torch.optim.Adam) and all(group.get("fused") for group in optimizer.param_groups)


def _total_norm(grads: list[torch.Tensor]) -> torch.Tensor:
    """Return the norm of all gradients, as `torch.nn.utils.get_total_norm` does in several times the time."""
    norms = torch._foreach_norm(grads)
    return torch.linalg.vector_norm(torch.stack(norms)) if len(norms) > 1 else norms[0]


def check_micro_batches(run: Run, *, whole_batch: bool) -> None:
    """Raise where rows of a batch are compared with each other and would go through the model in parts."""
    env = run.env
    parts = env.micro_batch_tokens is not None or (env.micro_batch_size or 0) < (env.batch_size or 0)
    if whole_batch and parts:
        raise ConfigError(
            f"{run.assembly.target.problem_type} compares the rows of a batch with each other, so micro-batches would "
            f"change its loss: env.micro_batch_size={env.micro_batch_size}, env.micro_batch_tokens="
            f"{env.micro_batch_tokens}, env.batch_size={env.batch_size}. Leave both out, or lower env.batch_size."
        )
