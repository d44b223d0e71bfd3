"""Object detection from a frame of boxes to a saved predictor: the same road as every other problem."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from support.shapes import options, save_detector, write_coco, write_shapes, write_voc
from support.stopping import killed_after_checkpoint
from thermocline import LayerPlan, Predictor, cli

NAMES = ("map", "map_50", "map_75")
# they validate on pictures that they train on, which is warned of
pytestmark = pytest.mark.filterwarnings("ignore:.* in train_data too")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("shapes")


@pytest.fixture(autouse=True)
def in_place(place, monkeypatch):
    """Paths of rows that are predicted start at the working folder, whatever the fit was told."""
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def frame(place):
    return write_shapes(place)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp("checkpoints") / "tiny-rt-detr")


@pytest.fixture(scope="module")
def fitted(frame, checkpoint, place, tmp_path_factory):
    path = tmp_path_factory.mktemp("fitted") / "model"
    predictor = Predictor("rois", "object_detection", path=path, verbosity=0)
    given = options(checkpoint, place, **{"model.frozen_layers": "backbone", "optim.ema": 0.9})
    return predictor.fit(frame, hyperparameters=given)


def weights(predictor: Predictor) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in predictor._fitted().model.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


def test_predict_gives_boxes_in_the_images_pixels(fitted, frame):
    bare = frame[["file"]].set_index(pd.Index([f"row {n}" for n in range(len(frame))]))
    found = fitted.predict(bare)
    assert found.index.equals(bare.index)
    assert found.name == "rois"
    assert any(found.map(len))
    for boxes in found:
        assert len(boxes) <= 100
        scores = [box["score"] for box in boxes]
        assert scores == sorted(scores, reverse=True)
        for box in boxes:
            assert set(box) == {"label", "score", "box"}
            assert box["label"] in ("disc", "box")
            assert 0.05 <= box["score"] <= 1
            x1, y1, x2, y2 = box["box"]
            assert 0 <= x1 < x2 <= 96
            assert 0 <= y1 < y2 <= 72
    assert fitted.predict(bare.iloc[:0]).empty
    alone = fitted.predict(bare.iloc[[3]]).iloc[0]
    assert [box["score"] for box in alone] == pytest.approx([box["score"] for box in found.iloc[3]], abs=1e-4)


def test_evaluate_names_cocos_scores_and_those_of_each_class(fitted, frame):
    scores = fitted.evaluate(frame)
    assert tuple(scores) == NAMES
    assert all(0 <= value <= 1 for value in scores.values())
    assert set(fitted.evaluate(frame, ["ap50", "per_class"])) == {
        "ap50",
        *(f"{name}/{label}" for name in ("map", "map_50") for label in ("disc", "box")),
    }


def test_a_report_of_boxes_and_the_images_with_most_errors(fitted, frame):
    report = fitted.report(frame)
    assert {one.name: one.value for one in report.scores} == fitted.evaluate(frame)
    assert all(one.low is not None for one in report.scores)
    assert report.unit == "image"
    assert max(map(len, str(report).splitlines())) <= 100
    per_class = fitted.evaluate(frame, "per_class")
    rows = {row[0]: row for row in report["Classes"].rows}
    assert [rows["disc"][1], rows["box"][2]] == pytest.approx([per_class["map/disc"], per_class["map_50/box"]])
    json.dumps(report.to_dict(), allow_nan=False)
    assert "data:image/png" in report._repr_html_()
    top = fitted.top_losses(frame, 3)
    assert top.columns.tolist() == ["rois", "boxes", "found", "missed", "wrong", "loss", "file"]
    assert (top["boxes"] == top["found"] + top["missed"]).all()
    assert top["boxes"].tolist() == [len(cell) for cell in top["rois"]]
    assert top["loss"].is_monotonic_decreasing
    alone = fitted.report(frame.head(1))
    assert "no intervals: 1 image" in str(alone)


def test_a_saved_detector_is_the_same_without_its_checkpoint(fitted, frame, tmp_path):
    fitted.save(tmp_path / "copy")
    assert not [file for file in (tmp_path / "copy").rglob("*") if file.suffix in (".bin", ".pt", ".pkl", ".py")]
    again = Predictor.load(fitted.path, verbosity=0)
    assert again.predict(frame).tolist() == fitted.predict(frame).tolist()
    assert again.evaluate(frame) == fitted.evaluate(frame)
    assert again.problem_type == "object_detection"
    assert again.columns.of("image") == ["file"]
    assert again.plan == fitted.plan


def test_show_draws_and_what_boxes_have_not_is_told(fitted, frame):
    figure = fitted.show(frame.head(2), least_score=0.1)
    assert len(figure.axes) == 2
    for call, message in [
        (lambda: fitted.predict_proba(frame), "the boxes of predict"),
        (lambda: fitted.embed(frame), "no features"),
        (lambda: fitted.show(frame, least_score=2), "from 0 to 1"),
        (lambda: fitted.show(frame.iloc[:0]), "show draws 1 to"),
        (lambda: fitted.evaluate(frame, "accuracy"), "Unknown metric|is for binary"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_a_frozen_backbone_is_what_it_was_to_the_bit(fitted, checkpoint, frame, place):
    before = load_file(checkpoint / "model.safetensors")
    after = {
        name.removeprefix("towers.detector.model."): value
        for name, value in weights(fitted).items()
        if ".backbone." in name
    }
    assert any(name.endswith("running_mean") for name in after)
    assert all(torch.equal(value, before[name]) for name, value in after.items() if name in before)
    assert {layer.part for layer in fitted.plan.layers if layer.frozen} == {"backbone"}


def test_batch_norm_of_a_frozen_backbone_keeps_its_statistics(frame, place, tmp_path):
    """The BatchNorms of D-FINE's backbone are not constants: only freezing keeps them."""
    source = save_detector(tmp_path / "d_fine", "d_fine", freeze_backbone_batch_norms=False)
    before = load_file(source / "model.safetensors")
    moved = {}
    for frozen in ("backbone", ["backbone", "neck"], None):
        given = options(
            source, place, **{"model.frozen_layers": frozen, "optim.max_steps": 1, "optim.lr_choice": "two_stage"}
        )
        predictor = Predictor("rois", "object_detection", verbosity=0).fit(frame, hyperparameters=given)
        after = weights(predictor)
        statistics = [name for name in before if name.endswith("running_mean") and ".backbone." in name]
        moved[str(frozen)] = [n for n in statistics if not torch.equal(after[f"towers.detector.model.{n}"], before[n])]
        assert statistics
    assert moved["backbone"] == moved["['backbone', 'neck']"] == []
    assert moved["None"]


