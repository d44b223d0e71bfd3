"""Image towers: timm and transformers, with their own preprocessing, several columns, missing images."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from thermocline.backbones.library_settings import quiet_transformers
from thermocline.backbones.pretrained import Source, find_image
from thermocline.errors import CheckpointError, ConfigError
from thermocline.inputs.image.build import build_image, describe_image, model_size, rebuild_image
from thermocline.inputs.image.spec import ImageSpec
from thermocline.inputs.image.transforms import plain_transform

TIMM = [
    "test_vit",
    "test_vit2",
    "test_resnet",
    "test_convnext",
    "test_efficientnet",
    "test_efficientnet_gn",
    "test_mambaout",
    "test_byobnet",
    "test_nfnet",
    "mobilenetv3_small_050",
]


def timm_tower(name, *, size=64, columns=1):
    torch.manual_seed(0)
    return build_image(find_image(name, pretrained=False), None, size=size, columns=columns).eval()


def batch(tower, present, seed=0):
    height, width = tower.spec.size
    generator = torch.Generator().manual_seed(seed)
    present = torch.tensor(present)
    pixels = torch.randint(0, 256, (*present.shape, 3, height, width), generator=generator, dtype=torch.uint8)
    return {"pixels": pixels * present[..., None, None, None], "present": present}


def features(tower, what):
    with torch.no_grad():
        return tower(what)


def natural(size=(80, 60), seed=0):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


# timm


@pytest.mark.parametrize("name", [name for name in TIMM if timm.is_model(name)])
def test_timm_models_are_towers(name):
    tower = timm_tower(name, size=None if "vit" in name else 64)
    what = batch(tower, [[True], [True], [True]])
    together = features(tower, what)
    assert together.shape == (3, tower.width)
    alone = features(tower, {key: value[1:2] for key, value in what.items()})
    torch.testing.assert_close(alone[0], together[1], atol=1e-5, rtol=1e-4)
    again = rebuild_image(json.loads(json.dumps(describe_image(tower))))
    again.load_state_dict(tower.state_dict())
    torch.testing.assert_close(features(again.eval(), what), together)


def test_enough_timm_models_are_here():
    assert sum(timm.is_model(name) for name in TIMM) >= 8


def test_the_features_are_timms_own():
    tower = timm_tower("test_resnet")
    image = natural((64, 64))
    config = {**timm.data.resolve_model_data_config(tower.backbone), "input_size": (3, 64, 64)}
    theirs = timm.data.create_transform(**config, is_training=False)(image)
    pixels = torch.tensor(plain_transform(tower.spec)(image))[None, None]
    ours = features(tower, {"pixels": pixels, "present": torch.tensor([[True]])})
    with torch.no_grad():
        torch.testing.assert_close(ours, tower.backbone(theirs[None]), atol=2e-2, rtol=2e-2)


def test_missing_images_have_zero_features_and_do_not_disturb_others():
    tower = timm_tower("test_resnet", columns=2)
    assert tower.width == 2 * tower.features
    what = batch(tower, [[True, True], [True, False], [False, False]])
    out = features(tower, what).view(3, 2, -1)
    assert not out[1, 1].any()
    assert not out[2].any()
    alone = features(tower, {key: value[:1] for key, value in what.items()}).view(1, 2, -1)
    torch.testing.assert_close(out[0], alone[0], atol=1e-5, rtol=1e-4)
    assert (out[0, 0] != out[0, 1]).any()


@pytest.mark.parametrize(
    ("layout", "shape"),
    [("NCHW", (3, 8, 5, 4)), ("NHWC", (3, 5, 4, 8)), ("NCHW", (3, 20, 8)), ("NCHW", (3, 8))],
)
def test_outputs_of_layers_become_means_over_the_map_and_zeros_where_an_image_is_missing(layout, shape):
    tower = timm_tower("test_resnet", columns=2)
    tower.backbone.output_fmt = layout
    states = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    out = tower.row_states(states, {"present": torch.tensor([[True, False], [True, True]])}).view(2, 2, 8)
    places = [axis for axis in (1, 2, 3) if axis < len(shape) and shape[axis] != 8]
    wanted = states.mean(dim=places) if places else states
    torch.testing.assert_close(out[[0, 1, 1], [0, 0, 1]], wanted)
    assert not out[0, 1].any()
    assert tower.row_states(states, {"present": torch.tensor([[True, True], [True, True]])}) is None


def test_a_batch_without_any_image_can_be_trained_on():
    tower = timm_tower("test_resnet", columns=1).train()
    assert features(tower, batch(tower, [[False], [False]])).shape == (2, tower.width)


def test_the_size_is_the_models_own_unless_given():
    assert timm_tower("test_resnet", size=None).spec.size == (160, 160)
    assert timm_tower("test_resnet", size=64).spec.size == (64, 64)
    assert timm_tower("test_vit", size=96).spec.size == (96, 96)  # by new position embeddings
    assert model_size(find_image("test_vit", pretrained=False), None) == (160, False)
    assert model_size(find_image("test_resnet", pretrained=False), None) == (160, True)


def test_a_size_that_cannot_be_is_an_error_naming_the_option():
    with pytest.raises(ConfigError, match=r"model\.image\.size"):
        timm_tower("test_vit", size=50)


def test_a_timm_folder_brings_its_arguments_and_weights(tmp_path):
    from timm.models import save_for_hf

    torch.manual_seed(3)
    model = timm.create_model("test_resnet", num_classes=7, in_chans=3)
    save_for_hf(model, str(tmp_path), safe_serialization=True)
    source = find_image(str(tmp_path), pretrained=True)
    assert source.library == "timm"
    tower = build_image(source, tmp_path, size=None, columns=1)
    assert tower.pretrained
    own = {k: v for k, v in model.state_dict().items() if not k.startswith("fc.")}
    for name, value in tower.backbone.state_dict().items():
        torch.testing.assert_close(value, own[name])


def test_a_timm_folder_of_an_unknown_architecture(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "no_such_net"}))
    with pytest.raises(CheckpointError, match="no_such_net"):
        build_image(Source("timm", "folder", "x", str(tmp_path), False), tmp_path, size=None, columns=1)


# transformers


VISION = {
    "vit": {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "deit": {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "dinov2": {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "convnext": {"hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1]},
    "swin": {
        "image_size": 32,
        "patch_size": 4,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "window_size": 4,
    },
    "mobilenet_v1": {"depth_multiplier": 0.25, "min_depth": 4},
    "mobilenet_v2": {"depth_multiplier": 0.25, "min_depth": 4},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
}


def transformers_folder(tmp_path, kind, preprocessor=None):
    from transformers import CONFIG_MAPPING, AutoModel

    torch.manual_seed(0)
    with quiet_transformers():
        AutoModel.from_config(CONFIG_MAPPING[kind](**VISION[kind])).save_pretrained(tmp_path)
    if preprocessor is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return tmp_path


def transformers_tower(folder, *, pretrained=True, size=None, columns=1):
    source = find_image(str(folder), pretrained=pretrained)
    assert source.library == "transformers"
    return build_image(source, folder, size=size, columns=columns).eval()


@pytest.mark.parametrize("kind", list(VISION))
def test_transformers_models_are_towers(kind, tmp_path):
    size = {"height": 32, "width": 32}
    tower = transformers_tower(transformers_folder(tmp_path, kind, {"size": size}))
    assert tower.spec.size == (32, 32)
    assert tower.pretrained
    what = batch(tower, [[True], [True]])
    out = features(tower, what)
    assert out.shape == (2, tower.width)
    again = rebuild_image(json.loads(json.dumps(describe_image(tower))))
    again.load_state_dict(tower.state_dict())
    torch.testing.assert_close(features(again.eval(), what), out)


@pytest.mark.parametrize("kind", ["siglip", "clip"])
def test_the_vision_half_of_a_dual_model(kind, tmp_path):
    from transformers import CONFIG_MAPPING, AutoModel

    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CONFIG_MAPPING[kind](
        text_config={**small, "vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        vision_config={**small, "image_size": 32, "patch_size": 8},
    )
    with quiet_transformers():
        AutoModel.from_config(config).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 32, "width": 32}}))
    tower = transformers_tower(tmp_path)
    assert not any("text" in name for name, _ in tower.named_parameters())
    what = batch(tower, [[True], [True]])
    out = features(tower, what)
    again = rebuild_image(json.loads(json.dumps(describe_image(tower))))
    again.load_state_dict(tower.state_dict())
    torch.testing.assert_close(features(again.eval(), what), out)


def test_a_pooler_without_weights_is_not_used(tmp_path):
    """google/vit-base-patch16-224 has none: its features would go through a random layer."""
    from safetensors.torch import load_file, save_file

    folder = transformers_folder(tmp_path, "vit", {"size": {"height": 32, "width": 32}})
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "pooler" not in k}, folder / "model.safetensors", {"format": "pt"})
    torch.manual_seed(1)
    one = transformers_tower(folder)
    torch.manual_seed(2)
    two = transformers_tower(folder)
    what = batch(one, [[True], [True]])
    torch.testing.assert_close(features(one, what), features(two, what))
    assert not any("pooler" in name for name, _ in one.named_parameters())
    again = rebuild_image(json.loads(json.dumps(describe_image(one))))
    again.load_state_dict(one.state_dict())
    torch.testing.assert_close(features(again.eval(), what), features(one, what))


def test_missing_weights_are_told(tmp_path):
    folder = transformers_folder(tmp_path, "vit")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(CheckpointError, match="missing"):
        transformers_tower(folder)


def test_a_text_model_is_no_image_backbone(tmp_path):
    from transformers import BertConfig

    BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32).save_pretrained(
        tmp_path
    )
    with pytest.raises((CheckpointError, ConfigError), match="image"):
        transformers_tower(tmp_path, pretrained=False)


# transformers' preprocessing


PREPROCESSORS = {
    "ViTImageProcessor": {
        "size": {"height": 32, "width": 32},
        "resample": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    },
    "BitImageProcessor": {
        "size": {"shortest_edge": 48},
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
        "resample": 3,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    "CLIPImageProcessor": {
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
        "do_center_crop": True,
        "resample": 3,
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.3, 0.4],
    },
    "SiglipImageProcessor": {
        "size": {"height": 32, "width": 32},
        "resample": 3,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    },
    "ConvNextImageProcessor": {
        "size": {"shortest_edge": 32},
        "crop_pct": 0.875,
        "resample": 3,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
}


@pytest.mark.parametrize("size", [(80, 60), (50, 90)])
@pytest.mark.parametrize("name", list(PREPROCESSORS))
def test_the_same_pixels_as_transformers_own_image_processor(name, size, tmp_path):
    import transformers

    settings = {**PREPROCESSORS[name], "image_processor_type": name}
    theirs = getattr(transformers, name)(**PREPROCESSORS[name])(natural(size), return_tensors="pt")["pixel_values"]
    tower = transformers_tower(transformers_folder(tmp_path, "vit", settings))
    pixels = torch.tensor(plain_transform(tower.spec)(natural(size)))[None].float()
    ours = (pixels - tower.mean) / tower.std
    grey = 1 / 255 / min(tower.spec.std)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 2.5 * grey
    assert (ours - theirs).abs().mean() <= 0.6 * grey


def test_a_processor_saved_inside_processor_config(tmp_path):
    """transformers 5 writes the image processor of a dual model there."""
    folder = transformers_folder(tmp_path, "vit")
    inner = {**PREPROCESSORS["CLIPImageProcessor"], "image_processor_type": "CLIPImageProcessor"}
    (folder / "processor_config.json").write_text(
        json.dumps({"image_processor": inner, "processor_class": "CLIPProcessor"})
    )
    spec = transformers_tower(folder).spec
    assert spec.mean == (0.4, 0.5, 0.6)
    assert spec.interpolation == "bicubic"


def test_without_a_preprocessor_file_the_models_size_is_used(tmp_path):
    spec = transformers_tower(transformers_folder(tmp_path, "vit")).spec
    assert spec == ImageSpec((32, 32), (0.5,) * 3, (0.5,) * 3, "bilinear", 1.0, False)


def test_a_processor_that_does_not_normalise(tmp_path):
    """Pixels in 0..1, as MobileViT's."""
    settings = {"size": {"height": 32, "width": 32}, "do_normalize": False}
    tower = transformers_tower(transformers_folder(tmp_path, "vit", settings))
    assert tower.spec.mean == (0, 0, 0)
    assert tower.spec.std == (1, 1, 1)
