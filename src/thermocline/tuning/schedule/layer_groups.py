"""A plan's layers in the order in which schedules thaw and freeze them, in groups, and as short selectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from thermocline.errors import ConfigError, listing
from thermocline.tuning.layers.patterns import fold_name, folds
from thermocline.tuning.schedule.phase_layers import resolved
from thermocline.tuning.schedule.phases import EVERYTHING, selectors

if TYPE_CHECKING:
    from thermocline.tuning.plan.layer_plan import LayerPlan, PlanLayer

Labels = tuple[str, ...]
_TRUNK = ("stem", "block", "neck", "adapter")


def rungs(plan: LayerPlan) -> list[Labels]:
    """Return the layers below the head in execution order, nearest the input first: one or more per rung.

    The longest tower has a layer on every rung. A shorter one is stretched beside it, so that stems stand at the foot
    and last blocks at the top. An adapter stands with its host. A tower that is not pretrained stands on no rung
    (unless none is): there is nothing in it to protect.
    """
    plan.layer_map.require_confident("A schedule that goes from layer to layer")
    trunk = _trunk(plan)
    depths: dict[str, list[int]] = {}
    for layer in trunk:
        depths.setdefault(layer.tower, []).append(layer.depth)
    order = {tower: sorted(set(own)) for tower, own in depths.items()}
    longest = max((len(own) for own in order.values()), default=0)
    out: list[list[str]] = [[] for _ in range(longest)]
    for layer in trunk:
        own = order[layer.tower]
        place = own.index(layer.depth)
        rung = longest - 1 if len(own) == 1 else round(place * (longest - 1) / (len(own) - 1))
        out[rung].append(layer.label)
    return [tuple(labels) for labels in out]


def top(plan: LayerPlan) -> Labels:
    """Return what stands on no rung: the head, fusion, and towers that start fresh."""
    below = {layer.label for layer in _trunk(plan)}
    return tuple(label for label in plan.labels if label not in below)


def _trunk(plan: LayerPlan) -> list[PlanLayer]:
    loaded = {layer.tower for layer in plan.layers if layer.pretrained and layer.role in _TRUNK}
    return [layer for layer in plan.layers if layer.role in _TRUNK and (not loaded or layer.tower in loaded)]


def groups(plan: LayerPlan, given: Any = None) -> list[Labels]:
    """Return layer groups, nearest the input first: fastai's three (stem and early, late, head) by default.

    Args:
        plan: The plan.
        given: Any other split: a list of selectors, or of lists of them, together naming every layer once.

    Raises:
        ConfigError: A layer is in no group, or in two.
        SelectorError: A selector matches nothing.
    """
    if given is None:
        below = rungs(plan)
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


def joined(plan: LayerPlan, parts: Iterable[Labels]) -> Labels:
    """Return the layers of several groups, in the plan's order."""
    chosen = {label for part in parts for label in part}
    return tuple(label for label in plan.labels if label in chosen)


def short(plan: LayerPlan, labels: Sequence[str]) -> Labels:
    """Return selectors that mean exactly these layers: `text/encoder.layer.[0-5]` for six labels."""
    out: list[str] = []
    for tower in dict.fromkeys(plan[label].tower for label in labels):
        names = [plan[label].name for label in labels if plan[label].tower == tower]
        for run in folds(names):
            folded = fold_name([names[i] for i in run])
            out += [f"{tower}/{folded}"] if folded else [f"{tower}/{names[i]}" for i in run]
    exact = resolved(plan.layer_map, out, "layers") if out else ()
    return tuple(out) if set(exact) == set(labels) else tuple(labels)


def trains(plan: LayerPlan, labels: Sequence[str]) -> str | Labels:
    """Return what a phase has as `trains` to mean these layers."""
    return EVERYTHING if set(labels) == set(plan.labels) else short(plan, labels)


def scales(plan: LayerPlan, numbers: Sequence[tuple[Labels, float]]) -> dict[str, float]:
    """Return what a phase has as `lr_scale` to give each group its number."""
    return {selector: float(f"{number:.12g}") for labels, number in numbers for selector in short(plan, labels)}
