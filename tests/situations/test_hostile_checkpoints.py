"""Checkpoints of somebody else: one that was manipulated is left out, and nothing outside of it is read or written."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch

from thermocline.errors import ResumeError, ThermoclineWarning
from thermocline.training.checkpoint_store import CheckpointStore


@pytest.fixture
def store(tmp_path):
    """One checkpoint that is whole, and a newer one."""
    store = CheckpointStore(tmp_path / "run-checkpoints")
    shared = store.adopt(None) / "step-1.safetensors"
    shared.write_bytes(b"best")
    for step in (1, 2):
        store.write(step, {"shared": ["step-1"]}, {"model": {"w": torch.ones(2)}}, {"step-1": shared})
    return store


def manipulate(store: CheckpointStore, *, content: object = None, **files: object) -> Path:
    """Change the newest checkpoint, and write its digests anew."""
    folder = store.root / "step-000000002"
    if content is not None:
        (folder / "state.json").write_text(content if isinstance(content, str) else json.dumps(content))
    manifest = json.loads((folder / "manifest.json").read_text())
    names = [name for name in manifest["files"] if name not in files]
    manifest["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    manifest["files"] |= {name: digest for name, digest in files.items() if digest}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def left_out(store: CheckpointStore, why: str) -> None:
    with pytest.warns(ThermoclineWarning, match=why) as caught:
        found = store.newest()
    assert "step-000000002' is damaged" in str(caught[0].message)
    assert found is not None
    assert found.step == 1


@pytest.mark.parametrize("name", ["../victim", "/tmp/victim", "step-1/../../victim", "step-x", "model", "step-7"])
def test_names_of_shared_files(store, tmp_path, name):
    (tmp_path / "victim.safetensors").write_bytes(b"kept")
    manipulate(store, content={"shared": [name]})
    left_out(store, "is none of its files: it was manipulated")
    assert (tmp_path / "victim.safetensors").read_bytes() == b"kept"


@pytest.mark.parametrize("name", ["../../victim", "/etc/hostname", "a/b", "..", ".hidden"])
def test_names_of_files(store, name):
    manipulate(store, **{name: "0" * 64})
    left_out(store, "is no name of a file in it: it was manipulated")


def test_nested_too_deeply(store):
    folder = manipulate(store, content="[" * 200_000)
    left_out(store, "nested too deeply: it was manipulated")
    (folder / "manifest.json").write_text("{" * 200_000)
    left_out(store, "damaged")


@pytest.mark.parametrize("name", ["state.json", "model.safetensors", "manifest.json"])
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_what_is_no_regular_file(store, tmp_path, name, kind):
    file = store.root / "step-000000002" / name
    if kind == "pipe":
        file.unlink()
        os.mkfifo(file)
    else:
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    left_out(store, "is no regular file: it was manipulated")


def test_what_is_read_is_listed(store):
    manipulate(store, **{"state.json": None})
    left_out(store, "does not list state.json")


def test_tensors_that_are_not_listed(store):
    manipulate(store, **{"model.safetensors": None})
    found = store.newest()
    with pytest.raises(ResumeError, match=r"lacks model\.safetensors\. Remove it"):
        found.tensors("model")


def test_a_mark_that_is_no_regular_file(store):
    (store.root / "thermocline-checkpoints.json").unlink()
    os.mkfifo(store.root / "thermocline-checkpoints.json")
    assert store.identity is None
