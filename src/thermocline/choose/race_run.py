"""`presets="auto"`: checks, a race in its folder, and which of its fits is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from thermocline.choose.earlier import saved_earlier
from thermocline.choose.facts import facts_of
from thermocline.choose.folder import RACE_SUFFIX, search_folder
from thermocline.choose.found import Found
from thermocline.choose.leaderboard import COMPLETE, FAILED, KEPT, PRUNED, STOPPED, WHOLE, Entry, Leaderboard
from thermocline.choose.paired import Gain, mean_loss
from thermocline.choose.portfolio import Entrant
from thermocline.choose.race import ASKED, Race
from thermocline.choose.race_state import RaceState, Result
from thermocline.config import ResolvedConfig
from thermocline.contracts.request import Request
from thermocline.errors import ConfigError
from thermocline.pipeline import artifact, resume, saved_folder
from thermocline.pipeline.arguments import seconds_of
from thermocline.pipeline.fitted import Fitted
from thermocline.pipeline.prepare import Prepared, prepare, problem_of
from thermocline.registry import metric_of
from thermocline.report.console import Console
from thermocline.training.time_limit import TimeLimit

ARMS, AVERAGE = "optim.arms", "average"


def is_asked_for(request: Request) -> bool:
    """Say whether a fit is to be compared with other ways to train.

    Raises:
        ConfigError: Options that cannot be resolved.
    """
    info = problem_of(request).info
    return ARMS in info.reads and request.settled(info).optim.arms > 1


def race(request: Request, own: str, *, overwrite: bool) -> Found:
    """Carry out a race.

    Args:
        request: The fit as it was asked for; the caller holds the lock of its path.
        own: The identity of the predictor that is fitted again; empty for a new one.
        overwrite: Whether a saved predictor may be replaced.

    Raises:
        ThermoclineError: See `Predictor.fit`.
    """
    limit = TimeLimit(seconds_of(request.time_limit), request.began)
    if request.resume and request.path is None:
        raise ConfigError("resume=True continues a race that lies at a path: Predictor(label, path='my_model').")
    if request.plan is not None:
        raise ConfigError(
            "plan= says what every layer does, and presets='auto' (optim.arms) compares ways to do that: give one of "
            "them. Without presets='auto' the plan is followed as it is."
        )
    prepared = prepare(request)
    _check_open(prepared.config)
    facts = facts_of(prepared, {}) | {ARMS: prepared.config.optim.arms}
    earlier = saved_earlier(request, facts, overwrite=overwrite)
    if earlier is not None and earlier.ended:
        with search_folder(request.path, resume=True, suffix=RACE_SUFFIX) as folder:
            folder.remove()  # it may have been killed before that
        return Found(earlier, None)
    if request.path is not None and earlier is None:
        saved_folder.check_fit(request.path, own, overwrite=overwrite)
    with search_folder(request.path, resume=request.resume, suffix=RACE_SUFFIX) as folder:
        one = Race(request, prepared, folder, RaceState(folder.root, facts), limit)
        one.run()
        return Found(_kept(one, prepared), folder, replaces=earlier is not None)


def _check_open(config: ResolvedConfig) -> None:
    """Check that nothing says already what trains when.

    Raises:
        ConfigError: Something does.
    """
    for key in ("optim.phases", "optim.schedule_plan"):
        if config[key] is not None:
            raise ConfigError(
                f"{key} says what trains when, and presets='auto' (optim.arms) compares ways to train: give one of "
                "them."
            )


def _kept(one: Race, prepared: Prepared) -> Fitted:
    """Return the fit that is kept, loaded from where it was saved, with the leaderboard."""
    state, request = one.state, one.request
    number = _best(state, one.average_number)
    path = one.folder.trial(number)
    if state.result(1, WHOLE) is None and saved_folder.identity_of(path) is None:
        raise KeyboardInterrupt  # before there was anything to keep
    fitted = artifact.load(path, artifact.Trust.of(request, remote_code=resume.trusts_remote_code(request)))
    metric = metric_of(prepared.problem.info, prepared.target)
    entries = tuple(_entries(one, number))
    board = Leaderboard(metric.name, metric.greater_is_better, entries, state.facts)
    name = next(entrant.name for entrant in _named(one) if entrant.number == number)
    Console(request.verbosity).say(f"kept: {name}")
    return replace(fitted, leaderboard=board.to_dict(), ended=not one.interrupted)


def _best(state: RaceState, average: int) -> int:
    """Return the number of the fit that is kept: another than was asked for only where its gain is clear."""
    gains = {number: _gain(state, number) for number in [*(one.number for one in state.entrants or ()), average]}
    clear = {number: gain.mean for number, gain in gains.items() if gain is not None and gain.is_clear}
    return max(clear, key=lambda number: clear[number], default=ASKED.number)


def _gain(state: RaceState, number: int) -> Gain | None:
    """Return the gain of a whole fit over the one as it was asked for; None where it is no other whole fit."""
    losses, before = state.losses(number, WHOLE), state.losses(ASKED.number, WHOLE)
    return None if number == ASKED.number or losses is None or before is None else Gain.of(losses, before)


def _named(one: Race) -> tuple[Entrant, ...]:
    """Return all that took part, the average last."""
    state = one.state
    average = [Entrant(one.average_number, AVERAGE)] if state.result(one.average_number, WHOLE) else []
    return (ASKED, *(state.entrants or ()), *average)


def _entries(one: Race, kept: int) -> Iterator[Entry]:
    """Yield a line of the leaderboard for each that took part."""
    state = one.state
    for entrant in _named(one):
        result = state.last(entrant.number)
        values = {**state.asked, **entrant.options, **(result.values if result else {})}
        if result is None:
            ended, why = (STOPPED, "not begun") if one.interrupted else (PRUNED, "no time")
            yield Entry(entrant.name, values, state=ended, why=why)
            continue
        gain = _gain(state, entrant.number)
        yield Entry(
            entrant.name,
            values,
            result.score,
            sum(each.seconds for each in state.results(entrant.number)),
            FAILED if result.failed else COMPLETE if result.share == WHOLE else PRUNED,
            KEPT if entrant.number == kept else _why(one, entrant, result, gain),
            None if gain is None else gain.mean,
            None if gain is None else gain.error,
            dict(_losses(state, entrant)),
        )


def _losses(state: RaceState, entrant: Entrant) -> Iterator[tuple[str, float]]:
    """Yield the shares of the steps that a way to train took, with its loss of the validation rows."""
    for result in state.results(entrant.number):
        loss = mean_loss(state.losses(entrant.number, result.share))
        if loss < float("inf"):
            yield result.share, loss


def _why(one: Race, entrant: Entrant, result: Result, gain: Gain | None) -> str:
    """Return why a fit is not kept."""
    if result.failed:
        return result.failed
    if result.share == WHOLE:
        return "" if gain is None else "another gains more" if gain.is_clear else "no clear gain"
    losses = {each.number: mean_loss(one.state.losses(each.number, result.share)) for each in _named(one)}
    if not any(one.state.result(each.number, WHOLE) for each in one.state.entrants or ()):
        return f"after {result.share} of the steps: no time for all"
    return f"after {result.share} of the steps: loss {losses[entrant.number]:.4f}, the best {min(losses.values()):.4f}"
