"""Where a search starts: what would be trained without it, and what makes two searches the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from thermocline.choose.facts import facts_of
from thermocline.choose.study import Plan
from thermocline.config import Drawn, Space, read_spaces
from thermocline.contracts.request import Request
from thermocline.errors import ConfigError
from thermocline.pipeline.assemble import assembled
from thermocline.pipeline.prepare import Prepared, check_options, prepare, problem_of
from thermocline.registry import metric_of

LR, LR_FACTORS = "optim.lr", (1 / 3, 3.0)
"""Further starting points have the learning rate times these."""


def plan_search(request: Request) -> Plan:
    """Return what a search is about; data and options are checked.

    Args:
        request: The fit that was asked for, with spaces among its hyperparameters.

    Raises:
        ConfigError: There is no space, one has no effect, or a plan was given.
        ThermoclineError: As a fit.
    """
    info = problem_of(request).info
    spaces = read_spaces(request.hyperparameters, problem=info)
    if not spaces:
        raise ConfigError(
            "search= chooses values from spaces, and no hyperparameter is one. Write a space in place of a value, such "
            "as hyperparameters={'optim.lr': 'loguniform(1e-5, 1e-3)'}; or leave search out. A space stands for the "
            "whole value of an option, or for the '*' of optim.lr={'*': …}, not for another entry of one or of a list."
        )
    if request.plan is not None:
        raise ConfigError(
            "plan= says what every layer does, and search= looks for it: give one of them. Options of the plan can be "
            "fixed beside the spaces in hyperparameters."
        )
    plain = request.settled(info, drawn=Drawn("no trial"))
    if plain.optim.arms > 1:
        raise ConfigError(
            "search= looks for values in spaces, and presets='auto' (optim.arms) compares ways to train: give one of "
            "them."
        )
    known = {path: space.nearest(plain[path]) for path, space in spaces.items() if not _is_open(plain[path], space)}
    prepared = prepare(replace(request, drawn=Drawn("the defaults", _values(spaces, known)), resume=False))
    some = {path: space.nearest(plain[path]) for path, space in spaces.items()}
    _check_read(prepared, spaces, some)
    config = prepared.config if known.keys() == spaces.keys() else assembled(prepared).config
    first = {path: space.nearest(config[path]) for path, space in spaces.items()} | known
    metric = metric_of(info, prepared.target)
    facts = facts_of(prepared, spaces)
    return Plan(spaces, _starts(spaces, first), metric.name, metric.greater_is_better, request.seed, facts)


def _check_read(prepared: Prepared, spaces: Mapping[str, Space], some: Mapping[str, Any]) -> None:
    """Check that every space has an effect.

    Raises:
        ConfigError: One has none.
    """
    request, problem = prepared.request, prepared.problem
    drawn = Drawn("a trial", _values(spaces, some))
    config = request.settled(problem.info, drawn=drawn)
    check_options(problem, prepared.columns, config, prepared.target.problem_type)


def _is_open(value: object, space: Space) -> bool:
    """Whether a value without a search is for the program to choose, or none at all."""
    return value is None and None not in space.choices.values()


def _values(spaces: Mapping[str, Space], drawn: Mapping[str, Any]) -> dict[str, Any]:
    return {path: spaces[path].value(value) for path, value in drawn.items()}


def _starts(spaces: Mapping[str, Space], first: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the defaults, as near as the spaces have them, and the same at other learning rates."""
    starts = [dict(first)]
    if LR in spaces and spaces[LR].kind != "choice":
        starts += [{**first, LR: spaces[LR].nearest(factor * first[LR])} for factor in LR_FACTORS]
    return [one for place, one in enumerate(starts) if one not in starts[:place]]
