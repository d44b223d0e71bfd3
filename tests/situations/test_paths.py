"""Paths that cannot be saved to are told before training, with what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.errors import ArtifactError, ConfigError
from thermocline.pipeline import path_argument
from thermocline.training.trainer import Trainer

ONCE = {**TINY, "optim.max_epochs": 1}


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(Trainer, "fit", lambda self: pytest.fail("it was trained"))


def refused(act) -> str:
    return told(ConfigError, ValueError, act)


def fit(path) -> Predictor:
    return Predictor("y", path=path, verbosity=0).fit(make_table(40), hyperparameters=ONCE)


WRONG = {
    "a number": (5, r"not 5 \(int\)"),
    "True": (True, r"not True \(bool\)"),
    "bytes": (b"run", r"not b'run' \(bytes\)"),
    "a list": (["run"], r"not \['run'\] \(list\)"),
    "a path of bytes": (os.DirEntry, r"as text or as a pathlib\.Path"),
    "nothing": ("", r"names no folder.*path='my_model'"),
    "spaces": ("  ", "names no folder"),
    "NUL": ("a\0b", "names no folder"),
    "a user who is not there": ("~nobody-of-this-name/run", "no such user"),
}


@pytest.mark.parametrize(("given", "expected"), WRONG.values(), ids=WRONG)
def test_what_is_no_path(given, expected, fitted_table):
    with pytest.raises(ConfigError, match=expected):
        Predictor("y", path=given)
    with pytest.raises(ConfigError, match=expected):
        fitted_table.save(given)
    with pytest.raises(ConfigError, match=expected):
        Predictor.load(given)
    predictor = Predictor("y")
    with pytest.raises(ConfigError, match=expected):
        predictor.path = given


PLACES = {
    "the working folder": (".", "is in use or has no name of its own.*path='my_model'"),
    "above it": ("..", "is in use"),
    "round about": ("sub/..", "is in use"),
    "the root": ("/", "is in use"),
    "300 letters": ("x" * 300, "a name of 300 bytes; this name may have 242"),
    "letters of two bytes": ("é" * 130, "a name of 260 bytes"),
    "no room for what lies next to it": ("x" * 250, "may have 242"),
    "a long name above": ("x" * 300 + "/run", "this name may have 255"),
    "a long path": ("/".join(["x" * 200] * 30), "cannot be written to .*too long"),
    "the kernel's": ("/proc/run", "'/proc/run'.* cannot be written to .*Choose another path"),
    "below the kernel's": ("/proc/a/run", "cannot be written to"),
    "a device": ("/dev/null/run", "'/dev/null' is a file"),
    "a circle of links": ("circle/run", "cannot be written to|is a file"),
}


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(("given", "expected"), PLACES.values(), ids=PLACES)
def test_where_nothing_can_be_saved(given, expected, tmp_path, monkeypatch, fitted_table):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    for act in (lambda: fit(given), lambda: fitted_table.save(given)):
        with pytest.raises(ConfigError, match=expected) as caught:
            act()
        assert len(str(caught.value)) < 600
    assert sorted(one.name for one in tmp_path.iterdir()) == ["circle", "sub"]


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("locked", ["", "run", "run-checkpoints", "run-logs"])
def test_folders_that_may_not_be_written_to(locked, tmp_path, monkeypatch):
    place = tmp_path / "a"
    (place / locked).mkdir(parents=True, exist_ok=True)
    allowed, opened = os.access, os.open  # root may write everywhere

    def access(path, mode, **more):
        return Path(path) != place / locked and allowed(path, mode, **more)

    def refuse(path, *more, **named):
        if locked == "" and Path(path).parent == place:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *more, **named)

    monkeypatch.setattr(path_argument.os, "access", access)
    monkeypatch.setattr(os, "open", refuse)
    message = refused(lambda: fit(place / "run"))
    assert "cannot be written to (Permission denied" in message
    assert "Choose another path" in message


def test_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    predictor = fit("~/a/run")
    assert predictor.path == tmp_path / "a" / "run"
    assert predictor.save("~/copy") == tmp_path / "copy"
    assert Predictor.load("~/copy", verbosity=0).path == tmp_path / "copy"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "copy"]
    monkeypatch.chdir(tmp_path / "copy")
    here = Predictor.load(".", verbosity=0)
    assert len(here.predict(make_table(3))) == 3
    assert "is in use" in refused(here.save)


def test_a_path_that_is_set_later(tmp_path):
    predictor = Predictor("y", verbosity=0)
    predictor.path = str(tmp_path / "run")
    predictor.fit(make_table(40), hyperparameters=ONCE)
    assert Predictor.load(tmp_path / "run", verbosity=0).problem_type == "binary"


@pytest.mark.parametrize("path", ["x" * 300, "x/" * 3000, "/dev/null", "/dev/null/run"])
def test_nothing_can_be_loaded_there(path):
    assert "predictor" in told(ArtifactError, OSError, lambda: Predictor.load(path))


@pytest.mark.usefixtures("no_training")
def test_a_cache_folder_that_cannot_be_one(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr(os, "access", lambda path, *_: "closed" not in str(path))
    (tmp_path / "closed").mkdir()
    for folder, why in (
        ("notes.txt", "is a file"),
        ("notes.txt/a", "is a file"),
        ("closed/a/b", "may not be written to"),
    ):
        options = {**ONCE, "env.cache_folder": str(tmp_path / folder)}
        message = refused(lambda o=options: Predictor("y", verbosity=0).fit(make_table(40), hyperparameters=o))
        assert "env.cache_folder=" in message
        assert f"{why}. Choose another folder" in message
