"""Detectors read decoded images and stored features from caches, and no bit changes by it."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest
import torch

from support.shapes import options, save_detector, write_shapes
from support.stopping import killed_after_checkpoint
from thermocline import Predictor
from thermocline.errors import ResumeError
from thermocline.training import run_identity
from thermocline.training.trainer import Trainer

# they validate on pictures that they train on, which is warned of
pytestmark = pytest.mark.filterwarnings("ignore:.* in train_data too")
FROZEN = {"model.frozen_layers": "backbone", "model.detector.augment": "none", "optim.max_epochs": 2}
EDGES = {  # images keep their shape on a canvas of one size, so that masks differ from row to row
    "image_processor_type": "DetrImageProcessor",
    "size": {"shortest_edge": 56, "longest_edge": 64},
    "pad_size": {"height": 64, "width": 64},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp("checkpoints") / "tiny-rt-detr")


@pytest.fixture(scope="module")
def checkpoints(checkpoint, tmp_path_factory):
    """A detector that takes no mask, and one that does."""
    detr = save_detector(tmp_path_factory.mktemp("checkpoints") / "tiny-detr", "detr")
    (detr / "preprocessor_config.json").write_text(json.dumps(EDGES))
    return {"rt_detr": checkpoint, "detr": detr}


def fit(frame, given, path=None, *, resume=False) -> Predictor:
    """Fit 12 images, three full batches an epoch, and validate on four of them."""
    predictor = Predictor("rois", "object_detection", path=path, verbosity=0)
    return predictor.fit(frame, frame.iloc[:4], hyperparameters=given, resume=resume)


def results(predictor: Predictor) -> tuple[list[float], dict[str, torch.Tensor]]:
    return predictor.history["train_loss"].dropna().tolist(), predictor._fitted().model.state_dict()


def same(left: Predictor, right: Predictor) -> bool:
    losses, weights = results(left)
    others, other_weights = results(right)
    return losses == others and all(torch.equal(value, other_weights[name]) for name, value in weights.items())


def notes(predictor: Predictor) -> str:
    return " ".join(predictor.history["note"].dropna())


# features of images that have changed


def test_images_that_changed_under_the_same_names_are_computed_again(checkpoint, tmp_path):
    images = tmp_path / "images"
    frame = write_shapes(images)
    cached = options(
        checkpoint, images, **FROZEN, **{"env.cache_folder": str(tmp_path / "cache"), "optim.cache_prefix": "disk"}
    )
    first = fit(frame, cached)
    for row in range(0, 12, 2):
        shutil.copy(images / f"{row + 1}.png", images / f"{row}.png")
    again = fit(frame, cached)
    assert "on disk" in notes(first)
    assert "on disk" in notes(again)
    assert same(again, fit(frame, {**cached, "optim.cache_prefix": "off"}))
    assert results(first)[0] != results(again)[0]


def test_the_same_names_in_another_folder_are_other_images(checkpoint, tmp_path):
    frame = write_shapes(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for row in range(0, 12, 2):
        shutil.copy(tmp_path / "one" / f"{row + 1}.png", tmp_path / "two" / f"{row}.png")
    shared = {"env.cache_folder": str(tmp_path / "cache"), "optim.cache_prefix": "disk"}
    fit(frame, options(checkpoint, tmp_path / "one", **FROZEN, **shared))
    other = options(checkpoint, tmp_path / "two", **FROZEN, **shared)
    assert same(fit(frame, other), fit(frame, {**other, "optim.cache_prefix": "off"}))


def test_a_resumed_run_computes_images_that_changed_since_it_stopped_again(checkpoints, tmp_path, monkeypatch):
    """A run is not resumed on them; were it, as where a change went unseen, the prefixes would be others."""
    images = tmp_path / "images"
    frame = write_shapes(images)
    given = options(checkpoints["detr"], images, **FROZEN, **{"optim.cache_prefix": "disk", "env.checkpoint_every": 1})
    given |= {"optim.max_epochs": 3, "model.detector.size": None}  # two epochs are left after the stop
    for mode in ("disk", "off"):
        with killed_after_checkpoint(3):
            fit(frame, {**given, "optim.cache_prefix": mode}, tmp_path / mode)
    assert list((tmp_path / "disk-checkpoints" / "prefixes").glob("detector-train-*"))
    for row in range(0, 12, 2):
        shutil.copy(images / f"{row + 1}.png", images / f"{row}.png")
    with pytest.raises(ResumeError, match="content of training image"):
        fit(frame, given, tmp_path / "disk", resume=True)
    monkeypatch.setattr(run_identity, "file_facts", lambda *_: {})
    disk = fit(frame, given, tmp_path / "disk", resume=True)
    off = fit(frame, {**given, "optim.cache_prefix": "off"}, tmp_path / "off", resume=True)
    assert "on disk" in notes(disk)
    assert same(disk, off)


# decoded images


@pytest.fixture
def decoded(monkeypatch) -> Counter[str]:
    """How often each image was decoded for a batch."""
    from thermocline.inputs.image import one_image_rows

    counts: Counter[str] = Counter()
    inner = one_image_rows.open_image

    def counted(cell, *how):
        counts[str(cell)] += 1
        return inner(cell, *how)

    monkeypatch.setattr(one_image_rows, "open_image", counted)
    return counts


@pytest.mark.parametrize("augment", ["none", "standard"])
def test_kept_images_are_decoded_once_a_fit(augment, checkpoint, tmp_path, decoded):
    """Once for training and once for validation, which have rows of their own."""
    frame = write_shapes(tmp_path)
    given = options(checkpoint, tmp_path, **{**FROZEN, "model.detector.augment": augment, "optim.cache_prefix": "off"})
    made, validated = {}, set(frame["file"].iloc[:4])
    for where in ("off", "memory", "disk") if augment == "none" else ("off", "memory"):
        decoded.clear()
        made[where] = fit(frame, {**given, "env.cache_images": where})
        assert set(decoded) == set(frame["file"])
        if where == "off":
            assert min(decoded.values()) == 2
        else:
            assert dict(decoded) == {name: 1 + (name in validated) for name in frame["file"]}
    assert all(same(made["off"], other) for other in made.values())


def test_a_budget_that_is_too_small_keeps_some_images(checkpoint, tmp_path, decoded):
    frame = write_shapes(tmp_path)
    few = {"env.cache_memory": 10 * 3 * 64 * 64 / 10**9, "optim.cache_prefix": "off"}
    given, made, once = options(checkpoint, tmp_path, **FROZEN, **few), {}, {}
    for where in ("memory", "auto"):
        decoded.clear()
        made[where] = fit(frame, {**given, "env.cache_images": where})
        once[where] = sum(count == 1 for count in decoded.values())
    assert 0 < once["auto"] <= once["memory"] < len(frame) - 4
    assert same(made["memory"], made["auto"])


@pytest.mark.parametrize("kind", ["rt_detr", "detr"])
def test_no_image_is_decoded_once_all_features_are_cached(kind, checkpoints, tmp_path, decoded, monkeypatch):
    frame = write_shapes(tmp_path)
    given = options(checkpoints[kind], tmp_path, **FROZEN, **{"env.cache_images": "off"})
    if kind != "rt_detr":
        given["model.detector.size"] = None
    made, before_steps = {}, {}
    step = Trainer.step
    for mode in ("off", "memory"):
        before: list[int] = []

        def counted(trainer, *args, before=before):
            before.append(decoded.total())
            return step(trainer, *args)

        with monkeypatch.context() as patched:
            patched.setattr(Trainer, "step", counted)
            decoded.clear()
            made[mode] = fit(frame, {**given, "optim.cache_prefix": mode})
        before_steps[mode] = [*before, decoded.total()]
    assert "run once a row" in notes(made["memory"])
    assert same(made["off"], made["memory"])
    # three steps an epoch; then the second epoch, with its validation
    assert before_steps["off"][6] - before_steps["off"][3] >= len(frame)
    assert before_steps["memory"][6] == before_steps["memory"][3]
