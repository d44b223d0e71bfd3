"""Whole fits of segmenters: results, saving, resuming, caches, phases, the command line."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image

from support.killed_process import run_until_killed
from support.masked import TINY_SEGMENTER, picture, write_masked
from support.tiny import told
from thermocline import Predictor
from thermocline.cli import main
from thermocline.errors import ConfigError, OutputExistsError

FROZEN = {"model.frozen_layers": "backbone", "model.segmenter.augment": "none"}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("masked")


@pytest.fixture(scope="module")
def frame(place) -> pd.DataFrame:
    return write_masked(place)


@pytest.fixture(scope="module")
def fit(frame, place):
    def fit(path=None, *, resume=False, time_limit=None, start_from=None, **options) -> Predictor:
        given = {**TINY_SEGMENTER, "data.image_folder": str(place), **options}
        predictor = Predictor("mask", "segmentation", path=path, verbosity=0)
        return predictor.fit(frame, hyperparameters=given, resume=resume, time_limit=time_limit, start_from=start_from)

    return fit


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """The folder of a backbone, whose weights count as pretrained."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("backbones") / "timm"
    timm.models.save_for_hf(timm.create_model("test_efficientnet", num_classes=5), folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def fitted(fit) -> Predictor:
    return fit(**{"optim.max_epochs": 20, "optim.val_check_interval": 5.0, "model.segmenter.augment": "none"})


def weights(predictor: Predictor) -> dict[str, torch.Tensor]:
    return dict(predictor._fitted().model.state_dict())


def same(one: Predictor, other: Predictor) -> bool:
    left, right = weights(one), weights(other)
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


def test_masks_have_the_size_of_their_image_and_the_numbers_of_the_training_masks(fitted, frame, place):
    found = fitted.predict(frame, image_folder=place)
    assert (found.name, list(found.index)) == ("mask", list(frame.index))
    assert {(mask.shape, mask.dtype.name) for mask in found} == {((40, 60), "uint8")}
    assert set(np.unique(np.stack(found.tolist()))) <= {0, 1, 2}
    one = fitted.predict(pd.DataFrame({"file": [picture(3)[0][:33, :21]]}))
    assert one[0].shape == (33, 21)


def test_scores_are_those_of_the_masks_that_are_predicted(fitted, frame, place):
    found = fitted.predict(frame, image_folder=place)
    truths = [picture(row)[1] for row in range(len(frame))]
    right = sum(((t == p) & (t != 255)).sum() for t, p in zip(truths, found, strict=True))
    scores = fitted.evaluate(frame, ["pixel_accuracy", "mean_iou", "per_class"], image_folder=place)
    assert scores["pixel_accuracy"] == pytest.approx(right / sum((t != 255).sum() for t in truths), abs=1e-12)
    assert scores["mean_iou"] == pytest.approx(np.mean([scores[f"iou/{label}"] for label in (0, 1, 2)]))
    assert 0 < scores["mean_iou"] <= 1


def test_masks_are_written_as_files_and_nothing_is_overwritten(fitted, frame, place, tmp_path):
    out = tmp_path / "out"
    twice = pd.concat([frame.iloc[:2], frame.iloc[:1]], ignore_index=True)
    paths = fitted.predict(twice, image_folder=place, out=out)
    assert [Path(path).name for path in paths] == ["0.png", "1.png", "0_2.png"]
    kept = fitted.predict(twice, image_folder=place)
    for path, mask in zip(paths, kept, strict=True):
        with Image.open(path) as written:
            assert written.mode == "P"
            assert np.array_equal(np.asarray(written), mask)
    error = told(OutputExistsError, FileExistsError, lambda: fitted.predict(twice, image_folder=place, out=out))
    assert "3 files that would be overwritten" in error
    assert "0.png" in error


def test_a_saved_segmenter_finds_the_same_masks(fitted, frame, place, tmp_path):
    loaded = Predictor.load(fitted.save(tmp_path / "model"))
    one, two = (each.predict(frame, image_folder=place) for each in (fitted, loaded))
    assert all(np.array_equal(left, right) for left, right in zip(one, two, strict=True))
    assert loaded.classes_ is not None


def test_what_masks_have_not_is_told(fitted, frame, place):
    assert "predict(data)" in told(ConfigError, ValueError, lambda: fitted.predict_proba(frame, image_folder=place))
    assert "embed" in told(ConfigError, ValueError, lambda: fitted.embed(frame, image_folder=place))


def test_pictures_are_drawn(fitted, frame, place):
    figure = fitted.show(frame.head(2), image_folder=place)
    assert figure is not None
    there = {str(number) for mask in fitted.predict(frame.head(2), image_folder=place) for number in np.unique(mask)}
    assert {text.get_text() for text in figure.legends[0].get_texts()} == there


def test_one_seed_is_one_segmenter(fit):
    assert same(fit(), fit())
    assert not same(fit(**{"optim.max_epochs": 1}), fit())


JOB = """
from pathlib import Path
from support.killed_process import run_until_killed
from support.masked import TINY_SEGMENTER, write_masked
from thermocline import Predictor
place = Path(sys.argv[1])
given = {**TINY_SEGMENTER, "data.image_folder": str(place), "env.checkpoint_every": 1, "optim.ema": 0.9}
Predictor("mask", "segmentation", path=sys.argv[2], verbosity=0).fit(write_masked(place), hyperparameters=given)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_process_that_is_killed_is_resumed_to_the_same_bits(fit, place, tmp_path):
    given = {"env.checkpoint_every": 1, "optim.ema": 0.9}
    run_until_killed(JOB, place, tmp_path / "run", step=3)
    assert same(fit(**given), fit(tmp_path / "run", resume=True, **given))


def test_a_frozen_backbone_stays_and_its_cached_maps_change_no_bit(fit):
    off, on = (fit(**FROZEN, **{"optim.cache_prefix": mode}) for mode in ("off", "memory"))
    assert same(off, on)
    assert "run once a row" in " ".join(on.history["note"].astype(str))
    other = fit(**FROZEN, **{"optim.lr": 1e-2, "optim.max_epochs": 1})
    backbone = [name for name in weights(on) if ".backbone." in name]
    assert backbone
    assert all(torch.equal(weights(on)[name], weights(other)[name]) for name in backbone)
    assert not same(on, other)


@pytest.mark.parametrize("choice", ["single_lr", "two_stage", "layerwise_decay"])
def test_each_choice_of_rates(frame, place, pretrained, choice):
    given = {**TINY_SEGMENTER, "data.image_folder": str(place), "optim.lr_choice": choice}
    given |= {"model.segmenter.backbone": str(pretrained), "model.segmenter.backbone_pretrained": True}
    layers = Predictor("mask", "segmentation", verbosity=0).explain(frame, hyperparameters=given).layers
    scales = [layer.lr_scale for layer in layers if layer.part == "backbone"]
    head = next(layer.lr_scale for layer in layers if layer.part == "head")
    assert (min(scales) == head) == (choice == "single_lr")
    assert (len(set(scales)) > 1) == (choice == "layerwise_decay")
    assert max(scales) <= head


def test_phases(fit):
    given = {"optim.schedule_plan": "gradual_unfreeze", "optim.max_epochs": 3, "model.segmenter.augment": "none"}
    assert len(fit(**given).plan.phases) > 1


def test_micro_batches_have_the_loss_of_the_whole_batch(fit):
    given = {"model.segmenter.augment": "none", "optim.max_epochs": 1, **FROZEN}
    one, two = (fit(**given, **{"env.micro_batch_size": size}) for size in (4, 2))
    losses = [each.history["train_loss"].dropna().to_numpy() for each in (one, two)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_a_fit_goes_on_from_another_one(fit, fitted):
    again = fit(start_from=fitted, **{"optim.max_epochs": 1, "model.segmenter.augment": "none"})
    first = again.history["val_mean_iou"].dropna().iloc[0]
    assert first == pytest.approx(fitted.history["val_mean_iou"].max(), abs=1e-6)


def test_a_time_limit_ends_in_a_segmenter_that_works(fit, frame, place):
    found = fit(time_limit=20, **{"optim.max_epochs": 500}).predict(frame.head(1), image_folder=place)
    assert found[0].shape == (40, 60)


def test_explain_and_recommend_train_nothing(frame, place):
    predictor = Predictor("mask", "segmentation", verbosity=0)
    given = {**TINY_SEGMENTER, "data.image_folder": str(place)}
    plan = predictor.explain(frame, hyperparameters=given)
    assert {"backbone", "neck", "head"} <= {layer.part for layer in plan.layers}
    assert len(predictor.recommend(frame, memory="4GB", hyperparameters=given).to_frame())


def test_the_command_line_writes_masks(fitted, frame, place, tmp_path, capsys):
    model = fitted.save(tmp_path / "model")
    frame.to_csv(place / "rows.csv", index=False)
    assert main(["evaluate", str(model), str(place / "rows.csv")]) == 0
    assert "mean_iou" in capsys.readouterr().out
    masks, given = tmp_path / "masks", ["predict", str(model), str(place / "rows.csv")]
    assert main(given) == 1
    assert "--out FOLDER" in capsys.readouterr().err
    assert main([*given, "--keep", "file", "--out", str(masks)]) == 0
    written = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert [Path(path).name for path in written["mask"]] == list(written["file"]) == list(frame["file"])
    assert all(Path(path).parent == masks and Path(path).is_file() for path in written["mask"])
