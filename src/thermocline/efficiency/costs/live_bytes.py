"""What is live at the peak of a step, in bytes, and what a process needs to run it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

#: What a CUDA context, its libraries and their workspaces take before the first tensor (an upper bound from data sheets
#: and reports, not measured here).
CUDA_BASE = 1_000_000_000
#: Bytes needed for each live byte, by kind of device. On a CPU: kernels hold copies of weights and inputs in the layout
#: in which they multiply, and the C library keeps fragments; the growth of a process stayed below this with `WORKSPACE`
#: for eight models in eight states each (`benchmarks/estimate.py`). On CUDA: the allocator rounds to blocks and keeps
#: free fragments of segments (not measured here).
OVERHEAD = {"cpu": 1.5, "cuda": 1.3}
#: Bytes that kernels take whatever the size of a step, by kind of device.
WORKSPACE = {"cpu": 400_000_000, "cuda": 0}


@dataclass(frozen=True)
class LiveBytes:
    """Bytes that are live when a training step takes the most, and when validation does.

    Attributes:
        parameters: Of the model.
        buffers: Of the model.
        optimizer: The optimizer's state, of layers that trained in earlier phases too.
        averages: The moving average of the weights, where there is one.
        gradients: Those that exist at the peak of the step.
        activations: What is saved for the backward pass and exists at the peak; the batch too.
        temporaries: What else exists at the peak.
        validation: The most that a batch of validation takes besides parameters, buffers, optimizer and averages.
    """

    parameters: int
    buffers: int
    optimizer: int
    averages: int
    gradients: int
    activations: int
    temporaries: int
    validation: int

    @classmethod
    def of_phases(cls, phases: Iterable[LiveBytes | None]) -> LiveBytes | None:
        """Return the one with the highest peak, or None where none is known."""
        return max((one for one in phases if one is not None), key=lambda one: one.peak, default=None)

    @property
    def lasting(self) -> int:
        """What exists between steps: parameters, buffers, the optimizer's state and averages."""
        return self.parameters + self.buffers + self.optimizer + self.averages

    @property
    def training(self) -> int:
        """The peak of a training step."""
        return self.lasting + self.gradients + self.activations + self.temporaries

    @property
    def peak(self) -> int:
        """The most of a training step and a batch of validation."""
        return max(self.training, self.lasting + self.validation)


def needed_to_run(live: LiveBytes, device: str, *, base: int = 0) -> int:
    """Return an upper bound of what a process takes on a device to run a step, in bytes.

    Live bytes are what tensors take. Beside them there is what is there before any tensor (a CUDA context; on a CPU the
    process itself), what an allocator loses to rounding and fragments, and the workspace of kernels.

    Args:
        live: The step.
        device: `cpu`, `cuda` or `mps`.
        base: What the process takes already, without the model; not used for CUDA.

    Example:
        >>> needed_to_run(LiveBytes(4, 0, 8, 0, 4, 80, 4, 10), "cpu", base=300_000_000)
        700000150
    """
    return (CUDA_BASE if device == "cuda" else base) + beyond_base(live, device)


def beyond_base(live: LiveBytes, device: str) -> int:
    """Return the part of `needed_to_run` that the step takes: its tensors, and what is lost around them."""
    kind = device if device in OVERHEAD else "cuda"
    return round(WORKSPACE[kind] + OVERHEAD[kind] * live.peak)
