"""A plan's layers in the order in which schedules unfreeze and freeze them, in groups, and as short selectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from thermocline.errors import ConfigError, listing
from thermocline.tuning.layers.folding import fold_name, folds
from thermocline.tuning.layers.layer import BACKBONE_ROLES
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.plan.plan_layer import PlanLayer
from thermocline.tuning.schedule.phase_layers import resolved
from thermocline.tuning.schedule.phases import EVERYTHING, selectors

Labels = tuple[str, ...]
#: An adapter is frozen and unfrozen with its host.
_ROLES = (*BACKBONE_ROLES, "adapter")


def depth_groups(plan: Decisions) -> list[Labels]:
    """Return the layers below the head in execution order, nearest the input first: one or more per depth.

    There are as many depths as the longest tower has layers. The layers of a shorter tower are spread evenly over
    them, so that its stem is at the first and its last block at the last. An adapter has the depth of its host. A
    tower that is not pretrained has no depth (unless none is pretrained): its weights are random, and freezing them
    would keep nothing.
    """
    plan.layer_map.require_confident("A schedule that freezes or unfreezes layer by layer")
    below = _below_head(plan)
    depths: dict[str, list[int]] = {}
    for layer in below:
        depths.setdefault(layer.tower, []).append(layer.depth)
    order = {tower: sorted(set(own)) for tower, own in depths.items()}
    longest = max((len(own) for own in order.values()), default=0)
    out: list[list[str]] = [[] for _ in range(longest)]
    for layer in below:
        own = order[layer.tower]
        place = own.index(layer.depth)
        depth = longest - 1 if len(own) == 1 else round(place * (longest - 1) / (len(own) - 1))
        out[depth].append(layer.label)
    return [tuple(labels) for labels in out]


def top(plan: Decisions) -> Labels:
    """Return the layers that have no depth: the head, fusion, and towers that are not pretrained."""
    below = {layer.label for layer in _below_head(plan)}
    return tuple(label for label in plan.labels if label not in below)


def _below_head(plan: Decisions) -> list[PlanLayer]:
    loaded = {layer.tower for layer in plan.layers if layer.pretrained and layer.role in _ROLES}
    return [layer for layer in plan.layers if layer.role in _ROLES and (not loaded or layer.tower in loaded)]


def split_layers(plan: Decisions, given: Any = None) -> list[Labels]:
    """Return layer groups, nearest the input first: fastai's three (stem and early, late, head) by default.

    Args:
        plan: The plan.
        given: Any other split: a list of selectors, or of lists of them, together naming every layer once.

    Raises:
        ConfigError: A layer is in no group, or in two.
        SelectorError: A selector matches nothing.
    """
    if given is None:
        below = depth_groups(plan)
        cut = -(-len(below) // 2)
        halves = [joined(plan, below[:cut]), joined(plan, below[cut:]), top(plan)]
        return [half for half in halves if half]
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise ConfigError(f"groups is a list of layer groups, each a selector or a list of them; got {given!r}.")
    layer_map = plan.layer_map
    made = [resolved(layer_map, selectors("groups", one), f"groups[{i}]") for i, one in enumerate(given)]
    placed = [label for group in made for label in group]
    twice = sorted({label for label in placed if placed.count(label) > 1})
    left = [label for label in plan.labels if label not in placed]
    if twice or left:
        faults = [f"{listing(twice, limit=4)} in two groups"] if twice else []
        faults += [f"{listing(left, limit=4)} in none"] if left else []
        raise ConfigError(f"Every layer belongs to one group; there is {' and '.join(faults)}.")
    return made


def joined(plan: Decisions, parts: Iterable[Labels]) -> Labels:
    """Return the layers of several groups, in the plan's order."""
    chosen = {label for part in parts for label in part}
    return tuple(label for label in plan.labels if label in chosen)


def short_selectors(plan: Decisions, labels: Sequence[str]) -> Labels:
    """Return selectors that mean exactly these layers: `text/encoder.layer.[0-5]` for six labels."""
    out: list[str] = []
    for tower in dict.fromkeys(plan[label].tower for label in labels):
        names = [plan[label].name for label in labels if plan[label].tower == tower]
        for run in folds(names):
            folded = fold_name([names[i] for i in run])
            out += [f"{tower}/{folded}"] if folded else [f"{tower}/{names[i]}" for i in run]
    exact = resolved(plan.layer_map, out, "layers") if out else ()
    return tuple(out) if set(exact) == set(labels) else tuple(labels)


def trains(plan: Decisions, labels: Sequence[str]) -> str | Labels:
    """Return the value of a phase's `trains` that means these layers."""
    return EVERYTHING if set(labels) == set(plan.labels) else short_selectors(plan, labels)


def scales(plan: Decisions, numbers: Sequence[tuple[Labels, float]]) -> dict[str, float]:
    """Return the value of a phase's `lr_scale` that gives each group its number."""
    return {
        selector: float(f"{number:.12g}") for labels, number in numbers for selector in short_selectors(plan, labels)
    }
