"""What makes a run cheaper: the prefix cache, folded convolutions, checkpointed layers and compiled backbones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from thermocline.data.batches import Rows
from thermocline.data.order import epoch_order
from thermocline.efficiency.costs.layer_costs import Costs, layer_costs
from thermocline.efficiency.memory.checkpointing import LayerCheckpoints, auto_layers, chosen_layers, free_on
from thermocline.efficiency.memory.conv_bn import NORM, ConvBN
from thermocline.efficiency.memory.conv_bn_pairs import pairs_of
from thermocline.efficiency.prefix_cache.cache import PrefixCache
from thermocline.efficiency.prefix_cache.options import CacheOptions
from thermocline.efficiency.prefix_cache.prefix import prefix_of
from thermocline.errors import LayerMapError, counted, first_line
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

if TYPE_CHECKING:
    from thermocline.config.schema import ModelConfig
    from thermocline.contracts.tower import Tower


LEAST_ROWS = 16
"""Rows of a batch from which a folded convolution is no slower on a CPU: ResNet-50 at 96 pixels took 1.26 times the
time at 2 rows, 1.02 at 8 and 0.98 at 16 (`benchmarks/memory.py`)."""


@dataclass(frozen=True)
class SavingsSetup:
    """A run, as far as it can be made cheaper.

    Attributes:
        model: The model, on its device; its `towers` are `Tower`s.
        layer_map: Its layers.
        plan: What trains when.
        rows: `train` and `valid`.
        options: The `model` section of the configuration.
        cache: How prefixes are cached.
        autocast: The precision of training.
    """

    model: nn.Module
    layer_map: LayerMap
    plan: LayerPlan
    rows: Mapping[str, Rows]
    options: ModelConfig
    cache: CacheOptions
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext

    @property
    def towers(self) -> dict[str, Tower]:
        """The model's towers, by name."""
        return cast("dict[str, Tower]", dict(self.model.get_submodule("towers").named_children()))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @cached_property
    def costs(self) -> Costs | None:
        """What the layers cost on a usual batch of the training rows, or None where that is not known."""
        rows, usual = self.rows["train"], self.cache.usual
        batch = rows.unlabelled().batch(epoch_order(len(rows), usual, seed=0, epoch=0, lengths=None)[0], None)
        count = len(batch["rows"])
        return layer_costs(self.model, self.layer_map, lambda shadow: shadow(batch), count, device=self.device.type)


