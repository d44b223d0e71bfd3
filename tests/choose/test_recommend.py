"""Tests of recommended options."""

import json

import pytest
import yaml

from support.tiny import TINY, make_table
from thermocline import Predictor, cli
from thermocline.choose import depth
from thermocline.errors import ConfigError, ThermoclineWarning


def recommend(frame, **more):
    return Predictor("y", verbosity=0).recommend(frame, hyperparameters=TINY, **more)


def test_each_option_has_a_source_and_a_reason():
    found = recommend(make_table(60), presets="medium_quality")
    assert {one.source for one in found.choices} == {"user", "preset", "rule"}
    assert all(one.why for one in found.choices if one.source == "rule")
    assert found["optim.lr"].value == 1e-3
    assert found["env.batch_size"].source == "user"
    assert found["optim.lr_choice"].why == "medium_quality"
    assert not any(one.option.startswith(("model.text", "model.image")) for one in found.choices)
    with pytest.raises(KeyError, match="at its default"):
        found["optim.gradient_clip"]


def test_it_prints_and_is_html_and_a_frame_and_plain_data():
    found = recommend(make_table(60), memory="4GB", time_limit="10m")
    text = str(found)
    assert text.startswith("A fit with these options takes up to")
    assert "of memory=4 GB and about" in text
    assert "live at the peak" in text
    assert "<table" in found._repr_html_()
    assert list(found.to_frame()["option"]) == list(found.options)
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def test_the_options_can_be_handed_to_fit_and_change_no_bit():
    frame = make_table(60)
    given = recommend(frame, presets="medium_quality").to_dict()
    plain = Predictor("y", verbosity=0).fit(frame, presets="medium_quality", hyperparameters=TINY)
    other = Predictor("y", verbosity=0).fit(frame, presets="medium_quality", hyperparameters=given)
    assert plain.predict_proba(frame).equals(other.predict_proba(frame))


def test_a_recommendation_leaves_a_predictor_as_it_was():
    frame = make_table(60)
    predictor = Predictor("y", verbosity=0)
    predictor.recommend(frame, hyperparameters=TINY, time_limit="1h")
    assert predictor._assembly is None
    plain = Predictor("y", verbosity=0).fit(frame, hyperparameters=TINY)
    assert predictor.fit(frame, hyperparameters=TINY).predict_proba(frame).equals(plain.predict_proba(frame))


@pytest.fixture
def slow(monkeypatch):
    """Steps of a second each, where nothing is frozen; validations take no time."""
    real = depth.times_of

    def timed(found):
        from dataclasses import replace

        return replace(real(found), compute=1.0, load=0.0, validation=0.0, start=0.0)

    monkeypatch.setattr(depth, "times_of", timed)


def text_options(folder):
    return {**TINY, "model.text.checkpoint": str(folder), "optim.max_epochs": 50}


@pytest.mark.usefixtures("slow")
def test_a_shorter_schedule_comes_before_frozen_layers(reviews, text_folder):
    given = text_options(text_folder)
    predictor = Predictor("y", verbosity=0)
    whole = predictor.recommend(reviews, hyperparameters=given)
    steps = whole.forecast.estimate.phases[0].steps
    found = predictor.recommend(reviews, hyperparameters=given, time_limit=0.8 * steps)
    assert found["optim.max_steps"].value == pytest.approx(0.72 * steps, rel=0.05)
    assert found["optim.max_steps"].source == "measured"
    assert "model.frozen_layers" not in found.options


@pytest.mark.usefixtures("slow")
def test_no_more_layers_are_frozen_than_half_of_the_steps_need(reviews, text_folder):
    given = text_options(text_folder)
    predictor = Predictor("y", verbosity=0)
    steps = predictor.recommend(reviews, hyperparameters=given).forecast.estimate.phases[0].steps
    found = predictor.recommend(reviews, hyperparameters=given, time_limit=0.3 * steps)
    chosen = found["model.frozen_layers"]
    assert chosen.source == "measured"
    assert chosen.alternatives
    assert "with nothing frozen 27 % of the steps would fit" in chosen.why
    kept = {**given, "model.frozen_layers": "embeddings"}
    mine = predictor.recommend(reviews, hyperparameters=kept, time_limit=0.3 * steps)
    assert mine["model.frozen_layers"].source == "user"


@pytest.mark.usefixtures("slow")
def test_what_the_user_set_is_not_changed_for_the_time(reviews, text_folder):
    given = {**text_options(text_folder), "optim.max_steps": 40, "model.frozen_layers": []}
    found = Predictor("y", verbosity=0).recommend(reviews, hyperparameters=given, time_limit=10)
    assert (found["optim.max_steps"].value, found["optim.max_steps"].source) == (40, "user")
    assert found["model.frozen_layers"].source == "user"


@pytest.mark.usefixtures("slow")
def test_phases_with_lengths_are_not_cut_by_a_number_of_steps(reviews, text_folder):
    given = {**text_options(text_folder), "optim.schedule_plan": "fine_tune(freeze_epochs=5)"}
    found = Predictor("y", verbosity=0).recommend(reviews, hyperparameters=given, time_limit=60)
    assert "optim.max_steps" not in found.options


def test_where_steps_do_not_fit_there_is_a_warning_and_no_time(monkeypatch):
    def full(*_args, **_more):
        raise MemoryError

    monkeypatch.setattr("thermocline.pipeline.explain.time_steps", full)
    with pytest.warns(ThermoclineWarning, match="Steps were not timed"):
        found = recommend(make_table(60), time_limit="10m")
    assert found.forecast.estimate.seconds is None


@pytest.mark.parametrize(("name", "value"), [("memory", "8 gigs"), ("time_limit", "20 min"), ("time_limit", 0)])
def test_bad_budgets_are_errors_before_anything_is_loaded(name, value, monkeypatch):
    monkeypatch.setattr("thermocline.pipeline.budget.ready", lambda _: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match=name):
        recommend(make_table(20), **{name: value})


def test_on_the_command_line(tmp_path, capsys):
    make_table(60).to_csv(tmp_path / "train.csv", index=False)
    out = tmp_path / "options.yaml"
    given = [f"{key}={value}" for key, value in TINY.items()]
    command = [
        "recommend",
        str(tmp_path / "train.csv"),
        "--label",
        "y",
        "--memory",
        "4000000000",
        "--time-limit",
        "10m",
    ]
    assert cli.main([*command, "--set", *given, "--out", str(out), "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "of memory=4 GB and about" in shown
    assert yaml.safe_load(out.read_text())["env.batch_size"] == 16
    assert cli.main([*command, "--out", str(tmp_path / "options.txt")]) != 0
