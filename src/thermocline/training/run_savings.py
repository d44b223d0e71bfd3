"""What a run gives to the rooms that make it cheaper."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from thermocline.data.batches import Rows
from thermocline.data.memory_budget import Budget
from thermocline.data.order import epoch_order, micro_batches
from thermocline.efficiency.prefix_cache.options import CacheOptions
from thermocline.efficiency.prefix_cache.prefix import prefix_of
from thermocline.efficiency.savings import Savings, SavingsSetup
from thermocline.training.run import Run
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

if TYPE_CHECKING:
    from thermocline.config.schema import EnvConfig, OptimConfig

NOTE = "saved, "
GONE = "nothing any more"


def usual_batch(rows: int, env: EnvConfig) -> int:
    """Return the number of rows that nearly all batches of training have."""
    assert env.batch_size
    assert env.micro_batch_size
    sizes: Counter[int] = Counter()
    for batch in epoch_order(rows, env.batch_size, seed=0, epoch=0, lengths=None):
        sizes.update(len(part) for part in micro_batches(batch, most_rows=env.micro_batch_size))
    return sizes.most_common(1)[0][0]


def cache_options(
    rows: int, optim: OptimConfig, env: EnvConfig, budget: Budget, folder: Path | None, *, shared: bool
) -> CacheOptions:
    """Return how prefixes are cached.

    Args:
        rows: Training rows.
        optim: The `optim` section of the configuration.
        env: The `env` section.
        budget: Memory that caches may take.
        folder: Where files lie; `None` for a temporary folder.
        shared: Whether they stay there.
    """
    facts = {
        "precision": env.precision,
        "device": env.device,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    return CacheOptions(
        mode=optim.cache_prefix,
        usual=usual_batch(rows, env),
        budget=budget,
        folder=folder or Path(tempfile.gettempdir()) / f"thermocline-{os.getpid()}-{uuid.uuid4().hex[:8]}",
        shared=shared,
        facts=facts,
        compiled=env.compile,
        sizes_vary=env.micro_batch_tokens is not None,
    )


def in_step(rows: Rows, layer_map: LayerMap, plan: LayerPlan) -> Rows:
    """Return rows whose values come out the same in every batch, for towers whose first layers a plan keeps frozen.

    They are aligned (see `RowPart.aligned`) whether or not the outputs of these layers are cached in the end, so that
    a run with the cache is the same run.
    """
    everything = frozenset(layer_map.labels)
    frozen = [everything - trains for trains in plan.timeline.always]
    for name, part in rows.parts.items():
        if any(prefix_of(layer_map, name, one).labels for one in frozen):
            rows = rows.with_part(name, part.aligned())
    return rows


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


def make_savings(run: Run, autocast: Callable[[], AbstractContextManager[Any]]) -> Savings:
    """Return what makes a run cheaper, as its options have it."""
    rows = {"train": run.train, "valid": run.valid}
    options = cache_options(len(run.train), run.optim, run.env, run.budget, run.cache_folder, shared=run.cache_shared)
    return Savings(SavingsSetup(run.model, run.layer_map, run.plan, rows, run.model_options, options, autocast))
