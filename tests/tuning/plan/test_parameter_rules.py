"""Rules that split optimizer groups: which parameters they match, what they give, and that nothing is lost."""

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from support.tiny_detectors import detector_of
from thermocline.errors import ConfigError, SelectorError
from thermocline.tuning.apply import AppliedPlan, LRSetter
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.plan.parameter_rules import ParameterRule, rules_from_data


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.attn, self.sampling_offsets = nn.LayerNorm(4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return x + self.sampling_offsets(torch.tanh(self.attn(self.norm(x))))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(11))
        self.head = nn.Linear(4, 5, bias=True)
        self.head.weight = self.embed.weight  # tied

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


torch.manual_seed(0)
NET = Net()
MAP = LayerMap.of(NET, head=NET.head)


def build(*rules, **options):
    return LayerPlan.build(MAP, **{"lr": 0.1, "lr_choice": "single_lr", "parameter_rules": list(rules), **options})


def by_name(plan, net=NET):
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    return {names[id(one)]: group for group in plan.parameter_groups(net) for one in group["params"]}


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*.bias", "blocks.3.attn.bias"),
        ("bias", "blocks.3.attn.bias"),
        ("attn", "blocks.3.attn.weight"),
        ("attn.*", "blocks.3.attn.weight"),
        ("*sampling*", "blocks.10.sampling_offsets.bias"),
        ("blocks.1", "blocks.1.norm.weight"),
        ("blocks.[0-3].norm", "blocks.2.norm.bias"),
        ("blocks.**.weight", "blocks.2.norm.weight"),
        ("blocks.?.norm", "blocks.2.norm.bias"),
        (r"re:blocks\.1\.norm\.bias", "blocks.1.norm.bias"),
    ],
)
def test_patterns(pattern, matches):
    changed = {
        name
        for name, group in by_name(build({"parameters": pattern, "lr_scale": 2})).items()
        if group["rule_scale"] == 2
    }
    assert matches in changed
    assert "head.bias" in changed or pattern not in ("*.bias", "bias")
    assert not any(name.startswith("blocks.10") for name in changed) or "1" not in pattern
    assert "embed.weight" not in changed


def test_what_a_rule_gives():
    plan = build(
        {"parameters": "*.bias", "lr_scale": 2, "weight_decay": 0.5},
        {"parameters": "*norm*", "layers": "blocks.[0-1]", "weight_decay": 0.25},
        {"parameters": "blocks.0.norm.bias", "lr_scale": 3},
        weight_decay=0.01,
    )
    groups = by_name(plan)
    seen = {name: (round(group["lr"], 12), group["weight_decay"]) for name, group in groups.items()}
    assert seen["blocks.5.attn.weight"] == (0.1, 0.01)
    assert seen["blocks.5.attn.bias"] == seen["head.bias"] == (0.2, 0.5)
    assert seen["blocks.5.norm.weight"] == (0.1, 0.0)  # as without rules
    assert seen["blocks.1.norm.weight"] == (0.1, 0.25)
    assert seen["blocks.1.norm.bias"] == (0.2, 0.25)  # each value from the last rule that gives it
    assert seen["blocks.0.norm.bias"] == (0.3, 0.25)
    text = str(plan)
    assert "× layer's lr" in text
    assert "blocks.[0-1]" in text
    assert "*norm*" in plan._repr_html_()


def test_no_rules_no_difference():
    groups = build().parameter_groups(NET)
    assert {group["rule_scale"] for group in groups} == {1.0}
    assert all(group["name"] in (group["layer"], f"{group['layer']}:no_decay") for group in groups)
    assert '"version": 2' in build().to_json()
    assert "parameter_rules" not in build().to_json()


def test_edit_adds_a_rule():
    plan = build().edit("blocks.[0-2]", parameters="*sampling_offsets*", lr_scale=0.1)
    assert plan.parameter_rules == (ParameterRule(("*sampling_offsets*",), ("blocks.[0-2]",), 0.1),)
    assert by_name(plan)["blocks.2.sampling_offsets.bias"]["rule_scale"] == 0.1
    assert by_name(plan)["blocks.3.sampling_offsets.bias"]["rule_scale"] == 1
    assert plan.layers == build().layers
    more = plan.edit("*", parameters=["attn", "norm"], weight_decay=0.3)
    assert len(more.parameter_rules) == 2
    for options, message in (({"frozen": True}, "unit that is frozen"), ({}, "neither lr_scale nor weight_decay")):
        with pytest.raises(ConfigError, match=message):
            plan.edit("blocks.0", parameters="*.bias", **options)


