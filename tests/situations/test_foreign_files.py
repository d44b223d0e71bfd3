"""A fit or a save removes nothing that is not of Thermocline; a kill at any moment leaves a predictor that loads."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from support.stopping import Killed
from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.errors import OutputExistsError
from thermocline.pipeline import saved_folder
from thermocline.training.checkpoint_store import CheckpointStore
from thermocline.training.trainer import Trainer

OPTIONS = {**TINY, "optim.max_epochs": 1, "env.checkpoint_every": 1}


def fit(path, *, options=None, **more) -> Predictor:
    given = {**OPTIONS, **(options or {})}
    return Predictor("y", path=path, verbosity=0).fit(make_table(40), hyperparameters=given, **more)


def refused(act) -> str:
    return told(OutputExistsError, FileExistsError, act)


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


FOREIGN = {
    "best of another tool": ["best/model.bin"],
    "prefixes": ["prefixes/a.txt"],
    "steps of another tool": ["step-500/model.bin"],
    "steps named like ours": ["step-000000500/model.bin"],
    "notes": ["notes.txt"],
    "a checkpoint of ours among others": ["step-000000001/manifest.json", "notes.txt"],
}


@pytest.mark.parametrize("names", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_another_tool_is_refused_before_training(tmp_path, monkeypatch, names, resume):
    monkeypatch.setattr(Trainer, "fit", lambda self: pytest.fail("it was trained"))
    for name in names:
        file = tmp_path / "run-checkpoints" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"format": 1, "step": 1, "files": {}}))
    before = files(tmp_path)
    message = refused(lambda: fit(tmp_path / "run", resume=resume))
    assert "run-checkpoints' is where the checkpoints of this run would lie" in message
    assert repr(names[-1].split("/")[0]) in message
    assert "env.checkpoint_every=0" in message
    assert files(tmp_path) == before


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "run-checkpoints").write_text("mine")
    refused(lambda: fit(tmp_path / "run"))
    fit(tmp_path / "run", options={"env.checkpoint_every": 0})  # and the way out is one
    assert (tmp_path / "run-checkpoints").read_text() == "mine"


def test_a_fit_that_writes_no_checkpoints_leaves_the_folder(tmp_path):
    for name in ("best/model.bin", "step-500/model.bin", "prefixes/a"):
        file = tmp_path / "run-checkpoints" / name
        file.parent.mkdir(parents=True)
        file.write_text("mine")
    before = files(tmp_path / "run-checkpoints")
    fit(tmp_path / "run", options={"env.checkpoint_every": 0})
    assert files(tmp_path / "run-checkpoints") == before


def test_what_is_put_into_our_folder_stays(tmp_path, monkeypatch):
    real = Trainer.fit

    def meanwhile(self):
        for name in ("step-500/model.bin", "notes.txt"):
            file = tmp_path / "run-checkpoints" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text("mine")
        return real(self)

    monkeypatch.setattr(Trainer, "fit", meanwhile)
    fit(tmp_path / "run")
    assert sorted(files(tmp_path / "run-checkpoints")) == ["notes.txt", "step-500/model.bin"]


def test_checkpoints_of_another_run_outlive_the_end_of_this_one(tmp_path):
    """A fit that was to replace a saved predictor was stopped; then the first command is run again."""
    fit(tmp_path / "run")
    store = CheckpointStore(tmp_path / "run-checkpoints")
    store.write(1, {"shared": []}, {}, {})
    fit(tmp_path / "run", resume=True)
    assert store.newest() is not None


def test_a_log_of_another_tool(tmp_path):
    (tmp_path / "run-logs").mkdir()
    (tmp_path / "run-logs" / "metrics.csv").write_text("epoch,loss\n1,2\n")
    message = refused(lambda: fit(tmp_path / "run", options={"env.loggers": "csv"}))
    assert "is no log of a run" in message
    assert (tmp_path / "run-logs" / "metrics.csv").read_text() == "epoch,loss\n1,2\n"


# the saved folder


@pytest.fixture
def saved(tmp_path, fitted_table):
    return fitted_table.save(tmp_path / "run")


def add_own(folder: Path) -> dict[str, bytes]:
    (folder / "notes" / "empty").mkdir(parents=True)
    (folder / "notes" / "a.txt").write_text("mine")
    (folder / "model.safetensors.bak").write_text("mine too")
    (folder / "link").symlink_to("nowhere")
    return files(folder / "notes")


def check_own(folder: Path) -> None:
    assert (folder / "notes" / "a.txt").read_text() == "mine"
    assert (folder / "notes" / "empty").is_dir()
    assert (folder / "model.safetensors.bak").read_text() == "mine too"
    assert (folder / "link").readlink() == Path("nowhere")


def test_own_files_stay_when_it_is_saved_again(saved, fitted_table, make_predictor):
    add_own(saved)
    fitted_table.save(saved)
    check_own(saved)
    other = make_predictor().fit(make_table(30), hyperparameters=OPTIONS)
    other.save(saved, overwrite=True)
    check_own(saved)
    listed = json.loads((saved / "thermocline.json").read_text())["files"]
    assert not {"notes/a.txt", "model.safetensors.bak", "thermocline.unfinished"} & set(listed)
    Predictor.load(saved, verbosity=0)
    assert [one.name for one in saved.parent.iterdir()] == ["run"]


def test_own_files_in_the_way_are_told_before_training(saved, monkeypatch):
    monkeypatch.setattr(Trainer, "fit", lambda self: pytest.fail("it was trained"))
    (saved / "facts.json").write_text("mine")  # this predictor has none
    assert "facts.json' is not of the predictor" in refused(lambda: fit(saved, overwrite=True))
    (saved / "facts.json").unlink()
    (saved / "thermocline.json").write_text("{")
    assert "is damaged" in refused(lambda: fit(saved, overwrite=True))


def test_folders_beside_it_that_are_not_ours(saved, fitted_table):
    for name in (".run-old", ".run-writing"):
        (saved.parent / name).mkdir()
        fitted_table.save(saved)  # an empty one is not missed
        (saved.parent / name).mkdir()
        (saved.parent / name / "a").write_text("mine")
        assert f"{name}' is not of Thermocline" in refused(lambda: fitted_table.save(saved))
        shutil.rmtree(saved.parent / name)


def test_the_folder_follows_the_umask(fitted_table, tmp_path):
    mask = os.umask(0o027)
    try:
        assert fitted_table.save(tmp_path / "run").stat().st_mode & 0o777 == 0o750
    finally:
        os.umask(mask)


def test_a_path_that_is_a_link(fitted_table, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk" / "run")
    for _ in range(2):
        fitted_table.save(tmp_path / "run")
    assert (tmp_path / "run").is_symlink()
    assert [one.name for one in (tmp_path / "disk").iterdir()] == ["run"]
    Predictor.load(tmp_path / "run", verbosity=0)


def killed_at(monkeypatch, stop, act):
    """Run `act` with everything failing from the n-th operation on the disk; return how many there were."""
    count = [0]
    owners = [(Path, name) for name in ("rename", "mkdir", "unlink", "rmdir", "touch", "write_text")]
    with monkeypatch.context() as patch:
        for owner, name in [*owners, (shutil, "rmtree"), (saved_folder, "flush"), (saved_folder, "flush_tree")]:
            inner = getattr(owner, name)

            def watched(*args, inner=inner, **kwargs):
                count[0] += 1
                if count[0] > stop:
                    raise Killed
                return inner(*args, **kwargs)

            patch.setattr(owner, name, watched)
        with suppress(Killed):
            act()
    return count[0]


def test_killed_at_any_operation_something_loads(tmp_path, monkeypatch, fitted_table, make_predictor):
    other = make_predictor().fit(make_table(30), hyperparameters=OPTIONS)
    frame = make_table(20, seed=3)
    old, new = (one.predict_proba(frame) for one in (fitted_table, other))
    assert not old.equals(new)
    operations = killed_at(monkeypatch, 10**6, lambda: other.save(tmp_path / "count"))
    seen = set()
    for stop in range(operations + 8):
        folder = fitted_table.save(tmp_path / f"{stop}" / "run")
        add_own(folder)
        killed_at(monkeypatch, stop, lambda folder=folder: other.save(folder, overwrite=True))
        loaded = Predictor.load(folder, verbosity=0).predict_proba(frame)
        assert loaded.equals(old) or loaded.equals(new), stop
        seen.add(loaded.equals(new))
        other.save(folder, overwrite=True)
        check_own(folder)
        assert Predictor.load(folder, verbosity=0).predict_proba(frame).equals(new)
        assert [one.name for one in folder.parent.iterdir()] == ["run"]
    assert seen == {False, True}
