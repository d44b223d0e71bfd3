"""Operations of a real pass, whatever kernels of attention this torch runs and counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_backward_flop_count, sdpa_flop_count

_ATTENTION = "_scaled_dot_product_"


def counted(call: Callable[[], Any]) -> int:
    """Return the operations that torch really executes in a call: two for a multiplication with an addition.

    torch has a formula for some of its fused kernels of attention only, and which, changes with the version: 2.14
    counts nothing for the one that runs on a CPU (`_scaled_dot_product_flash_attention_for_cpu`), so that attention is
    missing wherever that kernel runs, which is in eval mode for models with dropout. All these kernels multiply the
    same matrices, so that the formula for one of them is right for the others.
    """
    with FlopCounterMode(display=False, custom_mapping=_missing_formulas()) as counter:
        call()
    return int(counter.get_total_flops())


def _missing_formulas() -> dict[Any, Callable[..., int]]:
    """The fused kernels of attention that this torch has no formula for."""
    names = {name.removeprefix("aten::") for name in torch._C._dispatch_get_all_op_names()}
    packets = {name.partition(".")[0] for name in names if name.startswith(_ATTENTION)}
    kernels = {getattr(torch.ops.aten, name): name for name in packets if "attention_math" not in name}
    return {
        kernel: _backward if name.endswith("_backward") else _forward
        for kernel, name in kernels.items()
        if kernel not in flop_registry
    }


def _forward(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _backward(gradient: torch.Size, query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(gradient, query, key, value))
