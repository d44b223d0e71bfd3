"""How a fit may end: by the clock, by Ctrl-C, by a plan of one's own, or with the probe it started from."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pandas as pd
import pytest

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.errors import NonFiniteError, SelectorError, ThermoclineWarning
from thermocline.problems.rowwise import objective
from thermocline.training import trainer
from thermocline.tuning.plan.layer_plan import LayerPlan


def fit(frame, *, options=None, **more) -> Predictor:
    return Predictor("y", verbosity=0).fit(frame, hyperparameters={**TINY, **(options or {})}, **more)


def notes(predictor) -> str:
    return "\n".join(str(note) for note in predictor.history["note"])


def usable(predictor, frame) -> bool:
    return len(predictor.predict(frame)) == len(frame) and set(predictor.evaluate(frame)) >= {"accuracy"}


# -- the clock -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1e-6, 0.2])
def test_time_limit(reviews, text_folder, seconds, tmp_path):
    options = {"model.text.checkpoint": str(text_folder), "optim.max_epochs": 10_000}
    begin = time.monotonic()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The model was not validated", ThermoclineWarning)
        predictor = fit(reviews, options=options, time_limit=seconds)
    assert time.monotonic() - begin < 60  # ten thousand epochs take longer
    assert "stopped by the time limit" in notes(predictor)
    assert usable(predictor, reviews)
    loaded = Predictor.load(predictor.save(tmp_path / "run"), verbosity=0)
    assert loaded.predict(reviews).equals(predictor.predict(reviews))


# -- Ctrl-C ----------------------------------------------------------------------------------------


def interrupt_at(monkeypatch, name, call):
    """Press Ctrl-C when a method of the trainer is called for the n-th time."""
    real, calls = getattr(trainer.Trainer, name), []

    def method(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    monkeypatch.setattr(trainer.Trainer, name, method)


def test_interrupted_between_validations(table, monkeypatch):
    whole = fit(table, options={"optim.max_epochs": 1, "optim.lr_schedule": "constant", "optim.warmup": 0})
    steps = int(whole.history["step"].max())
    interrupt_at(monkeypatch, "step", steps + 2)
    options = {"optim.max_epochs": 50, "optim.lr_schedule": "constant", "optim.warmup": 0}
    predictor = fit(table, options=options)
    assert "stopped by Ctrl-C; the best state so far is kept" in notes(predictor)
    assert predictor.history["step"].max() == steps
    pd.testing.assert_frame_equal(predictor.predict_proba(table), whole.predict_proba(table))


@pytest.mark.parametrize(("name", "call"), [("step", 1), ("start_head", 1), ("validate", 1), ("validate", 2)])
def test_interrupted_early(table, monkeypatch, name, call):
    interrupt_at(monkeypatch, name, call)
    predictor = fit(table)
    assert "stopped by Ctrl-C" in notes(predictor)
    assert usable(predictor, table)


# -- the probe is the floor ------------------------------------------------------------------------


def test_probe_is_kept_when_tuning_is_worse(reviews, text_folder):
    options = {
        "model.text.checkpoint": str(text_folder),
        "optim.lr": 5.0,
        "optim.lr_choice": "single_lr",
        "optim.warmup": 0,
        "optim.max_epochs": 3,
        "optim.refit": "off",
    }
    predictor = fit(reviews, options=options)
    history = predictor.history
    scored = history.dropna(subset=["val_roc_auc"])
    start, last = scored[scored["step"] == 0].iloc[0], history.iloc[-1]
    assert "probe: logistic regression" in start["note"]
    assert (scored["val_roc_auc"] <= start["val_roc_auc"]).all()
    assert last["val_roc_auc"] == start["val_roc_auc"]
    assert "kept: step 0" in last["note"]
    assert "the probe" in last["note"]
    assert "tuning validated worse" in last["note"]


def test_head_at_random(reviews, text_folder):
    options = {"model.text.checkpoint": str(text_folder), "optim.head_init": "random"}
    assert "probe:" not in notes(fit(reviews, options=options))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_stays_infinite(table, monkeypatch):
    real = objective.F.cross_entropy
    monkeypatch.setattr(objective.F, "cross_entropy", lambda *a, **k: real(*a, **k) * float("nan"))
    with pytest.raises(NonFiniteError, match=r"was not finite for 10 steps in a row.*Lower optim\.lr") as caught:
        fit(table, options={"optim.max_epochs": 20})
    assert isinstance(caught.value, ArithmeticError)


# -- a plan of one's own ---------------------------------------------------------------------------


def explained(table) -> LayerPlan:
    return Predictor("y", verbosity=0).explain(table, hyperparameters=TINY)


def test_the_plan_of_explain_is_the_plan_of_fit(table, tmp_path):
    plan = explained(table)
    predictor = fit(table)
    assert predictor.plan.fingerprint == plan.fingerprint
    (tmp_path / "plan.json").write_text(plan.to_json())
    again = fit(table, plan=tmp_path / "plan.json")
    assert again.predict_proba(table).equals(predictor.predict_proba(table))


def test_an_edited_plan_is_followed(table):
    """All but the head pinned by hand: nothing else moves, and the plan is what the predictor shows."""
    import json

    plan = explained(table)
    data = json.loads(plan.to_json())
    for layer in data["layers"]:
        layer["frozen"] = not layer["label"].endswith("head")
    edited = LayerPlan.from_json(json.dumps(data))
    predictor = fit(table, plan=edited)
    assert predictor.plan.fingerprint == edited.fingerprint != plan.fingerprint
    start = fit(table, options={"optim.lr": 1e-30})._assembly.model.state_dict()
    moved = {
        name
        for name, value in predictor._assembly.model.state_dict().items()
        if not np.allclose(value.numpy(), start[name].numpy(), atol=1e-9)
    }
    assert moved <= {"head.weight", "head.bias"}


def test_an_edited_plan_that_trains_nothing(table):
    import json

    data = json.loads(explained(table).to_json())
    for layer in data["layers"]:
        layer["frozen"] = True
    with pytest.raises(SelectorError, match="or gives it a rate of 0: nothing is left to train"):
        fit(table, plan=LayerPlan.from_json(json.dumps(data)))


def test_explain_trains_nothing_and_writes_nothing(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trainer.Trainer, "fit", None)
    plan = explained(table)
    assert "head" in str(plan)
    assert list(tmp_path.iterdir()) == []


# -- rows left out ---------------------------------------------------------------------------------


def test_rows_of_weight_zero_are_told():
    frame = make_table().assign(w=[1.0, 0.0, 2.0] * 20)
    predictor = Predictor("y", sample_weight="w", verbosity=0).fit(frame, hyperparameters=TINY)
    assert "20 rows of train_data left out: their weight is 0" in notes(predictor)


def test_fit_again_replaces_what_was_learnt(table, tmp_path):
    predictor = Predictor("y", path=tmp_path / "run", verbosity=0)
    first = predictor.fit(table, hyperparameters=TINY).predict_proba(table)
    second = predictor.fit(table, hyperparameters=TINY, seed=1, overwrite=True).predict_proba(table)
    assert not first.equals(second)
    assert Predictor.load(tmp_path / "run", verbosity=0).predict_proba(table).equals(second)
