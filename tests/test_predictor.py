"""The good road: every problem type, every kind of column, and what a fit must leave alone."""

from __future__ import annotations

import datetime
import os

import numpy as np
import pandas as pd
import pytest

from support.tiny import TINY, make_table, make_texts, write_images
from thermocline import Predictor
from thermocline.errors import ThermoclineWarning


def fit(frame, label="y", *arguments, options=None, **more) -> Predictor:
    named = {key: more.pop(key) for key in ("sample_weight", "path") if key in more}
    predictor = Predictor(label, *arguments, verbosity=0, **named)
    return predictor.fit(frame, hyperparameters={**TINY, **(options or {})}, **more)


# -- problem types ---------------------------------------------------------------------------------


def test_binary(table):
    predictor = fit(table)
    assert predictor.problem_type == "binary"
    chances = predictor.predict_proba(table)
    assert list(chances.columns) == ["no", "yes"]
    assert np.allclose(chances.sum(axis=1), 1)
    chosen = predictor.predict(table)
    assert chosen.equals(chances.idxmax(axis=1).astype(table["y"].dtype).rename("y"))
    scores = predictor.evaluate(table, ["accuracy", "roc_auc", "f1"])
    assert list(scores) == ["accuracy", "roc_auc", "f1"]
    assert scores["accuracy"] == (chosen == table["y"]).mean() > 0.7
    assert next(iter(predictor.evaluate(table))) == "roc_auc"
    assert predictor.embed(table).shape[0] == len(table)
    assert "val_roc_auc" in predictor.history.columns
    assert "Predictor(label='y': binary, table" in repr(predictor)


def test_multiclass(table):
    predictor = fit(table.drop(columns="y").assign(kind=[0, 1, 2] * 20), "kind")
    assert predictor.problem_type == "multiclass"
    assert predictor.predict(table).isin([0, 1, 2]).all()
    assert predictor.predict_proba(table).shape == (60, 3)


def test_regression(table):
    frame = table.drop(columns="y").assign(y=1000 + 50 * table["x"])
    predictor = fit(frame, options={"optim.max_epochs": 4})
    assert predictor.problem_type == "regression"
    assert abs(predictor.predict(frame).mean() - 1000) < 30  # in the label's own units
    assert predictor.evaluate(frame, "r2")["r2"] > 0.7
    assert predictor.evaluate(frame)["rmse"] < 50


def test_multilabel_columns(table):
    frame = table.assign(a=(table["x"] > 0).astype(int), b=table["z"] > 0).drop(columns="y")
    predictor = fit(frame, ["a", "b"])
    assert predictor.problem_type == "multilabel"
    chosen = predictor.predict(frame)
    assert list(chosen.columns) == ["a", "b"]
    assert chosen.dtypes.equals(frame[["a", "b"]].dtypes)
    assert predictor.evaluate(frame, "f1_macro")["f1_macro"] > 0.6


def test_multilabel_lists(table):
    cells = [["up"] * (x > 0) + ["side"] * (z > 0) for x, z in zip(table.x, table.z, strict=True)]
    predictor = fit(table.assign(y=cells))
    assert predictor.problem_type == "multilabel"
    chosen = predictor.predict(table)
    assert all(isinstance(cell, list) and set(cell) <= {"up", "side"} for cell in chosen)
    assert list(predictor.predict_proba(table).columns) == ["side", "up"]


LABELS = [
    pd.Series([3, 7] * 30),
    pd.Series([3, 7] * 30, dtype="int8"),
    pd.Series([3, 7] * 30, dtype="Int64"),
    pd.Series([True, False] * 30),
    pd.Series([True, False] * 30, dtype="boolean"),
    pd.Series(["a", "b"] * 30),
    pd.Series(["a", "b"] * 30, dtype=object),
    pd.Series(["a", "b"] * 30, dtype="string[pyarrow]"),
    pd.Series(["lo", "hi"] * 30, dtype=pd.CategoricalDtype(["lo", "mid", "hi"], ordered=True)),
]


@pytest.mark.parametrize("label", LABELS, ids=lambda s: str(s.dtype))
def test_class_labels_keep_their_dtype(label):
    frame = make_table().assign(y=label)
    predictor = fit(frame, options={"optim.max_steps": 1})
    chosen = predictor.predict(frame)
    assert str(chosen.dtype) == str(label.dtype)
    assert chosen.dtype == label.dtype or pd.__version__ < "3"  # before, "string" was kept by Python, not by Arrow
    assert chosen.isin(label.unique()).all()


# -- columns ---------------------------------------------------------------------------------------


