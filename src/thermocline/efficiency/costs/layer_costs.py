"""What each layer of a model costs, from shapes alone: operations, bytes moved, bytes kept for the backward pass.

A copy of the model on the meta device runs twice, once as it trains and once as it rests (frozen, in eval mode, with a
gradient that passes through it). Each input of each operator carries the layers whose parameters had a part in it, so
for any choice of trainable layers it is known which gradients autograd would compute, however towers join, and
nothing has to be run again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from torch import nn

from thermocline.efficiency.costs.tracing import Counts, Trace, Work
from thermocline.errors import did_you_mean
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
        saved_bytes: Kept for the backward pass, parameters and buffers apart; what several layers keep counts for the
            first.
        input_bytes: Of its inputs: what a checkpointed layer keeps.
        output_bytes: Of its output: what a cache at its end would keep.
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
        rows: Rows of the pass that they were taken from.
    """

    layers: tuple[LayerCost, ...]
    device: str
    rows: int
    _training: Counts = field(repr=False)
    _resting: Counts = field(repr=False)

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
        """Return the labels of the layers that a backward pass comes through."""
        trains = self._bits(trainable)
        reached = {number for number, masks in self._training.masks.items() if any(mask & trains for mask in masks)}
        return frozenset(label for n, label in enumerate(self.labels) if n in reached or trains >> n & 1)

    def saved(self, trainable: Iterable[str]) -> dict[str, float]:
        """Return the bytes per row that each layer keeps for the backward pass; what several keep is the first one's.

        Args:
            trainable: The labels of the layers that train; those beyond the first hand the gradient through.
        """
        trains = self._bits(trainable)
        through = self._bits(self.reach(trainable)) & ~trains
        out: dict[str, float] = {}
        for counts, keep in ((self._training, trains), (self._resting, through)):
            for savers, size in counts.saved.items():
                if first := savers & keep & -(savers & keep):  # the lowest bit
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
            checkpointed: Those that are computed again where a backward pass comes through them.
        """
        trains = self._bits(trainable)
        again = self._bits(self.reach(trainable)) & self._bits(checkpointed)
        skipped = self._bits(cached)
        total = 0.0
        for counts, own in ((self._training, trains), (self._resting, ~trains)):
            for number, one in counts.forward.items():
                if own >> number & 1:
                    times = (not skipped >> number & 1) + (again >> number & 1)
                    total += times * self._time(one)
            for (number, mask), one in counts.gradients.items():
                if own >> number & 1 and mask & trains:
                    total += self._time(one)
        return total / self.rows

    def joined(self, norms: Iterable[str]) -> dict[str, float]:
        """Return the bytes per row that layers keep less where a convolution and the BatchNorm behind it are joined.

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
        training = _passed(shadow.train(), layer_map, call, device, frozenset(layer_map.labels))
        first = frozenset(layer.label for n, layer in enumerate(layer_map) if not _has_input(training, n))
        resting = _passed(shadow.eval(), layer_map, call, device, first)
    except Exception:  # a foreign forward pass may raise anything: then its costs are not known
        return None
    parameters = dict(model.named_parameters())
    layers = []
    for number, layer in enumerate(layer_map):
        own = [parameters[name] for name in layer.parameters]
        saved = sum(size for savers, size in training.saved.items() if savers & -savers == 1 << number)
        forward = training.forward[number]
        layers.append(
            LayerCost(
                layer.label,
                layer.tower,
                layer.role,
                forward.flops / rows,
                forward.moved / rows,
                saved / rows,
                training.inputs[number] / rows,
                training.outputs[number] / rows,
                sum(p.numel() * p.element_size() for p in own),
                sum(p.numel() for p in own),
            )
        )
    return Costs(tuple(layers), device, rows, training, resting)


def _passed(
    shadow: nn.Module, layer_map: LayerMap, call: Callable[[Any], Any], device: str, trains: frozenset[str]
) -> Counts:
    """One pass in which these layers' parameters require grad."""
    for parameter in shadow.parameters():
        parameter.requires_grad_(False)
    names = {name for layer in layer_map if layer.label in trains for name in layer.parameters}
    for name, parameter in shadow.named_parameters():
        parameter.requires_grad_(name in names)
    watch = Trace(shadow, layer_map, device)
    with watch.watching():
        call(shadow)
    return watch.counts


def _has_input(counts: Counts, number: int) -> bool:
    """Whether other layers had a part in what this one reads."""
    return any(mask & ~(1 << number) for mask in counts.masks.get(number, ()))
