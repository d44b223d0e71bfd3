"""Tests of linear probes of layers and towers."""

import json

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch

from support.tiny import TINY, make_table, make_texts, save_text, told
from thermocline import Predictor, cli
from thermocline.choose.layer_features import layer_features, places_of
from thermocline.choose.probe_results import ADVICE, plus_minus
from thermocline.choose.probes import probes_of
from thermocline.contracts.request import Request
from thermocline.errors import ConfigError, DataError
from thermocline.inputs.text.tower import TextTower
from thermocline.pipeline.ready import ready

LAYERS = ["embeddings", "encoder.layer.0", "encoder.layer.1"]


@pytest.fixture(autouse=True)
def closed_figures():
    """Draw without a screen."""
    mpl.use("Agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def text_options(folder, **more):
    return {**TINY, "model.text.checkpoint": str(folder), **more}


def ready_of(frame, options, label="y", **more):
    return ready(Request(frame, label, hyperparameters=options, training=False, verbosity=0, **more))


def probes(frame, options, label="y", **more):
    given = {name: more.pop(name) for name in ("problem_type", "sample_weight") if name in more}
    found = Predictor(label, verbosity=0, **given).recommend(frame, hyperparameters=options, probes=True, **more)
    assert found.probes is not None
    return found.probes


def features_of(found):
    """The features of all training rows, by the name of the place."""
    rows = np.arange(len(found.train))
    places = places_of(found.assembly, tuple(found.train.parts))
    features = layer_features(found.assembly, found.train, rows, places, seconds=600, seed=0)
    return {place.name: values for place, values in features.values.items()}, features


# -- what is probed ------------------------------------------------------------------------------------------------


def test_each_layer_and_tower_and_the_last_layers_are_probed(reviews, text_folder):
    found = probes(reviews.assign(x=np.arange(len(reviews)) % 7), text_options(text_folder))
    assert [one.name for one in found.depths] == LAYERS
    assert [one.depth for one in found.depths] == [1, 2, 3]
    assert [one.tower for one in found.towers] == ["text", "table"]
    assert found.joined.name == "text + table"
    assert found.joined.width == sum(one.width for one in found.towers)
    assert [one.width for one in found.last] == [3 * 32]
    assert found.constant.width == 0
    assert found.towers[0].loss < found.constant.loss
    assert found.towers[1].loss > found.towers[0].loss  # the number tells nothing


def test_the_depth_is_what_frozen_layers_takes_and_its_cost_that_of_a_fit(reviews, text_folder):
    options = text_options(text_folder, **{"optim.max_epochs": 5})
    found = probes(reviews, options)
    for one in found.depths[:-1]:
        given = {**options, "model.frozen_layers": one.depth}
        plan = Predictor("y", verbosity=0).explain(reviews, hyperparameters=given)
        (phase,) = plan.estimate.estimate.phases
        assert one.label in plan.frozen
        assert one.cost.time == pytest.approx(phase.cost)
        assert one.cost.memory == pytest.approx(phase.memory_bytes)


def test_after_the_layer_that_the_label_is_linear_in_the_probe_is_best(tmp_path):
    """Of a network whose layers mix their inputs well: weights of a random start this large."""
    wide = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}
    folder = save_text(tmp_path / "mixing", "bert", num_hidden_layers=3, initializer_range=1.0, **wide)
    frame, options = make_texts(150), text_options(folder)
    values, _ = features_of(ready_of(frame, options, tuning_data=make_texts(10, seed=1)))
    early = values[f"text/{LAYERS[0]}"]
    scores = (early - early.mean(axis=0)) / early.std(axis=0) @ np.random.default_rng(0).normal(size=early.shape[1])
    frame["y"] = scores
    found = probes(frame, options, tuning_data=frame.head(10), problem_type="regression")
    first, *later = found.depths
    assert first.loss < 0.01
    assert all(one.loss > first.loss + 5 * first.loss_error for one in later)
    assert later[-1].loss > 0.1
    assert found.loss_name == "error / variance"
    assert found.constant.loss == pytest.approx(1.0, abs=0.1)


