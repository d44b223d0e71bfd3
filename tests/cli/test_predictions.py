"""What `thermocline predict` writes: ids, classes, probabilities, as CSV and as JSON; and JSON of other commands."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.cli import main
from thermocline.cli.parts import json_line
from thermocline.cli.predictions import Predictions, read_kept, write_csv, write_json
from thermocline.errors import ConfigError, DataError

SET = ["--set", *(f"{key}={value}" for key, value in TINY.items() if "text" not in key and "fusion" not in key)]


@pytest.fixture(scope="module")
def frame():
    frame = make_table()
    ids = [f"{number:03d}" for number in range(len(frame))]
    ids[1] = "NA"  # a text for missing, and a name
    frame.insert(0, "id", ids)
    frame["price"] = np.where(frame["x"] > 0, 1.5, np.nan)
    return frame


@pytest.fixture(scope="module")
def saved(tmp_path_factory, frame, fitted_table):
    folder = tmp_path_factory.mktemp("saved")
    frame.to_csv(folder / "rows.csv", index=False)
    return [str(fitted_table.save(folder / "model")), str(folder / "rows.csv")]


@pytest.fixture
def said(capsys):
    def run(*arguments):
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def table(said, tmp_path):
    def run(*arguments):
        (tmp_path / "out.csv").write_text(said(*arguments))
        return pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)

    return run


def test_kept_columns_stand_before_the_class_as_they_are_written(saved, frame, table, fitted_table):
    found = table("predict", *saved, "--keep", "id", "price")
    assert list(found.columns) == ["id", "price", "y"]
    assert found["id"].tolist() == frame["id"].tolist()
    assert set(found["price"]) == {"1.5", ""}
    assert found["y"].tolist() == fitted_table.predict(frame).tolist()
    assert list(table("predict", *saved).columns) == ["y"]


def test_probabilities_beside_the_class_or_alone(saved, frame, table, fitted_table):
    proba = fitted_table.predict_proba(frame)
    both = table("predict", *saved, "--keep", "id", "--proba")
    assert list(both.columns) == ["id", "y", "p_no", "p_yes"]
    assert both["y"].tolist() == fitted_table.predict(frame).tolist()
    assert np.allclose(both[["p_no", "p_yes"]].astype(float), proba, atol=1e-12)
    alone = table("predict", *saved, "--keep", "id", "--proba-only")
    assert list(alone.columns) == ["id", "no", "yes"]
    assert np.allclose(alone[["no", "yes"]].astype(float), proba, atol=1e-12)


def test_json_is_a_line_per_row(saved, frame, said, fitted_table, tmp_path):
    lines = said("predict", *saved, "--keep", "id", "price", "--proba", "--json").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [list(row) for row in rows] == [["kept", "prediction", "probabilities"]] * len(frame)
    assert [row["prediction"] for row in rows] == fitted_table.predict(frame).tolist()
    assert {row["kept"]["price"] for row in rows} == {1.5, None}
    assert rows[2]["kept"]["id"] == "002"
    assert rows[0]["probabilities"] == pytest.approx(fitted_table.predict_proba(frame).iloc[0].to_dict())
    said("predict", *saved, "--json", "--out", str(tmp_path / "rows.jsonl"))
    written = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written] == [{"prediction": row["prediction"]} for row in rows]


def test_the_label_may_be_kept_in_json_where_a_csv_would_have_it_twice(saved, frame, said, capsys):
    assert main(["predict", *saved, "--keep", "y"]) == 1
    assert "more than one column named 'y'" in capsys.readouterr().err
    first = json.loads(said("predict", *saved, "--keep", "y", "--json").splitlines()[0])
    assert first["kept"] == {"y": frame["y"].iloc[0]}


def test_boxes_are_json_in_a_cell_and_intervals_are_columns(capsys):
    boxes = [[{"label": "dé", "score": 0.5, "box": [1, 2, 3, 4]}], []]
    found = Predictions(pd.DataFrame({"boxes": boxes}, index=pd.Index(["a.png", "b.png"], name="file")))
    write_csv(found, None, None)
    assert capsys.readouterr().out.splitlines()[1].startswith('a.png,"[{""label"": ""dé""')
    write_json(found, None, None)
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first == {"file": "a.png", "prediction": boxes[0]}
    write_json(Predictions(pd.DataFrame({"lower": [1.0], "prediction": [2.0], "upper": [np.inf]})), None, None)
    assert json.loads(capsys.readouterr().out) == {"prediction": {"lower": 1.0, "prediction": 2.0, "upper": None}}


def test_several_labels_have_probabilities_of_their_own(capsys):
    values = pd.DataFrame({"a": [1, 0], "b": [0, 0]})
    found = Predictions(values, pd.DataFrame({"a": [0.75, 0.25], "b": [0.25, 0.0]}))
    write_csv(found, None, None)
    assert capsys.readouterr().out.splitlines() == ["a,b,p_a,p_b", "1,0,0.75,0.25", "0,0,0.25,0.0"]
    write_json(found, None, None)
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first == {"prediction": {"a": 1, "b": 0}, "probabilities": {"a": 0.75, "b": 0.25}}


def test_rows_that_do_not_go_together_are_an_error(tmp_path):
    found = Predictions(pd.DataFrame({"y": ["a", "b"]}))
    with pytest.raises(DataError, match="3 rows, and 2 predictions"):
        write_csv(found, pd.DataFrame({"id": [1, 2, 3]}), None)
    with pytest.raises(ConfigError, match="more than one column named 'y'"):
        write_csv(found, pd.DataFrame({"y": [1, 2]}), None)
    with pytest.raises(DataError, match="is a folder"):
        read_kept(str(tmp_path), ["id"], typed=False)


def test_both_are_of_one_pass(frame, fitted_table, monkeypatch):
    from thermocline.pipeline import predict

    passes = []
    inner = predict._run
    monkeypatch.setattr(predict, "_run", lambda *given: (passes.append(1), inner(*given)))
    values, proba = fitted_table._predict_both(frame)
    assert passes == [1]
    pd.testing.assert_series_equal(values, fitted_table.predict(frame))
    pd.testing.assert_frame_equal(proba, fitted_table.predict_proba(frame))


def test_scores_plans_and_recommendations_as_json(saved, said, fitted_table, frame, tmp_path):
    scores = json.loads(said("evaluate", *saved, "--json"))
    assert scores == pytest.approx(fitted_table.evaluate(frame))
    rows = ("--label", "y", "--column-type", "id=null", "price=null", *SET)
    plan = tmp_path / "plan.json"
    printed = json.loads(said("explain", saved[1], *rows, "--json", "--out", str(plan)))
    assert printed == json.loads(plan.read_text())
    assert printed["layers"]
    found = json.loads(said("recommend", saved[1], *rows, "--memory", "8GB", "--json"))
    assert found["options"]["optim.max_epochs"] == 2
    assert {one["source"] for one in found["choices"]} >= {"user", "rule"}
    assert found["phases"]


def test_a_fit_says_as_json_where_it_is_and_how_it_scored(saved, said, tmp_path):
    out = tmp_path / "model"
    rows = ("--label", "y", "--column-type", "id=null", "price=null", *SET, "model.trees=off")
    found = json.loads(said("fit", saved[1], *rows, "--out", str(out), "--json"))
    history = Predictor.load(out).history
    assert found["path"] == str(out)
    assert found["problem_type"] == "binary"
    assert found["validation"] == pytest.approx(history.kept_scores)
    assert set(found["validation"]) == {found["eval_metric"]}


def test_presets_as_json(said):
    rows = json.loads(said("presets", "ls", "--json"))
    assert {"name": "offline", "extends": ""}.items() <= next(row for row in rows if row["name"] == "offline").items()


def test_what_json_cannot_hold_is_null_or_a_text():
    given = {"a": np.float32("nan"), "b": [np.int64(3), pd.NaT, pd.NA], "c": ("x", None, True), 4: np.array([1.5])}
    assert json.loads(json_line(given)) == {"a": None, "b": [3, None, None], "c": ["x", None, True], "4": [1.5]}
    assert json_line({"é": pd.Timestamp("2026-01-02")}) == '{"\\u00e9": "2026-01-02 00:00:00"}'
