"""Images: read whatever file it is, resized as the backbone was evaluated, varied only by (seed, epoch, row)."""

import contextlib
import io
import json
import random
import struct
import warnings
import zlib

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from thermocline.data.batches import Rows
from thermocline.data.columns import Column
from thermocline.data.loading import load
from thermocline.errors import ImageReadError
from thermocline.inputs.image.files import decoded_size, find_image, is_missing, open_image, unreadable_rows
from thermocline.inputs.image.grey_range import grey_range
from thermocline.inputs.image.processor import ImageProcessor
from thermocline.inputs.image.spec import ImageSpec
from thermocline.inputs.image.transforms import plain_transform, train_transform

SPEC = ImageSpec((32, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def natural(size=(80, 60), seed=0):
    """A smooth picture with edges, as photographs have."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8))
    picture = np.asarray(small.resize(size, Image.Resampling.BICUBIC)).copy()
    picture[10:25, 15:40] = rng.integers(0, 255, 3)
    return Image.fromarray(picture)


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixel(value, folder=None):
    return np.asarray(open_image(value, folder))[0, 0].tolist()


# reading


def test_path_bytes_and_pil_are_the_same_picture(tmp_path):
    image = natural()
    image.save(tmp_path / "a.png")
    ways = [image, encoded(image), bytearray(encoded(image)), str(tmp_path / "a.png"), tmp_path / "a.png"]
    for way in ways:
        np.testing.assert_array_equal(np.asarray(open_image(way)), np.asarray(image))


def test_exif_rotation_is_undone():
    image = natural((80, 60))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    turned = open_image(encoded(image, "PNG", exif=exif))
    assert turned.size == (60, 80)
    np.testing.assert_array_equal(np.asarray(turned), np.asarray(image.transpose(Image.Transpose.ROTATE_270)))


def test_transparency_lies_over_white():
    assert pixel(Image.new("RGBA", (2, 2), (10, 20, 30, 0))) == [255, 255, 255]
    assert pixel(Image.new("RGBA", (2, 2), (0, 0, 0, 128))) == [127, 127, 127]
    assert pixel(Image.new("LA", (2, 2), (0, 0))) == [255, 255, 255]


def test_palettes_with_and_without_transparency():
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 200, 10, 20] + [0] * 762)
    assert pixel(encoded(palette)) == [200, 10, 20]
    assert pixel(encoded(palette, transparency=1)) == [255, 255, 255]
    assert pixel(encoded(palette, transparency=0)) == [200, 10, 20]
    assert pixel(encoded(palette, "GIF", transparency=1)) == [255, 255, 255]


def test_a_transparent_colour_of_an_rgb_file():
    assert pixel(encoded(Image.new("RGB", (2, 2), (1, 2, 3)), transparency=(1, 2, 3))) == [255, 255, 255]


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr", "HSV"])
def test_other_modes_become_rgb(mode):
    image = open_image(natural().convert(mode))
    assert image.mode == "RGB"


def test_sixteen_bit_greys_are_scaled_not_clipped():
    deep = Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16))
    grey = np.asarray(open_image(encoded(deep)))[0, :, 0]
    assert grey.tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 100, 255], [0, 100, 255]), ([-16.0, 0.0, 15.0], [0, 132, 255]), ([0.5, 2.0, 4.0], [32, 128, 255])],
)
def test_float_and_32_bit_greys(values, expected):
    array = np.array([values])
    image = Image.fromarray(array.astype(np.float32 if array.dtype.kind == "f" else np.int32))
    assert np.asarray(open_image(image, None, grey_range([image])))[0, :, 0].tolist() == expected


def test_float_greys_with_holes_are_read():
    image = Image.fromarray(np.array([[0.0, np.nan, 300.0, np.inf]], dtype=np.float32))
    assert np.asarray(open_image(image)).shape == (1, 4, 3)


def test_the_callers_picture_is_left_alone():
    image = Image.new("RGBA", (4, 4), (1, 2, 3, 4))
    open_image(image)
    assert image.mode == "RGBA"
    assert image.getpixel((0, 0)) == (1, 2, 3, 4)


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_what_is_no_image_is_an_os_error(data, tmp_path):
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(OSError):
        open_image(data)
    with pytest.raises(OSError):
        open_image(tmp_path / "x.png")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_damaged_files_give_os_errors_only(form):
    """Cut anywhere or with flipped bytes, a file is readable or an OSError: nothing else comes through."""
    whole = encoded(natural(), form)
    rng = random.Random(form)
    for _ in range(25):
        data = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.5 else whole)
        for _ in range(rng.choice([0, 1, 5])):
            if data:
                data[rng.randrange(min(len(data), 200))] = rng.randrange(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(OSError):
                open_image(bytes(data))


def test_a_decompression_bomb_is_an_os_error():
    """A file of a few bytes that claims to be 60,000 pixels a side."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with pytest.raises(OSError):
        open_image(b"\x89PNG\r\n\x1a\n" + chunk)


def test_relative_paths_start_at_the_folder_and_nowhere_else(tmp_path, monkeypatch):
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "a.png").write_bytes(encoded(natural()))
    assert find_image("a.png", tmp_path / "pics") == tmp_path / "pics" / "a.png"
    assert find_image(str(tmp_path / "a.png"), tmp_path / "pics") == tmp_path / "a.png"
    monkeypatch.chdir(tmp_path)
    assert open_image("pics/a.png").size == (80, 60)
    with pytest.raises(FileNotFoundError):
        open_image("pics/a.png", tmp_path / "elsewhere")


@pytest.mark.parametrize("cell", [None, np.nan, pd.NA, "", "  "])
def test_missing_cells(cell):
    assert is_missing(cell)


@pytest.mark.parametrize("cell", ["a.png", b"", Image.new("RGB", (1, 1))])
def test_present_cells(cell):
    assert not is_missing(cell)


def test_unreadable_rows_say_where_and_why(tmp_path):
    (tmp_path / "good.png").write_bytes(encoded(natural()))
    (tmp_path / "bad.png").write_bytes(encoded(natural())[:200])
    frame = pd.DataFrame({"pic": ["good.png", "bad.png", "gone.png", None, 3.5]})
    column = [Column("pic", "image", form="path")]
    decoded = unreadable_rows(frame, column, tmp_path, decode=True)
    assert set(decoded) == {1, 2, 4}
    assert "bad.png" in decoded[1]
    assert "no such file" in decoded[2]
    assert set(unreadable_rows(frame, column, tmp_path, decode=False)) >= {2}


# preprocessing


@pytest.mark.parametrize(
    "config",
    [
        {"input_size": (3, 64, 64), "crop_pct": 0.875, "interpolation": "bicubic"},
        {"input_size": (3, 64, 64), "crop_pct": 0.95, "interpolation": "bilinear"},
        {"input_size": (3, 48, 48), "crop_pct": 1.0, "interpolation": "bicubic"},
        {"input_size": (3, 48, 48), "crop_pct": 1.0, "interpolation": "bicubic", "crop_mode": "squash"},
        {"input_size": (3, 48, 48), "crop_pct": 0.9, "interpolation": "bicubic", "crop_mode": "squash"},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(80, 60), (33, 90), (300, 200)])
def test_the_same_as_timms_own_evaluation_transform(config, size):
    from timm.data import create_transform

    image = natural(size)
    theirs = create_transform(**config, mean=(0, 0, 0), std=(1, 1, 1), is_training=False)(image) * 255
    side = config["input_size"][1]
    spec = ImageSpec(
        (side, side),
        (0.5,) * 3,
        (0.5,) * 3,
        config["interpolation"],
        config["crop_pct"],
        config.get("crop_mode") == "squash",
    )
    ours = plain_transform(spec)(image)
    assert ours.dtype == np.uint8
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1.01)


