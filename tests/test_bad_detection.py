"""Boxes and options that cannot be used: each is named with row and value, before anything is built."""

from __future__ import annotations

import json
import warnings

import pandas as pd
import pytest

from support.shapes import options, save_detector, write_coco, write_shapes
from thermocline import Predictor
from thermocline.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    ImageReadError,
    LabelError,
    MissingColumnError,
    SelectorError,
    ThermoclineError,
    ThermoclineWarning,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("shapes")


@pytest.fixture(autouse=True)
def in_place(place, monkeypatch):
    """Paths of rows that are predicted start at the working folder, whatever the fit was told."""
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def frame(place):
    return write_shapes(place, rows=6)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp("checkpoints") / "tiny-rt-detr")


@pytest.fixture(scope="module")
def fitted(frame, checkpoint, place):
    given = options(checkpoint, place, **{"optim.max_steps": 1})
    return Predictor("rois", "object_detection", verbosity=0).fit(frame, hyperparameters=given)


def spoiled(frame: pd.DataFrame, row: int, cell: object, column: str = "rois") -> pd.DataFrame:
    out = frame.copy()
    out[column] = pd.Series([cell if n == row else value for n, value in enumerate(out[column])], dtype=object)
    return out


def message(kind: type[ThermoclineError], call) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


BOXES = {
    "outside": ([200, 10, 220, 30, "disc"], "outside the image"),
    "inverted": ([40, 10, 20, 30, "disc"], "inverted"),
    "not finite": ([float("nan"), 10, 20, 30, "disc"], "not finite"),
    "no area": ([10, 10, 10, 30, "disc"], "zero area"),
    "no label": ([10, 10, 30, 30, None], "label"),
    "no box": ([10, 10, 30], "box"),
}


@pytest.mark.parametrize("kind", BOXES)
def test_a_box_that_cannot_be_used_is_named(kind, frame, checkpoint, place, no_building):
    box, told = BOXES[kind]
    data = spoiled(frame, 2, [box])
    text = message(LabelError, lambda: fit(data, checkpoint, place))
    assert told in text
    assert "row 2" in text
    if kind in ("outside", "inverted", "not finite", "no area"):
        given = {"data.bad_boxes": "drop"}
        with pytest.warns(ThermoclineWarning, match=told), pytest.raises(AssertionError):
            fit(data, checkpoint, place, **given)  # it went on to build the detector


@pytest.fixture
def no_building(monkeypatch):
    from thermocline.problems.object_detection import model

    def refuse(*_args, **_kwargs):
        raise AssertionError("a detector was built before the fault was told")

    monkeypatch.setattr(model, "build_detector", refuse)


def fit(data, checkpoint, place, *, label="rois", tuning_data=None, column_types=None, weight=None, **given):
    predictor = Predictor(label, "object_detection", sample_weight=weight, verbosity=0)
    given = options(checkpoint, place, **given)
    return predictor.fit(data, tuning_data, hyperparameters=given, column_types=column_types)


def test_frames_that_cannot_be_used(frame, checkpoint, place, no_building):
    def told(kind, data, **more):
        return message(kind, lambda: fit(data, checkpoint, place, **more))

    assert "'rois'" in told(MissingColumnError, frame.rename(columns={"rois": "roi"}))
    assert "no column of images" in told(DataError, frame.drop(columns="file"))
    assert "2 columns of images" in told(DataError, frame.assign(other=frame["file"]))

    assert "two images with boxes" in told(LabelError, frame.assign(rois=[[] for _ in frame["rois"]]))
    assert "nope.png" in told(ImageReadError, spoiled(frame, 3, "nope.png", "file"))
    assert "row 3" in told(ImageReadError, spoiled(frame, 3, None, "file"))
    assert "no box in any row" in told(LabelError, frame, tuning_data=frame.iloc[-1:])
    cat = spoiled(frame, 1, [[0, 0, 20, 20, "cat"]])
    unseen = told(LabelError, frame, tuning_data=cat)
    assert "'cat'" in unseen
    assert "tuning_data" in unseen
    assert "row 1" in unseen


def test_options_that_make_no_sense_for_boxes(frame, checkpoint, place, no_building):
    def told(**more):
        return message(ConfigError, lambda: fit(frame.assign(w=1.0), checkpoint, place, **more))

    assert "sample_weight 'w'" in told(weight="w")
    assert "one column of boxes" in told(label=["rois", "w"])
    assert "looks at images alone" in told(column_types={"w": "numeric"})
    assert "which is the label" in told(column_types={"rois": "image"})
    assert "model.peft" in told(**{"model.peft": "bitfit"})
    assert "env.compile" in told(**{"env.compile": True})
    assert "label_smoothing" in told(**{"optim.label_smoothing": 0.1})
    with pytest.raises(ConfigError, match="metric 'accuracy'"):
        Predictor("rois", "object_detection", "accuracy")
    with pytest.raises(ConfigError, match="object_detection"):
        Predictor("rois", "object_detections")


