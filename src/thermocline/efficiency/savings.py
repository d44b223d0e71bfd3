"""All that makes a run cheaper, carried out beside its plan: what is frozen is cached, the rest kept small."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from thermocline.data.batches import Rows
from thermocline.efficiency.costs.layer_costs import Costs
from thermocline.efficiency.memory.checkpointing import LayerCheckpoints, auto_layers, chosen_layers, free_on
from thermocline.efficiency.memory.conv_bn import ConvBN
from thermocline.efficiency.memory.conv_bn_pairs import pairs_of
from thermocline.efficiency.prefix_cache.cache import PrefixCache
from thermocline.efficiency.prefix_cache.options import CacheOptions
from thermocline.efficiency.prefix_cache.prefix import prefix_of
from thermocline.errors import LayerMapError, first_line
from thermocline.tuning.layers.layer_map import LayerMap

if TYPE_CHECKING:
    from thermocline.config.schema import ModelConfig


LEAST_ROWS = 16
"""Rows of a batch from which a joined convolution is no slower on a CPU: ResNet-50 at 96 pixels took 1.26 times the
time at 2 rows, 1.02 at 8 and 0.98 at 16 (`benchmarks/memory.py`)."""


class Savings:
    """The prefix cache, joined convolutions and checkpointed layers of a run.

    Args:
        model: The model, on its device.
        layer_map: Its layers.
        rows: `train` and `valid`.
        options: The `model` section of the configuration.
        cache: How prefixes are cached.
        costs: Of the layers, for `model.checkpointing=auto`; called where they are needed.
        ever: The labels of the layers that train at some time.
        autocast: The precision of training.
    """

    def __init__(
        self,
        model: nn.Module,
        layer_map: LayerMap,
        rows: Mapping[str, Rows],
        options: ModelConfig,
        cache: CacheOptions,
        costs: Callable[[], Costs | None],
        ever: frozenset[str],
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.model, self.layer_map, self.options = model, layer_map, options
        self._towers = dict(model.get_submodule("towers").named_children())
        self.cache = PrefixCache(model, layer_map, rows, cache, autocast)
        self.widths: dict[str, int] = dict(getattr(model, "widths", {}))  # features a row, by tower
        self.compile = cache.compiled
        self._unmet: dict[str, str] = {}  # what was asked for and is not saved, by topic, and why
        self.conv_bn = self._joined() if self._joins(cache.usual) else None
        labels = self._checkpointed(costs, ever, cache.usual)
        self.checkpoints = LayerCheckpoints(model, layer_map, labels) if labels else None

    @contextmanager
    def installed(self) -> Iterator[Savings]:
        """Save while this lasts; the model is left as it was found."""
        with ExitStack() as stack:
            if self.conv_bn is not None:
                stack.enter_context(self.conv_bn.installed())
            if self.checkpoints is not None:
                stack.enter_context(self.checkpoints.installed())
            if self.compile:
                stack.enter_context(self._compiled())
            try:
                yield self
            except BaseException:
                self.cache.close(keep_files=True)  # a run that goes on from here finds them
                raise
            self.cache.close()

    def at(self, trains: frozenset[str], uses: float, *, fresh: bool = False) -> dict[str, str]:
        """Fit everything to what trains now.

        Args:
            trains: The labels of the layers that train.
            uses: Passes over the training rows for which this holds.
            fresh: Whether weights were replaced since.

        Returns:
            A line on each thing that is saved, or is not although it might be.
        """
        frozen = frozenset(self.layer_map.labels) - trains
        self.cache.at(frozen, uses, fresh=fresh)
        if self.checkpoints is not None:
            self.checkpoints.at(trains)
        return {**self.cache.lines, **self._standing(frozen)}

    def standing(self, frozen: frozenset[str]) -> list[str]:
        """Return a line on each thing but the cache that is saved while these layers are frozen."""
        return [f"{topic}: {line}" for topic, line in self._standing(frozen).items()]

    def _standing(self, frozen: frozenset[str]) -> dict[str, str]:
        lines = dict(self._unmet)
        if self.conv_bn is not None:
            joined = f"{len(self.conv_bn.pairs)} are one with the BatchNorm behind them, while that is in eval mode"
            lines["convolutions"] = joined
        if self.checkpoints is not None:
            ahead = {label for name in self._towers for label in prefix_of(self.layer_map, name, frozen).labels}
            again = [label for label in self.checkpoints.labels if label not in ahead]
            lines["activations"] = (
                f"{len(again)} layers are computed again, from {again[0]} on" if again else "all kept"
            )
        return lines

    @contextmanager
    def _compiled(self) -> Iterator[None]:
        """Compile the backbones; texts come in many widths, for which one kernel is to do."""
        backbones = {name: tower.get_submodule("backbone") for name, tower in self._towers.items() if name != "table"}
        for name, backbone in backbones.items():
            backbone.compile(dynamic=True if name == "text" else None)
        try:
            yield
        finally:
            for backbone in backbones.values():
                backbone._compiled_call_impl = None

    def _checkpointed(self, costs: Callable[[], Costs | None], ever: frozenset[str], rows: int) -> tuple[str, ...]:
        wanted: Any = self.options.checkpointing
        wanted = wanted[0] if isinstance(wanted, tuple) and len(wanted) == 1 else wanted
        if wanted != "auto":
            return chosen_layers(self.layer_map, wanted)
        known = costs()
        if known is None:
            self._unmet["activations"] = "all kept: what layers cost is not known, so that auto cannot choose"
        device = next(self.model.parameters()).device
        return () if known is None else auto_layers(known, ever, rows, free_on(device))

    def _joins(self, rows: int) -> bool:
        """Whether to join at all: on a CPU it saves memory, and costs time where rows are few."""
        if self.options.conv_bn == "auto":
            return next(self.model.parameters()).device.type == "cuda" or rows >= LEAST_ROWS
        return self.options.conv_bn == "on"

    def _joined(self) -> ConvBN | None:
        """Find the pairs of convolution and BatchNorm in the image tower."""
        tower: Any = self._towers.get("image")
        asked = self.options.conv_bn == "on"
        if tower is None or not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in tower.modules()):
            if asked:
                self._unmet["convolutions"] = "none joined: there is no image tower with BatchNorm"
            return None
        if not any(p.requires_grad for p in tower.parameters()):
            return None
        example = torch.empty(2, 3, *tower.spec.size, device="meta")
        try:
            pairs = ConvBN(tower.backbone, pairs_of(tower.backbone, example))
        except LayerMapError as error:
            self._unmet["convolutions"] = f"none joined: {first_line(error)}"
            return None
        if not pairs.pairs and asked:
            self._unmet["convolutions"] = "none joined: no BatchNorm stands right behind a convolution"
        return pairs if pairs.pairs else None