def test_features_are_means_over_real_tokens(reviews, text_folder):
    found = ready_of(reviews, text_options(text_folder, **{"model.text.pooling": "mean"}))
    values, features = features_of(found)
    np.testing.assert_array_equal(values["text"], values[f"text/{LAYERS[-1]}"])
    assert features.rows.tolist() == list(range(len(found.train)))
    tower, batch = found.assembly.model.towers["text"], found.train.batch(np.arange(3))["text"]
    tower.eval()
    with torch.no_grad():
        hidden = tower.backbone(**batch, output_hidden_states=True).hidden_states[0]
    mask = batch["attention_mask"][..., None]
    wanted = (hidden * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(values[f"text/{LAYERS[0]}"][:3], wanted, atol=1e-6)


def test_images_are_probed_and_a_missing_one_is_zeros(pictures, image_folder):
    pictures.loc[3, "img"] = None
    found = ready_of(pictures, {**TINY, "model.image.checkpoint": str(image_folder), "model.image.size": 64})
    values, features = features_of(found)
    assert not features.left_out
    missing = np.flatnonzero(~found.train.batch(np.arange(len(found.train)))["image"]["present"][:, 0].numpy())
    for one in values.values():
        assert not one[missing].any()
        assert one.any(axis=1).sum() == len(one) - len(missing)
    assert len(probes_of(found).depths) == len(values) - 1


def test_layers_that_give_tuples_are_probed(reviews, t5_folder, gpt_folder):
    for folder in (t5_folder, gpt_folder):
        found = probes(reviews, text_options(folder))
        assert len(found.depths) >= 3
        assert not found.notes


def test_a_layer_that_lies_in_a_list_is_probed(reviews, tmp_path):
    """ALBERT's list of layers is never called, only what is in it. Its one layer runs twice; the second time counts."""
    shape = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "embedding_size": 8}
    found = probes(reviews, text_options(save_text(tmp_path / "albert", "albert", num_hidden_layers=2, **shape)))
    assert len(found.depths) == 2
    assert not found.notes


# -- what it costs and leaves as it was ----------------------------------------------------------------------------


def test_each_row_runs_through_each_tower_once_and_there_are_at_most_so_many(reviews, text_folder, monkeypatch):
    found = ready_of(reviews, text_options(text_folder))
    ran = []
    found.assembly.model.towers["text"].register_forward_pre_hook(
        lambda _, given: ran.append(len(given[0]["input_ids"]))
    )
    assert probes_of(found).rows == sum(ran) == len(found.train)
    ran.clear()
    monkeypatch.setattr("thermocline.choose.probes.MOST_ROWS", 20)
    few = probes_of(found)
    assert few.rows == sum(ran) == 20
    assert "20 of 38 training rows" in str(few)


def test_memory_and_time_are_bounded(reviews, text_folder, monkeypatch):
    found = ready_of(reviews, text_options(text_folder, **{"env.eval_batch_size": 8}))
    monkeypatch.setattr("thermocline.choose.layer_features.MOST_BYTES", 1)
    assert probes_of(found).rows == 8
    monkeypatch.undo()
    cut = probes_of(found, seconds=0.0)
    assert cut.rows == 8  # the first batch runs in any case
    assert not cut.depths
    assert "not probed, because 0 s were over" in str(cut)


def test_nothing_of_the_model_changes(reviews, text_folder):
    found = ready_of(reviews, text_options(text_folder))
    model = found.assembly.model.train()
    before = {name: one.clone() for name, one in model.state_dict().items()}
    random, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    probes_of(found)
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert np.array_equal(np.random.get_state()[1], numbers)


def test_a_fit_afterwards_gives_the_same_bits_and_no_option_changes(reviews, text_folder):
    options = text_options(text_folder, **{"optim.max_steps": 2})
    predictor = Predictor("y", verbosity=0)
    without = predictor.recommend(reviews, hyperparameters=options)
    found = predictor.recommend(reviews, hyperparameters=options, probes=True)
    assert found.to_dict() == without.to_dict()
    assert without.probes is None
    plain = Predictor("y", verbosity=0).fit(reviews, hyperparameters=options)
    assert predictor.fit(reviews, hyperparameters=options).predict_proba(reviews).equals(plain.predict_proba(reviews))


def test_validation_rows_and_augmentation_have_no_part_in_it(pictures, image_folder):
    options = {**TINY, "model.image.checkpoint": str(image_folder), "model.image.size": 64}
    plain = {**options, "model.image.augment": "none"}
    given = [(options, pictures.head(4)), (options, pictures.tail(6)), (plain, pictures.head(4))]
    frames = [probes(pictures, one, tuning_data=valid).to_frame() for one, valid in given]
    for other in frames[1:]:
        pd.testing.assert_frame_equal(frames[0].iloc[:, :11], other.iloc[:, :11])


# -- data that are hard --------------------------------------------------------------------------------------------


