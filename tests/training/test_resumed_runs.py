"""Resuming after something changed: what goes on, what is refused, and two faults of others by name."""

import numpy as np
import pytest
import torch

from support.stopping import Killed, Trap, check_same, fit, run_of, stop_after, trainer_of
from thermocline.errors import NonFiniteError, ResumeError, ThermoclineWarning
from thermocline.training.trainer import Trainer
from thermocline.tuning.schedule.phases import Phase


def test_a_damaged_newest_checkpoint_costs_only_its_steps(tmp_path):
    watch = Trap()
    whole = fit(tmp_path / "whole", watch, every=0)
    stop_after(tmp_path / "again", 7)
    (tmp_path / "again" / "step-000000007" / "model.safetensors").write_bytes(b"")
    with pytest.warns(ThermoclineWarning, match="step-000000007.*damaged"):
        trainer = trainer_of(tmp_path / "again", Trap((), watch.seen))
    assert trainer.run.resume.step == 6
    check_same(whole, (trainer, trainer.fit()))


def test_other_workers_and_other_loggers_change_nothing(tmp_path):
    watch = Trap()
    whole = fit(tmp_path / "whole", watch, every=0)
    stop_after(tmp_path / "again", 7)
    trainer = trainer_of(tmp_path / "again", Trap((), watch.seen), env={"num_workers": 1})
    check_same(whole, (trainer, trainer.fit()))


def test_bad_steps_are_counted_across_a_stop(tmp_path):
    """Ten in a row are an error, wherever among them the run was stopped."""

    def sick(trainer):
        hook = lambda model, _inputs, out: out * float("nan") if model.training else None  # noqa: E731
        trainer.model.register_forward_hook(hook)
        return trainer

    with pytest.raises(Killed):
        sick(trainer_of(tmp_path, Trap([("saved", 6)]))).fit()
    with pytest.raises(NonFiniteError, match="for 10 steps in a row, up to step 10"):
        sick(trainer_of(tmp_path)).fit()


@pytest.mark.parametrize("step", [7, 15])
def test_more_epochs_go_on_with_the_schedule_of_the_longer_run(step, tmp_path):
    stop_after(tmp_path, step)
    trainer = trainer_of(tmp_path, optim={"max_epochs": 5})
    history = trainer.fit()
    assert history["step"].max() == 25
    plan = trainer.run.plan
    for number, rates in history.lrs.iterrows():
        expected = plan.lr_at("fusion/head", plan.cursor(number - 1, 15 if number <= step else 25))
        assert rates["fusion/head"] == pytest.approx(expected, rel=1e-5)


def test_more_epochs_begin_the_phase_that_the_shorter_run_did_not_reach(tmp_path):
    """Its edge lay where the run ended."""
    phases = (Phase("head", trains="head", epochs=3), Phase("all"))
    stop_after(tmp_path, 15, phases=phases)
    trainer = trainer_of(tmp_path, optim={"max_epochs": 4}, phases=phases)
    trainer.fit()
    assert (trainer.cursor.step, trainer.cursor.phase, trainer.cursor.phase_start) == (20, 1, 15)


def test_fewer_steps_than_were_taken_are_refused(tmp_path):
    stop_after(tmp_path, 12)
    with pytest.raises(ResumeError, match=r"is of step 12, but optim\.max_epochs=2 and .* end the run after 10"):
        trainer_of(tmp_path, optim={"max_epochs": 2}).fit()


def test_frozen_weights_that_changed_in_between_are_refused(tmp_path):
    stop_after(tmp_path, 2, plan="one phase, some pinned")
    run = run_of(tmp_path, plan="one phase, some pinned")
    with torch.no_grad():
        run.model.towers["text"].backbone.embed.weight[0, 0] += 1e-3
    with pytest.raises(ResumeError, match=r"frozen layers are not those.*have changed.*resume=False"):
        Trainer(run).fit()


def test_seconds_add_up_over_processes(tmp_path):
    stop_after(tmp_path, 12)
    trainer = trainer_of(tmp_path)
    spent = trainer.run.resume.content["seconds"]
    history = trainer.fit()
    assert spent > 0
    assert np.all(np.diff(history["seconds"]) >= 0)
    assert history["seconds"].iloc[-1] >= round(spent, 3)


# two faults of others


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_composer_1002_the_optimizers_state_can_be_taken_after_freezing(optimizer, tmp_path):
    """mosaicml/composer issue 1002: LayerFreezing takes parameters out of groups, and state_dict() raises KeyError."""
    options = {"plan": "progressive_freeze", "optim": {"optimizer": optimizer}}
    trainer, made = trainer_of(tmp_path / "a", **options), []
    make = trainer.make_optimizer
    trainer.make_optimizer = lambda: made.append(make()) or made[0]
    trainer.fit()
    assert len(trainer.applied.frozen) >= 3  # of six layers
    taken = made[0].state_dict()
    assert len(taken["state"]) == sum(len(group["params"]) for group in taken["param_groups"])
    fresh = trainer_of(tmp_path / "b", **options).make_optimizer()
    fresh.load_state_dict(taken)
    assert fresh.state_dict()["state"].keys() == taken["state"].keys()


def test_lightning_21901_what_was_thawed_before_a_stop_trains_after_it(tmp_path):
    """Lightning issue 21901: on resume, BaseFinetuning freezes again what it had thawed."""
    stop_after(tmp_path, 12, plan="gradual_unfreeze")
    trainer, trained = trainer_of(tmp_path, plan="gradual_unfreeze"), {}
    step = trainer.step

    def watched(number, batches, optimizer):
        plan = trainer.run.plan
        wanted = {label for label in plan.labels if plan.trainable_at(label, trainer.cursor)}
        flags = {layer.label for layer in trainer.run.layer_map if requires_grad(trainer.model, layer)}
        assert flags == wanted == set(plan.labels) - trainer.applied.frozen
        before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
        step(number, batches, optimizer)
        moved = {name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])}
        trained[number] = {layer.label for layer in trainer.run.layer_map if moved & set(layer.parameters)}
        assert trained[number] == wanted

    trainer.step = watched
    trainer.fit()
    assert list(trained) == [13, 14, 15]
    assert len(trained[13]) >= 4


def requires_grad(model, layer):
    return all(model.get_parameter(name).requires_grad for name in layer.parameters)
