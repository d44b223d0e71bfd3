"""Feature maps: a backbone has one only where its layout is known, and places in it are places in the image."""

import pytest
import timm
import torch

from thermocline.backbones.pretrained import Source, find_image
from thermocline.inputs.image.build import build_image

MAPS = {
    "test_resnet": (64, (96, 2, 2)),
    "test_convnext": (64, (64, 2, 2)),
    "test_efficientnet": (64, (256, 2, 2)),
    "test_mambaout": (64, (64, 2, 2)),  # channels last
    "test_vit": (None, (64, 10, 10)),  # a class token before the patches
    "swin_tiny_patch4_window7_224": (None, (768, 7, 7)),
    "deit_tiny_distilled_patch16_224": (None, (192, 14, 14)),  # two tokens before the patches
}
NONE = ["mixer_s32_224", "levit_128s"]  # a square number of tokens, and no word about their order


def tower_of(name, size=None, columns=1):
    torch.manual_seed(0)
    return build_image(find_image(name, pretrained=False), None, size=size, columns=columns).eval()


def images(tower, present):
    present = torch.tensor(present)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (*present.shape, 3, *tower.spec.size), generator=generator, dtype=torch.uint8)
    return {"pixels": pixels * present[..., None, None, None], "present": present}


@pytest.mark.parametrize("name", MAPS)
def test_maps_of_timm_models(name):
    size, shape = MAPS[name]
    tower = tower_of(name, size)
    assert tower.grains == {"row", "map"}
    with torch.no_grad():
        out = tower(images(tower, [[True]]), grain="map")
    assert out.shape == (1, 1, *shape)


@pytest.mark.parametrize("name", NONE)
def test_tokens_whose_order_is_not_known_are_no_map(name):
    tower = tower_of(name)
    assert tower.grains == {"row"}
    with pytest.raises(ValueError, match=r"'map' with this backbone. It gives 'row'"):
        tower(images(tower, [[True]]), grain="map")


@pytest.mark.parametrize("name", ["test_resnet", "test_mambaout", "test_vit"])
def test_a_place_of_the_map_is_a_place_of_the_image(name):
    """Where one corner of the image changes, the map changes most in that corner."""
    tower = tower_of(name, None if "vit" in name else 160)
    given = images(tower, [[True]])
    side = tower.spec.size[0]
    changed = {**given, "pixels": given["pixels"].clone()}
    changed["pixels"][..., : side // 5, -side // 5 :] = 255 - changed["pixels"][..., : side // 5, -side // 5 :]
    with torch.no_grad():
        moved = (tower(given, grain="map") - tower(changed, grain="map"))[0, 0].norm(dim=0)
    height, width = moved.shape
    place = int(moved.argmax())
    assert place // width < height / 2
    assert place % width >= width / 2


def test_missing_images_have_maps_of_zeros():
    tower = tower_of("test_resnet", 64, columns=2)
    with torch.no_grad():
        out = tower(images(tower, [[True, False], [False, False]]), grain="map")
        none = tower(images(tower, [[False, False]]), grain="map")
    assert out[0, 0].abs().sum() > 0
    assert not out[0, 1].any()
    assert not out[1].any()
    assert none.shape == (1, *out.shape[1:])


def test_looking_for_a_map_changes_nothing():
    tower = tower_of("test_resnet", 64).train()
    state = {name: value.clone() for name, value in tower.state_dict().items()}
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert "map" in tower.grains
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in tower.modules())
    assert all(torch.equal(value, state[name]) for name, value in tower.state_dict().items())


def test_the_pooled_map_of_a_resnet_is_its_features():
    tower = tower_of("test_resnet", 64)
    given = images(tower, [[True], [True]])
    with torch.no_grad():
        torch.testing.assert_close(tower(given, grain="map").mean(dim=(-2, -1)).flatten(1), tower(given))


@pytest.mark.parametrize(
    ("kind", "changes", "shape"),
    [
        (
            "vit",
            {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
            (32, 4, 4),
        ),
        (
            "resnet",
            {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
            (16, 28, 28),
        ),
        (
            "swin",
            {
                "image_size": 32,
                "patch_size": 4,
                "embed_dim": 8,
                "depths": [1, 1],
                "num_heads": [1, 2],
                "window_size": 4,
            },
            None,
        ),
    ],
)
def test_maps_of_transformers_models(kind, changes, shape, tmp_path):
    from transformers import CONFIG_MAPPING

    CONFIG_MAPPING[kind](**changes).save_pretrained(tmp_path)
    tower = build_image(
        Source("transformers", "folder", kind, str(tmp_path), False), tmp_path, size=None, columns=1
    ).eval()
    if shape is None:
        assert tower.grains == {"row"}
        return
    with torch.no_grad():
        assert tower(images(tower, [[True]]), grain="map").shape == (1, 1, *shape)


def test_enough_timm_models_are_here():
    assert all(timm.is_model(name) for name in [*MAPS, *NONE])
