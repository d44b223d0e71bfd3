"""Says before training whether a run fits into the memory of its device, and what would make it fit."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from thermocline.contracts.learning import Objective
from thermocline.contracts.problem import Assembly
from thermocline.data.batches import Rows
from thermocline.efficiency.costs.estimate import size
from thermocline.efficiency.costs.layer_costs import Costs
from thermocline.efficiency.costs.live_counter import bytes_of
from thermocline.efficiency.memory.checkpointing import free_on
from thermocline.efficiency.savings import Savings
from thermocline.training.live_source import counted_of, heaviest, largest_part
from thermocline.training.memory_search import Change, MemorySearch
from thermocline.training.optimizing import optimizer_cost
from thermocline.training.run import Run
from thermocline.tuning.layers.meta_dispatch import tensors_in

COPIES = 4
"""Weight, gradient and two moments, as of AdamW; some optimizers hold more."""

FAR_BELOW = 0.25
"""Share of the free memory under which a bound that is several times too high ends the check."""

NEAR_BELOW = 0.5
"""The same for one from the costs of the layers, which leaves temporaries out."""

_WIDEST = 8192  # rows of a table of embeddings are no width


def memory_warning(run: Run, savings: Savings, objective: Objective, *, free: int | None = None) -> str:
    """Return a warning where a run may not fit into the memory that is free, with the smallest change that would fit.

    The model is traced only where two cheap bounds do not already say that it fits.

    Args:
        run: The run, its model on its device.
        savings: What makes it cheaper, not installed.
        objective: The loss of training.
        free: Bytes that are free; None: what the device has now.

    Returns:
        A message; empty where the run fits, or where its bytes are not known.
    """
    assembly, device = run.assembly, savings.setup.device
    free = free_on(device) if free is None else free
    most = largest_part(assembly, run.train)[0]
    copies = max(COPIES, 2.0 + max(optimizer_cost(assembly).share.values(), default=0.0))
    if _crude_bytes(run.model, run.train, most, copies) < FAR_BELOW * free:
        return ""
    costs = savings.setup.costs
    if costs is not None and _bytes_by_costs(costs, assembly, most, copies) < NEAR_BELOW * free:
        return ""
    there = bytes_of(run.model)  # is allocated already
    counted = counted_of(assembly, savings.setup.rows, savings, objective)
    search = MemorySearch(assembly, counted, device.type, free + there)
    now = search.as_it_is()
    if now is None or search.fits(now):
        return ""
    changes = search.changes(whole_batch=objective.whole_batch)
    change = next((one for one in changes if search.fits(one)), None)
    if change is not None:
        change = replace(change, needed=max(0, change.needed - there))
    return _message(max(0, now.needed - there), free, device.type, change)


def _message(needed: int, free: int, device: str, change: Change | None) -> str:
    start = (
        f"This run may not fit into memory: it takes up to {size(needed)}, and {size(free)} are free on this {device}."
    )
    if change is None:
        return (
            f"{start} Smaller micro-batches, checkpointing, bf16 and a frozen backbone together would not change that; "
            "take a smaller backbone, image side (model.image.size) or text length (model.text.max_length)."
        )
    return f"{start} It would fit with {change} (up to {size(change.needed)})."


def _crude_bytes(model: nn.Module, rows: Rows, most: int, copies: float) -> float:
    """Return a bound from sizes of tensors alone, which is several times too high.

    Every parameter's output, as large as its widest side, is taken to be kept four times for each element of a row.
    """
    batch = heaviest(rows, 1, epoch=None)
    elements = max((one.numel() for one in tensors_in(batch)), default=1)
    parameters = list(model.parameters())
    width = sum(min(max(one.shape[:2], default=1), _WIDEST) for one in parameters)
    return 4.0 * copies * (sum(one.numel() for one in parameters) + most * elements * width)


def _bytes_by_costs(costs: Costs, assembly: Assembly, most: int, copies: float) -> float:
    """Return weights, gradients, optimizer and twice the activations where everything that ever trains does."""
    ever = assembly.plan.timeline.ever
    return copies * bytes_of(assembly.model) + 2.0 * most * sum(costs.saved(ever).values())