def test_one_seed_is_one_detector(fitted, frame, checkpoint, place):
    given = options(checkpoint, place, **{"model.frozen_layers": "backbone", "optim.ema": 0.9})
    again = Predictor("rois", "object_detection", verbosity=0).fit(frame, hyperparameters=given)
    assert same(weights(again), weights(fitted))
    other = Predictor("rois", "object_detection", verbosity=0).fit(frame, hyperparameters=given, seed=1)
    assert not same(weights(other), weights(fitted))


def test_a_stopped_run_resumes_to_the_same_bits(fitted, frame, checkpoint, place, tmp_path):
    given = options(
        checkpoint, place, **{"model.frozen_layers": "backbone", "optim.ema": 0.9, "env.checkpoint_every": 1}
    )
    path = tmp_path / "model"
    killed = Predictor("rois", "object_detection", path=path, verbosity=0)
    with killed_after_checkpoint(4):
        killed.fit(frame, hyperparameters=given)
    resumed = Predictor("rois", "object_detection", path=path, verbosity=0)
    resumed.fit(frame, hyperparameters=given, resume=True)
    assert same(weights(resumed), weights(fitted))
    ended = Predictor("rois", "object_detection", path=path, verbosity=0).fit(frame, hyperparameters=given, resume=True)
    assert same(weights(ended), weights(fitted))


