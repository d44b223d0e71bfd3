"""A kind of problem that somebody wrote: what it has to define, and what its methods have to return."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.registry import ProblemInfo, input_infos
from thermocline.registry.metrics import by_name

NEEDED = (
    "read",
    "find_columns",
    "find_target",
    "build",
    "rows",
    "learning",
    "collector",
    "predictions",
    "describe",
    "read_target",
    "rebuild",
)
"""Methods that a kind has to define, in the order in which a fit calls them; the last three save and load it."""

COLLECTS = ("compute", "add", "outputs", "scores", "fallback_loss")
TARGET = ("problem_type", "label", "labels", "eval_metric", "reason", "to_dict")
SETTLED = ("optim.lr", "optim.max_epochs", "env.batch_size", "env.micro_batch_size", "env.eval_batch_size")
"""Options without which nothing can be trained: `build` chooses those that are open."""


def check_problem(problem: Any, base: type) -> None:
    """Check that a kind of problem defines what it has to, and that its info record is whole.

    Args:
        problem: An instance, whose info record there is.
        base: `contracts.problem.Problem`.

    Raises:
        ConfigError: It does not; every fault in one error.
    """
    kind = type(problem).__name__
    if not isinstance(problem, base):
        raise ConfigError(
            f"problem is a {kind}, which does not derive from thermocline.contracts.problem.Problem. Derive from it, "
            "or from thermocline.problems.rowwise.problem.Rowwise where rows have features and one label."
        )
    faults = [_undefined(name, base) for name in NEEDED if _same(type(problem), base, name)]
    faults += _of_other_types(problem)
    faults += [fault for name in NEEDED if (fault := _arguments(problem, name, base))]
    own: Any = problem
    faults += _of_info(own.info)
    if faults:
        raise ConfigError(
            f"{kind} is not complete; docs/how-to/own_problem.md has a whole one:\n  - " + "\n  - ".join(faults)
        )


def _same(kind: type, base: type, name: str) -> bool:
    """Whether a class has a method from a class that it derives from."""
    mine, theirs = (inspect.unwrap(getattr(one, name)) for one in (kind, base))
    return mine is theirs


def _of_other_types(problem: Any) -> list[str]:
    """Return a line for each method that is inherited from a kind of other problem types, and serves these alone."""
    faults = []
    for base in type(problem).__mro__[1:]:
        names, types = vars(base).get("of_its_types", ()), getattr(getattr(base, "info", None), "problem_types", ())
        if set(problem.info.problem_types) <= set(types):
            continue
        own = [name for name in names if _same(type(problem), base, name)]
        faults += [f"{_undefined(name, base)} That of {base.__name__} is for {listing(types)} alone." for name in own]
    return faults


def _undefined(name: str, base: type) -> str:
    method = getattr(base, name)
    line = (inspect.getdoc(method) or "").partition("\n")[0]
    return f"define {name}{_signature(method)}: {line[:1].lower()}{line[1:]}"


def _signature(method: Any) -> str:
    parameters = inspect.signature(method).parameters.values()
    plain = [one.replace(annotation=one.empty) for one in parameters]
    return str(inspect.Signature(plain))


def _arguments(problem: Any, name: str, base: type) -> str:
    """Return what is wrong with the arguments that a method takes; empty where nothing is."""
    wanted = inspect.signature(getattr(base, name))
    given = {one.name: None for one in list(wanted.parameters.values())[1:] if one.kind is not one.VAR_KEYWORD}
    plain = [key for key, one in wanted.parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD and key != "self"]
    named = {key: None for key in given if key not in plain}
    try:
        inspect.signature(getattr(problem, name)).bind(*plain, **named)
    except TypeError as error:
        own = _signature(getattr(type(problem), name))
        return f"{name} takes {own} ({error}); it is called as {name}{_signature(getattr(base, name))}"
    except ValueError:  # it does not say what it takes
        return ""
    return ""


def _of_info(info: ProblemInfo) -> list[str]:
    faults = [] if info.problem_types else ["info.problem_types is empty: name a type, such as ('counts',)"]
    known = [one.name for one in input_infos()]
    if not info.inputs:
        faults.append(f"info.inputs is empty: name the kinds of columns that it takes, of {listing(known)}")
    wrong = [one for one in info.inputs if one not in known]
    faults += [f"info.inputs holds {one!r}, of {listing(known)}.{did_you_mean(one, known)}" for one in wrong]
    for problem_type in info.problem_types:
        for field in ("default_metric", "usual_metrics"):
            if problem_type not in getattr(info, field):
                meant = "'a metric'" if field == "default_metric" else "()"
                faults.append(f"info.{field} has no {problem_type!r}: {field}={{{problem_type!r}: {meant}}}")
        used = [info.default_metric.get(problem_type), *info.usual_metrics.get(problem_type, ())]
        for name in (one for one in used if one is not None):
            found = by_name(info.metrics, name)
            if found is None or problem_type not in found.problem_types:
                line = f"MetricInfo({name!r}, greater_is_better, ({problem_type!r},))"
                faults.append(f"info.metrics has no {name!r} for {problem_type!r}: add {line}")
    return faults


# -- what methods return -------------------------------------------------------------------------------------------


def checked(name: str, method: Callable[..., Any], types: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a method whose result is checked, with an error that says what it has to be.

    Args:
        name: Its name.
        method: The method.
        types: Name of a method → the class that it returns.
    """
    wanted, check = types.get(name), _CHECKS.get(name)

    @functools.wraps(method)
    def call(self: Any, *args: Any, **named: Any) -> Any:
        found = method(self, *args, **named)
        said = (
            "" if wanted is None or isinstance(found, wanted) else f"it returns a {wanted.__module__}.{wanted.__name__}"
        )
        said = said or ("" if check is None else check(self, found, args))
        if said:
            raise ConfigError(f"{type(self).__name__}.{name} returned {_shown(found)}: {said}.")
        return found

    return call


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 and not isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def _target(problem: Any, found: Any, _: tuple[Any, ...]) -> str:
    lacks = [name for name in TARGET if not hasattr(found, name)]
    if lacks:
        return f"a target has {listing(TARGET)}, and it lacks {listing(lacks)}"
    info: ProblemInfo = problem.info
    if found.problem_type not in info.problem_types:
        return f"its problem_type is {found.problem_type!r}, and info.problem_types are {listing(info.problem_types)}"
    if isinstance(found.labels, str) or not all(isinstance(one, str) for one in found.labels):
        return f"its labels are {found.labels!r}, and a tuple of the label columns, such as {(found.label,)!r}"
    return ""


