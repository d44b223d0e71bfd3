"""A cell means the same in whichever file it stands, and in a file or a frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from thermocline import Predictor
from thermocline.cli import main
from thermocline.data.cells import CellRules
from thermocline.data.column_values import numbers
from thermocline.data.columns import infer_columns
from thermocline.data.frames import read_frame
from thermocline.errors import DataError, LabelError
from thermocline.inputs.table.processor import TableProcessor
from thermocline.problems.rowwise.target import RowTarget

OPTIONS = {
    "optim.max_epochs": 1,
    "env.batch_size": 16,
    "env.device": "cpu",
    "model.table.width": 8,
    "model.table.blocks": 1,
    "model.fusion.width": 8,
}

SPELLINGS = {
    "code": ["007", "008", "A12", "B34"],
    "number": ["1.0", "2.0", "x", "1.0"],
    "truth": ["true", "false", "maybe", "true"],
    "version": ["1.10", "1.1", "2.0b", "1.1"],
    "power": ["1E3", "1000", "AB", "1E3"],
    "sign": ["+1", "1", "-", "+1"],
    "words": ["inf", "nan ", "b", "inf"],
    "always": ["007", "010", "007", "008"],  # codes in every row
}


def fitted(data, label="y", *, tuning=None, column_types=None, **given) -> Predictor:
    predictor = Predictor(label, verbosity=0, **given)
    return predictor.fit(data, tuning, hyperparameters=OPTIONS, column_types=column_types)


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.fixture(scope="module")
def spelled() -> pd.DataFrame:
    frame = pd.DataFrame({name: values * 10 for name, values in SPELLINGS.items()})
    return frame.assign(amount=np.arange(40) / 7, y=["NA", "01", "10", "10"] * 10)


@pytest.fixture(scope="module")
def codes(spelled: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("cells")
    part = write(spelled[:2], folder / "part.csv")  # each column would be numbers here, and both labels too
    return fitted(write(spelled, folder / "whole.csv"), tuning=part)


# -- parts of a file -------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [slice(0, 1), slice(1, 2), slice(0, 2), slice(2, 3)])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_part_of_a_file_is_predicted_as_in_the_whole_file(codes, spelled, tmp_path, rows, suffix):
    whole = codes.predict_proba(write(spelled, tmp_path / "whole.csv"))
    part = codes.predict_proba(write(spelled[rows], tmp_path / f"part{suffix}"))
    np.testing.assert_allclose(part.to_numpy(), whole.to_numpy()[rows], rtol=1e-6)
    known = codes.embed(spelled[rows])
    np.testing.assert_array_equal(known, codes.embed(tmp_path / f"part{suffix}"))


def test_labels_stay_as_they_are_written(codes, spelled, tmp_path):
    assert list(codes.predict_proba(spelled).columns) == ["01", "10", "NA"]
    assert set(codes.predict(write(spelled, tmp_path / "a.csv"))) <= {"01", "10", "NA"}
    for rows in (slice(0, 1), slice(1, 2), slice(0, 4)):
        scores = codes.evaluate(write(spelled[rows], tmp_path / "part.csv"), ["accuracy"])
        assert scores == codes.evaluate(spelled[rows], ["accuracy"])


def test_the_command_line_reads_cells_alike(codes, spelled, tmp_path, capsys):
    codes.save(tmp_path / "model")
    part = write(spelled[1:2], tmp_path / "part.csv")
    assert main(["predict", str(tmp_path / "model"), str(part), "--proba-only"]) == 0
    printed = [float(value) for value in capsys.readouterr().out.splitlines()[1].split(",")]
    np.testing.assert_allclose(printed, codes.predict_proba(spelled[1:2]).to_numpy()[0], rtol=1e-6)


def test_a_frame_that_pandas_typed_anew_finds_its_categories(codes, spelled, tmp_path):
    part = pd.read_csv(write(spelled[:2].drop(columns=["version", "power", "sign", "words"]), tmp_path / "part.csv"))
    assert part["code"].tolist() == [7, 8]
    processor = TableProcessor.fit(spelled, infer_columns(spelled, exclude=["y"]), max_categories=50)
    for name in ("code", "number", "truth"):
        place = [column.name for column in processor.categorical].index(name)
        whole = processor.rows(spelled[:2]).codes[:, place]
        typed = processor.rows(spelled[:2].assign(**{name: part[name].to_numpy()})).codes[:, place]
        assert whole.tolist() == typed.tolist() != [0, 0]


# -- one table in four files -----------------------------------------------------------------------


def test_every_file_and_the_frame_give_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=40) * 1e-3,
            "gaps": np.where(rng.random(40) < 0.3, np.nan, rng.integers(0, 9, 40)),
            "whole": rng.integers(0, 10**6, 40),
            "truth": rng.random(40) < 0.5,
            "colour": rng.choice(["red", "green", "blue"], 40),
            "day": rng.choice(["2020-01-31", "2021-02-01"], 40),
            "y": np.arange(40) % 2,
        }
    )
    expected = None
    for name in (None, "a.csv", "a.tsv", "a.parquet", "a.csv.gz"):
        data = frame if name is None else write(frame, tmp_path / name)
        predictor = fitted(data)
        found = predictor.predict_proba(data)
        expected = found if expected is None else expected
        np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())
        np.testing.assert_array_equal(predictor.predict_proba(frame).to_numpy(), expected.to_numpy())
        assert list(found.columns) == [0, 1]
        assert predictor.predict(data).dtype == np.int64


# -- types that the user gave ----------------------------------------------------------------------


def read(path: Path, **types: str) -> TableProcessor:
    frame, _ = read_frame(path, CellRules(as_text=frozenset(types)))
    return TableProcessor.fit(frame, infer_columns(frame, column_types=types), max_categories=50)


def codes_of(processor: TableProcessor, values: object) -> list[int]:
    return processor.rows(pd.DataFrame({processor.categorical[0].name: values})).codes[:, 0].tolist()


@pytest.mark.parametrize(
    ("cells", "form", "vocabulary"),
    [
        (["007", "008"], "category", ("007", "008")),
        (["007", "12"], "category", ("007", "12")),
        (["1.10", "1.1"], "category", ("1.1", "1.10")),
        (["7.0", "8"], "number category", ("7", "8")),
        (["TRUE", "false", "True"], "boolean", ("False", "True")),
    ],
)
def test_a_given_category_is_what_is_written(tmp_path, cells, form, vocabulary):
    processor = read(write(pd.DataFrame({"zip": cells}), tmp_path / "a.csv"), zip="categorical")
    assert processor.categorical[0].form == form
    assert processor.vocabularies == (vocabulary,)


def test_a_given_category_of_a_fit_keeps_its_zeros(tmp_path):
    frame = pd.DataFrame({"zip": ["007", "070"] * 10, "y": [0, 1] * 10})
    predictor = fitted(write(frame, tmp_path / "a.csv"), column_types={"zip": "categorical"})
    np.testing.assert_array_equal(predictor.embed(frame), predictor.embed(tmp_path / "a.csv"))
    assert (predictor.embed(frame[:1]) != predictor.embed(pd.DataFrame({"zip": ["7.5"]}))).any()


def test_truth_values_in_every_spelling():
    frame = pd.DataFrame({"flag": [True, False, True]})
    processor = TableProcessor.fit(frame, infer_columns(frame), max_categories=50)
    for values in (["TRUE", "false", "True"], [1, 0, 1], ["1", "0", "1.0"], [1.0, 0.0, 1.0], [" true", "FALSE", 1]):
        assert codes_of(processor, values) == [2, 1, 2]
    assert codes_of(processor, ["maybe", None, "2"]) == [0, 0, 0]
    numeric = infer_columns(pd.DataFrame({"flag": [0, 1, 2]}))["flag"]
    assert numbers(pd.Series(["TRUE", "0", "false"]), numeric).tolist() == [1, 0, 0]


def test_categories_of_a_former_version_match_numbers_however_they_are_written():
    frame = pd.DataFrame({"zip": [7, 8, 7]})
    saved = TableProcessor.fit(frame, infer_columns(frame, column_types={"zip": "categorical"}), max_categories=9)
    content = saved.to_dict()
    del content["forms"]
    content["columns"]["columns"][0]["form"] = "category"
    loaded = TableProcessor.from_dict(content)
    assert codes_of(loaded, ["7.0", "8", "007"]) == [1, 2, 0]
    assert TableProcessor.from_dict(saved.to_dict()) == saved


# -- cells -----------------------------------------------------------------------------------------


def test_missing_words_and_labels(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,t,y,r\n1,a,NA,1.5\nNA,null,yes,NA\n n/a ,None,no,2\n,NA,,\n")
    frame, _ = read_frame(path, CellRules(labels=("y", "r")))
    assert frame["x"].isna().tolist() == [False, True, True, True]
    assert frame["t"].isna().tolist() == [False, True, True, True]
    assert frame["y"].fillna("missing").tolist() == ["NA", "yes", "no", "missing"]
    assert frame["r"].fillna(-1).tolist() == [1.5, -1, 2, -1]
    assert [str(frame[name].dtype) for name in frame] == ["float64", "str", "str", "float64"]


def test_infinite_numbers_in_a_file_are_still_an_error(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,a\ninf,b\n3,a\n-Infinity,b\n")
    with pytest.raises(DataError, match=r"column 'x' holds 2 infinite values: row 1: inf"):
        fitted(path)


def test_numbers_of_a_file_are_the_numbers_that_are_written(tmp_path):
    written = ["0.1", "1e23", "123456789.123456789", "9007199254740993", "4.35", "-2.2250738585072014e-308"]
    path = tmp_path / "a.csv"
    path.write_text("x\n" + "\n".join(written) + "\n")
    assert read_frame(path)[0]["x"].tolist() == [float(text) for text in written]


def test_numbers_with_leading_zeros_where_the_user_says_they_are_numbers(tmp_path):
    frame = pd.DataFrame({"height": ["007", "012", "009", "100"] * 8, "y": ["001", "020", "300", "040"] * 8})
    path = write(frame, tmp_path / "a.csv")
    predictor = fitted(path, problem_type="regression", column_types={"height": "numeric"})
    assert predictor.columns["height"].kind == "numeric"
    assert predictor.evaluate(path, ["rmse"]) == predictor.evaluate(frame.astype(int), ["rmse"])


# -- labels by the form that training had ----------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "written", "expected"),
    [
        ([0, 1, 0], ["1", "0", "1.0"], [1, 0, 1]),
        ([True, False, True], ["TRUE", "0", "false"], [1, 0, 0]),
        ([1.5, 2.0, 1.5], ["2", "1.50", "2.0"], [1, 0, 1]),
        (["01", "1", "x"], ["1", "01", "01"], [1, 0, 0]),
    ],
)
def test_labels_of_other_files_are_parsed_as_those_of_training(labels, written, expected):
    target = RowTarget.of(pd.DataFrame({"y": labels}), "y", "multiclass")
    assert target.encode(pd.DataFrame({"y": written})).tolist() == expected
    with pytest.raises(LabelError, match="never saw"):
        target.encode(pd.DataFrame({"y": ["7", "1", "1"]}))


def test_missing_labels_of_other_files_are_named():
    target = RowTarget.of(pd.DataFrame({"y": [0, 1, 0]}), "y")
    with pytest.raises(LabelError, match="is missing in 1 of 2 rows: row 1"):
        target.encode(pd.DataFrame({"y": ["1", "NA"]}))


def test_quantities_and_label_columns_as_text():
    target = RowTarget.of(pd.DataFrame({"y": [0.5, 1.5, 2.5]}), "y")
    np.testing.assert_array_equal(
        target.encode(pd.DataFrame({"y": ["0.5", "2.50"]})), target.encode(pd.DataFrame({"y": [0.5, 2.5]}))
    )
    several = RowTarget.of(pd.DataFrame({"a": [0, 1], "b": [1, 0]}), ["a", "b"])
    assert several.encode(pd.DataFrame({"a": ["1", "0"], "b": ["true", "0"]})).tolist() == [[1, 1], [0, 0]]