def test_a_table_has_no_layers_to_probe_and_says_so():
    found = probes(make_table(60), TINY)
    assert not found.depths
    assert found.towers[0].loss < found.constant.loss
    assert "there is no backbone" in str(found)
    assert ADVICE not in str(found)
    assert "there is no backbone" in told(DataError, ValueError, found.plot)


def test_other_problems_are_an_error_before_anything_is_read():
    message = told(
        ConfigError,
        ValueError,
        lambda: Predictor("y", "object_detection", verbosity=0).recommend(make_table(10), probes=True),
    )
    assert "object_detection" in message


@pytest.mark.parametrize("value", ["yes", 1])
def test_the_flag_is_true_or_false(value):
    told(ConfigError, ValueError, lambda: Predictor("y", verbosity=0).recommend(make_table(20), probes=value))


def test_ten_rows_a_rare_class_numbers_and_several_labels(text_folder):
    options, texts = text_options(text_folder), make_texts(40)
    rare = texts.assign(y=["a", "b"] * 19 + ["c"] * 2)
    several = texts.assign(a=[1, 0] * 20, b=[0, 0, 1, 0] * 10).drop(columns="y")
    number = texts.assign(y=texts["review"].str.len() / 3)
    for frame, label in ((texts.head(10), "y"), (rare, "y"), (several, ["a", "b"]), (number, "y")):
        found = probes(frame, options, label)
        values = found.to_frame()[["loss", "loss_error", "behind", "behind_error"]]
        assert np.isfinite(values.to_numpy()).all()
        assert len(found.depths) == 3


def test_layers_without_usable_outputs_are_named(reviews, text_folder, monkeypatch):
    found = ready_of(reviews, text_options(text_folder))
    layer = found.assembly.model.towers["text"].backbone.encoder.layer[1]
    handle = layer.register_forward_hook(lambda *args: args[2] * float("nan"))
    broken = probes_of(found)
    handle.remove()
    assert [one.name for one in broken.depths] == LAYERS[:2]
    assert not broken.towers
    assert "text/encoder.layer.1: not probed, because its output is not finite in 38 of 38 rows" in str(broken)
    monkeypatch.setattr(TextTower, "row_states", lambda *_: None)
    shapeless = probes_of(found)
    assert not shapeless.depths
    assert [one.name for one in shapeless.towers] == ["text"]
    assert "its output has no vectors of rows: shape" in str(shapeless)


def test_random_weights_are_said(reviews, text_folder):
    found = probes(reviews, text_options(text_folder, **{"model.text.pretrained": False}))
    assert "text: the backbone has random weights" in str(found)


# -- how it shows --------------------------------------------------------------------------------------------------


def test_it_prints_and_is_html_and_a_frame_and_a_picture(reviews, text_folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    found = probes(reviews, text_options(text_folder))
    text = str(found)
    assert text.startswith("Linear probes on 38 training rows, 5 folds, nothing is trained")
    assert ADVICE in text
    assert "step time if frozen" in text
    assert found._repr_html_().count("<table") == 2
    frame = found.to_frame()
    assert frame["kind"].tolist() == ["constant", "tower", "last layers", "layer", "layer", "layer"]
    assert (frame["behind"] >= 0).all()
    times = frame["step_time"].dropna().tolist()
    assert times == sorted(times, reverse=True)
    assert times[0] < 1
    top, below = found.plot().axes
    assert top.get_ylabel() == "log-loss of the probe"
    assert [one.get_text() for one in below.get_xticklabels()] == LAYERS
    assert len(top.containers) == 1  # error bars


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.69315, 0.0123, "0.693 ± 0.012"),
        (27538.6, 1080.57, "27539 ± 1081"),
        (0.0, float("nan"), "0.000"),
        (float("nan"), 1.0, "not defined"),
    ],
)
def test_numbers_are_shown_as_exactly_as_they_are_known(value, error, text):
    assert plus_minus(value, error) == text


def test_a_recommendation_shows_them_below_the_table(reviews, text_folder, tmp_path, capsys):
    predictor = Predictor("y", verbosity=0)
    found = predictor.recommend(reviews, hyperparameters=text_options(text_folder), probes=True)
    assert str(found.probes) in str(found)
    assert ADVICE in found._repr_html_()
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    reviews.to_csv(tmp_path / "train.csv", index=False)
    given = [f"{key}={value}" for key, value in text_options(text_folder).items()]
    command = ["recommend", str(tmp_path / "train.csv"), "--label", "y", "--probes", "--quiet", "--set", *given]
    assert cli.main(command) == 0
    assert "after layer" in capsys.readouterr().out
