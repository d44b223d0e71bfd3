"""Tests of backbones that are ranked by probes."""

import numpy as np
import pytest

from support.tiny import TINY, make_table, save_text, told
from thermocline import Predictor
from thermocline.choose import ranking
from thermocline.errors import CheckpointError, ConfigError, DataError

SMALLER = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory):
    """A BERT of one layer, 8 wide."""
    folder = tmp_path_factory.mktemp("checkpoints") / "smaller"
    return save_text(folder, "bert", max_position_embeddings=64, **SMALLER)


def rank(frame, *given, options=TINY, **more):
    return Predictor("y", verbosity=0).rank_backbones(frame, *given, hyperparameters=options, **more)


def test_the_best_comes_first_and_what_cannot_be_loaded_last(reviews, text_folder, small_folder):
    found = rank(reviews, "text", ["no/such/folder", small_folder, text_folder, str(text_folder)])
    assert found.best == found.backbones[0].checkpoint
    assert [one.checkpoint for one in found.backbones][2] == "no/such/folder"
    losses = [one.loss for one in found.backbones]
    assert losses == sorted(losses)
    assert len(found.backbones) == 3  # one that is given twice counts once
    frame = found.to_frame()
    assert frame["behind"][0] == 0
    assert frame["behind"][1] == pytest.approx(losses[1] - losses[0])
    assert np.isnan(frame["loss"][2])
    assert "no/such/folder" in frame["why"][2]
    assert frame["weights"].tolist() == ["pretrained", "pretrained", ""]
    text = str(found)
    assert text.startswith("Linear probes of text backbones on 38 training rows")
    assert "no/such/folder: not probed, because" in text
    assert "<table" in found._repr_html_()


def test_the_order_given_and_the_validation_rows_have_no_part_in_it(reviews, text_folder, small_folder):
    one = rank(reviews, "text", [text_folder, small_folder], reviews.head(4))
    other = rank(reviews, "text", [small_folder, text_folder], tuning_data=reviews.tail(6))
    columns = ["checkpoint", "loss", "loss_error", "metric"]
    assert one.to_frame()[columns].equals(other.to_frame()[columns])


def test_where_none_can_be_loaded_the_error_says_why_of_each(reviews):
    message = told(CheckpointError, OSError, lambda: rank(reviews, "text", ["no/a", "no/b"]))
    assert "no/a" in message
    assert "no/b" in message
    same = told(ConfigError, ValueError, lambda: rank(reviews, "text", ["no/a", "no/b"], options={"optim.lrr": 1}))
    assert "optim.lr" in same
    assert "None of" not in same


def test_a_tower_that_the_data_do_not_have_is_an_error(reviews, text_folder, image_folder):
    options = {**TINY, "model.text.checkpoint": str(text_folder)}
    message = told(DataError, ValueError, lambda: rank(reviews, "image", [image_folder], options=options))
    assert "There is no image column" in message


@pytest.mark.parametrize(
    ("tower", "checkpoints", "said"),
    [
        ("txt", ["a"], "Did you mean 'text'?"),
        ("table", ["a"], "'text', 'image'"),
        ("text", [], "is a list of values of model.text.checkpoint"),
        ("text", "a", "not 'a'"),
        ("text", ["a", None], "not None"),
        ("text", ["a", " "], "not ' '"),
    ],
)
def test_bad_arguments_are_errors_before_anything_is_loaded(tower, checkpoints, said, monkeypatch):
    monkeypatch.setattr(ranking, "ready", lambda _: pytest.fail("loaded"))
    assert said in told(ConfigError, ValueError, lambda: rank(make_table(10), tower, checkpoints))


def test_problems_without_labels_of_rows_are_an_error():
    predictor = Predictor("y", "object_detection", verbosity=0)
    told(ConfigError, ValueError, lambda: predictor.rank_backbones(make_table(10), "image", ["a"]))