class Savings:
    """The prefix cache, folded convolutions, checkpointed layers and compiled backbones of a run.

    Args:
        setup: The run.

    Attributes:
        cache: The prefix cache.
        folded: Per tower with folded convolutions: these.
        checkpoints: The checkpointed layers, if there are any.
    """

    def __init__(self, setup: SavingsSetup) -> None:
        self.setup = setup
        self.cache = PrefixCache(setup.model, setup.layer_map, setup.rows, setup.cache, setup.autocast)
        self._not_saved: dict[str, str] = {}  # what was asked for and is not saved, by topic, and why
        self.folded = self._folded_convolutions()
        labels = self._checkpointed_labels()
        self.checkpoints = LayerCheckpoints(setup.model, setup.layer_map, labels) if labels else None

    @contextmanager
    def installed(self) -> Iterator[Savings]:
        """Save inside the context; afterwards the model is as it was before."""
        with ExitStack() as stack:
            for convolutions in self.folded.values():
                stack.enter_context(convolutions.installed())
            if self.checkpoints is not None:
                stack.enter_context(self.checkpoints.installed())
            if self.setup.cache.compiled:
                stack.enter_context(_compiled(self.setup.towers))
            try:
                yield self
            except BaseException:
                self.cache.close(keep_files=True)  # for a run that is resumed
                raise
            self.cache.close()

    def update(self, trains: frozenset[str], uses: float, *, fresh: bool = False) -> dict[str, str]:
        """Cache and checkpoint for the layers that train now.

        Args:
            trains: The labels of the layers that train.
            uses: Passes over the training rows for which this holds.
            fresh: Whether weights were replaced since.

        Returns:
            By topic, a line on each thing that is saved, or that could be and is not.
        """
        frozen = frozenset(self.setup.layer_map.labels) - trains
        self.cache.update(frozen, uses, fresh=fresh)
        if self.checkpoints is not None:
            self.checkpoints.update(trains)
        return {**self.cache.lines, **self.lines(frozen)}

    def lines(self, frozen: frozenset[str]) -> dict[str, str]:
        """Return by topic a line on each thing but the cache that is saved while these layers are frozen."""
        lines = dict(self._not_saved)
        if self.folded:
            count = sum(len(one.pairs) for one in self.folded.values())
            lines["convolutions"] = f"{count} are folded with the BatchNorm after them, while that is in eval mode"
        if self.checkpoints is not None:
            layer_map = self.setup.layer_map
            prefixes = {label for name in self.setup.towers for label in prefix_of(layer_map, name, frozen).labels}
            again = [label for label in self.checkpoints.labels if label not in prefixes]
            again_layers = counted(len(again), "layer is", "layers are")
            lines["activations"] = f"{again_layers} computed again, from {again[0]} on" if again else "all saved"
        return lines

    @property
    def folded_norms(self) -> list[str]:
        """The names in the model of the BatchNorms that are folded."""
        modules = {id(module): name for name, module in self.setup.model.named_modules()}
        norms = (norm for one in self.folded.values() for norm in one.norms)
        return [modules[id(norm)] for norm in norms]

    def _checkpointed_labels(self) -> tuple[str, ...]:
        setup = self.setup
        wanted: Any = setup.options.checkpointing
        wanted = wanted[0] if isinstance(wanted, tuple) and len(wanted) == 1 else wanted
        if wanted != "auto":
            return chosen_layers(setup.layer_map, wanted)
        if setup.costs is None:
            self._not_saved["activations"] = (
                "all saved: the costs of the layers are not known, so that auto cannot choose"
            )
            return ()
        return auto_layers(setup.costs, setup.plan.timeline.ever, setup.cache.usual, free_on(setup.device))

    def _folded_convolutions(self) -> dict[str, ConvBN]:
        """Find the pairs of convolution and BatchNorm of each tower that has any."""
        if not self._may_fold():
            return {}
        towers = {name: tower for name, tower in self.setup.towers.items() if any(map(_is_norm, tower.modules()))}
        examples = {name: tower.conv_example() for name, tower in towers.items()}
        known = {name: example for name, example in examples.items() if example is not None}
        asked = self.setup.options.conv_bn == "on"
        if not known and asked:
            self._not_saved["convolutions"] = "none folded: there are no convolutions with BatchNorm"
        found: dict[str, ConvBN] = {}
        for name, (module, example) in known.items():
            if not any(parameter.requires_grad for parameter in towers[name].parameters()):
                continue
            try:
                found[name] = ConvBN(module, pairs_of(module, example))
            except LayerMapError as error:
                self._not_saved["convolutions"] = f"none folded: {first_line(error)}"
                continue
            if not found[name].pairs and asked:
                self._not_saved["convolutions"] = "none folded: no BatchNorm comes directly after a convolution"
        return {name: one for name, one in found.items() if one.pairs}

    def _may_fold(self) -> bool:
        """Whether to fold at all: on a CPU it saves memory, and takes time where rows are few."""
        if self.setup.options.conv_bn == "auto":
            return self.setup.device.type == "cuda" or self.setup.cache.usual >= LEAST_ROWS
        return self.setup.options.conv_bn == "on"


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, NORM)


@contextmanager
def _compiled(towers: Mapping[str, Tower]) -> Iterator[None]:
    """Compile what towers name for it; one kernel is made for all shapes where inputs vary."""
    parts = [(tower.backbone_module, tower.varying_shapes) for tower in towers.values()]
    modules = [(part, varying) for part, varying in parts if part is not None]
    for module, varying in modules:
        module.compile(dynamic=True if varying else None)
    try:
        yield
    finally:
        for module, _ in modules:
            module._compiled_call_impl = None
