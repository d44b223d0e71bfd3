"""A detector that starts from an earlier one: all of its weights, those of classes matched by value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from thermocline.backbones.class_heads import class_dependent
from thermocline.config import ResolvedConfig
from thermocline.config.joined import option_names
from thermocline.contracts.starting import PART, WHOLE, Earlier, Started, kept_options
from thermocline.errors import counted, listing
from thermocline.problems.object_detection.detector import Detector
from thermocline.problems.object_detection.detector_saved import describe_detector, rebuild_detector
from thermocline.problems.object_detection.options import DetectorOptions

SECTION, TOWER = "model.detector", "detector"
FREE = frozenset(
    f"{SECTION}.{name}" for name in ("augment", "frozen_layers", "head_includes", "max_boxes", "score_threshold")
)
"""Options that may be others than those that the detector was built by."""


def options_as_before(earlier: Earlier, config: ResolvedConfig) -> ResolvedConfig:
    """Return a configuration in which the detector's options are those that it was built by.

    Raises:
        ConfigError: Others were set by hand.
    """
    names = option_names({SECTION: DetectorOptions})
    return kept_options(config, earlier.assembly.config, names, FREE, tower=TOWER)


def detector_from(earlier: Earlier, classes: Sequence[Any]) -> tuple[Detector, Started, str]:
    """Return a detector of these classes with the weights of an earlier one, what was taken, and a line on it.

    What a class is told from has the weights of that class; those of a new class are as built. A detector that knows
    nothing of the classes yet starts with their outputs as built, too.
    """
    old: Detector = earlier.assembly.model.detector
    described = describe_detector(old)
    names = dict(enumerate(map(str, classes)))
    config = {**described["config"], "id2label": names, "label2id": {name: place for place, name in names.items()}}
    detector = rebuild_detector({**described, "config": config, "classes": list(classes)})
    known = {value: place for place, value in enumerate(old.classes)}
    places = [known.get(value) for value in classes]
    heads = class_dependent(detector.model)
    _copy(old, detector, places, heads)
    new = tuple(place for place, there in enumerate(places) if there is None)
    first = {id(p): name for name, p in reversed(list(detector.model.named_parameters()))}
    fresh = {first[id(p)] for name, p in detector.model.named_parameters() if name in heads} if new else set()
    detector.origin = replace(detector.origin, pretrained=True, fresh=frozenset(fresh), notes=())
    detector.pretrained, detector.fresh, detector.notes = True, detector.origin.fresh, ()
    started = Started(earlier.where, earlier.fingerprint, (TOWER,), PART if new else WHOLE, new)
    gone = [value for value in old.classes if value not in classes]
    said = f"{started}: the detector, with {len(places) - len(new)} of {counted(len(places), 'class', 'classes')}"
    said += f"; new are {listing(classes[place] for place in new)}" if new else ""
    said += f"; {listing(gone)} are no labels any more, and are not found" if gone else ""
    return detector, started, said


@torch.no_grad()
def _copy(old: Detector, new: Detector, places: Sequence[int | None], heads: frozenset[str]) -> None:
    """Copy weights; rows of classes by value, and rows behind them, such as that of no object, by their place."""
    source, classes = old.model.state_dict(), len(old.classes)
    for name, tensor in new.model.state_dict().items():
        there = source.get(name)
        if there is None or there.shape[1:] != tensor.shape[1:]:
            continue
        if name not in heads:
            tensor.copy_(there)
            continue
        for place, then in enumerate(places):
            if then is not None:
                tensor[place] = there[then]
        if len(tensor) - len(places) == len(there) - classes:
            tensor[len(places) :] = there[classes:]
