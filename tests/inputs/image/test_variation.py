"""More ways to vary images, and blocks that are skipped in training."""

import functools
import random

import numpy as np
import pytest
import torch
from PIL import Image

from support.stopping import killed_before
from support.tiny import TINY, told, write_images
from thermocline import Predictor
from thermocline.errors import ConfigError, DataError
from thermocline.inputs.image.rows import ImageRows
from thermocline.inputs.image.spec import ImageSpec
from thermocline.inputs.image.transforms import train_transform

SPEC = ImageSpec((32, 32), (0.5, 0.4, 0.3), (0.5, 0.5, 0.5))


def noise(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(140, 255, (48, 48, 3), dtype=np.uint8))


@pytest.mark.parametrize("augment", ["light", "standard", "rand_augment"])
@pytest.mark.parametrize("erasing", [0.0, 0.5])
def test_pixels_are_a_function_of_seed_epoch_row_and_column(augment, erasing):
    cells = tuple((noise(row),) for row in range(4))
    rows = ImageRows(cells, None, SPEC, augment, 3, erasing=erasing)
    together = rows.batch(np.arange(4), epoch=2)["pixels"]
    assert together.dtype == np.uint8
    assert np.array_equal(together[[2]], rows.batch(np.array([2]), epoch=2)["pixels"])
    assert not np.array_equal(together, rows.batch(np.arange(4), epoch=3)["pixels"])
    assert np.array_equal(
        rows.batch(np.arange(4))["pixels"], ImageRows(cells, None, SPEC).batch(np.arange(4))["pixels"]
    )


def test_a_rectangle_takes_the_mean_colour():
    torch.manual_seed(0)
    erased = 0
    for _ in range(60):
        out = train_transform(SPEC, "light", 0.5)(noise())
        hit = (np.abs(out.astype(int) - np.array([127, 102, 76]).reshape(3, 1, 1)) <= 1).all(axis=0)
        assert not hit.any() or hit.sum() > 8
        erased += bool(hit.any())
    assert 18 < erased < 42


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    frame = write_images(folder, 24)
    frame["img"] = [str(folder / name) for name in frame["img"]]
    return frame


def fitted(frame, checkpoint, **more):
    given = {**TINY, "model.image.checkpoint": checkpoint, "model.image.pretrained": False, "model.image.size": 32}
    return Predictor("y", verbosity=0).fit(frame, hyperparameters={**given, **more})


def test_blocks_are_skipped_in_training_only(images, tmp_path):
    from timm.layers import DropPath

    predictor = fitted(images, "vit_tiny_patch16_224", **{"model.image.drop_path": 0.5})
    rates = [one.drop_prob for one in predictor._assembly.model.modules() if isinstance(one, DropPath)]
    assert max(rates) == pytest.approx(0.5)
    assert predictor.predict_proba(images).equals(predictor.predict_proba(images))
    saved = predictor.save(tmp_path / "saved")
    assert Predictor.load(saved, verbosity=0).predict_proba(images).equals(predictor.predict_proba(images))


def test_blocks_of_transformers_models_are_skipped(images, tmp_path):
    from transformers import ConvNextConfig, ConvNextModel, ViTConfig, ViTModel

    small = {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "num_stages": 4, "image_size": 32}
    ConvNextModel(ConvNextConfig(**small)).save_pretrained(tmp_path / "convnext")
    predictor = fitted(
        images, str(tmp_path / "convnext"), **{"model.image.drop_path": 0.3, "model.image.pretrained": True}
    )
    assert predictor._assembly.model.towers["image"].backbone.config.drop_path_rate == 0.3
    ViTModel(ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=32))
    small = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "image_size": 32,
    }
    ViTModel(ViTConfig(**small)).save_pretrained(tmp_path / "vit")
    message = told(
        ConfigError, ValueError, lambda: fitted(images, str(tmp_path / "vit"), **{"model.image.drop_path": 0.3})
    )
    assert "skips no blocks" in message


def test_a_backbone_that_skips_no_blocks(images):
    message = told(ConfigError, ValueError, lambda: fitted(images, "vgg11", **{"model.image.drop_path": 0.3}))
    assert "model.image.drop_path" in message
    assert "Leave it out" in message


def test_frozen_layers_of_images_that_are_mixed_are_not_cached(images):
    given = {"optim.mixup": 0.5, "model.frozen_layers": "backbone", "model.image.augment": "none"}
    predictor = fitted(images, "resnet10t", **given, **{"optim.cache_prefix": "memory"})
    assert predictor.history["note"].str.contains("images are mixed").any()