def test_validation_sees_the_moving_average(frame, checkpoint, place):
    given = options(checkpoint, place, **{"optim.max_steps": 3, "optim.val_check_interval": 10.0})
    plain = Predictor("rois", "object_detection", verbosity=0).fit(frame, hyperparameters={**given, "optim.ema": None})
    slow = Predictor("rois", "object_detection", verbosity=0).fit(frame, hyperparameters={**given, "optim.ema": 0.9999})
    name = next(n for n in weights(plain) if n.endswith("class_embed.0.weight"))
    assert not torch.equal(weights(plain)[name], weights(slow)[name])


def test_explain_shows_the_backbone_frozen_and_not(frame, checkpoint, place):
    predictor = Predictor("rois", "object_detection", verbosity=0)
    plan = predictor.explain(frame, hyperparameters=options(checkpoint, place))
    sides = plan.estimate.side_by_side
    both = sides.to_frame()
    assert (
        both.loc["frozen", "trainable"]
        < both.loc["unfrozen", "trainable"]
        == sum(layer.n_parameters for layer in plan.layers)
    )
    assert both.loc["frozen", "memory_bytes"] < both.loc["unfrozen", "memory_bytes"]
    assert sides.ratio == pytest.approx(both.loc["frozen", "memory_bytes"] / both.loc["unfrozen", "memory_bytes"])
    assert "backbone unfrozen and frozen" in str(plan)
    assert "backbone unfrozen and frozen" in plan._repr_html_()
    assert LayerPlan.from_json(plan.to_json()) == plan
    frozen = predictor.explain(
        frame, hyperparameters=options(checkpoint, place, **{"model.detector.frozen_layers": ["backbone", "neck"]})
    )
    assert {layer.part for layer in frozen.layers if layer.frozen} == {"backbone", "neck"}
    versions = frozen.estimate.side_by_side.to_frame()
    assert versions.loc["unfrozen", "trainable"] > frozen.estimate.estimate.phases[0].trainable


@pytest.mark.parametrize("kind", ["coco", "voc", "csv", "xywh"])
def test_boxes_come_in_many_forms_and_give_one_detector(kind, fitted, frame, checkpoint, place, tmp_path):
    given = options(checkpoint, place, **{"model.frozen_layers": "backbone", "optim.ema": 0.9})
    data = frame
    if kind == "coco":
        data = write_coco(frame, place / "train.json")
    elif kind == "voc":
        data = write_voc(frame, tmp_path / "voc", place)
        given["data.image_folder"] = None
    elif kind == "csv":
        data = tmp_path / "train.csv"
        frame.assign(rois=frame["rois"].map(json.dumps), note="not looked at").to_csv(data, index=False)
    else:
        data = frame.assign(rois=[[[a, b, c - a, d - b, e] for a, b, c, d, e in cell] for cell in frame["rois"]])
        given["data.box_format"] = "xywh"
    predictor = Predictor("rois", "object_detection", verbosity=0)
    predictor.fit(data, hyperparameters=given)
    if kind != "voc":  # its rows are in the order of their names
        assert same(weights(predictor), weights(fitted))
        assert predictor.evaluate(data) == pytest.approx(fitted.evaluate(frame))
    assert tuple(predictor.evaluate(data)) == NAMES
    assert len(predictor.predict(data)) == len(frame)


