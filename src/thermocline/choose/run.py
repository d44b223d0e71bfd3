"""`fit(search=…)`: checks, a search in its folder, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from thermocline.choose.earlier import saved_earlier
from thermocline.choose.folder import search_folder
from thermocline.choose.found import Found
from thermocline.choose.leaderboard import Leaderboard
from thermocline.choose.search import Search
from thermocline.choose.settings import SearchSettings
from thermocline.choose.starting import plan_search
from thermocline.choose.study import Plan, TrialStudy
from thermocline.contracts.request import Request
from thermocline.errors import ConfigError, counted
from thermocline.pipeline import saved_folder
from thermocline.pipeline.arguments import seconds_of
from thermocline.pipeline.fitted import Fitted
from thermocline.report.console import Console
from thermocline.training.time_limit import TimeLimit


def search(request: Request, given: Any, own: str, *, overwrite: bool) -> Found:
    """Carry out a search.

    Args:
        request: The fit, with spaces among its hyperparameters; the caller holds the lock of its path.
        given: What `fit(search=…)` was given.
        own: The identity of the predictor that is fitted again; empty for a new one.
        overwrite: Whether a saved predictor may be replaced.

    Raises:
        ThermoclineError: See `Predictor.fit`.
    """
    limit = TimeLimit(seconds_of(request.time_limit), request.began)
    settings = SearchSettings.of(given)
    if request.resume and request.path is None:
        raise ConfigError("resume=True continues a search that lies at a path: Predictor(label, path='my_model').")
    plan = plan_search(request)
    earlier = saved_earlier(request, plan.facts, overwrite=overwrite)
    if earlier is not None and earlier.ended and not _goes_on(request, earlier, settings):
        return Found(earlier, None)
    if request.path is not None and earlier is None:
        saved_folder.check_fit(request.path, own, overwrite=overwrite)
    with search_folder(request.path, resume=request.resume) as folder:
        if settings.storage is None and folder.lasts:
            settings = replace(settings, storage=folder.journal)
        one = Search(request, TrialStudy(settings, plan), folder, limit)
        Console(request.verbosity).say(_told(plan, settings))
        one.run()
        return Found(one.result(), folder, replaces=earlier is not None)


def _goes_on(request: Request, earlier: Fitted, settings: SearchSettings) -> bool:
    """Say whether a search that has ended gets more trials; without a storage of its own its study is gone."""
    assert earlier.leaderboard is not None
    had = len(Leaderboard.from_dict(earlier.leaderboard).entries)
    if had >= settings.trials or settings.storage is not None:
        return had < settings.trials
    Console(request.verbosity).say(
        f"the search has ended with {counted(had, 'trial')}, and its study is gone, so it gets no more: for that, give "
        "search={'storage': …} from the start"
    )
    return False


def _told(plan: Plan, settings: SearchSettings) -> str:
    spaces = ", ".join(f"{path} in {space}" for path, space in plan.spaces.items())
    return f"search by {plan.metric}: {counted(settings.trials, 'trial')} of {spaces}; study in {settings.where}"
