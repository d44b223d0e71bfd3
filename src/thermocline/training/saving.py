"""What a run gives to the rooms that make it cheaper."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from thermocline.data.batches import Rows
from thermocline.data.order import epoch_order
from thermocline.data.text import LANES, TextRows
from thermocline.efficiency.costs import Costs, layer_costs
from thermocline.efficiency.prefix import prefix_of
from thermocline.efficiency.prefix_cache import CacheOptions
from thermocline.efficiency.savings import Savings
from thermocline.training.run import Run
from thermocline.tuning.layers import LayerMap
from thermocline.tuning.phases import Cursor
from thermocline.tuning.plan import LayerPlan
from thermocline.tuning.timeline import planned_end

NOTE = "saved, "
GONE = "nothing any more"


def usual_batch(run: Run) -> int:
    """Return the number of rows that nearly all batches of training have."""
    assert run.env.batch_size
    assert run.env.micro_batch_size
    order = epoch_order(len(run.train), run.env.batch_size, seed=run.seed, epoch=0, lengths=None)
    sizes: Counter[int] = Counter()
    for rows in order:
        parts = -(-len(rows) // run.env.micro_batch_size)
        for part in range(parts):  # as numpy.array_split cuts
            sizes[len(rows) // parts + (part < len(rows) % parts)] += 1
    return sizes.most_common(1)[0][0]


def in_step(rows: Rows, layer_map: LayerMap, plan: LayerPlan) -> Rows:
    """Return rows whose values come out the same in every batch, where a plan keeps the first layers of a text tower.

    They are padded to whole vectors (see `data.text.LANES`), whether or not what these layers give is cached in the
    end, so that a run with the cache is the same run.
    """
    text = rows.parts.get("text")
    everything = frozenset(layer_map.labels)
    frozen = [everything - trains for trains in plan.timeline.always]
    if not isinstance(text, TextRows) or not any(prefix_of(layer_map, "text", one).labels for one in frozen):
        return rows
    return replace(rows, parts={**rows.parts, "text": replace(text, multiple=LANES)})


def passes(plan: LayerPlan, cursor: Cursor, *, probed: bool) -> float:
    """Return how often the training rows go through the model while the layers that train now do, at most.

    It is a function of the stretch and not of the moment: a run that goes on within it decides as it did before.

    Args:
        plan: The plan.
        cursor: Of a moment of the stretch.
        probed: Whether a probe runs before the first step.
    """
    phase = plan.phases[cursor.phase]
    start = plan.timeline.stretch(cursor).start
    end = planned_end(phase, cursor.phase_start, cursor.total_steps, cursor.steps_per_epoch)
    if phase.draw is not None:
        end = min(end, start + phase.draw.every)
    return (end - start) / max(cursor.steps_per_epoch, 1) + (probed and start == 0)


def news(now: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the notes that a history lacks: what is saved otherwise than its last notes say.

    Args:
        now: What is saved, by topic.
        rows: Of the history.
    """
    told: dict[str, str] = {}
    for row in rows:
        note = str(row.get("note") or "")
        if note.startswith(NOTE):
            topic, _, line = note.removeprefix(NOTE).partition(": ")
            told[topic] = line
    wanted = dict.fromkeys(told, GONE) | dict(now)
    return [f"{NOTE}{topic}: {line}" for topic, line in wanted.items() if told.get(topic) != line]


def make_savings(run: Run, device: torch.device, autocast: Callable[[], AbstractContextManager[Any]]) -> Savings:
    """Return what makes a run cheaper, as its options have it."""
    usual = usual_batch(run)
    facts = {
        "precision": run.env.precision,
        "device": device.type,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    options = CacheOptions(
        mode=run.optim.cache_prefix,
        usual=usual,
        budget=run.budget,
        folder=run.cache_folder or Path(tempfile.gettempdir()) / f"thermocline-cache-{id(run):x}",
        shared=run.cache_shared,
        facts=facts,
        compiled=run.env.compile,
        sizes_vary=run.env.micro_batch_tokens is not None,
    )

    def costs() -> Costs | None:
        batch = run.train.batch(epoch_order(len(run.train), usual, seed=0, epoch=0, lengths=None)[0], None)
        return layer_costs(run.model, run.layer_map, lambda shadow: shadow(batch), rows=len(batch["rows"]))

    rows = {"train": run.train, "valid": run.valid}
    ever = run.plan.timeline.ever
    return Savings(run.model, run.layer_map, rows, run.model_options, options, costs, ever, autocast)
