"""A kind of problem of the caller's own takes the whole road: nothing in the package knows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from support.tiny import TINY, told
from thermocline import Predictor
from thermocline.contracts.learning import Learning, Objective
from thermocline.errors import ConfigError, LabelError
from thermocline.problems.rowwise.collector import RowCollector
from thermocline.problems.rowwise.problem import Rowwise
from thermocline.problems.rowwise.target import RowTarget
from thermocline.registry import MetricInfo, ProblemInfo

GRADES = ("poor", "fair", "good", "fine")
ORDINAL = ("ordinal",)


class OrdinalTarget(RowTarget):
    """Grades in order; the model has an output for each step between two grades."""

    @property
    def width(self) -> int:
        return len(self.classes) - 1


class OrdinalCollector(RowCollector):
    """Scores the number of steps between the grade predicted and the true one."""

    def scores(self, metrics):
        rows = np.flatnonzero(self.reached)
        steps = np.abs(grades(self.values[rows]) - self._encoded[rows])
        of = {"steps_off": float(steps.mean()), "exact": float((steps == 0).mean())} if len(rows) else {}
        return {name: of.get(name, float("nan")) for name in metrics}

    def fallback_loss(self):
        return None


class Ordinal(Rowwise):
    """Grades by a cumulative head (McCullagh 1980): output k is the logit of a grade above k."""

    info = ProblemInfo(
        name="ordinal",
        implementation="",
        problem_types=ORDINAL,
        metrics=(MetricInfo("steps_off", False, ORDINAL, ("off",)), MetricInfo("exact", True, ORDINAL)),
        default_metric={"ordinal": "steps_off"},
        usual_metrics={"ordinal": ("exact",)},
        reads=Rowwise.info.reads | {"model.fusion.*"},
        inputs=Rowwise.info.inputs,
    )

    def find_target(self, found, request):
        values = found.frame[request.label]
        if unknown := sorted(set(values) - set(GRADES)):
            raise LabelError(f"{request.label!r} holds {unknown}, which are none of the grades {list(GRADES)}.")
        return OrdinalTarget("ordinal", request.label, GRADES, ("object",), eval_metric="steps_off", reason="grades")

    def split(self, found, target, fraction, *, seed):
        return super().split(found, replace(target, problem_type="multiclass"), fraction, seed=seed)

    def learning(self, assembly, train, *, seed):
        def total(outputs, batch):
            above = batch["target"][:, None] > torch.arange(outputs.shape[1])
            return F.binary_cross_entropy_with_logits(outputs.float(), above.float(), reduction="none").mean(1).sum()

        return Learning(Objective(total, lambda batch: float(len(batch["rows"]))))

    def collector(self, assembly, rows, found, *, scoring, **options):
        return OrdinalCollector(assembly.model, assembly.target, rows)

    def predictions(self, outputs, target, index):
        return pd.Series([GRADES[k] for k in grades(outputs)], index=index, name=target.label)

    def check_probabilities(self, target):
        raise ConfigError("Grades have no probabilities here. Use predict.")

    def read_target(self, described):
        return OrdinalTarget.from_dict(described)


def grades(outputs):
    return (outputs > 0).sum(axis=1)


def frame_of(rows=120, seed=0):
    x = np.random.default_rng(seed).normal(size=(rows, 2))
    steps = np.digitize(x[:, 0] + 0.3 * x[:, 1], [-0.8, 0.0, 0.8])
    return pd.DataFrame({"x": x[:, 0], "z": x[:, 1], "grade": [GRADES[k] for k in steps]})


OPTIONS = {**TINY, "optim.max_epochs": 20, "optim.lr": 0.02}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "model"
    predictor = Predictor("grade", path=path, problem=Ordinal(), verbosity=0)
    return predictor.fit(frame_of(), hyperparameters=OPTIONS)


def test_it_fits_predicts_and_evaluates(fitted):
    test = frame_of(seed=1)
    predicted = fitted.predict(test)
    assert predicted.index.equals(test.index)
    scores = fitted.evaluate(test)
    assert list(scores) == ["steps_off", "exact"]
    assert scores["exact"] == pytest.approx((predicted == test["grade"]).mean())
    assert scores["steps_off"] < 0.35
    assert fitted.evaluate(test, "off") == {"off": scores["steps_off"]}
    assert fitted.problem_type == "ordinal"
    assert fitted.embed(test).shape[0] == len(test)
    assert "'rmse' is for regression problems" in told(ConfigError, ValueError, lambda: fitted.evaluate(test, "rmse"))
    assert "no probabilities" in told(ConfigError, ValueError, lambda: fitted.predict_proba(test))


def test_it_explains_without_training():
    plan = Predictor("grade", problem=Ordinal(), verbosity=0).explain(frame_of(), hyperparameters=OPTIONS)
    assert "table" in str(plan)
    assert plan.estimate is not None


def test_it_has_no_linear_probes_and_says_so():
    predictor = Predictor("grade", problem=Ordinal(), verbosity=0)
    message = told(ConfigError, ValueError, lambda: predictor.recommend(frame_of(), probes=True))
    assert "not for ordinal" in message


def test_its_report_has_the_scores_alone(fitted):
    test = frame_of(seed=1)
    report = fitted.report(test)
    assert {one.name: one.value for one in report.scores} == fitted.evaluate(test)
    assert report.sections == ()
    assert report.draws == 0
    assert "steps_off" in str(report)
    assert "steps_off" in report._repr_html_()
    assert "no pictures" in told(ConfigError, ValueError, report.plot)
    assert "row_report" in told(ConfigError, ValueError, lambda: fitted.top_losses(test))


def test_it_is_saved_and_loaded_with_the_callers_code(fitted):
    test = frame_of(seed=2)
    loaded = Predictor.load(fitted.path, problem=Ordinal(), verbosity=0)
    assert loaded.predict(test).equals(fitted.predict(test))
    message = told(ConfigError, ValueError, lambda: Predictor.load(fitted.path))
    assert "'ordinal'" in message
    assert "Predictor.load(path, problem=MyProblem())" in message


def test_it_resumes_to_the_same_bits(tmp_path):
    def fit(path, **more):
        predictor = Predictor("grade", path=path, problem=Ordinal(), verbosity=0)
        return predictor.fit(frame_of(), hyperparameters={**OPTIONS, "env.checkpoint_every": 3}, **more)

    whole = fit(tmp_path / "whole")

    class Stop(BaseException):
        pass

    original = torch.optim.AdamW.step
    steps = []

    def stop(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 8:
            raise Stop
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", stop)
        with pytest.raises(Stop):
            fit(tmp_path / "stopped")
    resumed = fit(tmp_path / "stopped", resume=True)
    left, right = (one._fitted().model.state_dict() for one in (whole, resumed))
    assert all(torch.equal(value, right[name]) for name, value in left.items())
    assert fit(tmp_path / "stopped", resume=True).predict(frame_of()).equals(resumed.predict(frame_of()))


class Contrasting(Ordinal):
    """The same, said to compare the rows of a batch with each other."""

    def learning(self, assembly, train, *, seed):
        made = super().learning(assembly, train, seed=seed)
        return replace(made, objective=replace(made.objective, whole_batch=True))


def test_rows_that_are_compared_are_never_in_micro_batches():
    predictor = Predictor("grade", problem=Contrasting(), verbosity=0)
    options = {**OPTIONS, "optim.max_epochs": 1}
    parts = {**options, "env.micro_batch_size": 4}
    message = told(ConfigError, ValueError, lambda: predictor.fit(frame_of(), hyperparameters=parts))
    assert "env.micro_batch_size=4" in message
    assert len(predictor.fit(frame_of(), hyperparameters=options).predict(frame_of())) == 120


def test_its_own_faults_are_told():
    bad = frame_of().assign(grade="superb")
    predictor = Predictor("grade", problem=Ordinal(), verbosity=0)
    assert "'superb'" in told(LabelError, ValueError, lambda: predictor.fit(bad))
    for wrong in (Ordinal, "ordinal", object()):
        message = told(ConfigError, ValueError, lambda wrong=wrong: Predictor("grade", problem=wrong))
        assert "problem=MyProblem()" in message
    message = told(ConfigError, ValueError, lambda: Predictor("grade", eval_metric="rmse", problem=Ordinal()))
    assert "'steps_off'" in message


def test_it_starts_from_an_earlier_one(fitted):
    again = Predictor("grade", problem=Ordinal(), verbosity=0).fit(
        frame_of(), start_from=fitted, hyperparameters={"optim.max_steps": 1, "optim.lr": 1e-12}
    )
    assert again.started_from["head"] == "whole"
    assert again.predict(frame_of()).equals(fitted.predict(frame_of()))
    loaded = Predictor("grade", problem=Ordinal(), verbosity=0).fit(
        frame_of(60, seed=3), start_from=fitted.path, hyperparameters={"optim.max_steps": 1}
    )
    assert loaded.started_from["fingerprint"] == again.started_from["fingerprint"]
