"""Values that travel pickle, deepcopy and compare; what is derived from them stays behind."""

import copy
import pickle
from dataclasses import fields, replace

import pytest
import torch
from torch import nn

from support.layer_maps import tower
from thermocline.errors import ConfigError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.cursor import Cursor
from thermocline.tuning.schedule.phases import Draw, Phase, Plateau

ONE = LayerMap(
    tuple(replace(one, pretrained=one.role != "head") for one in tower(blocks=4)),
    aliases={"tied.bias": "text.head.bias"},
)
PLAN = replace(LayerPlan.build(ONE, lr=1e-3), total_steps=40, steps_per_epoch=10).scheduled("lisa(every=3)")
PHASE = Phase("a", ("head",), epochs=1.5, plateau=Plateau(2), draw=Draw(1, 4), lr_mult={"head": 2.0}, thaw_warmup=3)
COPIES = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


def use(plan):
    """Fill every cache that a plan has."""
    str(plan)
    plan.frozen, plan.layer_map, plan.timeline.ever  # noqa: B018
    return [plan.lr_at(label, plan.cursor(step, 40, steps_per_epoch=10)) for label in plan.labels for step in range(40)]


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize(
    "value",
    [
        ONE,
        ONE["text/head"],
        PLAN,
        PLAN["text/head"],
        PLAN.timeline,
        PHASE,
        Cursor(3, 10, 1, 2, 5, 0.5, 1),
        PLAN.timeline.stretch(PLAN.start(40, steps_per_epoch=10)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_copy_is_equal_and_of_the_same_type(value, how):
    again = COPIES[how](value)
    assert again == value
    assert type(again) is type(value)
    assert sorted(repr(again)) == sorted(repr(value))  # sets are shown in any order


@pytest.mark.parametrize("how", COPIES)
def test_a_plan_that_was_used_is_copied_without_its_caches(how):
    plan = replace(PLAN, estimate="shown")
    fresh = pickle.dumps(plan)
    before = use(plan)
    assert pickle.dumps(plan) == fresh
    again = COPIES[how](plan)
    assert set(vars(again)) == {one.name for one in fields(LayerPlan)}
    assert again.estimate == "shown"
    assert again.fingerprint == plan.fingerprint
    assert use(again) == before


def test_a_timeline_is_copied_without_its_caches():
    timeline = PLAN.timeline
    use(PLAN)
    assert timeline._sets
    again = pickle.loads(pickle.dumps(timeline))
    assert not again._sets
    assert "ever" not in vars(again)
    assert again.ever == timeline.ever


def test_a_map_of_a_model_is_copied():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    layer_map = LayerMap.of(model, head=model[2], example=torch.zeros(1, 2))
    for how in COPIES.values():
        assert how(layer_map) == layer_map
        assert how(layer_map).to_dict() == layer_map.to_dict()


def test_what_a_model_builds_frozen_keeps_its_key_in_files():
    layer_map = LayerMap((replace(tower()[0], built_frozen=True),))
    data = layer_map.to_dict()
    assert data["layers"][0]["resting"] is True
    assert "built_frozen" not in data["layers"][0]
    assert LayerMap.from_dict(data) == layer_map


def test_remembered_stretches_are_bounded():
    plan = LayerPlan.build(ONE, lr=1.0).with_phases([Phase(trains=("head",), draw=Draw(1, 1))])
    for step in range(1000):
        plan.timeline.trains(plan.cursor(step, 1000))
    assert len(plan.timeline._sets) <= 256


def test_where_a_stretch_ends():
    half = [Phase("a", ("head",), epochs=1.25, draw=Draw(1, 5)), Phase("b", fraction=0.9), Phase("c")]
    plan = LayerPlan.build(ONE, lr=1.0).with_phases(half)
    ends = [plan.stretch_end(plan.cursor(step, 40, steps_per_epoch=10)) for step in range(40)]
    # draws of 5 steps in a phase of 12, then two phases
    assert ends == [5] * 5 + [10] * 5 + [12] * 2 + [36] * 24 + [40] * 4
    for step, end in enumerate(ends[:-1]):
        now, after = (plan.timeline.trains(plan.cursor(one, 40, steps_per_epoch=10)) for one in (step, step + 1))
        assert now == after or end == step + 1
    with pytest.raises(ConfigError, match="needs steps_per_epoch"):
        plan.stretch_end(Cursor(0, 40))
