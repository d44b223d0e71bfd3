"""Phases from every door: options, YAML and JSON files, the command line, and `fit(plan=…)`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from support.tiny import TINY, make_texts, told
from thermocline import Predictor
from thermocline.cli import main
from thermocline.config import resolve
from thermocline.errors import ConfigError
from thermocline.tuning.schedule.phases import Phase

HEAD_FIRST = [{"name": "head", "trains": "head", "epochs": 1}, {"name": "all", "warmup": 0.0, "lr_mult": {"stem": 0.1}}]


@pytest.fixture
def options(text_folder):
    return {**TINY, "model.text.checkpoint": str(text_folder), "optim.lr": 1e-3}


def explained(options, **more):
    return Predictor("y", verbosity=0).explain(make_texts(), hyperparameters=options, **more)


def weights(predictor):
    return {name: value.numpy().copy() for name, value in predictor._assembly.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_phases_as_options(options):
    plan = explained({**options, "optim.phases": HEAD_FIRST})
    assert [phase.name for phase in plan.phases] == ["head", "all"]
    assert plan.phases[1].lr_mult == {"stem": 0.1}
    assert (plan.total_steps, plan.steps_per_epoch) == (2 * plan.steps_per_epoch, plan.steps_per_epoch)
    nested = {**options, "optim": {"phases": [Phase("head", "head", epochs=1), HEAD_FIRST[1]]}}
    assert explained(nested).phases == plan.phases


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_phases_from_a_file(options, tmp_path, form):
    file = tmp_path / f"phases.{form}"
    plan = explained({**options, "optim.phases": HEAD_FIRST})
    file.write_text(plan.phases_yaml() if form == "yaml" else json.dumps({"phases": HEAD_FIRST}))
    assert explained({**options, "optim.phases": str(file)}).phases == plan.phases
    assert explained([options, f"optim.phases={file}"]).phases == plan.phases
    assert resolve(None, {"optim.phases": str(file)}).optim.phases[0]["trains"] in ("head", ["head"])


def test_a_configuration_with_phases_survives_yaml():
    from thermocline.config import ResolvedConfig

    given = {"optim.phases": HEAD_FIRST, "optim.schedule_plan": None}
    config = resolve("offline", given)
    assert ResolvedConfig.from_yaml(config.to_yaml()) == config
    plan = {"milestones": {1: {"freeze_to": -1}, 2: {"freeze_to": 0}}}
    config = resolve(None, {"optim.schedule_plan": plan})
    assert ResolvedConfig.from_yaml(config.to_yaml()).optim.schedule_plan == plan
    assert "milestones" in str(config)


def test_a_schedule_plan_by_name(options):
    by_text = explained([options, "optim.schedule_plan=fine_tune(epochs=2, freeze_epochs=1)"])
    assert [phase.name for phase in by_text.phases] == ["head", "all"]
    assert by_text.phases == explained({**options, "optim.schedule_plan": {"fine_tune": {"epochs": 2}}}).phases
    free = {key: value for key, value in options.items() if key != "optim.max_epochs"}
    predictor = Predictor("y", verbosity=0)
    predictor.fit(make_texts(), hyperparameters={**free, "optim.schedule_plan": "fine_tune(epochs=1)"})
    assert predictor.config.optim.max_epochs == 2
    assert predictor.config.provenance["optim.max_epochs"] == "chosen: the phases of the plan"
    assert "█" in str(predictor.plan)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"optim.schedule_plan": "fine_tunee"}, "Did you mean 'fine_tune'"),
        ({"optim.schedule_plan": "lp_ft", "optim.phases": [{}]}, "give one of them"),
        ({"optim.phases": [{"trian": "head"}]}, "optim.phases[0] has unknown 'trian'"),
        ({"optim.phases": "there_is_none.yaml"}, "no file 'there_is_none.yaml'"),
        ({"optim.phases": [{"trains": "${head}"}]}, "is not looked up here"),
        ({"optim.phases": [{"warmup": float("nan")}]}, "finite numbers"),
        ({"optim.phases": 3}, "it takes a text, a list or a mapping"),
        ({"optim.phases": [{"trains": "haed"}]}, "Did you mean 'head'"),
    ],
)
def test_faults(options, given, words):
    assert words in told(ConfigError, ValueError, lambda: explained({**options, **given}))


def test_faults_show_before_anything_is_loaded(options, no_loading):
    for given in ({"optim.schedule_plan": "lisa(n=1)"}, {"optim.phases": [{"schedule": "cosin"}]}):
        with pytest.raises(ConfigError, match=r"no argument .n.|Unknown schedule"):
            explained({**options, **given})


def test_a_file_without_phases(options, tmp_path):
    file = tmp_path / "other.yaml"
    file.write_text("optim: {lr: 1}\n")
    assert "--write-phases" in told(ConfigError, ValueError, lambda: explained({**options, "optim.phases": str(file)}))


def test_the_command_line_writes_phases_to_edit(options, tmp_path, capsys):
    data, config, phases = tmp_path / "train.csv", tmp_path / "options.yaml", tmp_path / "phases.yaml"
    make_texts().to_csv(data, index=False)
    config.write_text("\n".join(f"{key}: {value}" for key, value in options.items()))
    common = [str(data), "--label", "y", "--config", str(config), "--quiet"]
    more = ["--set", "optim.schedule_plan=gradual_unfreeze"]
    assert main(["explain", *common, *more, "--write-phases", str(phases)]) == 0
    assert "phases written to" in capsys.readouterr().out
    text = phases.read_text()
    assert "+ encoder.layer.1" in text
    phases.write_text(text.replace("thaw_warmup: 0.1", "thaw_warmup: 3"))
    assert main(["fit", *common, "--plan", str(phases), "--out", str(tmp_path / "model")]) == 0
    assert {phase.thaw_warmup for phase in Predictor.load(tmp_path / "model").plan.phases} == {3}
    assert main(["explain", *common, "--write-phases", str(tmp_path / "phases.txt")]) == 1
    assert ".yaml" in capsys.readouterr().err


@pytest.mark.parametrize("request_", ["gradual_unfreeze", "lisa(n_layers=1, every=2)", "progressive_freeze(start=0.2)"])
def test_a_plan_saved_loaded_and_refitted_gives_the_same_weights(options, tmp_path, request_):
    options = {**options, "optim.schedule_plan": request_, "optim.head_init": "random"}
    first = Predictor("y", verbosity=0).fit(make_texts(), hyperparameters=options)
    plain = {key: value for key, value in options.items() if key != "optim.schedule_plan"}
    (tmp_path / "plan.json").write_text(first.plan.to_json())
    (tmp_path / "phases.yaml").write_text(first.plan.phases_yaml())
    for name in ("plan.json", "phases.yaml"):
        again = Predictor("y", verbosity=0).fit(make_texts(), hyperparameters=plain, plan=tmp_path / name)
        assert again.plan == first.plan
        assert same(weights(again), weights(first)), name
    other = Predictor("y", verbosity=0).fit(make_texts(), hyperparameters=plain)
    assert not same(weights(other), weights(first))
