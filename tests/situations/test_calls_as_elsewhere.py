"""Calls that users bring from scikit-learn, AutoGluon and others do what they do there, or say what to write."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.config import resolve
from thermocline.contracts.request import Request
from thermocline.data.labels_beside import are_labels, with_labels
from thermocline.errors import ConfigError, DataError, LabelError
from thermocline.pipeline.called_with import table_to_score, tables_to_fit
from thermocline.pipeline.prepare import prepare

FRAME = make_table(40)
X, Y = FRAME.drop(columns="y"), FRAME["y"]


# -- labels beside the table


LABELS = {
    "series": Y,
    "series of another name": Y.rename("target"),
    "array": Y.to_numpy(),
    "list": Y.tolist(),
    "tuple": tuple(Y),
    "frame": Y.to_frame(),
    "column of a matrix": Y.to_numpy().reshape(-1, 1),
    "index": pd.Index(Y),
    "categories": pd.Categorical(Y),
    "pandas array": Y.array,
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_beside_a_table_are_its_label_column(labels):
    before = X.copy()
    table, tuning = tables_to_fit(X, labels, "y")
    assert tuning is None
    assert table["y"].tolist() == Y.tolist()
    assert table.index.equals(X.index)
    assert list(X) == list(before)
    assert table_to_score(X, labels, "y")[0]["y"].tolist() == Y.tolist()
    assert table_to_score(X, labels, "y")[1] is None


def test_a_fit_on_two_parts_is_a_fit_on_the_whole():
    options = {**TINY, "optim.max_epochs": 1}
    whole = Predictor("y", verbosity=0).fit(FRAME, hyperparameters=options)
    parts = Predictor("y", verbosity=0).fit(X, Y.to_numpy(), hyperparameters=options)
    assert np.array_equal(parts.predict_proba(X).to_numpy(), whole.predict_proba(X).to_numpy())
    assert parts.evaluate(X, Y) == parts.evaluate(FRAME) == parts.evaluate((X, Y))
    assert list(parts.evaluate(FRAME, ["accuracy"])) == ["accuracy"]


@pytest.mark.parametrize("make", [torch.tensor, lambda values: pytest.importorskip("pyarrow").array(values)])
def test_labels_of_other_libraries(make):
    numbers = FRAME["x"].tolist()
    table, _ = tables_to_fit(X, make(numbers), "n")
    assert table["n"].tolist() == pytest.approx(numbers)


def test_the_dtype_of_labels_stays():
    assert tables_to_fit(X, np.arange(40, dtype=np.int32), "n")[0]["n"].dtype == np.int32
    assert tables_to_fit(X, pd.Series(pd.Categorical(Y)), "n")[0]["n"].dtype == "category"


def test_tables_of_other_kinds_take_labels_too():
    for table in (X.to_dict("list"), X.to_dict("records")):
        assert tables_to_fit(table, Y, "y")[0]["y"].tolist() == Y.tolist()


def test_several_label_columns():
    both = pd.DataFrame({"a": [0, 1] * 20, "b": [1, 0] * 20})
    for labels in (both, both.to_numpy(), both.to_numpy().tolist()):
        table, _ = tables_to_fit(X, labels, ["a", "b"])
        pd.testing.assert_frame_equal(table[["a", "b"]], both)
    assert "are not as many in each row" in told(LabelError, ValueError, lambda: with_labels(X, Y.tolist(), ("a", "b")))


def test_rows_to_validate_on_stay_what_they_are():
    other = make_table(20, seed=1)
    for tuning in (other, other.to_dict("list"), other.to_dict("records"), "rows.csv", None):
        assert tables_to_fit(FRAME, tuning, "y")[1] is tuning
    table, tuning = tables_to_fit((X, Y), (other.drop(columns="y"), other["y"]), "y")
    assert table["y"].tolist() == Y.tolist()
    assert tuning["y"].tolist() == other["y"].tolist()
    assert not are_labels([{"y": 1}], ("y",))


@pytest.mark.parametrize(
    ("table", "labels", "words"),
    [
        (FRAME, Y, "has the label column 'y', and labels were given beside it as well"),
        (X, Y[:10].tolist(), "has 40 rows, and 10 labels were given"),
        (X, Y.sample(frac=1, random_state=0), "If they belong together by the index, pass y.loc[X.index]"),
        (X, Y.set_axis(range(1, 41)), "row 0: 1, row 1: 2"),
        ("rows.csv", Y, "add the column 'y' to the file"),
    ],
)
def test_labels_that_do_not_fit_the_table(table, labels, words):
    assert words in told(LabelError, ValueError, lambda: Predictor("y", verbosity=0).fit(table, labels))


def test_a_matrix_needs_names():
    assert "Columns need names" in told(
        DataError, ValueError, lambda: Predictor("y", verbosity=0).fit(X[["x", "z"]].to_numpy(), Y)
    )


def test_texts_in_second_place_of_evaluate_are_metrics_or_labels():
    assert table_to_score(X, ["accuracy", "f1"], "y")[1] == ["accuracy", "f1"]
    assert table_to_score(X[:2], np.array(["accuracy", "f1"]), "y")[1].tolist() == ["accuracy", "f1"]
    assert table_to_score(FRAME, ["acuracy"], "y")[1] == ["acuracy"]
    assert table_to_score("rows.csv", ["no"], "y")[1] == ["no"]
    assert table_to_score(X, Y.tolist(), "y")[1] is None
    assert table_to_score(X[:1], ["no"], "y")[0]["y"].tolist() == ["no"]


@pytest.mark.parametrize("given", [iter("ab"), {"a", "b"}, np.array(1), {0: "a"}.values()])
def test_what_is_neither_rows_nor_labels(given):
    assert "Series, an array or a list, one a row" in told(DataError, ValueError, lambda: tables_to_fit(X, given, "y"))


def test_the_name_of_the_label_in_second_place():
    message = told(ConfigError, ValueError, lambda: Predictor("y", verbosity=0).fit(FRAME, "y"))
    assert "The label is named before: Predictor('y')" in message


# -- presets


@pytest.mark.parametrize("given", ["medium_quality", "medium_quality,offline", "offlin", "mine.yaml"])
def test_a_preset_in_place_of_rows_to_validate_on(given):
    for call in (Predictor("y", verbosity=0).fit, Predictor("y", verbosity=0).explain):
        message = told(ConfigError, ValueError, lambda call=call: call(FRAME, given))
        assert f"A preset is given by name: presets='{'offline' if given == 'offlin' else given}'" in message


SAME = [
    ["high_quality", "offline"],
    ("high_quality", "offline"),
    "high_quality,offline",
    "high_quality, offline,",
    [["high_quality"], ("offline",)],
    np.array(["high_quality", "offline"]),
    pd.Series(["high_quality", "offline"]),
]


@pytest.mark.parametrize("given", SAME, ids=map(str, range(len(SAME))))
def test_presets_in_every_form(given):
    assert resolve(given) == resolve(SAME[0])
    assert resolve(given).presets == ("high_quality", "offline")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("medium_quality offline", "presets=['medium_quality', 'offline']"),
        ("best", "Did you mean 'best_quality'?"),
        ("optim.lr=3", "Options go to hyperparameters='optim.lr=3'"),
        ({"optim.lr": 3}, "Options go to hyperparameters"),
        (["offline", None], "not None"),
        (b"offline", "not b'offline'"),
        ({"offline"}, "a name, a path or a list of these"),
    ],
)
def test_what_is_no_preset(given, words):
    assert words in told(ConfigError, ValueError, lambda: resolve(given))


def test_a_later_preset_that_replaces_values_is_noted():
    note = "preset 'medium_quality' comes after 'offline' and replaces what that sets: "
    (found,) = resolve(["offline", "medium_quality"]).notes
    assert found == f"{note}model.image.checkpoint, model.text.checkpoint"
    (found,) = resolve(["offline", "medium_quality"], {"model.text.checkpoint": "offline:minilm-l6"}).notes
    assert found == f"{note}model.image.checkpoint"
    assert resolve("offline").notes == resolve(None).notes == resolve("high_quality").notes == ()
    prepared = prepare(Request(FRAME, "y", presets=["offline", "medium_quality"], hyperparameters=TINY))
    assert any(line.startswith(note) for line in prepared.notes)
