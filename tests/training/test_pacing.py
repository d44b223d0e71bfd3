"""Tests of how many steps a run takes under a time limit."""

import shutil

import pytest

from support.stopping import Killed
from support.toy import fit, layers_of, make_model, make_run
from thermocline.training.callbacks import Callback
from thermocline.training.checkpoint_store import CheckpointStore
from thermocline.training.pacing import FIRST, Pacing, Reserve
from thermocline.training.run_length import RunLength
from thermocline.training.time_limit import TimeLimit
from thermocline.training.trainer import Trainer
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.phases import Phase

NOTHING = Reserve(validation=0.0, interval=1.0, end=0.0, end_share=0.0)


class Clock(TimeLimit):
    """A limit with a clock that tests move."""

    now = 0.0

    @property
    def elapsed(self):
        return self.now


def run_to_the_end(limit, phases, seconds, *, planned=300, reserve=NOTHING, costs=None, per_epoch=50):
    """Take steps of `seconds(step, phase)` until the run ends; return the cursors before each step."""
    layer_map = layers_of(make_model())
    plan = LayerPlan.build(layer_map, lr=0.01, weight_decay=0.0).with_phases(phases)
    length = RunLength(per_epoch, planned)
    pacing = Pacing(limit, length, plan.timeline, costs or [1.0] * len(plan.phases))
    cursor, taken = plan.start(planned, steps_per_epoch=per_epoch), []
    while cursor.step < cursor.total_steps:
        taken.append(cursor)
        took = seconds(cursor.step, cursor.phase)
        limit.now += took
        pacing.took(cursor.phase, took)
        cursor = pacing.paced(plan.next(cursor), lambda: reserve)
        if length.validates(cursor.step, cursor.total_steps, reserve.interval):
            limit.now += reserve.validation
    return plan, taken


def test_without_a_limit_the_run_is_as_planned():
    _, taken = run_to_the_end(Clock(None), [Phase()], lambda *_: 1e6)
    assert len(taken) == 300
    assert {cursor.total_steps for cursor in taken} == {300}


def test_where_there_is_time_the_run_is_as_planned():
    _, taken = run_to_the_end(Clock(400.0), [Phase()], lambda *_: 1.0)
    assert {(cursor.total_steps, cursor.share) for cursor in taken} == {(300, 1.0)}


def test_the_steps_that_fit_are_taken_and_the_rate_ends_at_its_end():
    limit = Clock(100.0)
    plan, taken = run_to_the_end(limit, [Phase(warmup=30)], lambda *_: 1.0)
    assert 95 <= limit.now <= 100
    factors = [plan.timeline.factor(cursor) for cursor in taken]
    top = factors.index(max(factors))
    assert FIRST < top < 15  # the warm-up of 30 of 300 steps became one of about 10 of 98
    assert factors[-1] < 0.01


def test_a_run_whose_steps_become_slower_or_faster_still_ends_in_time():
    for late in (0.5, 2.0):
        limit = Clock(100.0)
        _, taken = run_to_the_end(limit, [Phase()], lambda step, _, late=late: 1.0 if step < 25 else late)
        assert 92 <= limit.now <= 101
        assert len(taken) == pytest.approx(25 + 73 / late, rel=0.05)


def test_validations_and_the_end_are_reserved_for():
    limit = Clock(100.0)
    reserve = Reserve(validation=5.0, interval=1.0, end=10.0, end_share=0.2)
    _, taken = run_to_the_end(limit, [Phase()], lambda *_: 1.0, reserve=reserve)
    assert limit.now == len(taken) + 5.0 * 2
    assert 95 <= limit.now + 10.0 + 20.0 <= 100


@pytest.mark.parametrize(
    "phases",
    [
        [Phase(name="head", trains="head", steps=100), Phase(name="all")],
        [Phase(name="head", trains="head", epochs=2), Phase(name="all")],
        [Phase(name="head", trains="head", fraction=1 / 3), Phase(name="all")],
    ],
    ids=["steps", "epochs", "fraction"],
)
def test_phases_shrink_with_the_run_and_their_costs_count(phases):
    limit = Clock(100.0)
    _, taken = run_to_the_end(limit, phases, lambda _, phase: (0.25, 1.0)[phase], costs=[0.2, 0.8])
    assert 90 <= limit.now <= 100
    first = sum(cursor.phase == 0 for cursor in taken)
    assert first == pytest.approx(len(taken) / 3, rel=0.1)


@pytest.mark.parametrize("limit", [60.0, 3600.0])
def test_cheap_steps_of_a_cached_phase_shorten_nothing(limit):
    clock = Clock(limit)
    phases = [Phase(name="head", trains="head", steps=50), Phase(name="all")]
    _, taken = run_to_the_end(clock, phases, lambda _, phase: (0.001, 0.015)[phase], costs=[0.3, 1.0])
    assert [cursor.phase for cursor in taken] == [0] * 50 + [1] * 250


