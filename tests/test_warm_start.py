"""`fit(start_from=…)`: what a fit takes of a fitted predictor, what it says of it, and what it refuses."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from support.stopping import killed_after_checkpoint
from support.tiny import TINY, make_table, make_texts, save_text, told, write_images
from thermocline import Callback, Predictor, cli
from thermocline.errors import (
    ArtifactError,
    ConfigError,
    MissingColumnError,
    NotFittedError,
    OutputExistsError,
    ResumeError,
)

OPTIONS = {**TINY, "optim.refit": "off", "model.trees": "off", "model.tfidf": "off"}


class NoStep(Callback):
    """Ends a fit before its first step."""

    def on_validation_end(self, state):
        state.stop("no step is taken")


def notes(predictor):
    return " | ".join(predictor.history["note"])


def start(frame, earlier, label="y", problem_type=None, *, options=None, **more):
    return Predictor(label, problem_type, verbosity=0).fit(frame, start_from=earlier, hyperparameters=options, **more)


@pytest.fixture(scope="module")
def frame():
    return make_table(72)


@pytest.fixture(scope="module")
def of_table(frame, tmp_path_factory):
    path = tmp_path_factory.mktemp("earlier") / "table"
    return Predictor("y", path=path, verbosity=0).fit(frame, hyperparameters=OPTIONS)


@pytest.fixture(scope="module")
def texts():
    return make_texts(60)


@pytest.fixture(scope="module")
def of_texts(texts, tmp_path_factory):
    """A predictor whose pretrained weights are gone."""
    place = tmp_path_factory.mktemp("checkpoint")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    options = {**OPTIONS, "model.text.checkpoint": str(save_text(place / "bert", "bert", **sizes))}
    path = tmp_path_factory.mktemp("earlier") / "texts"
    predictor = Predictor("y", path=path, verbosity=0).fit(texts, hyperparameters=options)
    shutil.rmtree(place / "bert")
    return predictor


# -- no step taken: the same predictions, bit for bit


@pytest.mark.parametrize("given", ["path", "predictor", "self"])
def test_without_a_step_it_predicts_the_same(of_table, frame, given):
    if given == "self":
        again = Predictor.load(of_table.path, verbosity=0)
        again.path = None
        again.fit(frame, start_from="self", callbacks=[NoStep()])
    else:
        again = start(frame, of_table.path if given == "path" else of_table, callbacks=[NoStep()])
    assert again.predict_proba(frame).equals(of_table.predict_proba(frame))
    assert again.started_from["towers"] == ("table",)
    assert again.started_from["head"] == "whole"
    assert again.started_from["where"] == str(of_table.path)
    assert "kept: step 0, the state that" in notes(again)


def test_texts_need_no_pretrained_weights_again(of_texts, texts):
    again = start(texts, of_texts.path, callbacks=[NoStep()])
    assert again.predict_proba(texts).equals(of_texts.predict_proba(texts))
    assert again.config["model.text.max_length"] == TINY["model.text.max_length"]


def test_images(tmp_path):
    pictures = write_images(tmp_path / "p", 16)
    there = {"data.image_folder": str(tmp_path / "p")}
    shape = {"model.image.checkpoint": "test_vit", "model.image.pretrained": False, "model.image.size": 32}
    earlier = Predictor("y", verbosity=0).fit(
        pictures, hyperparameters={**OPTIONS, **there, **shape, "optim.max_epochs": 1}
    )
    folder = {"image_folder": tmp_path / "p"}
    again = start(pictures, earlier, options=there, callbacks=[NoStep()])
    assert again.predict_proba(pictures, **folder).equals(earlier.predict_proba(pictures, **folder))
    assert again.config["model.image.size"] == 32
    two = start(pictures.assign(other=pictures["img"]), earlier, options={**there, "optim.max_steps": 1})
    assert "image: reads 'img', 'other', and read 'img'" in notes(two)
    assert two.started_from["head"] == "fresh"
    assert two.predict(pictures.assign(other=None), **folder).shape == (16,)


def darker(image):
    return image.point(lambda value: value // 2)


def test_a_transform_of_the_callers_own(tmp_path):
    pictures = write_images(tmp_path / "pictures", rows=16)
    options = {
        **OPTIONS,
        "data.image_folder": str(tmp_path / "pictures"),
        "model.image.checkpoint": "resnet18",
        "model.image.pretrained": False,
        "model.image.size": 32,
        "optim.max_steps": 1,
    }
    path = tmp_path / "earlier"
    given = {**options, "model.image.augment": darker}
    earlier = Predictor("y", path=path, verbosity=0).fit(pictures, hyperparameters=given)
    there = {"data.image_folder": str(tmp_path / "pictures")}
    assert start(pictures, earlier, options=there).config.objects == {"model.image.augment": darker}
    message = told(ConfigError, ValueError, lambda: start(pictures, path, options=there))
    assert "no name is imported" in message
    wrong = {**there, "model.image.augment": lambda image: 3}
    told(ConfigError, ValueError, lambda: start(pictures, path, options=wrong))
    plain = start(pictures, path, options={**there, "model.image.augment": "light"})
    assert plain.config.objects == {}


def test_a_regression_on_labels_of_another_scale(frame):
    numbers = frame.drop(columns="y").assign(y=3 * frame["x"] + 1)
    earlier = Predictor("y", verbosity=0).fit(numbers, hyperparameters=OPTIONS)
    same = start(numbers, earlier, callbacks=[NoStep()])
    assert same.predict(numbers).equals(earlier.predict(numbers))
    other = start(numbers.assign(y=numbers["y"] * 100 + 7), earlier, callbacks=[NoStep()])
    assert "for the mean and the spread of these labels" in notes(other)
    assert np.allclose(other.predict(numbers), earlier.predict(numbers), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("scale", ["log", "quantile"])
def test_a_regression_keeps_its_scale(frame, scale):
    numbers = frame.drop(columns="y").assign(y=np.exp(frame["x"]))
    options = {**OPTIONS, "data.target_transform": scale, "optim.calibrate": "auto"}
    del options["optim.calibrate"]
    earlier = Predictor("y", verbosity=0).fit(numbers, hyperparameters=options)
    wider = numbers.assign(y=numbers["y"] * 3)
    again = start(wider, earlier, callbacks=[NoStep()])
    assert again._fitted().target.transform.labels == earlier._fitted().target.transform.labels
    assert again.started_from["head"] == "whole"
    none = start(wider, earlier, options={"data.target_transform": "none"}, callbacks=[NoStep()])
    assert "the head starts anew: the label is learnt on another scale" in notes(none)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("quantiles:0.1,0.5,0.9", "quantiles:0.1,0.5,0.9"),
        ("quantiles:0.1,0.5,0.9", "quantiles:0.2,0.4,0.6,0.8"),
        ("quantiles:0.1,0.5,0.9", "huber"),
        ("quantiles:0.1,0.5,0.9", "quantile:0.6"),
        ("mse", "quantiles:0.1,0.5,0.9"),
    ],
)
def test_quantiles_are_those_of_the_nearest_level(frame, before, now):
    numbers = frame.drop(columns="y").assign(y=3 * frame["x"] + 1)
    earlier = Predictor("y", verbosity=0).fit(numbers, hyperparameters={**OPTIONS, "optim.loss": before})
    again = start(numbers, earlier, options={"optim.loss": now}, callbacks=[NoStep()])
    assert again.started_from["head"] == "whole"
    assert ("each output that of the nearest level" in notes(again)) == (before != now)
    outputs = [one._fitted().model.head.weight for one in (earlier, again)]
    levels = [one._fitted().target.levels or (0.5,) for one in (earlier, again)]
    places = [min(range(len(levels[0])), key=lambda at: abs(levels[0][at] - level)) for level in levels[1]]
    assert torch.equal(outputs[1], outputs[0][places])


def test_quantiles_that_were_moved_start_where_they_were(frame):
    numbers = frame.drop(columns="y").assign(y=3 * frame["x"] + 1)
    options = {**OPTIONS, "optim.loss": "quantiles:0.1,0.5,0.9"}
    earlier = Predictor("y", verbosity=0).fit(numbers, hyperparameters=options)
    assembly = earlier._fitted()
    earlier._assembly = replace(assembly, target=replace(assembly.target, offsets=(0.5, 0.25, 0.0)))
    again = start(numbers, earlier, callbacks=[NoStep()])
    bias = [one._fitted().model.head.bias for one in (earlier, again)]
    assert torch.equal(bias[1], bias[0] + torch.tensor([0.5, 0.25, 0.0]))


# -- training from there


def test_training_goes_on_and_nothing_worse_is_kept(of_table, frame):
    more = make_table(72, seed=5)
    again = start(more, of_table, options={"optim.max_epochs": 4, "optim.lr": 0.01}, tuning_data=frame)
    assert again.history["step"].max() > 4
    scores = again.history.dropna(subset=["val_roc_auc"])["val_roc_auc"]
    assert scores.iloc[0] == pytest.approx(of_table.evaluate(frame, "roc_auc")["roc_auc"])
    assert again.history.kept_scores["roc_auc"] >= scores.iloc[0]
    wild = {"optim.lr": 1000.0, "optim.gradient_clip": None, "optim.top_k_average": "best"}
    bad = start(more, of_table, options=wild, tuning_data=frame)
    assert "kept: step 0" in notes(bad)
    assert bad.evaluate(frame, "roc_auc") == of_table.evaluate(frame, "roc_auc")


def test_the_earlier_one_stays_as_it_was(of_table, frame):
    before = {name: tensor.clone() for name, tensor in of_table.model.state_dict().items()}
    start(frame, of_table, options={"optim.lr": 0.1})
    assert all(torch.equal(tensor, before[name]) for name, tensor in of_table.model.state_dict().items())
    assert of_table.started_from is None


# -- classes


def test_new_classes_get_rows_and_gone_ones_lose_theirs(of_table, frame):
    three = frame.assign(y=np.where(frame["z"] > 0.8, "maybe", frame["y"]))
    more = start(three, of_table.path)
    assert more.problem_type == "multiclass"
    assert more.classes_.tolist() == ["maybe", "no", "yes"]
    assert more.started_from["head"] == "part"
    assert more.started_from["new"] == (0,)
    assert "the head has 2 of 3 classes from that fit; new are 'maybe'" in notes(more)
    assert "new classes from a probe" in notes(more)
    assert more.evaluate(three, "accuracy")["accuracy"] > 0.8
    fewer = start(frame, more)
    assert fewer.problem_type == "binary"
    assert "'maybe' are no labels any more" in notes(fewer)
    assert fewer.evaluate(frame, "accuracy")["accuracy"] > 0.8


def test_a_loaded_one_takes_more_classes(of_table, frame):
    loaded = Predictor.load(of_table.path, verbosity=0)
    loaded.path = None
    loaded.fit(frame.assign(y=np.where(frame["z"] > 0.8, "maybe", frame["y"])), start_from="self")
    assert loaded.classes_.tolist() == ["maybe", "no", "yes"]


def test_labels_of_a_list(of_texts, texts):
    lists = texts.assign(y=[["a"] if k % 2 else ["a", "b"] if k % 3 else [] for k in range(60)])
    first = start(lists, of_texts, problem_type="multilabel")
    assert "the head starts anew: the label is multilabel, and was binary" in notes(first)
    more = lists.assign(y=[[*cell, "c"] if "b" in cell else cell for cell in lists["y"]])
    second = start(more, first)
    assert second.started_from["new"] == (2,)


def test_classes_of_another_type_are_others(of_table, frame):
    again = start(frame.assign(y=(frame["y"] == "yes").astype(int)), of_table, options={"optim.max_steps": 1})
    assert "the head starts anew: no class is as before: 0, 1, and were 'no', 'yes'" in notes(again)


# -- what does not fit


def test_another_label_takes_the_towers(of_texts, texts):
    again = start(texts.rename(columns={"y": "kind"}), of_texts, "kind", options={"optim.max_steps": 1})
    assert again.started_from["towers"] == ("text",)
    assert "the head starts anew: the label is 'kind', and was 'y'" in notes(again)
    assert "probe" in notes(again)


def test_a_renamed_column_of_texts(of_texts, texts):
    renamed = texts.rename(columns={"review": "body"})
    again = start(renamed, of_texts, column_types={"body": "text"}, callbacks=[NoStep()])
    assert "text: reads 'body', and read 'review'" in notes(again)
    assert again.predict_proba(renamed).equals(of_texts.predict_proba(texts))


def test_more_columns_take_what_fits_and_go_on(of_texts, texts):
    wider = texts.assign(length=texts["review"].str.len() / 7)
    again = start(wider, of_texts)
    assert "table tower: starts anew, there was no such tower" in notes(again)
    assert "the head starts anew: it is over other features" in notes(again)
    both = start(wider, again, callbacks=[NoStep()])
    assert both.started_from["towers"] == ("text", "table")
    assert both.predict_proba(wider).equals(again.predict_proba(wider))


@pytest.mark.parametrize("lost", [["colour"], ["x", "z"]])
def test_a_table_of_other_columns_is_refused(of_table, frame, lost):
    message = told(ConfigError, ValueError, lambda: start(frame.drop(columns=lost), of_table))
    assert f"missing {', '.join(map(repr, lost))}" in message
    assert "leave start_from out" in message


def test_columns_keep_their_types(of_table, frame):
    again = start(frame.assign(x=[0, 1] * 36), of_table, callbacks=[NoStep()])  # by itself categorical
    assert again.columns["x"].kind == "numeric"
    assert again.columns["x"].reason == f"as in {of_table.path}"
    message = told(ConfigError, ValueError, lambda: start(frame, of_table, column_types={"x": "categorical"}))
    assert "'x' is categorical and was numeric" in message


# -- options


def test_options_are_those_of_the_earlier_fit_unless_set(of_table, frame):
    again = start(frame, of_table, callbacks=[NoStep()])
    assert again.config["env.batch_size"] == 16
    assert again.config.provenance["env.batch_size"] == "start_from: user"
    assert again.config.provenance["optim.lr"].startswith("chosen")
    third = start(frame, again, options={"env.batch_size": 8}, callbacks=[NoStep()])
    assert third.config["env.batch_size"] == 8
    assert third.config.provenance["model.table.width"] == "start_from: user"
    preset = start(frame, of_table, presets="two_stage", callbacks=[NoStep()])
    assert preset.config["model.table.width"] == 16
    assert preset.config["optim.lr_choice"] == "two_stage"


def entropy(outputs, targets, weights):
    return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")


def test_objects_of_the_caller_hold_where_the_predictor_is_in_memory(frame):
    own = {"optim.loss": entropy, "optim.optimizer": torch.optim.Adam}
    earlier = Predictor("y", verbosity=0).fit(frame, hyperparameters={**OPTIONS, **own})
    again = start(frame, earlier)
    assert again.config.objects == own
    assert again.config.provenance["optim.loss"] == "start_from: user"
    assert start(frame, again, options={"optim.loss": "focal"}).config.objects == {"optim.optimizer": torch.optim.Adam}


@pytest.mark.parametrize(
    ("option", "label", "said"),
    [
        ({"optim.loss": entropy}, "y", "names a function"),
        ({"optim.loss": "focal"}, "number", "is for binary"),
        ({"optim.class_weights": {"yes": 2.0}}, "letter", "'yes' is no class of 'letter'"),
    ],
)
def test_an_option_of_the_earlier_fit_that_does_not_fit_says_where_it_is_from(frame, tmp_path, option, label, said):
    path = tmp_path / "earlier"
    Predictor("y", path=path, verbosity=0).fit(frame, hyperparameters={**OPTIONS, **option})
    values = {"number": 3 * frame["x"], "letter": np.where(frame["x"] > 0, "a", "b"), "y": frame["y"]}
    frame = frame.drop(columns="y").assign(**{label: values[label]})
    message = told(ConfigError, ValueError, lambda: start(frame, path, label))
    name = next(iter(option))
    assert said in message
    assert f"{name!r} is as set in the fit that this one starts from, {str(path)!r}" in message
    fine = start(frame, path, label, options={name: None, "optim.max_steps": 1})
    assert fine.started_from["towers"] == ("table",)


@pytest.mark.parametrize(
    ("option", "has"), [({"model.table.width": 5}, "model.table.width=5, it has 16"), ({"model.table.bins": 9}, "=9")]
)
def test_options_of_another_tower_are_refused(of_table, frame, option, has):
    assert has in told(ConfigError, ValueError, lambda: start(frame, of_table, options=option))


def test_phases_give_way_to_a_schedule(of_table, frame):
    first = start(frame, of_table, options={"optim.schedule_plan": "fine_tune"})
    phases = [{"name": "head", "trains": ["head"]}]
    again = start(frame, first, options={"optim.phases": phases}, callbacks=[NoStep()])
    assert again.config["optim.schedule_plan"] is None


def test_a_head_that_was_taken_is_not_new(of_texts, texts):
    options = {"optim.lr_choice": "two_stage", "optim.lr_mult": 5.0}
    plan = Predictor("y", verbosity=0).explain(texts, start_from=of_texts, hyperparameters=options)
    assert {layer.lr_scale for layer in plan.layers} == {1.0}
    other = texts.rename(columns={"y": "kind"})
    plan = Predictor("kind", verbosity=0).explain(other, start_from=of_texts, hyperparameters=options)
    assert {layer.lr_scale for layer in plan.layers} == {1.0, 5.0}


def test_adapters_go_on(of_texts, texts):
    pytest.importorskip("peft")
    lora = {"model.peft": "lora", "model.lora_rank": 2}
    first = start(texts, of_texts, options=lora)
    again = start(texts, first, callbacks=[NoStep()])
    assert again.predict_proba(texts).equals(first.predict_proba(texts))
    assert [layer.role for layer in again.plan.layers] == [layer.role for layer in first.plan.layers]
    assert start(texts, first).history["step"].max() > 0
    for other in ({"model.peft": None}, {"model.peft": "bitfit"}, {"model.lora_rank": 3}):
        message = told(ConfigError, ValueError, lambda other=other: start(texts, first, options=other))
        assert "has lora adapters of rank 2" in message


# -- the saved predictor


def test_a_saved_predictor_is_never_replaced_unasked(of_table, frame):
    loaded = Predictor.load(of_table.path, verbosity=0)
    before = (of_table.path / "model.safetensors").read_bytes()
    for more in ({}, {"start_from": "self"}):
        message = told(OutputExistsError, FileExistsError, lambda more=more: loaded.fit(frame, **more))
        assert f"start_from={str(of_table.path)!r}" in message
        assert "overwrite=True" in message
    assert (of_table.path / "model.safetensors").read_bytes() == before


def test_it_replaces_itself_where_that_is_asked_for(of_table, frame, tmp_path):
    path = shutil.copytree(of_table.path, tmp_path / "m")
    Predictor.load(path, verbosity=0).fit(frame, start_from="self", overwrite=True)
    again = Predictor.load(path, verbosity=0)
    assert again.started_from["where"] == str(path)
    assert again.started_from["fingerprint"] == start(frame, of_table, callbacks=[NoStep()]).started_from["fingerprint"]


def test_what_it_started_from_is_saved(of_table, frame, tmp_path):
    again = start(frame, of_table, options={"optim.max_steps": 1})
    again.save(tmp_path / "m")
    assert Predictor.load(tmp_path / "m", verbosity=0).started_from == again.started_from
    assert str(again.started_from["fingerprint"]) in notes(again)


# -- resuming


JOB = {"optim.max_epochs": 3, "env.checkpoint_every": 1}


def test_a_killed_fit_ends_as_one_that_was_not(of_table, frame, tmp_path):
    def job(name, earlier, **more):
        path = tmp_path / name
        return Predictor("y", path=path, verbosity=0).fit(frame, start_from=earlier, hyperparameters=JOB, **more)

    whole = job("whole", of_table.path)
    with killed_after_checkpoint(4):
        job("run", of_table.path)
    other = start(frame, of_table, options={"optim.lr": 0.05})
    message = told(ResumeError, ValueError, lambda: job("run", other, resume=True))
    assert "start_from: " in message
    message = told(ResumeError, ValueError, lambda: job("run", None, resume=True))
    assert "nothing now" in message
    resumed = job("run", of_table, resume=True)  # the same one, in memory
    assert resumed.predict_proba(frame).equals(whole.predict_proba(frame))
    again = job("run", of_table.path, resume=True)
    assert again._identity == resumed._identity  # it has ended, and is loaded
    assert "start_from: " in told(ResumeError, ValueError, lambda: job("run", other, resume=True))


def test_with_new_classes_too(of_table, frame, tmp_path):
    three = frame.assign(y=np.where(frame["z"] > 0.8, "maybe", frame["y"]))

    def job(name, **more):
        path = tmp_path / name
        return Predictor("y", path=path, verbosity=0).fit(three, start_from=of_table.path, hyperparameters=JOB, **more)

    with killed_after_checkpoint(3):
        job("run")
    assert job("run", resume=True).predict_proba(three).equals(job("whole").predict_proba(three))


# -- arguments


@pytest.mark.parametrize(
    ("given", "error", "builtin", "said"),
    [
        ("nowhere", ArtifactError, OSError, "no saved predictor at 'nowhere'"),
        (3, ConfigError, ValueError, "a fitted Predictor, 'self'"),
        (Predictor, ConfigError, ValueError, "start_from is the path"),
        ("self", NotFittedError, RuntimeError, "not fitted"),
        (Predictor("y"), NotFittedError, RuntimeError, "not fitted"),
    ],
)
def test_what_cannot_be_started_from(frame, given, error, builtin, said):
    assert said in told(error, builtin, lambda: start(frame, given))


def test_another_kind_of_problem(of_table, frame):
    predictor = Predictor("y", "object_detection", verbosity=0)
    message = told(ConfigError, ValueError, lambda: predictor.fit(frame, start_from=of_table))
    assert "their models share nothing" in message


def test_a_missing_column_is_said_where_a_type_is_given(of_table, frame):
    told(MissingColumnError, KeyError, lambda: start(frame, of_table, column_types={"w": "numeric"}))


def test_on_the_command_line(of_table, frame, tmp_path, capsys):
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = [str(tmp_path / "t.csv"), "--label", "y", "--quiet"]
    assert cli.main(["fit", *data, "--start-from", str(of_table.path), "--out", str(tmp_path / "m")]) == 0
    assert Predictor.load(tmp_path / "m").started_from["head"] == "whole"
    assert cli.main(["fit", *data, "--start-from", "nowhere", "--out", str(tmp_path / "n")]) == 1
    assert "no saved predictor at 'nowhere'" in capsys.readouterr().err
    assert cli.main(["explain", *data, "--start-from", str(of_table.path)]) == 0


# -- searches and races


def test_every_trial_of_a_search_starts_there(of_table, frame, tmp_path):
    predictor = Predictor("y", path=tmp_path / "s", verbosity=0)
    predictor.fit(
        frame, start_from=of_table, hyperparameters={"optim.lr": "loguniform(1e-4, 1e-2)"}, search={"trials": 2}
    )
    assert predictor.started_from["head"] == "whole"
    assert len(predictor.leaderboard()) == 2


def test_a_model_with_trees_fits_them_anew(frame):
    rows = pd.concat([frame, make_table(72, seed=4)], ignore_index=True)
    options = {name: value for name, value in OPTIONS.items() if name != "model.trees"}
    earlier = Predictor("y", verbosity=0).fit(rows, hyperparameters=options)
    again = start(rows, earlier, callbacks=[NoStep()])
    assert again.predict_proba(rows).equals(earlier.predict_proba(rows))
