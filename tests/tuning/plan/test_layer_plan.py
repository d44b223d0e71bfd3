import json
import math

import pytest
import timm
import torch
import transformers as tf
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from support.layer_maps import tower
from thermocline.errors import ConfigError, LayerMapError, SelectorError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.cursor import Cursor
from thermocline.tuning.schedule.phases import Phase


def fresh_head(layers):
    from dataclasses import replace

    return tuple(replace(one, pretrained=False) if one.role == "head" else one for one in layers)


ONE = LayerMap(fresh_head(tower()))


@given(st.floats(0.1, 1.0), st.integers(1, 30))
def test_layerwise_decay_is_the_closed_formula(decay, blocks):
    layer_map = LayerMap(fresh_head(tower(blocks=blocks)))
    plan = LayerPlan.build(layer_map, lr=1.0, lr_decay=decay)
    n = blocks + 1
    for layer in plan.layers[:-1]:
        assert layer.lr_scale == pytest.approx(decay ** (n - layer.depth))
    assert plan["text/head"].lr_scale == 1.0
    scales = [layer.lr_scale for layer in plan.layers]
    assert scales == sorted(scales)


@given(st.floats(0.3, 0.99), st.integers(1, 24), st.integers(1, 24))
def test_towers_of_unequal_length_end_at_one_rate(decay, a, b):
    layer_map = LayerMap((*tower("text", a), *tower("image", b), *tower("table", 3, pretrained=False)))
    plan = LayerPlan.build(layer_map, lr=1e-3, lr_decay=decay)
    stem = plan["text/embeddings"].lr_scale
    assert stem == pytest.approx(plan["image/embeddings"].lr_scale)
    assert stem == pytest.approx(decay ** (max(a, b) + 1))
    short = "text" if a <= b else "image"
    last = plan[f"{short}/blocks.{min(a, b) - 1}"].lr_scale
    assert last == pytest.approx(decay ** ((max(a, b) + 1) / (min(a, b) + 1)))
    assert {plan[label].lr_scale for label in plan.labels if label.startswith("table/")} == {1.0}


def test_what_is_frozen_changes_no_depth():
    free = LayerPlan.build(ONE, lr=1.0)
    pinned = LayerPlan.build(ONE, lr=1.0, frozen_layers=5)
    assert [one.lr_scale for one in free.layers] == [one.lr_scale for one in pinned.layers]


def test_other_choices():
    layer_map = LayerMap((*fresh_head(tower(blocks=2)), *tower("table", 1, pretrained=False)))
    assert {one.lr_scale for one in LayerPlan.build(layer_map, lr=1, lr_choice="single_lr").layers} == {1.0}
    for word in ("two_stage", "two_stages"):
        plan = LayerPlan.build(layer_map, lr=1e-4, lr_choice=word, lr_mult=7)
        assert plan.lr_choice == "two_stage"
        assert [one.lr_scale for one in plan.layers] == [1, 1, 1, 7, 7, 7, 7]


