"""Image sizes come from headers, and are those of the picture as it is decoded."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from thermocline.errors import ImageReadError
from thermocline.inputs.image.files import open_image
from thermocline.inputs.image.header_size import image_size, image_sizes


def encoded(form, turn=None, size=(40, 24)):
    exif = Image.Exif()
    if turn is not None:
        exif[0x0112] = turn
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(buffer, form, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", [None, 1, 2, 3, 4, 5, 6, 7, 8])
def test_the_header_says_what_decoding_gives(form, turn):
    value = encoded(form, turn)
    width, height = open_image(value).size
    assert image_size(value) == (height, width)


@pytest.mark.parametrize("form", ["BMP", "GIF"])
def test_formats_without_exif(form):
    buffer = io.BytesIO()
    Image.new("L", (7, 5)).save(buffer, form)
    assert image_size(buffer.getvalue()) == (5, 7)


def test_pil_images_and_paths(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded("JPEG", 6))
    assert image_size("a.jpg", tmp_path) == (40, 24)
    assert image_size(tmp_path / "a.jpg") == (40, 24)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image_size(image) == (40, 24)


def test_nothing_is_decoded():
    """A file that ends after its header has a size."""
    assert image_size(encoded("PNG", size=(400, 240))[:200]) == (240, 400)


def test_exif_data_behind_the_pixels_of_a_png():
    """Where some tools put them."""
    plain, turned = encoded("PNG"), encoded("PNG", 6)
    start = turned.index(b"eXIf") - 4
    chunk = turned[start : start + 12 + int.from_bytes(turned[start : start + 4], "big")]
    end = plain.index(b"IEND") - 4
    late = plain[:end] + chunk + plain[end:]
    assert open_image(late).size == (24, 40)
    assert image_size(late) == (40, 24)


def test_every_unreadable_row_is_named(tmp_path):
    (tmp_path / "good.png").write_bytes(encoded("PNG"))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    cells = ["good.png", "gone.png", "bad.png", None, 3.5]
    with pytest.raises(ImageReadError) as caught:
        image_sizes(cells, pd.Index(list("abcde")), tmp_path, where="valid: column 'pic'")
    message = str(caught.value)
    assert "valid: column 'pic': 4 of 5 images" in message
    assert "row 1 (index 'b'): gone.png: no such file" in message
    assert "row 2 (index 'c'): bad.png: no image that Pillow opens" in message
    assert "row 3 (index 'd'): NoneType: no image and 1 more" in message
    assert f"Relative paths start at '{tmp_path}'" in message


def test_sizes_are_rows_of_height_and_width(tmp_path):
    sizes = image_sizes([encoded("PNG")] * 2, pd.RangeIndex(2), None, where="x")
    np.testing.assert_array_equal(sizes, [[24, 40]] * 2)
