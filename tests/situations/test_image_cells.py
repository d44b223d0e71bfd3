"""An image is an image however it is brought: by any format of Pillow, as bytes, text, arrays; or an error says how."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from support.tiny import told
from thermocline.contracts.labelled import Labelled
from thermocline.contracts.request import Request
from thermocline.data.columns import Column, infer_columns
from thermocline.data.frames import read_frame
from thermocline.errors import ColumnTypeError
from thermocline.inputs.image.cell_identity import cell_contents, cell_names
from thermocline.inputs.image.files import open_image, unreadable_rows
from thermocline.inputs.image.header_size import image_size
from thermocline.inputs.labelled_frames import feature_columns

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)


def encoded(form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, form)
    return buffer.getvalue()


PNG = encoded()
TEXT = base64.b64encode(PNG).decode()
WAYS: dict[str, object] = {
    "bytes": PNG,
    "view": memoryview(PNG),
    "base64": TEXT,
    "base64 in lines": base64.encodebytes(PNG).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(PNG).decode().rstrip("="),
    "data URL": f"data:image/png;base64,{TEXT}",
    "data URL of bytes": f"data:;base64,{TEXT}",
    "array": PIXELS,
    "lists": PIXELS.tolist(),
    "arrays of arrays": np.array([[*map(np.array, row)] for row in PIXELS.tolist()] + [None], dtype=object)[:-1],
    "dict of bytes": {"bytes": PNG, "path": "not-there.png"},
    "list of one": [PNG],
    "PIL": Image.fromarray(PIXELS),
}


def judged(values: list[object], **given: str) -> tuple[str, str, str]:
    column = infer_columns(pd.DataFrame({"img": pd.Series(values, dtype=object)}), column_types=given or None)["img"]
    return column.kind, column.form, column.reason


def fit_message(values: list[object], **given: str) -> str:
    frame = pd.DataFrame({"img": pd.Series(values, dtype=object), "y": ["a", "b"] * (len(values) // 2)})
    request = Request(frame, "y", column_types=given or None)
    return told(ColumnTypeError, TypeError, lambda: feature_columns(Labelled(frame), request))


def fault(cell: object) -> str:
    """What is wrong with the image of a row."""
    frame = pd.DataFrame({"img": pd.Series([cell], dtype=object)})
    return unreadable_rows(frame, [Column("img", "image")], None, decode=True)[0]


# -- what is read ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_judged_and_gives_the_same_picture(way):
    cell = WAYS[way]
    assert judged([cell, "a.png", None])[0] == "image"
    np.testing.assert_array_equal(np.asarray(open_image(cell)), PIXELS)
    assert image_size(cell) == (9, 12)


def test_paths_in_dicts_and_file_addresses(tmp_path: Path):
    (tmp_path / "a b.png").write_bytes(PNG)
    for cell in ({"bytes": None, "path": "a b.png"}, {"path": "a b.png"}, (tmp_path / "a b.png").as_uri()):
        np.testing.assert_array_equal(np.asarray(open_image(cell, tmp_path)), PIXELS)
    assert judged([{"bytes": None, "path": "a.png"}, {"bytes": None, "path": None}, {"bytes": PNG, "path": None}]) == (
        "image",
        "record",
        "2 of 2 values are dicts of an image's bytes or path",
    )


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "PPM", "pgm", "tga", "jp2", "ico", "psd", "qoi", "dds", "avif"])
def test_names_of_every_format_that_pillow_opens(suffix):
    assert judged([f"cats/1.{suffix}", f"dogs/2.{suffix}"])[:2] == ("image", "path")


def test_formats_without_a_beginning_of_their_own(tmp_path: Path):
    """Of TGA files only the header shows what they are."""
    cells = [encoded("TGA")] * 3
    assert judged(cells)[:2] == ("image", "bytes")
    assert judged([b"plain bytes, no picture"] * 3)[0] == "null"


@pytest.mark.parametrize("shape", [(9, 12), (9, 12, 1), (9, 12, 2), (9, 12, 3), (9, 12, 4)])
def test_arrays_of_every_shape(shape):
    array = np.full(shape, 200, dtype=np.uint8)
    if shape[2:] in ((2,), (4,)):
        array[..., -1] = 255
    assert judged([array, array])[:2] == ("image", "array")
    assert np.asarray(open_image(array)).tolist() == np.full((9, 12, 3), 200).tolist()
    assert open_image(np.ones((9, 12), dtype=bool)).getpixel((0, 0)) == (255, 255, 255)


def test_a_block_of_pictures_is_a_column_and_a_dict_with_a_picture_is_a_row():
    frame, _ = read_frame({"img": np.stack([PIXELS] * 3), "y": [1, 2, 3]})
    assert [cell.shape for cell in frame["img"]] == [PIXELS.shape] * 3
    for cell in (WAYS["PIL"], WAYS["dict of bytes"], PNG):
        frame, _ = read_frame({"img": cell, "y": 1})
        assert len(frame) == 1
        np.testing.assert_array_equal(np.asarray(open_image(frame["img"][0])), PIXELS)


# -- what is no image ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        ["example.ps", "other.ps", "third.ps"],  # domains
        ["anna@mail.im", "ben@mail.im", "eva@post.bw"],
        ["notes.txt", "more.txt", "paper.pdf"],
        ["I saw it. The end.", "See chapter two.", "Read on.It goes on."],
        ["https://a.org/page", "https://b.org/page?id=5", "https://c.im/"],
        ["a" * 64, "b" * 64, "0f" * 32],  # hashes
        ["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" * 2, "eyJzdWIiOiIxMjM0NTY3ODkwIn0" * 3],
        ["data: none", "data: some", "data:text/plain,hello"],
        ["a.png", "b", "c", "d.png"],
    ],
)
def test_texts_that_are_no_images(values):
    assert judged(values)[0] in ("categorical", "text")


@pytest.mark.parametrize(
    "value",
    [np.zeros((5, 4)), np.zeros((17, 3)), np.zeros(30), [[1, 2], [3]], [["a"], ["b"]], {"bytes": PNG, "id": 3}, {}],
)
def test_objects_that_are_no_images(value):
    assert judged([value, value])[0] == "null"
    assert judged([value, value])[1] == ""


# -- images that cannot be read as they are --------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/{}.jpg",
        "http://example.org/{}.png?size=large#top",
        "https://example.org/media/{}?format=jpg&name=small",
        "s3://bucket/{}.webp",
        "gs://bucket/{}.tif",
        "hf://datasets/a/b/{}.jp2",
    ],
)
def test_addresses_of_images_are_an_error_before_training(address):
    values = [address.format(n) for n in range(6)]
    message = fit_message(values)
    assert "Column 'img' of train_data: 6 of 6 values are addresses of images" in message
    assert "download them, and put the paths of the files into the column" in message
    assert "column_types={'img': 'null'}" in message
    assert "which are not fetched" in fit_message(values, img="image")
    assert judged(values, img="categorical")[0] == "categorical"


def test_an_address_among_paths(tmp_path: Path):
    with pytest.raises(OSError, match="an address, which is not fetched: download the file, and give its path"):
        open_image("https://example.org/1.png", tmp_path)
    assert judged([f"{n}.png" for n in range(39)] + ["https://example.org/1.png"])[0] == "image"
    assert "10 of 40 values are addresses" in fit_message(
        [f"{n}.png" for n in range(30)] + [f"https://example.org/{n}.png" for n in range(10)]
    )


@pytest.mark.parametrize(
    "cell",
    [
        ["1.png", "2.png"],
        "1.png;2.png",
        "['1.png', '2.png']",
        '["1.png", "2.png"]',
        [PIXELS, PIXELS],
        [PIXELS[..., 0]] * 2,
        [PNG, PNG],
    ],
)
def test_lists_of_images_say_how_to_bring_them(cell):
    message = fit_message([cell, cell, "3.png", cell])
    assert "3 of 4 values hold several images each" in message
    assert "make one column of images of each, with None where a row has fewer" in message


def test_formats_that_pillow_does_not_open():
    message = fit_message(["1.HEIC", "2.heic", "3.svg", "4.dcm"])
    assert "4 of 4 values are names of image files that Pillow does not open, such as '1.HEIC'" in message
    assert "convert them, for instance to PNG" in message


def test_arrays_with_channels_first():
    message = fault(np.zeros((3, 9, 12), dtype=np.uint8))
    assert "an array of shape (3, 9, 12), not height × width" in message
    assert "array.transpose(1, 2, 0)" in message


def test_blanks_beside_a_name_are_shown():
    assert judged(["a.png ", "b.png "])[0] == "image"
    assert fault("a.png ") == "column 'img': 'a.png ': no such file"
    assert fault(b"not a picture").endswith("bytes: no image that Pillow opens")


def test_messages_do_not_print_pictures():
    for broken in (f"data:image/png;base64,{TEXT[:61]}", f"data:image/png;base64,{TEXT[:200]}", TEXT[:201]):
        message = fault(broken)
        assert "column 'img': text that holds an image, " in message
        assert TEXT[:60] not in message
    assert len(fault("x" * 10_000)) < 500


# -- identity --------------------------------------------------------------------------------------


def palette_image(colours: list[int], transparent: int | None = None) -> Image.Image:
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) % 2).convert("P")
    image.putdata(list(np.arange(12) % 2))
    image.putpalette(colours)
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


PAIRS = {
    "palette": (palette_image([0, 0, 0, 255, 0, 0]), palette_image([0, 0, 0, 0, 255, 0])),
    "transparency": (palette_image([0, 0, 0, 9, 9, 9]), palette_image([0, 0, 0, 9, 9, 9], 1)),
    "size": (Image.new("L", (4, 6)), Image.new("L", (6, 4))),
    "mode": (Image.new("L", (3, 4)), Image.new("RGB", (1, 4))),
    "shape": (np.zeros((4, 6), np.uint8), np.zeros((6, 4), np.uint8)),
    "type": (np.zeros((4, 6), np.int16), np.zeros((4, 6), np.uint16)),
    "order": (np.arange(64).reshape(8, 8), np.arange(64).reshape(8, 8).T),
    "values": (PIXELS, 255 - PIXELS),
    "text": (TEXT, base64.b64encode(encoded("GIF")).decode()),
    "record": ({"bytes": PNG, "path": "a"}, {"bytes": encoded("GIF"), "path": "a"}),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_images_that_differ_have_another_identity(pair, tmp_path: Path):
    """By name, which tells runs apart, and by content, which names a cache."""
    one, other = PAIRS[pair]
    assert list(cell_names([one])) != list(cell_names([other]))
    assert list(cell_contents([one], tmp_path)) != list(cell_contents([other], tmp_path))
    assert list(cell_names([one])) == list(cell_names([one]))


def test_a_path_in_a_dict_is_told_by_what_the_file_holds(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(PNG)
    cell = {"bytes": None, "path": "a.png"}
    before = list(cell_contents([cell], tmp_path))
    assert before == list(cell_contents(["a.png"], tmp_path))
    (tmp_path / "a.png").write_bytes(encoded("GIF"))
    assert before != list(cell_contents([cell], tmp_path))


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.98])
def test_a_photo_that_is_checked_is_read_to_its_end_and_decoded_small(tmp_path, cut):
    photo = Image.effect_noise((640, 480), 60).convert("RGB")
    photo.save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: int(cut * len(content))])
    frame = pd.DataFrame({"img": ["whole.jpg", "cut.jpg"]})
    assert list(unreadable_rows(frame, [Column("img", "image")], tmp_path, decode=True)) == [1]
    assert open_image("whole.jpg", tmp_path).size == (640, 480)
    assert open_image("whole.jpg", tmp_path, reduced=True).size == (80, 60)
    with pytest.raises(OSError, match="truncated"):
        open_image("cut.jpg", tmp_path)
