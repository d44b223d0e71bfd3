"""One row is not `1 rows`: numbers agree with what they count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from support.tiny import make_table
from thermocline.contracts.request import Request
from thermocline.data.columns import infer_columns
from thermocline.data.frames import check_frame
from thermocline.data.splitting import split_note
from thermocline.errors import ColumnTypeError, DataError, LabelError, counted
from thermocline.inputs.labelled_frames import drop_weightless, row_weights
from thermocline.inputs.text.processor import choose_max_length
from thermocline.pipeline.prepare import prepare
from thermocline.problems.rowwise.label_values import quantities, zero_one
from thermocline.problems.rowwise.target import RowTarget
from thermocline.report.console import Console


def test_one_none_and_many():
    assert [counted(n, "row") for n in (0, 1, 2, 1200)] == ["0 rows", "1 row", "2 rows", "1,200 rows"]
    assert [counted(n, "box is", "boxes are") for n in (1, 2)] == ["1 box is", "2 boxes are"]


def test_notes_about_rows(caplog):
    assert split_note(1, 1, "row", "given") == "1 row trains, 1 validates (given)"
    assert split_note(2, 3, "image", "given") == "2 images train, 3 validate (given)"
    weighed = make_table(4).assign(w=[0.0, 1.0, 1.0, 1.0])
    assert drop_weightless(weighed, "w", "data")[1] == ["1 row of data left out: its weight is 0"]
    assert drop_weightless(weighed.assign(w=[0.0, 0.0, 1.0, 1.0]), "w", "data")[1] == [
        "2 rows of data left out: their weight is 0"
    ]
    with caplog.at_level("INFO", "thermocline"):
        Console(1).missing({"x": 1}, 1, set())
    assert caplog.messages == ["missing values in 1 row: x 1"]


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ([10] * 50, "at most 10 tokens; no row is cut"),
        ([10] * 499 + [90], "; 1 row is cut"),
        ([10] * 998 + [90] * 2, "; 2 rows are cut"),
    ],
)
def test_rows_that_are_cut(lengths, said):
    assert choose_max_length(np.array(lengths), 512)[1].endswith(said)


def test_errors_about_one_row():
    faults = [
        (LabelError, "in 1 row: row 2", lambda: zero_one(pd.Series([0, 1, 2], name="y"))),
        (LabelError, "in 1 row: row 1", lambda: quantities(pd.Series([1.0, np.inf], name="y"))),
        (LabelError, "in 1 row: row 0", lambda: quantities(pd.Series(["a", "1"], name="y"))),
        (LabelError, "but 1 row does not", lambda: RowTarget.of(pd.DataFrame({"y": [["a"], "b", ["c"]]}), "y")),
        (LabelError, "in 1 row: row 0", lambda: RowTarget.of(LETTERS, "y").encode(pd.DataFrame({"y": ["z", "a"]}))),
        (DataError, "1 infinite value: row 1", lambda: check_frame(pd.DataFrame({"x": [0.0, np.inf]}))),
        (DataError, "1 sample weight that is negative", lambda: row_weights(pd.DataFrame({"w": [-1.0, 1]}), "w", "d")),
        (
            ColumnTypeError,
            "1 of 3 values is no number",
            lambda: infer_columns(pd.DataFrame({"x": ["1", "2", "?"]}), column_types={"x": "numeric"}),
        ),
    ]
    for error, said, call in faults:
        with pytest.raises(error, match=said):
            call()


LETTERS = pd.DataFrame({"y": ["a", "b", "a"]})


def test_no_message_of_a_small_fit_counts_one_of_many():
    frame = make_table(12).assign(w=[0.0] + [1.0] * 11)
    made = prepare(Request(frame, "y", weight="w", hyperparameters={"env.device": "cpu"}, training=False))
    assert not [note for note in made.notes if " 1 rows" in f" {note}"]
    assert "1 row of train_data left out: its weight is 0" in made.notes