def test_erasing_and_rand_augment_in_a_fit(images):
    predictor = fitted(
        images, "resnet10t", **{"model.image.augment": "rand_augment", "model.image.random_erasing": 0.5}
    )
    assert len(predictor.predict(images)) == 24


# -- transforms of the caller's own


def own_transforms():
    import albumentations
    from torchvision.transforms import v2

    return {
        "torchvision": v2.Compose([v2.RandomHorizontalFlip(), v2.RandomRotation(20)]),
        "tensor": v2.Compose([v2.ToImage(), v2.ColorJitter(0.5), v2.ToDtype(torch.float32, scale=True)]),
        "albumentations": albumentations.Compose(
            [albumentations.HorizontalFlip(p=0.5), albumentations.RandomCrop(16, 16)]
        ),
        "numpy": mirrored_by_numpy,
        "random": functools.partial(shifted, most=9),
    }


def mirrored_by_numpy(image):
    pixels = np.asarray(image)
    return pixels[:, ::-1] if np.random.random() < 0.5 else pixels


def shifted(image, most):
    return np.roll(np.asarray(image), random.randrange(most), axis=1)


@pytest.mark.parametrize("name", ["torchvision", "tensor", "albumentations", "numpy", "random"])
def test_a_transform_of_ones_own_is_a_function_of_seed_epoch_and_row(name):
    cells = tuple((noise(row),) for row in range(6))
    rows = ImageRows(cells, None, SPEC, "here:own", 3, transform=own_transforms()[name])
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()
    together = rows.batch(np.arange(6), epoch=2)["pixels"]
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
    assert together.shape == (6, 1, 3, 32, 32)
    assert np.array_equal(together[[4, 1]], rows.batch(np.array([4, 1]), epoch=2)["pixels"])
    assert any(not np.array_equal(together, rows.batch(np.arange(6), epoch=epoch)["pixels"]) for epoch in range(3, 7))
    assert np.array_equal(
        rows.batch(np.arange(6))["pixels"], ImageRows(cells, None, SPEC).batch(np.arange(6))["pixels"]
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_transform_that_fails_on_one_image_names_it(workers, images):
    import albumentations

    given = {"model.image.augment": albumentations.RandomCrop(24, 24), "env.num_workers": workers}
    message = told(DataError, ValueError, lambda: fitted(images, "resnet10t", **given))
    assert "of column 'img' (20×20; CropSizeError" in message


@pytest.mark.parametrize("name", ["torchvision", "albumentations", "random"])
def test_a_fit_with_a_transform_of_ones_own_resumes_exactly_and_loads_without_it(name, images, tmp_path):
    given = {**TINY, "model.image.checkpoint": "resnet10t", "model.image.pretrained": False, "model.image.size": 32}
    given |= {"env.checkpoint_every": 1, "model.image.augment": own_transforms()[name]}
    whole = Predictor("y", path=tmp_path / "whole", verbosity=0).fit(images, hyperparameters=given)
    with killed_before(2):
        Predictor("y", path=tmp_path / "again", verbosity=0).fit(images, hyperparameters=given)
    Predictor("y", path=tmp_path / "again", verbosity=0).fit(images, hyperparameters=given, resume=True)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "again"))
    assert one == two
    named = {"torchvision": ":Compose(", "albumentations": ":Compose(", "random": ":shifted(most=9)"}[name]
    loaded = Predictor.load(tmp_path / "whole", verbosity=0)
    assert named in loaded.config.model.image.augment
    assert loaded.predict_proba(images).equals(whole.predict_proba(images))
    again = {**given, "model.image.augment": loaded.config.model.image.augment}
    message = told(ConfigError, ValueError, lambda: Predictor("y", verbosity=0).fit(images, hyperparameters=again))
    assert "Hand the transform itself in" in message


@pytest.mark.parametrize(
    ("transform", "part"),
    [
        (lambda image: None, "returned NoneType"),
        (lambda image: np.asarray(image)[..., 0], "of shape (48, 64)"),
        (lambda image: image.no_such, "raised AttributeError"),
        (lambda image: torch.randn(3, 8, 8) * 3, "leave Normalize out"),
        (torch.nn.Identity, "is a class"),
    ],
)
def test_transforms_that_are_none(images, transform, part, monkeypatch):
    monkeypatch.setattr("thermocline.inputs.image.kind.build_image", None)
    message = told(ConfigError, ValueError, lambda: fitted(images, "resnet10t", **{"model.image.augment": transform}))
    assert "model.image.augment" in message
    assert part in message


def test_a_strength_that_is_none(images):
    message = told(ConfigError, ValueError, lambda: fitted(images, "resnet10t", **{"model.image.augment": "strong"}))
    assert "or in Python a transform" in message