def test_a_detector_at_random_learns_a_few_big_shapes(frame, place, tmp_path):
    source = save_detector(tmp_path / "config", pretrained=False)
    given = options(
        source,
        place,
        **{
            "model.detector.queries": 10,
            "model.detector.augment": "none",
            "optim.max_epochs": 45,
            "optim.lr": 2e-3,
            "optim.lr_choice": "single_lr",
            "optim.ema": None,
            "optim.gradient_clip": 1.0,
            "optim.val_check_interval": 5.0,
        },
    )
    predictor = Predictor("rois", "object_detection", verbosity=0)
    predictor.fit(frame, frame, presets="detection_offline", hyperparameters=given)
    # With eight seeds the loss fell to 0.24 to 0.38 of its first value and map_50 rose to 0.51 to 0.77. At a rate of
    # 1e-9 the loss stays at 0.98 to 1.01 and map_50 at 0.
    losses = predictor.history["train_loss"].dropna()
    assert losses.iloc[-1] < 0.7 * losses.iloc[0]
    assert predictor.history["val_map_50"].dropna().iloc[0] == 0
    assert predictor.evaluate(frame)["map_50"] > 0.2


def test_a_frozen_backbone_runs_once_where_images_return(frame, checkpoint, place):
    given = options(checkpoint, place, **{"model.frozen_layers": "backbone", "model.detector.augment": "none"})
    made = {}
    for mode in ("off", "memory"):
        predictor = Predictor("rois", "object_detection", verbosity=0)
        made[mode] = predictor.fit(frame, hyperparameters={**given, "optim.max_epochs": 3, "optim.cache_prefix": mode})
    assert same(weights(made["off"]), weights(made["memory"]))
    assert made["memory"].history["note"].str.contains("frozen, run once a row").any()


def test_micro_batches_are_the_whole_batch(frame, place, tmp_path):
    """A detector's loss is a mean over boxes, so that parts of a batch count by theirs."""
    source = save_detector(
        tmp_path / "detr", "deformable_detr", dropout=0.0, attention_dropout=0.0, activation_dropout=0.0
    )
    given = options(
        source, place, **{"optim.max_steps": 1, "model.frozen_layers": "backbone", "model.detector.augment": "none"}
    )
    made = []
    for size in (4, 3):
        predictor = Predictor("rois", "object_detection", verbosity=0)
        predictor.fit(frame, frame, hyperparameters={**given, "env.micro_batch_size": size, "optim.optimizer": "sgd"})
        made.append(predictor.history["train_loss"].dropna().iloc[-1])
    assert math.isclose(*made, rel_tol=1e-3)


def test_the_command_line_knows_detectors(frame, checkpoint, place, tmp_path, capsys):
    data = tmp_path / "train.csv"
    frame.assign(rois=frame["rois"].map(json.dumps)).to_csv(data, index=False)
    pairs = [f"{key}={value}" for key, value in options(checkpoint, place, **{"optim.max_steps": 1}).items()]
    common = ["--label", "rois", "--problem-type", "object_detection", "--quiet", "--set", *pairs]
    assert cli.main(["fit", str(data), "--out", str(tmp_path / "model"), *common]) == 0
    assert cli.main(["evaluate", str(tmp_path / "model"), str(data)]) == 0
    assert "map_50 " in capsys.readouterr().out
    assert cli.main(["predict", str(tmp_path / "model"), str(data), "--out", str(tmp_path / "found.csv")]) == 0
    found = pd.read_csv(tmp_path / "found.csv")["rois"].map(json.loads)
    assert len(found) == len(frame)


def test_a_time_limit_ends_in_a_detector_that_works(frame, checkpoint, place):
    given = options(checkpoint, place, **{"optim.max_epochs": 5000})
    predictor = Predictor("rois", "object_detection", "map_50", verbosity=0)
    predictor.fit(frame, hyperparameters=given, time_limit=6)
    assert predictor.history["note"].str.contains("time.limit").any()
    assert len(predictor.predict(frame)) == len(frame)
    assert tuple(predictor.evaluate(frame)) == ("map_50", "map", "map_75")  # the metric that decides comes first


def test_the_callers_frame_stays_as_it_is(frame, fitted):
    copy = frame.copy(deep=True)
    fitted.predict(frame)
    fitted.evaluate(frame)
    pd.testing.assert_frame_equal(frame, copy)
    assert isinstance(fitted.path, Path)