def test_dtypes_of_features():
    """Nullable, arrow, categorical, boolean, dates, durations, all with missing values."""
    n = 60
    rng = np.random.default_rng(0)
    base = pd.Series(rng.normal(size=n)).mask(rng.random(n) < 0.2)
    when = pd.Series(pd.date_range("2020-01-01", periods=n)).mask(rng.random(n) < 0.2)
    words = pd.Series(rng.choice(["a", "b", "c"], n)).mask(rng.random(n) < 0.2)
    frame = pd.DataFrame(
        {
            "nullable": base.astype("Float64"),
            "whole": (base * 10).round().astype("Int64"),
            "arrow": base.astype("float64[pyarrow]"),
            "category": words.astype("category"),
            "arrow_text": words.astype("string[pyarrow]"),
            "truth": (base > 0).astype("boolean").mask(base.isna()),
            "plain_truth": base > 0,
            "date": when,
            "zoned": when.dt.tz_localize("Europe/Berlin"),
            "day": pd.Series([d.date() if d == d else None for d in when], dtype=object),
            "span": when - pd.Timestamp("2019-01-01"),
            "iso": when.dt.strftime("%Y-%m-%d"),
            "decimal_text": base.map(lambda v: f"{v:.3f}", na_action="ignore"),
            "nothing": None,
            "same": 1,
            "y": np.where(base.fillna(0) > 0, "p", "q"),
        }
    )
    before = frame.copy(deep=True)
    predictor = fit(frame)
    pd.testing.assert_frame_equal(frame, before)
    kinds = {column.name: column.kind for column in predictor.columns}
    assert kinds["nothing"] == kinds["same"] == "null"
    assert {kinds[n] for n in ("category", "arrow_text", "truth", "plain_truth")} == {"categorical"}
    numeric = ("nullable", "whole", "arrow", "date", "zoned", "day", "span", "iso", "decimal_text")
    assert {kinds[n] for n in numeric} == {"numeric"}
    expected = predictor.predict(frame)
    assert predictor.predict(frame[frame.columns[::-1]]).equals(expected)  # columns go by name
    assert predictor.predict(frame.drop(columns=["nothing", "same"])).equals(expected)
    gone = frame.assign(**{name: None for name in kinds if kinds[name] != "null"})
    assert predictor.predict(gone).isin(["p", "q"]).all()
    assert predictor.evaluate(frame, "accuracy")["accuracy"] > 0.8


def test_extreme_numbers(table):
    table.loc[0, "x"], table.loc[1, "x"] = 1e308, -1e308
    chances = fit(table).predict_proba(table)
    assert np.isfinite(chances).all(axis=None)


def test_categories_never_seen(fitted_table, table):
    with pytest.warns(ThermoclineWarning, match="none of its 60 values was seen in training"):
        assert fitted_table.predict(table.assign(colour="ultraviolet")).isin(["no", "yes"]).all()


@pytest.mark.parametrize("join", ["names", "separator"])
def test_several_texts(text_folder, join):
    frame = make_texts().rename(columns={"review": "title"}).assign(body=make_texts(seed=1)["review"])
    frame.loc[3, "title"], frame.loc[4, ["title", "body"]] = None, None
    predictor = fit(frame, options={"model.text.checkpoint": str(text_folder), "model.text.join": join})
    assert predictor.columns.of("text") == ["title", "body"]
    chances = predictor.predict_proba(frame)
    swapped = predictor.predict_proba(frame.rename(columns={"title": "body", "body": "title"}))
    assert not np.allclose(chances, swapped)  # each column has its place


def test_several_images(tmp_path, image_folder):
    frame = write_images(tmp_path)
    frame = frame.assign(img=[str(tmp_path / n) for n in frame["img"]])
    frame = frame.assign(other=frame["img"].iloc[::-1].to_numpy())
    frame.loc[2, "img"], frame.loc[3, ["img", "other"]] = None, None
    predictor = fit(frame, options={"model.image.checkpoint": str(image_folder), "optim.max_epochs": 1})
    assert predictor.columns.of("image") == ["img", "other"]
    assert np.isfinite(predictor.predict_proba(frame)).all(axis=None)


def test_images_as_paths_bytes_and_pictures(tmp_path, image_folder):
    from PIL import Image

    frame = write_images(tmp_path, rows=12)
    options = {"model.image.checkpoint": str(image_folder), "optim.max_epochs": 1}
    frame.to_csv(tmp_path / "train.csv", index=False)
    predictor = fit(tmp_path / "train.csv", options=options)  # relative paths start at the file's folder
    expected = predictor.predict_proba(tmp_path / "train.csv")
    absolute = [tmp_path / name for name in frame["img"]]
    for cells in (
        [str(path) for path in absolute],
        absolute,
        [path.read_bytes() for path in absolute],
        [Image.open(path).copy() for path in absolute],
    ):
        other = frame.assign(img=pd.Series(cells, dtype=object))
        np.testing.assert_allclose(predictor.predict_proba(other), expected, atol=1e-6)
        if not isinstance(cells[0], os.PathLike):
            assert fit(other, options={**options, "optim.max_steps": 1}).columns.of("image") == ["img"]


