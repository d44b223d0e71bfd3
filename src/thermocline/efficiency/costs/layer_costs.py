"""What each layer of a model costs, from shapes alone: operations, bytes moved, bytes saved for the backward pass.

A copy of the model on the meta device runs twice: once with all layers trainable in train mode, and once frozen in eval
mode with a gradient that passes through. For each input of each operator it is known which layers' parameters it
depends on, so for any choice of trainable layers it is known which gradients autograd would compute, however towers are
joined, and nothing has to be run again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from torch import nn

from thermocline.efficiency.costs.tracing import Counts, Trace, Work
from thermocline.errors import did_you_mean
from thermocline.tuning.layers.layer import Layer
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.meta_dispatch import copy_to_meta

if TYPE_CHECKING:
    import pandas as pd

#: Operations in the time that a byte takes, by device: what work that is no matrix product costs. Of a CPU it is
#: measured: one core multiplies matrices at 100 GFLOP/s, while relu, additions and copies take 3 to 4 such operations a
#: byte, and layer norm, GELU and softmax 7 (`benchmarks/cost_law.py` compares others). Of the others it is what data
#: sheets say (bf16 on an A100 or H100; fp32 on an M1), not measured.
BALANCE = {"cpu": 6.0, "cuda": 100.0, "mps": 30.0}
#: Bytes in the time that a random number takes: a CPU draws dropout's one by one (measured: 140 of its bytes).
RANDOM = {"cpu": 100.0}


@dataclass(frozen=True)
class LayerCost:
    """What a layer costs, per row, while it trains.

    Attributes:
        label: `tower/name`.
        tower: Its tower.
        role: Its role.
        flops: Operations of its forward pass (two for a multiplication with an addition).
        moved_bytes: Read and written by all its operators in the forward pass.
        saved_bytes: Saved for the backward pass, without parameters and buffers; what several layers save counts for
            the first.
        input_bytes: Of its inputs: what a checkpointed layer saves.
        output_bytes: Of its output: what a cache that ends there would store.
        parameter_bytes: Of its parameters.
        n_parameters: The number of its weights.
    """

    label: str
    tower: str
    role: str
    flops: float
    moved_bytes: float
    saved_bytes: float
    input_bytes: float
    output_bytes: float
    parameter_bytes: int
    n_parameters: int


@dataclass(frozen=True)
class Costs:
    """What the layers of a model cost, per row.

    Attributes:
        layers: In the map's order.
        device: The kind of device that the kernels are of.
        rows: Rows of the pass in which they were counted.
    """

    layers: tuple[LayerCost, ...]
    device: str
    rows: int
    _training: Counts = field(repr=False)
    _frozen: Counts = field(repr=False)

    def __getitem__(self, label: str) -> LayerCost:
        for layer in self.layers:
            if layer.label == label:
                return layer
        raise KeyError(f"no layer {label!r} in these costs.{did_you_mean(label, self.labels)}")

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all layers, in order."""
        return tuple(layer.label for layer in self.layers)

    def reach(self, trainable: Iterable[str]) -> frozenset[str]:
        """Return the labels of the layers that the backward pass reaches."""
        trains = self._bits(trainable)
        reached = {number for number, masks in self._training.masks.items() if any(mask & trains for mask in masks)}
        return frozenset(label for n, label in enumerate(self.labels) if n in reached or trains >> n & 1)

    def saved(self, trainable: Iterable[str]) -> dict[str, float]:
        """Return the bytes per row that each layer saves for the backward pass; what several save is the first one's.

        Args:
            trainable: The labels of the layers that train. The gradient passes through frozen layers after the first.
        """
        trains = self._bits(trainable)
        through = self._bits(self.reach(trainable)) & ~trains
        out: dict[str, float] = {}
        for counts, own in ((self._training, trains), (self._frozen, through)):
            for savers, size in counts.saved.items():
                if first := savers & own & -(savers & own):  # the lowest bit
                    label = self.layers[first.bit_length() - 1].label
                    out[label] = out.get(label, 0.0) + size / self.rows
        return out

    def work(
        self,
        trainable: Iterable[str],
        *,
        cached: Collection[str] = (),
        checkpointed: Collection[str] = (),
    ) -> float:
        """Return what the forward and backward pass of a row take, in operations; see `step_cost` for the law.

        Args:
            trainable: The labels of the layers that train.
            cached: Those whose forward pass is skipped.
            checkpointed: Those that are computed again where the backward pass reaches them.
        """
        trains = self._bits(trainable)
        again = self._bits(self.reach(trainable)) & self._bits(checkpointed)
        skipped = self._bits(cached)
        total = 0.0
        for counts, own in ((self._training, trains), (self._frozen, ~trains)):
            for number, one in counts.forward.items():
                if own >> number & 1:
                    times = (not skipped >> number & 1) + (again >> number & 1)
                    total += times * self._time(one)
            for (number, mask), one in counts.gradients.items():
                if own >> number & 1 and mask & trains:
                    total += self._time(one)
        return total / self.rows

    def spared_by_folding(self, norms: Iterable[str]) -> dict[str, float]:
        """Return the bytes per row that layers save less where convolutions and the BatchNorms after them are folded.

        Args:
            norms: The names of these BatchNorms' modules; ones that do not run spare nothing.
        """
        out: dict[str, float] = {}
        for name in norms:
            if name in self._training.norms:
                number, size = self._training.norms[name]
                label = self.labels[number]
                out[label] = out.get(label, 0.0) + size / self.rows
        return out

    @property
    def balance(self) -> float:
        """Operations in the time that a byte takes on this device; see `BALANCE`."""
        return BALANCE.get(self.device, BALANCE["cuda"])

    def to_frame(self) -> pd.DataFrame:
        """Return one row per layer."""
        import pandas as pd

        return pd.DataFrame([asdict(layer) for layer in self.layers], columns=[one.name for one in fields(LayerCost)])

    def _time(self, one: Work) -> float:
        return one.flops + self.balance * (one.moved + RANDOM.get(self.device, 0.0) * one.drawn)

    def _bits(self, labels: Iterable[str]) -> int:
        chosen = frozenset(labels)
        return sum(1 << number for number, label in enumerate(self.labels) if label in chosen)


