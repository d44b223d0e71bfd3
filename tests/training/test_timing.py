"""Timed steps are real, and leave no trace."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from support.assemblies import prepared_and_assembled, run_of
from support.tiny import TINY, make_table, make_texts, save_text, write_images
from support.toy import make_run
from thermocline import Predictor
from thermocline.training.stepping import Stepper
from thermocline.training.timing import STEPS, time_steps, undone
from thermocline.training.trainer import Trainer

TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_text(tmp_path_factory.mktemp("bert") / "model", "bert", **TEXT)


def frame_of(kind, folder, bert):
    if kind == "text":
        return make_texts(40), {**TINY, "model.text.checkpoint": str(bert)}
    if kind == "image":
        options = {"model.image.checkpoint": "resnet10t", "model.image.pretrained": False, "model.image.size": 32}
        return write_images(folder / "images"), {**TINY, **options, "data.image_folder": str(folder / "images")}
    return make_table(40), TINY


@pytest.mark.parametrize("kind", ["table", "text", "image"])
def test_a_fit_after_timed_steps_gives_the_same_bits(kind, tmp_path, bert):
    frame, options = frame_of(kind, tmp_path, bert)
    states = []
    for timed in (False, True):
        prepared, assembly = prepared_and_assembled(frame, options)
        run = run_of(prepared, assembly, tmp_path / f"{timed}")
        before = {name: one.clone() for name, one in assembly.model.state_dict().items()}
        random = torch.get_rng_state()
        if timed:
            times = time_steps(run)
            assert times.compute > 0
            assert times.validation > 0
            assert torch.equal(random, torch.get_rng_state())
            assert all(torch.equal(before[name], one) for name, one in assembly.model.state_dict().items())
            assert not list((tmp_path / f"{timed}").glob("*"))
        history = Trainer(run).fit()
        states.append((history["val_" + assembly.target.eval_metric].tolist(), assembly.model.state_dict()))
    (plain, one), (after, other) = states
    np.testing.assert_array_equal(plain, after)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_steps_are_those_of_training(tmp_path, monkeypatch):
    run = make_run(tmp_path, rows=60)
    taken = []
    update = Stepper.update
    monkeypatch.setattr(Stepper, "update", lambda self, optimizer: (taken.append(1), update(self, optimizer))[1])
    times = time_steps(run)
    assert len(taken) == STEPS + 1
    assert times.phase == 0
    trainer = Trainer(run)
    assert times.validations == 1 + trainer.length.validations(0, trainer.total_steps, run.optim.val_check_interval)


def test_what_was_done_to_a_model_is_undone():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
    model[0].bias.requires_grad = False
    before = {name: one.clone() for name, one in model.state_dict().items()}

    def ruin():
        with undone(model):
            model.train()
            model(torch.randn(4, 2)).sum().backward()
            model[0].bias.requires_grad = True
            with torch.no_grad():
                model[0].weight.fill_(7)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ruin()
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())
    assert not model.training
    assert not model[0].bias.requires_grad
    assert model[0].weight.grad is None


def test_explain_tells_seconds_when_asked(bert):
    options = {**TINY, "model.text.checkpoint": str(bert), "optim.schedule_plan": "fine_tune"}
    predictor = Predictor("y", verbosity=0)
    plain = predictor.explain(make_texts(40), hyperparameters=options).estimate.estimate
    timed = predictor.explain(make_texts(40), hyperparameters=options, timed=True).estimate.estimate
    assert plain.seconds is None
    assert timed.seconds > sum(phase.seconds for phase in timed.phases) > 0
    assert [phase.live for phase in plain.phases] == [phase.live for phase in timed.phases]
    assert timed.needed_bytes > timed.live.peak > 0
    frame = timed.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["live_bytes"]) == [phase.live.peak for phase in timed.phases]
    assert "live at the peak" in str(timed)
    assert "Time: " in timed._repr_html_()