def test_all_kinds_together(tmp_path, text_folder, image_folder, table):
    rows = 24
    frame = pd.concat(
        [
            write_images(tmp_path, rows)[["img"]].map(lambda name: str(tmp_path / name)),
            make_texts(rows)[["review", "y"]],
            table.loc[: rows - 1, ["x", "colour"]],
        ],
        axis=1,
    )
    frame.loc[1, ["img", "review", "x", "colour"]] = None
    options = {"model.text.checkpoint": str(text_folder), "model.image.checkpoint": str(image_folder)}
    predictor = fit(frame, options=options)
    assert {c.name: c.kind for c in predictor.columns} == {
        "img": "image",
        "review": "text",
        "x": "numeric",
        "colour": "categorical",
    }
    assert predictor.predict(frame).index.equals(frame.index)
    loaded = Predictor.load(predictor.save(tmp_path / "run"), verbosity=0)
    assert loaded.predict_proba(frame).equals(predictor.predict_proba(frame))


def test_column_types_given(table):
    predictor = fit(table.assign(code=[1, 2, 3] * 20), column_types={"code": "categorical", "z": "null"})
    assert predictor.columns["code"].kind == "categorical"
    assert predictor.columns["z"].kind == "null"
    assert len(predictor.predict(table.drop(columns="z").assign(code=1))) == 60


# -- prediction ------------------------------------------------------------------------------------


def test_index(fitted_table, table):
    for index in (list("xyz") * 20, pd.MultiIndex.from_product([range(6), range(10)]), np.zeros(60)):
        frame = table.set_axis(index)
        assert fitted_table.predict(frame).index.equals(frame.index)
        assert fitted_table.predict_proba(frame).index.equals(frame.index)


BACKBONES = ["text_folder", "gpt_folder", "t5_folder"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_text_alone_as_in_a_batch(backbone, reviews, request):
    folder = request.getfixturevalue(backbone)
    predictor = fit(reviews, options={"model.text.checkpoint": str(folder), "optim.max_epochs": 1})
    reviews.loc[2, "review"] = None
    together = predictor.predict_proba(reviews)
    alone = pd.concat([predictor.predict_proba(reviews.iloc[[row]]) for row in range(12)])
    np.testing.assert_allclose(alone, together.iloc[:12], atol=1e-5)
    shuffled = reviews.sample(frac=1, random_state=0)
    np.testing.assert_allclose(predictor.predict_proba(shuffled).loc[together.index], together, atol=1e-5)


@pytest.mark.parametrize("backbone", ["image_folder", "vision_folder"])
def test_an_image_alone_as_in_a_batch(backbone, pictures, request):
    folder = request.getfixturevalue(backbone)
    frame = pictures.assign(x=np.arange(24.0))
    predictor = fit(frame, options={"model.image.checkpoint": str(folder), "optim.max_epochs": 1})
    frame.loc[2, "img"], frame.loc[3, "x"] = None, None
    together = predictor.predict_proba(frame)
    alone = pd.concat([predictor.predict_proba(frame.iloc[[row]]) for row in range(8)])
    np.testing.assert_allclose(alone, together.iloc[:8], atol=1e-5)


# -- rows and weights ------------------------------------------------------------------------------


def test_tuning_data(table):
    held = make_table(20, seed=5)
    predictor = fit(table, tuning_data=held)
    notes = "\n".join(str(note) for note in predictor.history["note"])
    assert "60 rows train, 20 validate (tuning_data)" in notes
    kept = predictor.history.iloc[-1]
    assert kept["val_roc_auc"] == pytest.approx(predictor.evaluate(held, "roc_auc")["roc_auc"])


def test_weights_change_the_result(table):
    plain = fit(table.assign(w=1.0), sample_weight="w")
    assert "w" not in {column.name for column in plain.columns}
    tilted = fit(table.assign(w=np.where(table["y"] == "yes", 50.0, 1.0)), sample_weight="w")
    assert (tilted.predict_proba(table)["yes"] > plain.predict_proba(table)["yes"]).mean() > 0.9


def test_rows_of_weight_zero_do_not_matter(table):
    """Neither for the loss, nor for the probe, nor in validation: whatever their label is."""
    held = make_table(20, seed=5).assign(w=1.0)
    frame = table.assign(w=[1.0, 1.0, 0.0] * 20)
    silent = frame["w"] == 0
    flipped = frame.assign(y=frame["y"].where(~silent, frame["y"].map({"yes": "no", "no": "yes"})))
    for valid, other in ((held, held), (frame, flipped)):
        one = fit(frame, tuning_data=valid, sample_weight="w")
        two = fit(flipped, tuning_data=other, sample_weight="w")
        np.testing.assert_allclose(one.predict_proba(held), two.predict_proba(held), atol=1e-6)


@pytest.mark.filterwarnings("ignore:There (is|are) only . rows? to train on")
@pytest.mark.parametrize("rows", [2, 3, 5])
def test_very_few_rows(rows):
    frame = make_table(rows).assign(y=["a", "b", "a", "b", "a"][:rows])
    assert fit(frame).predict(frame).isin(["a", "b"]).all()


def test_dates_of_the_standard_library():
    frame = make_table().assign(d=[datetime.date(2020, 1, 1) + datetime.timedelta(days=i) for i in range(60)])
    assert fit(frame).columns["d"].kind == "numeric"
