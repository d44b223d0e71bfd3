"""Recommends the options of a fit: what rules choose from data and model, and what a budget asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from thermocline.choose.depth import within_time
from thermocline.choose.recommendation import Alternative, Choice, Recommendation, as_alternative
from thermocline.config import ResolvedConfig
from thermocline.config.resolved import CHOSEN, DEFAULT, PRESET
from thermocline.contracts.request import Request
from thermocline.efficiency.costs.estimate import duration, size
from thermocline.efficiency.costs.forecast import Forecast
from thermocline.efficiency.costs.live_bytes import beyond_base
from thermocline.pipeline.arguments import bytes_of, seconds_of
from thermocline.pipeline.budget import Ready, ready
from thermocline.pipeline.planning import tower_sections

MEASURED = ("memory=", "memory:", "what memory=", "time_limit=")
"""How the reasons of what was measured begin."""
MOST_ALTERNATIVES = 3


def recommend(request: Request) -> Recommendation:
    """Return what a fit of a request would do, within its memory and time; nothing is trained.

    Raises:
        NotEnoughMemoryError: Nothing fits the memory.
        ThermoclineError: See `Predictor.fit`.
    """
    limit, memory = seconds_of(request.time_limit), bytes_of(request.memory)
    found = ready(request, memory)
    timed = within_time(found, limit)
    choices = list(_choices(timed.found.assembly.config, timed.found))
    choices = [replace(one, alternatives=_alternatives(one, timed.found, timed.others)) for one in choices]
    return Recommendation(tuple(choices), timed.forecast, _headline(timed.forecast, memory, limit))


def _choices(config: ResolvedConfig, found: Ready) -> Iterator[Choice]:
    """Yield the options that are not at their defaults, those that were chosen first."""
    sections = tower_sections(config)
    absent = tuple(f"{sections[name]}." for name in sections.keys() - found.assembly.model.towers)
    origins = {key: config.provenance[key] for key, _ in config.items() if not key.startswith(absent or ("\0",))}
    for start in (CHOSEN, PRESET, ""):
        for key, origin in origins.items():
            if origin != DEFAULT and _kind(origin) == start:
                yield Choice(key, config[key], _source(origin), origin.removeprefix(start))


def _kind(origin: str) -> str:
    return next((start for start in (CHOSEN, PRESET) if origin.startswith(start)), "")


def _source(origin: str) -> str:
    if not origin.startswith(CHOSEN):
        return "preset" if origin.startswith(PRESET) else "user"
    return "measured" if origin.removeprefix(CHOSEN).startswith(MEASURED) else "rule"


def _alternatives(choice: Choice, found: Ready, depths: Iterable[Alternative]) -> tuple[Alternative, ...]:
    """Return what else would fit the budget, for an option that the budget decided."""
    if choice.source != "measured":
        return ()
    if choice.why.startswith("time_limit="):
        return tuple(one for one in depths if choice.option in one.options)[:MOST_ALTERNATIVES]
    others = [as_alternative(one.options, one.needed) for one in found.others if choice.option in one.options]
    own = [one for one in others if one.options[choice.option] != choice.value]
    return tuple(own[:MOST_ALTERNATIVES])


def _headline(forecast: Forecast, memory: int | None, limit: float | None) -> str:
    """Return what the fit takes, and what was asked for."""
    estimate = forecast.estimate
    parts = []
    if estimate.live is not None:
        parts.append(
            f"up to {size(beyond_base(estimate.live, estimate.device))}"
            + ("" if memory is None else f" of memory={size(memory)}")
        )
    if estimate.seconds is not None:
        parts.append(f"about {duration(estimate.seconds)}" + ("" if limit is None else f" of {duration(limit)}"))
    return "A fit with these options takes " + (" and ".join(parts) or "what is not known")
