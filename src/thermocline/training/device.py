"""Device and precision."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
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


def device_of(given: object) -> torch.device:
    """Return the device that an argument means.

    Args:
        given: `auto`, which is the fastest that is there, or what `torch.device` takes: `cpu`, `cuda:1`; or one.

    Raises:
        ConfigError: It is no device, or not there.
    """
    if given == "auto":
        return torch.device(choose_device("auto")[0])
    device: torch.device | None = None
    if isinstance(given, str | torch.device):
        with suppress(RuntimeError):
            device = torch.device(given)
    present = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device is None or (device.index or 0) >= present.get(device.type, 0):
        names = ["cpu", *(f"cuda:{k}" for k in range(present["cuda"])), *(["mps"] if present["mps"] else [])]
        raise ConfigError(f"device={str(given)!r} is none that torch finds here. Give one of {['auto', *names]}.")
    return device


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
        """Return device and precision of a run.

        Args:
            device: `cpu`, `cuda` or `mps`.
            precision: `fp32`, `bf16` or `fp16`.
        """
        if precision == "fp32":
            return cls(torch.device(device), nullcontext)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float16
        scaler = torch.amp.GradScaler(device) if precision == "fp16" else None
        return cls(torch.device(device), partial(torch.autocast, device, dtype), scaler)


def launch_note() -> tuple[str, ...]:
    """Return a line where the environment says that this is one process of several: it is not read."""
    found = [f"{name}={os.environ[name]}" for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK") if name in os.environ]
    if not found:
        return ()
    return (
        f"{', '.join(found)} of the environment {'is' if len(found) == 1 else 'are'} without effect: a fit is one "
        "process by itself",
    )


@contextmanager
def kernels(choice: str, device: torch.device) -> Iterator[None]:
    """Have a CUDA GPU compute as `env.kernels` says inside the context; what torch was set to is put back after it.

    Args:
        choice: `exact`: as torch is set. `fast`: products of float32 matrices in TF32, which has 10 bits for 23 of the
            mantissa, and cuDNN tries its algorithms for a convolution when it meets a shape first.
        device: Another one than CUDA is not touched.
    """
    if choice == "exact" or device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.benchmark = before[1]
