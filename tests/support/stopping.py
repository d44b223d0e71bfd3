"""Fits that are killed and run again: any fit at a step, those of the toy model at every moment."""

import contextlib
import hashlib
import json
from dataclasses import replace

import pytest
from torch import nn

from support.plans import plan_of
from support.toy import make_model, make_run, same, state, with_plan
from thermocline.optimizers.state import numbers_by_name, state_by_name
from thermocline.training.checkpoint_store import CheckpointStore
from thermocline.training.trainer import Trainer

# 40 rows, 8 a step, 5 steps an epoch; a step is three micro-batches; a validation every second step
ENV = {"micro_batch_size": 3}
OPTIM = {"max_epochs": 3, "val_check_interval": 0.4, "patience": 100, "head_init": "random"}


class Killed(BaseException):
    """Nothing in the program catches it, as nothing catches SIGKILL."""


@contextlib.contextmanager
def killed_before(step):
    """Expect a fit in this block to die before a step."""
    original = Trainer.step

    def dying(self, number, *rest):
        if number == step:
            raise Killed
        return original(self, number, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", dying)
        with pytest.raises(Killed):
            yield


@contextlib.contextmanager
def killed_after_checkpoint(step):
    """Expect a fit in this block to die once the checkpoint of a step is written."""
    original = Trainer.save_checkpoint

    def dying(self, optimizer):
        original(self, optimizer)
        if self.cursor.step == step:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "save_checkpoint", dying)
        with pytest.raises(Killed):
            yield


class Trap:
    """Kills a run once at each of some moments: before a step, in its accumulation, before it is saved, …

    Args:
        stops: Pairs of a moment (`step`, `micro`, `saving`, `saved`, `validation`, `choosing`) and its step.
        seen: What the state was after every step of a run that this one must equal.
    """

    def __init__(self, stops=(), seen=None):
        self.left = list(stops)
        self.seen = {} if seen is None else seen  # step → what the state was after it
        self.cursors = []

    def at(self, moment, step):
        if (moment, step) in self.left:
            self.left.remove((moment, step))
            raise Killed(moment, step)

    def set(self, trainer):
        """Watch a trainer."""
        step, save, score, choose = trainer.step, trainer.save_checkpoint, trainer.scorer.score, trainer.best.choose
        now = [0]

        def stepped(number, batches, optimizer):
            now[0] = number
            self.at("step", number)
            parts = [0]

            def forward(*_):
                parts[0] += 1
                if parts[0] == 2:
                    self.at("micro", number)

            handle = trainer.model.register_forward_pre_hook(forward)
            step(number, batches, optimizer)
            handle.remove()

        def saved(optimizer):
            number = trainer.cursor.step
            self.cursors.append(trainer.cursor)
            if optimizer is not None:
                digest = bits(trainer, optimizer)
                assert self.seen.setdefault(number, digest) == digest, f"step {number} came out differently"
            self.at("saving", number)
            save(optimizer)
            self.at("saved", number)

        def scored():
            self.at("validation", now[0])
            return score()

        def chosen(*args):
            self.at("choosing", trainer.cursor.step)
            return choose(*args)

        trainer.step, trainer.save_checkpoint, trainer.scorer.score, trainer.best.choose = (
            stepped,
            saved,
            scored,
            chosen,
        )


def bits(trainer, optimizer):
    """A hash of everything that the next step depends on."""
    digest = hashlib.sha256(json.dumps([trainer.cursor.to_dict(), trainer.results.losses, trainer.worse]).encode())
    digest.update(json.dumps(numbers_by_name(optimizer, trainer.model)).encode())
    tensors = {**trainer.model.state_dict(), **state_by_name(optimizer, trainer.model)}
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].detach().numpy().tobytes())
    digest.update(json.dumps([[k.step, k.score] for k in trainer.best.kept]).encode())
    return digest.hexdigest()


def run_of(folder, *, plan=None, phases=None, optim=None, env=None, every=1, **options):
    """The run of one process: with what an earlier one left, where it left something."""
    store = CheckpointStore(folder)
    found = store.newest()
    run = make_run(
        store.adopt(found),
        model=make_model(norm=nn.BatchNorm1d, dropout=0.2),
        optim={**OPTIM, **(optim or {})},
        env={**ENV, "checkpoint_every": every, **(env or {})},
        store=store,
        resume=found,
        **options,
    )
    if phases is not None:
        return with_plan(run, replace(run.plan, phases=phases))
    return run if plan is None else with_plan(run, plan_of(plan, run.layer_map))


def trainer_of(folder, trap=None, **options):
    """The trainer of one process, watched by a trap."""
    trainer = Trainer(run_of(folder, **options))
    (trap or Trap()).set(trainer)
    return trainer


def fit(folder, trap=None, **options):
    """Fit, as a job that is run again whenever it was killed.

    Returns:
        The last trainer, its history, and how many processes it took.
    """
    for processes in range(1, 100):
        trainer = trainer_of(folder, trap, **options)
        try:
            return trainer, trainer.fit(), processes
        except Killed:
            continue
    raise AssertionError("it never came to its end")


def stop_after(folder, step, **options):
    """Fit until the checkpoint of a step is written."""
    with contextlib.suppress(Killed):
        trainer_of(folder, Trap([("saved", step)]), **options).fit()
        raise AssertionError("it came to its end")


def check_same(one, two):
    """Compare two ended runs: weights, history but for the time, rates, what was best."""
    assert same(state(one[0].model), state(two[0].model))
    left, right = (outcome[1].to_frame().drop(columns="seconds") for outcome in (one, two))
    assert left.to_json(double_precision=15) == right.to_json(double_precision=15)
    assert one[1].lrs.equals(two[1].lrs)
    assert [(k.step, k.score) for k in one[0].best.kept] == [(k.step, k.score) for k in two[0].best.kept]
