"""Detectors: every type has a backbone, heads and a total partition; parts can be named, frozen and told apart."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from support.tiny_detectors import SIDE, TYPES, detector_of
from thermocline.backbones.class_heads import class_dependent
from thermocline.errors import LayerMapError, SelectorError
from thermocline.tuning.apply import AppliedPlan
from thermocline.tuning.layers.detector_parts import PARTS, parts_of
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.selectors import select
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.phases import Phase

#: Parts that a type has beside backbone and head.
BETWEEN = {
    **dict.fromkeys(
        ("conditional_detr", "dab-detr", "deformable_detr", "detr", "table-transformer"), ("neck", "encoder", "decoder")
    ),
    **dict.fromkeys(("d_fine", "deimv2", "rt_detr", "rt_detr_v2", "lw_detr", "rf_detr"), ("neck", "decoder")),
    **dict.fromkeys([kind for kind in TYPES if kind.startswith("pp_doclayout")], ("neck", "decoder")),
    **dict.fromkeys([kind for kind in TYPES if kind.startswith("pp_ocr")], ("neck",)),
    "yolos": (),
}


def mapped(kind: str, **settings: object) -> tuple[nn.Module, LayerMap]:
    torch.manual_seed(0)
    model = detector_of(kind)
    return model, LayerMap.of(model, tower="detector", **settings)  # type: ignore[arg-type]


def of_part(layer_map: LayerMap, *parts: str) -> tuple[str, ...]:
    return tuple(layer.label for layer in layer_map if layer.part in parts)


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def boxes(count: int = 2) -> list[dict[str, torch.Tensor]]:
    one = {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.3, 0.4]])}
    return [one] * count


def test_every_type_of_the_mapping_is_listed() -> None:
    assert set(BETWEEN) == set(TYPES)


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_has_a_backbone_heads_and_a_total_partition(kind: str) -> None:
    model, layer_map = mapped(kind)
    assert layer_map.confident, layer_map.warnings
    held = [name for layer in layer_map for name in layer.parameters]
    assert sorted(held) == sorted(name for name, _ in model.named_parameters())
    parts = [layer.part for layer in layer_map]
    assert tuple(dict.fromkeys(parts)) == ("backbone", *BETWEEN[kind], "head")
    assert parts == sorted(parts, key=PARTS.index), "parts come in the order in which they run"
    assert [layer.depth for layer in layer_map] == list(range(len(layer_map)))
    assert layer_map.layers[0].role == "stem"
    assert all((layer.role == "neck") == (layer.part == "neck") for layer in layer_map)
    assert all((layer.role == "head") == (layer.part == "head") for layer in layer_map)
    assert sum(layer.part == "backbone" for layer in layer_map) >= 3
    if not kind.startswith("pp_ocr"):  # these find one class, text
        heads = {name for layer in layer_map if layer.part == "head" for name in layer.parameters}
        aliases = {layer_map.aliases.get(name, name) for name in class_dependent(model)}
        assert aliases
        assert aliases <= heads
    assert LayerMap.from_dict(json.loads(json.dumps(layer_map.to_dict()))) == layer_map


@pytest.mark.parametrize("kind", ["detr", "deformable_detr", "rt_detr", "d_fine", "lw_detr", "rf_detr", "yolos"])
def test_the_order_is_that_of_a_forward_pass_and_blocks_are_whole(kind: str) -> None:
    model, layer_map = mapped(kind)
    assert layer_map.order == "forward pass"
    owner = {name: layer for layer in layer_map for name in layer.parameters}
    for number in range(2 if kind != "yolos" else 0):
        own = {
            owner[n].label
            for n in owner
            if f"decoder.layers.{number}." in n and "embed" not in n.split(f"decoder.layers.{number}.")[0]
        }
        assert own == {f"detector/decoder.layers.{number}"}
    assert all(owner[n].part == "head" for n, _ in model.named_parameters() if "bbox_embed" in n or "bbox_pred" in n)


def test_the_backbone_is_the_image_backbone_alone() -> None:
    _, layer_map = mapped("detr")
    assert select(layer_map, "backbone") == of_part(layer_map, "backbone")
    assert select(layer_map, "neck") == ("detector/input_projection",)
    assert select(layer_map, ["backbone", "neck"]) == of_part(layer_map, "backbone", "neck")
    assert select(layer_map, "encoder") == ("detector/encoder.layers.0", "detector/encoder.layers.1")
    assert select(layer_map, "decoder") == of_part(layer_map, "decoder")
    assert select(layer_map, "head") == ("detector/class_labels_classifier", "detector/bbox_predictor")
    assert select(layer_map, "backbone.model.layer[1-2].*") == select(layer_map, "backbone.model.layer[1-2]")
    assert select(layer_map, 6) == of_part(layer_map, "backbone", "neck")
    assert select(layer_map, "stem") == layer_map.labels[:1]


def test_a_part_that_a_detector_lacks_is_read_as_a_glob_or_refused() -> None:
    _, layer_map = mapped("rt_detr")
    hybrid = select(layer_map, "encoder")  # the module of that name is a neck
    assert hybrid
    assert set(hybrid) < set(of_part(layer_map, "neck"))
    assert "decoder" not in {layer.part for layer in layer_map if layer.label in hybrid}
    _, plain = mapped("yolos")
    with pytest.raises(SelectorError, match="'neck' matches no layer"):
        select(plain, "neck")


def test_other_models_mean_by_backbone_what_they_did() -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    layer_map = LayerMap.of(BertModel(config))
    assert all(layer.part == "" for layer in layer_map)
    assert select(layer_map, "backbone") == layer_map.labels
    assert select(layer_map, "encoder") == tuple(label for label in layer_map.labels if "encoder.layer" in label)
    with pytest.raises(LayerMapError, match="fresh_parts= is for detectors"):
        LayerMap.of(BertModel(config), fresh_parts=["neck"])


@pytest.mark.parametrize("kind", ["rt_detr", "detr", "d_fine", "rf_detr"])
def test_a_frozen_backbone_stays_bit_for_bit_its_statistics_included(kind: str) -> None:
    from thermocline.problems.object_detection.detector_backbone import unfreeze_built_frozen

    torch.manual_seed(0)
    model = detector_of(kind)
    unfreeze_built_frozen(model)
    layer_map = LayerMap.of(model, tower="detector")
    plan = LayerPlan.build(layer_map, frozen_layers=["backbone", "neck"], lr_choice="single_lr", lr=1e-2)
    applied = AppliedPlan(model, layer_map, plan)
    frozen = {name for layer in layer_map if layer.part in ("backbone", "neck") for name in layer.modules}
    roots = tuple(f"{name}." for name in frozen)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(plan.parameter_groups(model))
    for _ in range(2):
        applied.train()
        model(pixel_values=images(), labels=boxes()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    after = model.state_dict()
    still = [name for name in before if name.startswith(roots)]
    assert any("running_mean" in name for name in still) or kind in ("detr", "rf_detr")
    assert all(torch.equal(before[name], after[name]) for name in still)
    head = next(layer for layer in layer_map if layer.part == "head" and layer.n_parameters > 1)
    assert not all(torch.equal(before[name], after[name]) for name in head.parameters)


# what counts as newly initialised


@pytest.mark.parametrize(
    "parts",
    [(), ("head",), ("neck", "head"), ("neck", "encoder", "decoder", "head")],
    ids=lambda parts: "-".join(parts),
)
def test_two_stage_gives_the_heads_rate_to_the_parts_that_count_as_new(parts: tuple[str, ...]) -> None:
    _, layer_map = mapped("detr", fresh_parts=parts, fresh=["class_labels_classifier.weight"])
    plan = LayerPlan.build(layer_map, lr=1e-5, lr_choice="two_stage", lr_mult=10)
    for layer in layer_map:
        new = layer.part in parts or layer.name == "class_labels_classifier"
        assert plan[layer.label].lr_scale == (10 if new else 1), layer.label
        assert plan[layer.label].pretrained is not new


def test_a_part_that_is_none_is_refused() -> None:
    with pytest.raises(LayerMapError, match=r"'necks'.*'backbone', 'neck'"):
        mapped("detr", fresh_parts=["necks"])


def test_decay_runs_over_the_whole_detector() -> None:
    _, layer_map = mapped("detr", fresh_parts=["head"])
    plan = LayerPlan.build(layer_map, lr_choice="layerwise_decay", lr_decay=0.9)
    scales = [layer.lr_scale for layer in plan.layers]
    assert scales == sorted(scales)
    trunk = [layer for layer in plan.layers if layer.role != "head"]
    assert trunk[0].lr_scale == pytest.approx(0.9 ** len(trunk))
    assert trunk[-1].lr_scale == pytest.approx(0.9)


def test_phases_and_edits_know_the_parts_and_a_plan_keeps_them_in_json() -> None:
    _, layer_map = mapped("detr")
    plan = LayerPlan.build(layer_map, lr=1e-3)
    plan = plan.with_phases([Phase(name="heads", trains=("neck", "head"), fraction=0.5), Phase(name="all")])
    again = LayerPlan.from_json(plan.to_json())
    assert again == plan
    assert again.fingerprint == plan.fingerprint
    cursor = again.start(10)
    trains = {label for label in again.labels if again.trainable_at(label, cursor)}
    assert trains == set(of_part(layer_map, "neck", "head"))
    edited = again.edit("backbone", frozen=True)
    assert {layer.label for layer in edited.layers if layer.frozen} == set(of_part(layer_map, "backbone"))
    assert "encoder" in str(edited)
    assert "backbone stem" in layer_map._repr_html_()


# what a detector freezes as it is built


def test_what_is_built_frozen_is_shown_pinned_and_unfrozen_by_its_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    model, layer_map = mapped("d_fine")
    built = {layer.name for layer in layer_map if layer.built_frozen}
    assert built == {"up", "reg_scale"}
    assert "built frozen" in str(layer_map)
    plan = LayerPlan.build(layer_map, lr_choice="single_lr")
    assert {layer.name for layer in plan.layers if layer.frozen} == built
    assert any("frozen as the model builds itself: 2 weights" in text for text in plan.warnings)
    AppliedPlan(model, layer_map, plan)
    assert not model.model.decoder.up.requires_grad
    model.model.decoder.up.requires_grad_(True)
    assert {layer.name for layer in LayerMap.of(model) if layer.built_frozen} == {"reg_scale"}


def test_what_a_plan_froze_is_not_taken_for_built_so() -> None:
    model, layer_map = mapped("rt_detr")
    AppliedPlan(model, layer_map, LayerPlan.build(layer_map, frozen_layers="backbone", lr_choice="single_lr"))
    assert not any(layer.built_frozen for layer in LayerMap.of(model))


def test_a_detr_that_freezes_its_stem_says_so() -> None:
    backbone = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
    model = detector_of("detr", backbone_config={**backbone, "layer_type": "basic", "out_indices": [4]})
    layer_map = LayerMap.of(model)
    built = [layer for layer in layer_map if layer.built_frozen]
    assert built
    assert built[0].role == "stem"
    assert {layer.part for layer in built} == {"backbone"}
    assert any("BatchNorms of the backbone are constants" in note for note in layer_map.notes)
    model.requires_grad_(True)
    assert not any(layer.built_frozen for layer in LayerMap.of(model))


# detectors of others


class Conv(nn.Sequential):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(nn.Conv2d(inside, outside, 3, 2, 1), nn.BatchNorm2d(outside), nn.SiLU())


class Darknet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, 4)
        self.dark2 = nn.Sequential(Conv(4, 8), Conv(8, 8))
        self.dark3 = nn.Sequential(Conv(8, 8), Conv(8, 8))


class Pyramid(nn.Module):
    """A feature pyramid that holds the backbone, as YOLOX has it."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Darknet()
        self.lateral_conv0 = Conv(8, 8)
        self.reduce_conv1 = Conv(8, 8)


