"""Frames that cannot be used: which column, which rows, what to do; and nothing loaded before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from support.tiny import make_table, told
from thermocline.errors import (
    ColumnTypeError,
    DataError,
    ImageReadError,
    LabelError,
    MissingColumnError,
    ThermoclineWarning,
)

guarded = pytest.mark.usefixtures("no_loading")


def data_error(make_predictor, frame, *, error=DataError, builtin=ValueError, **arguments) -> str:
    return told(error, builtin, lambda: make_predictor().fit(frame, **arguments))


@guarded
def test_empty(make_predictor, table):
    message = data_error(make_predictor, table.iloc[:0])
    assert "train_data has no rows (columns: 'x', 'z', 'colour', 'y')" in message


@guarded
def test_no_columns(make_predictor):
    assert "train_data has no columns" in data_error(make_predictor, pd.DataFrame(index=range(3)))


@guarded
def test_one_row(make_predictor, table):
    message = data_error(make_predictor, table.iloc[:1], error=LabelError)
    assert "Training needs at least two rows; train_data has 1" in message


@guarded
def test_duplicated_columns(make_predictor, table):
    twice = pd.concat([table, table[["x"]]], axis=1)
    message = data_error(make_predictor, twice)
    assert "train_data has more than one column named 'x'. Rename or drop all but one" in message


@guarded
def test_duplicated_label(make_predictor, table):
    twice = pd.concat([table, table[["y"]]], axis=1)
    assert "more than one column named 'y'" in data_error(make_predictor, twice)


@guarded
def test_column_names_that_are_no_text(make_predictor, table):
    message = data_error(make_predictor, table.rename(columns={"x": 3, "z": None}))
    assert "column names that are not text: 3" in message
    assert "frame.columns.map(str)" in message


@guarded
def test_column_levels(make_predictor, table):
    levels = table.set_axis(pd.MultiIndex.from_product([["a"], table.columns]), axis=1)
    assert "column names that are not text: ('a', 'x')" in data_error(make_predictor, levels)


@guarded
@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", "double[pyarrow]", object])
def test_infinities(make_predictor, table, dtype):
    table["x"] = table["x"].astype(dtype)
    table.loc[[4, 7], "x"] = [np.inf, -np.inf]
    message = data_error(make_predictor, table)
    assert "olumn 'x'" in message
    assert "holds 2 infinite values: row 4: inf, row 7: -inf" in message
    assert "NaN" in message


@guarded
def test_numbers_that_are_none(make_predictor, table):
    table["x"] = table["x"].astype(object)
    table.loc[5, "x"] = "twelve"
    message = data_error(make_predictor, table, error=ColumnTypeError, builtin=TypeError, column_types={"x": "numeric"})
    assert "column_types['x'] is 'numeric', but 1 of 60 values is no number: row 5: 'twelve'" in message
    assert "choose 'categorical' or 'text'" in message


@guarded
def test_only_the_label(make_predictor, table):
    assert "no column to learn from" in data_error(make_predictor, table[["y"]])


@guarded
def test_only_useless_columns(make_predictor, table):
    frame = table[["y"]].assign(same=1, empty=None)
    message = data_error(make_predictor, frame)
    assert "same: constant: every value is 1" in message
    assert "empty: every value is missing" in message
    assert "column_types" in message


@guarded
def test_tuning_data(make_predictor, table):
    message = told(MissingColumnError, KeyError, lambda: make_predictor().fit(table, table[["x", "y"]]))
    assert "tuning_data lacks the columns 'z', 'colour'" in message
    message = told(DataError, ValueError, lambda: make_predictor().fit(table, table.iloc[:0]))
    assert "tuning_data has no rows" in message
    odd = table.assign(x=table["x"].astype(object))
    odd.loc[2, "x"] = "?!"
    message = told(ColumnTypeError, TypeError, lambda: make_predictor().fit(table, odd))
    assert "Column 'x' is numeric, but 1 value is no number: row 2: '?!'" in message


# -- files -----------------------------------------------------------------------------------------


@guarded
def test_files(make_predictor, tmp_path):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "ragged.csv").write_text("x,y\n1,2\n1,2,3\n")
    (tmp_path / "latin.csv").write_bytes("x,y\né,2\n".encode("latin-1"))
    (tmp_path / "twice.csv").write_text("x,x,y\n1,2,3\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but not really")
    said = {
        "empty.csv": "is empty",
        "ragged.csv": "cannot be read as a table",
        "latin.csv": "is not UTF-8 text",
        "twice.csv": "more than one column named 'x'",
        "broken.parquet": "cannot be read as parquet",
        "emty.csv": "does not exist. Did you mean 'empty.csv'?",
    }
    for name, part in said.items():
        message = data_error(make_predictor, tmp_path / name)
        assert part in message, name
        assert str(tmp_path / name) in message


# -- images ----------------------------------------------------------------------------------------


@guarded
def test_all_image_files_absent(make_predictor, pictures):
    gone = pictures.assign(img=[path.replace(".png", ".jpg") for path in pictures["img"]])
    message = data_error(make_predictor, gone, error=ImageReadError, builtin=OSError)
    assert "24 of 24 rows of train_data have images that cannot be read" in message
    assert "row 0: column 'img'" in message
    assert "no such file" in message
    assert "Correct the paths, or drop these rows" in message


@guarded
def test_all_images_missing(make_predictor, table):
    frame = table.assign(img=None)
    message = data_error(make_predictor, frame, error=ImageReadError, builtin=OSError, column_types={"img": "image"})
    assert "Column 'img' was given as image, but all 60 values are missing" in message
    assert "column_types={'img': 'null'}" in message


@guarded
def test_relative_paths_that_start_elsewhere(make_predictor, pictures, tmp_path):
    frame = pictures.assign(img=[path.rpartition("/")[2] for path in pictures["img"]])
    message = data_error(make_predictor, frame, error=ImageReadError, builtin=OSError)
    assert f"0 below '{Path.cwd()}' (the working folder)" in message
    assert "Name their folder with data.image_folder" in message
    options = {"data.image_folder": str(tmp_path)}
    message = data_error(make_predictor, frame, error=ImageReadError, builtin=OSError, hyperparameters=options)
    assert f"0 below '{tmp_path}' (data.image_folder)" in message


def damage(frame: pd.DataFrame) -> pd.DataFrame:
    """Make row 2 a truncated file, row 5 no image, and row 9 an absent file."""
    for row, content in ((2, None), (5, b"not an image")):
        path = Path(frame["img"][row])
        path.write_bytes(content or path.read_bytes()[:200])
    return frame.assign(img=[p if i != 9 else p + ".gone.png" for i, p in enumerate(frame["img"])])


@guarded
def test_too_many_unreadable_images(make_predictor, pictures):
    message = data_error(make_predictor, damage(pictures), error=ImageReadError, builtin=OSError)
    assert "3 of 24 rows of train_data have images that cannot be read" in message
    assert "row 2: column 'img'" in message
    assert "row 5: column 'img'" in message
    assert "row 9: column 'img'" in message
    assert "At most 5 % may (data.max_unreadable_images)" in message


def test_a_few_unreadable_images(make_predictor, pictures, tiny, image_folder):
    frame = damage(pictures)
    options = {**tiny, "data.max_unreadable_images": 0.2, "model.image.checkpoint": str(image_folder)}
    options |= {"optim.max_epochs": 1}
    with pytest.warns(ThermoclineWarning, match=r"3 of 24 rows of train_data .* They are left out") as caught:
        predictor = make_predictor().fit(frame, hyperparameters=options)
    assert "row 2: column 'img'" in str(caught[0].message)
    notes = "\n".join(str(note) for note in predictor.history["note"])
    assert "3 rows of train_data left out: images that cannot be read" in notes
    rows = [int(n) for n in next(n for n in notes.splitlines() if "validate" in n).split() if n.isdigit()]
    assert sum(rows[:2]) == 21  # dropped, and none trained twice in their place


@guarded
@pytest.mark.filterwarnings("ignore:The positive class 'only' has 1 of 24 rows")
def test_a_class_that_goes_with_its_unreadable_image(make_predictor, pictures):
    frame = pictures.assign(y=["only"] + ["red"] * 23)
    Path(frame["img"][0]).write_bytes(b"")
    with pytest.warns(ThermoclineWarning, match="They are left out"):
        message = data_error(make_predictor, frame, error=LabelError)
    assert "'y' is 'red' in every row" in message


@guarded
def test_every_kind_of_damage_is_an_unreadable_image(tmp_path):
    """Whatever Pillow raises, it is one of ours."""
    import io

    from PIL import Image

    from thermocline.data.columns import Column
    from thermocline.inputs.image.files import unreadable_rows

    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
    cells: list[object] = ["a\0b.png", str(tmp_path), 5, b"", [1]]
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        out = io.BytesIO()
        picture.save(out, kind)
        whole = out.getvalue()
        for cut in (10, 40, len(whole) // 2):
            cells.append(whole[:cut])
        for _ in range(10):
            mixed = bytearray(whole)
            for place in rng.integers(4, len(mixed), size=12):
                mixed[place] = rng.integers(0, 256)
            cells.append(bytes(mixed))
    frame = pd.DataFrame({"img": pd.Series(cells, dtype=object)})
    faults = unreadable_rows(frame, [Column("img", "image")], None, decode=True)
    assert {0, 1, 2, 3, 4} <= set(faults)
    assert all("column 'img'" in why for why in faults.values())


def test_tuning_images_that_cannot_be_read(make_predictor, pictures, no_loading):
    held = make_table(4).assign(img="nowhere.png", y=["red", "blue"] * 2)
    message = told(ImageReadError, OSError, lambda: make_predictor().fit(pictures, held))
    assert "4 of 4 rows of tuning_data" in message
