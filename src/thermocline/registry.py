"""Which kinds of problem and of input there are: light records, found by name, implementations imported when used.

Built-in kinds are listed here by name; other packages add theirs as entry points of the groups `thermocline.problems`
and `thermocline.inputs`, each an info record. A kind is never looked up through anything that a saved folder holds but
its name. The pattern is that of timm's `OptimInfo` (`timm/optim/_optim_factory.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from thermocline.errors import ConfigError, did_you_mean, listing

BUILT_IN_PROBLEMS = ("rowwise", "object_detection")
BUILT_IN_INPUTS = ("text", "image", "table")
"""In the order in which a model holds their towers."""

DEFAULT_PROBLEM = "rowwise"
"""The kind of problem where no problem type is given: it infers the type from the label."""


@dataclass(frozen=True)
class MetricInfo:
    """A metric by name; what computes it belongs to the kind of problem.

    Attributes:
        name: Its canonical name.
        greater_is_better: Whether more is better.
        problem_types: The problem types that it can score.
        aliases: Other names that are understood.
    """

    name: str
    greater_is_better: bool
    problem_types: tuple[str, ...]
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProblemInfo:
    """A kind of problem, described without importing it.

    Attributes:
        name: The name of the kind.
        implementation: Where its `Problem` class is: `"package.module:attribute"`.
        problem_types: The values of `problem_type` that mean this kind.
        metrics: All its metrics.
        default_metric: Problem type → the metric that validation uses.
        usual_metrics: Problem type → what `evaluate` reports beside `eval_metric`.
        preset: The preset that `fit` uses where none is named.
        options: Section → frozen dataclass with the options of this kind, such as `{"model.table": TableOptions}`; a
            section that exists is extended.
        reads: Dotted names, or sections as `"model.detector.*"`, of options outside `options` that this kind reads.
            What an input kind reads counts where the data have such columns.
        inputs: The input kinds that its columns may be of.
    """

    name: str
    implementation: str
    problem_types: tuple[str, ...]
    metrics: tuple[MetricInfo, ...]
    default_metric: Mapping[str, str]
    usual_metrics: Mapping[str, tuple[str, ...]]
    preset: str = "default"
    options: Mapping[str, type] = field(default_factory=dict)
    reads: frozenset[str] = frozenset()
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class InputInfo:
    """A kind of input, described without importing it.

    Attributes:
        name: The name of the kind, and of its tower.
        implementation: Where its `InputKind` class is: `"package.module:attribute"`.
        column_types: The column types that it takes.
        options: Section → frozen dataclass with its options, as in `ProblemInfo`.
        reads: As in `ProblemInfo`.
    """

    name: str
    implementation: str
    column_types: tuple[str, ...]
    options: Mapping[str, type] = field(default_factory=dict)
    reads: frozenset[str] = frozenset()


# -- kinds -------------------------------------------------------------------------------------------------------


@cache
def problem_infos() -> tuple[ProblemInfo, ...]:
    """Return all installed kinds of problem, the built-in ones first."""
    return tuple(_installed("problems", BUILT_IN_PROBLEMS, ProblemInfo))


@cache
def input_infos() -> tuple[InputInfo, ...]:
    """Return all installed kinds of input, the built-in ones first, in the order of their towers."""
    return tuple(_installed("inputs", BUILT_IN_INPUTS, InputInfo))


def problem_types() -> tuple[str, ...]:
    """Return all values that `problem_type` takes."""
    return tuple(one for info in problem_infos() for one in info.problem_types)


def find_problem(problem_type: str | None) -> ProblemInfo:
    """Return the kind of problem that a problem type means; `None` means that it is inferred from the label.

    Raises:
        ConfigError: There is no such problem type; the message lists those that are.
    """
    for info in problem_infos():
        if problem_type in info.problem_types or (problem_type is None and info.name == DEFAULT_PROBLEM):
            return info
    allowed = problem_types()
    raise ConfigError(
        f"Unknown problem_type {problem_type!r}: choose from {listing(allowed)}.{did_you_mean(problem_type, allowed)}"
    )


def load(info: ProblemInfo | InputInfo) -> Any:
    """Import and return the implementation of a kind, an instance of its class."""
    module, _, attribute = info.implementation.partition(":")
    return getattr(import_module(module), attribute)()


def _installed(group: str, built_in: tuple[str, ...], record: type[ProblemInfo | InputInfo]) -> list[Any]:
    found: dict[str, Any] = {}
    for name in built_in:
        info = import_module(f"thermocline.{group}.{name}.info").INFO
        found[info.name] = info
    for entry in entry_points(group=f"thermocline.{group}"):
        brought: Any = entry.load()
        if not isinstance(brought, record):
            raise ConfigError(
                f"The entry point {entry.name!r} of thermocline.{group} is a {type(brought).__name__}, not "
                f"{record.__name__}. Correct or remove the package that brings it: {entry.value}."
            )
        found.setdefault(brought.name, brought)  # an installed package does not replace a built-in kind
    return list(found.values())


# -- metrics by name ---------------------------------------------------------------------------------------------


def metric_names(info: ProblemInfo, problem_type: str | None = None) -> list[str]:
    """Return the names of a kind's metrics, of one problem type if given."""
    return [one.name for one in info.metrics if problem_type is None or problem_type in one.problem_types]


def find_metric(info: ProblemInfo, name: object, problem_type: str | None = None) -> MetricInfo:
    """Return the metric of that name or alias.

    Raises:
        ConfigError: No such metric, or not one for the problem type; the message lists those that are.
    """
    known = {alias: one for one in info.metrics for alias in (one.name, *one.aliases)}
    found = known.get(name) if isinstance(name, str) else None
    fitting = metric_names(info, problem_type)
    where = f" for {problem_type} problems" if problem_type else ""
    if found is None:
        others = [other for other in problem_infos() if other.name != info.name]
        elsewhere = [one for other in others for one in other.metrics if name in (one.name, *one.aliases)]
        if elsewhere:
            raise _wrong_problem(name, elsewhere[0], problem_type or info.name, "", fitting)
        aliases = [alias for one in info.metrics for alias in one.aliases]
        raise ConfigError(
            f"Unknown metric {name!r}.{did_you_mean(name, [*fitting, *aliases])} "
            f"Metrics{where}: {listing(fitting, limit=40)}."
        )
    if problem_type is not None and problem_type not in found.problem_types:
        near = did_you_mean(f"{found.name}_macro", [one for one in fitting if one.startswith(found.name)])
        raise _wrong_problem(name, found, problem_type, near, fitting)
    return found


def _wrong_problem(name: object, found: MetricInfo, problem: str, near: str, fitting: list[str]) -> ConfigError:
    return ConfigError(
        f"The metric {name!r} is for {' and '.join(found.problem_types)} problems, and this one is {problem}.{near} "
        f"Metrics for {problem} problems: {listing(fitting, limit=40)}. If the problem type is wrong, pass "
        "problem_type=..."
    )
