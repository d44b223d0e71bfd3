"""Folders of somebody else: `load` reads what was saved, asks no hub, waits for nothing and fills no memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModel

from support.tiny import TINY, make_table, make_texts, told
from thermocline import Predictor
from thermocline.backbones.saved_config import checked_config, no_hub
from thermocline.errors import ArtifactError
from thermocline.inputs.image.spec import ImageSpec
from thermocline.pipeline import bounded_build
from thermocline.pipeline.bounded_build import TooMuch, Weights, built_as_saved

ONE = {**TINY, "optim.max_steps": 1}


@pytest.fixture(scope="module")
def saved_texts(text_folder, tmp_path_factory):
    predictor = Predictor("y", verbosity=0)
    predictor.fit(make_texts(24), hyperparameters={**ONE, "model.text.checkpoint": str(text_folder)})
    return predictor.save(tmp_path_factory.mktemp("saved") / "text")


@pytest.fixture(scope="module")
def saved_table(tmp_path_factory):
    predictor = Predictor("y", verbosity=0).fit(make_table(24), hyperparameters=ONE)
    return predictor.save(tmp_path_factory.mktemp("saved") / "table")


@pytest.fixture
def texts(saved_texts, tmp_path):
    return Path(shutil.copytree(saved_texts, tmp_path / "text"))


@pytest.fixture
def table(saved_table, tmp_path):
    return Path(shutil.copytree(saved_table, tmp_path / "table"))


def sign(folder: Path, names: Any = None) -> None:
    """Write the digests of the files as they are now, as an attacker would."""
    manifest = json.loads((folder / "thermocline.json").read_text())
    files = names or [one for one in manifest["files"] if (folder / one).is_file()]
    manifest["files"] = {one: hashlib.sha256((folder / one).read_bytes()).hexdigest() for one in files}
    (folder / "thermocline.json").write_text(json.dumps(manifest))


def change(file: Path, act: Callable[[Any], Any]) -> None:
    data = json.loads(file.read_text())
    file.write_text(json.dumps(act(data) or data))


def refused(folder: Path) -> str:
    message = told(ArtifactError, OSError, lambda: Predictor.load(folder, verbosity=0))
    assert str(folder) in message
    assert "trust" in message or "copy" in message
    return message


# what a configuration may not name


@pytest.mark.parametrize(
    "entry",
    [
        {"checkpoint_path": "/etc/passwd"},
        {"pretrained": True},
        {"pretrained_cfg": {"url": "https://example.org"}},
        {"hf_hub_id": "somebody/model"},
        {"use_pretrained_backbone": True},
        {"use_timm_backbone": True, "backbone": "resnet18"},
        {"model_type": "timm_wrapper", "architecture": "resnet18"},
        {"model_type": "timm_backbone", "backbone": "local-dir:/etc"},
        {"backbone": "somebody/model"},
        {"architecture": "hf-hub:somebody/model"},
        {"anything": " Local-Dir:/etc"},
        {"attn_implementation": "somebody/kernels"},
        {"_attn_implementation_internal": "somebody/kernels:run"},
        {"attn_implementation": {"text_config": "somebody/kernels"}},
        {"num_labels": 10**9},
        {"num_hidden_layers": 10**6},
        {"depths": [2, 10**6]},
    ],
    ids=str,
)
def test_what_a_configuration_may_not_name_at_any_depth(entry):
    for config in (entry, {"backbone_config": entry}, {"parts": [{"text_config": {"more": [[entry]]}}]}):
        with pytest.raises(ValueError, match=r"config\.json: .* is refused"):
            checked_config({"model_type": "bert", **config}, "config.json")


def test_what_a_configuration_may_hold():
    config = {
        "model_type": "bert",
        "id2label": {"0": "https://example.org", "1": "local-dir:x"},
        "use_pretrained_backbone": False,
        "vocab_size": 250_000,
        "rope_theta": 10_000_000,
        "backbone_config": {"model_type": "timm_backbone", "backbone": "resnet18", "out_indices": [1, 2]},
    }
    hints = {
        "_name_or_path": "/somewhere",
        "attn_implementation": "flash_attention_2",
        "auto_map": {"AutoModel": "a"},
    }
    assert checked_config(config | hints, "config.json") == config
    assert "auto_map" in checked_config(config | hints, "config.json", code=True)


def test_a_configuration_in_the_folder(texts):
    file = texts / "text" / "config.json"
    change(file, lambda data: data | {"more": [{"attn_implementation": "somebody/kernels"}]})
    sign(texts)
    message = refused(texts)
    assert "text/config.json: more.0.attn_implementation is refused: 'somebody/kernels' is a repository" in message
    assert "somebody manipulated it" in message


def test_no_hub_is_asked(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("the network was asked"))
    with no_hub(), pytest.raises(Exception, match="ffline"):
        huggingface_hub.HfApi().model_info("somebody/model")
    first, second = no_hub(), no_hub()  # as two threads may overlap
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    second.__exit__(None, None, None)
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


# files


def fifo(file: Path) -> None:
    os.mkfifo(file)


def device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def link_out(file: Path) -> None:
    outside = file.parents[1] / "outside"
    outside.write_text("{}")
    file.symlink_to(outside)


@pytest.mark.parametrize("put", [fifo, device, link_out, Path.mkdir])
@pytest.mark.parametrize("name", ["task.json", "model.safetensors"])
def test_what_is_no_regular_file_of_the_folder(table, put, name):
    (table / name).unlink()
    put(table / name)
    message = refused(table)
    assert f"is damaged or was manipulated: it is to be read from {name!r}" in message
    assert "no regular file" in message or "outside of it" in message


@pytest.mark.parametrize("put", [fifo, device, link_out])
def test_a_manifest_that_is_no_regular_file(table, put):
    (table / "thermocline.json").unlink()
    put(table / "thermocline.json")
    refused(table)


def test_a_folder_that_is_a_link_out(texts, tmp_path):
    shutil.move(texts / "text", tmp_path / "elsewhere")
    (texts / "text").symlink_to(tmp_path / "elsewhere")
    assert "outside of it" in refused(texts)


def test_links_of_a_hubs_cache_are_followed(saved_table, tmp_path):
    """There a folder holds nothing but links to files that are named by what they hold."""
    blobs, folder = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "1"
    shutil.copytree(saved_table, blobs)
    folder.mkdir(parents=True)
    for one in blobs.iterdir():
        (folder / one.name).symlink_to(f"../../blobs/{one.name}")
    assert len(Predictor.load(folder, verbosity=0).predict(make_table(5))) == 5


@pytest.mark.parametrize("name", ["../outside.json", "/etc/hostname", "text/../../outside.json", "a\0b"])
def test_a_manifest_that_lists_files_elsewhere(table, tmp_path, name):
    (tmp_path / "outside.json").write_text("{}")
    change(table / "thermocline.json", lambda data: data["files"].update({name: "0" * 64}))
    assert "which is no name of a file in it" in refused(table)


@pytest.mark.parametrize("name", ["task.json", "columns.json", "config.yaml", "history.json", "model.safetensors"])
def test_what_is_read_is_listed(table, name):
    change(table / "thermocline.json", lambda data: data["files"].pop(name) and None)
    assert f"from {name!r}, which thermocline.json does not list" in refused(table)


def test_what_is_not_listed_is_not_read(texts):
    expected = Predictor.load(texts, verbosity=0).predict(make_texts(8))
    (texts / "rates.json").unlink()
    sign(texts)
    (texts / "rates.json").write_text("{")
    (texts / "text" / "added_tokens.json").write_text("{")
    os.mkfifo(texts / "text" / "chat_template.jinja")
    loaded = Predictor.load(texts, verbosity=0)
    assert loaded.history.lrs is None
    assert loaded.predict(make_texts(8)).equals(expected)


@pytest.mark.parametrize("name", ["thermocline.json", "task.json", "towers.json", "plan.json", "layers.json"])
def test_nested_too_deeply(table, name):
    (table / name).write_text("[" * 200_000)
    if name != "thermocline.json":
        sign(table)
    assert "too deep" in refused(table) or "recursion depth" in refused(table)


def test_aliases_that_stand_for_millions_of_values(table):
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
    (table / "config.yaml").write_text("\n".join(lines))
    sign(table)
    assert "written out, its aliases" in refused(table)


# models that are larger than their weights


def text_config(**changes: Any) -> Any:
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    return CONFIG_MAPPING["bert"](**{"vocab_size": 50, **small, **changes})


def build_text(**changes: Any) -> tuple[torch.nn.Module, None]:
    return AutoModel.from_config(text_config(**changes)), None


@pytest.fixture
def weights(tmp_path):
    from safetensors.torch import save_model

    save_model(build_text()[0], str(tmp_path / "model.safetensors"))
    return Weights.of(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "changes", [{"vocab_size": 40_000_000}, {"num_hidden_layers": 100_000}, {"max_position_embeddings": 10**9}], ids=str
)
def test_models_that_would_fill_the_memory(weights, changes, monkeypatch):
    """On the meta device; and where a model cannot be built there, before its tensors are filled."""
    with pytest.raises(TooMuch, match=r"a model of more (tensors|parameters) than belong to the 23 tensors of"):
        built_as_saved(lambda: build_text(**changes), weights)
    filled = []
    monkeypatch.setattr(torch.nn.init, "normal_", lambda tensor, *_, **__: filled.append(tensor.numel()) or tensor)
    if "max_position_embeddings" not in changes:  # its buffers are filled before a parameter shows the size
        with pytest.raises(TooMuch), bounded_build._bounded(weights):
            build_text(**changes)
        assert max(filled, default=0) < 10**6


def test_a_model_is_built_twice_and_only_once_with_memory(weights):
    devices = []

    def build() -> tuple[torch.nn.Module, None]:
        built = build_text()
        devices.append(next(built[0].parameters()).device.type)
        return built

    model, _ = built_as_saved(build, weights)
    assert devices == ["meta", "cpu"]
    assert next(model.parameters()).device.type == "cpu"
    with pytest.raises(ValueError, match="of shape \\[50, 32\\] where the model has \\[60, 32\\]"):
        built_as_saved(lambda: build_text(vocab_size=60), weights)


@pytest.mark.parametrize(("key", "value"), [("vocab_size", 40_000_000), ("num_hidden_layers", 90_000)])
def test_a_folder_whose_model_would_fill_the_memory(texts, key, value):
    change(texts / "text" / "config.json", lambda data: data | {key: value})
    sign(texts)
    message = refused(texts)
    assert "than belong to the" in message
    assert "tensors of model.safetensors" in message


def test_a_saved_predictor_is_built_for_its_shapes_first(texts, table, monkeypatch):
    compared = []
    monkeypatch.setattr(
        bounded_build, "_compare", lambda model, _: compared.append(list(model.parameters())[-1].device.type)
    )
    Predictor.load(texts, verbosity=0)
    Predictor.load(table, verbosity=0)
    assert compared == ["meta", "meta"]


def test_a_table_that_would_fill_the_memory(table):
    change(table / "towers.json", lambda data: data["table"]["tower"].update(width=10**7))
    sign(table)
    assert "than belong to the" in refused(table)


def test_images_that_would_fill_the_memory():
    spec = ImageSpec((20, 20), (0.5,) * 3, (0.5,) * 3).to_dict()
    assert ImageSpec.from_dict(spec).size == (20, 20)
    with pytest.raises(ValueError, match="a side has 1 to 4,096"):
        ImageSpec.from_dict({**spec, "size": [20, 10**6]})


def test_weights_that_are_no_weights(table):
    (table / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    sign(table)
    assert "model.safetensors is no file of weights" in refused(table)
