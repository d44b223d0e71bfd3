"""Using a predictor on rows that do not fit: never a constant answer, always a named error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from support.tiny import TINY, make_table, told, write_images
from thermocline import Predictor
from thermocline.errors import (
    ColumnTypeError,
    ConfigError,
    DataError,
    ImageReadError,
    LabelError,
    MissingColumnError,
    NotFittedError,
)

USES = ["predict", "predict_proba", "evaluate", "embed"]


@pytest.fixture(scope="module")
def fitted_images(tmp_path_factory, image_folder):
    folder = tmp_path_factory.mktemp("images")
    frame = write_images(folder)
    frame = frame.assign(img=[str(folder / name) for name in frame["img"]], x=np.arange(24.0))
    options = {**TINY, "optim.max_epochs": 1, "model.image.checkpoint": str(image_folder)}
    return Predictor("y", verbosity=0).fit(frame, hyperparameters=options), frame


@pytest.fixture(scope="module")
def fitted_number():
    frame = make_table().assign(y=lambda f: f["x"] * 3 + 1)
    return Predictor("y", verbosity=0).fit(frame, hyperparameters=TINY)


@pytest.mark.parametrize("use", USES)
def test_before_fit(table, use):
    message = told(NotFittedError, RuntimeError, lambda: getattr(Predictor("y"), use)(table))
    assert "call fit(train_data) first, or Predictor.load(path)" in message


@pytest.mark.parametrize("use", ["plan", "config", "columns", "history"])
def test_attributes_before_fit(use):
    told(NotFittedError, RuntimeError, lambda: getattr(Predictor("y"), use))
    assert Predictor("y", "binary").problem_type == "binary"
    assert "not fitted" in repr(Predictor("y"))


def test_save_before_fit(tmp_path):
    told(NotFittedError, RuntimeError, lambda: Predictor("y").save(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("use", USES)
def test_missing_column(fitted_table, table, use):
    frame = table.drop(columns="x").rename(columns={"colour": "color"})
    message = told(MissingColumnError, KeyError, lambda: getattr(fitted_table, use)(frame))
    assert "data lacks the columns 'x', 'colour'" in message
    assert "It has 'z', 'color', 'y'" in message
    assert "'colour': Did you mean 'color'?" in message


@pytest.mark.parametrize("use", USES)
def test_number_that_cannot_be_read(fitted_table, table, use):
    table["x"] = table["x"].astype(object)
    table.loc[[3, 8], "x"] = ["1,5", "x"]
    message = told(ColumnTypeError, TypeError, lambda: getattr(fitted_table, use)(table))
    assert "Column 'x' is numeric, but 2 values are not numbers: row 3: '1,5', row 8: 'x'" in message
    assert "leave them empty" in message


def test_infinity(fitted_table, table):
    table.loc[4, "x"] = np.inf
    message = told(DataError, ValueError, lambda: fitted_table.predict(table))
    assert "column 'x' holds 1 infinite value: row 4: inf" in message


def test_infinity_in_a_column_that_is_not_used(fitted_table, table):
    expected = fitted_table.predict(table)
    assert fitted_table.predict(table.assign(other=np.inf)).equals(expected)
    assert fitted_table.predict(table.drop(columns="y")).equals(expected)


def test_names(fitted_table, table):
    twice = pd.concat([table, table[["x"]]], axis=1)
    assert "more than one column named 'x'" in told(DataError, ValueError, lambda: fitted_table.predict(twice))
    message = told(DataError, ValueError, lambda: fitted_table.predict(table.rename(columns={"y": 1})))
    assert "column names that are not text: 1" in message


def test_dates_in_place_of_numbers(fitted_table, table):
    frame = table.assign(x=pd.date_range("2020-01-01", periods=len(table)))
    assert "Column 'x' is numeric" in told(ColumnTypeError, TypeError, lambda: fitted_table.predict(frame))


def test_lists_in_place_of_categories(fitted_table, table):
    frame = table.assign(colour=[["red"]] * len(table))
    message = told(ColumnTypeError, TypeError, lambda: fitted_table.predict(frame))
    assert "Column 'colour' must hold plain values" in message
    assert "row 0: ['red']" in message


def test_no_rows(fitted_table, fitted_number, table):
    empty = table.iloc[:0]
    assert len(fitted_table.predict(empty)) == 0
    assert fitted_table.predict(empty).dtype == table["y"].dtype
    assert list(fitted_table.predict_proba(empty).columns) == ["no", "yes"]
    assert fitted_number.predict(empty).dtype == np.float64
    assert fitted_table.embed(empty).shape == (0, fitted_table.embed(table).shape[1])
    assert "empty" in told(DataError, ValueError, lambda: fitted_table.evaluate(empty))


def test_data_that_is_no_frame(fitted_table, table):
    message = told(DataError, ValueError, lambda: fitted_table.predict(table["x"]))
    assert "not pandas.Series" in message
    assert "to_frame()" in message
    assert "does not exist" in told(DataError, ValueError, lambda: fitted_table.predict("nowhere.csv"))


# -- evaluate --------------------------------------------------------------------------------------


def test_unseen_label(fitted_table, table):
    table.loc[7, "y"] = "maybe"
    message = told(LabelError, ValueError, lambda: fitted_table.evaluate(table))
    assert "Label 'y' holds 'maybe', which training never saw, in 1 row: row 7: 'maybe'" in message
    assert "Known: 'no', 'yes'" in message
    assert len(fitted_table.predict(table)) == len(table)  # the label is not looked at


def test_missing_labels(fitted_table, table):
    table.loc[7, "y"] = None
    message = told(LabelError, ValueError, lambda: fitted_table.evaluate(table))
    assert "Label 'y' is missing in 1 of 60 rows: row 7" in message


def test_no_label_column(fitted_table, table):
    message = told(MissingColumnError, KeyError, lambda: fitted_table.evaluate(table.drop(columns="y")))
    assert "needed to score" in message
    assert "'y'" in message


def test_label_of_another_type(fitted_number, table):
    message = told(LabelError, ValueError, lambda: fitted_number.evaluate(table))
    assert "'y' of a regression is not numeric" in message


@pytest.mark.parametrize(
    ("name", "said"), [("acuracy", "'accuracy'"), ("f1score", "'f1'"), ("rmse", "is for regression")]
)
def test_metrics(fitted_table, table, name, said):
    message = told(ConfigError, ValueError, lambda: fitted_table.evaluate(table, metrics=["accuracy", name]))
    assert repr(name) in message
    assert said in message


def test_metrics_that_are_no_names(fitted_table, table):
    message = told(ConfigError, ValueError, lambda: fitted_table.evaluate(table, 5))
    assert "metrics is a metric or a list of metrics, not 5" in message


def test_probabilities_of_a_regression(fitted_number, table):
    message = told(ConfigError, ValueError, lambda: fitted_number.predict_proba(table))
    assert "'y' is a regression target: there are no probabilities. Use predict" in message


def test_weights(make_predictor, table):
    frame = table.assign(w=1.0)
    predictor = make_predictor(sample_weight="w").fit(frame, hyperparameters=TINY)
    assert predictor.evaluate(frame, "accuracy") == predictor.evaluate(table, "accuracy")
    frame.loc[3, "w"] = np.nan
    message = told(DataError, ValueError, lambda: predictor.evaluate(frame))
    assert "Column 'w' of data" in message
    assert "row 3: nan" in message
    predictor.predict(frame)  # weights do not matter here


# -- images ----------------------------------------------------------------------------------------


def test_image_file_that_is_missing(fitted_images):
    predictor, frame = fitted_images
    frame = frame.copy()
    frame.loc[3, "img"] = "/nowhere/3.png"
    for use in USES:
        message = told(ImageReadError, OSError, lambda use=use: getattr(predictor, use)(frame))
        assert "1 of 24 rows names images that cannot be read" in message
        assert "row 3: column 'img': /nowhere/3.png: no such file" in message
        assert "set the cells to None where there is no image" in message


def test_image_that_cannot_be_decoded(fitted_images, tmp_path):
    predictor, frame = fitted_images
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    frame = frame.copy()
    frame.loc[3, "img"] = str(tmp_path / "broken.png")
    message = told(ImageReadError, OSError, lambda: predictor.predict(frame))
    assert "row 3 of column 'img'" in message
    assert "broken.png" in message


def test_image_bytes_that_cannot_be_decoded(fitted_images):
    predictor, frame = fitted_images
    frame = frame.assign(img=[b"nothing", *frame["img"].iloc[1:]])
    assert "row 0 of column 'img'" in told(ImageReadError, OSError, lambda: predictor.predict(frame))


def test_values_that_are_no_images(fitted_images):
    predictor, frame = fitted_images
    for value in (5, {"a": 1}, np.zeros(3)):
        odd = frame.assign(img=pd.Series([value] * 24, dtype=object))
        message = told(ImageReadError, OSError, lambda odd=odd: predictor.predict(odd))
        assert "24 of 24 rows" in message
        assert f"{type(value).__name__}: neither a path nor bytes nor a PIL image nor an array" in message


def test_images_that_workers_cannot_decode(image_folder, fitted_images):
    """The message is the same as without workers, and no traceback."""
    import warnings

    _, frame = fitted_images
    options = {**TINY, "optim.max_steps": 1, "model.image.checkpoint": str(image_folder)}
    options |= {"env.num_workers": 1, "env.eval_batch_size": 2}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        predictor = Predictor("y", verbosity=0).fit(frame, hyperparameters=options)
        frame = frame.assign(img=[*frame["img"].iloc[:-1], b"nothing"])
        message = told(ImageReadError, OSError, lambda: predictor.predict(frame))
    assert message.startswith("The image in row 23 of column 'img' cannot be read: bytes")
    assert "\n" not in message


@pytest.mark.parametrize("value", [None, np.nan, "", pd.NA])
def test_missing_images_are_fine(fitted_images, capsys, caplog, value):
    predictor, frame = fitted_images
    caplog.set_level("DEBUG", "thermocline")
    frame = frame.copy()
    frame["img"] = frame["img"].astype(object)
    frame.loc[[3, 4], "img"] = [value, value]
    assert len(predictor.predict(frame)) == len(frame)
    assert caplog.messages == []
    predictor.verbosity = 1
    try:
        predictor.predict(frame)
    finally:
        predictor.verbosity = 0
    assert "missing values in 24 rows: img 2" in caplog.messages
    assert capsys.readouterr() == ("", "")


def test_missing_image_column(fitted_images):
    predictor, frame = fitted_images
    told(MissingColumnError, KeyError, lambda: predictor.predict(frame.drop(columns="img")))
