"""Backbones that take a batch, and the account of a real training step of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from support.backbones import bert, gpt2, resnet, t5, vit
from thermocline.contracts.learning import Objective
from thermocline.efficiency.costs.live_counter import LiveSource
from thermocline.efficiency.costs.storage_count import StorageCount
from thermocline.tuning.apply import AppliedPlan
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.meta_dispatch import tensors_in
from thermocline.tuning.plan.layer_plan import LayerPlan

OBJECTIVE = Objective(lambda outputs, batch: outputs.float().square().sum(), lambda batch: float(len(batch["x"])))


class OnBatch(nn.Module):
    """A backbone under a small head, called with a batch."""

    def __init__(self, inner: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone = inner
        self.head = nn.Linear(width, 3)

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        if batch["x"].is_floating_point():
            return self.head(self.backbone(batch["x"]))
        return self.head(self.backbone(input_ids=batch["x"], attention_mask=torch.ones_like(batch["x"]))[0][:, 0])


def pixels(rows: int) -> dict[str, Any]:
    return {"x": torch.randn(rows, 3, 32, 32, generator=torch.Generator().manual_seed(0))}


def tokens(rows: int) -> dict[str, Any]:
    return {"x": torch.arange(5, 5 + 12 * rows).reshape(rows, 12) % 50 + 5}


MODELS: dict[str, tuple[Callable[[], nn.Module], int, Callable[[int], dict[str, Any]]]] = {
    "bert": (bert, 16, tokens),
    "t5": (t5, 16, tokens),
    "gpt2": (gpt2, 16, tokens),
    "vit": (vit, 3, pixels),
    "resnet": (resnet, 3, pixels),
}


def source_of(name: str, **more: Any) -> LiveSource:
    """What a counter counts of a model."""
    make, width, batch = MODELS[name]
    model = OnBatch(make(), width)
    layer_map = LayerMap.of(model, head=model.head)
    state = {name: 2 * one.nbytes + 4 for name, one in model.named_parameters()}  # of AdamW, with its count of steps
    return LiveSource(model, layer_map, OBJECTIVE, batch, batch, **{"state": state, **more})


def ready(source: LiveSource, frozen: Any) -> tuple[frozenset[str], torch.optim.Optimizer]:
    """Put the real model into training under a plan; what trains, and an optimizer with its state."""
    plan = LayerPlan.build(source.layer_map, frozen_layers=frozen)
    AppliedPlan(source.model, source.layer_map, plan).train()
    optimizer = torch.optim.AdamW(plan.parameter_groups(source.model), fused=True)
    return frozenset(source.layer_map.labels) - set(plan.frozen), optimizer


def counted_peak(source: LiveSource, optimizer: Any, rows: int, parts: int = 1, autocast: Any = None) -> float:
    """The peak of a real step in bytes, by its storages; parameters, buffers and the optimizer's state included."""
    batch = source.train(rows)

    def step() -> None:
        for _ in range(parts):
            with autocast() if autocast else torch.enable_grad():
                outputs = source.model(batch)
            (OBJECTIVE.total(outputs, batch) / OBJECTIVE.weight(batch)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    state = [value for one in optimizer.state.values() for value in one.values()]
    lasting = [*source.model.parameters(), *source.model.buffers(), *state]
    count = StorageCount()
    count.ignore(lasting)
    count.hold(tensors_in(batch))
    with count:
        step()
    return float(count.storages().curve().max()) + sum(one.untyped_storage().nbytes() for one in lasting)