def _described(problem: Any, found: Any, args: tuple[Any, ...]) -> str:
    target = args[0].target if args else None
    again = None if target is None else problem.read_target(json.loads(json.dumps(target.to_dict())))
    if type(again) is not type(target):
        return (
            f"read_target makes a {type(again).__name__} again of what {type(target).__name__}.to_dict gives, and "
            f"find_target returned a {type(target).__name__}. Let read_target return the same class"
        )
    try:
        json.dumps(found)
    except (TypeError, ValueError) as error:
        return f"it returns plain JSON values, from which rebuild builds the model again ({error})"
    return "" if isinstance(found, dict) else "it returns a dict, from which rebuild builds the model again"


def _parted(_problem: Any, found: Any, _: tuple[Any, ...]) -> str:
    what = "it returns sorted training positions, sorted validation positions, and why the share was chosen"
    if not (isinstance(found, tuple) and len(found) == 3 and isinstance(found[2], str)):
        return what
    train, valid = (np.asarray(one) for one in found[:2])
    if train.dtype.kind not in "iu" or valid.dtype.kind not in "iu" or train.ndim != 1 or valid.ndim != 1:
        return f"{what}: positions are whole numbers (rows,)"
    if not len(train) or not len(valid) or len(np.intersect1d(train, valid)):
        return f"{what}: there is at least one row in each, and no row is in both"
    return ""


def _built(_problem: Any, found: Any, _: tuple[Any, ...]) -> str:
    if not hasattr(found.model, "towers"):
        return "its model has no towers, an nn.ModuleDict with a tower for each input (see rowwise.model.FusionModel)"
    left = [name for name in SETTLED if found.config[name] is None]
    if left:
        return (
            f"{listing(left)} is left open in its config: config.choose(option, value, why) settles one, "
            "problems.rowwise.defaults.choose_defaults all"
        )
    return ""


def _collects(_problem: Any, found: Any, _: tuple[Any, ...]) -> str:
    lacks = [name for name in COLLECTS if not callable(getattr(found, name, None))]
    return f"a collector has {listing(COLLECTS)}, and it lacks {listing(lacks)}" if lacks else ""


def _predicted(_problem: Any, found: Any, args: tuple[Any, ...]) -> str:
    if not isinstance(found, pd.Series | pd.DataFrame):
        return "it returns a Series or a DataFrame on the index that it is given"
    index = args[2] if len(args) > 2 else found.index
    return "" if found.index.equals(index) else "it is not on the index that it is given: pd.Series(…, index=index)"


def _rebuilt(_problem: Any, found: Any, _: tuple[Any, ...]) -> str:
    whole = isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Mapping)
    return "" if whole else "it returns the model, and tower → its input"


_CHECKS: Mapping[str, Callable[[Any, Any, tuple[Any, ...]], str]] = {
    "find_target": _target,
    "read_target": _target,
    "split": _parted,
    "build": _built,
    "collector": _collects,
    "predictions": _predicted,
    "probabilities": _predicted,
    "describe": _described,
    "rebuild": _rebuilt,
}
CHECKED = frozenset({*_CHECKS, "read", "find_columns", "keep_usable", "rows", "learning"})
"""Methods whose results are checked."""


def loss_checked(total: Callable[[Any, Mapping[str, Any]], Any]) -> Callable[[Any, Mapping[str, Any]], Any]:
    """Return a loss whose result is checked to be one number.

    Args:
        total: `Objective.total`.
    """

    @functools.wraps(total)
    def call(outputs: Any, batch: Mapping[str, Any]) -> Any:
        found = total(outputs, batch)
        if getattr(found, "ndim", None) != 0 or not hasattr(found, "backward"):
            shape = f" of shape {tuple(found.shape)}" if hasattr(found, "shape") else ""
            raise ConfigError(
                f"Objective.total returned a {type(found).__name__}{shape}: it returns a tensor of one number, the sum "
                "of the losses of the rows in the batch. Add them up: loss.sum()."
            )
        return found

    return call


def scores_of(collector: Any, metric: str, asked: Sequence[Any]) -> dict[str, float]:
    """Return the scores of a collector, checked to hold the metric that decides.

    Args:
        collector: It has collected all rows.
        metric: The metric that decides.
        asked: What it is asked for.
    """
    found = collector.scores(asked)
    value = found.get(metric) if isinstance(found, dict) else None
    if not isinstance(value, int | float | np.integer | np.floating):
        raise ConfigError(
            f"{type(collector).__name__}.scores returned {_shown(found)} for {_plain(asked)}: it returns name "
            f"→ number as a dict, with {metric!r} among them; NaN where it is not defined."
        )
    return dict(found)


def _plain(asked: Sequence[Any]) -> str:
    return listing(one if isinstance(one, str) else one.name for one in asked)
