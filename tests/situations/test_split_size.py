"""`data.valid_fraction` is obeyed, and what stands in its way is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from thermocline.contracts.request import Request
from thermocline.pipeline.prepare import prepare
from thermocline.problems.object_detection.split import split_boxes
from thermocline.problems.rowwise.split import split_rows
from thermocline.problems.rowwise.target import RowTarget


def split(labels, fraction, seed=0):
    frame = pd.DataFrame({"y": labels})
    kind = None if np.issubdtype(np.asarray(labels).dtype, np.number) else "multiclass"
    target = RowTarget.of(frame, "y", kind)
    encoded = target.encode(frame)
    train, held, why = split_rows(target, encoded, fraction, seed=seed)
    assert sorted([*train, *held]) == list(range(len(labels)))
    return encoded, train, held, why


SMALL = [f"c{k:02}" for k in range(60)] * 2


def test_many_small_classes_do_not_raise_the_share_that_was_asked_for():
    frame = pd.DataFrame({"x": np.arange(120.0), "y": SMALL})
    options = {"data.valid_fraction": 0.1, "env.device": "cpu"}
    made = prepare(Request(frame, "y", hyperparameters=options, training=False))
    assert len(made.valid) == 12
    assert made.config.data.valid_fraction == 0.1
    note = next(note for note in made.notes if "validate" in note)
    assert note == "108 rows train, 12 validate (given; fewer than the 60 classes, of which 12 are scored)"


@pytest.mark.parametrize(
    "labels",
    [
        SMALL,
        ["big"] * 900 + [f"c{k}" for k in range(100) for _ in range(3)],
        [f"single{k}" for k in range(50)] + ["a", "b"] * 25,
        [*map(str, range(99)), "0"],
    ],
)
@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.1, 0.3])
def test_the_share_is_the_one_asked_for_whatever_the_classes(labels, fraction):
    encoded, train, held, why = split(labels, fraction)
    room = len(labels) - len(set(labels))
    assert len(held) == min(max(round(fraction * len(labels)), 1), room)
    assert set(encoded[train]) == set(encoded)
    assert why.startswith("given")


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_are_given_back_to_training_are_replaced(seed):
    labels = ["a", "b"] * 20 + [f"c{k}" for k in range(4) for _ in range(2)]
    encoded, train, held, why = split(labels, 0.8, seed)
    assert len(held) == round(0.8 * 48)
    assert set(encoded[train]) == set(encoded)
    assert why == "given"


def test_a_share_that_leaves_no_row_of_a_class_to_train_is_cut_and_said():
    encoded, train, held, why = split(SMALL, 0.9)
    assert len(held) == 60
    assert set(encoded[train]) == set(encoded)
    assert "each of 60 classes keeps a row in training where it can" in why
    assert "(asked for: data.valid_fraction=0.9, split off: 0.5)" in why


def test_a_share_that_nobody_gave_says_what_raised_it():
    _, _, held, why = split(SMALL, None)
    assert len(held) >= 59
    assert "120 rows, and a row of each of " in why
    assert "asked for" not in why


def test_what_is_obeyed_says_no_more_than_given():
    assert split(["a", "b"] * 50, 0.3)[3] == "given"
    assert split(list(np.linspace(0, 1, 50)), 0.3)[3] == "given"


def test_detectors_say_that_classes_keep_an_image_in_training():
    _, held, why = split_boxes([[f"c{k}"] for k in range(9)] + [["c0"]], 0.5, seed=0)
    assert len(held) == 1
    assert "each of 9 classes keeps an image in training" in why
    assert "asked for: data.valid_fraction=0.5, split off: 0.1" in why
    assert split_boxes([["a"], ["a", "b"], ["b"], ["a"], [], []], 0.5, seed=0)[2] == "given"
