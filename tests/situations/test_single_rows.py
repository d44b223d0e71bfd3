"""BatchNorm in train mode where one row goes through the model at once."""

from __future__ import annotations

import numpy as np
import pytest

from support.assemblies import assembled
from support.tiny import TINY
from thermocline import Predictor
from thermocline.training.batch_norm import ONE_VALUE

# at 32 pixels the last maps of this network are of one place
SMALL = {"model.image.checkpoint": "test_resnet", "model.image.pretrained": False, "model.image.size": 32}
NET = {**{key: TINY[key] for key in ("env.device", "env.batch_size")}, **SMALL, "optim.max_epochs": 1}


def notes(frame, options) -> list[str]:
    history = Predictor("y", verbosity=0).fit(frame, hyperparameters={**NET, **options}).history
    assert np.isfinite(history["train_loss"].dropna()).all()
    return [note for note in history["note"] if "BatchNorm" in note]


def test_a_micro_batch_of_one_row_is_left_over(pictures):
    changed, single = notes(pictures, {"env.batch_size": 9, "env.micro_batch_size": 2})
    assert changed.startswith("15 BatchNorms in train mode take their statistics from micro-batches of 2 rows, not fro")
    assert single == f"BatchNorm 'towers.image.backbone.layer4.0.bn1' and 2 more: {ONE_VALUE}"


def test_all_images_of_a_batch_but_one_are_missing(pictures):
    frame = pictures.assign(x=np.arange(24.0))
    frame.loc[frame.index % 9 != 0, "img"] = None
    (note,) = notes(frame, {"env.batch_size": 4})
    assert ONE_VALUE in note


@pytest.mark.parametrize("options", [{"env.batch_size": 1}, {"env.micro_batch_size": 1}], ids=str)
def test_single_rows_throughout(pictures, options):
    *_, single = notes(pictures.iloc[:6], options)
    assert ONE_VALUE in single


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, ""),
        ({"env.micro_batch_size": 16}, ""),
        ({"env.micro_batch_size": 4}, "micro-batches of 4 rows, not from the batch of 16 rows"),
        ({"env.micro_batch_size": 4, "model.image.batch_norm": "eval"}, ""),
        ({"env.micro_batch_size": 4, "model.frozen_layers": "backbone"}, ""),
        ({"env.micro_batch_size": 4, "model.frozen_layers": "stem"}, "12 BatchNorms"),
    ],
    ids=str,
)
def test_that_micro_batches_change_batch_norm_is_said(pictures, options, told):
    said = [note for note in assembled(pictures, {**NET, **options}).built.notes if "BatchNorm" in note]
    assert len(said) == bool(told)
    assert told in "".join(said)
