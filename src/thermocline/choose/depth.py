"""How deep to freeze under a time limit: no deeper than half of the planned steps need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from thermocline.choose.recommendation import Alternative
from thermocline.efficiency.costs.estimate import duration
from thermocline.efficiency.costs.forecast import Forecast
from thermocline.efficiency.costs.seconds import StepTimes
from thermocline.errors import LayerMapError, SelectorError
from thermocline.pipeline.budget import Ready, with_options
from thermocline.pipeline.explain import forecast_ready, times_of
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.selectors import select

ENOUGH = 0.5
"""Share of the planned steps from which a shorter schedule is taken, and nothing is frozen for it. A probe on frozen
features says nothing on how deep to freeze: where it was best at the last layer, freezing everything was the worst
choice (banking77, 20 classes, 300 rows: log-loss .443 against .216 with nothing frozen)."""
DEPTHS = 6  # that are tried at most
END_SHARE = 0.1  # of the limit, for what follows the last step
FROZEN = "model.frozen_layers"


@dataclass(frozen=True)
class Timed:
    """A fit under a time limit.

    Attributes:
        found: Data and model, with the options that were changed.
        forecast: What it takes.
        others: Other depths, and what they would take.
    """

    found: Ready
    forecast: Forecast
    others: tuple[Alternative, ...] = ()


def within_time(found: Ready, limit: float | None) -> Timed:
    """Return a fit that reaches enough of its planned steps in a limit, with as few frozen layers as that needs.

    Args:
        found: Data and model.
        limit: Seconds; None: no limit.
    """
    times = times_of(found)
    now = Timed(found, forecast_ready(found, times))
    if limit is None or now.forecast.estimate.seconds is None or now.forecast.estimate.seconds <= limit:
        return now
    unit = _cost(now.forecast, times)
    shares = [(_share(now.forecast, limit), now, times)]
    if shares[0][0] < ENOUGH and _is_open(found):
        for depth in _depths(found):
            why = f"time_limit={duration(limit)}: with nothing frozen {shares[0][0]:.0%} of the steps would fit"
            frozen = with_options(found, {FROZEN: depth}, why)
            own = replace(times, compute=times.compute * _cost(forecast_ready(frozen, None), times) / unit)
            tried = Timed(frozen, forecast_ready(frozen, own))
            shares.append((_share(tried.forecast, limit), tried, own))
            if shares[-1][0] >= ENOUGH:
                break
    share, chosen, own = max(shares, key=lambda one: min(one[0], ENOUGH))
    others = tuple(_alternative(one) for one in shares)
    planned = sum(phase.steps or 0 for phase in chosen.forecast.estimate.phases)
    if share < 1:
        steps = max(1, int(share * planned))
        why = f"time_limit={duration(limit)}: so many of {planned:,} steps fit"
        shorter = with_options(chosen.found, {"optim.max_steps": steps}, why)
        chosen = Timed(shorter, forecast_ready(shorter, own))
    return replace(chosen, others=others)


def _share(forecast: Forecast, limit: float) -> float:
    """Return the share of the planned steps that fit into a limit, besides what is no step."""
    estimate = forecast.estimate
    assert estimate.seconds is not None
    steps = estimate.seconds - estimate.seconds_validating
    return float(min(1.0, max(0.0, limit * (1 - END_SHARE) - estimate.seconds_validating) / max(steps, 1e-9)))


def _cost(forecast: Forecast, times: StepTimes) -> float:
    return forecast.estimate.phases[times.phase].cost_uncached or 1.0


def _is_open(found: Ready) -> bool:
    """Whether nothing says yet what is frozen."""
    config, request = found.assembly.config, found.prepared.request
    frozen = [value for key, value in config.items() if key.endswith("frozen_layers")]
    return request.plan is None and not any(frozen) and config.model.peft is None


def _depths(found: Ready) -> Iterator[int | str]:
    """Yield how many first layers are frozen, fewer first, then the whole backbone."""
    layer_map = found.assembly.layer_map
    depths = Counter(layer.tower for layer in layer_map if layer.role in ("stem", "block"))
    most = max(depths.values(), default=0)
    for depth in sorted({round(most * number / DEPTHS) for number in range(1, DEPTHS)} - {0, most}):
        if _fits(layer_map, depth):
            yield depth
    if _fits(layer_map, "backbone"):
        yield "backbone"


def _fits(layer_map: LayerMap, selector: int | str) -> bool:
    try:
        return 0 < len(select(layer_map, selector)) < len(layer_map)
    except (SelectorError, LayerMapError):  # no such layers, or in no known order
        return False


def _alternative(tried: tuple[float, Timed, StepTimes]) -> Alternative:
    share, timed, _ = tried
    return Alternative({FROZEN: timed.found.assembly.config.model.frozen_layers}, f"{share:.0%} of the steps fit")
