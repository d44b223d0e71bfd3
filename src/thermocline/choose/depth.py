"""How deep to freeze under a time limit: no deeper than half of the planned steps need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from thermocline.choose.recommendation import Alternative
from thermocline.efficiency.costs.estimate import duration
from thermocline.efficiency.costs.forecast import Forecast
from thermocline.efficiency.costs.seconds import StepTimes
from thermocline.pipeline.explain import forecast_ready, times_of
from thermocline.pipeline.ready import Ready, with_options
from thermocline.training.freezable import Selector, deepest, freezable

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
        others: The depths that were tried, where layers are frozen for the time, and the steps that would fit.
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
    seconds = now.forecast.estimate.seconds
    if times is None or limit is None or seconds is None or seconds <= limit:
        return now
    times = replace(times, cost=now.forecast.estimate.phases[times.phase].cost_uncached)
    share = _share(now.forecast, limit, times)
    tried = [(share, now)]
    if share < ENOUGH and _is_open(found):
        why = f"time_limit={duration(limit)}: with nothing frozen {100 * share:.0f} % of the steps would fit"
        for depth in _depths(found):
            frozen = with_options(found, {FROZEN: depth}, why)
            forecast = forecast_ready(frozen, times)
            share = _share(forecast, limit, times)
            tried.append((share, Timed(frozen, forecast)))
            if share >= ENOUGH:
                break
    share, chosen = max(tried, key=lambda one: min(one[0], ENOUGH))
    others = tuple(_alternative(*one) for one in tried) if len(tried) > 1 else ()
    if share < 1 and _may_be_cut(chosen.found):
        planned = sum(phase.steps or 0 for phase in chosen.forecast.estimate.phases)
        steps = max(1, int(share * planned))
        why = f"time_limit={duration(limit)}: so many of {planned:,} steps fit"
        shorter = with_options(chosen.found, {"optim.max_steps": steps}, why)
        chosen = Timed(shorter, forecast_ready(shorter, times))
    return replace(chosen, others=others)


def _share(forecast: Forecast, limit: float, times: StepTimes) -> float:
    """Return the share of the planned steps that fit into a limit; of validations it takes about the same share."""
    estimate = forecast.estimate
    assert estimate.seconds is not None
    whole = estimate.seconds - times.start - times.validation  # of steps, and validations after them
    left = limit * (1 - END_SHARE) - times.start - times.validation
    return float(min(1.0, max(0.0, left) / max(whole, 1e-9)))


def _may_be_cut(found: Ready) -> bool:
    """Whether a number of steps may be recommended: the user gave none, and no phase has a length of its own."""
    plan = found.assembly.plan
    own = any(phase.steps is not None or phase.epochs is not None for phase in plan.phases)
    return not own and found.assembly.config.is_open("optim.max_steps")


def _is_open(found: Ready) -> bool:
    """Whether nothing says yet what is frozen."""
    config = found.assembly.config
    keys = [key for key, _ in config.items() if key.endswith("frozen_layers")]
    is_open = all(config.is_open(key) and not config[key] for key in keys)
    return found.given is None and is_open and config.model.peft is None


def _depths(found: Ready) -> Iterator[Selector]:
    """Yield how many first layers are frozen, fewer first, then the whole backbone."""
    layer_map, most = found.assembly.layer_map, deepest(found.assembly.layer_map)
    depths = {round(most * number / DEPTHS) for number in range(1, DEPTHS)} - {0, most}
    return (selector for selector, _ in freezable(found.assembly.plan, layer_map, (*sorted(depths), "backbone")))


def _alternative(share: float, timed: Timed) -> Alternative:
    return Alternative(
        {FROZEN: timed.found.assembly.config.model.frozen_layers}, f"{100 * share:.0f} % of the steps fit"
    )
