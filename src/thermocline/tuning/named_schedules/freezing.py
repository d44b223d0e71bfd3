"""Schedules that freeze layers as the run proceeds, or train a part of them: each function only writes phases."""

from __future__ import annotations

import math
from dataclasses import replace

from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.tuning.named_schedules import layer_groups
from thermocline.tuning.named_schedules.phase_template import Phases, template
from thermocline.tuning.number_checks import fraction, positive, whole
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.schedule.phases import Draw

_EPSILON = 1e-9


def progressive_freeze(
    plan: Decisions,
    start: float = 0.5,
    level: float = 1.0,
    *,
    every: str = "step",
    epochs: float | None = None,
) -> Phases:
    """Freeze from the input side as the run proceeds: Composer's LayerFreezing, after FreezeOut (Brock et al. 2017).

    At an elapsed fraction t of the run `int(level × n × (t − start) / (1 − start))` of the n layers below the head are
    frozen, in execution order. (Composer counts leaf modules in order of registration.) The schedule runs over the
    whole run.

    Args:
        plan: The plan.
        start: The fraction of the run before freezing begins.
        level: The fraction of the layers that are frozen at its end.
        every: Whether t is looked at every `step`, or at the end of every `epoch`, as Composer does.
        epochs: Of the run; needed with `every="epoch"` where the plan does not know.
    """
    fraction("start", start, below_one=True)
    fraction("level", level)
    if every not in ("step", "epoch"):
        raise ConfigError(f"every takes 'step' or 'epoch'; got {every!r}.")
    below, top = layer_groups.depth_groups(plan), layer_groups.top(plan)
    edges = _freeze_times(start, level, len(below))
    if every == "epoch":
        edges = _at_epoch_ends(edges, _run_epochs(plan, epochs))
    phases = []
    for number, (time, depth) in enumerate([(0.0, 0), *edges]):
        left = layer_groups.joined(plan, [*below[depth:], top])
        name = f"{depth} of {len(below)} frozen" if depth else "all"
        phase = template(plan, name=name, trains=layer_groups.trains(plan, left), over="run")
        if number < len(edges):
            end = edges[number][0]
            phase = replace(phase, fraction=end) if every == "step" else replace(phase, epochs=end - time)
        phases.append(phase)
    return tuple(phases)


def _freeze_times(start: float, level: float, count: int) -> list[tuple[float, int]]:
    """The fractions of the run at which the next of `count` layers freezes, with the number that is frozen then."""
    times = [start + (1 - start) * depth / (level * count) for depth in range(1, int(level * count) + 1)]
    return [(time, depth) for depth, time in enumerate(times, start=1) if time < 1 - _EPSILON]


def _at_epoch_ends(edges: list[tuple[float, int]], epochs: float) -> list[tuple[float, int]]:
    """Times moved to the ends of epochs, and counted in epochs; of several at one end the last counts."""
    moved = {float(math.ceil(time * epochs - _EPSILON)): depth for time, depth in edges}
    return [(time, depth) for time, depth in moved.items() if time < epochs]


def _run_epochs(plan: Decisions, epochs: float | None) -> float:
    if epochs is not None:
        return positive("epochs", epochs)
    if not plan.total_steps or not plan.steps_per_epoch:
        raise ConfigError("progressive_freeze(every='epoch') needs to know the epochs of the run: epochs=….")
    return plan.total_steps / plan.steps_per_epoch


def surgical(plan: Decisions, which: str = "first", n: int = 1) -> Phases:
    """Train only the first, middle or last n blocks: surgical fine-tuning (Lee et al. 2022).

    Newly initialised layers (the head) train too; all others are frozen for the whole run.

    Args:
        plan: The plan.
        which: `first`, `middle` or `last`.
        n: How many blocks, in execution order.
    """
    if which not in ("first", "middle", "last"):
        choices = ("first", "middle", "last")
        raise ConfigError(f"which takes {listing(choices)}; got {which!r}.{did_you_mean(which, choices)}")
    blocks = [group for group in _blocks(plan) if group]
    if whole("n", n) > len(blocks):
        raise ConfigError(f"surgical(n={n}) asks for more blocks than there are: {len(blocks)}.")
    begin = {"first": 0, "middle": (len(blocks) - n) // 2, "last": len(blocks) - n}[which]
    fresh = tuple(layer.label for layer in plan.layers if not layer.pretrained and layer.role != "adapter")
    chosen = layer_groups.joined(plan, [*blocks[begin : begin + n], fresh])
    return (template(plan, name=f"{which} of {len(blocks)} blocks", trains=layer_groups.trains(plan, chosen)),)


def lisa(plan: Decisions, n_layers: int = 2, every: int = 20, *, seed: int = 0) -> Phases:
    """Train a random set of n blocks for K steps, then another: LISA (Pan et al. 2024).

    The embeddings, the head and all other layers that are no block train all the time. Which blocks are drawn is a
    function of the seed and the step. The schedule runs over the whole run.

    Args:
        plan: The plan.
        n_layers: Blocks at once.
        every: Steps between draws.
        seed: Of the draws.
    """
    blocks = layer_groups.joined(plan, _blocks(plan))
    others = tuple(label for label in plan.labels if label not in blocks)
    draw = Draw(n_layers, every, seed, layer_groups.short_selectors(plan, blocks))
    name = f"{n_layers} drawn every {every} steps"
    return (template(plan, name=name, trains=layer_groups.short_selectors(plan, others), over="run", draw=draw),)


def _blocks(plan: Decisions) -> list[layer_groups.Labels]:
    """The depths with only their blocks."""
    groups = layer_groups.depth_groups(plan)
    return [tuple(label for label in group if plan[label].role == "block") for group in groups]
