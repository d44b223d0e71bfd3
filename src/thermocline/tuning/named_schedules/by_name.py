"""Named schedules: functions that write the phases of a plan, by name, with their arguments checked."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.tuning.named_schedules import freezing, unfreezing
from thermocline.tuning.named_schedules.milestones import milestones
from thermocline.tuning.named_schedules.phase_template import Phases
from thermocline.tuning.plan.decisions import Decisions

NAMED_SCHEDULES: dict[str, Callable[..., Phases]] = {
    one.__name__: one
    for one in (
        unfreezing.freeze_to,
        unfreezing.fine_tune,
        milestones,
        unfreezing.gradual_unfreeze,
        freezing.progressive_freeze,
        unfreezing.lp_ft,
        freezing.surgical,
        freezing.lisa,
    )
}


def phases_by(plan: Decisions, request: Any) -> Phases:
    """Return the phases that a named schedule writes for a plan.

    Args:
        plan: The plan; schedules without a rate curve of their own use that of its first phase.
        request: What `read_request` takes.

    Raises:
        ConfigError: No such schedule or argument, or a value that is not allowed.
    """
    name, arguments = read_request(request)
    return NAMED_SCHEDULES[name](plan, **arguments)


def read_request(request: Any) -> tuple[str, dict[str, Any]]:
    """Return a schedule's name and its arguments, both known to exist.

    Args:
        request: `"fine_tune"`, `"fine_tune(freeze_epochs=2)"`, or `{"fine_tune": {"freeze_epochs": 2}}`. The
            milestones may come right below the name: `{"milestones": {1: {…}, 3: {…}}}`.

    Raises:
        ConfigError: It cannot be read, or there is no such schedule or argument.
    """
    if isinstance(request, str):
        name, arguments = _call(request)
    elif isinstance(request, Mapping) and len(request) == 1:
        name, arguments = next(iter(request.items()))
        arguments = {} if arguments is None else arguments
    else:
        raise ConfigError(
            f"schedule_plan takes a name, 'name(argument=value)' or {{name: arguments}}; got {request!r}."
        )
    if name not in NAMED_SCHEDULES:
        raise ConfigError(
            f"There is no schedule plan {name!r}; there are {listing(NAMED_SCHEDULES, limit=99)}."
            f"{did_you_mean(name, NAMED_SCHEDULES)}"
        )
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"The arguments of {name} are a mapping; got {arguments!r}.")
    if name == "milestones" and arguments and all(str(key).isdigit() for key in arguments):
        arguments = {"milestones": arguments}
    _check_arguments(name, arguments)
    return name, dict(arguments)


def _check_arguments(name: str, given: Mapping[Any, Any]) -> None:
    known = list(inspect.signature(NAMED_SCHEDULES[name]).parameters.values())[1:]
    names = [one.name for one in known]
    for key in given:
        if key not in names:
            raise ConfigError(f"{name} has no argument {key!r}; it takes {listing(names)}.{did_you_mean(key, names)}")
    lacking = [one.name for one in known if one.default is inspect.Parameter.empty and one.name not in given]
    if lacking:
        raise ConfigError(f"{name} needs {listing(lacking)}.")


def _call(text: str) -> tuple[str, dict[str, Any]]:
    """Read `name` or `name(argument=value, …)`; values are literals, nothing is run."""
    refusal = ConfigError(f"schedule_plan {text!r} is neither a name nor 'name(argument=value, …)'.")
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if isinstance(call, ast.Name):
            return call.id, {}
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise refusal
        return call.func.id, {str(one.arg): ast.literal_eval(one.value) for one in call.keywords if one.arg}
    except (SyntaxError, ValueError, TypeError):
        raise refusal from None
