"""The parts of `run.py` do what the package does: cells, tokens, pixels, boxes; and need nothing that it may not."""

from __future__ import annotations

import ast
import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import thermocline
from thermocline.data import values
from thermocline.data.column_values import category_codes, numbers
from thermocline.data.columns import Column
from thermocline.data.standalone_cells import Categories, cell_of, number_of, text_of
from thermocline.errors import ThermoclineError
from thermocline.export.program import PACKAGES
from thermocline.inputs.image.files import open_image
from thermocline.inputs.image.spec import ImageSpec
from thermocline.inputs.image.standalone import ImageReader, open_picture
from thermocline.inputs.image.transforms import plain_transform
from thermocline.problems.object_detection.box_spec import DetectionSpec
from thermocline.problems.object_detection.box_transforms import resized
from thermocline.problems.object_detection.rows import DetectionRows
from thermocline.problems.object_detection.standalone import DetectorReader, resized_pixels

SOURCES = sorted(Path(thermocline.__file__).parent.rglob("standalone*.py"))
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=True, allow_infinity=False),
    st.sampled_from(
        ["7", "007", " 1.50 ", "1e3", "NA", "none", "True", "false", "", "  ", "x", "2", "0", "+3", "\ud800a"]
    ),
)


def _modules(source: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {one.name.split(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module if node.module.startswith("thermocline") else node.module.split(".")[0])
    return names


@pytest.mark.parametrize("source", SOURCES, ids=lambda one: f"{one.parent.name}/{one.stem}")
def test_a_part_imports_only_what_its_program_may(source: Path) -> None:
    import sys

    allowed = set(sys.stdlib_module_names) | set(PACKAGES) | {"PIL"}
    others = {name for name in _modules(source) - allowed if "standalone" not in name}
    assert not others


def test_no_two_parts_have_a_name_in_common() -> None:
    seen: dict[str, Path] = {}
    for source in SOURCES:
        for node in ast.parse(source.read_text()).body:
            targets = [one.id for one in getattr(node, "targets", []) if isinstance(one, ast.Name)]
            for name in [*targets, *([node.name] if hasattr(node, "name") else [])]:
                assert name not in seen, f"{name} is in {seen[name]} and {source}"
                seen[name] = source


# -- cells -----------------------------------------------------------------------------------------


@given(CELLS)
def test_text_is_the_same(value: object) -> None:
    assert text_of(cell_of({"a": value}, "a")) == values.stable_text(value)


@given(CELLS, st.sampled_from(["number", "number as text"]))
def test_numbers_are_the_same(value: object, form: str) -> None:
    column = Column("a", "numeric", form=form)
    try:
        wanted = numbers(pd.Series([value], dtype=object, name="a"), column)[0]
    except ThermoclineError:
        with pytest.raises(ValueError):
            number_of(cell_of({"a": value}, "a"), form)
        return
    np.testing.assert_equal(number_of(cell_of({"a": value}, "a"), form), wanted)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("date:ISO8601", "2024-02-29"),
        ("date:ISO8601", "2024-02-29T12:30:15.5+02:00"),
        ("date:ISO8601", "2024-02-29 12:30:15Z"),
        ("date:%d.%m.%Y", "01.03.1969"),
        ("date:%m/%d/%Y %H:%M", "12/31/1999 23:59"),
        ("date", datetime.date(2020, 1, 2)),
        ("date", datetime.datetime(2020, 1, 2, 3, 4, 5, 6)),
        ("date", pd.Timestamp("2020-01-02T03:04", tz="Europe/Berlin")),
        ("date:ISO8601", "n/a"),
        ("duration", datetime.timedelta(hours=5)),
        ("number", 3),
    ],
)
def test_dates_and_durations_are_the_same(form: str, value: object) -> None:
    wanted = numbers(pd.Series([value], dtype=object, name="a"), Column("a", "numeric", form=form))[0]
    np.testing.assert_equal(number_of(value, form), wanted)


@given(CELLS, st.sampled_from(["category", "number category", "boolean"]))
def test_categories_are_the_same(value: object, form: str) -> None:
    vocabulary = ("007", "1", "1.5", "7", "False", "True", "x", "2")
    column = Column("a", "categorical", form=form)
    wanted = category_codes(pd.Series([value], dtype=object, name="a"), column, vocabulary)[0]
    assert Categories(vocabulary, form).code(cell_of({"a": value}, "a")) == wanted


def test_a_missing_column_is_told() -> None:
    with pytest.raises(ValueError, match=r"no column 'b'; it has \['a'\]"):
        cell_of({"a": 1}, "b")


