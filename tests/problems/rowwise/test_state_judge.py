"""States of a model are judged by the loss that their probabilities have in the end, and by parts of the rows."""

import numpy as np
import pandas as pd
import pytest

from thermocline.data.batches import Rows
from thermocline.problems.rowwise.metrics import score
from thermocline.problems.rowwise.state_judge import PARTS, StateJudge
from thermocline.problems.rowwise.target import RowTarget


def binary(metric, rows=80, seed=0):
    rng = np.random.default_rng(seed)
    encoded = rng.integers(0, 2, rows)
    logits = np.stack([-encoded, encoded], axis=1) * 1.5 + rng.normal(0, 1, (rows, 2))
    target = RowTarget.of(pd.DataFrame({"y": ["no", "yes"] * 2}), "y", eval_metric=metric)
    return target, logits.astype(np.float32), Rows({}, target=encoded)


def test_the_loss_does_not_depend_on_the_scale_that_calibration_takes_away():
    target, logits, rows = binary("accuracy")
    sharp, right = (StateJudge(target, calibrated=True)(scale * logits, rows).loss for scale in (4.0, 1.0))
    assert sharp == pytest.approx(right, rel=0.05)
    sharp, right = (StateJudge(target, calibrated=False)(scale * logits, rows).loss for scale in (4.0, 1.0))
    assert sharp > 1.5 * right


@pytest.mark.parametrize(("metric", "sign"), [("accuracy", 1), ("log_loss", -1), ("roc_auc", 1), ("f1", 1)])
def test_parts_are_scores_of_the_other_rows_and_more_is_better(metric, sign):
    target, logits, rows = binary(metric)
    found = StateJudge(target, calibrated=False)(logits, rows)
    assert found.parts.shape == (PARTS,)
    if metric != "f1":  # of which a threshold of its own is taken
        rest = np.arange(80) % PARTS != 3
        assert found.parts[3] == sign * score(target, metric, rows.target[rest], logits[rest])[metric]


def test_rows_that_were_not_reached_are_left_out():
    target, logits, rows = binary("accuracy")
    logits[60:] = np.nan
    found = StateJudge(target, calibrated=True)(logits, rows)
    assert np.isfinite(found.loss)
    assert np.isfinite(found.parts).all()


def test_a_worse_state_is_clearly_behind_and_an_equal_one_is_not():
    target, logits, rows = binary("accuracy", rows=400)
    judge = StateJudge(target, calibrated=True)
    noise = np.random.default_rng(1).normal(size=logits.shape).astype(np.float32)
    good, alike, bad = (judge(logits + noise * level, rows) for level in (0.0, 0.05, 4.0))
    assert bad.clearly_behind(good)
    assert not good.clearly_behind(bad)
    assert not alike.clearly_behind(good) or abs(alike.parts.mean() - good.parts.mean()) > 0.005


def test_one_row_is_enough():
    target, logits, rows = binary("accuracy", rows=1)
    assert len(StateJudge(target, calibrated=True)(logits, rows).parts) == 1
