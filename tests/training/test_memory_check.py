"""Before training it is said whether a run fits into memory; what is named as a way out is one."""

from __future__ import annotations

import re

import pytest

from support.assemblies import prepared_and_assembled, run_of
from support.tiny import TINY, make_texts, save_text
from thermocline import Predictor
from thermocline.efficiency.costs import live_bytes
from thermocline.errors import ThermoclineWarning
from thermocline.training import memory_check
from thermocline.training.live_source import counted_of
from thermocline.training.memory_check import memory_warning
from thermocline.training.trainer import Trainer

SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_text(tmp_path_factory.mktemp("bert") / "model", "bert", **SHAPE)


@pytest.fixture(autouse=True)
def no_workspace(monkeypatch):
    """The workspace of kernels is more than a tiny model takes in all."""
    monkeypatch.setitem(live_bytes.WORKSPACE, "cpu", 0)


def trainer_of(bert, folder, **options) -> Trainer:
    keys = {key.replace("__", "."): value for key, value in options.items()}
    own = {**TINY, "model.text.checkpoint": str(bert), "env.batch_size": 32, **keys}
    return Trainer(run_of(*prepared_and_assembled(make_texts(64), own), folder))


def warning_of(bert, folder, free, **options) -> str:
    trainer = trainer_of(bert, folder, **options)
    return memory_warning(trainer.run, trainer.savings, trainer.learning.objective, free=free)


def numbers(warning: str) -> tuple[float, float]:
    """Bytes that it takes, and bytes that are free."""
    units = {"GB": 1e9, "MB": 1e6, "kB": 1e3}
    found = re.findall(r"([\d.]+) (GB|MB|kB)", warning)
    return tuple(float(value) * units[unit] for value, unit in found[:2])


def change_of(warning: str) -> dict[str, object]:
    named = re.search(r"It would fit with (.*) \(up to", warning)
    return {} if named is None else dict(part.split("=", 1) for part in named[1].split(" with "))


def test_it_is_quiet_where_the_run_fits(bert, tmp_path):
    assert warning_of(bert, tmp_path, 10**9) == ""
    needed, free = numbers(warning_of(bert, tmp_path, 1000))
    assert free == 1000
    assert warning_of(bert, tmp_path, int(needed * 1.01)) == ""
    assert warning_of(bert, tmp_path, int(needed * 0.98)) != ""


def test_the_change_that_is_named_makes_it_fit(bert, tmp_path):
    needed, _ = numbers(warning_of(bert, tmp_path, 1000))
    free = int(needed * 0.45)
    change = change_of(warning_of(bert, tmp_path, free))
    assert list(change) == ["env.micro_batch_size"]
    assert warning_of(bert, tmp_path, free, **{key.replace(".", "__"): value for key, value in change.items()}) == ""
    twice = {"env__micro_batch_size": 2 * int(change["env.micro_batch_size"])}
    assert warning_of(bert, tmp_path, free, **twice) != ""  # the smallest change


def test_more_and_more_is_named_as_memory_gets_less(bert, tmp_path, monkeypatch):
    trainer = trainer_of(bert, tmp_path)
    counted = counted_of(trainer.run.assembly, trainer.savings.setup.rows, trainer.savings, trainer.learning.objective)
    monkeypatch.setattr(memory_check, "counted_of", lambda *_: counted)  # traces are kept
    objective = trainer.learning.objective
    needed, _ = numbers(memory_warning(trainer.run, trainer.savings, objective, free=1000))
    seen: list[str] = []
    for percent in range(90, 0, -2):
        warning = memory_warning(trainer.run, trainer.savings, objective, free=int(needed * percent / 100))
        seen += [key for key in change_of(warning) if key not in seen]
    order = ["env.micro_batch_size", "model.checkpointing", "env.precision", "model.frozen_layers"]
    assert [key for key in seen if key != "env.eval_batch_size"] == [key for key in order if key in seen]
    assert "env.eval_batch_size" in seen  # where validation takes more than a step
    assert {"env.micro_batch_size", "model.frozen_layers"} <= set(seen)
    assert "take a smaller backbone" in memory_warning(trainer.run, trainer.savings, objective, free=1000)


def test_fit_warns_before_training_and_goes_on(bert, monkeypatch):
    options = {**TINY, "model.text.checkpoint": str(bert), "optim.max_steps": 1}
    monkeypatch.setattr(memory_check, "free_on", lambda _: 1000)
    with pytest.warns(ThermoclineWarning, match="may not fit into memory: it takes up to .* free on this cpu"):
        predictor = Predictor("y", verbosity=0).fit(make_texts(40), hyperparameters=options)
    assert len(predictor.predict(make_texts(4))) == 4


def test_small_models_are_not_traced(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(memory_check, "counted_of", lambda *_: pytest.fail("traced"))
    assert warning_of(bert, tmp_path, 10**11) == ""
