"""`predictor.report` and `top_losses` on tiny fits: what they show, and what bad rows make of them."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest

from support.tiny import TINY, make_table, told
from thermocline import Metric, Predictor
from thermocline.errors import ConfigError, DataError, LabelError, MissingColumnError, NotFittedError
from thermocline.evaluation.report import EvaluationReport
from thermocline.problems.rowwise.metrics import METRICS
from thermocline.report.sections import Matrix, Table

FAST = {**TINY, "model.trees": "off", "optim.max_epochs": 1}


def numbers(seed=0, rows=60):
    return make_table(rows, seed).assign(y=lambda f: 3 * f["x"] + f["z"])


def several(seed=0, rows=60):
    frame = make_table(rows, seed)
    cells = [[name for name, there in (("up", x > 0), ("far", z > 0.5)) if there] for x, z in frame[["x", "z"]].values]
    return frame.assign(y=cells)


def many(seed=0, rows=240):
    """Thirty classes."""
    frame = make_table(rows, seed)
    return frame.assign(y=[f"class number {k:02d}" for k in np.arange(rows) % 30])


@pytest.fixture(scope="module")
def fitted():
    frames = {"number": numbers(), "labels": several(), "many": many()}
    return {name: Predictor("y", verbosity=0).fit(frame, hyperparameters=FAST) for name, frame in frames.items()}


@pytest.fixture(scope="module")
def reports(fitted, fitted_table):
    return {
        "binary": fitted_table.report(make_table(100, seed=1)),
        "number": fitted["number"].report(numbers(1)),
        "labels": fitted["labels"].report(several(1)),
        "many": fitted["many"].report(many(1)),
    }


KINDS = ["binary", "number", "labels", "many"]
TITLES = {
    "binary": ["Classes", "Confusion matrix", "Calibration", "Threshold", "Rows with the highest loss"],
    "number": ["Errors", "Coverage of predict_interval", "Residuals", "Rows with the highest loss"],
    "labels": ["Labels", "f1 of each label", "Wrong labels in a row", "Calibration", "Rows with the highest loss"],
    "many": ["Classes", "Confusion matrix", "Classes most confused", "Calibration", "Rows with the highest loss"],
}


# -- what is in it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_sections_and_scores(kind, reports, fitted, fitted_table):
    report = reports[kind]
    assert [section.title for section in report.sections] == TITLES[kind]
    predictor = fitted.get(kind, fitted_table)
    frame = {"binary": make_table(100, seed=1), "number": numbers(1), "labels": several(1), "many": many(1)}[kind]
    expected = predictor.evaluate(frame)
    assert {one.name: one.value for one in report.scores} == expected
    assert report.scores[0].name == predictor.eval_metric
    for one in report.scores:
        if one.name != "threshold":
            assert one.low <= one.value <= one.high, one
            assert one.baseline is not None
    assert report.draws == 1000


def test_the_baseline_is_the_best_constant(reports):
    frame = make_table(100, seed=1)
    by = {one.name: one.baseline for one in reports["binary"].scores}
    share = (frame["y"] == "yes").mean()
    assert by["accuracy"] == pytest.approx(max(share, 1 - share))
    assert by["roc_auc"] == 0.5
    assert by["log_loss"] == pytest.approx(-share * math.log(share) - (1 - share) * math.log(1 - share))
    values = numbers(1)["y"]
    by = {one.name: one.baseline for one in reports["number"].scores}
    assert by["rmse"] == pytest.approx(values.std(ddof=0), rel=1e-5)
    assert by["r2"] == pytest.approx(0, abs=1e-6)


def test_tables_of_classes_say_what_scikit_learn_says(reports, fitted_table):
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    frame = make_table(100, seed=1)
    said = fitted_table.predict(frame)
    names = ["no", "yes"]
    classes = reports["binary"]["Classes"].rows
    expected = precision_recall_fscore_support(frame["y"], said, labels=names)
    assert [row[0] for row in classes] == names
    assert np.array([row[1:] for row in classes]) == pytest.approx(np.array(expected).T)
    matrix = reports["binary"]["Confusion matrix"]
    assert matrix.names == tuple(names)
    assert np.array(matrix.values) == pytest.approx(confusion_matrix(frame["y"], said, labels=names))


def test_calibration_and_threshold_are_those_of_the_probabilities(reports, fitted_table):
    frame = make_table(100, seed=1)
    chance, true = fitted_table.predict_proba(frame)[fitted_table.positive_class], frame["y"]
    positive = true == fitted_table.positive_class
    curve = reports["binary"]["Calibration"]
    bins = np.minimum((chance * 10).astype(int), 9)
    assert list(curve.x) == pytest.approx(chance.groupby(bins).mean().tolist())
    assert list(curve.lines["observed"]) == pytest.approx(positive.groupby(bins).mean().tolist())
    curve = reports["binary"]["Threshold"]
    assert list(curve.marks.values()) == [fitted_table.threshold]
    at = curve.x.index(0.3)
    assert curve.lines["recall"][at] == pytest.approx((positive & (chance > 0.3)).sum() / positive.sum())
    marked = [row for row in curve.table.rows if row[-1] == "used"]
    assert len(marked) == 1
    assert len({row[0] for row in curve.table.rows}) == len(curve.table.rows)


def test_many_classes_are_folded(reports):
    report = reports["many"]
    matrix = report["Confusion matrix"]
    assert len(matrix.names) == 11
    assert matrix.names[-1] == "(others)"
    assert sum(map(sum, matrix.values)) == 240
    classes = report["Classes"]
    assert len(classes.rows) == 30
    assert [row[3] if row[3] == row[3] else 0 for row in classes.rows] == sorted(
        row[3] if row[3] == row[3] else 0 for row in classes.rows
    )
    assert "10 more rows, in to_dict()" in str(report)
    pairs = report["Classes most confused"].rows
    assert [row[2] for row in pairs] == sorted((row[2] for row in pairs), reverse=True)


def test_errors_and_coverage_of_numbers(reports, fitted):
    frame = numbers(1)
    off = (frame["y"] - fitted["number"].predict(frame)).abs()
    rows = {row[0]: row[1] for row in reports["number"]["Errors"].rows}
    assert rows["largest"] == pytest.approx(off.max())
    assert rows["at most, in 50 % of rows"] == pytest.approx(off.median())
    ends = fitted["number"].predict_interval(frame, 0.8)
    inside = frame["y"].between(ends["lower"], ends["upper"]).mean()
    coverage = {row[0]: row[1] for row in reports["number"]["Coverage of predict_interval"].rows}
    assert coverage["80 %"] == f"{100 * inside:.1f} %"


# -- its forms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", [80, 120])
def test_text_fits_the_screen(kind, columns, reports, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = str(reports[kind])
    assert max(map(len, text.splitlines())) <= columns
    assert repr(reports[kind]) == text
    for one in reports[kind].scores:
        assert one.name in text


@pytest.mark.parametrize(
    ("names", "value", "header"),
    [
        (("a", "b"), 3, "true \\ predicted  a  b"),
        (tuple(f"a long name {k}" for k in range(6)), 3, "true \\ predicted  1  2  3  4  5  6"),
        (tuple(f"a long name {k}" for k in range(12)), 123_456, "true \\ predicted    1    2    3"),
    ],
    ids=["names", "numbers", "shares"],
)
def test_a_matrix_fits_80_columns(names, value, header, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = tuple(tuple(float(value) if a == b else 0.0 for a in names) for b in names)
    text = str(EvaluationReport("multiclass", "y", 9, sections=(Matrix("Confusion matrix", names, rows),)))
    assert max(map(len, text.splitlines())) <= 80
    assert header in text
    assert ("% of the true class" in text) == (value > 1000)


def test_odd_names_are_shown_as_they_are(tmp_path):
    names = ("$x_$ <b>", "\u65e5\u672c", "\x1b[31mred")
    table = Table("Classes", ("class", "rows"), tuple((name, 2) for name in names))
    matrix = Matrix("Confusion matrix", names, ((1.0, 0.0, 2.5),) * 3)
    report = EvaluationReport("multiclass", "y", 9, sections=(table, matrix))
    assert "\x1b" not in str(report)
    html = report._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "\x1b" not in html
    assert "red" in report.save(tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_plain_data_round_trips_through_json(kind, reports):
    report = reports[kind]
    data = report.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert [section["title"] for section in data["sections"]] == TITLES[kind]
    frame = report.to_frame()
    assert frame["metric"].tolist() == list(data["scores"])
    assert frame["score"].tolist() == [one.value for one in report.scores]


def test_html_is_escaped_and_holds_its_pictures(reports, tmp_path):
    odd = dataclasses.replace(reports["binary"], label="<script>", notes=("a & b",))
    html = odd._repr_html_()
    assert "<script>" not in html
    assert "a &amp; b" in html
    assert html.count("data:image/png;base64,") == 3
    file = odd.save(tmp_path / "report.html")
    page = file.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert html in page
    assert "http" not in page.replace("http-equiv", "")
    assert odd._repr_html_() == html


def test_pictures_are_transparent_and_leave_matplotlib_as_it_was(reports):
    import matplotlib
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    figure = reports["binary"].plot()
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Confusion matrix", "Calibration", "Threshold"]
    assert figure.get_facecolor()[3] == 0
    assert all(ax.get_facecolor()[3] == 0 for ax in figure.axes)
    figure.canvas.draw()
    pyplot.close(figure)
    assert dict(matplotlib.rcParams) == before
    open_figures = pyplot.get_fignums()
    reports["number"]._repr_html_()
    assert pyplot.get_fignums() == open_figures


@pytest.mark.parametrize("path", ["report.txt", "no/such/folder/r.html", 3])
def test_a_report_is_not_saved_anywhere(reports, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "report" in told(ConfigError, ValueError, lambda: reports["number"].save(path)) or "folder" in str(path)
    assert list(tmp_path.iterdir()) == []


def test_a_section_is_found_by_its_title(reports):
    assert "'Classes'" in told(ConfigError, ValueError, lambda: reports["binary"]["Residuals"])


# -- rows ----------------------------------------------------------------------------------------------------------


def test_top_losses_of_classes(fitted_table):
    frame = make_table(50, seed=2).set_index(np.arange(50) * 3 + 7)
    before = frame.copy(deep=True)
    top = fitted_table.top_losses(frame, 4)
    chance = fitted_table.predict_proba(frame)
    of_label = pd.Series([chance.loc[row, frame.loc[row, "y"]] for row in frame.index], index=frame.index)
    assert top.index.tolist() == of_label.sort_values(kind="stable").index[:4].tolist()
    assert top.columns.tolist() == ["y", "prediction", "probability", "loss", "x", "z", "colour"]
    assert top["probability"].tolist() == pytest.approx(of_label[top.index].tolist())
    assert top["loss"].tolist() == pytest.approx((-np.log(of_label[top.index])).tolist())
    assert top["prediction"].equals(fitted_table.predict(frame)[top.index].rename("prediction"))
    pd.testing.assert_frame_equal(frame, before)
    assert len(fitted_table.top_losses(frame, 1000)) == 50


def test_rows_are_found_on_an_index_that_repeats(fitted_table):
    frame = make_table(40, seed=2)
    repeated = frame.set_axis(pd.MultiIndex.from_arrays([["a"] * 40, [1] * 40]))
    top = fitted_table.top_losses(repeated, 5)
    assert top.index.tolist() == [("a", 1)] * 5
    assert top["loss"].tolist() == fitted_table.top_losses(frame, 5)["loss"].tolist()
    assert fitted_table.report(repeated)["Rows with the highest loss"].rows[0][0] == "a, 1"


def test_top_losses_of_numbers_and_labels(fitted):
    frame = numbers(3).assign(loss="mine")
    top = fitted["number"].top_losses(frame, 3)
    off = frame["y"] - fitted["number"].predict(frame)
    assert top.index.tolist() == off.abs().sort_values(ascending=False).index[:3].tolist()
    assert top["residual"].tolist() == pytest.approx(off[top.index].tolist(), rel=1e-5)
    assert top["loss (data)"].tolist() == ["mine"] * 3
    top = fitted["labels"].top_losses(several(3), 2)
    assert top.columns.tolist()[:4] == ["y", "prediction", "wrong", "loss"]
    assert top["loss"].is_monotonic_decreasing


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "3"])
def test_top_losses_of_no_number_of_rows(fitted_table, n):
    assert "whole number" in told(ConfigError, ValueError, lambda: fitted_table.top_losses(make_table(), n))


# -- rows that do not fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", ["report", "top_losses"])
@pytest.mark.parametrize(
    ("change", "error", "builtin", "message"),
    [
        (lambda f: f.drop(columns="y"), MissingColumnError, KeyError, "'y'"),
        (lambda f: f.drop(columns="x"), MissingColumnError, KeyError, "'x'"),
        (lambda f: f.iloc[:0], DataError, ValueError, "empty"),
        (lambda f: f.assign(y=["maybe", *f["y"][1:]]), LabelError, ValueError, "'maybe', which training never saw"),
        (lambda f: f.assign(y=[None, *f["y"][1:]]), LabelError, ValueError, "missing in 1 of 60 rows"),
    ],
    ids=["no labels", "a missing column", "no rows", "an unseen class", "a missing label"],
)
def test_rows_that_cannot_be_scored(fitted_table, use, change, error, builtin, message):
    assert message in told(error, builtin, lambda: getattr(fitted_table, use)(change(make_table())))


def test_before_fit():
    for use in ("report", "top_losses"):
        told(NotFittedError, RuntimeError, lambda use=use: getattr(Predictor("y"), use)(make_table()))


def test_rows_of_one_class(fitted_table):
    frame = make_table(80, seed=1).query("y == 'yes'")
    report = fitted_table.report(frame)
    by = {one.name: one for one in report.scores}
    assert math.isnan(by["roc_auc"].value)
    assert by["roc_auc"].note == "not defined on these rows"
    assert by["accuracy"].low is not None
    assert "no row of 1 of 2 classes: no" in report.notes
    assert "roc_auc: not defined on these rows" in str(report)
    assert report.to_dict()["scores"]["roc_auc"]["value"] is None
    report._repr_html_()


@pytest.mark.parametrize("kind", ["binary", "number", "labels", "many"])
def test_one_row(kind, fitted, fitted_table):
    predictor = fitted.get(kind, fitted_table)
    frame = {"binary": make_table(), "number": numbers(), "labels": several(), "many": many()}[kind].head(1)
    report = predictor.report(frame)
    assert report.rows == 1
    assert report.draws == 0
    assert all(one.low is None for one in report.scores)
    assert "no intervals: 1 row, and they need 10" in str(report)
    report._repr_html_()
    assert len(predictor.top_losses(frame)) == 1


def test_a_metric_that_cannot_be_computed_is_said_and_the_others_are_there(fitted_table):
    def fails(y_true, y_pred):
        raise ZeroDivisionError("nothing to divide by")

    report = fitted_table.report(make_table(), metrics=["accuracy", fails, Metric("off", lambda y, p: np.nan)])
    by = {one.name: one for one in report.scores}
    assert by["accuracy"].value == fitted_table.evaluate(make_table(), "accuracy")["accuracy"]
    assert "raised ZeroDivisionError: nothing to divide by" in by["fails"].note
    assert by["off"].note == "not defined on these rows"
    assert "nothing to divide by" in " ".join(str(report).split())


def test_a_metric_that_does_not_fit_is_an_error_before_anything_is_computed(fitted_table, monkeypatch):
    from thermocline.pipeline import predict

    monkeypatch.setattr(predict, "_run", lambda *_: pytest.fail("it was run"))
    assert "'rmse' is for" in told(ConfigError, ValueError, lambda: fitted_table.report(make_table(), "rmse"))


def test_labels_beside_the_rows(fitted_table):
    frame = make_table(seed=4)
    beside = fitted_table.report(frame.drop(columns="y"), frame["y"])
    assert beside.scores == fitted_table.report(frame).scores


def test_reports_change_nothing_and_are_the_same_again(fitted_table, capsys):
    frame = make_table(seed=5)
    before, state = frame.copy(deep=True), np.random.get_state()[1].copy()
    first, second = fitted_table.report(frame), fitted_table.report(frame)
    assert first.to_dict() == second.to_dict()
    pd.testing.assert_frame_equal(frame, before)
    assert (np.random.get_state()[1] == state).all()
    assert capsys.readouterr().out == ""


def test_a_metric_of_which_only_the_name_was_saved_is_left_out(tmp_path):
    def own(y_true, y_pred):
        return float((y_true == y_pred).mean())

    assert "own" not in METRICS
    made = Predictor("y", eval_metric=own, path=tmp_path / "m", verbosity=0).fit(make_table(), hyperparameters=FAST)
    assert made.report(make_table()).scores[0].low is not None
    again = Predictor.load(made.path, verbosity=0).report(make_table())
    assert "own" not in [one.name for one in again.scores]
    assert again.notes[0].startswith("own: left out")
