import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.layer_maps import tower
from thermocline.config.documents import parse_yaml
from thermocline.errors import ConfigError, SelectorError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.cursor import Cursor
from thermocline.tuning.schedule.phase_files import phase_to_dict, phases_from_data, phases_text
from thermocline.tuning.schedule.phases import DECAY_SHAPES, SCHEDULES, Draw, Phase, Plateau
from thermocline.tuning.schedule.timeline import Entry

ONE = LayerMap(tuple(replace(one, pretrained=one.role != "head") for one in tower(blocks=4)))
PLAN = LayerPlan.build(ONE, lr=1e-3, weight_decay=0.0)
SOME = ["head", "stem", "blocks.[0-1]", "text/blocks.3", "block", "backbone"]

share = st.floats(0.0, 0.9)
shapes = st.fixed_dictionaries(
    {
        "schedule": st.sampled_from(SCHEDULES),
        "warmup": st.one_of(share, st.integers(0, 12)),
        "final": share,
        "power": st.floats(0.1, 4),
        "decay": st.one_of(share, st.integers(0, 12)),
        "decay_shape": st.sampled_from(DECAY_SHAPES),
        "cycles": st.integers(1, 4),
        "pct_start": share,
        "div_factor": st.floats(1, 100),
        "final_div_factor": st.floats(1, 1e5),
        "momentum": st.one_of(st.none(), st.tuples(share, share)),
        "over": st.sampled_from(["phase", "run"]),
        "lr_mult": st.one_of(st.floats(0, 10), st.just({"head": 2.0, "*": 0.25}), st.just({"stem": 0.125})),
        "lr_scale": st.sampled_from([{}, {"head": 1.0, "backbone": 0.015}, {"text/blocks.2": 0.5}]),
        "thaw_warmup": st.one_of(share, st.integers(0, 8)),
        "optimizer_state": st.sampled_from(["keep", "reset"]),
        "restore_best": st.booleans(),
        "trains": st.one_of(st.just("*"), st.lists(st.sampled_from(SOME), min_size=1, unique=True).map(tuple)),
        "draw": st.one_of(st.none(), st.builds(Draw, st.integers(1, 2), st.integers(1, 9), st.integers(0, 5))),
        "steps": st.one_of(st.none(), st.integers(1, 30)),
        "epochs": st.one_of(st.none(), st.floats(0.1, 3)),
        "plateau": st.one_of(st.none(), st.builds(Plateau, st.integers(1, 3), st.floats(0, 0.1))),
    }
)


def phase(number, shape):
    if shape["draw"] is not None:  # blocks are drawn from, so that enough of them are left
        shape = {**shape, "trains": ("head", "stem")}
    return Phase(f"phase {number}", **shape)


plans = st.lists(shapes, min_size=1, max_size=5).map(
    lambda items: PLAN.with_phases([phase(i, one) for i, one in enumerate(items)])
)


@settings(max_examples=150, deadline=None)
@given(plans, st.integers(1, 90), st.integers(1, 20), st.randoms(use_true_random=False))
def test_a_run_is_covered_and_phases_only_advance(plan, total, per_epoch, random):
    cursor = plan.start(total, steps_per_epoch=per_epoch)
    before = cursor
    for step in range(total):
        assert cursor.step == step
        assert 0 <= before.phase <= cursor.phase < len(plan.phases)
        assert cursor.phase_start <= step
        assert Cursor.from_dict(json.loads(json.dumps(cursor.to_dict()))) == cursor
        for label in plan.labels:
            rate = plan.lr_at(label, cursor)
            assert rate >= 0
            assert not rate or plan.trainable_at(label, cursor)
        assert 0 <= plan.factor_at(cursor) <= 1 + 1e-12
        entry = plan.entry_actions(cursor)
        assert entry is None or (cursor.step == plan.timeline.stretch(cursor).start and cursor.step > 0)
        before, cursor = cursor, plan.next(cursor)
        if random.random() < 0.2:
            cursor = plan.observe(cursor, random.random())
    assert cursor.step == total


@settings(max_examples=60, deadline=None)
@given(plans, st.integers(1, 90), st.integers(1, 20))
def test_stepping_and_looking_up_agree(plan, total, per_epoch):
    cursor = plan.start(total, steps_per_epoch=per_epoch)
    for step in range(total):
        assert cursor == plan.cursor(step, total, steps_per_epoch=per_epoch)
        cursor = plan.next(cursor)


