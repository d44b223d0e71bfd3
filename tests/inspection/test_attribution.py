"""What parts of a row add: the same as hiding them by hand; gradients add up to what they explain."""

from __future__ import annotations

import importlib.util

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.errors import ConfigError, DataError, MissingColumnError, MissingDependencyError, NotFittedError
from thermocline.inputs.text.views import MOST_WORDS, text_parts

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def row(mixed):
    return mixed.iloc[[5]]


@pytest.fixture(scope="module")
def occluded(fitted_mixed, row):
    return fitted_mixed.attribution(row, of="good", grid=2)


def cell_of(found, name):
    return next(one for one in found.cells if one.column == name)


def test_words_are_left_out_one_by_one(fitted_mixed, row, occluded):
    words = row["review"].iloc[0].split()
    whole = fitted_mixed.predict_proba(row)["good"].iloc[0]
    wanted = []
    for place in range(len(words)):
        without = row.assign(review=" ".join(words[:place] + words[place + 1 :]))
        wanted.append(whole - fitted_mixed.predict_proba(without)["good"].iloc[0])
    found = cell_of(occluded, "review")
    assert [text.strip() for text in found.texts] == words
    assert found.values == pytest.approx(wanted, abs=1e-5)
    assert occluded.value == pytest.approx(whole, abs=1e-5)
    assert occluded.what == "probability of 'good'"


def test_cells_are_emptied_and_fields_of_an_image_covered(fitted_mixed, row, occluded):
    whole = fitted_mixed.predict_proba(row)["good"].iloc[0]
    for name in ("x", "colour"):
        without = fitted_mixed.predict_proba(row.assign(**{name: [None]}))["good"].iloc[0]
        assert cell_of(occluded, name).values == pytest.approx([whole - without], abs=1e-5)
    pixels = np.array(Image.open(row["img"].iloc[0]))
    pixels[10:, :10] = pixels.reshape(-1, 3).mean(axis=0).round()
    covered = row.astype(object)
    covered["img"] = [Image.fromarray(pixels)]
    field = whole - fitted_mixed.predict_proba(covered)["good"].iloc[0]
    found = cell_of(occluded, "img")
    assert found.values.shape == (2, 2)
    assert found.values[1, 0] == pytest.approx(field, abs=1e-5)
    assert found.picture is not None


def test_columns_and_missing_cells(fitted_mixed, mixed):
    found = fitted_mixed.attribution(mixed.loc[[103]], ["x", "colour"])
    assert [(one.column, len(one.values)) for one in found.cells] == [("x", 0), ("colour", 1)]
    assert "missing" in str(found)
    assert "missing" in found._repr_html_()
    found.plot()


def test_it_prints_and_shows_coloured_words(occluded, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, str(occluded).splitlines())) <= 80
    html = occluded._repr_html_()
    assert html.count("data:image/png") == 1
    assert html.count("rgba(") == 2 + len(cell_of(occluded, "review").texts) + 3  # legend, words, cells
    figure = occluded.plot()
    assert len(figure.axes) == 3
    assert occluded.to_frame()["adds"].notna().all()


def test_a_long_text_is_left_out_by_several_words_and_letters_without_white_space_one_by_one():
    words = [f"w{n}" for n in range(3 * MOST_WORDS)]
    parts = text_parts(" ".join(words))
    assert len(parts.cells) == MOST_WORDS
    assert "".join(parts.texts) == " ".join(words)
    assert parts.cells[0] == " ".join(words[3:])
    assert text_parts("你好 abc").texts == ("你", "好", " abc")
    assert text_parts("one").cells == ("",)


def test_a_number_is_explained_in_its_units():
    train = make_table(40).drop(columns="y").assign(y=lambda frame: 100 + 10 * frame["x"])
    made = Predictor("y", "regression", verbosity=0).fit(train, hyperparameters=TINY | {"optim.max_epochs": 1})
    found = made.attribution(train.iloc[[0]])
    assert found.what == "y"
    assert found.value == pytest.approx(made.predict(train.iloc[[0]]).iloc[0], rel=1e-5)
    assert "Leave it out" in told(ConfigError, ValueError, lambda: made.attribution(train.iloc[[0]], of="no"))
    shown = made.show_results(train, n=3)
    assert all(card.answer.right is None and card.answer.note.startswith("off by ") for card in shown)


