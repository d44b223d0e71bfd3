"""Linear probes of the outputs of every layer and tower, from one pass over training rows: no weight changes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from thermocline.choose.depth_costs import DepthCosts
from thermocline.choose.layer_features import LayerFeatures, Place, layer_features, places_of
from thermocline.choose.probe_results import Probed, Probes
from thermocline.contracts.probing import FoldScores, LinearFolds
from thermocline.contracts.problem import Assembly
from thermocline.contracts.tower import Tower
from thermocline.efficiency.costs.estimate import duration
from thermocline.efficiency.costs.forecast import Forecast
from thermocline.pipeline.ready import Ready

MOST_ROWS = 1_000
MOST_SECONDS = 180.0  # of the pass; and as many of the probes after it
LAST = 3  # layers whose outputs are put side by side


def probes_of(found: Ready, forecast: Forecast | None = None, *, seconds: float = MOST_SECONDS) -> Probes:
    """Return probes of the layers and towers of a fit; the model stays as it is.

    Args:
        found: Data and model.
        forecast: What the fit takes: the costs of frozen layers are from it. None: they are left out.
        seconds: How long the pass, and the probes after it, may take each.

    Raises:
        ConfigError: The problem has no labels of whole rows.
        LabelError: The rows show one label.
    """
    assembly = found.assembly
    towers = tuple(found.train.parts)
    features, folds = features_for(found, places_of(assembly, towers), seconds=seconds)
    judge = _Judge(assembly, features, folds, seconds)
    own = [place for name in towers if (place := Place(name)) in features.values]
    alone = tuple(filter(None, (judge.probed(place) for place in own)))
    joined = judge.joined(own) if len(own) > 1 else None
    depths, costs = [], DepthCosts(found, None if forecast is None else forecast.costs)
    for place in features.values:
        probe = None if place.layer is None else judge.probed(place)
        if probe is not None and place.layer is not None:
            depths.append(probe.at(place.layer, costs.frozen_up_to(place.tower, place.layer.label)))
    last = tuple(filter(None, (judge.last_layers(name) for name in towers)))
    return Probes(
        depths=tuple(depths),
        towers=alone,
        joined=joined,
        last=last,
        constant=judge.constant,
        rows=len(features.rows),
        of_rows=len(found.train),
        folds=folds.folds,
        loss_name=folds.loss_name,
        metric_name=folds.metric_name,
        notes=tuple(_notes(found, features, judge)),
    )


def features_for(found: Ready, places: Sequence[Place], *, seconds: float) -> tuple[LayerFeatures, LinearFolds]:
    """Return features of at most `MOST_ROWS` training rows, and what scores them.

    Args:
        found: Data and model.
        places: Where features are taken.
        seconds: How long the pass may take.

    Raises:
        ConfigError: The problem has no labels of whole rows.
        LabelError: The rows show one label.
    """
    seed = found.prepared.request.seed
    folds = found.prepared.problem.folds(found.assembly, found.train, seed=seed)
    rows = folds.draw(MOST_ROWS)
    folds.over(rows)  # rows of one label show before the pass
    features = layer_features(found.assembly, found.train, rows, places, seconds=seconds, seed=seed)
    return features, folds.over(features.rows)


def tower_blocks(tower: Tower, values: np.ndarray) -> list[np.ndarray]:
    """Return the features of a tower that a linear model may use, by block: not those of layers that start at random.

    Args:
        tower: The tower.
        values: All of its features, float32 `(rows, width)`.
    """
    if not tower.pretrained and tower.fixed:
        return [values[:, : tower.fixed]]
    return layer_blocks(tower, values)


def layer_blocks(tower: Tower, values: np.ndarray) -> list[np.ndarray]:
    """Return what one of a tower's layers gives by block, where it is as wide as the tower's features.

    Args:
        tower: The tower.
        values: float32 `(rows, width)`.
    """
    blocks = tower.feature_blocks
    return np.split(values, np.cumsum(blocks)[:-1], axis=1) if sum(blocks) == values.shape[1] else [values]


class _Judge:
    """Scores features.

    Args:
        assembly: The model.
        features: Of the rows.
        folds: Scores them.
        seconds: How long that may take.

    Attributes:
        constant: The probe of no features.
        cut: What was left out for lack of time.
    """

    def __init__(self, assembly: Assembly, features: LayerFeatures, folds: LinearFolds, seconds: float) -> None:
        self.assembly, self.features, self.folds, self.seconds = assembly, features, folds, seconds
        self.cut: list[str] = []
        self._towers: dict[str, Probed] = {}  # that were probed
        self._end = time.monotonic() + seconds
        constant = self._scored("no features", "", [])
        assert constant is not None
        self.constant = constant

    def probed(self, place: Place) -> Probed | None:
        """Return the probe of a layer, or of a tower alone."""
        values, tower = self.features.values[place], self.assembly.model.towers[place.tower]
        if place.layer is None:
            probe = self._scored(place.tower, place.tower, tower_blocks(tower, values))
            if probe is not None:
                self._towers[place.tower] = probe
            return probe
        same = self._towers.get(place.tower)
        if same is not None and np.array_equal(values, self.features.values[Place(place.tower)]):
            return replace(same, name=place.layer.name)  # of the last layer, where the head sees its mean
        return self._scored(place.layer.name, place.tower, layer_blocks(tower, values))

    def joined(self, places: Sequence[Place]) -> Probed | None:
        """Return the probe of several towers side by side."""
        blocks = []
        for place in places:
            blocks += tower_blocks(self.assembly.model.towers[place.tower], self.features.values[place])
        return self._scored(" + ".join(place.tower for place in places), "", blocks)

    def last_layers(self, tower: str) -> Probed | None:
        """Return the probe of the last layers of a tower side by side; None where it has too few."""
        places = [place for place in self.features.values if place.tower == tower and place.layer is not None]
        if len(places) < LAST:
            return None
        module, blocks = self.assembly.model.towers[tower], []
        for place in places[-LAST:]:
            blocks += layer_blocks(module, self.features.values[place])
        return self._scored(f"last {LAST} layers of {tower} side by side", tower, blocks)

    def _scored(self, name: str, tower: str, blocks: Sequence[np.ndarray]) -> Probed | None:
        if blocks and time.monotonic() > self._end:
            self.cut.append(name)
            return None
        scores: FoldScores = self.folds.score(blocks)
        return Probed(name, tower, sum(block.shape[1] for block in blocks), scores)


def _notes(found: Ready, features: LayerFeatures, judge: _Judge) -> list[str]:
    """Return what was left out, and why, a line each."""
    assembly, notes = found.assembly, []
    if not any(tower.backbone_module is not None for tower in _towers(assembly).values()):
        notes.append("there is no backbone: layers are probed of text and image columns, and the data have neither")
    for place, why in features.left_out.items():
        notes.append(f"{place.name}: not probed, because {why}")
    if not assembly.layer_map.confident:
        notes.append("the order of the layers is not known: depths are those of their definition, and have no cost")
    if judge.cut:
        notes.append(f"{', '.join(judge.cut)}: not probed, because {duration(judge.seconds)} were over")
    for name, tower in _towers(assembly).items():
        if not tower.pretrained and tower.backbone_module is not None:
            notes.append(f"{name}: the backbone has random weights")
    return notes


def _towers(assembly: Assembly) -> dict[str, Tower]:
    return dict(assembly.model.towers.items())