@pytest.mark.parametrize("lr", [0, -1e-3, math.nan, math.inf, "1e-3", None, True])
def test_bad_rates(lr):
    with pytest.raises(ConfigError, match="lr must be"):
        LayerPlan.build(ONE, lr=lr)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_choice": "layerwise_deca"}, "Did you mean 'layerwise_decay'"),
        ({"lr_choice": None}, "choices are"),
        ({"lr_decay": 1.5}, r"\(0, 1\]"),
        ({"lr_decay": 0}, "positive"),
        ({"lr_mult": -1}, "positive"),
        ({"weight_decay": -0.1}, "negative"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"warmup": 1.0}, "fraction"),
        ({"tower_frozen_layers": {"txt": "stem"}}, "Did you mean 'text'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        LayerPlan.build(ONE, lr=1e-3, **options)


def test_frozen():
    plan = LayerPlan.build(ONE, lr=1.0, frozen_layers="stem", tower_frozen_layers={"text": ["blocks.[0-1]"]})
    assert plan.frozen == ("text/embeddings", "text/blocks.0", "text/blocks.1")
    assert not plan.trainable_at("text/blocks.0", Cursor(3, 10))
    assert plan.lr_at("text/blocks.0", Cursor(3, 10)) == 0
    with pytest.raises(SelectorError, match="Every layer is frozen"):
        LayerPlan.build(ONE, lr=1.0, frozen_layers=["backbone", "head"])
    warned = LayerPlan.build(ONE, lr=1.0, frozen_layers="head")
    assert "never be trained" in warned.warnings[0]
    assert not warned.edit("head", frozen=False).warnings


def test_schedule():
    plan = LayerPlan.build(ONE, lr=1.0, lr_choice="single_lr", schedule="linear", warmup=0.2)
    rates = [plan.lr_at("text/head", plan.cursor(step, 10)) for step in range(10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(1 / 8)
    constant = LayerPlan.build(ONE, lr=1.0, lr_choice="single_lr", schedule="constant", warmup=0)
    assert {constant.lr_at("text/head", constant.cursor(step, 7)) for step in range(9)} == {1.0}


def test_phases_follow_one_another():
    from dataclasses import replace

    head_first = Phase("head", ("text/head",), "constant", 0.0, fraction=0.3)
    plan = replace(LayerPlan.build(ONE, lr=1.0), phases=(head_first, Phase()))
    assert plan.cursor(2, 10).phase == 0
    assert plan.cursor(3, 10).phase == 1
    assert plan.trainable_at("text/head", plan.cursor(2, 10))
    assert not plan.trainable_at("text/blocks.3", plan.cursor(2, 10))
    assert plan.trainable_at("text/blocks.3", plan.cursor(3, 10))
    assert LayerPlan.from_json(plan.to_json()) == plan


def test_json_round_trip_and_fingerprint():
    plan = LayerPlan.build(ONE, lr=3e-4, frozen_layers=2)
    again = LayerPlan.from_json(plan.to_json())
    assert again == plan
    assert again.fingerprint == plan.fingerprint
    assert plan.edit("head", lr_scale=2).fingerprint != plan.fingerprint


def spoil(change):
    data = json.loads(LayerPlan.build(ONE, lr=1.0).to_json())
    change(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        (spoil(lambda d: d.update(version=4)), "version 4"),
        (spoil(lambda d: d.pop("phases")), "lacks 'phases'"),
        (spoil(lambda d: d["layers"][0].pop("frozen")), "lacks 'frozen'"),
        (spoil(lambda d: d["layers"][0].update(spare=1)), "unknown 'spare'"),
        (spoil(lambda d: d["layers"][0].update(frozen=1)), "must be bool"),
        (spoil(lambda d: d.update(lr=-1)), "positive"),
        (spoil(lambda d: d["layers"].append(d["layers"][0])), "twice"),
        (spoil(lambda d: d["phases"][0].update(schedule="x")), "schedule"),
    ],
)
def test_bad_json(text, message):
    with pytest.raises(ConfigError, match=message):
        LayerPlan.from_json(text)


def test_edit_and_check():
    plan = LayerPlan.build(ONE, lr=1.0)
    edited = plan.edit("blocks.[0-3]", lr_scale=0.5, weight_decay=0.0).edit("stem", frozen=True)
    assert edited["text/blocks.2"].lr_scale == 0.5
    assert edited["text/blocks.4"] == plan["text/blocks.4"]
    assert edited.frozen == ("text/embeddings",)
    with pytest.raises(ConfigError):
        plan.edit("stem", lr_scale=-1)
    with pytest.raises(ConfigError, match="another model"):
        plan.check(LayerMap(tower(blocks=3)))
    plan.check(ONE)


def test_not_confident_takes_single_lr_only():
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.GRU(3, 3), "c": nn.Linear(3, 2)})
    layer_map = LayerMap.of(model, head=model["c"])
    with pytest.raises(LayerMapError, match="from_patterns"):
        LayerPlan.build(layer_map, lr=1.0)
    plan = LayerPlan.build(layer_map, lr=1.0, lr_choice="two_stage")
    assert "COULD NOT BE FOUND" in str(plan).splitlines()[0]
    assert [one.lr_scale for one in plan.layers][-1] == 10