def difference_from_baseline(predictor, row, tower, of):
    """What the network answers for a row, less what it answers where one tower reads nothing."""
    assembly = predictor._fitted()
    from thermocline.pipeline.predict import found_rows

    rows = assembly.problem.rows(found_rows(assembly, row, "predict", None), assembly, labelled=False)
    batch = rows.batch(np.array([0]))
    one = assembly.built.inputs[tower]
    given = one.kind.differentiable(one, batch[tower])
    with torch.no_grad():
        values = []
        for numbers in (given.values, given.baseline):
            with given.placed(numbers) as inputs:
                out = predictor.model.network({**batch, tower: inputs}) / assembly.target.temperature
            values.append(float(out.softmax(dim=1)[0, list(predictor.classes_).index(of)]))
        plain = float((predictor.model.network(batch) / assembly.target.temperature).softmax(dim=1)[0, 1])
    return values[0] - values[1], values[0], plain


@pytest.mark.parametrize(("column", "tower"), [("review", "text"), ("img", "image")])
def test_integrated_gradients_add_up_to_the_difference_from_the_baseline(fitted_mixed, row, column, tower):
    found = fitted_mixed.attribution(row, column, method="integrated_gradients", of="good")
    difference, as_placed, plain = difference_from_baseline(fitted_mixed, row, tower, "good")
    assert as_placed == pytest.approx(plain, abs=1e-6)  # what is differentiated is what is predicted
    assert abs(difference) > 1e-5
    special = {"text": 0.05, "image": 0.05}[tower] * abs(difference) + 1e-5
    assert found.cells[0].values.sum() == pytest.approx(difference, abs=special)
    assert [one.column for one in found.cells] == [column]


@pytest.mark.parametrize("method", ["input_x_gradient", "saliency"])
def test_gradients_name_what_has_none_and_leave_the_model_alone(fitted_mixed, row, method):
    before = {name: value.clone() for name, value in fitted_mixed.model.state_dict().items()}
    found = fitted_mixed.attribution(row, method=method)
    assert [one.column for one in found.cells] == ["review", "img"]
    assert cell_of(found, "img").values.shape == (64, 64)
    assert len(cell_of(found, "review").texts) > 1
    assert found.notes == ()
    assert (method == "saliency") == (not found.signed)
    assert method != "saliency" or all((one.values >= 0).all() for one in found.cells)
    assert all(torch.equal(value, before[name]) for name, value in fitted_mixed.model.state_dict().items())
    assert all(parameter.grad is None for parameter in fitted_mixed.model.parameters())
    assert "64×64 pixels" in str(found)
    found._repr_html_()
    found.plot()


def test_gradients_say_what_they_are_without(fitted_mixed, row, monkeypatch):
    monkeypatch.setattr(fitted_mixed.model, "trees", lambda outputs, batch: outputs)
    found = fitted_mixed.attribution(row, method="saliency")
    assert found.notes == ("gradients are of the network alone, without trees beside it",)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"method": "ocluson"}, ConfigError, "Did you mean 'occlusion'?"),
        ({"of": "goood"}, ConfigError, "of='goood' is none of 'bad', 'good'. Did you mean 'good'?"),
        ({"columns": "reviw"}, MissingColumnError, "Did you mean 'review'?"),
        ({"columns": "x", "method": "saliency"}, ConfigError, "Use method='occlusion'"),
        ({"grid": 0}, ConfigError, "grid is a whole number from 1 to 32, not 0"),
    ],
)
def test_what_cannot_be_asked_for_is_said(fitted_mixed, row, given, error, said):
    builtin = KeyError if error is MissingColumnError else ValueError
    assert said in told(error, builtin, lambda: fitted_mixed.attribution(row, **given))


def test_it_is_of_one_row_with_a_class_or_a_number(fitted_mixed, fitted_table, mixed, fitted_boxes, shapes):
    for rows in (mixed.iloc[:2], mixed.iloc[:0]):
        assert "one row" in told(DataError, ValueError, lambda rows=rows: fitted_mixed.attribution(rows))
    assert "a class or a number" in told(ConfigError, ValueError, lambda: fitted_boxes.attribution(shapes.iloc[[0]]))
    table = make_table(3)
    said = told(ConfigError, ValueError, lambda: fitted_table.attribution(table.iloc[[0]], method="saliency"))
    assert "the model reads none" in said
    assert fitted_table.attribution(table.iloc[0]).row == "0"  # a row as a Series
    told(NotFittedError, RuntimeError, lambda: Predictor("y").attribution(table.iloc[[0]]))


def test_without_captum_its_extra_is_named(fitted_mixed, row, monkeypatch):
    real = importlib.util.find_spec
    there = {"captum": None}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: there.get(name, real) and real(name, *more))
    said = told(MissingDependencyError, ImportError, lambda: fitted_mixed.attribution(row, method="saliency"))
    assert "thermocline[captum]" in said
    assert "occlusion" in said
