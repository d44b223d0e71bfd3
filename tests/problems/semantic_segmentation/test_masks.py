"""Columns of masks: what they may hold, and what is said of what they may not."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from support.masked import TINY_SEGMENTER, picture, write_masked
from support.tiny import told
from thermocline import Predictor
from thermocline.errors import ConfigError, DataError, LabelError, ThermoclineError
from thermocline.problems.semantic_segmentation.mask_cells import read_mask
from thermocline.problems.semantic_segmentation.palette import NO_CLASS, Palette

COLORS = {"ground": [0, 0, 0], "red": [200, 0, 0], "blue": [0, 0, 200], "ignore": [255, 255, 255]}
LOOK = np.array([[0, 0, 0], [200, 0, 0], [0, 0, 200]], np.uint8)


def coloured(mask: np.ndarray) -> np.ndarray:
    pixels = np.full((*mask.shape, 3), 255, np.uint8)
    pixels[mask < 3] = LOOK[mask[mask < 3]]
    return pixels


def encoded(image: Image.Image, form: str = "PNG", **how) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


def with_palette(mask: np.ndarray) -> Image.Image:
    image = Image.fromarray(mask)
    image.putpalette([1, 2, 3] * 256)
    return image


FORMS = {
    "grey": lambda mask: encoded(Image.fromarray(mask)),
    "palette": lambda mask: encoded(with_palette(mask)),
    "pil": with_palette,
    "array": lambda mask: mask.astype(np.int64),
    "one channel": lambda mask: mask[..., None],
    "three equal channels": lambda mask: encoded(Image.fromarray(np.stack([mask] * 3, -1))),
    "16 bits": lambda mask: encoded(Image.fromarray(mask.astype(np.uint16))),
}


@pytest.mark.parametrize("form", FORMS)
def test_masks_of_numbers_come_in_many_forms(form):
    mask = picture(1)[1]
    found = read_mask(FORMS[form](mask), None, Palette())
    assert found.dtype == np.int32
    assert np.array_equal(found, np.where(mask == 255, NO_CLASS, mask.astype(int)))


def test_masks_in_colours_are_read_by_their_palette():
    mask = picture(1)[1]
    colors = tuple((name, tuple(color)) for name, color in COLORS.items())
    palette = Palette(colors=colors)
    for cell in (coloured(mask), encoded(Image.fromarray(coloured(mask)))):
        assert np.array_equal(read_mask(cell, None, palette), np.where(mask == 255, NO_CLASS, mask.astype(int)))
    assert palette.classes == ("ground", "red", "blue")


def test_no_ignored_number_where_every_number_is_a_class():
    mask = picture(1)[1]
    assert np.array_equal(read_mask(mask, None, Palette(ignore=None)), mask)


def test_a_mask_is_turned_as_its_image_is():
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    cell = encoded(Image.fromarray(mask), exif=exif)
    assert np.array_equal(read_mask(cell, None, Palette()), np.rot90(mask, -1))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("bad")


@pytest.fixture(scope="module")
def frame(place):
    frame = write_masked(place, 6)
    (place / "torn.png").write_bytes((place / "masks" / "1.png").read_bytes()[:60])
    Image.fromarray(picture(2)[1][:20]).save(place / "small.png")
    Image.fromarray(coloured(picture(2)[1])).save(place / "colours.png")
    return frame


def fails(frame, place, kind=LabelError, builtin=ValueError, tuning=None, **options) -> str:
    given = {**TINY_SEGMENTER, "data.image_folder": str(place), **options}
    predictor = Predictor("mask", "segmentation", verbosity=0)
    return told(kind, builtin, lambda: predictor.fit(frame, tuning, hyperparameters=given))


BAD = {
    "missing": (None, r"row 2: there is no mask"),
    "empty text": ("", r"row 2: there is no mask"),
    "no file": ("masks/9.png", r"row 2: .*masks/9\.png"),
    "torn": ("torn.png", r"row 2: .*torn\.png"),
    "size": ("small.png", r"row 2: .*small\.png.* has 60×20 pixels, its image .*2\.png.* 60×40"),
    "colours": ("colours.png", r"row 2: .*colours\.png.*: colours: name the class of each in data\.mask_colors"),
    "fraction": (np.full((40, 60), 0.5), r"row 2: .*values that are no whole numbers"),
    "negative": (np.full((40, 60), -3), r"row 2: .*the value -3; classes are numbers from 0"),
    "too large": (np.full((40, 60), 70_000), r"row 2: .*the value 70000"),
    "shape": (np.zeros((40, 60, 2), int), r"row 2: .*shape \(40, 60, 2\)"),
    "text array": (np.full((40, 60), "a"), r"row 2: "),
    "number": (3, r"row 2: "),
    "not finite": (np.full((40, 60), np.nan), r"row 2: .*no whole numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mask_that_cannot_be_used_is_named_with_its_row(case, frame, place):
    cell, wanted = BAD[case]
    bad = frame.copy()
    bad["mask"] = pd.Series([cell if row == 2 else name for row, name in enumerate(frame["mask"])], dtype=object)
    said = fails(bad, place)
    assert re.search(wanted, said), said
    assert "1 of 6 rows of train_data has a mask in column 'mask' that cannot be used" in said


def test_values_beyond_the_named_classes(frame, place):
    said = fails(frame, place, **{"data.mask_classes": ["ground", "red"]})
    assert re.search(
        r"3 of 6 rows .*row 1: .*1\.png.*the value 2, and data\.mask_classes names the classes 0 to 1", said
    )


def test_colours_that_are_not_in_the_palette(frame, place):
    colours = frame.assign(mask=[coloured(picture(row)[1]) for row in range(6)])
    known = {name: color for name, color in COLORS.items() if name != "blue"}
    said = fails(colours, place, **{"data.mask_colors": known})
    assert re.search(r"row 1: .*1 colour that is not in data\.mask_colors: \[0, 0, 200\]", said), said


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"data.mask_classes": ["a", "a", "b"]}, "'a' is there twice"),
        ({"data.mask_classes": ["a"], "data.mask_colors": COLORS}, "give one of both"),
        ({"data.mask_colors": {"a": [0, 0]}}, "three whole numbers from 0 to 255"),
        ({"data.mask_colors": {"a": [0, 0, 300]}}, "three whole numbers from 0 to 255"),
        ({"data.mask_colors": {"a": [0, 0, 0], "b": [0, 0, 0]}}, "'a' and 'b' have the same colour"),
        ({"data.mask_colors": {"ignore": [0, 0, 0]}}, "there is no other"),
        ({"data.mask_colors": {}}, "is empty"),
    ],
)
def test_options_of_masks_that_cannot_be(options, wanted, frame, place):
    assert wanted in fails(frame, place, ConfigError, ValueError, **options)


def test_an_image_that_is_its_own_mask(frame, place):
    said = fails(frame.assign(mask=frame["file"]), place)
    assert re.search(r"Row 0 of train_data has one file as image and as mask: '0\.png'", said)


def test_masks_without_any_class_and_with_one(frame, place):
    none = frame.assign(mask=[np.full((40, 60), 255)] * 6)
    assert "hold only 255 (data.ignore_index)" in fails(none, place)
    one = frame.assign(mask=[np.full((40, 60), 7)] * 6)
    assert "have one class, 7" in fails(one, place)


def test_a_class_that_training_has_not(frame, place):
    other = frame.iloc[:2].assign(mask=[np.full((40, 60), 5)] * 2)
    said = fails(frame.iloc[2:], place, LabelError, ValueError, tuning=other)
    assert re.search(r"2 of 2 masks of tuning_data hold a class that no training mask has: 'row 0: 5'", said), said


def test_frames_without_images_or_with_several(frame, place):
    assert "no column of images" in fails(frame[["mask"]].assign(n=1), place, DataError, ValueError)
    assert "2 columns of images" in fails(frame.assign(more=frame["file"]), place, DataError, ValueError)
    with pytest.raises(ThermoclineError, match="mask"):
        Predictor("mask", "segmentation", verbosity=0).fit(frame[["file"]], hyperparameters=TINY_SEGMENTER)
