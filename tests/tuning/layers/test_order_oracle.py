"""The judge of layer maps: right maps made by hand pass, and every way of being wrong we could think of is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from order_oracle import Trace, judge, label_dependent, trace, verdict
from thermocline.tuning.layers.layer import Layer
from thermocline.tuning.layers.layer_map import LayerMap

Rule = Callable[[str], tuple[str, str, int]]


@dataclass
class Known:
    """A model, what its forward told, and the right map by hand."""

    model: nn.Module
    seen: Trace
    labels: set[str]
    layers: list[Layer]

    def faults(self, layers: list[Layer] | None = None) -> list[str]:
        return judge(as_map(self.layers if layers is None else layers), self.model, self.seen, self.labels)

    def layer(self, name: str) -> Layer:
        return next(layer for layer in self.layers if layer.name == name)


def as_map(layers: list[Layer], confident: bool = True) -> LayerMap:
    """A map that LayerMap itself might refuse: what is judged here is wrong on purpose."""
    towers = tuple(dict.fromkeys(layer.tower for layer in layers))
    return SimpleNamespace(
        layers=tuple(layers),
        aliases={},
        warnings=(),
        confident=confident,
        towers=towers,
        of_tower=lambda tower: tuple(layer for layer in layers if layer.tower == tower),
    )  # type: ignore[return-value]


def by_rule(model: nn.Module, rule: Rule) -> list[Layer]:
    """Layers by a rule from a parameter's name to its layer's name, role and depth."""
    found: dict[tuple[str, str, int], list[str]] = {}
    for name, _ in model.named_parameters():
        found.setdefault(rule(name), []).append(name)
    ordered = sorted(found.items(), key=lambda item: item[0][2])
    return [Layer(n, "model", role, depth, tuple(names), (), True, "hand") for (n, role, depth), names in ordered]


def known(build: Callable[[int], nn.Module], inputs: object, rule: Rule) -> Known:
    model = build(5)
    seen = trace(model, inputs)  # type: ignore[arg-type]
    assert seen.ran, seen.error
    return Known(model, seen, label_dependent(build, 5, model), by_rule(model, rule))


def vit(depth: int) -> Known:
    def build(count: int) -> nn.Module:
        with torch.device("meta"):
            return timm.create_model("vit_tiny_patch16_224", depth=depth, num_classes=count).eval()

    def rule(name: str) -> tuple[str, str, int]:
        parts = name.split(".")
        if parts[0] == "blocks":
            return f"blocks.{parts[1]}", "block", int(parts[1]) + 1
        if parts[0] == "norm":
            return f"blocks.{depth - 1}", "block", depth
        return ("head", "head", depth + 1) if parts[0] == "head" else ("stem", "stem", 0)

    return known(build, (torch.empty(1, 3, 224, 224, device="meta"),), rule)


def resnet() -> Known:
    def build(count: int) -> nn.Module:
        with torch.device("meta"):
            return timm.create_model("resnet18", num_classes=count).eval()

    def rule(name: str) -> tuple[str, str, int]:
        parts = name.split(".")
        if parts[0].startswith("layer"):
            return f"{parts[0]}.{parts[1]}", "block", 2 * int(parts[0][5]) + int(parts[1])
        return ("fc", "head", 99) if parts[0] == "fc" else ("stem", "stem", 0)

    return known(build, (torch.empty(1, 3, 64, 64, device="meta"),), rule)


def bert(depth: int = 3) -> Known:
    def build(count: int) -> nn.Module:
        config = BertConfig(
            num_hidden_layers=depth, hidden_size=32, num_attention_heads=2, intermediate_size=48, num_labels=count
        )
        with torch.device("meta"):
            return BertForSequenceClassification._from_config(config, attn_implementation="eager").eval()

    def rule(name: str) -> tuple[str, str, int]:
        parts = name.split(".")
        if "layer" in parts:
            return f"layer.{parts[3]}", "block", int(parts[3]) + 1
        if "pooler" in parts:
            return "pooler", "neck", depth + 1
        return ("head", "head", depth + 2) if parts[0] == "classifier" else ("stem", "stem", 0)

    inputs = {"input_ids": torch.arange(1, 9).unsqueeze(0), "attention_mask": torch.ones(1, 8, dtype=torch.long)}
    return known(build, inputs, rule)


@pytest.fixture(scope="module", params=["vit", "resnet", "bert"])
def case(request: pytest.FixtureRequest) -> Known:
    return {"vit": lambda: vit(4), "resnet": resnet, "bert": bert}[request.param]()


@pytest.fixture(scope="module")
def tiny_vit() -> Known:
    return vit(4)


def changed(layers: list[Layer], **by_name: Layer) -> list[Layer]:
    return [by_name.get(layer.name.replace(".", "_"), layer) for layer in layers]


def moved(case: Known, names: set[str], to: str) -> list[Layer]:
    """The right map with some parameters in another layer."""
    layers = [replace(layer, parameters=tuple(n for n in layer.parameters if n not in names)) for layer in case.layers]
    found = [
        replace(layer, parameters=(*layer.parameters, *sorted(names))) if layer.name == to else layer
        for layer in layers
    ]
    return [layer for layer in found if layer.parameters]


def names_of(case: Known, role: str) -> list[str]:
    return [layer.name for layer in case.layers if layer.role == role]


# --- what is right -----------------------------------------------------------------------------------------------


def test_right_maps_pass(case):
    assert case.faults() == []
    assert verdict(as_map(case.layers), case.model, case.seen, case.labels) == "right"


def test_a_real_map_is_accepted_too(tiny_vit):
    assert judge(LayerMap(tuple(tiny_vit.layers)), tiny_vit.model, tiny_vit.seen, tiny_vit.labels) == []


def test_every_parameter_is_seen_in_order(tiny_vit):
    used = tiny_vit.seen.used
    assert set(used) == {name for name, _ in tiny_vit.model.named_parameters()}
    assert used["patch_embed.proj.weight"] < used["blocks.0.norm1.weight"] < used["blocks.0.mlp.fc2.bias"]
    assert used["blocks.3.mlp.fc2.bias"] < used["norm.weight"] < used["head.weight"]


def test_labels_are_the_classifier(case):
    prefix = {"fc", "head", "classifier"}
    assert {name.split(".")[0] for name in case.labels} <= prefix
    assert len(case.labels) == 2


def test_a_guess_is_loud_right_or_wrong(tiny_vit):
    for layers in (tiny_vit.layers, moved(tiny_vit, {"norm.weight"}, "head")):
        guess = as_map(layers, confident=False)
        assert verdict(guess, tiny_vit.model, tiny_vit.seen, tiny_vit.labels) == "loud"


def test_without_a_forward_order_is_unchecked_but_the_rest_is_not(tiny_vit):
    blind = Trace(names=tiny_vit.seen.names, error="no forward")
    swapped = [replace(layer, depth=-layer.depth) for layer in tiny_vit.layers]
    assert verdict(as_map(swapped), tiny_vit.model, blind, tiny_vit.labels) == "right (order unchecked)"
    stolen = moved(tiny_vit, {"norm.weight"}, "head")
    assert verdict(as_map(stolen), tiny_vit.model, blind, tiny_vit.labels) == "silent"


def test_a_broken_forward_is_told():
    with torch.device("meta"):
        seen = trace(nn.Linear(3, 3), (torch.empty(1, 4, device="meta"),))
    assert not seen.ran
    assert "RuntimeError" in seen.error


# --- what is wrong -----------------------------------------------------------------------------------------------


def test_two_blocks_swapped(case):
    first, second = (case.layer(name) for name in names_of(case, "block")[1:3])
    depths = {first.name: second.depth, second.name: first.depth}
    layers = [replace(layer, depth=depths.get(layer.name, layer.depth)) for layer in case.layers]
    assert any("starts before" in fault for fault in case.faults(layers))
    assert verdict(as_map(layers), case.model, case.seen, case.labels) == "silent"


@pytest.mark.parametrize("make", [lambda: vit(12), lambda: bert(12)], ids=["vit", "bert"])
def test_lexicographic_order(make):
    case = make()
    assert case.faults() == []
    depth = {name: place + 1 for place, name in enumerate(sorted(names_of(case, "block")))}
    layers = [replace(layer, depth=depth.get(layer.name, layer.depth)) for layer in case.layers]
    assert any("starts before" in fault for fault in case.faults(layers))


def test_blocks_reversed(case):
    blocks = {name: 50 - place for place, name in enumerate(names_of(case, "block"))}
    assert case.faults([replace(layer, depth=blocks.get(layer.name, layer.depth)) for layer in case.layers])


def test_stem_last(case):
    layers = [replace(layer, depth=98) if layer.role == "stem" else layer for layer in case.layers]
    assert any("not at depth 0" in fault for fault in case.faults(layers))


def test_stem_as_the_last_block(case):
    layers = [replace(layer, depth=98, role="block") if layer.role == "stem" else layer for layer in case.layers]
    assert any("starts before" in fault for fault in case.faults(layers))


def test_norms_of_blocks_in_the_head(case):
    norms = {name for name, _ in case.model.named_parameters() if "norm" in name.lower() or ".bn" in name}
    norms &= {name for layer in case.layers if layer.role == "block" for name in layer.parameters}
    assert norms
    faults = case.faults(moved(case, norms, names_of(case, "head")[0]))
    assert any("backbone in the head" in fault for fault in faults)


def test_one_norm_in_the_head(tiny_vit):
    assert tiny_vit.faults(moved(tiny_vit, {"norm.weight"}, "head"))


def test_a_whole_block_in_the_head(case):
    block = case.layer(names_of(case, "block")[-1])
    faults = case.faults(moved(case, set(block.parameters), names_of(case, "head")[0]))
    assert any("backbone in the head" in fault for fault in faults)


def test_the_pooler_in_the_head():
    case = bert()
    assert case.faults(moved(case, set(case.layer("pooler").parameters), "head"))


def test_a_classifier_outside_the_head(case):
    head = case.layer(names_of(case, "head")[0])
    last = names_of(case, "block")[-1]
    faults = case.faults(moved(case, {head.parameters[-1]}, last))
    assert any("label-dependent" in fault for fault in faults)
    assert case.faults([replace(layer, role="neck") if layer.role == "head" else layer for layer in case.layers])


def test_a_parameter_in_no_layer(case):
    block = case.layer(names_of(case, "block")[0])
    less = replace(block, parameters=block.parameters[1:])
    layers = [less if layer is block else layer for layer in case.layers]
    assert any("in no layer" in fault for fault in case.faults(layers))


def test_a_parameter_in_two_layers(case):
    first, second = (case.layer(name) for name in names_of(case, "block")[:2])
    more = replace(second, parameters=(*second.parameters, first.parameters[0]))
    layers = [more if layer is second else layer for layer in case.layers]
    assert any("in several layers" in fault for fault in case.faults(layers))


def test_a_parameter_that_is_not_there(case):
    stem = case.layers[0]
    layers = [replace(stem, parameters=(*stem.parameters, "no.such.weight")), *case.layers[1:]]
    assert any("unknown" in fault for fault in case.faults(layers))


def test_a_wrong_alias(tiny_vit):
    wrong = as_map(tiny_vit.layers)
    wrong.aliases["blocks.0.norm1.weight"] = "blocks.1.norm1.weight"
    assert any("aliases" in fault for fault in judge(wrong, tiny_vit.model, tiny_vit.seen, tiny_vit.labels))


@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_block_in_the_stem(case, place):
    block = case.layer(names_of(case, "block")[place])
    assert case.faults(moved(case, set(block.parameters), "stem"))


def test_part_of_a_block_in_the_stem(case):
    for place in (0, 1, -1):
        block = case.layer(names_of(case, "block")[place])
        for names in ({block.parameters[0]}, {block.parameters[-1]}):
            assert case.faults(moved(case, names, "stem")), names


def test_part_of_a_block_in_the_next(case):
    blocks = names_of(case, "block")
    for one, other in ((blocks[0], blocks[1]), (blocks[1], blocks[0])):
        weights = [name for name in case.layer(one).parameters if name.endswith("weight")]
        for name in (weights[0], weights[-2]):
            assert case.faults(moved(case, {name}, other)), name


def test_everything_in_one_layer(case):
    backbone = {name for layer in case.layers if layer.role != "head" for name in layer.parameters}
    for role in ("block", "stem"):
        one = Layer("all", "model", role, 0, tuple(sorted(backbone)), (), True, "hand")
        layers = [one, *(layer for layer in case.layers if layer.role == "head")]
        assert any("repeat" in fault for fault in case.faults(layers))


def test_two_blocks_in_one_layer(tiny_vit):
    second = set(tiny_vit.layer("blocks.1").parameters)
    third = set(tiny_vit.layer("blocks.2").parameters)
    assert tiny_vit.faults(moved(tiny_vit, second | third, "blocks.0"))


def test_a_neck_before_the_blocks():
    case = bert()
    layers = [replace(layer, depth=0) if layer.role == "neck" else layer for layer in case.layers]
    assert any("starts before" in fault for fault in case.faults(layers))


def test_a_head_where_there_are_no_labels(tiny_vit):
    faults = judge(as_map(tiny_vit.layers), tiny_vit.model, tiny_vit.seen, set())
    assert any("without labels" in fault for fault in faults)


# --- what looks wrong and is not -----------------------------------------------------------------------------------


class LateToken(nn.Module):
    """Blocks, then a token of its own for the last of them, as in class attention."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 8)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8)) for _ in range(3))
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.table = nn.Parameter(torch.zeros(8))
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(8)) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scales = [scale.exp() for scale in self.scales]  # all blocks' numbers, computed up front
        x = self.stem(x)
        for place, block in enumerate(self.blocks):
            if place == 2:
                x = torch.cat([self.token, x], dim=1)
            x = block(x + self.table if place else x) * scales[place]
        return x


