"""A checkpoint is there as a whole or not at all."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from support.stopping import Killed
from thermocline.errors import ThermoclineWarning
from thermocline.training import checkpoint_store as module
from thermocline.training.checkpoint_store import CheckpointStore


def tensors(step):
    return {"model": {"w": torch.full((3, 2), float(step))}, "optimizer": {"w/step": torch.tensor(float(step))}}


def write(store, step, shared=None):
    return store.write(step, {"at": step, "shared": list(shared or {})}, tensors(step), shared or {})


def names(store):
    return sorted(p.name for p in store.root.iterdir() if p.name not in ("best", module.MARK))


def test_what_is_written_is_read(tmp_path):
    store = CheckpointStore(tmp_path / "c")
    assert store.newest() is None
    write(store, 4)
    found = CheckpointStore(tmp_path / "c").newest()
    assert (found.step, found.content["at"]) == (4, 4)
    assert torch.equal(found.tensors("model")["w"], torch.full((3, 2), 4.0))
    assert found.tensors("optimizer")["w/step"].shape == ()


def test_the_last_k_are_kept(tmp_path):
    store = CheckpointStore(tmp_path / "c", keep=3)
    for step in (1, 2, 3, 10, 100):
        write(store, step)
    assert names(store) == ["step-000000003", "step-000000010", "step-000000100"]
    store.remove()
    assert not store.root.exists()
    assert list(tmp_path.iterdir()) == []


def test_only_safetensors_and_json(tmp_path):
    folder = write(CheckpointStore(tmp_path / "c"), 1)
    assert {file.suffix for file in folder.iterdir()} == {".safetensors", ".json"}
    json.loads((folder / "manifest.json").read_text())


DAMAGE = {
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "half a manifest": lambda f: (f / "manifest.json").write_text('{"format": 1, "st'),
    "another manifest": lambda f: (f / "manifest.json").write_text("[1, 2]"),
    "no model": lambda f: (f / "model.safetensors").unlink(),
    "half a model": lambda f: os.truncate(f / "model.safetensors", 20),
    "a bit": lambda f: flip(f / "model.safetensors"),
    "a bit of the state": lambda f: flip(f / "state.json"),
    "empty": lambda f: [file.unlink() for file in f.iterdir()],
    "a newer format": lambda f: (f / "manifest.json").write_text('{"format": 2, "step": 2, "files": {}}'),
}


def flip(file: Path):
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_is_left_out_for_the_one_before(damage, tmp_path):
    store = CheckpointStore(tmp_path / "c")
    write(store, 1)
    DAMAGE[damage](write(store, 2))
    store = CheckpointStore(tmp_path / "c")
    with pytest.warns(ThermoclineWarning, match=r"step-000000002.*is damaged.*the one before"):
        found = store.newest()
    assert found.step == 1
    write(store, 2)
    assert CheckpointStore(tmp_path / "c").newest().step == 2


def test_all_damaged_is_none(tmp_path):
    store = CheckpointStore(tmp_path / "c")
    for step in (1, 2):
        (write(store, step) / "manifest.json").unlink()
    with pytest.warns(ThermoclineWarning) as told:
        assert store.newest() is None
    assert len(told) == 2


def test_a_damaged_one_from_steps_ahead_goes_with_the_next_that_is_written(tmp_path):
    store = CheckpointStore(tmp_path / "c")
    write(store, 1)
    flip(write(store, 9) / "state.json")
    with pytest.warns(ThermoclineWarning):
        store.newest()
    write(store, 2)
    assert names(store) == ["step-000000001", "step-000000002"]


def test_a_run_that_starts_anew_replaces_what_another_left(tmp_path):
    write(CheckpointStore(tmp_path / "c"), 5)
    fresh = CheckpointStore(tmp_path / "c")
    write(fresh, 7)
    assert names(fresh) == ["step-000000007"]
    fresh = CheckpointStore(tmp_path / "c")
    write(fresh, 2)
    assert names(fresh) == ["step-000000002"]


def test_shared_files_outlive_their_place(tmp_path):
    store = CheckpointStore(tmp_path / "c")
    store.adopt(None)
    best = store.scratch / "step-1.safetensors"
    best.write_bytes(b"the best")
    folder = write(store, 1, {"step-1": best})
    assert (folder / "step-1.safetensors").stat().st_ino == best.stat().st_ino
    best.unlink()
    again = CheckpointStore(tmp_path / "c")
    found = again.newest()
    (again.root / ".writing-1").mkdir()
    again.adopt(found)
    assert (again.scratch / "step-1.safetensors").read_bytes() == b"the best"
    assert not (again.root / ".writing-1").exists()


def test_shared_files_are_copied_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    store = CheckpointStore(tmp_path / "c")
    store.adopt(None)
    best = store.scratch / "step-1.safetensors"
    best.write_bytes(b"the best")
    write(store, 1, {"step-1": best})
    assert CheckpointStore(tmp_path / "c").newest().step == 1


def moments(monkeypatch, act):
    """Have `act` called before every operation on the disk."""
    for owner, name in (
        (os, "fsync"),
        (os, "link"),
        (Path, "rename"),
        (Path, "mkdir"),
        (Path, "write_text"),
        (module, "save_file"),
        (module, "file_sha256"),
        (shutil, "rmtree"),
    ):
        inner = getattr(owner, name)

        def watched(*args, inner=inner, name=name, **kwargs):
            act(name)
            return inner(*args, **kwargs)

        monkeypatch.setattr(owner, name, watched)


def test_stopped_at_any_operation_a_whole_checkpoint_is_left(tmp_path, monkeypatch):
    def prepared(folder):
        store = CheckpointStore(folder, keep=2)
        store.adopt(None)
        best = store.scratch / "step-1.safetensors"
        best.write_bytes(b"the best")
        for step in (1, 2):
            write(store, step, {"step-1": best})
        return store, {"step-1": best}

    calls = []
    store, shared = prepared(tmp_path / "count")
    with monkeypatch.context() as patch:
        moments(patch, calls.append)
        write(store, 3, shared)
    assert len(calls) > 15
    seen = set()
    for stop in range(len(calls)):
        store, shared = prepared(tmp_path / str(stop))
        left = [stop]

        def act(_name, left=left):
            if left[0] == 0:
                raise Killed
            left[0] -= 1

        with monkeypatch.context() as patch:
            moments(patch, act)
            with pytest.raises(Killed):
                write(store, 3, shared)
        again = CheckpointStore(tmp_path / str(stop))
        found = again.newest()  # a warning would be an error
        again.adopt(found)
        seen.add(found.step)
        assert found.content["at"] == found.step
        write(again, 4, {"step-1": again.scratch / "step-1.safetensors"})
        assert len(names(again)) == 2
    assert seen == {2, 3}
