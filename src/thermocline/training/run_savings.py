"""Builds prefix cache, joined convolutions and checkpointed layers for a run."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]

from thermocline.contracts.learning import Learning, Start
from thermocline.contracts.problem import Assembly
from thermocline.data.batches import Rows
from thermocline.data.memory_budget import Budget
from thermocline.data.order import epoch_order, micro_batches
from thermocline.efficiency.costs.estimate import size
from thermocline.efficiency.costs.forecast import Facts, Forecast, forecast
from thermocline.efficiency.costs.live_counter import CountedRun, bytes_of
from thermocline.efficiency.costs.seconds import StepTimes
from thermocline.efficiency.prefix_cache.options import CacheOptions
from thermocline.efficiency.prefix_cache.prefix import prefix_of
from thermocline.efficiency.savings import Savings, SavingsSetup
from thermocline.errors import counted
from thermocline.training.live_source import counted_of
from thermocline.training.memory_search import MemorySearch
from thermocline.training.optimizing import optimizer_cost
from thermocline.training.run import Run, Storage
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

if TYPE_CHECKING:
    from thermocline.config.schema import EnvConfig

NOTE = "saved, "
ENDED = "nothing any more"


def savings_of(run: Run, autocast: Callable[[], AbstractContextManager[Any]]) -> Savings:
    """Return what makes a run cheaper, as its options ask.

    Args:
        run: Model, layers, plan, configuration, rows, where files lie, and the memory of caches.
        autocast: The precision of training.
    """
    options = cache_options(run.assembly, len(run.train), run.storage)
    return Savings(_setup(run.assembly, {"train": run.train, "valid": run.valid}, options, autocast))


def forecast_of(assembly: Assembly, rows: Mapping[str, Rows], learning: Learning, times: StepTimes | None) -> Forecast:
    """Return what a run is expected to save and cost.

    Args:
        assembly: Model, layers, plan, configuration.
        rows: `train` and `valid`.
        learning: How it is trained: the start of the head that is computed before the first step, and the loss.
        times: What three steps took, where they were timed.
    """
    savings, counted = _before_a_run(assembly, rows, learning)
    optim = assembly.config.optim
    probe = _in_words(learning.start, len(rows["train"]))
    base = max(psutil.Process().memory_info().rss - bytes_of(assembly.model), 0)
    return forecast(savings, Facts(optimizer_cost(assembly), probe, optim.ema is not None, counted, base, times))


def setup_of(assembly: Assembly, rows: Mapping[str, Rows]) -> SavingsSetup:
    """Return a run as far as it can be made cheaper, before it: nothing is written.

    Args:
        assembly: Model, layers, plan, configuration.
        rows: `train` and `valid`.
    """
    return _setup(assembly, rows, cache_options(assembly, len(rows["train"]), None), nullcontext)


def memory_search(
    assembly: Assembly, rows: Mapping[str, Rows], learning: Learning, most: int, *, freezes: bool
) -> MemorySearch:
    """Return what tries changes of a run that take less memory.

    Args:
        assembly: Model, layers, plan, configuration.
        rows: `train` and `valid`.
        learning: How it is trained.
        most: Bytes that it may take, beyond what the process takes without it.
        freezes: Whether layers may be frozen.
    """
    _, counted = _before_a_run(assembly, rows, learning)
    return MemorySearch(assembly, counted, assembly.config.env.device, most, freezes)


def _before_a_run(assembly: Assembly, rows: Mapping[str, Rows], learning: Learning) -> tuple[Savings, CountedRun]:
    """Return what makes a run cheaper, and what counts the bytes of its steps; nothing is written."""
    rows = {**rows, "train": aligned_rows(rows["train"], assembly.layer_map, assembly.plan)}
    savings = Savings(setup_of(assembly, rows))
    return savings, counted_of(assembly, rows, savings, learning.objective)


def _in_words(start: Start | None, rows: int) -> str:
    if start is None:
        return ""
    return f"{start.name}: of {len(start.rows):,} of {counted(rows, 'row')}, about {size(start.memory)}"


def _setup(
    assembly: Assembly,
    rows: Mapping[str, Rows],
    options: CacheOptions,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> SavingsSetup:
    model_options = assembly.config.model
    return SavingsSetup(assembly.model, assembly.layer_map, assembly.plan, rows, model_options, options, autocast)


def cache_options(assembly: Assembly, rows: int, storage: Storage | None) -> CacheOptions:
    """Return how prefixes are cached.

    Args:
        assembly: Its configuration is followed.
        rows: Training rows.
        storage: Where files lie; None before a run: then nothing is written.
    """
    env = assembly.config.env
    budget = Budget.of(env.cache_memory) if storage is None else storage.budget
    folder = None if storage is None else storage.prefixes
    assert env.eval_batch_size
    return CacheOptions(
        mode=assembly.config.optim.cache_prefix,
        usual=usual_batch(rows, env),
        budget=budget,
        folder=folder or Path(tempfile.gettempdir()) / f"thermocline-{os.getpid()}-{uuid.uuid4().hex[:8]}",
        shared=storage is not None and storage.shared,
        facts={"precision": env.precision},
        compiled=env.compile,
        sizes_vary=env.micro_batch_tokens is not None,
        validated=env.eval_batch_size,
    )


def usual_batch(rows: int, env: EnvConfig) -> int:
    """Return the number of rows that nearly all batches of training have."""
    assert env.batch_size
    assert env.micro_batch_size
    sizes: Counter[int] = Counter()
    for batch in epoch_order(rows, env.batch_size, seed=0, epoch=0, lengths=None):
        sizes.update(len(part) for part in micro_batches(batch, most_rows=env.micro_batch_size))
    return sizes.most_common(1)[0][0]


def aligned_rows(rows: Rows, layer_map: LayerMap, plan: LayerPlan) -> Rows:
    """Return rows whose values come out the same in every batch, for towers whose first layers a plan keeps frozen.

    They are so whether or not outputs of these layers are cached in the end, so that a run with the cache is the same
    run (see `RowPart.aligned`).
    """
    everything = frozenset(layer_map.labels)
    frozen = [everything - trains for trains in plan.timeline.always]
    for name, part in rows.parts.items():
        if any(prefix_of(layer_map, name, one).labels for one in frozen):
            rows = rows.with_part(name, part.aligned())
    return rows


def changed_notes(now: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the notes that a history lacks: what is saved otherwise than its last notes say.

    Args:
        now: What is saved, by topic.
        rows: Of the history.
    """
    noted: dict[str, str] = {}
    for row in rows:
        note = str(row.get("note") or "")
        if note.startswith(NOTE):
            topic, _, line = note.removeprefix(NOTE).partition(": ")
            noted[topic] = line
    wanted = dict.fromkeys(noted, ENDED) | dict(now)
    return [f"{NOTE}{topic}: {line}" for topic, line in wanted.items() if noted.get(topic) != line]
