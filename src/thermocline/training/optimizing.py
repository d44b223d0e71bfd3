"""The optimizer that a configuration asks for: checked, described, and what it holds and moves."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from thermocline.config import ResolvedConfig, load_rules
from thermocline.contracts.problem import Assembly
from thermocline.efficiency.costs.optimizer_cost import OptimizerCost
from thermocline.errors import counted
from thermocline.optimizers.choice import OptimizerChoice
from thermocline.optimizers.infos import name_like
from thermocline.optimizers.muon import block_matrices
from thermocline.optimizers.trial import check, state_entries


def choice_of(config: ResolvedConfig) -> OptimizerChoice:
    """Return the optimizer that a configuration asks for."""
    optim = config.optim
    return OptimizerChoice(optim.optimizer, optim.optimizer_args or {}, config.objects.get("optim.optimizer"))


def check_optimizer(config: ResolvedConfig) -> None:
    """Check, by a few steps on a few weights, that an optimizer runs here as it was asked for.

    Args:
        config: The configuration, its device chosen.

    Raises:
        ConfigError: It does not.
        MissingDependencyError: Its package is not installed.
    """
    check(choice_of(config), torch.device(config.env.device), checkpoints=config.env.checkpoint_every != 0)


def rate_factor(optimizer: str) -> tuple[float, str]:
    """Return how many times the rate of AdamW an optimizer takes, and why; of AdamW 1 and no reason.

    Args:
        optimizer: As of `optim.optimizer`.
    """
    name = name_like(optimizer)
    if cell := load_rules().optimizers.get(name):
        return cell.value, f"times {cell.value:g} for {name} ({cell.evidence})"
    return 1.0, "" if name else f"as for AdamW: nothing is known of {optimizer}, set optim.lr"


def optimizer_notes(assembly: Assembly) -> tuple[str, ...]:
    """Return what a user should know of the optimizer of a run: an option that it does not read, what Muon trains."""
    choice, decay = choice_of(assembly.config), assembly.config.optim.weight_decay
    info = choice.info
    if decay and not choice.takes("weight_decay"):
        return (f"{choice.name} has no weight decay: optim.weight_decay={decay:g} has no effect",)
    if info is None or not info.splits:
        return ()
    matrices = block_matrices(assembly.plan, assembly.model)
    total = sum(one.n_parameters for one in assembly.plan.layers if one.label not in set(assembly.plan.frozen))
    own = sum(one.numel() for one in matrices.values())
    share = 100 * own / max(total, 1)
    what = counted(len(matrices), "matrix of blocks", "matrices of blocks")
    return (f"optim.optimizer={info.name}: {what}, {share:.3g} % of the weights that train; AdamW trains the rest",)


def state_bytes(assembly: Assembly) -> dict[str, int]:
    """Return the bytes that the optimizer keeps for each parameter, by name, counts of steps included."""
    return {name: sum(each) for name, each in _sizes(assembly).items()}


def optimizer_cost(assembly: Assembly) -> OptimizerCost:
    """Return what the optimizer holds of each layer, and what a step of it computes."""
    parameters = dict(assembly.model.named_parameters())
    sizes, matrices = _sizes(assembly), _matrices(assembly)
    share, work = {}, {}
    for layer in assembly.layer_map:
        own = [name for name in layer.parameters if name in sizes]
        total = sum(parameters[name].nbytes for name in own)
        share[layer.label] = sum(sizes[name][0] for name in own) / total if total else 0.0
        work[layer.label] = sum(newton_schulz(*parameters[name].shape) for name in own if name in matrices)
    return OptimizerCost(share=share, work=work if matrices else {})


def newton_schulz(rows: int, columns: int, steps: int = 5) -> float:
    """Return the operations of Muon's iterations for a matrix: three products each (two of them by a thin side)."""
    few, many = sorted((rows, columns))
    return steps * (4.0 * few * few * many + 2.0 * few**3)


def _matrices(assembly: Assembly) -> frozenset[str]:
    """The names of the parameters that Muon trains."""
    info = choice_of(assembly.config).info
    splits = info is not None and info.splits
    return frozenset(block_matrices(assembly.plan, assembly.model)) if splits else frozenset()


def _sizes(assembly: Assembly) -> Mapping[str, tuple[int, int]]:
    """Bytes of state for each parameter by name: what grows with it, and single numbers."""
    choice, matrices = choice_of(assembly.config), _matrices(assembly)
    flat = None if choice.info is None else choice.info.bytes_a_weight

    out = {}
    for name, parameter in assembly.model.named_parameters():
        if flat is not None:
            out[name] = (round(flat * parameter.numel()), 0)
            continue
        found = state_entries(choice, parameter.ndim, matrices=name in matrices)
        grows = sum(one.bytes_for(parameter.shape) for one in found if not one.counts)
        out[name] = (grows, sum(one.itemsize for one in found if one.counts))
    return out