_rules = st.lists(
    st.fixed_dictionaries(
        {
            "parameters": st.sampled_from(["*.bias", "*norm*", "blocks.[0-4]", "sampling_offsets", "re:head.*", "*"]),
            "layers": st.sampled_from([None, "*", "blocks.*", "blocks.3", ["0:6", "head"]]),
            "lr_scale": st.sampled_from([None, 0.1, 2.0]),
            "weight_decay": st.sampled_from([0.0, 0.3]),
        }
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(_rules, st.sampled_from([None, "blocks.0", "blocks.3"]))
def test_groups_add_up_and_a_plan_is_its_json(rules, frozen):
    rules = [one for one in rules if one["parameters"] != "re:head.*" or one["layers"] in (None, "*")]
    plan = build(*rules, frozen_layers=frozen)
    groups = plan.parameter_groups(NET)
    members = [id(one) for group in groups for one in group["params"]]
    pinned = {name for label in plan.frozen for name in plan[label].parameters}
    assert sorted(members) == sorted(id(one) for name, one in NET.named_parameters() if name not in pinned)
    assert len({group["name"] for group in groups}) == len(groups)
    same = LayerPlan.from_json(plan.to_json())
    assert same == plan == pickle.loads(pickle.dumps(plan))
    assert same.fingerprint == plan.fingerprint
    assert (plan.fingerprint == build(frozen_layers=frozen).fingerprint) == (not rules)


@pytest.mark.parametrize(
    ("rule", "error", "message"),
    [
        ({"parameters": "*.bais", "lr_scale": 2}, SelectorError, "Did you mean 'bias'"),
        ({"parameters": "*sampling_ofsets*", "lr_scale": 2}, SelectorError, "Did you mean 'sampling_offsets'"),
        ({"parameters": ["*.bias", "qkv"], "lr_scale": 2}, SelectorError, "'qkv' of a parameter rule matches no"),
        ({"parameters": "sampling_offsets", "layers": "head", "lr_scale": 2}, SelectorError, "of the layers 'head'"),
        ({"parameters": "*.bias", "layers": "blcoks.1", "lr_scale": 2}, SelectorError, "Did you mean"),
        ({"parameters": "head.weight", "lr_scale": 2}, SelectorError, "under which it comes first"),
        ({"parameters": "a..b", "lr_scale": 2}, SelectorError, "empty segment"),
        ({"parameters": "re:(", "lr_scale": 2}, SelectorError, "no regular expression"),
        ({"parameters": "*.bias", "lr_scale": 0}, ConfigError, "unit that is frozen"),
        ({"parameters": "*.bias", "lr_scale": -1}, ConfigError, "must not be negative"),
        ({"parameters": "*.bias", "weight_decay": "x"}, ConfigError, "must be a number"),
        ({"parameters": "*.bias"}, ConfigError, "neither lr_scale nor weight_decay"),
        ({"parameters": [], "lr_scale": 2}, ConfigError, "is a glob such as"),
        ({"parameters": 3, "lr_scale": 2}, ConfigError, "is a glob such as"),
        ({"lr_scale": 2}, ConfigError, "lacks 'parameters'"),
        ({"parameters": "*", "lr_mult": 2}, ConfigError, "unknown 'lr_mult'"),
        ("*.bias", ConfigError, "must be a mapping"),
    ],
)
def test_faults(rule, error, message):
    with pytest.raises(error, match=message):
        build(rule)


def test_rules_are_a_list():
    assert rules_from_data(None) == ()
    assert len(rules_from_data({"parameters": "*.bias", "lr_scale": 2})) == 1
    with pytest.raises(ConfigError, match="is a list of rules"):
        rules_from_data("*.bias")


def test_rates_at_each_step_and_membership():
    plan = build({"parameters": "*.bias", "lr_scale": 2}, schedule="linear", warmup=0.0)
    applied, optimizer = AppliedPlan(NET, MAP, plan), torch.optim.AdamW(plan.parameter_groups(NET))
    setter = LRSetter(optimizer, plan)
    members = [[id(one) for one in group["params"]] for group in optimizer.param_groups]
    for step in range(4):
        cursor = plan.cursor(step, 4)
        applied.at(cursor)
        setter(cursor)
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(plan.lr_at(group["layer"], cursor) * group["rule_scale"])
        assert [[id(one) for one in group["params"]] for group in optimizer.param_groups] == members


def test_a_weight_decay_of_the_call_leaves_that_of_rules():
    plan = build({"parameters": "attn", "weight_decay": 0.3})
    groups = {group["name"]: group["weight_decay"] for group in plan.parameter_groups(NET, weight_decay=0.05)}
    assert groups["model/blocks.0"] == 0.05
    assert groups["model/blocks.0:lr_scale=1.0,weight_decay=0.3"] == 0.3


@pytest.mark.parametrize("kind", ["deformable_detr", "rt_detr"])
def test_the_recipe_of_deformable_detr(kind):
    """A tenth of the rate for the backbone, and for what places the sampling points (Zhu et al. 2021)."""
    model = detector_of(kind)
    slow = ["*sampling_offsets*", "*reference_points*"] if kind == "deformable_detr" else ["*sampling_offsets*"]
    plan = LayerPlan.build(
        LayerMap.of(model),
        lr={"backbone": 1e-5, "*": 1e-4},
        lr_choice="single_lr",
        parameter_rules=[{"parameters": slow, "lr_scale": 0.1}],
    )
    seen = {name: group["lr"] for name, group in by_name(plan, model).items()}
    assert set(map("{:.6g}".format, seen.values())) == {"1e-05", "0.0001"}
    for name, rate in seen.items():
        is_slow = "backbone" in name or "sampling_offsets" in name or "reference_points" in name
        assert rate == pytest.approx(1e-5 if is_slow else 1e-4), name