# -- pixels ----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.sampled_from(["nearest", "bilinear", "bicubic"]),
    st.integers(0, 1000),
)
def test_a_detectors_pixels_are_torchs(own: tuple[int, int], size: tuple[int, int], mode: str, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*own, 3), dtype=np.uint8)
    wanted = resized(torch.from_numpy(image).permute(2, 0, 1), size, mode).permute(1, 2, 0).numpy()
    off = np.abs(resized_pixels(image, size, mode).astype(int) - wanted)
    # torch resizes by whole numbers where the CPU has AVX2, and by fractions that round alike but for a few elsewhere
    native = "AVX" in torch.backends.cpu.get_cpu_capability()
    assert off.max() == 0 if native else off.max() <= 2


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 120), st.integers(1, 120)),
    st.sampled_from([(32, 32), (24, 40)]),
    st.sampled_from(["bilinear", "bicubic", "lanczos", "nearest"]),
    st.sampled_from([1.0, 0.9, 0.5]),
    st.booleans(),
)
def test_an_image_models_pixels_are_torchvisions(
    own: tuple[int, int], size: tuple[int, int], mode: str, fraction: float, squash: bool
) -> None:
    from PIL import Image

    image = Image.fromarray(np.random.default_rng(own).integers(0, 256, (*own, 3), dtype=np.uint8))
    spec = ImageSpec(size, (0.5,) * 3, (0.5,) * 3, mode, fraction, squash)
    reader = ImageReader({"columns": ["a"], "ranges": [None], "most_pixels": 2**24, **spec.to_dict()}, Path())
    found = reader.arrays([{"a": image}, {"a": None}], None)
    assert (found["pixels"][0, 0] == plain_transform(spec)(image)).all()
    assert found["present"].tolist() == [[True], [False]]


def test_a_very_long_image_is_cropped_before_it_is_resized() -> None:
    from PIL import Image

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (3, 9000, 3), dtype=np.uint8))
    spec = ImageSpec((96, 96), (0.5,) * 3, (0.5,) * 3)
    reader = ImageReader({"columns": ["a"], "ranges": [None], "most_pixels": 2**24, **spec.to_dict()}, Path())
    assert (reader.arrays([{"a": image}], None)["pixels"][0, 0] == plain_transform(spec)(image)).all()


def _cells(folder: Path) -> list[object]:
    import base64
    import io

    from PIL import Image

    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    clear = Image.fromarray(rng.integers(0, 256, (9, 12, 4), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 4000, (9, 12), dtype=np.uint16))
    turned = colour.copy()
    turned.getexif()[274] = 6
    for name, image in {"a.png": colour, "b.png": clear, "c.png": deep}.items():
        image.save(folder / name)
    turned.save(folder / "d.jpg", exif=turned.getexif())
    buffer = io.BytesIO()
    colour.save(buffer, "png")
    text = base64.b64encode(buffer.getvalue()).decode()
    encoded = [buffer.getvalue(), text, f"data:image/png;base64,{text}", {"bytes": buffer.getvalue(), "path": None}]
    arrays = [np.asarray(colour), np.asarray(deep), rng.random((9, 12)), rng.random((9, 12)) > 0.5, np.asarray(clear)]
    files = ["a.png", "b.png", "c.png", "d.jpg", {"bytes": None, "path": "a.png"}, folder / "a.png"]
    return [*files, colour, clear, deep, colour.convert("P"), colour.convert("L"), *encoded, *arrays]


@pytest.mark.parametrize("grey", [None, (0.0, 4095.0)])
def test_every_form_of_image_is_opened_alike(tmp_path: Path, grey: tuple[float, float] | None) -> None:
    for cell in _cells(tmp_path):
        wanted = np.asarray(open_image(cell, tmp_path, grey))
        assert (np.asarray(open_picture(cell, tmp_path, grey)) == wanted).all(), type(cell)


@pytest.mark.parametrize(
    "spec",
    [
        DetectionSpec(size=(48, 40)),
        DetectionSpec("edges", (40, 70), mean=(0.5, 0.4, 0.3)),
        DetectionSpec("edges", (40, 70), step=16, relative="canvas", divisor=32),
        DetectionSpec("fit", (48, 40), relative="canvas", interpolation="bicubic"),
        DetectionSpec("edges", (40, 70), canvas=(72, 72)),
    ],
)
def test_a_detectors_arrays_are_the_same(spec: DetectionSpec) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((30, 50), (64, 20), (41, 43))]
    wanted = DetectionRows.of(pd.Series(images), None, spec).batch(np.arange(3))
    found = DetectorReader({"column": "a", "spec": spec.to_dict()}, Path()).arrays([{"a": one} for one in images], None)
    assert set(found) == {"pixels", "mask", "sizes", "scale"}
    for name, array in found.items():
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)