class Yolox(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = Pyramid()
        self.head = nn.ModuleDict({"cls_preds": nn.Conv2d(8, 3, 1), "reg_preds": nn.Conv2d(8, 4, 1)})


def test_a_detector_of_others_has_parts_too() -> None:
    layer_map = LayerMap.of(Yolox())
    assert tuple(dict.fromkeys(layer.part for layer in layer_map)) == ("backbone", "neck", "head")
    frozen = [name for label in select(layer_map, "backbone") for name in layer_map[label].parameters]
    assert frozen
    assert all(name.startswith("backbone.backbone.") for name in frozen)


def test_a_detector_of_torchvision_has_parts_too() -> None:
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

    with torch.device("meta"):
        model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=4)
    layer_map = LayerMap.of(model)
    assert tuple(dict.fromkeys(layer.part for layer in layer_map)) == ("backbone", "neck", "head")
    assert all(
        name.startswith("backbone.fpn") for label in select(layer_map, "neck") for name in layer_map[label].parameters
    )
    assert {layer.name for layer in layer_map if layer.role == "head"} == {"rpn", "box_head", "box_predictor"}


def test_a_classifier_with_a_child_called_backbone_is_no_detector() -> None:
    model = nn.ModuleDict({"backbone": nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), "head": nn.Linear(3, 2)})
    assert parts_of(model) is None
