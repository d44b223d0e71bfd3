"""A saved predictor is never replaced unasked: by a loaded one that is fitted, a second fit, or another predictor."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.cli import main
from thermocline.errors import ArtifactError, OutputExistsError, ResumeError
from thermocline.training.trainer import Trainer

ONCE = {**TINY, "optim.max_epochs": 1}


def fit(predictor: Predictor, *, rows: int = 40, **more: object) -> Predictor:
    return predictor.fit(make_table(rows), hyperparameters=ONCE, **more)  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def refused(act: object) -> str:
    return told(OutputExistsError, FileExistsError, act)  # type: ignore[arg-type]


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(Trainer, "fit", lambda self: pytest.fail("it was trained"))


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory):
    """A folder that `fit` saved; tests take a copy."""
    return fit(Predictor("y", path=tmp_path_factory.mktemp("saved") / "run", verbosity=0)).path


@pytest.fixture
def saved(saved_once, tmp_path):
    return Path(shutil.copytree(saved_once, tmp_path / "run"))


@pytest.mark.usefixtures("no_training")
def test_a_loaded_predictor_does_not_replace_what_it_was_loaded_from(saved):
    before = files(saved)
    loaded = Predictor.load(saved, verbosity=0)
    message = refused(lambda: fit(loaded, rows=30))
    assert f"{str(saved)!r} holds this predictor as it was saved" in message
    assert "start_from" in message
    assert "path='another_folder'" in message
    assert "fit(..., overwrite=True)" in message
    assert files(saved) == before
    assert len(loaded.predict(make_table(5))) == 5  # and it can still be used


def test_a_loaded_predictor_replaces_it_when_asked_to(saved):
    before = files(saved)
    fit(Predictor.load(saved, verbosity=0), rows=30, overwrite=True)
    assert files(saved)["thermocline.json"] != before["thermocline.json"]
    assert Predictor.load(saved, verbosity=0).history["step"].max() == 2


def test_a_second_fit_is_refused_where_the_first_is_saved(tmp_path, monkeypatch):
    predictor = fit(Predictor("y", path=tmp_path / "run", verbosity=0))
    before = files(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda self: pytest.fail("it was trained"))
        assert "holds this predictor as it was saved" in refused(lambda: fit(predictor, rows=30))
    assert files(tmp_path / "run") == before
    shutil.rmtree(tmp_path / "run")  # nothing is lost then
    assert fit(predictor, rows=30).path == tmp_path / "run"
    assert (tmp_path / "run" / "thermocline.json").is_file()


def test_a_fit_that_fails_leaves_what_was_saved(saved, monkeypatch):
    before = files(saved)

    def stop(_self):
        raise RuntimeError("stopped")

    monkeypatch.setattr(Trainer, "fit", stop)
    loaded = Predictor.load(saved, verbosity=0)
    with pytest.raises(RuntimeError, match="stopped"):
        fit(loaded, overwrite=True)
    assert files(saved) == before
    assert len(loaded.predict(make_table(5))) == 5


def test_without_a_folder_a_second_fit_replaces_the_first_in_memory(tmp_path):
    predictor = fit(Predictor("y", verbosity=0))
    first = predictor.save(tmp_path / "first")
    fit(predictor, rows=30)
    before = files(first)
    assert "already holds another run" in refused(lambda: predictor.save(first))  # it holds the fit before
    assert files(first) == before
    predictor.save(first, overwrite=True)
    predictor.save(first)  # the same fit
    assert Predictor.load(first, verbosity=0).history["step"].max() == 2


@pytest.mark.usefixtures("no_training")
def test_a_new_predictor_replaces_only_saved_predictors_and_only_when_asked_to(saved, tmp_path):
    message = refused(lambda: fit(Predictor("y", path=saved, verbosity=0)))
    assert "already holds another run" in message
    assert "overwrite=True" in message
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for path in (tmp_path / "mine", tmp_path / "mine" / "notes.txt"):
        mine = Predictor("y", path=path, verbosity=0)
        message = refused(lambda mine=mine: fit(mine, overwrite=True))
        assert "nothing there is ever overwritten" in message
        assert "overwrite=True" not in message
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"


def test_resumed_and_overwritten(saved, monkeypatch):
    """The same run is loaded, another one is replaced: a job that is run again may ask for both."""
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda self: pytest.fail("it was trained"))
        assert fit(Predictor("y", path=saved, verbosity=0), resume=True, overwrite=True).history["step"].max() == 2
    other = lambda **more: fit(Predictor("y", path=saved, verbosity=0), seed=3, resume=True, **more)  # noqa: E731
    told(ResumeError, ValueError, other)
    other(overwrite=True)
    assert other().path == saved
    (saved / "model.safetensors").write_bytes(b"damaged")
    told(ArtifactError, OSError, other)
    other(overwrite=True)
    assert Predictor.load(saved, verbosity=0).history["step"].max() == 2


@pytest.mark.usefixtures("no_training")
def test_the_command_line_refuses_with_the_way_out(saved, tmp_path, capsys):
    make_table(40).to_csv(tmp_path / "rows.csv", index=False)
    assert main(["fit", str(tmp_path / "rows.csv"), "--label", "y", "--out", str(saved), "--quiet"]) == 1
    assert "overwrite=True" in capsys.readouterr().err


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002])
def test_files_and_folder_have_the_modes_of_the_umask(mask, tmp_path, fitted_table):
    before = os.umask(mask)
    try:
        folder = fitted_table.save(tmp_path / "run")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~mask
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.rglob("*") if file.is_file()} == {0o666 & ~mask}
