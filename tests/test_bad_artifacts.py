"""Saved predictors that are gone, damaged, newer, or hostile."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
import yaml

from support.tiny import TINY, make_table, make_texts, told
from thermocline import Predictor
from thermocline.errors import ArtifactError
from thermocline.pipeline.artifact import FORMAT


@pytest.fixture
def saved(fitted_table, tmp_path):
    return fitted_table.save(tmp_path / "run")


@pytest.fixture(scope="module")
def saved_text(tmp_path_factory, text_folder):
    options = {**TINY, "optim.max_steps": 1, "model.text.checkpoint": str(text_folder)}
    predictor = Predictor("y", verbosity=0).fit(make_texts(), hyperparameters=options)
    return predictor.save(tmp_path_factory.mktemp("saved") / "text")


def broken(path) -> str:
    return told(ArtifactError, OSError, lambda: Predictor.load(path, verbosity=0))


def sign(folder):
    """Write the digests of the files as they are now, as an attacker would."""
    manifest = json.loads((folder / "thermocline.json").read_text())
    names = [p for p in folder.rglob("*") if p.is_file() and p.name != "thermocline.json"]
    manifest["files"] = {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in names}
    (folder / "thermocline.json").write_text(json.dumps(manifest))


def test_nothing_there(tmp_path):
    message = broken(tmp_path / "gone")
    assert f"There is no saved predictor at '{tmp_path / 'gone'}'" in message


def test_another_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    message = broken(tmp_path)
    assert "is not a saved predictor: it holds no thermocline.json" in message
    assert "no such folder" in broken(tmp_path / "notes.txt")


def test_every_truncated_file(saved):
    for file in sorted(saved.rglob("*")):
        if not file.is_file():
            continue
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        message = broken(saved)
        assert file.name in message
        assert "damaged" in message
        assert "Restore it from a copy" in message
        file.write_bytes(whole)
    Predictor.load(saved)


def test_every_missing_file(saved):
    for file in sorted(p for p in saved.rglob("*") if p.is_file() and p.name != "thermocline.json"):
        whole = file.read_bytes()
        file.unlink()
        message = broken(saved)
        assert f"is incomplete: {file.name} is missing" in message
        file.write_bytes(whole)


def test_altered(saved):
    weights = saved / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    assert "is damaged: model.safetensors is not as it was written" in broken(saved)


def test_newer(saved):
    manifest = json.loads((saved / "thermocline.json").read_text())
    manifest |= {"format": FORMAT + 1, "thermocline": "9.0"}
    (saved / "thermocline.json").write_text(json.dumps(manifest))
    message = broken(saved)
    assert f"has format {FORMAT + 1}, written by Thermocline 9.0" in message
    assert f"reads up to {FORMAT}" in message
    assert "pip install -U thermocline" in message


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"format": 1}', '{"format": "x", "files": {}}'])
def test_manifest(saved, text):
    (saved / "thermocline.json").write_text(text)
    assert "thermocline.json is damaged" in broken(saved)


def test_manifest_without_identity(saved):
    manifest = json.loads((saved / "thermocline.json").read_text())
    del manifest["identity"]
    (saved / "thermocline.json").write_text(json.dumps(manifest))
    assert "thermocline.json is damaged" in broken(saved)


@pytest.mark.parametrize("name", ["task.json", "columns.json", "layers.json", "plan.json", "towers.json"])
@pytest.mark.parametrize("text", ["{}", "[1]", "null", "{"])
def test_signed_nonsense(saved, name, text):
    """Whole by its digests, but not what a predictor holds: still one of ours, naming the folder."""
    (saved / name).write_text(text)
    sign(saved)
    message = broken(saved)
    assert str(saved) in message
    assert "cannot be read" in message


@pytest.mark.parametrize(("name", "text"), [("history.json", "{"), ("config.yaml", "{"), ("config.yaml", "[1]")])
def test_signed_fragments(saved, name, text):
    (saved / name).write_text(text)
    sign(saved)
    assert f"{str(saved)!r} cannot be read" in broken(saved)


def test_weights_of_another_model(saved, make_predictor, tmp_path):
    other = make_predictor().fit(make_table(30), hyperparameters={**TINY, "model.table.width": 8})
    shutil.copy(other.save(tmp_path / "other") / "model.safetensors", saved)
    assert "is damaged: model.safetensors" in broken(saved)
    sign(saved)
    assert str(saved) in broken(saved)


# -- code ------------------------------------------------------------------------------------------


def test_no_pickle(saved, saved_text):
    for folder in (saved, saved_text):
        files = [p for p in folder.rglob("*") if p.is_file()]
        assert {p.suffix for p in files} <= {".json", ".yaml", ".safetensors", ".txt", ".jinja"}
        assert not any(p.read_bytes()[:2] in (b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK") for p in files)


@pytest.fixture
def hostile(saved_text, tmp_path):
    """An artifact whose text folder asks for code of its own, and whose configuration consents."""
    folder = shutil.copytree(saved_text, tmp_path / "hostile")
    names = {"AutoConfig": "own.C", "AutoModel": "own.M", "AutoTokenizer": ["own.T", "own.T"]}
    for name in ("config.json", "tokenizer_config.json"):
        file = folder / "text" / name
        file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": names}))
    code = f"open({str(tmp_path / 'marker')!r}, 'w').write('run')\nC = M = T = None\n"
    (folder / "text" / "own.py").write_text(code)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["model"]["text"]["trust_remote_code"] = True
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    sign(folder)
    return folder


def test_load_runs_no_code(hostile, saved_text, tmp_path):
    frame = make_texts()
    loaded = Predictor.load(hostile, verbosity=0)
    assert loaded.config.model.text.trust_remote_code is True
    assert loaded.predict(frame).equals(Predictor.load(saved_text, verbosity=0).predict(frame))
    again = loaded.save(tmp_path / "again")
    assert not list(again.rglob("*.py"))
    assert not (tmp_path / "marker").exists()


def test_load_of_an_unknown_type_asks_the_caller(hostile, tmp_path):
    file = hostile / "text" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_type": "own"}))
    sign(hostile)
    message = broken(hostile)
    assert "Predictor.load(path, trust_remote_code=True)" in message
    assert not (tmp_path / "marker").exists()


def test_a_file_beside_the_manifest_runs_no_code(saved_text, tmp_path):
    folder = shutil.copytree(saved_text, tmp_path / "run")
    (folder / "text" / "own.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")
    (folder / "sitecustomize.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")
    Predictor.load(folder, verbosity=0).predict(make_texts())
    assert not (tmp_path / "marker").exists()


def test_load_asks_no_hub(saved_text, monkeypatch):
    import socket

    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    Predictor.load(saved_text, verbosity=0).predict(make_texts())


@pytest.fixture(scope="module")
def saved_image(tmp_path_factory, image_folder):
    from support.tiny import write_images

    place = tmp_path_factory.mktemp("saved")
    frame = write_images(place / "p", 12).assign(img=lambda f: [str(place / "p" / n) for n in f["img"]])
    options = {**TINY, "optim.max_steps": 1, "model.image.checkpoint": str(image_folder)}
    return Predictor("y", verbosity=0).fit(frame, hyperparameters=options).save(place / "image")


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint_path": "PICKLE"},
        {"architecture": "hf-hub:nobody/model"},
        {"architecture": "local-dir:/nowhere"},
        {"pretrained_cfg": {"file": "PICKLE"}},
    ],
    ids=str,
)
def test_a_saved_image_tower_reads_nothing_else(saved_image, tmp_path, monkeypatch, change):
    """What timm would take as one more file to load, or a hub to ask, is refused."""
    import pickle

    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "marker"), "w")

    (tmp_path / "bomb.pth").write_bytes(pickle.dumps(Bomb()))
    folder = shutil.copytree(saved_image, tmp_path / "run")
    towers = json.loads((folder / "towers.json").read_text())
    towers["image"]["tower"]["timm"] |= json.loads(json.dumps(change).replace("PICKLE", str(tmp_path / "bomb.pth")))
    (folder / "towers.json").write_text(json.dumps(towers))
    sign(folder)
    monkeypatch.setattr("socket.getaddrinfo", None)
    message = broken(folder)
    assert "cannot be read" in message
    assert "towers.json: image.tower.timm" in message or "is no model that this timm builds by itself" in message
    assert not (tmp_path / "marker").exists()
