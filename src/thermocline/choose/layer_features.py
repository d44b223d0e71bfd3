"""The outputs of all layers and towers on some rows, from one pass without training: means over tokens and maps."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from thermocline.contracts.problem import Assembly
from thermocline.contracts.tower import Tower
from thermocline.data.batches import Rows
from thermocline.training.device import Precision
from thermocline.training.inference import Pass, collect
from thermocline.tuning.layers.layer import Layer

BACKBONE = ("stem", "block")

CONTAINERS = (torch.nn.ModuleList, torch.nn.ModuleDict, torch.nn.Sequential)

MOST_BYTES = 512_000_000


@dataclass(frozen=True)
class Place:
    """Where features are taken.

    Attributes:
        tower: The tower's name in the model.
        layer: The layer, or None for the tower's own features, which the head sees.
    """

    tower: str
    layer: Layer | None = None

    @property
    def name(self) -> str:
        """The label of the layer, or the name of the tower."""
        return self.tower if self.layer is None else self.layer.label


@dataclass(frozen=True)
class LayerFeatures:
    """Features of rows.

    Attributes:
        rows: Positions of the rows that were reached, sorted.
        values: By place float32 `(rows, width)`.
        left_out: Places without features, and why.
    """

    rows: np.ndarray
    values: Mapping[Place, np.ndarray] = field(repr=False)
    left_out: Mapping[Place, str]


def places_of(assembly: Assembly, towers: Iterable[str]) -> tuple[Place, ...]:
    """Return the stems and blocks of the backbones of some towers, in order, and the towers themselves."""
    found: list[Place] = []
    for name in towers:
        if assembly.model.towers[name].backbone_module is not None:
            own = (one for one in assembly.layer_map if any(p.startswith(f"towers.{name}.") for p in one.parameters))
            found += [Place(name, layer) for layer in own if layer.role in BACKBONE]
        found.append(Place(name))
    return tuple(found)


def layer_features(
    assembly: Assembly, train: Rows, rows: np.ndarray, places: Sequence[Place], *, seconds: float, seed: int
) -> LayerFeatures:
    """Return features of training rows, without augmentation; weights, modes and random numbers stay as they are.

    Args:
        assembly: The model.
        train: The training rows.
        rows: Positions of those that are wanted, sorted.
        places: Where features are taken; only the towers of these places are run.
        seconds: How long the pass may take; rows that it does not reach are left out, and so are those that would take
            more than `MOST_BYTES`.
        seed: Of the order of the batches, so that the rows that were reached are from everywhere.
    """
    model, config = assembly.model, assembly.config
    precision = Precision.of(config.env.device, config.env.precision)
    before, end = assembly.device, time.monotonic() + seconds
    towers = dict.fromkeys(one.tower for one in places)
    watch = _Watch({name: model.towers[name] for name in towers}, places, dict(model.named_modules()))
    others = frozenset(train.parts) - towers.keys()
    how = Pass(
        config.env.eval_batch_size or 1,
        precision.device,
        precision.autocast,
        config.env.num_workers,
        in_time=lambda: not watch.positions or (time.monotonic() < end and watch.bytes < MOST_BYTES),
        without=lambda _: others,
        only=rows,
        mixed=seed,
    )
    model.to(precision.device)
    try:
        with watch.installed():
            collect(model, train, watch, how)
    finally:
        model.to(before)
    return watch.found(places)


class _Watch:
    """Runs towers and collects what their layers give.

    Args:
        towers: The towers to run, by name.
        places: Where features are taken.
        modules: All modules of the model, by name.

    Attributes:
        positions: Of the rows of each batch.
        bytes: What was collected so far.
    """

    def __init__(
        self, towers: Mapping[str, Tower], places: Sequence[Place], modules: Mapping[str, torch.nn.Module]
    ) -> None:
        self.towers, self.places, self.modules = towers, places, modules
        self.positions: list[np.ndarray] = []
        self.bytes = 0
        self._batch: Mapping[str, Any] = {}
        self._given: dict[Place, torch.Tensor] = {}
        self._unusable: dict[Place, str] = {}  # why, for places whose outputs were none of rows in some batch
        self._collected: dict[Place, list[tuple[int, np.ndarray]]] = {}

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Watch the outputs of layers inside the context."""
        with ExitStack() as stack:
            for place in self.places:
                for module in self._outermost(place):
                    stack.callback(module.register_forward_hook(partial(self._hook, place)).remove)
            yield

    def compute(self, batch: Mapping[str, Any]) -> dict[Place, np.ndarray]:
        """Return the features of a batch by place."""
        self._batch, self._given = batch, {}
        for name, tower in self.towers.items():
            self._given[Place(name)] = tower(batch[name]).float()
        given = {place: values.cpu().numpy() for place, values in self._given.items()}
        self._batch, self._given = {}, {}
        return given

    def add(self, positions: np.ndarray, values: dict[Place, np.ndarray]) -> None:
        """Keep the features of a batch."""
        for place, one in values.items():
            self._collected.setdefault(place, []).append((len(self.positions), one))
            self.bytes += one.nbytes
        self.positions.append(positions)

    def outputs(self) -> Any:
        """Return the features by batch."""
        return self._collected

    def scores(self, metrics: Sequence[str]) -> dict[str, float]:
        """Features have no score."""
        raise NotImplementedError(f"features have no score: {list(metrics)}")

    def fallback_loss(self) -> float | None:
        """Features have no loss."""
        return None

    def found(self, places: Sequence[Place]) -> LayerFeatures:
        """Return all features, in the order of the rows."""
        rows = np.concatenate(self.positions)
        order = np.argsort(rows, kind="stable")
        values: dict[Place, np.ndarray] = {}
        left_out: dict[Place, str] = {}
        for place in places:
            why, whole = self._whole(place)
            if why:
                left_out[place] = why
            else:
                values[place] = whole[order]
        return LayerFeatures(rows[order], values, left_out)

    def _whole(self, place: Place) -> tuple[str, np.ndarray]:
        """Return why a place has no features, or nothing and float32 `(rows, width)` in the order of the batches."""
        parts = dict(self._collected.pop(place, ()))
        nothing = np.zeros((0, 0), dtype=np.float32)
        widths = {part.shape[1] for part in parts.values()}
        if place in self._unusable and len(parts) < len(self.positions):
            return self._unusable[place], nothing
        if len(widths) != 1:
            return ("it did not run" if not widths else "its output has another width in each batch"), nothing
        width = widths.pop()
        # a batch without any image does not run an image tower
        whole = np.concatenate(
            [
                parts.get(number, np.zeros((len(rows), width), dtype=np.float32))
                for number, rows in enumerate(self.positions)
            ]
        )
        bad = int((~np.isfinite(whole).all(axis=1)).sum())
        return (f"its output is not finite in {bad:,} of {len(whole):,} rows" if bad else ""), whole

    def _outermost(self, place: Place) -> list[torch.nn.Module]:
        """Return the modules of a layer that lie in no other of its modules; the last one to run gives its output.

        A container is no such other one: a model may call what is in it one by one.
        """
        names = () if place.layer is None else place.layer.modules
        own = {name for name in names if not isinstance(self.modules[name], CONTAINERS)}
        return [self.modules[name] for name in names if not any(parent in own for parent in _parents(name))]

    def _hook(self, place: Place, _module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple | list) and output else output
        if not isinstance(states, torch.Tensor):
            self._unusable[place] = f"its output is a {type(states).__name__}, no tensor"
            return
        features = self.towers[place.tower].row_states(states, self._batch[place.tower])
        if features is None:
            self._unusable[place] = f"its output has no vectors of rows: shape {tuple(states.shape)}"
        else:
            self._given[place] = features


def _parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts)))
