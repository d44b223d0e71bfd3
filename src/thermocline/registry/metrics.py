"""Metrics by name, and those of the caller's own: functions, and scorers of scikit-learn."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from thermocline.errors import ConfigError

Needs: TypeAlias = Literal["prediction", "probability"]

PREDICTION, PROBABILITY = "prediction", "probability"
_OF_LESS = ("_loss", "_error", "_deviance", "_divergence")
"""How functions of scikit-learn are called of which less is better."""


@dataclass(frozen=True)
class Parameter:
    """A number that is a part of a metric's name, as in `pinball:0.9`.

    Attributes:
        what: What it is, for messages.
        low: It is above this number.
        high: It is below this number.
        whole: Whether it is a whole number.
        spelled: A regular expression of other spellings, with the number as its group, such as `top_?(\\d+)`.
    """

    what: str
    low: float
    high: float
    whole: bool = False
    spelled: str = ""


@dataclass(frozen=True)
class MetricInfo:
    """A metric by name; what computes it belongs to the kind of problem.

    Attributes:
        name: Its canonical name.
        greater_is_better: Whether more is better.
        problem_types: The problem types that it can score.
        aliases: Other names that are understood.
        tunes_threshold: Whether a fit that goes by it looks for the threshold between two classes: where the metric
            weighs mistakes of both kinds, and more right predictions are not all that counts.
        parameter: The number that may be a part of its name.

    Example:
        >>> from thermocline.registry import find_metric, find_problem
        >>> found = find_metric(find_problem("binary"), "auc")
        >>> found.name, found.greater_is_better
        ('roc_auc', True)
    """

    name: str
    greater_is_better: bool
    problem_types: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    tunes_threshold: bool = False
    parameter: Parameter | None = None


@dataclass(frozen=True)
class Metric:
    """A metric of your own.

    Attributes:
        name: What histories and results call it; not the name of a metric that there is.
        function: `(y_true, y_pred) -> float`. Both are arrays in the order of the rows. `y_true` holds labels as they
            are in the data: classes `(rows,)`, numbers float64 `(rows,)`, or 0 and 1 int64 `(rows, labels)`. Where it
            takes an argument `sample_weight`, it is given the row weights where there are some; where it takes
            `pos_label`, the positive class of two. None: a saved predictor does not hold it.
        greater_is_better: Whether more is better.
        needs: What `y_pred` is: `prediction`, alike; or `probability`: float64 `(rows,)` of the positive class of two,
            `(rows, classes)` in the order of `predict_proba`, or `(rows, labels)`.

    Example:
        >>> Metric("within_10", lambda y, p: float((abs(y - p) < 10).mean()))
        Metric('within_10', greater_is_better=True, needs='prediction')
        >>> own = Metric("share_right", lambda y, p: float((y == p).mean()))
        >>> predictor.evaluate(test, [own])
        {'share_right': 1.0}
    """

    name: str
    function: Callable[..., float] | None = field(compare=False)
    greater_is_better: bool = True
    needs: Needs = "prediction"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or len(self.name) > 100:
            raise ConfigError(f"The name of a Metric is a text of at most 100 letters, not {self.name!r}.")
        if self.function is not None and (not callable(self.function) or isinstance(self.function, type)):
            raise ConfigError(
                f"The function of Metric({self.name!r}) takes (y_true, y_pred) and returns a number; got "
                f"{self.function!r}."
            )
        if not isinstance(self.greater_is_better, bool):
            raise ConfigError(f"greater_is_better of Metric({self.name!r}) is True or False.")
        if self.needs not in (PREDICTION, PROBABILITY):
            raise ConfigError(f"needs of Metric({self.name!r}) is 'prediction' or 'probability', not {self.needs!r}.")

    def __repr__(self) -> str:
        return f"Metric({self.name!r}, greater_is_better={self.greater_is_better}, needs={self.needs!r})"

    def __deepcopy__(self, memo: Any) -> Metric:
        return self  # a function is not copied

    def without_function(self) -> Metric:
        """Return what is saved of it."""
        return replace(self, function=None)


def metric_given(given: Any, known: Callable[[str], bool]) -> Any:
    """Return a metric as a name or a `Metric`; what is neither stays as it is, for the error.

    A function of scikit-learn, or one of its own scorers such as `get_scorer("f1_macro")`, becomes the name of the same
    metric here. A scorer of `make_scorer` is read: function, sign, arguments, and whether it takes probabilities. Of
    any other function more is better.

    Args:
        given: What the caller has given.
        known: Whether there is a metric of a name.

    Raises:
        ConfigError: A function without a name.
    """
    if given is None or isinstance(given, (str, Metric)):
        return given
    if hasattr(given, "_score_func") and hasattr(given, "_sign"):
        return _of_scorer(given, known)
    if not callable(given) or isinstance(given, type):
        return given
    name = _name_of(given)
    if not str(getattr(given, "__module__", "")).startswith("sklearn."):
        return _named(name, given)
    return name if known(name) else Metric(name, given, not name.endswith(_OF_LESS))


def _of_scorer(scorer: Any, known: Callable[[str], bool]) -> str | Metric:
    """Return the name of one of scikit-learn's own scorers, or what a scorer is made of."""
    library: Any = sys.modules.get("sklearn.metrics")
    for name in () if library is None else library.get_scorer_names():
        same = all(getattr(library.get_scorer(name), one, None) == getattr(scorer, one, None) for one in _PARTS)
        if same and known(name):
            return str(name)
    needs: Needs = "prediction" if getattr(scorer, "_response_method", "predict") == "predict" else "probability"
    function, arguments = scorer._score_func, dict(getattr(scorer, "_kwargs", {}))
    name = _name_of(function)
    if not arguments and known(name):  # as make_scorer(f1_score)
        return name
    words = ", ".join(f"{key}={value!r}" for key, value in sorted(arguments.items()))
    bound = functools.partial(function, **arguments) if arguments else function
    return _named(f"{name}({words})"[:100] if words else name, bound, scorer._sign > 0, needs)