def test_rectangular_sizes():
    spec = ImageSpec((48, 32), (0.5,) * 3, (0.5,) * 3, squash=True)
    assert plain_transform(spec)(natural()).shape == (3, 48, 32)
    assert train_transform(spec, "standard")(natural()).shape == (3, 48, 32)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2000, 3)])
@pytest.mark.parametrize("strength", [None, "light", "standard"])
def test_odd_sizes_come_out_right(size, strength):
    image = Image.new("RGB", size, (200, 100, 50))
    transform = plain_transform(SPEC) if strength is None else train_transform(SPEC, strength)
    assert transform(image).shape == (3, 32, 32)


def test_the_spec_survives_json():
    spec = ImageSpec((64, 48), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear", 0.875, True)
    assert ImageSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


# rows


def rows_of(n=6, *, augment="standard", seed=0):
    frame = pd.DataFrame({"pic": [encoded(natural(seed=i)) for i in range(n)]})
    return ImageProcessor([Column("pic", "image", form="bytes")], SPEC).rows(frame, None, augment=augment, seed=seed)


def test_several_columns_each_have_a_place_and_missing_ones_are_zeros():
    frame = pd.DataFrame({"front": [natural(seed=1), None], "back": [None, natural(seed=2)]})
    columns = [Column("front", "image", form="pil"), Column("back", "image", form="pil")]
    batch = ImageProcessor(columns, SPEC).rows(frame, None).batch(np.array([1, 0]))
    assert batch["pixels"].shape == (2, 2, 3, 32, 32)
    assert batch["present"].tolist() == [[False, True], [True, False]]
    assert not batch["pixels"][~batch["present"]].any()
    assert batch["pixels"][batch["present"]].any()


@pytest.mark.parametrize("strength", ["light", "standard"])
def test_augmentation_is_a_function_of_seed_epoch_and_row(strength):
    rows = rows_of(augment=strength)
    torch.manual_seed(1)
    one = rows.batch(np.array([0, 3, 5]), 2)["pixels"]
    torch.manual_seed(2)
    random.seed(9)
    two = rows.batch(np.array([5, 4, 3]), 2)["pixels"]
    np.testing.assert_array_equal(one[2], two[0])
    np.testing.assert_array_equal(one[1], two[2])
    assert (rows.batch(np.array([3]), 3)["pixels"][0] != one[1]).any()
    assert (rows_of(augment=strength, seed=1).batch(np.array([3]), 2)["pixels"][0] != one[1]).any()


def test_augmentation_leaves_the_global_generators_alone():
    rows = rows_of()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    rows.batch(np.arange(6), 0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    assert before[2] == random.getstate()


def test_workers_change_nothing():
    rows = Rows({"image": rows_of()})
    plan = [(np.array([0, 3]), 1), (np.array([5, 1]), 1), (np.array([2]), None)]
    here = list(load(rows, plan))
    there = list(load(rows, plan, num_workers=1))
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a["image"]["pixels"], b["image"]["pixels"])
        assert torch.equal(a["rows"], b["rows"])


def test_no_augmentation_outside_training_or_where_none_is_wanted():
    plain = rows_of(augment=None).batch(np.arange(3))["pixels"]
    np.testing.assert_array_equal(rows_of().batch(np.arange(3), None)["pixels"], plain)
    np.testing.assert_array_equal(rows_of(augment="none").batch(np.arange(3), 1)["pixels"], plain)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "ICO"])