def test_groups_add_up_and_tied_parameters_stand_once():
    config = tf.BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    model = tf.BertForMaskedLM(config)
    layer_map = LayerMap.of(model)
    plan = LayerPlan.build(layer_map, lr=1e-3, frozen_layers="encoder.layer.0")
    groups = plan.parameter_groups(model)
    ids = [id(p) for group in groups for p in group["params"]]
    frozen = {id(p) for p in model.bert.encoder.layer[0].parameters()}
    assert sorted(ids) == sorted({id(p) for p in model.parameters()} - frozen)
    assert len({group["name"] for group in groups}) == len(groups)
    assert not any("encoder.layer.0" in group["name"] for group in groups)
    torch.optim.AdamW(groups)
    bare = {id(p) for group in groups if group["name"].endswith(":no_decay") for p in group["params"]}
    assert id(model.bert.embeddings.position_embeddings.weight) in bare
    assert id(model.bert.embeddings.word_embeddings.weight) not in bare
    assert id(model.bert.encoder.layer[1].output.LayerNorm.weight) in bare
    assert id(model.bert.encoder.layer[1].output.dense.weight) not in bare


def test_undecayed_kinds():
    from thermocline.tuning.plan.weight_decay import undecayed

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.denorm = nn.Linear(3, 3)  # "norm" in a name says nothing
            self.one = nn.Linear(3, 1, bias=False)
            self.gamma = nn.Parameter(torch.ones(4, 1, 1))
            self.cls_token = nn.Parameter(torch.ones(1, 2, 4))
            self.pos_embed = nn.Parameter(torch.ones(1, 5, 4))
            self.A_log = nn.Parameter(torch.ones(4, 4))
            self.norm = nn.LayerNorm((2, 3))
            self.table = nn.Parameter(torch.ones(4, 4))

    assert undecayed(Mixed()) == {
        "denorm.bias", "gamma", "cls_token", "pos_embed", "A_log", "norm.weight", "norm.bias"
    }  # fmt: skip


# Where timm's own scales are wrong, and why.
TIMM_DIFFERS = {
    "vit_base_patch16_224": {},
    "deit_tiny_distilled_patch16_224": {},
    "swin_tiny_patch4_window7_224": {},
    "resnet50": {},
    "efficientnet_b0": {},
    "beit_base_patch16_224": {"fc_norm": "a pretrained norm after the last block counts as the new head"},
    "convnext_tiny": {"head.norm": "a pretrained norm after the last block counts as the new head"},
    "cait_xxs24_224": {
        "blocks_token_only": "numbered like the last blocks of the trunk, which run before them",
        "norm": "numbered like the last blocks of the trunk, which run before it",
        "cls_token": "joins the tokens after the trunk",
        "blocks": "all lie two deeper once the token-only blocks are counted",
        "patch_embed": "the same",
        "pos_embed": "the same",
    },
}


@pytest.mark.parametrize("name", TIMM_DIFFERS)
def test_scales_equal_timms_own_at_075(name):
    from timm.optim import param_groups_layer_decay

    with torch.device("meta"):
        model = timm.create_model(name)
    names = {id(p): name for name, p in model.named_parameters()}
    plan = LayerPlan.build(LayerMap.of(model), lr=1.0, lr_decay=0.75)
    ours = {names[id(p)]: g["lr_scale"] for g in plan.parameter_groups(model) for p in g["params"]}
    theirs = {
        names[id(p)]: g["lr_scale"] for g in param_groups_layer_decay(model, layer_decay=0.75) for p in g["params"]
    }
    assert ours.keys() == theirs.keys()
    differing = {name for name in ours if ours[name] != pytest.approx(theirs[name])}
    listed = tuple(f"{root}." for root in TIMM_DIFFERS[name])
    assert all(f"{one}.".startswith(listed) for one in differing), differing
    assert bool(differing) == bool(TIMM_DIFFERS[name])


def test_shows():
    plan = LayerPlan.build(ONE, lr=1e-3, frozen_layers=["stem", "blocks.[0-2]"])
    lines = str(plan).splitlines()
    assert "layerwise_decay" in lines[0]
    assert "0.001" in lines[0]
    assert "50 of 70 weights" in lines[0]
    assert any("blocks.[0-2]" in line and "frozen" in line for line in lines)
    assert any("blocks.[3-11]" in line for line in lines)
    assert "class=bar" in plan._repr_html_()
    assert plan.to_frame()["lr"].iloc[-1] == 1e-3
    assert len(plan.plot().lines) == 10 + 1  # a line per rate, and one for what is frozen