def layer_costs(
    model: nn.Module, layer_map: LayerMap, call: Callable[[Any], Any], rows: int, *, device: str = "cpu"
) -> Costs | None:
    """Count what each layer of a model costs, without its data and without arithmetic.

    Args:
        model: The model, without patches of its modules' `forward`; it is not touched.
        layer_map: Its layers.
        call: Runs the model that it is given, such as `lambda shadow: shadow(batch)`. Tensors may be on any device;
            a batch with the values of real rows is best, because a model may branch on them (is an image missing?).
        rows: Rows that `call` puts through the model.
        device: The kind of device whose kernels are meant: `cpu`, `cuda`, `mps`.

    Returns:
        None where the model cannot be copied or does not run on shapes alone.
    """
    try:
        shadow = copy_to_meta(model)
        training = _counted(shadow.train(), layer_map, call, device, frozenset(layer_map.labels))
        first = frozenset(layer.label for n, layer in enumerate(layer_map) if not _has_input(training, n))
        frozen = _counted(shadow.eval(), layer_map, call, device, first)
    except Exception:  # a foreign forward pass may raise anything: then its costs are not known
        return None
    parameters = dict(model.named_parameters())
    layers = []
    for number, layer in enumerate(layer_map):
        own = [parameters[name] for name in layer.parameters]
        layers.append(_layer_cost(layer, number, own, training, rows))
    return Costs(tuple(layers), device, rows, training, frozen)


def _layer_cost(layer: Layer, number: int, parameters: list[nn.Parameter], counts: Counts, rows: int) -> LayerCost:
    """Return what a layer costs while it trains, from the counts of a pass of this many rows."""
    forward = counts.forward[number]
    return LayerCost(
        label=layer.label,
        tower=layer.tower,
        role=layer.role,
        flops=forward.flops / rows,
        moved_bytes=forward.moved / rows,
        saved_bytes=sum(size for savers, size in counts.saved.items() if savers & -savers == 1 << number) / rows,
        input_bytes=counts.inputs[number] / rows,
        output_bytes=counts.outputs[number] / rows,
        parameter_bytes=sum(p.numel() * p.element_size() for p in parameters),
        n_parameters=sum(p.numel() for p in parameters),
    )


def _counted(
    shadow: nn.Module, layer_map: LayerMap, call: Callable[[Any], Any], device: str, trains: frozenset[str]
) -> Counts:
    """Count a pass in which these layers' parameters require grad."""
    names = {name for layer in layer_map if layer.label in trains for name in layer.parameters}
    for parameter in shadow.parameters():
        parameter.requires_grad = False
    for name, parameter in shadow.named_parameters():
        parameter.requires_grad = name in names
    trace = Trace(shadow, layer_map, device)
    with trace.watching():
        call(shadow)
    return trace.counts


def _has_input(counts: Counts, number: int) -> bool:
    """Whether the inputs of this layer depend on other layers."""
    return any(mask & ~(1 << number) for mask in counts.masks.get(number, ()))
