"""What a kind of problem lacks, or returns wrongly, is an error that says what to define."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from support.own_problems import Counts, CountTarget, visits
from support.tiny import TINY, told
from thermocline import Predictor
from thermocline.contracts.learning import Learning, Objective
from thermocline.contracts.problem import Problem
from thermocline.errors import ConfigError, LabelError
from thermocline.problems.rowwise.collector import RowCollector
from thermocline.problems.rowwise.problem import Rowwise
from thermocline.problems.rowwise.target import RowTarget
from thermocline.registry import MetricInfo
from thermocline.registry.own_problem import NEEDED

QUICK = {**TINY, "optim.lr": 0.02, "optim.max_epochs": 4}


def fit(problem: Problem, **more: Any) -> Predictor:
    return Predictor("visits", problem=problem, verbosity=0, **more).fit(visits(), hyperparameters=QUICK)


def test_counts_take_the_whole_road(tmp_path):
    fitted = fit(Counts(), path=tmp_path / "counts")
    test = visits(40)
    again = Predictor.load(tmp_path / "counts", problem=Counts(), verbosity=0)
    assert again.predict(test).equals(fitted.predict(test))
    assert list(fitted.evaluate(test)) == ["deviance"]
    shown = str(fitted.show_results(test, n=2))
    assert "wrong" not in shown
    wrong = visits().assign(visits=-1)
    message = told(LabelError, ValueError, lambda: Predictor("visits", problem=Counts()).fit(wrong))
    assert "train_data: rows [0, 1, 2] hold no counts" in message


def test_a_kind_without_its_methods_lists_them_all():
    class Empty(Problem):
        info = Counts.info

    message = told(ConfigError, ValueError, lambda: Predictor("visits", problem=Empty()))
    assert "Empty is not complete" in message
    assert all(f"define {name}(self, " in message for name in NEEDED)
    assert "define rows(self, found, assembly, *, labelled, training=False, seed=0): turn a frame into rows." in message


def test_a_method_with_other_arguments():
    class Other(Counts):
        def predictions(self, outputs):
            return outputs

        def rows(self, found, assembly):
            return found

    message = told(ConfigError, ValueError, lambda: Predictor("visits", problem=Other()))
    assert "predictions takes (self, outputs) (too many positional arguments); it is called as" in message
    assert "rows takes (self, found, assembly)" in message


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"problem_types": ()}, "info.problem_types is empty"),
        ({"inputs": ()}, "info.inputs is empty: name the kinds of columns that it takes, of 'text', 'image', 'table'"),
        ({"inputs": ("texts",)}, "info.inputs holds 'texts'"),
        ({"default_metric": {}}, "info.default_metric has no 'counts': default_metric={'counts': 'a metric'}"),
        ({"usual_metrics": {}}, "info.usual_metrics has no 'counts': usual_metrics={'counts': ()}"),
        ({"metrics": ()}, "info.metrics has no 'deviance' for 'counts': add MetricInfo('deviance', "),
    ],
)
def test_an_info_record_that_lacks_something(changes, says):
    kind = type("Lacking", (Counts,), {"info": replace(Counts.info, **changes)})
    assert says in told(ConfigError, ValueError, lambda: Predictor("visits", problem=kind()))


def test_what_is_no_kind_at_all():
    cases = [
        (Counts, "problem is the class Counts"),
        (SimpleNamespace(info=Counts.info), "does not derive from thermocline.contracts.problem.Problem"),
        ("counts", "problem is 'counts'"),
        (type("Plain", (Problem,), {})(), "has an info record"),
    ]
    for given, says in cases:
        assert says in told(ConfigError, ValueError, lambda given=given: Predictor("visits", problem=given))


def returning(method: str, value: Any) -> Problem:
    """The kind, whose method returns another value; a function makes it of what it should have returned."""

    def changed(self, *args, **named):
        found = getattr(Counts, method)(self, *args, **named)
        return value(found) if callable(value) else value

    return type("Mine", (Counts,), {method: changed})()


def loss_of(total):
    return lambda found: Learning(Objective(total, found.objective.weight))


class Lonely(CountTarget):
    problem_type = "others"


@pytest.mark.parametrize(
    ("method", "value", "says"),
    [
        ("read", lambda found: found.frame, "it returns a thermocline.contracts.labelled.Labelled"),
        ("find_columns", ["x"], "Mine.find_columns returned ['x']: it returns a thermocline.data.columns.Columns"),
        ("find_target", None, "it lacks 'problem_type', 'label', 'labels', 'eval_metric', 'reason', 'to_dict'"),
        ("find_target", Lonely("visits"), "its problem_type is 'others'"),
        ("split", lambda found: found[:2], "sorted validation positions, and why the share was chosen"),
        ("split", lambda found: (found[0], found[0], "same"), "no row is in both"),
        ("split", lambda found: (found[0] > 3, found[1], "mask"), "positions are whole numbers (rows,)"),
        ("build", None, "it returns a thermocline.contracts.problem.Built"),
        ("build", lambda found: replace(found, model=torch.nn.Linear(1, 1)), "its model has no towers"),
        ("rows", lambda found: found.parts, "it returns a thermocline.data.batches.Rows"),
        ("learning", lambda found: found.objective, "it returns a thermocline.contracts.learning.Learning"),
        ("learning", loss_of(lambda out, batch: (out[:, 0] - batch["target"]) ** 2), "a tensor of one number"),
        ("learning", loss_of(lambda out, batch: 3.0), "Objective.total returned a float"),
        ("collector", lambda found: found.outputs(), "it lacks 'compute', 'add', 'outputs', 'scores'"),
    ],
)
def test_a_method_that_returns_something_else(method, value, says):
    message = told(ConfigError, ValueError, lambda: fit(returning(method, value)))
    assert says in message


def test_a_build_that_leaves_options_open():
    def opened(found):
        root = replace(found.config.root, optim=replace(found.config.optim, lr=None))
        return replace(found, config=replace(found.config, root=root))

    message = told(ConfigError, ValueError, lambda: fit(returning("build", opened)))
    assert "'optim.lr' is left open in its config: config.choose(option, value, why)" in message


def test_predictions_and_saved_parts_that_are_something_else(tmp_path):
    fitted = fit(Counts(), path=tmp_path / "counts")
    cases = [
        ("predictions", lambda found: found.to_numpy(), "a Series or a DataFrame on the index"),
        ("predictions", lambda found: found.reset_index(drop=True), "it is not on the index that it is given"),
    ]
    test = visits(20).set_index(np.arange(100, 120))
    for method, value, says in cases:
        loaded = Predictor.load(fitted.path, problem=returning(method, value), verbosity=0)
        assert says in told(ConfigError, ValueError, lambda loaded=loaded: loaded.predict(test))
    unplain = returning("describe", lambda found: {**found, "index": pd.Index([1])})
    message = told(ConfigError, ValueError, lambda: fit(unplain, path=tmp_path / "unplain"))
    assert "plain JSON values" in message


def test_scores_without_the_metric():
    class Silent(Counts):
        def collector(self, assembly, rows, found, *, scoring, **options):
            made = super().collector(assembly, rows, found, scoring=scoring, **options)
            made.scores = lambda metrics: {}
            return made

    assert "'deviance'" in told(ConfigError, ValueError, lambda: fit(Silent()))


def test_kinds_that_derive_from_rowwise_are_complete():
    class Mine(Rowwise):
        pass

    assert Predictor("y", problem=Mine()).problem_type is None


class NumberTarget(RowTarget):
    """A number, as it is."""

    @property
    def width(self) -> int:
        return 1

    def encode(self, frame, *, what="the data"):
        return frame[self.label].to_numpy(np.float32)


class Distances(Rowwise):
    """Derives from `Rowwise`, for a problem type of its own."""

    info = replace(
        Rowwise.info,
        name="distances",
        problem_types=("distances",),
        metrics=(MetricInfo("off", False, ("distances",)),),
        default_metric={"distances": "off"},
        usual_metrics={"distances": ()},
    )
    split = Problem.split

    def find_target(self, found, request):
        return NumberTarget("distances", request.label, (), ("float64",), eval_metric="off", reason="distances")

    def learning(self, assembly, train, *, seed):
        def total(outputs, batch):
            return (outputs[:, 0] - batch["target"]).abs().sum()

        return Learning(Objective(total, lambda batch: float(len(batch["rows"]))))

    def collector(self, assembly, rows, found, *, scoring, **options):
        class Distance(RowCollector):
            def scores(self, metrics):
                return {"off": float(np.abs(self.values[:, 0] - self._encoded).mean())}

        return Distance(assembly.model, assembly.target, rows)

    def predictions(self, outputs, target, index):
        return pd.Series(outputs[:, 0], index=index, name=target.label)

    def read_target(self, described):
        return NumberTarget.from_dict(described)


@pytest.mark.parametrize("name", Rowwise.of_its_types)
def test_what_rowwise_does_for_its_own_types_alone_is_asked_for(name):
    kind = type("Partly", (Distances,), {name: getattr(Rowwise, name)})
    message = told(ConfigError, ValueError, lambda: Predictor("x", problem=kind()))
    assert f"define {name}(self, " in message
    assert "That of Rowwise is for 'binary', 'multiclass', 'multilabel', 'regression' alone" in message


def test_a_kind_of_rowwise_with_a_type_of_its_own(tmp_path):
    frame = visits()
    fitted = Predictor("x", problem=Distances(), path=tmp_path / "own", verbosity=0).fit(frame, hyperparameters=QUICK)
    assert Predictor.load(fitted.path, problem=Distances(), verbosity=0).evaluate(frame) == fitted.evaluate(frame)
    assert "Use predict" in told(ConfigError, ValueError, lambda: fitted.predict_proba(frame))

    class Unread(Distances):
        def read_target(self, described):
            return RowTarget.from_dict(described)

    def fit() -> Predictor:
        return Predictor("x", problem=Unread(), path=tmp_path / "unread", verbosity=0).fit(frame, hyperparameters=QUICK)

    assert "read_target makes a RowTarget again of what NumberTarget.to_dict gives" in told(
        ConfigError, ValueError, fit
    )

    class Classless(Distances):
        def find_target(self, found, request):
            return RowTarget("distances", request.label, (), ("float64",), eval_metric="off", reason="distances")

    message = told(
        ConfigError,
        ValueError,
        lambda: Predictor("x", problem=Classless(), verbosity=0).fit(
            frame, hyperparameters={**QUICK, "data.valid_fraction": 0.2}
        ),
    )
    assert "define encode(self, frame" in message
