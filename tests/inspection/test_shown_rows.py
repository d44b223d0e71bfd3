"""Rows as a model reads them, before and after a fit, and its answers beside their labels."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

from support.tiny import TINY, make_table, make_texts, told
from thermocline import Predictor
from thermocline.errors import ConfigError, DataError, LabelError, NotFittedError
from thermocline.problems.object_detection.views import box_answer, matched

matplotlib.use("Agg")


def views(card):
    return {view.name: view for view in card.views}


def test_texts_are_what_the_tokens_say_with_what_is_cut(fitted_mixed, mixed):
    tokenizer = fitted_mixed._fitted().built.inputs["text"].processor.tokenizer
    cut = 0
    for card in fitted_mixed.show_batch(mixed, n=len(mixed)):
        text = mixed.loc[int(card.name), "review"]
        whole = len(tokenizer(text)["input_ids"])
        own = views(card)["review"]
        assert own.text == tokenizer.decode(tokenizer(text, truncation=True, max_length=10)["input_ids"])
        assert own.note == (f"cut: reads 10 of {whole} tokens" if whole > 10 else f"{whole} tokens")
        cut += whole > 10
    assert cut > 0


def test_cells_are_shown_with_what_they_are_read_as(fitted_mixed, mixed):
    card = next(card for card in fitted_mixed.show_batch(mixed, n=len(mixed)) if card.name == "103")
    own = views(card)
    assert (own["x"].text, own["x"].note) == ("missing", "read as the median, marked as missing")
    assert own["colour"].note.startswith("read as category ")
    assert own["colour"].text == mixed.loc[103, "colour"]
    unknown = fitted_mixed.show_batch(mixed.loc[[104]].assign(colour="mauve"))
    assert views(unknown.cards[0])["colour"].note == "read as missing or unknown"
    assert own["img"].picture.shape == (64, 64, 3)
    assert card.label == mixed.loc[103, "y"]


def test_images_are_varied_as_in_the_epoch_of_training(fitted_mixed, mixed):
    def pictures(**given):
        return [views(card)["img"].picture for card in fitted_mixed.show_batch(mixed, n=2, **given)]

    plain, first, again, later = (
        pictures(augmented=False),
        pictures(),
        pictures(),
        pictures(epoch=1),
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], later[0])
    assert not np.array_equal(first[0], plain[0])
    source = fitted_mixed.show_batch(mixed, n=1, augmented=False)
    red = mixed.loc[int(source.cards[0].name), "img"]
    brightest = np.asarray(source.cards[0].views[1].picture).reshape(-1, 3).mean(axis=0).argmax()
    assert brightest == (0 if int(red.rsplit("/", 1)[-1].removesuffix(".png")) % 2 else 2)
    assert "as epoch 1 of training reads them" in str(fitted_mixed.show_batch(mixed, n=1, epoch=1))
    assert "as the model reads them" in str(source)


def test_before_a_fit_rows_are_those_that_train_and_the_fit_stays_the_same(fitted_table, capsys):
    frame = make_table()
    before = frame.copy()
    predictor = Predictor("y", verbosity=0)
    shown = predictor.show_batch(frame, n=48, hyperparameters=TINY)
    assert repr(predictor) == "Predictor(label='y': not fitted)"
    assert all(card.label == frame.loc[int(card.name), "y"] for card in shown)
    assert capsys.readouterr() == ("", "")
    predictor.fit(frame, hyperparameters=TINY)
    pd.testing.assert_frame_equal(frame, before)
    states = predictor.model.state_dict(), fitted_table.model.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_before_a_fit_images_are_varied_by_what_the_fit_would_use(mixed, mixed_options, types):
    def inverted(image):
        from PIL import ImageOps

        return ImageOps.invert(image)

    given = {"hyperparameters": mixed_options | {"model.image.augment": inverted}, "column_types": types, "n": 1}
    varied = Predictor("y", verbosity=0).show_batch(mixed, **given).cards[0]
    plain = Predictor("y", verbosity=0).show_batch(mixed, augmented=False, **given).cards[0]
    assert varied.name == plain.name
    one, other = (views(card)["img"].picture.astype(int) for card in (varied, plain))
    assert np.abs(one + other - 255).mean() < 3
    assert "inverted" in views(varied)["img"].note


def test_hidden_tokens_are_shown_in_training_alone(text_folder):
    options = TINY | {"model.text.checkpoint": str(text_folder), "model.text.token_dropout": 0.5}
    predictor = Predictor("y", verbosity=0)
    mask = "[MASK]"
    varied = predictor.show_batch(make_texts(), n=4, hyperparameters=options, column_types={"review": "text"})
    plain = predictor.show_batch(
        make_texts(), n=4, augmented=False, hyperparameters=options, column_types={"review": "text"}
    )
    assert mask in str(varied)
    assert mask not in str(plain)


def test_results_say_what_is_right(fitted_mixed, mixed):
    shown = fitted_mixed.show_results(mixed, n=len(mixed))
    predicted, proba = fitted_mixed.predict(mixed), fitted_mixed.predict_proba(mixed)
    for card in shown:
        row = int(card.name)
        assert card.answer.prediction == predicted[row]
        assert card.answer.right == (predicted[row] == mixed.loc[row, "y"])
        assert card.answer.note == f"probability {proba.loc[row, predicted[row]]:.2f}"
    right = sum(card.answer.right for card in shown)
    assert f"24 rows, {right} right and {24 - right} wrong" in str(shown)
    alone = fitted_mixed.show_results(mixed.drop(columns="y"), n=2)
    assert len(alone) == 2
    assert all(card.answer.right is None and card.label is None for card in alone)
    assert alone.title == "2 of 24 rows (drawn with seed 0)"


def test_they_print_in_80_columns_show_and_draw(fitted_mixed, mixed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    odd = mixed.head(5).assign(review="$x <b>bold</b>\n\x1b[31m " + "long " * 80)
    shown = fitted_mixed.show_results(odd, n=4)
    assert max(map(len, str(shown).splitlines())) <= 80
    assert "\x1b" not in str(shown)
    html = shown._repr_html_()
    assert html.count("data:image/png") == 4
    assert "<b>bold" not in html
    figure = shown.plot()
    figure.canvas.draw()
    assert sum(bool(ax.images) for ax in figure.axes) == 4


def test_several_labels_are_shown_as_those_that_a_row_has():
    frame = make_table(40).drop(columns="y")
    frame = frame.assign(big=(frame["x"] > 0).astype(int), red=(frame["colour"] == "red").astype(int))
    made = Predictor(["big", "red"], verbosity=0).fit(frame, hyperparameters=TINY | {"optim.max_epochs": 1})
    for card in made.show_results(frame, n=40):
        row = frame.loc[int(card.name)]
        assert card.answer.label == (", ".join(name for name in ("big", "red") if row[name]) or "none")
        assert card.answer.right == (card.answer.label == card.answer.prediction)
    assert made.attribution(frame.iloc[[0]], of="red").what == "probability of 'red'"


def test_boxes_are_drawn_as_they_are_read_and_found(fitted_boxes, shapes):
    plain = fitted_boxes.show_batch(shapes, n=6, augmented=False)
    for card in plain:
        picture = card.views[0].picture
        cell = shapes.loc[int(card.name), "rois"]
        assert card.label == (", ".join(f"1 {box[4]}" for box in cell) or "no box")
        coloured = (np.abs(picture.astype(int) - picture.mean(axis=2, keepdims=True)) > 60).any()
        assert coloured or not cell
    assert fitted_boxes.show_batch(shapes, n=2, epoch=1).cards[0].views[0].note.startswith("varied by")
    results = fitted_boxes.show_results(shapes, n=3, least_score=0.0)
    assert all(card.answer.picture is not None for card in results)
    assert "missed" in str(results)
    results.plot()
    alone = fitted_boxes.show_results(shapes.drop(columns="rois"), n=2)
    assert all(card.answer.label is None for card in alone)


def test_a_box_is_found_where_class_and_place_are_those_of_the_label():
    from PIL import Image

    own = [{"label": "cat", "box": [0, 0, 10, 10]}, {"label": "cat", "box": [20, 20, 30, 30]}]
    near, far, other = (
        {"label": "cat", "box": [0, 0, 10, 9], "score": 0.9},
        {"label": "cat", "box": [5, 5, 15, 15], "score": 0.8},
        {"label": "dog", "box": [20, 20, 30, 30], "score": 0.7},
    )
    assert matched([near, far, other], own) == 1
    assert matched([near, near], own) == 1  # each box of the label once
    answer = box_answer(Image.new("RGB", (40, 40)), [near, far, other], own, ["cat", "dog"])
    assert answer.note == "1 box found, 1 missed, 2 more"
    assert answer.right is False
    assert box_answer(Image.new("RGB", (40, 40)), [], [], ["cat"]).right is True


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n": 0}, "n is a whole number from 1 to 48, not 0"),
        ({"n": 1.5}, "n is a whole number"),
        ({"epoch": -1}, "epoch"),
        ({"seed": "a"}, "seed"),
        ({"augmented": 1}, "augmented is True or False"),
        ({"presets": "default"}, "presets has no effect on a fitted predictor"),
    ],
)
def test_what_cannot_be_asked_for_is_said(fitted_table, given, said):
    assert said in told(ConfigError, ValueError, lambda: fitted_table.show_batch(make_table(4), **given))


def test_rows_that_cannot_be_shown_are_said(fitted_table):
    table = make_table(4)
    assert len(fitted_table.show_batch(table, n=30)) == 4  # more than there are
    assert len(fitted_table.show_results(table.iloc[[0]])) == 1
    for call in (fitted_table.show_batch, fitted_table.show_results):
        assert "no rows" in told(DataError, ValueError, lambda call=call: call(table.iloc[:0]))
        told(DataError, ValueError, lambda call=call: call(table.drop(columns="x")))
        told(LabelError, ValueError, lambda call=call: call(table.assign(y="maybe")))
    told(ConfigError, ValueError, lambda: fitted_table.show_results(table, least_score=2))
    told(NotFittedError, RuntimeError, lambda: Predictor("y").show_results(table))
    assert "option" in told(ConfigError, ValueError, lambda: Predictor("y").show_batch(table, image_folder="x"))
    told(DataError, ValueError, lambda: Predictor("y", verbosity=0).show_batch(table.iloc[:1]))