def test_the_head_of_a_file_tells_the_decoded_size(form, tmp_path):
    data = encoded(natural((48, 32)).resize((32, 48) if form != "ICO" else (32, 32)), form)
    (tmp_path / "picture").write_bytes(data)
    pixels = np.asarray(open_image(data)).size
    assert decoded_size(data, None) == decoded_size("picture", tmp_path) == pixels


def test_a_head_that_tells_nothing_counts_nothing():
    assert decoded_size(b"broken", None) == decoded_size("gone.png", None) == decoded_size(natural(), None) == 0


def test_absent_files_are_named_before_anything_is_decoded(tmp_path):
    frame = pd.DataFrame({"pic": ["gone.png", "lost.png"]}, index=["r1", "r2"])
    with pytest.raises(ImageReadError, match=r"2 of 2 rows.*row r1.*gone\.png"):
        ImageProcessor([Column("pic", "image", form="path")], SPEC).rows(frame, tmp_path)


def test_a_file_that_breaks_later_names_its_row(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(natural()))
    frame = pd.DataFrame({"pic": ["a.png"]})
    rows = ImageProcessor([Column("pic", "image", form="path")], SPEC).rows(frame, tmp_path)
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(ImageReadError, match=r"row 0.*a\.png"):
        rows.batch(np.array([0]))


def test_processor_json_round_trip():
    processor = ImageProcessor([Column("pic", "image", "why", 0, "bytes")], SPEC)
    again = ImageProcessor.from_dict(json.loads(json.dumps(processor.to_dict())))
    assert again.columns == processor.columns
    assert again.spec == SPEC