_PARTS = ("_score_func", "_sign", "_kwargs", "_response_method")


def _named(name: str, function: Any, greater: bool = True, needs: Needs = "prediction") -> Metric:  # noqa: FBT001, FBT002
    if name.startswith("<lambda>"):
        raise ConfigError(
            "A lambda has no name that a history could show. Give it one: "
            "thermocline.Metric('my_metric', lambda y_true, y_pred: ...)."
        )
    return Metric(name, function, greater, needs)


def _name_of(function: Any) -> str:
    """Return the name of a function, of what a partial calls, or of an object's class."""
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


# -- by name


def spelled(name: object) -> str:
    """Return a name as it is compared: capitals, hyphens and blanks make no other name."""
    return str(name).strip().lower().replace("-", "_").replace(" ", "_")


def negates(name: str) -> bool:
    """Return whether a metric is asked for by a name of scikit-learn's for the same with the other sign."""
    return spelled(name).startswith("neg_")


def by_name(metrics: Sequence[MetricInfo], name: object) -> MetricInfo | None:
    """Return the metric of a name, with its parameter as a part of its name where one is given.

    Raises:
        ConfigError: A parameter that is none of the metric.
    """
    if not isinstance(name, str):
        return None
    known = {spelled(alias): one for one in metrics for alias in (one.name, *one.aliases)}
    if spelled(name) in known:
        return known[spelled(name)]
    for one in metrics:
        if one.parameter is None:
            continue
        names = "|".join(re.escape(spelled(each)) for each in (one.name, *one.aliases))
        found = re.fullmatch(rf"(?:{names})[:@](?P<number>.+)", spelled(name))
        number = found["number"] if found else ""
        if not found and one.parameter.spelled and (found := re.fullmatch(one.parameter.spelled, spelled(name))):
            number = found[1]
        if found:
            return replace(one, name=f"{one.name}:{short(_number(one, number))}")
    return None


def short(number: float) -> str:
    """Return a number as it is written, `2` for 2.0; read again it is the same."""
    text = f"{number:g}"
    return text if float(text) == number else repr(float(number))


def _number(metric: MetricInfo, text: str) -> float:
    """Return the parameter of a metric as it was written."""
    asked = metric.parameter
    assert asked is not None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if asked.low < number < asked.high and (not asked.whole or number.is_integer()):
        return number
    example = f"{metric.name}:{int(asked.low) + 5 if asked.whole else 0.9}"
    kind = "a whole number" if asked.whole else "a number"
    below = "" if asked.high == float("inf") else f" and below {asked.high:g}"
    raise ConfigError(
        f"{metric.name}:{text} is no metric: behind the colon stands {asked.what}, {kind} above {asked.low:g}{below}, "
        f"such as {example!r}."
    )
