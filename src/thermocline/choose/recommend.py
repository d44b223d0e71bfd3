"""Recommends the options of a fit: what rules choose from data and model, and what a budget asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from thermocline.choose.depth import Timed, within_time
from thermocline.choose.probes import MOST_SECONDS, probes_of
from thermocline.choose.recommendation import Alternative, Choice, Recommendation, as_alternative
from thermocline.config.resolved import CHOSEN, DEFAULT, PRESET
from thermocline.contracts.request import Request
from thermocline.efficiency.costs.estimate import duration, size
from thermocline.efficiency.costs.forecast import Forecast
from thermocline.efficiency.costs.live_bytes import beyond_base
from thermocline.pipeline.arguments import memory_of, seconds_of
from thermocline.pipeline.budget import within_memory
from thermocline.pipeline.planning import tower_sections
from thermocline.pipeline.prepare import problem_of
from thermocline.pipeline.ready import Ready

SOURCES = {CHOSEN: "rule", PRESET: "preset", "": "user"}
"""By what an origin starts with."""
MOST_ALTERNATIVES = 3


def recommend(request: Request, *, probes: bool = False) -> Recommendation:
    """Return what a fit of a request would do, within its memory and time; nothing is trained.

    Args:
        request: What was asked for.
        probes: Whether layers and towers are probed.

    Raises:
        ConfigError: Probes of a problem that has no labels of rows.
        NotEnoughMemoryError: Nothing fits the memory.
        ThermoclineError: See `Predictor.fit`.
    """
    limit, memory = seconds_of(request.time_limit), memory_of(request.memory)
    if probes:
        problem_of(request).check_probes()
    timed = within_time(within_memory(request, memory, others=MOST_ALTERNATIVES), limit)
    choices = (replace(one, alternatives=_alternatives(one, timed)) for one in _choices(timed.found))
    headline = _headline(timed.forecast, memory, limit)
    probed = (
        probes_of(timed.found, timed.forecast, seconds=min(limit or MOST_SECONDS, MOST_SECONDS)) if probes else None
    )
    return Recommendation(tuple(choices), timed.forecast, headline, probed)


def _choices(found: Ready) -> Iterator[Choice]:
    """Yield the options that are not at their defaults, those that were chosen first."""
    config, sections = found.assembly.config, tower_sections(found.assembly.config)
    absent = tuple(f"{sections[name]}." for name in sections.keys() - found.assembly.model.towers)
    origins = {key: config.provenance[key] for key, _ in config.items() if not key.startswith(absent)}
    for start in (CHOSEN, PRESET, ""):
        for key, origin in origins.items():
            if origin != DEFAULT and _kind(origin) == start:
                source = "measured" if key in found.measured else SOURCES[start]
                yield Choice(key, config[key], source, origin.removeprefix(start))


def _kind(origin: str) -> str:
    return next((start for start in (CHOSEN, PRESET) if origin.startswith(start)), "")


def _alternatives(choice: Choice, timed: Timed) -> tuple[Alternative, ...]:
    """Return what else would fit the budget, for an option that the budget decided."""
    if choice.source != "measured":
        return ()
    depths, change = [one for one in timed.others if choice.option in one.options], timed.found.change
    if depths or change is None or choice.option not in change.options:
        return tuple(depths[:MOST_ALTERNATIVES])
    without = [one for one in timed.found.others if one.options.get(choice.option) != choice.value]
    return tuple(as_alternative(one.options, one.needed) for one in without)


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
