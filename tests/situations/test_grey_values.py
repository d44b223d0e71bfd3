"""Values of more than 8 bits have one range a column: what is white does not depend on the picture, or on the data."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from support.shapes import options, save_detector, write_shapes
from thermocline import Predictor
from thermocline.data.columns import Column
from thermocline.errors import ThermoclineWarning
from thermocline.inputs.image.files import open_image
from thermocline.inputs.image.grey_range import SAMPLE, grey_range
from thermocline.inputs.image.processor import ImageProcessor
from thermocline.inputs.image.spec import ImageSpec

SPEC = ImageSpec((8, 8), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def greys(*values: float, kind: type = np.float32) -> np.ndarray:
    """A picture of 8 × 8 in which these values take turns."""
    return np.resize(np.array(values, dtype=kind), (8, 8))


def read(image: object, grey: tuple[float, float] | None) -> list[int]:
    return sorted(np.unique(np.asarray(open_image(image, None, grey))).tolist())


# -- the rule --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        ([greys(0, 0.5, 1.0)], (0, 1)),
        ([greys(0.1, 0.9), greys(0, 0.3)], (0, 1)),
        ([greys(0, 1.01)], (0, 2)),
        ([greys(-0.99, 0.98)], (-1, 1)),
        ([greys(0, 3000, kind=np.uint16), greys(0, 50, kind=np.uint16)], (0, 4095)),  # 12 bits
        ([greys(0, 255, kind=np.int32)], (0, 255)),
        ([greys(0, 256, kind=np.int32)], (0, 511)),
        ([greys(0, 40_000, kind=np.uint16)], (0, 65_535)),
        ([greys(-1000, 3000, kind=np.int16)], (-1024, 4095)),
        ([greys(290.5, 310.0)], (290.5, 310.0)),  # degrees: 0 to 512 would leave ten greys
        ([greys(0.0, 255.0)], (0, 255)),  # whole numbers as floats
        ([greys(0, np.nan, 5.5, np.inf)], (0, 8)),
        ([greys(0.0)], (0, 1)),
        ([greys(7, kind=np.int64)], (0, 7)),
    ],
)
def test_the_range_of_a_column(pictures, expected):
    assert grey_range(pictures) == expected
    if pictures[0].dtype in (np.float32, np.int32):  # what Pillow holds
        assert grey_range([Image.fromarray(one) for one in pictures]) == expected


def test_pictures_of_8_bits_have_none():
    assert grey_range([greys(0, 200, kind=np.uint8), Image.new("RGB", (8, 8)), Image.new("P", (8, 8)), None]) is None
    assert grey_range([None, "not-there.png", b"broken"]) is None
    assert grey_range([]) is None


def test_the_range_is_of_pictures_spread_over_all_rows():
    rows = [greys(0, 10, kind=np.uint16)] * (3 * SAMPLE) + [greys(0, 900, kind=np.uint16)] * 3
    assert grey_range(rows) == (0, 1023)


@pytest.mark.parametrize(("kind", "top"), [(np.float32, 1.0), (np.uint16, 4095), (np.int32, 255)])
def test_a_dark_picture_stays_dark(kind, top):
    """Alone, or beside others; once its own maximum was white, or all of it two greys."""
    bright = greys(0, top / 2, top, kind=kind)
    dark = greys(0, top / 4, kind=kind)
    grey = grey_range([bright, dark])
    assert read(bright, grey) == [0, 128 if kind == np.float32 else 127, 255]
    assert read(dark, grey)[-1] in (63, 64)
    assert read(greys(-top, 3 * top, kind=np.float64), grey) == [0, 255]  # cut


def test_files_of_12_bits_and_of_floats(tmp_path: Path):
    Image.fromarray(greys(0, 1000, 4000, kind=np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(greys(0, 0.25, 1.0)).save(tmp_path / "a.tif")
    assert grey_range(["a.png"], tmp_path) == (0, 4095)
    assert grey_range(["a.tif"], tmp_path) == (0, 1)
    assert read(tmp_path / "a.tif", (0.0, 1.0)) == [0, 64, 255]


def test_without_a_range_the_type_decides():
    """A column whose training pictures had 8 bits, such as those of a service that sends lists of numbers."""
    assert read(greys(0, 100, 200, kind=np.int64), None) == [0, 100, 200]
    assert read(greys(0, 100, 200, kind=np.int64).tolist(), None) == [0, 100, 200]
    assert read(greys(0, 65_535, kind=np.uint16), None) == [0, 255]
    assert read(greys(0, 1.0), None) == [0, 255]


# -- other data ------------------------------------------------------------------------------------


def told(processor: ImageProcessor, *cells: object) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        processor.compare(pd.DataFrame({"scan": pd.Series(cells, dtype=object)}), None)
    return [str(one.message) for one in caught]


def test_pictures_outside_of_the_range_are_told():
    processor = ImageProcessor([Column("scan", "image")], SPEC, [(0.0, 4095.0)])
    inside = greys(0, 4095, kind=np.uint16)
    assert told(processor, inside, None, Image.new("L", (8, 8), 255)) == []
    (message,) = told(processor, inside, greys(0, 9000, kind=np.uint16), greys(-5, 7))
    assert "Column 'scan': 2 of 3 images looked at hold values (-5 to 9000) outside of 0 to 4095" in message
    assert "the range found in training images; they are cut to it" in message
    (message,) = told(processor, greys(0, 5000, kind=np.uint16))
    assert "1 of 1 image looked at holds values (0 to 5000)" in message


def test_deep_pictures_after_training_on_8_bits_are_told():
    processor = ImageProcessor([Column("scan", "image")], SPEC)
    assert told(processor, greys(0, 255, kind=np.int64), greys(0, 9, kind=np.uint8)) == []
    (message,) = told(processor, greys(0, 4000, kind=np.uint16))
    assert "of more than the 8 bits that training images had; 0 to 65535 are read as 0 to 255" in message
    assert "0 to 255" in told(processor, greys(0, 300, kind=np.int64))[0]


def test_the_range_is_stored():
    processor = ImageProcessor([Column("a", "image"), Column("b", "image")], SPEC, [(0.0, 4095.0), None])
    assert ImageProcessor.from_dict(processor.to_dict()).ranges == ((0.0, 4095.0), None)
    older = {key: value for key, value in processor.to_dict().items() if key != "ranges"}
    assert ImageProcessor.from_dict(older).ranges == (None, None)


def test_rows_of_another_range_are_other_rows():
    frame = pd.DataFrame({"a": pd.Series([greys(0, 9, kind=np.uint16)], dtype=object)})
    rows = ImageProcessor([Column("a", "image")], SPEC, [(0.0, 15.0)]).rows(frame, None)
    other = replace(rows, ranges=((0.0, 31.0),))
    assert b"".join(rows.identity(files=True)) != b"".join(other.identity(files=True))
    assert rows.batch(np.array([0]))["pixels"].max() == 153


# -- a fit -----------------------------------------------------------------------------------------


def test_a_predictor_keeps_the_range_of_training(tmp_path: Path, image_folder: Path, tiny: dict[str, object]):
    """A dark picture predicted alone means what it meant among others, after loading too."""
    rng = np.random.default_rng(0)
    level = np.array([300, 3500] * 8)
    cells = [rng.integers(0, top, (8, 8)).astype(np.uint16) for top in level]
    for row, cell in enumerate(cells):
        Image.fromarray(cell).save(tmp_path / f"{row}.png")
    frame = pd.DataFrame({"scan": [str(tmp_path / f"{row}.png") for row in range(16)], "y": level > 1000})
    options = {**tiny, "optim.max_epochs": 1, "model.image.checkpoint": str(image_folder), "model.image.size": 32}
    fitted = Predictor("y", path=tmp_path / "model", verbosity=0).fit(frame, hyperparameters=options)
    loaded = Predictor.load(tmp_path / "model", verbosity=0)
    every = fitted.embed(frame)
    np.testing.assert_array_equal(loaded.embed(frame), every)
    np.testing.assert_allclose(loaded.embed(frame[:1]), every[:1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(loaded.embed(frame.assign(scan=cells)), every)
    Image.fromarray(np.full((8, 8), 60_000, np.uint16)).save(tmp_path / "0.png")
    with pytest.warns(ThermoclineWarning, match=r"1 of 16 images .* \(60000 to 60000\) outside of 0 to 4095"):
        loaded.predict(frame)


def test_a_detector_keeps_the_range_of_training(tmp_path: Path):
    frame = write_shapes(tmp_path / "shapes", rows=6)
    for name in frame["file"]:
        with Image.open(tmp_path / "shapes" / name) as image:
            deep = np.asarray(image.convert("L"), dtype=np.uint16) * 30
        Image.fromarray(deep).save(tmp_path / "shapes" / name)
    files = [tmp_path / "shapes" / name for name in frame["file"]]
    frame = frame.assign(file=list(map(str, files)))
    given = options(save_detector(tmp_path / "rt-detr"), tmp_path / "shapes", **{"optim.max_epochs": 1})
    predictor = Predictor("rois", "object_detection", path=tmp_path / "model", verbosity=0)
    predictor.fit(frame[2:], frame[:2], hyperparameters=given)
    loaded = Predictor.load(tmp_path / "model", verbosity=0)
    assert loaded._fitted().model.detector.spec.grey == (0.0, 4095.0)
    assert loaded.predict(frame).tolist() == predictor.predict(frame).tolist()
    for data in (tmp_path / "shapes", str(tmp_path / "shapes" / "*.png"), files):
        assert loaded.predict(data).tolist() == loaded.predict(frame).tolist()
    bright = pd.DataFrame({"file": [np.full((72, 96), 60_000, np.uint16)]}, dtype=object)
    with pytest.warns(ThermoclineWarning, match="outside of 0 to 4095"):
        loaded.predict(bright)
