"""Device and precision, through accelerate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from thermocline.errors import ConfigError


def choose_precision(precision: str, device: str) -> tuple[str, str]:
    """Return the precision to train in, and why.

    Args:
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        device: `cpu`, `cuda` or `mps`.

    Raises:
        ConfigError: fp16 on a device that would compute in 32 bits all the same.
    """
    if precision == "fp16" and device != "cuda":
        raise ConfigError(
            f"env.precision is 'fp16', which needs a CUDA GPU; the device is {device!r}. Use bf16 or fp32."
        )
    if precision != "auto":
        return precision, "given"
    if device != "cuda":
        return "fp32", f"{device}: 32 bits, so that results are exact"
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16", "the GPU computes in bf16"
    return "fp16", "the GPU has no bf16"


def choose_device(device: str) -> tuple[str, str]:
    """Return the device to use, and why.

    Raises:
        ConfigError: The device asked for is not there.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        chosen = next(name for name in ("cuda", "mps", "cpu") if present[name])
        return chosen, "the fastest that is there"
    if not present[device]:
        raise ConfigError(
            f"env.device is {device!r}, but torch finds none here. Present: "
            f"{[n for n, there in present.items() if there]}."
        )
    return device, "given"


@contextmanager
def own_accelerator_state() -> Iterator[None]:
    """Leave accelerate's state, which it keeps for the whole process, as a caller's own `Accelerator` had it."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    shared: list[dict[str, Any]] = [s._shared_state for s in (AcceleratorState, GradientState, PartialState)]
    before = [dict(state) for state in shared]
    for state in shared:
        state.clear()
    try:
        yield
    finally:
        for state, content in zip(shared, before, strict=True):
            state.clear()
            state.update(content)


@dataclass(frozen=True)
class Precision:
    """Where and how exactly a run computes.

    Attributes:
        device: The device.
        autocast: A context in which the forward pass has the run's precision.
        scaler: Scales fp16's gradients; None otherwise.
    """

    device: torch.device
    autocast: Callable[[], AbstractContextManager[Any]]
    scaler: Any = None

    @classmethod
    def of(cls, device: str, precision: str) -> Precision:
        """Return device and precision of a run, asked of accelerate once.

        Args:
            device: `cpu`, `cuda` or `mps`.
            precision: `fp32`, `bf16` or `fp16`.

        Raises:
            ConfigError: The program was launched with several processes.
        """
        accelerator = make_accelerator(device, precision)
        autocast = nullcontext if precision == "fp32" else accelerator.autocast
        return cls(accelerator.device, autocast, accelerator.scaler)


def make_accelerator(device: str, precision: str) -> Any:
    """Return an `Accelerator` for one process on this device.

    accelerate keeps its state for the whole process; a second fit with another precision or device needs it made anew.

    Raises:
        ConfigError: The program was launched with several processes.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    mixed = "no" if precision == "fp32" else precision
    state = AcceleratorState._shared_state
    if state and (state.get("_mixed_precision") != mixed or state.get("device", torch.device(device)).type != device):
        AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(mixed_precision=mixed, cpu=device == "cpu")
    if accelerator.num_processes > 1:
        raise ConfigError(
            f"Thermocline trains in one process so far, but was launched with {accelerator.num_processes}. "
            f"Start it plainly: python …"
        )
    return accelerator


def to_device(batch: Any, device: torch.device) -> Any:
    """Move the tensors of a nested batch to a device (not at all where they are there already)."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    return {key: to_device(value, device) for key, value in batch.items()}