@settings(max_examples=60, deadline=None)
@given(plans, st.integers(1, 60), st.sampled_from(["stem", "blocks.[1-2]", "backbone", "head"]))
def test_pinned_never_trains(plan, total, selector):
    pinned = LayerPlan.build(ONE, lr=1.0, frozen_layers=selector)
    left = sum(not layer.frozen for layer in pinned.layers if layer.role == "block")
    draws = [phase.draw.n for phase in plan.phases if phase.draw is not None]
    if left and max(draws, default=0) > left:
        with pytest.raises(ConfigError, match="to draw from"):
            pinned.with_phases(plan.phases)
        return
    pinned = pinned.with_phases(plan.phases)
    labels = [layer.label for layer in pinned.layers if layer.frozen]
    for step in range(total):
        cursor = pinned.cursor(step, total, steps_per_epoch=7)
        assert not any(pinned.trainable_at(label, cursor) or pinned.lr_at(label, cursor) for label in labels)


@settings(max_examples=100, deadline=None)
@given(plans)
def test_json_and_yaml_round_trips(plan):
    again = LayerPlan.from_json(plan.to_json())
    assert again == plan
    assert again.fingerprint == plan.fingerprint
    read = phases_from_data(parse_yaml(phases_text(plan.phases, "a line\nand one more"), "here"))
    assert read == plan.phases
    assert phases_from_data([phase_to_dict(one) for one in plan.phases]) == plan.phases


def test_version_1_is_read():
    data = json.loads(PLAN.to_json())
    for key in ("confident", "total_steps", "steps_per_epoch"):
        del data[key]
    old = {"name": "train", "trains": "*", "schedule": "linear", "warmup": 0.2, "final": 0.0, "until": 1.0}
    data.update(version=1, phases=[{**old, "name": "head", "trains": ["text/head"], "until": 0.25}, old])
    plan = LayerPlan.from_json(json.dumps(data))
    assert [one.fraction for one in plan.phases] == [0.25, None]
    assert plan.cursor(24, 100).phase == 0
    assert plan.cursor(25, 100).phase == 1


def phased(*phases):
    return PLAN.with_phases(phases_from_data(list(phases)))


def edges(plan, total, per_epoch=10):
    return [plan.cursor(step, total, steps_per_epoch=per_epoch).phase for step in range(total)]


def test_ends():
    three = phased(
        {"trains": "head", "steps": 3}, {"trains": "head", "epochs": 0.5}, {"trains": "head", "fraction": 0.7}, {}
    )
    assert edges(three, 20) == [0] * 3 + [1] * 5 + [2] * 6 + [3] * 6
    first = phased({"trains": "head", "steps": 9, "epochs": 0.4, "fraction": 0.9}, {})
    assert edges(first, 20) == [0] * 4 + [1] * 16
    skipped = phased({"trains": "head", "steps": 10}, {"trains": "head", "fraction": 0.2}, {})
    assert edges(skipped, 20) == [0] * 10 + [2] * 10
    with pytest.raises(ConfigError, match="needs steps_per_epoch"):
        three.cursor(5, 20)


def test_a_plateau_ends_a_phase():
    plan = phased({"trains": "head", "plateau": {"patience": 2, "min_delta": 0.1}}, {})
    cursor = plan.start(100)
    for score, worse in ((0.5, 0), (0.7, 0), (0.75, 1), (float("nan"), 2)):
        cursor = plan.observe(plan.next(cursor), score)
        assert (cursor.worse == worse) != (worse == 2)
    assert cursor == Cursor(4, 100, phase=1, phase_start=4)
    assert plan.observe(cursor, 0.0) == cursor


