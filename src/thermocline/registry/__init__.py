"""Which kinds of problem and of input there are: light records, found by name, implementations imported when used.

A built-in kind is a folder under `problems/` or `inputs/` whose `info.py` has an info record; other packages add theirs
as entry points of the groups `thermocline.problems` and `thermocline.inputs`, each such a record. A kind is never found
through anything that a saved folder holds but its name. The pattern is that of timm's `OptimInfo`
(`timm/optim/_optim_factory.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Any

from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.registry.metrics import Metric, MetricInfo, by_name, metric_given, spelled

FIRST = ("rowwise", "text", "image", "table")
"""Kinds that come first, in this order; a model holds the towers of its inputs in the order of the registry."""

LONGEST_SHOWN = 100  # of a name in a message

DEFAULT_PROBLEM = "rowwise"
"""The kind of problem where no problem type is given: it infers the type from the label."""


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
            What an input kind reads counts where the data have such columns. What every fit reads is not listed (see
            `config.reads`).
        inputs: The input kinds that its columns may be of.
        reads_by_type: Problem type → what is read with this problem type only, as in `reads`.
        reads_joined: What is read only where the columns are of several input kinds, as in `reads`.
        unread: Dotted name of an option that this kind does not read → why, and what to do instead.
        file_types: Extension of files that this kind reads besides tables → what such a file is called.
        type_aliases: Other name of a problem type → the problem type.
        open_types: A name for several problem types, one of which the labels decide → these.
        own_metrics: Whether it takes functions as metrics (`thermocline.Metric`).
        roles: Argument of `Predictor` that names a column by what it is for → what that is, such as `query`.
        label_optional: Whether data may go without a label: `Predictor(label=None)`.

    Example:
        >>> from thermocline.registry import find_problem
        >>> info = find_problem("binary")
        >>> info.name, info.problem_types
        ('rowwise', ('binary', 'multiclass', 'multilabel', 'regression'))
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
    reads_by_type: Mapping[str, frozenset[str]] = field(default_factory=dict)
    reads_joined: frozenset[str] = frozenset()
    unread: Mapping[str, str] = field(default_factory=dict)
    file_types: Mapping[str, str] = field(default_factory=dict)
    type_aliases: Mapping[str, str] = field(default_factory=dict)
    open_types: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    own_metrics: bool = False
    roles: Mapping[str, str] = field(default_factory=dict)
    label_optional: bool = False


@dataclass(frozen=True)
class InputInfo:
    """A kind of input, described without importing it.

    Attributes:
        name: The name of the kind, and of its tower.
        implementation: Where its `InputKind` class is: `"package.module:attribute"`.
        column_types: The column types that it takes.
        has_backbone: Whether its tower has a backbone that pretrained weights and adapters are for.
        options: Section → frozen dataclass with its options, as in `ProblemInfo`.
        reads: As in `ProblemInfo`.
        size_options: Option that sets the size of an input (a side, a length) → a number that its value is a multiple
            of, and the least value, where less memory is asked for.
        free_options: Options that a fit may set anew where it starts from a tower of an earlier one; all others are
            those that the tower was built by.
    """

    name: str
    implementation: str
    column_types: tuple[str, ...]
    has_backbone: bool = False
    options: Mapping[str, type] = field(default_factory=dict)
    reads: frozenset[str] = frozenset()
    size_options: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    free_options: frozenset[str] = frozenset()


# -- kinds -------------------------------------------------------------------------------------------------------


@cache
def problem_infos() -> tuple[ProblemInfo, ...]:
    """Return all installed kinds of problem, the built-in ones first."""
    return tuple(_installed("problems", ProblemInfo))


@cache
def input_infos() -> tuple[InputInfo, ...]:
    """Return all installed kinds of input, the built-in ones first, in the order of their towers."""
    return tuple(_installed("inputs", InputInfo))


def problem_types() -> tuple[str, ...]:
    """Return all values that `problem_type` takes."""
    return tuple(one for info in problem_infos() for one in info.problem_types)


def problem_type_of(name: Any, *, own: ProblemInfo | None = None) -> Any:
    """Return the problem type, or the name for several, that a name or another spelling of it means; else the name.

    Args:
        name: As given, or None.
        own: The caller's own kind of problem.
    """
    if not isinstance(name, str):
        return name
    for info in problem_infos() if own is None else (own,):
        known = {spelled(one): one for one in (*info.problem_types, *info.open_types)}
        known = {spelled(alias): one for alias, one in info.type_aliases.items()} | known
        if name not in info.problem_types and spelled(name) in known:
            return known[spelled(name)]
    return name


def types_of(info: ProblemInfo, problem_type: str | None) -> tuple[str, ...]:
    """Return the problem types of a kind that a name leaves open; None leaves all of them."""
    if problem_type is None:
        return info.problem_types
    return info.open_types.get(problem_type, (problem_type,))


def find_problem(problem_type: str | None) -> ProblemInfo:
    """Return the kind of problem that a problem type means; `None` means that it is inferred from the label.

    Raises:
        ConfigError: There is no such problem type; the message lists those that are.
    """
    found = problem_type_of(problem_type)
    for info in problem_infos():
        known = (*info.problem_types, *info.open_types)
        if found in known or (problem_type is None and info.name == DEFAULT_PROBLEM):
            return info
    allowed = problem_types()
    raise ConfigError(
        f"Unknown problem_type {problem_type!r}: choose from {listing(allowed)}.{did_you_mean(problem_type, allowed)}"
    )


def check_names(problem_type: str | None, eval_metric: Any, *, own: ProblemInfo | None = None) -> None:
    """Check a problem type and a metric before there is data.

    Args:
        problem_type: As given, or None.
        eval_metric: As `named_metric` returned it, or None.
        own: The caller's own kind of problem.

    Raises:
        ConfigError: One does not exist, or they do not go together.
    """
    problem_type = problem_type_of(problem_type, own=own)
    if own is not None and problem_type is not None and problem_type not in (*own.problem_types, *own.open_types):
        raise ConfigError(
            f"Unknown problem_type {problem_type!r} for this kind of problem: choose from {listing(own.problem_types)}."
            f"{did_you_mean(problem_type, own.problem_types)}"
        )
    info = own or find_problem(problem_type)
    if eval_metric is None:
        return
    if own is None and problem_type is None and isinstance(eval_metric, str) and is_metric(eval_metric):
        return  # the type is inferred from the label; whether the metric fits shows then
    find_metric(info, eval_metric, problem_type)


def check_roles(label: object, roles: Mapping[str, Any], problem_type: str | None, *, own: ProblemInfo | None) -> None:
    """Check that a kind of problem takes the columns that are named by what they are for, and goes without a label.

    Args:
        label: As given.
        roles: Argument → name of a column.
        problem_type: As given.
        own: The caller's own kind of problem.

    Raises:
        ConfigError: It does not; or a role is no name of a column, or two are the same.
    """
    info = own or find_problem(problem_type)
    others = [one.problem_types[0] for one in problem_infos() if roles.keys() & one.roles.keys()]
    for name, column in roles.items():
        if name not in info.roles:
            kinds = " and ".join(f"problem_type={one!r}" for one in others)
            raise ConfigError(f"{name}={column!r} is for {kinds}, not for {info.name} problems. Leave it out.")
        if not isinstance(column, str):
            raise ConfigError(f"{name} is the name of a column ({info.roles[name]}), not {column!r}.")
        if column == label:
            raise ConfigError(f"{name}={column!r} is the label. Name the column that holds {info.roles[name]}.")
    if len(set(roles.values())) < len(roles):
        same = " and ".join(f"{one}={name!r}" for one, name in roles.items())
        raise ConfigError(f"{same} are one column: name two different columns.")
    if label is None and not info.label_optional:
        raise ConfigError("label is a column name or a list of column names, not None.")


def own_info(problem: Any) -> ProblemInfo:
    """Return the info record of a caller's own kind of problem.

    Raises:
        ConfigError: It is not an instance of a kind of problem.
    """
    info = getattr(problem, "info", None)
    if isinstance(problem, type) or not isinstance(info, ProblemInfo):
        shown = f"the class {problem.__name__}" if isinstance(problem, type) else repr(problem)
        raise ConfigError(
            f"problem is {shown}, and takes an instance of a class that derives from "
            "thermocline.contracts.problem.Problem and has an info record: Predictor(label, problem=MyProblem()). For "
            "a built-in kind use problem_type."
        )
    return info


def load(info: ProblemInfo | InputInfo) -> Any:
    """Import and return the implementation of a kind, an instance of its class."""
    module, _, attribute = info.implementation.partition(":")
    return getattr(import_module(module), attribute)()


def _installed(group: str, record: type[ProblemInfo | InputInfo]) -> list[Any]:
    found: dict[str, Any] = {}
    folders = [one.name for one in iter_modules(import_module(f"thermocline.{group}").__path__) if one.ispkg]
    for name in sorted(folders, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)):
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
    types = set(types_of(info, problem_type))
    return [one.name for one in info.metrics if problem_type is None or types & set(one.problem_types)]


def named_metric(given: Any) -> Any:
    """Return a metric as a name or a `Metric`, where the caller gave it as such, as a function or as a scorer.

    Raises:
        ConfigError: A function without a name.
    """
    return metric_given(given, is_metric)


def is_metric(name: str) -> bool:
    """Return whether any kind of problem has a metric of that name or alias."""
    return any(by_name(info.metrics, name) is not None for info in problem_infos())


def metric_of(info: ProblemInfo, target: Any) -> MetricInfo:
    """Return the metric that validation goes by.

    Args:
        info: The kind of problem.
        target: What the label asks for; `target.metric` is a metric of the caller's own, or there is none.
    """
    own: Metric | None = getattr(target, "metric", None)
    return find_metric(info, target.eval_metric if own is None else own, target.problem_type)


def find_metric(info: ProblemInfo, name: object, problem_type: str | None = None) -> MetricInfo:
    """Return the metric of that name or alias, or what is to be known of a `Metric`.

    Raises:
        ConfigError: No such metric, or not one for the problem type; the message lists those that are.
    """
    if isinstance(name, Metric):
        return _own(info, name)
    found = by_name(info.metrics, name)
    fitting = metric_names(info, problem_type)
    where = f" for {problem_type} problems" if problem_type else ""
    if found is None:
        others = [one for other in problem_infos() if other.name != info.name for one in other.metrics]
        elsewhere = [one for one in others if spelled(name) in map(spelled, (one.name, *one.aliases))]
        if elsewhere:
            raise _wrong_problem(name, elsewhere[0], problem_type or info.name, "", fitting)
        aliases = [alias for one in info.metrics for alias in one.aliases]
        near = did_you_mean(name, [*fitting, *aliases])
        own = " Or a function (y_true, y_pred) -> float, a scorer, a thermocline.Metric." if info.own_metrics else ""
        shown = repr(name) if len(repr(name)) <= LONGEST_SHOWN else f"{repr(name)[:LONGEST_SHOWN]}..."
        raise ConfigError(f"Unknown metric {shown}.{near} Metrics{where}: {listing(fitting, limit=60)}.{own}")
    if problem_type is not None and not set(types_of(info, problem_type)) & set(found.problem_types):
        near = did_you_mean(f"{found.name}_macro", [one for one in fitting if one.startswith(found.name)])
        raise _wrong_problem(name, found, problem_type, near, fitting)
    return found


def _own(info: ProblemInfo, metric: Metric) -> MetricInfo:
    """Return what is to be known of a metric of the caller's own."""
    if not info.own_metrics:
        fitting = listing(metric_names(info), limit=40)
        raise ConfigError(f"{info.name} takes metrics by name, and no function such as {metric.name!r}: {fitting}.")
    taken = by_name(info.metrics, metric.name)
    if taken is not None:
        better = "more" if taken.greater_is_better else "less"
        raise ConfigError(
            f"The metric {metric.name!r} of your own has the name of one that there is, of which {better} is better. "
            f"Give that by name, {taken.name!r}; or yours another name: "
            "thermocline.Metric('my_metric', function, greater_is_better=...)."
        )
    return MetricInfo(metric.name, metric.greater_is_better, info.problem_types)


def _wrong_problem(name: object, found: MetricInfo, problem: str, near: str, fitting: list[str]) -> ConfigError:
    return ConfigError(
        f"The metric {name!r} is for {' and '.join(found.problem_types)} problems, and this one is {problem}.{near} "
        f"Metrics for {problem} problems: {listing(fitting, limit=60)}. If the problem type is wrong, pass "
        "problem_type=..."
    )
