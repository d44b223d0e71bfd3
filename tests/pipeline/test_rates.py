"""Rates by selector, parameter rules and schedules by selector in whole fits."""

from __future__ import annotations

import pytest

from support.stopping import killed_before
from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.cli import main
from thermocline.errors import ConfigError, ResumeError, SelectorError

IMAGE = {
    "model.image.checkpoint": "test_resnet",
    "model.image.pretrained": False,
    "model.image.size": 64,
    "env.device": "cpu",
    "env.batch_size": 8,
    "optim.max_epochs": 1,
    "optim.head_init": "random",
}
LOW = ["stem", "layer[1-3].*"]
RULES = [{"parameters": "*.bias", "lr_scale": 2, "weight_decay": 0.1}]
PHASES = [{"schedule": {"head": "constant", "*": "cosine"}, "warmup": {"head": 2}}]


def table_fit(path=None, *, resume=False, **options):
    predictor = Predictor("y", path=path, verbosity=0)
    return predictor.fit(make_table(80), hyperparameters={**TINY, **options}, resume=resume)


def weights(path):
    return (path / "model.safetensors").read_bytes()


def test_a_rate_of_0_costs_and_ends_as_frozen_layers(pictures, tmp_path):
    def fitted(name, options):
        options = {**IMAGE, **options}
        forecast = Predictor("y", verbosity=0).explain(pictures, hyperparameters=options).estimate
        assert forecast is not None
        return forecast, Predictor("y", path=tmp_path / name, verbosity=0).fit(pictures, hyperparameters=options)

    frozen, one = fitted("frozen", {"model.frozen_layers": LOW, "optim.lr": 1e-3})
    zero, two = fitted("zero", {"optim.lr": {**dict.fromkeys(LOW, 0), "*": 1e-3}})
    full, _ = fitted("full", {"optim.lr": 1e-3})
    assert zero.to_frame().equals(frozen.to_frame())
    assert zero.saved == frozen.saved
    assert zero.to_frame()["activation_bytes"].max() < full.to_frame()["activation_bytes"].max() / 2
    assert weights(tmp_path / "zero") == weights(tmp_path / "frozen")
    assert one.history["note"].tolist() == two.history["note"].tolist()
    assert one.history["train_loss"].equals(two.history["train_loss"])


def test_what_the_options_ask_for_is_in_the_plan_the_history_and_the_artifact(tmp_path):
    options = {"optim.lr": {"stem": 1e-4, "*": 1e-2}, "optim.parameter_rules": RULES, "optim.phases": PHASES}
    fitted = table_fit(tmp_path / "p", **options)
    rates = fitted.history.lrs
    assert rates["table/stem"].max() <= 1e-4
    assert rates["fusion/head"].tolist()[2:] == [1e-2] * (len(rates) - 2)
    assert rates["table/blocks.0"].iloc[-1] < 2e-3
    loaded = Predictor.load(tmp_path / "p")
    assert loaded.plan == fitted.plan
    assert loaded.config == fitted.config
    plain = table_fit(tmp_path / "plain", **{**options, "optim.parameter_rules": None})
    assert weights(tmp_path / "p") != weights(tmp_path / "plain")
    assert fitted.plan.fingerprint != plain.plan.fingerprint


CHANGES = [
    ({"optim.lr": {"stem": 2e-4, "*": 1e-2}}, "optim.layer_lr"),
    ({"optim.lr": 1e-2}, "optim.layer_lr"),
    ({"optim.parameter_rules": [{**RULES[0], "lr_scale": 3}]}, "optim.parameter_rules"),
    ({"optim.parameter_rules": None}, "optim.parameter_rules"),
    ({"optim.phases": [{"schedule": {"head": "linear"}, "warmup": {"head": 2}}]}, "optim.phases"),
    ({"optim.lr_min_scale": 0.5}, "optim.lr_min_scale"),
]


def test_a_resumed_run_has_the_same_rates(tmp_path):
    options = {"optim.lr": {"stem": 1e-4, "*": 1e-2}, "optim.parameter_rules": RULES, "optim.phases": PHASES}
    options["env.checkpoint_every"] = 1
    with killed_before(4):
        table_fit(tmp_path / "run", resume=True, **options)
    for changed, named in CHANGES:
        with pytest.raises(ResumeError, match=named):
            table_fit(tmp_path / "run", resume=True, **{**options, **changed})
    table_fit(tmp_path / "run", resume=True, **options)
    table_fit(tmp_path / "whole", **options)
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"optim.lr": {"head": "fast"}}, ConfigError, "optim.lr of 'head' must be a number"),
        ({"optim.layer_lr": {"*": 1e-3}}, ConfigError, "has no '\\*': the rate of what it does not name is optim.lr"),
        ({"optim.lr": {"haed": 1e-3}}, SelectorError, "Did you mean 'head'"),
        ({"optim.parameter_rules": [{"parameters": "*.bais", "lr_scale": 2}]}, SelectorError, "Did you mean 'bias'"),
        ({"optim.parameter_rules": [{"parameters": "*"}]}, ConfigError, r"optim.parameter_rules\[0\]: .* neither"),
        ({"optim.lr": {"backbone": 0, "head": 0}}, SelectorError, "nothing is left to train"),
        ({"model.frozen_layers": [0, 1, 2]}, SelectorError, "'0:3'"),
        ({"optim.lr_min_scale": 2}, ConfigError, "optim.lr_min_scale: 2 is not allowed"),
    ],
)
def test_faults(options, error, message):
    with pytest.raises(error, match=message):
        table_fit(**options)


def test_what_is_about_frozen_layers_alone_is_told():
    given = {
        **TINY,
        "optim.lr": {"table": 1e-3, "head": 1e-4},
        "optim.parameter_rules": [{"parameters": "*stem*", "lr_scale": 0.5}],
        "model.frozen_layers": "table",
    }
    plan = Predictor("y", verbosity=0).explain(make_table(60), hyperparameters=given)
    assert "no effect: the rate of 'table', 0.001, is of layers that are all frozen" in plan.warnings
    assert any("rule of '*stem*' has no effect" in hint for hint in plan.hints())
    thawed = plan.edit("table", frozen=False)
    assert not any("no effect" in one for one in (*thawed.warnings, *thawed.hints()))


def test_on_the_command_line(tmp_path, capsys):
    make_table(60).to_csv(tmp_path / "t.csv", index=False)
    options = ["optim.lr={stem:1e-5,head:1e-3,*:2e-3}", "optim.parameter_rules=[{parameters: '*.bias', lr_scale: 2}]"]
    command = ["explain", str(tmp_path / "t.csv"), "--label", "y", "--set", "env.device=cpu"]
    assert main([*command, *options, "model.table.frozen_layers=1:2"]) == 0
    said = capsys.readouterr().out
    assert "1e-05" in said
    assert "base lr 0.002" in said
    assert "× layer's lr" in said