def test_a_phase_that_turns_out_slow_still_ends_in_time():
    clock = Clock(60.0)
    phases = [Phase(name="head", trains="head", steps=50), Phase(name="all")]
    _, taken = run_to_the_end(clock, phases, lambda _, phase: (0.001, 1.0)[phase], costs=[0.3, 1.0])
    assert 50 <= clock.now <= 61
    assert taken[-1].total_steps < 300


def test_a_last_phase_with_a_length_of_its_own_lasts_to_the_end():
    clock = Clock(100.0)
    phases = [Phase(name="head", trains="head", steps=50), Phase(name="all", steps=20)]
    _, taken = run_to_the_end(clock, phases, lambda *_: 1.0)
    assert 90 <= len(taken) <= 100


def test_a_phase_that_would_have_ended_before_ends_now():
    layer_map = layers_of(make_model())
    phases = [Phase(name="head", trains="head", steps=100), Phase(name="all", restore_best=True)]
    plan = LayerPlan.build(layer_map, lr=0.01, weight_decay=0.0).with_phases(phases)
    cursor = plan.timeline.cursor(60, 300)
    shorter = plan.timeline.shortened(cursor, 90, 0.3)
    assert (shorter.phase, shorter.phase_start) == (1, 60)
    assert plan.timeline.entry(shorter).restore_best  # what it does as it begins is done


def test_a_run_that_was_resumed_under_the_same_limit_is_not_lengthened():
    layer_map = layers_of(make_model())
    plan = LayerPlan.build(layer_map, lr=0.01, weight_decay=0.0)
    limit = Clock(1000.0)
    pacing = Pacing(limit, RunLength(50, 300), plan.timeline, [1.0])
    cursor = plan.timeline.shortened(plan.start(300), 100, 1 / 3)
    pacing.only_shorter = True
    for _ in range(FIRST + 1):
        pacing.took(0, 1.0)
    assert pacing.paced(cursor, lambda: NOTHING) == cursor
    limit.now = 950.0
    pacing.took(0, 1.0)
    assert pacing.paced(cursor, lambda: NOTHING).total_steps < 100


class Lengths(Callback):
    """Notes how long the run is said to be."""

    def __init__(self):
        self.seen = []

    def on_validation_end(self, state):
        self.seen.append(state.total_steps)


def slow_fit(folder, monkeypatch, *, stop_at=None, limit=20.0, callbacks=()):
    """Fit the toy model, from its newest checkpoint on, with steps that take half a second; die before a step."""
    clock, store = Clock(limit), CheckpointStore(folder)
    found = store.newest()
    options = {"time_limit": clock, "store": store, "resume": found, "callbacks": callbacks}
    optim, env = {"max_epochs": 40, "patience": 100, "head_init": "random"}, {"checkpoint_every": 4}
    trainer = Trainer(make_run(store.adopt(found), optim=optim, env=env, **options))
    step = trainer.step

    def slow(number, *rest):
        if number == stop_at:
            raise Killed
        clock.now += 0.5
        return step(number, *rest)

    monkeypatch.setattr(trainer, "step", slow)
    return trainer, trainer.fit()


def test_the_number_of_steps_is_kept_in_the_checkpoint(tmp_path, monkeypatch):
    whole, _ = slow_fit(tmp_path / "whole", monkeypatch)
    with pytest.raises(Killed):
        slow_fit(tmp_path / "part", monkeypatch, stop_at=21)
    shutil.copytree(tmp_path / "part", tmp_path / "copy")
    rest, history = slow_fit(tmp_path / "part", monkeypatch)
    assert rest.cursor.step == rest.cursor.total_steps == whole.cursor.total_steps < 200  # its time begins anew
    assert history["note"].str.contains("the schedule is made for").sum() == 1
    for one, other in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert one.equal(other)
    longer, _ = slow_fit(tmp_path / "copy", monkeypatch, limit=1e4)
    assert longer.cursor.step == 200  # another limit is followed


def test_callbacks_are_told_the_steps_that_fit(tmp_path, monkeypatch):
    lengths = Lengths()
    trainer, _ = slow_fit(tmp_path, monkeypatch, callbacks=[lengths])
    assert lengths.seen[0] == 200
    assert lengths.seen[-1] == trainer.cursor.total_steps < 200


def test_a_limit_far_away_changes_no_bit(tmp_path):
    plain, _ = fit(tmp_path / "a")
    limited, _ = fit(tmp_path / "b", time_limit=TimeLimit(1e6))
    for one, other in zip(plain.model.parameters(), limited.model.parameters(), strict=True):
        assert one.equal(other)
