"""Images of odd shapes take bounded memory, and those of too many pixels are named."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torchvision.transforms import v2

from thermocline.data.columns import Column
from thermocline.errors import ThermoclineWarning
from thermocline.inputs.image.files import open_image, unreadable_rows
from thermocline.inputs.image.header_size import image_size
from thermocline.inputs.image.headers import tell_large
from thermocline.inputs.image.spec import ImageSpec
from thermocline.inputs.image.transforms import MOST_PIXELS, plain_transform, train_transform

HALF = (0.5, 0.5, 0.5)


def spec(side: int = 224, crop: float = 0.875, interpolation: str = "bicubic", *, squash: bool = False) -> ImageSpec:
    return ImageSpec((side, side), HALF, HALF, interpolation, crop, squash)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def as_torchvision_does(image: Image.Image, how: ImageSpec) -> np.ndarray:
    """Resize the whole image, then crop."""
    mode = v2.InterpolationMode(how.interpolation)
    side = int(how.size[0] / how.crop_fraction)
    resized = v2.Resize([side, side] if how.squash else side, interpolation=mode, antialias=True)(image)
    return np.asarray(v2.CenterCrop(list(how.size))(resized)).transpose(2, 0, 1)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (31, 17), (224, 224), (1, 1), (3000, 90), (90, 3000)])
@pytest.mark.parametrize("how", [spec(), spec(32, 0.9, "bilinear"), spec(squash=True)])
def test_ordinary_images_are_as_ever_to_the_bit(size, how):
    image = noise(*size)
    np.testing.assert_array_equal(plain_transform(how)(image), as_torchvision_does(image, how))


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000), (60_000, 2), (3, 30_000)])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
def test_long_images_are_cropped_before_they_are_enlarged(size, interpolation, monkeypatch):
    sizes = []
    resize = Image.Image.resize

    def counted(self, size, *given, **more):
        sizes.append(size[0] * size[1])
        return resize(self, size, *given, **more)

    monkeypatch.setattr(Image.Image, "resize", counted)
    for how in (spec(interpolation=interpolation), spec(384, 1.0, interpolation)):
        assert plain_transform(how)(noise(*size)).shape == (3, *how.size)
    for strength in ("light", "standard"):
        assert train_transform(spec(), strength)(noise(*size)).shape == (3, 224, 224)
    assert max(sizes) <= MOST_PIXELS


@pytest.mark.parametrize("size", [(2000, 1), (1, 2000), (4000, 3), (3, 4000)])
def test_the_crop_of_a_long_image_is_that_of_the_whole(size, monkeypatch):
    """Smooth pictures, so that only rounding may differ."""
    from thermocline.inputs.image import transforms

    monkeypatch.setattr(transforms, "MOST_PIXELS", 1)
    monkeypatch.setattr(transforms, "TIMES_CROP", 1)
    waves = 127 + 120 * np.sin(np.arange(size[0] * size[1] * 3).reshape(size[1], size[0], 3) / 50)
    image = Image.fromarray(waves.astype(np.uint8))
    got = plain_transform.__wrapped__(spec(32))(image)
    assert np.abs(got.astype(int) - as_torchvision_does(image, spec(32))).max() <= 2


# -- too many pixels -------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def test_a_bomb_is_a_named_fault(tmp_path: Path):
    (tmp_path / "bomb.png").write_bytes(png_header(60_000, 60_000))
    frame = pd.DataFrame({"img": ["bomb.png"]})
    fault = unreadable_rows(frame, [Column("img", "image")], tmp_path, decode=True)[0]
    assert "column 'img': bomb.png: it has more than 178,956,970 pixels, the most that are decoded" in fault
    assert "make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it" in fault
    with pytest.raises(OSError, match="more than 178,956,970 pixels"):
        image_size("bomb.png", tmp_path)


def test_a_large_image_is_named_once(tmp_path: Path, monkeypatch):
    noise(40, 30).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    tell_large.cache_clear()
    with pytest.warns(ThermoclineWarning) as caught:
        assert open_image("large.png", tmp_path).size == (40, 30)
    assert [str(one.message) for one in caught] == [
        "An image (large.png) has 40 × 30 pixels: it takes 0 MB each time it is decoded. Make it smaller, or raise "
        "PIL.Image.MAX_IMAGE_PIXELS (1,000) to be told no more."
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_image("large.png", tmp_path)
        assert image_size("large.png", tmp_path) == (30, 40)
        buffer = io.BytesIO()
        noise(20, 20).save(buffer, "PNG")
        open_image(buffer.getvalue())


def test_the_filters_of_warnings_are_left_alone(tmp_path: Path):
    noise(4, 3).save(tmp_path / "a.png")
    before = list(warnings.filters)
    open_image("a.png", tmp_path)
    assert list(warnings.filters) == before
