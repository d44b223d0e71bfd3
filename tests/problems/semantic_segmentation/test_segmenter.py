"""Segmenters: a light head on any timm backbone, checkpoints with other classes, other backbones, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSemanticSegmentation

from support.tiny_segmenters import SIDE, saved
from thermocline.errors import CheckpointError, ConfigError
from thermocline.problems.semantic_segmentation.options import SegmenterOptions
from thermocline.problems.semantic_segmentation.segmenter import Segmenter
from thermocline.problems.semantic_segmentation.segmenter_build import find_sources, segmenter_of
from thermocline.problems.semantic_segmentation.segmenter_layers import layers_of
from thermocline.problems.semantic_segmentation.segmenter_saved import (
    checked_description,
    describe_segmenter,
    rebuild_segmenter,
)
from thermocline.problems.semantic_segmentation.segmenter_spec import SegmentationSpec, fitting_size

CLASSES = ("road", "sky", "tree")


def built(*, classes: tuple[Any, ...] = CLASSES, images: tuple[int, int] = (SIDE, SIDE), **options: Any) -> Segmenter:
    torch.manual_seed(0)
    return segmenter_of(SegmenterOptions(**options), classes, size_of_training_images=images)


def light(backbone: str = "test_resnet", **options: Any) -> Segmenter:
    return built(backbone=backbone, backbone_pretrained=False, head_width=16, **options)


def pixels(segmenter: Segmenter, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (2, 3, *segmenter.spec.size), generator=generator, dtype=torch.uint8)


@pytest.fixture
def timm_folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    timm.models.save_for_hf(
        timm.create_model("test_efficientnet", num_classes=5), str(tmp_path / "timm"), safe_serialization=True
    )
    return tmp_path / "timm"


# -- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "longer", "size"),
    [
        ((180, 240), None, (192, 256)),
        ((240, 180), None, (256, 192)),
        ((1080, 1920), None, (288, 512)),
        ((20, 30), None, (64, 64)),
        ((1, 1000), None, (32, 512)),
        ((180, 240), 128, (96, 128)),
        ((0, 0), None, (64, 64)),
    ],
)
def test_the_size_follows_the_training_images(images, longer, size) -> None:
    assert fitting_size(images, longer=longer) == size


def test_a_saved_size_that_no_model_takes_is_refused() -> None:
    with pytest.raises(ValueError, match="a side has 1 to"):
        SegmentationSpec.from_dict({**SegmentationSpec((64, 64)).to_dict(), "size": [64, 1_000_000]})


# -- the light head ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "images", "stride"),
    [
        ("test_resnet", (180, 240), 4),
        ("test_resnet", (60, 100), 2),
        ("test_convnext", (60, 100), 4),
        ("test_vit", (180, 240), 4),
        ("test_efficientnet", (100, 180), 4),
    ],
)
def test_a_light_head_stands_on_any_backbone(backbone: str, images: tuple[int, int], stride: int) -> None:
    segmenter = light(backbone, images=images)
    height, width = segmenter.spec.size
    out = segmenter(pixels(segmenter))
    assert out.shape == (2, 3, height // stride, width // stride)
    layers = layers_of(segmenter, SegmenterOptions())
    assert list(dict.fromkeys(layer.part for layer in layers)) == ["backbone", "neck", "head"]
    assert (layers.confident, layers.order) == (True, "forward pass")
    assert sum(layer.n_parameters for layer in layers) == sum(p.numel() for p in segmenter.parameters())


def test_channels_last_maps_and_fixed_sizes_are_fitted() -> None:
    segmenter = light("swin_tiny_patch4_window7_224", images=(60, 100))
    assert segmenter.origin.light["arguments"]["img_size"] == [64, 96]
    assert segmenter(pixels(segmenter)).shape == (2, 3, 16, 24)


def test_a_folder_gives_its_weights_and_its_own_normalisation(timm_folder: Path) -> None:
    segmenter = built(backbone=str(timm_folder), head_width=16)
    stored = load_file(timm_folder / "model.safetensors")
    own = segmenter.model.backbone.state_dict()
    shared = [name for name in own if name in stored]
    assert len(shared) > 20
    assert all(torch.equal(own[name], stored[name]) for name in shared)
    assert segmenter.pretrained
    assert segmenter.fresh == {
        name for name, _ in segmenter.model.named_parameters() if name.startswith(("neck.", "head."))
    }
    layers = layers_of(segmenter, SegmenterOptions())
    assert {layer.part for layer in layers if not layer.pretrained} == {"neck", "head"}
    other = built(checkpoint=str(timm_folder))  # the folder of a backbone as the checkpoint
    assert other.origin.light is not None
    assert other.spec == segmenter.spec


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    segmenter = light("test_vit")
    rows = pixels(segmenter)
    assert torch.allclose(segmenter(rows)[0], segmenter(rows[:1])[0], atol=1e-5)


def test_a_light_segmenter_is_built_again(timm_folder: Path) -> None:
    segmenter = built(backbone=str(timm_folder), head_width=16).eval()
    described = checked_description(json.loads(json.dumps(describe_segmenter(segmenter))))
    assert str(timm_folder) not in json.dumps(described)
    again = rebuild_segmenter(described).eval()
    again.load_state_dict(segmenter.state_dict())
    assert torch.equal(segmenter(pixels(segmenter)), again(pixels(again)))


# -- checkpoints ---------------------------------------------------------------------------------------------------


def reference(folder: Path) -> dict[str, torch.Tensor]:
    """The weights as transformers reads them."""
    return dict(AutoModelForSemanticSegmentation.from_pretrained(str(folder)).named_parameters())


def test_the_same_classes_keep_the_whole_checkpoint(tmp_path: Path) -> None:
    folder = saved("segformer", tmp_path / "m", CLASSES)
    segmenter = built(checkpoint=str(folder))
    stored = reference(folder)
    assert all(torch.equal(p, stored[name]) for name, p in segmenter.model.named_parameters())
    assert segmenter.fresh == frozenset()
    assert segmenter.notes == ()


def test_rows_of_the_classifier_stay_where_names_agree(tmp_path: Path) -> None:
    folder = saved("segformer", tmp_path / "m", ("sky", "sea", "road", "car"))
    segmenter = built(checkpoint=str(folder))
    stored, own = reference(folder), dict(segmenter.model.named_parameters())
    changed = {"decode_head.classifier.weight", "decode_head.classifier.bias"}
    for name, value in own.items():
        if name in changed:
            assert torch.equal(value[:2], stored[name][[2, 0]])
            assert value.shape[0] == 3
        else:
            assert torch.equal(value, stored[name])
    assert segmenter.fresh == changed
    assert segmenter.notes == (
        "the classifier of 4 classes was replaced; 2 classes of 3 kept the checkpoint's weights of the same name",
    )


def test_a_checkpoint_of_a_backbone_alone_gets_a_new_head(tmp_path: Path) -> None:
    folder = saved("segformer", tmp_path / "m")
    file = folder / "model.safetensors"
    save_file({n: v for n, v in load_file(file).items() if not n.startswith("decode_head")}, file, {"format": "pt"})
    segmenter = built(checkpoint=str(folder), classes=("a", "b"))
    assert {name.split(".")[0] for name in segmenter.fresh} == {"decode_head"}
    assert segmenter.notes[0] == "the checkpoint holds a backbone alone: neck and head start at random"


def test_the_auxiliary_head_is_left_out_and_the_preprocessor_is_read(tmp_path: Path) -> None:
    folder = saved("upernet", tmp_path / "m")
    settings = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 3, "size": 512}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    segmenter = built(checkpoint=str(folder), images=(180, 240))
    assert not any("auxiliary" in name for name, _ in segmenter.model.named_parameters())
    assert segmenter.spec == SegmentationSpec((192, 256), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic")


def test_a_type_whose_colours_are_flipped_gets_them_flipped(tmp_path: Path) -> None:
    segmenter = built(checkpoint=str(saved("mobilevit", tmp_path / "m"))).eval()
    rows = pixels(segmenter)
    expected = segmenter.model(pixel_values=rows.flip(1).float() / 255).logits
    assert torch.allclose(segmenter(rows), expected, atol=1e-5)


@pytest.mark.parametrize("source", ["timm", "transformers"])
def test_upernet_takes_another_backbone_with_its_weights(source: str, timm_folder: Path, tmp_path: Path) -> None:
    if source == "timm":
        folder = timm_folder
    else:
        from transformers import ResNetBackbone, ResNetConfig

        torch.manual_seed(3)
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 1, 1], layer_type="basic")
        folder = tmp_path / "resnet"
        ResNetBackbone(config).save_pretrained(str(folder))
    segmenter = built(checkpoint="upernet", pretrained=False, backbone=str(folder)).eval()
    stored = load_file(folder / "model.safetensors")
    inside = segmenter.model.backbone
    own = (inside._backbone if source == "timm" else inside).state_dict()
    shared = [name for name in own if name in stored]
    assert len(shared) > 20
    assert all(torch.equal(own[name], stored[name]) for name in shared)
    assert segmenter.pretrained
    assert all(not name.startswith("backbone") for name in segmenter.fresh)
    described = checked_description(json.loads(json.dumps(describe_segmenter(segmenter))))
    again = rebuild_segmenter(described).eval()
    again.load_state_dict(segmenter.state_dict())
    assert torch.equal(segmenter(pixels(segmenter)), again(pixels(again)))


# -- what is refused -----------------------------------------------------------------------------------------------


def _damage(folder: Path, how: str) -> Path:
    file = folder / "model.safetensors"
    if how == "a tensor is missing":
        weights = load_file(file)
        weights.pop(next(name for name in weights if name.startswith("segformer")))
        save_file(weights, file, {"format": "pt"})
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif how == "no weights":
        file.unlink()
    elif how == "no config":
        (folder / "config.json").unlink()
    elif how == "no json":
        (folder / "config.json").write_text("{")
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "model_type": how}))
    return folder


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("a tensor is missing", "1 of .* parameters are missing or have another shape"),
        ("cut", "cannot be built by transformers"),
        ("no weights", "configuration but no weights"),
        ("no config", "holds no config.json"),
        ("no json", "is not JSON"),
        ("bert", "is of type 'bert', which is no model for semantic segmentation"),
        ("mask2former", "predicts masks of objects"),
        ("nothing_known", "cannot be built by transformers"),
    ],
)
def test_a_damaged_or_foreign_folder_is_named(how: str, told: str, tmp_path: Path) -> None:
    folder = _damage(saved("segformer", tmp_path / "m"), how)
    with pytest.raises(CheckpointError, match=told) as error:
        built(checkpoint=str(folder))
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"checkpoint": "segfromer"}, "There is no segmenter 'segfromer'.*segformer"),
        ({"checkpoint": "segformer"}, "an architecture of transformers, not a checkpoint"),
        ({"checkpoint": "/nowhere/at/all"}, "There is no folder"),
        ({"backbone": "resnet19"}, "model.segmenter.backbone: There is no image checkpoint 'resnet19'"),
        ({"backbone": "test_resnet_no", "backbone_pretrained": False}, "model.segmenter.backbone"),
        ({"checkpoint": "resnet18", "pretrained": False, "backbone": "resnet34"}, "Leave one of the two out"),
    ],
)
def test_names_that_are_not_there_are_found_out_before_anything_is_built(options, told) -> None:
    with pytest.raises(CheckpointError, match=told):
        find_sources(SegmenterOptions(**options))


def test_a_backbone_where_none_is_taken(tmp_path: Path, timm_folder: Path) -> None:
    with pytest.raises(ConfigError, match="'segformer' segmenter comes with its own backbone and takes no other"):
        built(checkpoint="segformer", pretrained=False, backbone=str(timm_folder))
    with pytest.raises(ConfigError, match="A pretrained segmenter comes with its own backbone"):
        built(checkpoint=str(saved("upernet", tmp_path / "m")), backbone=str(timm_folder))
    with pytest.raises(CheckpointError, match="needs maps of several strides"):
        built(checkpoint="upernet", pretrained=False, backbone="test_vit", backbone_pretrained=False)
    with pytest.raises(CheckpointError, match="takes image backbones of timm"):
        built(backbone=str(saved("segformer", tmp_path / "s")))


def test_no_classes_and_a_backbone_without_maps() -> None:
    with pytest.raises(ConfigError, match="at least one class"):
        built(classes=(), backbone="test_resnet", backbone_pretrained=False)
    with pytest.raises(CheckpointError, match="'nest_tiny' cannot be the backbone of a segmenter"):
        light("nest_tiny", images=(20, 50))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"architecture": "local-dir:/tmp/x"}, "is refused"),
        ({"architecture": "no_such_model"}, "is no model that this timm builds by itself"),
        ({"arguments": {"checkpoint_path": "/tmp/x"}}, "is refused"),
        ({"arguments": {"pretrained": True}}, "is refused"),
    ],
)
def test_a_saved_description_that_names_files_or_a_hub_is_refused(change, told) -> None:
    described = describe_segmenter(light())
    with pytest.raises(ValueError, match=told):
        checked_description({**described, "light": {**described["light"], **change}})


def test_a_saved_description_of_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    described = describe_segmenter(built(checkpoint=str(saved("segformer", tmp_path / "m"))))
    with pytest.raises(ValueError, match="no segmenter that this transformers builds by itself"):
        checked_description({**described, "config": {**described["config"], "model_type": "bert"}})
    with pytest.raises(ValueError, match="no segmenter that this transformers builds by itself"):
        checked_description({**described, "config": {**described["config"], "auto_map": {"AutoModel": "a.B"}}})
