"""A detector that starts from an earlier one: weights stay, classes are matched by value."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from support.shapes import options, save_detector, write_shapes
from support.tiny import told
from thermocline import Callback, Predictor
from thermocline.backbones.class_heads import class_dependent
from thermocline.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:.* in train_data too")


class NoStep(Callback):
    def on_validation_end(self, state):
        state.stop("no step is taken")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("shapes")


@pytest.fixture(scope="module")
def frame(place):
    return write_shapes(place)


def renamed(frame, names):
    """The frame with other classes: old name → new one."""
    return frame.assign(rois=[[[*box[:4], names.get(box[4], box[4])] for box in cell] for cell in frame["rois"]])


def fit(frame, place, kind, folder, **more):
    given = {**options(save_detector(folder / kind, kind), place), "optim.max_steps": 1}
    return Predictor("rois", "object_detection", verbosity=0).fit(frame, hyperparameters=given, **more)


@pytest.fixture(scope="module")
def earlier(frame, place, tmp_path_factory):
    return fit(frame, place, "rt_detr", tmp_path_factory.mktemp("c"))


def start(frame, earlier, place, **more):
    predictor = Predictor("rois", verbosity=0)
    there = {"data.image_folder": str(place), **more.pop("options", {})}
    return predictor.fit(frame, start_from=earlier, hyperparameters=there, **more)


def test_without_a_step_it_finds_the_same(frame, place, earlier, monkeypatch):
    monkeypatch.chdir(place)
    again = start(frame, earlier, place, callbacks=[NoStep()])
    assert again.problem_type == "object_detection"  # of the earlier one
    assert again.predict(frame).tolist() == earlier.predict(frame).tolist()
    assert again.config["model.detector.size"] == earlier.config["model.detector.size"]
    assert "the detector, with 2 of 2 classes" in " ".join(again.history["note"])


def test_classes_keep_their_weights_wherever_they_are(frame, place, earlier):
    three = pd.concat([renamed(frame.iloc[:6], {"box": "crate"}), frame.iloc[6:]])
    again = start(three, earlier, place, callbacks=[NoStep()])
    assert list(again.classes_) == ["box", "crate", "disc"]
    assert again.started_from["new"] == (1,)
    old, new = (one.model.detector.model for one in (earlier, again))
    heads = class_dependent(old)
    assert heads
    for name, tensor in new.state_dict().items():
        there = old.state_dict()[name]
        if name in heads:
            assert torch.equal(tensor[[0, 2]], there[[0, 1]])
        else:
            assert torch.equal(tensor, there)


def test_a_class_that_is_gone(frame, place, earlier):
    one = renamed(frame, {"box": "disc"})
    again = start(one, earlier, place, options={"optim.max_steps": 1})
    assert list(again.classes_) == ["disc"]
    assert "'box' are no labels any more" in " ".join(again.history["note"])
    assert again.started_from["head"] == "whole"


@pytest.mark.parametrize("kind", ["detr"])  # whose heads have a row of no object behind the classes
def test_other_types_keep_the_row_of_no_object(frame, place, tmp_path, kind):
    earlier = fit(frame, place, kind, tmp_path, callbacks=[NoStep()])
    again = start(renamed(frame, {"box": "crate"}), earlier, place, seed=1, callbacks=[NoStep()])
    assert list(again.classes_) == ["crate", "disc"]
    old, new = (one.model.detector.model for one in (earlier, again))
    for name in class_dependent(old):
        before, after = old.state_dict()[name], new.state_dict()[name]
        assert torch.equal(after[1:], before[1:])  # disc, and what is behind the classes
        assert before.ndim == 1 or not torch.equal(after[0], before[0])


def test_another_detector_is_refused(frame, place, earlier):
    given = {"model.detector.checkpoint": "detr", "model.detector.pretrained": False}
    message = told(ConfigError, ValueError, lambda: start(frame, earlier, place, options=given))
    assert "model.detector.checkpoint=detr" in message