def test_entry():
    plan = phased(
        {"trains": "head", "steps": 4},
        {"trains": ["head", "blocks.3"], "steps": 4, "optimizer_state": "reset", "thaw_warmup": 3},
        {"trains": "head", "steps": 2, "restore_best": True},
        {"optimizer_state": "reset", "trains": ["head", "blocks.3"]},
    )
    found = {step: plan.entry_actions(plan.cursor(step, 20)) for step in range(20)}
    assert {step: entry for step, entry in found.items() if entry} == {
        4: Entry(("text/blocks.3",)),
        8: Entry(restore_best=True),
        10: Entry(("text/blocks.3",)),
    }
    rates = [plan.lr_at("text/blocks.3", plan.cursor(step, 20)) for step in range(4, 8)]
    head = [plan.lr_at("text/head", plan.cursor(step, 20)) for step in range(4, 8)]
    scale = PLAN["text/blocks.3"].lr_scale
    assert [a / b / scale for a, b in zip(rates, head, strict=True)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_layers_that_are_drawn_are_unfrozen_and_reset():
    plan = phased(
        {"trains": ["head"], "draw": {"n": 1, "every": 5, "seed": 1}, "optimizer_state": "reset", "thaw_warmup": 2}
    )
    trained = [plan.timeline.trains(plan.cursor(step, 60)) for step in range(60)]
    for step in range(5, 60):
        entry = plan.entry_actions(plan.cursor(step, 60))
        unfrozen = trained[step] - trained[step - 1]
        assert (entry.reset if entry else ()) == tuple(sorted(unfrozen))
        assert step % 5 == 0 or not unfrozen


def test_multiples_and_scales():
    plan = phased({"lr_mult": {"head": 2, "*": 0.5}, "lr_scale": {"stem": 0.25}, "schedule": "constant", "warmup": 0})
    cursor = plan.cursor(0, 10)
    assert plan.lr_at("text/head", cursor) == pytest.approx(2e-3)
    assert plan.lr_at("text/embeddings", cursor) == pytest.approx(1e-3 * 0.25 * 0.5)
    assert plan.lr_at("text/blocks.3", cursor) == pytest.approx(1e-3 * 0.9 * 0.5)


@pytest.mark.parametrize(
    ("phases", "error", "message"),
    [
        ([], ConfigError, "a list of phases"),
        ("head", ConfigError, "a list of phases"),
        ([3], ConfigError, "must be a mapping"),
        ([{"train": "head"}], ConfigError, "unknown 'train'.*Did you mean 'trains'"),
        (
            [{"trains": "haed"}],
            SelectorError,
            "phase 'phases\\[0\\]', trains.*'haed' matches no layer.*Did you mean 'head'",
        ),
        ([{"trains": []}], ConfigError, "takes '\\*', a layer selector"),
        ([{"schedule": "cosin"}], ConfigError, "Did you mean 'cosine'"),
        ([{"steps": 0}, {}], ConfigError, "steps must be a whole number of at least 1"),
        ([{"epochs": -1}, {}], ConfigError, "epochs must be positive"),
        ([{"fraction": 1.5}, {}], ConfigError, "fraction must be a fraction"),
        ([{"fraction": 0.5}, {"fraction": 0.5}, {}], ConfigError, "count from the beginning of the run"),
        ([{"plateau": 3}, {}], ConfigError, "must be a mapping"),
        ([{"plateau": {"patience": 0}}, {}], ConfigError, "patience must be"),
        ([{"draw": {"n": 2}}], ConfigError, "lacks 'every'"),
        ([{"trains": "head", "draw": {"n": 9, "every": 2}}], ConfigError, "only 4 to draw from"),
        ([{"lr_mult": {"blocks": 2, "blocks.1": 3}}], ConfigError, "takes one number; let the selectors not overlap"),
        ([{"lr_scale": {"blokcs": 1}}], SelectorError, "lr_scale.*matches no layer"),
        ([{"lr_mult": -1}], ConfigError, "must not be negative"),
        ([{"warmup": 1.0}], ConfigError, "warmup must be a fraction"),
        ([{"momentum": 0.9}], ConfigError, "a pair such as"),
        ([{"optimizer_state": "clear"}], ConfigError, "choices are 'keep', 'reset'"),
        ([{"restore_best": 1}], ConfigError, "true or false"),
        ([{"over": "epoch"}], ConfigError, "choices are 'phase', 'run'"),
        ([{"name": ""}], ConfigError, "name of a phase"),
    ],
)
def test_faults_in_phases(phases, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        PLAN.with_phases(phases_from_data(phases))


@pytest.mark.parametrize(
    "bad",
    [
        {"step": 1},
        {"step": -1, "total_steps": 2},
        {"step": 1, "total_steps": 2, "epoch": 0},
        {"step": 1, "total_steps": True},
    ],
)
def test_bad_cursors(bad):
    with pytest.raises(ConfigError, match="cursor"):
        Cursor.from_dict(bad)


def spoilt(change):
    data = json.loads(PLAN.to_json())
    change(data)
    return LayerPlan.from_json(json.dumps(data))


def test_edited_plans_are_honoured_and_checked():
    edited = spoilt(lambda d: d["layers"][2].update(lr_scale=0.125))
    assert edited.lr_at("text/blocks.1", edited.cursor(1, 10)) == pytest.approx(
        0.125 * PLAN.lr * edited.factor_at(edited.cursor(1, 10))
    )
    with pytest.raises(ConfigError, match="in two layers"):
        spoilt(lambda d: d["layers"][2]["parameters"].append("text.head.bias"))
    with pytest.raises(ConfigError, match=r"lacks 'text/blocks\.1'"):
        spoilt(lambda d: d["layers"].pop(2)).check(ONE)
    with pytest.raises(ConfigError, match="does not hold the parameters"):
        spoilt(lambda d: d["layers"][2].update(parameters=["x"])).check(ONE)
    with pytest.raises(SelectorError, match="matches no layer"):
        spoilt(lambda d: d.update(phases=[{"trains": ["text/blocks.9"]}]))
    with pytest.raises(SelectorError, match="Nothing trains in phase 'probe'"):
        spoilt(
            lambda d: (d["layers"][-1].update(frozen=True), d.update(phases=[{"name": "probe", "trains": "head"}, {}]))
        ).check(ONE)