def test_options_that_a_detector_does_not_read_are_one_error(frame, checkpoint, place, no_building):
    unread = {
        "optim.head_init": "probe",
        "optim.label_smoothing": 0.1,
        "model.image.size": 64,
        "model.text.max_length": 64,
        "model.peft": "bitfit",
        "model.conv_bn": "on",
        "data.max_categories": 7,
        "env.micro_batch_tokens": 512,
        "env.compile": True,
    }
    text = message(ConfigError, lambda: fit(frame, checkpoint, place, **unread))
    assert all(f"{key} is set to" in text for key in unread)


def test_detectors_and_selectors_that_are_not_there(frame, checkpoint, place):
    assert "did you mean 'rt_detr'" in message(
        CheckpointError, lambda: fit(frame, "rt_dert", place, **{"model.detector.pretrained": False})
    ).lower().replace("`", "'")
    assert "an architecture" in message(CheckpointError, lambda: fit(frame, "rt_detr", place))
    gone = message(CheckpointError, lambda: fit(frame, "./no/such/folder", place))
    assert "model.detector.checkpoint" in gone
    under = {"model.detector.backbone": "resnet18", "model.detector.backbone_pretrained": False}
    assert "comes with its own backbone" in message(ConfigError, lambda: fit(frame, checkpoint, place, **under))
    for key in ("model.frozen_layers", "model.detector.frozen_layers"):
        assert "necks" in message(SelectorError, lambda key=key: fit(frame, checkpoint, place, **{key: "necks"}))
    text = message(ConfigError, lambda: fit(frame, checkpoint, place, **{"model.text.frozen_layers": 2}))
    assert "model.text.frozen_layers is set to 2 and has no effect" in text
    assert "model.detector.frozen_layers" in text
    everything = {"model.frozen_layers": ["backbone", "neck", "encoder", "decoder", "head"]}
    assert message(SelectorError, lambda: fit(frame, checkpoint, place, **everything))


def test_use_of_what_was_not_trained_for(fitted, frame, place, tmp_path):
    cat = spoiled(frame, 1, [[0, 0, 20, 20, "cat"]])
    text = message(LabelError, lambda: fitted.evaluate(cat))
    assert "'cat'" in text
    assert "row 1" in text
    assert "'file'" in message(MissingColumnError, lambda: fitted.predict(frame[["rois"]]))
    assert "row 2" in message(ImageReadError, lambda: fitted.predict(spoiled(frame, 2, None, "file")))
    assert "row 2" in message(ImageReadError, lambda: fitted.predict(spoiled(frame, 2, "nope.png", "file")))
    assert "no rows" in message(DataError, lambda: fitted.evaluate(frame.iloc[:0]))
    assert "'rois'" in message(MissingColumnError, lambda: fitted.evaluate(frame[["file"]]))


def test_coco_with_dangling_ids(frame, checkpoint, place, no_building):
    file = write_coco(frame, place / "bad.json")
    data = json.loads(file.read_text())
    data["annotations"][0]["image_id"] = 99
    file.write_text(json.dumps(data))
    assert "99" in message(DataError, lambda: fit(file, checkpoint, place))


def test_a_few_unreadable_images_are_left_out_and_counted(place, checkpoint, tmp_path):
    data = write_shapes(tmp_path, rows=8)
    (tmp_path / "3.png").write_bytes(b"no picture")
    given = {"data.max_unreadable_images": 0.2, "optim.max_steps": 1}
    with pytest.warns(ThermoclineWarning, match="left out"):
        predictor = fit(data, checkpoint, tmp_path, **given)
    assert predictor.history["note"].str.contains("1 row of train_data left out").any()
    with warnings.catch_warnings(), pytest.raises(ImageReadError, match=r"row 3"):
        fit(data, checkpoint, tmp_path, **{"optim.max_steps": 1})


def test_boxes_without_their_problem_type_are_recognised(frame, place):
    hint = "problem_type='object_detection'"
    assert hint in message(LabelError, lambda: Predictor("rois", verbosity=0).explain(frame))
    file = write_coco(frame, place / "plain.json")
    assert hint in message(DataError, lambda: Predictor("rois", verbosity=0).explain(file))


def test_without_a_hub_the_ways_out_are_named():
    from thermocline.backbones.pretrained import unreachable

    detector = str(unreachable("a/b", "model.detector", OSError("gone")))
    assert all(
        part in detector for part in ("detection_offline", "model.detector.checkpoint", "model.detector.pretrained")
    )
    under = str(unreachable("a/b", "model.detector.backbone", OSError("gone")))
    assert all(part in under for part in ("`model.detector.backbone`", "model.detector.backbone_pretrained=false"))