def late_token(table_in: str = "stem") -> list[str]:
    model = LateToken()
    seen = trace(model, (torch.zeros(1, 5, 4),))
    assert seen.ran, seen.error

    def rule(name: str) -> tuple[str, str, int]:
        if name.startswith("blocks."):
            return f"blocks.{name[7]}", "block", int(name[7]) + 1
        if name.startswith("scales."):
            return f"blocks.{name[7]}", "block", int(name[7]) + 1
        if name == "table" and table_in != "stem":
            return table_in, "block", int(table_in[-1]) + 1
        return "stem", "stem", 0

    return judge(as_map(by_rule(model, rule)), model, seen)


def test_late_tokens_shared_tables_and_numbers_computed_up_front_are_fine():
    assert late_token() == []


def test_a_shared_table_may_also_stand_where_it_is_first_used():
    assert late_token("blocks.1") == []
    assert late_token("blocks.2") != []


def test_parameters_never_used_may_stand_anywhere(tiny_vit):
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "idle": nn.Linear(2, 2)})
    model.forward = lambda x: model["used"](x)  # type: ignore[method-assign]
    seen = trace(model, (torch.zeros(1, 2),))
    assert set(seen.used) == {"used.weight", "used.bias"}
    layers = by_rule(model, lambda name: ("stem", "stem", 0) if name.startswith("used") else ("idle", "block", 1))
    assert judge(as_map(layers), model, seen) == []


def test_masks_and_lengths_on_meta_are_answered():
    class Steered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            for step in range(int(lengths.max())):
                x = self.one(x) + step
            if (x > 0).all() and x.sum().item():
                kept = x[x[..., 0] > 0]
                x[x > 1] = 0
                return self.two(kept[torch.nonzero(kept[:, 0] > 0)[:, 0]])
            return x

    with torch.device("meta"):
        model = Steered()
    seen = trace(model, (torch.empty(2, 3, 4, device="meta"), torch.tensor([2, 3])))
    assert seen.ran, seen.error
    assert len(seen.meetings["one.weight"]) == 3
    assert seen.used["one.weight"] < seen.used["two.weight"]
    assert seen.reads["two.weight"] & seen.bits["one.weight"]
