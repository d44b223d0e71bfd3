"""A rate of 0 is frozen: as frozen_layers, bit for bit and byte for byte, wherever the 0 comes from."""

import copy

import pytest
import torch

from support.backbones import PIXELS, kept_bytes, resnet
from thermocline.errors import SelectorError
from thermocline.tuning.apply import AppliedPlan, LRSetter
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.phases import Draw, Phase

torch.manual_seed(0)
MODEL = resnet()
MAP = LayerMap.of(MODEL)
BLOCKS = [layer.name for layer in MAP if layer.role == "block"]
LOW = ["stem", *BLOCKS[:-1]]


def plan(**options):
    return LayerPlan.build(MAP, **{"lr": 0.01, "schedule": "constant", "warmup": 0.0, **options})


def zeros():
    low = dict.fromkeys(LOW, 0.0)
    return {
        "lr": plan(lr={**low, "*": 0.01}),
        "edit": plan().edit(LOW, lr_scale=0.0),
        "lr_mult": plan().with_phases([Phase(schedule="constant", warmup=0.0, lr_mult=low)]),
        "lr_scale": plan().with_phases([Phase(schedule="constant", warmup=0.0, lr_scale=low)]),
    }


def trained(made):
    """The state after four steps, and the bytes that a forward pass keeps for the backward pass."""
    model = copy.deepcopy(MODEL)
    applied = AppliedPlan(model, MAP, made)
    optimizer = torch.optim.AdamW(made.parameter_groups(model))
    setter = LRSetter(optimizer, made)
    generator = torch.Generator().manual_seed(1)
    for step in range(4):
        cursor = made.cursor(step, 4)
        applied.at(cursor)
        setter(cursor)
        applied.train()
        torch.manual_seed(step)
        model(torch.randn(4, 3, 32, 32, generator=generator)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    applied.train()
    torch.manual_seed(9)
    kept = kept_bytes(model, lambda one: one(PIXELS))
    return model.state_dict(), kept, sum(len(group["params"]) for group in optimizer.param_groups)


@pytest.mark.parametrize("source", ["lr", "edit", "lr_mult", "lr_scale"])
def test_it_costs_and_changes_what_frozen_layers_does(source):
    frozen, kept, count = trained(plan(frozen_layers=LOW))
    state, bytes_kept, own = trained(zeros()[source])
    assert (bytes_kept, own) == (kept, count)
    assert kept < trained(plan())[1] / 2
    start = MODEL.state_dict()
    for name, value in state.items():
        assert torch.equal(value, frozen[name]), name
    low = [name for label in zeros()[source].frozen for name in MAP[label].parameters]
    assert low
    assert all(torch.equal(state[name], start[name]) for name in low)
    stem_norms = [name for name in start if name.startswith("conv1") and "running" in name]
    assert stem_norms
    assert all(torch.equal(state[name], start[name]) for name in stem_norms)
    assert any(not torch.equal(state[name], start[name]) for name in start if name.startswith("layer4"))


def test_the_plan_says_so():
    for made in zeros().values():
        assert set(made.frozen) == set(plan(frozen_layers=LOW).frozen)
        assert "frozen (lr 0)" in str(made)
        assert set(made.to_frame().query("frozen")["label"]) == set(made.frozen)
    assert "frozen (lr 0)" not in str(plan(frozen_layers=LOW))


def test_frozen_in_one_phase_alone():
    made = plan().with_phases([Phase("a", steps=2, lr_mult={"stem": 0.0}), Phase("b", schedule="constant", warmup=0.0)])
    stem = next(layer.label for layer in MAP if layer.role == "stem")
    trains = [made.trainable_at(stem, made.cursor(step, 4)) for step in range(4)]
    assert trains == [False, False, True, True]
    assert stem in made.timeline.stretch(made.cursor(2, 4)).unfrozen
    assert made.frozen == ()


def test_nothing_unfreezes_a_rate_of_0():
    made = plan(lr={"stem": 0.0, "*": 1e-3}).with_phases([Phase(lr_scale={"stem": 0.5})])
    assert [label for label in made.frozen if MAP[label].role == "stem"]
    assert made.edit("stem", lr_scale=1.0).frozen == ()


def test_a_schedule_at_0_is_no_freezing():
    made = plan(schedule="linear").with_phases([Phase(schedule="linear", warmup=0.0, final=0.0, steps=4), Phase()])
    assert all(made.trainable_at(label, made.cursor(3, 8)) for label in made.labels)


def test_all_at_0_is_an_idle_phase():
    made = plan().with_phases([Phase("one", steps=2), Phase("none", lr_mult=0.0)])
    assert any("'none' trains nothing" in hint for hint in made.hints())
    with pytest.raises(SelectorError, match=r"Nothing trains in phase 'none'.*rate of 0"):
        made.check(MAP)


def test_what_is_at_0_is_not_drawn():
    made = plan(lr={BLOCKS[0]: 0.0, "*": 1e-3}).with_phases(
        [Phase(trains="head", draw=Draw(1, 1, 0, ("block",)), schedule="constant", warmup=0.0)]
    )
    drawn = {label for step in range(40) for label in made.timeline.trains(made.cursor(step, 40))}
    assert drawn == {layer.label for layer in MAP if layer.role == "head" or layer.name in BLOCKS[1:]}
