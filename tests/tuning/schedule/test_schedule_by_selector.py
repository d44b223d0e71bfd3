"""A schedule and a warm-up for each selector of a phase: each layer as in a phase that has its schedule for all."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support.layer_maps import tower
from support.toy import Backbone
from thermocline.errors import ConfigError, SelectorError
from thermocline.tuning.apply import LRSetter
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.phase_files import phase_to_dict, phases_from_data
from thermocline.tuning.schedule.phases import Phase

ONE = LayerMap(tower(blocks=3))
PLAN = LayerPlan.build(ONE, lr=1e-2)
KEYS = ["stem", "blocks.[0-1]", "-1:", "head", "*"]
names = st.sampled_from(["constant", "linear", "cosine", "one_cycle"])
lengths = st.one_of(st.floats(0, 0.9), st.integers(0, 5))
mixed = st.builds(
    Phase,
    schedule=st.one_of(names, st.dictionaries(st.sampled_from(KEYS), names, min_size=1)),
    warmup=st.one_of(lengths, st.dictionaries(st.sampled_from(KEYS), lengths, min_size=1)),
    over=st.sampled_from(["phase", "run"]),
    steps=st.none() | st.integers(1, 8),
    thaw_warmup=st.integers(0, 2),
)
GROUP = {"text/embeddings": "stem", "text/blocks.0": "blocks.[0-1]", "text/blocks.1": "blocks.[0-1]"}
GROUP |= {"text/blocks.2": "-1:", "text/head": "head"}


def of(value, label, standard):
    if not isinstance(value, dict):
        return value
    return value.get(GROUP[label], value.get("*", standard))


@settings(max_examples=100, deadline=None)
@given(mixed, st.integers(1, 20), st.sampled_from([1.0, 0.5]))
def test_each_layer_is_as_under_its_own_schedule(phase, total, share):
    first = Phase("head", trains="head", steps=2)
    plan = PLAN.with_phases([first, phase, Phase("rest")])
    for step in range(total):
        cursor = replace(plan.cursor(step, total), share=share)
        for label in plan.labels:
            own = replace(phase, schedule=of(phase.schedule, label, "cosine"), warmup=of(phase.warmup, label, 0.1))
            alone = PLAN.with_phases([first, own, Phase("rest")])
            assert plan.lr_at(label, cursor) == alone.lr_at(label, cursor)
            assert plan.momentum_at(cursor, label) == alone.momentum_at(cursor, label)
            assert plan.factor_at(cursor, label) == alone.factor_at(cursor)


@given(mixed)
def test_data_and_back(phase):
    assert phases_from_data([phase_to_dict(phase)]) == (phase,)
    plan = PLAN.with_phases([phase])
    same = LayerPlan.from_json(plan.to_json())
    assert same == plan
    assert same.fingerprint == plan.fingerprint
    assert str(plan)
    assert plan._repr_html_()


def test_rates_and_momentum_of_an_optimizer():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), Backbone(torch.nn.LayerNorm, 0.0))
    layer_map = LayerMap.of(model[1])
    schedule = {"embed": "one_cycle", "*": "constant"}
    plan = LayerPlan.build(layer_map, lr=0.1, lr_choice="single_lr", schedule=schedule, warmup=0.0)
    optimizer = torch.optim.AdamW(plan.parameter_groups(model[1]))
    setter = LRSetter(optimizer, plan)
    seen = set()
    for step in range(10):
        cursor = plan.cursor(step, 10)
        setter(cursor)
        assert setter.factor == 1.0
        for group in optimizer.param_groups:
            assert group["lr"] == plan.lr_at(group["layer"], cursor)
            cycles = group["layer"] == "model/embed"
            assert group["betas"] == (plan.momentum_at(cursor) if cycles else 0.9, 0.999)
            seen.add((cycles, group["lr"]))
    assert len([one for one in seen if one[0]]) == 10
    assert {one for one in seen if not one[0]} == {(False, 0.1)}


def test_the_plan_says_so():
    plan = LayerPlan.build(ONE, schedule={"backbone": "cosine", "*": "constant"}, warmup={"head": 5, "*": 0.25})
    assert (
        "warm-up over 5 steps (head), the first 25 % (rest) of its steps, then cosine (backbone), constant (rest)"
        in str(plan)
    )


@pytest.mark.parametrize(
    ("phase", "error", "message"),
    [
        ({"schedule": {"head": "cosin"}}, ConfigError, "Did you mean 'cosine'"),
        ({"schedule": {}}, ConfigError, "schedule of a phase is one for all layers, or a mapping"),
        ({"schedule": {3: "cosine"}}, ConfigError, "or a mapping"),
        ({"schedule": ["cosine"]}, ConfigError, "Unknown schedule"),
        ({"warmup": {"head": 1.5}}, ConfigError, "warmup must be a fraction"),
        ({"schedule": {"haed": "cosine"}}, SelectorError, "schedule: The selector 'haed'"),
        ({"warmup": {"haed": 1}}, SelectorError, "warmup: The selector 'haed'"),
        (
            {"schedule": {"backbone": "cosine", "stem": "linear"}},
            ConfigError,
            "'backbone' gives 'text/embeddings' 'cosine', and 'stem' gives it 'linear'. A layer takes one schedule",
        ),
    ],
)
def test_faults(phase, error, message):
    with pytest.raises(error, match=message):
        PLAN.with_phases(phases_from_data([phase]))
