"""What a fit and a prediction say of their columns: missing values, ids, row numbers, categories that nobody knew."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from support.tiny import TINY, make_table
from support.toy import make_model, make_rows
from thermocline import Predictor
from thermocline.contracts.collecting import ArrayCollector
from thermocline.data.column_notes import id_notes
from thermocline.data.columns import infer_columns
from thermocline.errors import ThermoclineWarning
from thermocline.training.inference import Pass, collect
from thermocline.training.scoring import Scorer

CPU = torch.device("cpu")
FAST = {**TINY, "optim.max_epochs": 1}
WORDS = ["N/A", "na", "NaN", "null", "None", " n/a ", "<NA>", "#N/A", ""]


def notes_of(frame):
    return id_notes(frame, infer_columns(frame))


# -- missing values --------------------------------------------------------------------------------


@pytest.mark.parametrize("word", WORDS)
def test_words_for_missing_numbers_are_counted(word, fitted_table, caplog):
    caplog.set_level("DEBUG", "thermocline")
    frame = make_table(40)
    cells = frame["x"].astype(object)
    cells[[1, 5]] = word
    frame = frame.assign(x=cells.astype(str).replace("nan", word))
    columns = infer_columns(frame, exclude=["y"])
    assert (columns["x"].kind, columns["x"].missing) == ("numeric", 2)
    fitted_table.verbosity = 1
    try:
        fitted_table.predict(frame)
    finally:
        fitted_table.verbosity = 0
    assert caplog.messages == ["missing values in 40 rows: x 2"]


def test_a_category_that_spells_missing_is_one():
    found = infer_columns(pd.DataFrame({"c": ["N/A", "b", "c", "b", "c"] * 8}))
    assert (found["c"].kind, found["c"].missing) == ("categorical", 0)


# -- categories ------------------------------------------------------------------------------------


def test_a_column_of_unknown_categories_is_warned_of(fitted_table):
    frame = make_table(20)
    with pytest.warns(ThermoclineWarning, match=r"'colour': none of its 20 values was seen in training, such as 'RED'"):
        fitted_table.predict(frame.assign(colour="RED"))
    frame.loc[4, "colour"] = None
    capitals = frame.assign(colour=frame["colour"].str.upper())
    with pytest.warns(ThermoclineWarning, match=r"none of its 19 values .* training had 'blue', 'green', 'red'\."):
        fitted_table.evaluate(capitals)
    with pytest.warns(ThermoclineWarning, match="none of its 19 values"):
        Predictor("y", verbosity=0).explain(make_table(), capitals, hyperparameters=FAST)


@pytest.mark.parametrize("colours", [["pink"] * 4, [None] * 6, ["pink"] * 9 + ["red"]])
def test_a_few_new_values_missing_ones_and_one_that_is_known_are_not(colours, fitted_table):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted_table.predict(make_table(len(colours)).assign(colour=colours))


# -- ids and row numbers ---------------------------------------------------------------------------

rng = np.random.default_rng(0)
ROWS = 40
IDS = {
    "Unnamed: 0": (rng.permutation(10**6)[:ROWS], "another whole number in every row"),
    "row": (np.arange(ROWS), "counts the rows from 0 to 39"),
    "place": (np.arange(1, ROWS + 1), "counts the rows from 1 to 40"),
    "shuffled": (rng.permutation(ROWS), "counts the rows from 0 to 39"),
    "floats": (np.arange(ROWS).astype(float), "counts the rows"),
    "PassengerId": (rng.permutation(10**6)[:ROWS], "another whole number"),
    "customer_id": (rng.permutation(10**6)[:ROWS], "another whole number"),
    "text": ([str(n) for n in rng.permutation(100)[:ROWS]], "another whole number in every row, from "),
    "sampled": (rng.permutation(200)[:ROWS] + 5000, "another whole number in every row, from 5,0"),
    "code": ([f"A{n:05d}-x" for n in rng.permutation(10**4)[:ROWS]], "another code in every row"),
    "uuid": ([f"{n:08x}-4f" for n in rng.permutation(10**6)[:ROWS]], "another code in every row"),
}


@pytest.mark.parametrize("name", IDS)
def test_ids_and_row_numbers_are_noted_with_the_way_out(name):
    values, why = IDS[name]
    (note,) = notes_of(pd.DataFrame({name: values, "x": rng.normal(size=ROWS)}))
    assert f"column {name!r} " in note
    assert why in note
    assert f"column_types={{{name!r}: 'null'}}" in note


OTHERS = {
    "measured": rng.normal(size=ROWS),
    "price": rng.permutation(10**6)[:ROWS],  # no more than chance: a million prices
    "age": rng.integers(18, 80, ROWS),
    "id": rng.integers(0, 20, ROWS),
    "day": pd.date_range("2020-01-01", periods=ROWS),
    "city": [f"{n}" for n in rng.choice(["Bern", "Rom"], ROWS)],
    "text": [f"a note on number {n}" for n in range(ROWS)],
    "chinese": [f"这是第{chr(0x4E00 + n)}句" for n in range(ROWS)],
    "some": [None, *range(ROWS - 1)],
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_not(name):
    assert notes_of(pd.DataFrame({name: OTHERS[name], "x": rng.normal(size=ROWS)})) == []


def test_the_frames_own_index_as_a_column():
    frame = pd.DataFrame({"x": rng.normal(size=ROWS)}, index=rng.permutation(10**6)[:ROWS]).rename_axis("n")
    frame = frame.assign(n=frame.index)
    assert "holds the numbers of the frame's index" in notes_of(frame)[0]


def test_the_note_is_in_the_history_and_obeyed_it_goes():
    frame = make_table(40).assign(PassengerId=np.arange(900, 940))
    first = Predictor("y", verbosity=0).fit(frame, hyperparameters=FAST)
    assert first.history["note"].str.contains("column 'PassengerId' has another whole number in every row").sum() == 1
    given = {"PassengerId": "null"}
    other = Predictor("y", verbosity=0).fit(frame, hyperparameters=FAST, column_types=given)
    assert not other.history["note"].str.contains("PassengerId").any()
    assert other.predict_proba(frame).equals(
        Predictor("y", verbosity=0).fit(make_table(40), hyperparameters=FAST).predict_proba(frame)
    )


# -- a file sorted by label ------------------------------------------------------------------------


def sorted_table(rows=60):
    return make_table(rows).sort_values("y", kind="stable").reset_index(drop=True)


def test_a_file_sorted_by_label_is_split_and_trained_in_another_order(monkeypatch):
    seen = []
    real = Scorer.score
    monkeypatch.setattr(Scorer, "score", lambda self: (seen.append(self.run), real(self))[1])
    Predictor("y", verbosity=0).fit(sorted_table(), hyperparameters=FAST)
    for rows in (seen[0].train, seen[0].valid):
        assert 0.2 < rows.target.mean() < 0.8


def test_a_pass_that_the_time_ends_has_seen_rows_from_everywhere():
    """The probe and the validation, cut short, would else know one class of a file sorted by label."""
    model, (rows, _) = make_model(), make_rows(200)
    left = iter([True] * 6)
    first, whole, plain = (ArrayCollector(model, 200) for _ in range(3))
    assert collect(model, rows, first, Pass(10, CPU, in_time=lambda: next(left, False), mixed=0)) == 60
    places = np.flatnonzero(first.reached)
    assert places[:10].tolist() == list(range(10))  # the first batch is the one of the longest rows
    assert (places > 100).any()
    assert collect(model, rows, whole, Pass(10, CPU, mixed=0)) == 200
    collect(model, rows, plain, Pass(10, CPU))
    assert (whole.values == plain.values).all()
