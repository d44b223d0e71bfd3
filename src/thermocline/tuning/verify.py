"""A check that frozen layers stay as they are, bit for bit."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from thermocline.errors import FrozenError, listing
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.plan.optimizer_groups import found_parameters
from thermocline.tuning.schedule.cursor import Cursor


class Watch:
    """Hashes of a model's layers, taken when it was made.

    Args:
        plan: The plan.
        model: The model that the plan is for.

    Raises:
        ConfigError: The plan is for another model.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_vit", num_classes=3)
        >>> layers = LayerMap.of(model, head=model.head)
        >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
        >>> import torch
        >>> watch = plan.verify(model)
        >>> with torch.no_grad():
        ...     _ = model.head.weight.add_(1.0)
        >>> watch.changed()
        ('model/head',)
        >>> watch.check()  # the stem, which is frozen, is what it was
        >>> watch.at(plan.start(total_steps=10))  # before every step, where phases freeze layers for a while
    """

    def __init__(self, plan: Decisions, model: nn.Module) -> None:
        self.plan = plan
        self._tensors = layer_tensors(plan, model)
        self._hashes = self._hash_all()
        self._frozen: frozenset[str] | None = None

    def changed(self) -> tuple[str, ...]:
        """Return the labels of the layers of which a bit of a parameter or buffer has changed."""
        now = self._hash_all()
        return tuple(label for label in self.plan.labels if now[label] != self._hashes[label])

    def check(self) -> None:
        """Raise if a layer that is frozen throughout has changed.

        Raises:
            FrozenError: It names the layers.
        """
        self._raise_if_changed(frozenset(self.plan.frozen), "frozen throughout")

    def at(self, cursor: Cursor) -> None:
        """Raise if a layer that was frozen since the call before has changed; call it before every step.

        Raises:
            FrozenError: It names the layers.
        """
        frozen = frozenset(self.plan.labels) - self.plan.timeline.trains(cursor)
        if frozen == self._frozen:
            return
        if self._frozen is not None:
            self._raise_if_changed(self._frozen, f"frozen up to step {cursor.step}")
        self._frozen, self._hashes = frozen, self._hash_all()

    def _raise_if_changed(self, labels: frozenset[str], when: str) -> None:
        broken = [label for label in self.changed() if label in labels]
        if broken:
            raise FrozenError(
                f"{listing(broken)} changed although {when}. Something other than the plan writes to their weights or "
                "buffers: an optimizer over all parameters, an average of weights, or a train() that is not the plan's."
            )

    def _hash_all(self) -> dict[str, str]:
        return {label: tensors_hash(tensors) for label, tensors in self._tensors.items()}


def layer_tensors(plan: Decisions, model: nn.Module) -> dict[str, list[tuple[str, torch.Tensor]]]:
    """Return per layer its parameters and buffers.

    A buffer belongs to the layer of the parameters in its module, or in the nearest module above that has any; where
    these are of several layers, to none.

    Args:
        plan: The plan.
        model: The model, perhaps wrapped.
    """
    parameters = found_parameters(plan, model)
    holder = {id(parameters[name]): layer.label for layer in plan.layers for name in layer.parameters}
    out: dict[str, list[tuple[str, torch.Tensor]]] = {label: [] for label in plan.labels}
    for name, parameter in model.named_parameters():
        out[holder[id(parameter)]].append((name, parameter))
    modules = dict(model.named_modules())
    for name, buffer in model.named_buffers():
        above = name.rpartition(".")[0]
        owners = {holder[id(p)] for p in modules[above].parameters()}
        while not owners and above:
            above = above.rpartition(".")[0]
            owners = {holder[id(p)] for p in modules[above].parameters()}
        if len(owners) == 1:
            out[owners.pop()].append((name, buffer))
    return out


def tensors_hash(tensors: list[tuple[str, torch.Tensor]]) -> str:
    """Return the SHA-256 over names, types, shapes and bits."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
