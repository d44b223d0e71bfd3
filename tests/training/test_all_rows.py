"""A model that was tuned on few rows of each class is trained on with the rows that validated it."""

import numpy as np
import pandas as pd
import pytest
import torch

from support.stopping import killed_before
from support.tiny import TINY, save_text
from thermocline import Predictor
from thermocline.problems.rowwise import all_rows as of_rows
from thermocline.training import all_rows
from thermocline.training.all_rows import joined
from thermocline.training.stepping import Stepper

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
TUNED = {"optim.lr": 3e-3, "optim.head_init": "random"}  # a probe of these few words would be kept
NOTE = "trained on with the validation rows"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_text(tmp_path_factory.mktemp("text"), "bert", **SHAPE)


def frame(rows=64, classes=16):
    """A word says the class."""
    words = [f"{a}{b}" for a in ("bright", "lovely", "awful", "dull") for b in (" fine", " poor", " grim", " kind")]
    kind = np.arange(rows) % classes
    return pd.DataFrame({"text": [f"{words[k]} {words[(7 * i) % 16]}" for i, k in enumerate(kind)], "y": kind})


def fit(checkpoint, data=None, *, path=None, resume=False, **options):
    given = {**TINY, "model.text.checkpoint": str(checkpoint), "model.tfidf": "off", **TUNED, **options}
    predictor = Predictor("y", problem_type="multiclass", path=path, verbosity=0)
    data = frame() if data is None else data
    return predictor.fit(data, hyperparameters=given, column_types={"text": "text"}, resume=resume)


def notes(predictor):
    return "\n".join(predictor.history["note"])


def weights(predictor):
    return predictor._fitted().model.state_dict()


@pytest.fixture(scope="module")
def trained(checkpoint):
    return fit(checkpoint)


def test_the_weights_are_the_last_ones_and_the_temperature_follows_the_lead(trained, checkpoint):
    alone = fit(checkpoint, **{"optim.refit": "off"})
    assert NOTE in notes(trained)
    assert NOTE not in notes(alone)
    assert notes(trained).endswith(notes(alone).splitlines()[-1])  # the line on what is kept is the last one
    assert not torch.equal(weights(alone)["head.weight"], weights(trained)["head.weight"])
    first, second = (one._fitted().target.temperature for one in (alone, trained))
    assert second >= first
    assert "from then on" in notes(trained)
    assert "from then on" not in notes(fit(checkpoint, **{"optim.calibrate": "off"}))


def test_every_row_is_seen_once_an_epoch(checkpoint, monkeypatch):
    seen, original = [], Stepper.gradients

    def gradients(self, parts, epoch, *, cached=True):
        if not cached:
            seen.append((epoch, sum(len(part["target"]) for part in parts)))
        return original(self, parts, epoch, cached=cached)

    monkeypatch.setattr(Stepper, "gradients", gradients)
    fit(checkpoint)
    epochs = sorted({epoch for epoch, _ in seen})
    assert len(epochs) == of_rows.EPOCHS
    assert [sum(rows for epoch, rows in seen if epoch == one) for one in epochs] == [64] * of_rows.EPOCHS


def test_one_seed_has_one_result_and_a_resumed_run_the_same(trained, checkpoint, tmp_path):
    options = {"path": tmp_path / "run", "resume": True, "env.checkpoint_every": 1}
    with killed_before(5):
        fit(checkpoint, **options)
    again = fit(checkpoint, **options)
    assert all(torch.equal(one, weights(again)[name]) for name, one in weights(trained).items())
    assert again._fitted().target.temperature == trained._fitted().target.temperature


def test_frozen_layers_stay_as_they_are(checkpoint):
    options = {"model.text.frozen_layers": ["embeddings", "encoder.layer.0"]}
    one, other = fit(checkpoint, **options), fit(checkpoint, **options, **{"optim.refit": "off"})
    assert NOTE in notes(one)
    same = [name for name, value in weights(one).items() if torch.equal(value, weights(other)[name])]
    assert all(name in same for name in weights(one) if "embeddings" in name or "layer.0." in name)
    assert not [name for name in same if "layer.1." in name and name.endswith("weight")]


@pytest.mark.parametrize("fault", ["infinite", "time", "interrupt"])
def test_what_is_kept_stays_where_it_cannot_be_done(checkpoint, monkeypatch, fault):
    alone = fit(checkpoint, **{"optim.refit": "off"})

    def gradients(self, parts, epoch, *, cached=True):
        if not cached and fault == "interrupt":
            raise KeyboardInterrupt
        losses = original(self, parts, epoch, cached=cached)
        return losses if cached else tuple(loss * float("nan") for loss in losses)

    original = Stepper.gradients
    monkeypatch.setattr(Stepper, "gradients", gradients)
    if fault == "time":
        monkeypatch.setattr(all_rows, "_time_for", lambda *_: False)
    predictor = fit(checkpoint)
    assert NOTE not in notes(predictor)
    assert "the validation rows were not learnt" in notes(predictor)
    assert all(torch.equal(one, weights(alone)[name]) for name, one in weights(predictor).items())
    assert predictor.predict(frame()).equals(alone.predict(frame()))


def test_many_rows_a_class_and_other_problems_are_left_alone(checkpoint, monkeypatch):
    assert NOTE not in notes(fit(checkpoint, frame(64, 4)))
    monkeypatch.setattr(of_rows, "ROWS_A_CLASS", 16)
    assert NOTE in notes(fit(checkpoint, frame(64, 4)))
    untrained = fit(checkpoint, **{"model.text.pretrained": False})
    assert NOTE not in notes(untrained)


def test_batches_of_both_parts_are_padded_to_one_width():
    one = {"rows": torch.arange(2), "text": {"input_ids": torch.ones(2, 3), "pixels": torch.ones(2, 3, 4, 4)}}
    other = {"rows": torch.arange(1), "text": {"input_ids": torch.ones(1, 5), "pixels": torch.zeros(1, 3, 4, 4)}}
    both = joined(one, other)
    assert both["rows"].tolist() == [0, 1, 0]
    assert both["text"]["input_ids"].tolist() == [[1, 1, 1, 0, 0]] * 2 + [[1] * 5]
    assert both["text"]["pixels"].shape == (3, 3, 4, 4)


@pytest.mark.parametrize("where", ["memory", "off"])
def test_a_frozen_backbone_that_is_cached_and_a_tfidf_model_do_not_collide(checkpoint, where):
    options = {"model.text.frozen_layers": "*", "model.tfidf": "on", "optim.cache_prefix": where}
    predictor = fit(checkpoint, frame(140), **options)
    assert NOTE in notes(predictor)
    assert "TF-IDF model: " in notes(predictor)
