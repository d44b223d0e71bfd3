"""Muon for the matrices of blocks, AdamW for all other weights, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from thermocline.errors import ConfigError
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.plan.optimizer_groups import found_parameters
from thermocline.tuning.plan.weight_decay import undecayed

MATRICES = "muon"
"""The key of a group that says whether Muon trains it."""


class MuonWithAdamW(Optimizer):
    """Muon (Jordan et al. 2024) for groups with `muon=True`, AdamW for the others.

    Muon makes the update of a matrix orthogonal, so it is for the matrices of hidden layers. With `match_rms_adamw` an
    update is as large as one of AdamW usually is, so that both take the same rates and weight decay (Liu et al. 2025,
    "Muon is scalable for LLM training").

    Both are torch's own; they share the groups and the state of this optimizer.

    Args:
        params: Groups.
        lr: The rate.
        weight_decay: Decoupled, in both.
        momentum: Of Muon.
        nesterov: Of Muon.
        ns_coefficients: Of Muon: those of the Newton-Schulz iteration.
        eps: Of Muon.
        ns_steps: Of Muon: iterations.
        adjust_lr_fn: Of Muon: `match_rms_adamw`, `original` or `spectral_unclamped`. The latter two need rates of
            about 0.02.
        adamw_betas: Of AdamW.
        adamw_eps: Of AdamW.
        fused: Of AdamW.

    Example:
        >>> weight, bias = nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.ones(4))
        >>> optimizer = MuonWithAdamW([{"params": [weight], "muon": True}, {"params": [bias]}], lr=1e-3)
    """

    def __init__(  # noqa: PLR0913 - the arguments of both
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        nesterov: bool = True,  # noqa: FBT001, FBT002 - as torch has it
        ns_coefficients: Sequence[float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str = "match_rms_adamw",
        adamw_betas: Sequence[float] = (0.9, 0.999),
        adamw_eps: float = 1e-8,
        fused: bool | None = None,  # noqa: FBT001 - as torch has it
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, MATRICES: False})
        matrices = [group for group in self.param_groups if group[MATRICES]]
        others = [group for group in self.param_groups if not group[MATRICES]]
        self._parts: list[Optimizer] = []
        if matrices:
            if not hasattr(torch.optim, "Muon"):
                raise ConfigError(
                    f"optim.optimizer=muon needs torch 2.9 or newer, and this is {torch.__version__}. Install it with "
                    "pip install 'torch>=2.9', or take optim.optimizer=adamw."
                )
            first, second, third = ns_coefficients
            own: Any = (momentum, nesterov, (first, second, third), eps, ns_steps, adjust_lr_fn)
            self._parts.append(torch.optim.Muon(matrices, lr, weight_decay, *own))
        if others:
            betas = (adamw_betas[0], adamw_betas[1])
            self._parts.append(AdamW(others, lr, betas, adamw_eps, weight_decay, fused=fused))
        for part in self._parts:
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step.

        Args:
            closure: Computes the loss again.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss


def split_groups(groups: Iterable[Mapping[str, Any]], matrices: set[int]) -> list[dict[str, Any]]:
    """Return groups split into those that Muon trains and those that AdamW does; a parameter stays in its layer.

    Args:
        groups: From `LayerPlan.parameter_groups`.
        matrices: The ids of the parameters that Muon trains.
    """
    out = []
    for group in groups:
        for own in (True, False):
            members = [parameter for parameter in group["params"] if (id(parameter) in matrices) == own]
            if members:
                out.append({**group, "params": members, MATRICES: own})
    return out


def block_matrices(plan: LayerPlan, model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the matrices of a model's blocks by name: two dimensions, no embeddings, tokens or tables of positions.

    Args:
        plan: Which layers are blocks; those that are frozen throughout are left out.
        model: The model that it is about.
    """
    parameters, never = found_parameters(plan, model), set(plan.frozen)
    kept = undecayed(model)
    left_out = {id(one) for name, one in model.named_parameters() if name in kept}
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            left_out.add(id(module.weight))
    return {
        name: parameters[name]
        for layer in plan.layers
        if layer.role == "block" and layer.label not in never
        for name in layer.parameters
        if parameters[name].ndim == 2 and id(parameters[name]) not in left_out
    }
