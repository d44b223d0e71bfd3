"""The options under which a fit stays within an amount of memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import Any

from thermocline.backbones.adapters import is_installed
from thermocline.contracts.learning import Learning
from thermocline.contracts.problem import Assembly
from thermocline.contracts.request import Request
from thermocline.data.memory_budget import GIGABYTE
from thermocline.efficiency.costs.estimate import size
from thermocline.errors import ConfigError, LayerMapError, NotEnoughMemoryError
from thermocline.pipeline.prepare import Prepared
from thermocline.pipeline.ready import Ready, ready, with_options
from thermocline.registry import input_infos
from thermocline.training.freezable import pretrained_blocks, rated_backbones
from thermocline.training.memory_search import ADAPTERS, Change, MemorySearch
from thermocline.training.run_savings import memory_search
from thermocline.tuning.plan.layer_plan import LayerPlan

UNKNOWN = float("inf")
START_SHARE = 0.25  # of the memory, at most for the start of the head
LEAST_CACHE = 0.001  # gigabytes
BATCHES = ("env.micro_batch_size", "env.eval_batch_size")
SHARES = (0.75, 0.5, 0.25)  # of the size of inputs


def within_memory(request: Request, memory: int | None, *, others: int = 0, prepared: Prepared | None = None) -> Ready:
    """Return data and model of a request, with the options under which it stays within so many bytes.

    What costs no accuracy is changed first: micro-batches, checkpointed layers, then bf16, then a frozen stem, adapters
    in place of the weights of pretrained backbones (LoRA), frozen layers, no more than are needed, then smaller images
    and shorter texts. What the user set is left.

    Args:
        request: What was asked for.
        memory: Bytes that the fit may take beyond what the process has; None: no limit.
        others: How many other changes that would fit are looked for.
        prepared: As `ready` takes it.

    Raises:
        NotEnoughMemoryError: Nothing would fit.
        ThermoclineError: See `Predictor.fit`.
    """
    found = ready(request, prepared)
    if memory is None:
        return found
    least: float = UNKNOWN
    freezes = not isinstance(found.given, LayerPlan)
    for smaller in (None, *_smaller_inputs(found.assembly)):
        found = found if smaller is None else ready(replace(request, chosen={**request.chosen, **smaller}), prepared)
        adapted = _Adapted(found, memory)
        search = replace(_search(found, memory, freezes=freezes), adapted=adapted.search)
        changes = search.changes(whole_batch=found.learning.objective.whole_batch)
        for one in changes:
            if search.fits(one):
                more = islice(_apart(one, filter(search.fits, changes)), others)
                changed = adapted.ready if ADAPTERS.items() <= one.options.items() else found
                assert changed is not None
                return replace(_changed(changed, one, memory), change=one, others=tuple(more))
            least = min(least, one.needed)
    if least == UNKNOWN:
        raise NotEnoughMemoryError(
            f"memory={size(memory)} cannot be kept: what this model takes is not known, because it does not run on "
            "shapes alone. Leave memory out."
        )
    raise NotEnoughMemoryError(
        f"memory={size(memory)} is too little for this model: with single rows, recomputed layers, bf16, adapters or a "
        "frozen backbone, and smaller inputs, as far as the options leave them open, it takes up to "
        f"{size(least)}. Give at least that, or take a smaller backbone."
    )


def _search(found: Ready, memory: int, *, freezes: bool) -> MemorySearch:
    """Return what tries changes of a fit; the start of the head takes its part of the memory."""
    most = memory - _of_start(found.learning, memory)
    return memory_search(found.assembly, found.rows, found.learning, most, freezes=freezes)


class _Adapted:
    """A fit with adapters in place of the weights of its backbones, built when it is asked for.

    Attributes:
        found: The fit without.
        memory: Bytes that it may take.
    """

    def __init__(self, found: Ready, memory: int) -> None:
        self.found, self.memory = found, memory

    def search(self) -> MemorySearch | None:
        """Return what tries changes of it; None where it cannot have adapters."""
        return None if self.ready is None else _search(self.ready, self.memory, freezes=False)

    @cached_property
    def ready(self) -> Ready | None:
        """The fit with adapters.

        None where a plan was given, options say otherwise (a rate of a backbone's own weights does), or no backbone can
        have them.
        """
        found, config = self.found, self.found.assembly.config
        layer_map, request = found.assembly.layer_map, found.prepared.request
        reads = found.prepared.problem.info.reads
        is_open = all(key in reads and config.is_open(key) and config[key] != value for key, value in ADAPTERS.items())
        pretrained = any(pretrained_blocks(layer_map, tower) for tower in layer_map.towers)
        if rated_backbones(found.assembly) or found.given is not None:
            return None
        if not is_open or not pretrained or not is_installed():
            return None
        chosen = {key: (value, "memory: all weights would take more") for key, value in ADAPTERS.items()}
        try:
            return ready(replace(request, chosen={**request.chosen, **chosen}), found.prepared)
        except (ConfigError, LayerMapError):
            return None


def _changed(found: Ready, change: Change, memory: int) -> Ready:
    """Return a fit with the options of a change, and caches that take no more than what it leaves."""
    found = with_options(found, change.options, f"memory={size(memory)}: up to {size(change.needed)} with it")
    if found.assembly.config.env.cache_memory is not None:
        return found
    spare = max(LEAST_CACHE, round((memory - change.needed) / GIGABYTE, 3))
    return with_options(found, {"env.cache_memory": spare}, f"memory={size(memory)}: so much is left")


def _apart(change: Change, later: Iterable[Change]) -> Iterator[Change]:
    """Yield the first of later changes that have the same options but for the number of rows at once."""
    seen = [_kind(change)]
    for one in later:
        if _kind(one) not in seen:
            seen.append(_kind(one))
            yield one


def _kind(change: Change) -> dict[str, object]:
    return {key: value for key, value in change.options.items() if key not in BATCHES}


def _of_start(learning: Learning, memory: int) -> int:
    """Return the bytes that are left to the start of the head: it has the caches' share of the memory."""
    start = learning.start
    return 0 if start is None else min(start.memory, int(START_SHARE * memory))


def _smaller_inputs(assembly: Assembly) -> Iterator[Mapping[str, tuple[Any, str]]]:
    """Yield smaller sizes of inputs that the options leave open, such as sides of images, with the reason."""
    config, towers = assembly.config, assembly.model.towers
    options = [pair for info in input_infos() if info.name in towers for pair in info.size_options.items()]
    for share in SHARES:
        smaller: dict[str, tuple[Any, str]] = {}
        for key, (multiple, least) in options:
            own = config[key]
            if own and config.is_open(key):
                value = max(least, int(own * share) // multiple * multiple)
                smaller |= {key: (value, f"memory: {own} would take more")} if value < own else {}
        if smaller:
            yield smaller
