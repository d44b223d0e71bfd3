"""Schedule plans by name: functions that write the phases of a plan, with their arguments checked."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.tuning.named_schedules import freezing, unfreezing
from thermocline.tuning.schedule.phases import Phase

if TYPE_CHECKING:
    from thermocline.tuning.plan.layer_plan import LayerPlan

GENERATORS: dict[str, Callable[..., tuple[Phase, ...]]] = {
    one.__name__: one
    for one in (
        unfreezing.freeze_to,
        unfreezing.fine_tune,
        unfreezing.milestones,
        unfreezing.gradual_unfreeze,
        freezing.progressive_freeze,
        unfreezing.lp_ft,
        freezing.surgical,
        freezing.lisa,
    )
}


def phases_by(plan: LayerPlan, request: Any) -> tuple[Phase, ...]:
    """Return the phases that a generator writes for a plan.

    Args:
        plan: The plan; the schedule of its first phase is what generators without one of their own use.
        request: What `read_request` takes.

    Raises:
        ConfigError: No such generator or argument, or a value that is not allowed.
    """
    name, arguments = read_request(request)
    return GENERATORS[name](plan, **arguments)


def read_request(request: Any) -> tuple[str, dict[str, Any]]:
    """Return a generator's name and its arguments, both known to exist.

    Args:
        request: `"fine_tune"`, `"fine_tune(freeze_epochs=2)"`, or `{"fine_tune": {"freeze_epochs": 2}}`. The
            milestones may stand right below the name: `{"milestones": {1: {…}, 3: {…}}}`.

    Raises:
        ConfigError: It cannot be read, or there is no such generator or argument.
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
    if name not in GENERATORS:
        raise ConfigError(
            f"There is no schedule plan {name!r}; there are {listing(GENERATORS, limit=99)}."
            f"{did_you_mean(name, GENERATORS)}"
        )
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"The arguments of {name} are a mapping; got {arguments!r}.")
    if name == "milestones" and arguments and all(str(key).isdigit() for key in arguments):
        arguments = {"milestones": arguments}
    _check_arguments(name, arguments)
    return name, dict(arguments)


def _check_arguments(name: str, given: Mapping[Any, Any]) -> None:
    known = list(inspect.signature(GENERATORS[name]).parameters.values())[1:]
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
