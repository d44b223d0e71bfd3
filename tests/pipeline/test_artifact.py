"""A predictor as a folder: what is in it, that nothing is lost on the way, and that saving is all or nothing."""

from __future__ import annotations

import json
import stat

import pandas as pd
import pytest
import torch
import yaml

from support.tiny import TINY, make_table, make_texts, write_images
from thermocline import Predictor, __version__
from thermocline.pipeline import artifact


@pytest.fixture(scope="module")
def everything(tmp_path_factory, text_folder, image_folder):
    """A predictor with all three towers, its frame, and the folder it was saved into by `fit`."""
    place = tmp_path_factory.mktemp("everything")
    frame = write_images(place / "p", 20)[["img"]].map(lambda name: str(place / "p" / name))
    frame = pd.concat([frame, make_texts(20), make_table(20)[["x", "colour"]]], axis=1).assign(w=1.0)
    options = {**TINY, "model.text.checkpoint": str(text_folder), "model.image.checkpoint": str(image_folder)}
    predictor = Predictor("y", path=place / "run", sample_weight="w", verbosity=0)
    return predictor.fit(frame, hyperparameters=options), frame, place / "run"


def test_what_is_in_it(everything):
    _, _, folder = everything
    manifest = json.loads((folder / "thermocline.json").read_text())
    assert manifest["format"] == artifact.FORMAT
    assert manifest["thermocline"] == __version__
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert set(manifest["files"]) | {"thermocline.json"} == there
    assert {"model.safetensors", "config.yaml", "plan.json", "text/config.json", "text/tokenizer.json"} <= there
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert "optim" in yaml.safe_load((folder / "config.yaml").read_text())
    for file in folder.rglob("*.json"):
        json.loads(file.read_text())


def test_nothing_is_lost(everything):
    predictor, frame, folder = everything
    loaded = Predictor.load(folder, verbosity=0)
    assert loaded.predict_proba(frame).equals(predictor.predict_proba(frame))
    assert loaded.evaluate(frame) == predictor.evaluate(frame)
    assert (loaded.embed(frame) == predictor.embed(frame)).all()
    assert loaded.columns == predictor.columns
    assert loaded.config == predictor.config
    assert loaded.plan == predictor.plan
    assert loaded.plan.fingerprint == predictor.plan.fingerprint
    assert loaded.label == "y"
    assert loaded.sample_weight == "w"
    assert loaded.problem_type == predictor.problem_type
    assert repr(loaded) == repr(predictor)
    pd.testing.assert_frame_equal(loaded.history.to_frame(), predictor.history.to_frame(), check_dtype=False)
    ours, theirs = predictor._assembly.model.state_dict(), loaded._assembly.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_saved_again_it_is_the_same(everything, tmp_path):
    _, _, folder = everything
    again = Predictor.load(folder, verbosity=0).save(tmp_path / "again")
    ours, theirs = (json.loads((f / "thermocline.json").read_text()) for f in (folder, again))
    for manifest in (ours, theirs):  # a tokenizer writes down how it was last called
        for name in ("text/tokenizer.json", "text/tokenizer_config.json"):
            del manifest["files"][name]
    assert ours == theirs


def test_loaded_runs_in_eval_mode_and_leaves_the_generators_alone(everything):
    _, frame, folder = everything
    state = torch.get_rng_state()
    loaded = Predictor.load(folder, verbosity=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in loaded._assembly.model.modules())
    assert loaded.predict_proba(frame).equals(loaded.predict_proba(frame))


def test_loaded_can_be_fitted_again(everything):
    _, frame, folder = everything
    loaded = Predictor.load(folder, verbosity=0)
    loaded.path = None
    before = loaded.predict_proba(frame)
    loaded.fit(frame.drop(columns=["img", "review"]), hyperparameters=TINY)
    assert [c.name for c in loaded.columns] == ["x", "colour"]
    assert not loaded.predict_proba(frame).equals(before)


@pytest.mark.parametrize(
    "label",
    [
        pd.Series([True, False] * 20),
        pd.Series([1, 2] * 20, dtype="Int8"),
        pd.Series(["lo", "hi"] * 20, dtype=pd.CategoricalDtype(["lo", "hi"], ordered=True)),
        pd.Series([0.5 * i for i in range(40)]),
        pd.Series([["a"], ["a", "b"]] * 20),
    ],
    ids=["bool", "nullable", "categorical", "regression", "lists"],
)
def test_labels_survive(label, tmp_path):
    frame = make_table(40).assign(y=label)
    predictor = Predictor("y", verbosity=0).fit(frame, hyperparameters={**TINY, "optim.max_steps": 1})
    loaded = Predictor.load(predictor.save(tmp_path / "run"), verbosity=0)
    pd.testing.assert_series_equal(loaded.predict(frame), predictor.predict(frame), check_exact=True)


@pytest.mark.parametrize("backbone", ["gpt_folder", "t5_folder"])
def test_text_backbones_survive(backbone, reviews, request, tmp_path):
    folder = str(request.getfixturevalue(backbone))
    options = {**TINY, "optim.max_epochs": 1, "model.text.checkpoint": folder}
    predictor = Predictor("y", verbosity=0).fit(reviews, hyperparameters=options)
    loaded = Predictor.load(predictor.save(tmp_path / "run"), verbosity=0)
    assert loaded.predict_proba(reviews).equals(predictor.predict_proba(reviews))


def test_a_vision_model_survives(vision_folder, pictures, tmp_path):
    options = {**TINY, "optim.max_epochs": 1, "model.image.checkpoint": str(vision_folder)}
    predictor = Predictor("y", verbosity=0).fit(pictures, hyperparameters=options)
    loaded = Predictor.load(predictor.save(tmp_path / "run"), verbosity=0)
    assert loaded.predict_proba(pictures).equals(predictor.predict_proba(pictures))


def test_it_needs_neither_the_checkpoint_nor_the_training_data(text_folder, reviews, tmp_path):
    import shutil

    copy = shutil.copytree(text_folder, tmp_path / "checkpoint")
    options = {**TINY, "optim.max_steps": 1, "model.text.checkpoint": str(copy)}
    predictor = Predictor("y", verbosity=0).fit(reviews, hyperparameters=options)
    folder = predictor.save(tmp_path / "run")
    shutil.rmtree(copy)
    moved = folder.rename(tmp_path / "elsewhere")
    assert Predictor.load(moved, verbosity=0).predict(reviews).equals(predictor.predict(reviews))


def test_a_save_that_fails_leaves_nothing(fitted_table, tmp_path, monkeypatch):
    fitted_table.save(tmp_path / "run")
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}

    def full(*_args, **_kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(artifact, "save_model", full)
    with pytest.raises(OSError, match="no space"):
        fitted_table.save(tmp_path / "run")
    with pytest.raises(OSError, match="no space"):
        fitted_table.save(tmp_path / "other")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


def test_folders_above_are_made(fitted_table, tmp_path):
    assert Predictor.load(fitted_table.save(tmp_path / "a" / "b" / "run"), verbosity=0).problem_type == "binary"
    (tmp_path / "empty").mkdir()
    fitted_table.save(tmp_path / "empty")
