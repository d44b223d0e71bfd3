"""Rates that are given for layers by selector, their least share, and rates too small to move a weight."""

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.layer_maps import tower
from thermocline.errors import ConfigError, SelectorError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.plan.layer_rates import scale_for

ONE = LayerMap(tower(blocks=4))
NAMES = ["embeddings", *(f"blocks.{i}" for i in range(4)), "head"]


def rates(plan):
    cursor = plan.cursor(0, 1)
    return [plan.lr_at(label, cursor) for label in plan.labels]


def build(lr, **options):
    return LayerPlan.build(ONE, **{"lr": lr, "schedule": "constant", "warmup": 0.0, **options})


def test_rates_are_those_that_were_given_and_the_rest_follows_lr_choice():
    plan = build({"backbone": 1e-5, "head": 1e-3, "*": 3e-4})
    assert plan.lr == 3e-4
    assert rates(plan) == [1e-5] * 5 + [1e-3]
    assert rates(build({"blocks.3": 1e-5, "*": 1e-3}, lr_decay=0.5)) == pytest.approx(
        [1e-3 * 0.5**n for n in (5, 4, 3, 2)] + [1e-5, 1e-3], rel=1e-12
    )
    assert build({"head": 0.5}).lr == 1e-3


def test_the_later_selector_counts():
    assert rates(build({"backbone": 1e-5, "blocks.[2-3]": 1e-4, "-1:": 2e-4, "*": 1.0}))[:5] == [
        1e-5,
        1e-5,
        1e-5,
        1e-4,
        2e-4,
    ]
    with pytest.raises(ConfigError, match=r"'blocks.1' has no effect: .*wide selectors first"):
        build({"blocks.1": 1e-4, "backbone": 1e-5})


def test_counts_and_slices_as_keys():
    assert rates(build({2: 0.5, "2:4": 0.25, "*": 1.0}, lr_choice="single_lr")) == [0.5, 0.5, 0.25, 0.25, 1.0, 1.0]


@pytest.mark.parametrize(
    ("lr", "error", "message"),
    [
        ({}, ConfigError, "rates by layer selector"),
        ({"head": "1e-3"}, ConfigError, "lr of 'head' must be a number"),
        ({"head": -1}, ConfigError, "must not be negative"),
        ({"head": float("nan")}, ConfigError, "must be a number"),
        ({"*": 0.0, "head": 1e-3}, ConfigError, "lr must be positive"),
        ({True: 1e-3}, ConfigError, "rates by layer selector"),
        ({"block.1": 1e-3}, SelectorError, "Did you mean"),
        ({"backbone": 0, "head": 0}, SelectorError, "nothing is left to train"),
    ],
)
def test_faults(lr, error, message):
    with pytest.raises(error, match=message):
        build(lr)


@given(st.floats(1e-12, 1e3), st.floats(1e-12, 1e3))
def test_a_scale_gives_its_rate(rate, base):
    assert base * scale_for(rate, base) == pytest.approx(rate, rel=3e-16)


@given(st.dictionaries(st.sampled_from(["stem", "1:3", "blocks.3", "head"]), st.sampled_from([0.0, 1e-5, 0.1])))
def test_a_rate_of_0_is_frozen_and_no_other_is(given_rates):
    if set(given_rates.values()) == {0.0} and len(given_rates) == 4:
        return
    plan = build({**given_rates, "*": 1e-3})
    cursor = plan.cursor(0, 1)
    for label in plan.labels:
        assert plan.trainable_at(label, cursor) == (plan.lr_at(label, cursor) > 0)
        assert (label in plan.frozen) == (plan.lr_at(label, cursor) == 0)
    assert LayerPlan.from_json(plan.to_json()) == plan


@given(st.floats(0.3, 0.9), st.floats(0.0, 1.0))
def test_no_layer_is_below_the_least_scale(decay, least):
    plain = LayerPlan.build(ONE, lr=1.0, lr_decay=decay)
    plan = LayerPlan.build(ONE, lr=1.0, lr_decay=decay, lr_min_scale=least)
    for before, after in zip(plain.layers, plan.layers, strict=True):
        assert after.lr_scale == max(before.lr_scale, least)


def test_a_rate_that_moves_no_weight_is_a_hint():
    model = timm.create_model("vit_tiny_patch16_224", embed_dim=24, num_heads=2, depth=24, num_classes=2)
    layer_map = LayerMap.of(model)
    deep = LayerPlan.build(layer_map, lr=1e-4).scheduled("gradual_unfreeze(factor=2.6)")
    (hint,) = [one for one in deep.hints() if "too small" in one]
    assert "'model/blocks.[0-11]'" in hint
    assert hint in str(deep)
    assert not LayerPlan.build(layer_map, lr=1e-4).scheduled("gradual_unfreeze").hints()
    (own,) = [one for one in deep.hints(model) if "too small" in one]
    assert "their size" in own

    # what is said is true: AdamW at that rate leaves weights of the usual size as they are, and at another it does not
    for rate, moves in ((deep.lr * deep.peaks["model/blocks.11"], False), (2e-8, True)):
        weight = torch.nn.Parameter(torch.full((64,), 0.02))
        optimizer = torch.optim.AdamW([weight], lr=rate, weight_decay=0.0)
        for _ in range(50):
            weight.grad = torch.ones(64)
            optimizer.step()
        assert bool((weight != 0.02).any()) == moves
