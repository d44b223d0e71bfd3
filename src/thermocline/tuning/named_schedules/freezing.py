"""Schedules that freeze, and those that train a part: each function only writes phases."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.tuning.named_schedules.unfreezing import template
from thermocline.tuning.schedule import layer_groups as ladder
from thermocline.tuning.schedule.phases import Draw, Phase
from thermocline.tuning.values import fraction, positive, whole

if TYPE_CHECKING:
    from thermocline.tuning.plan.layer_plan import LayerPlan

Phases = tuple[Phase, ...]
_EPSILON = 1e-9


def progressive_freeze(
    plan: LayerPlan,
    start: float = 0.5,
    level: float = 1.0,
    *,
    every: str = "step",
    epochs: float | None = None,
) -> Phases:
    """Freeze from the input side as the run goes on: Composer's LayerFreezing, after FreezeOut (Brock et al. 2017).

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
    rungs = ladder.rungs(plan)
    times = [start + (1 - start) * depth / (level * len(rungs)) for depth in range(1, int(level * len(rungs)) + 1)]
    edges = [(time, depth) for depth, time in enumerate(times, start=1) if time < 1 - _EPSILON]
    run = 1.0
    if every == "epoch":
        run = _run_epochs(plan, epochs)
        edges = [(float(math.ceil(time * run - _EPSILON)), depth) for time, depth in edges]
        edges = [(time, depth) for time, depth in dict(edges).items() if time < run]
    phases = []
    for number, (time, depth) in enumerate([(0.0, 0), *edges]):
        left = ladder.joined(plan, [*rungs[depth:], ladder.top(plan)])
        phase = template(plan, name=_named(depth, len(rungs)), trains=ladder.trains(plan, left), over="run")
        if number < len(edges):
            end = edges[number][0]
            phase = replace(phase, fraction=end) if every == "step" else replace(phase, epochs=end - time)
        phases.append(phase)
    return tuple(phases)


def _named(depth: int, count: int) -> str:
    return f"{depth} of {count} frozen" if depth else "all"


def _run_epochs(plan: LayerPlan, epochs: float | None) -> float:
    if epochs is not None:
        return positive("epochs", epochs)
    if not plan.total_steps or not plan.steps_per_epoch:
        raise ConfigError("progressive_freeze(every='epoch') needs to know the epochs of the run: epochs=….")
    return plan.total_steps / plan.steps_per_epoch


def surgical(plan: LayerPlan, which: str = "first", n: int = 1) -> Phases:
    """Train only the first, middle or last n blocks: surgical fine-tuning (Lee et al. 2022).

    What starts fresh (the head) trains too; all else rests for the whole run.

    Args:
        plan: The plan.
        which: `first`, `middle` or `last`.
        n: How many blocks, in execution order.
    """
    if which not in ("first", "middle", "last"):
        choices = ("first", "middle", "last")
        raise ConfigError(f"which takes {listing(choices)}; got {which!r}.{did_you_mean(which, choices)}")
    blocks = [rung for rung in _blocks(plan) if rung]
    if whole("n", n) > len(blocks):
        raise ConfigError(f"surgical(n={n}) asks for more blocks than there are: {len(blocks)}.")
    begin = {"first": 0, "middle": (len(blocks) - n) // 2, "last": len(blocks) - n}[which]
    fresh = tuple(layer.label for layer in plan.layers if not layer.pretrained and layer.role != "adapter")
    chosen = ladder.joined(plan, [*blocks[begin : begin + n], fresh])
    return (template(plan, name=f"{which} of {len(blocks)} blocks", trains=ladder.trains(plan, chosen)),)


def lisa(plan: LayerPlan, n_layers: int = 2, every: int = 20, *, seed: int = 0) -> Phases:
    """Train a random set of n blocks for K steps, then another: LISA (Pan et al. 2024).

    The embeddings, the head and whatever else is no block train all the time. Which blocks are drawn is a function
    of the seed and the step. The schedule runs over the whole run.

    Args:
        plan: The plan.
        n_layers: Blocks at once.
        every: Steps between draws.
        seed: Of the draws.
    """
    blocks = ladder.joined(plan, _blocks(plan))
    held = tuple(label for label in plan.labels if label not in blocks)
    draw = Draw(n_layers, every, seed, ladder.short(plan, blocks))
    return (
        template(
            plan, name=f"{n_layers} drawn every {every} steps", trains=ladder.short(plan, held), over="run", draw=draw
        ),
    )


def _blocks(plan: LayerPlan) -> list[ladder.Labels]:
    """The rungs with only their blocks."""
    return [tuple(label for label in rung if plan[label].role == "block") for rung in ladder.rungs(plan)]
