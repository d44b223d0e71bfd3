"""Every type that transformers has for token classification gives a model of this kind with layers in each part.

On the meta device, from small configurations: no weights, no network.
"""

from __future__ import annotations

import pytest
import torch

import zoo
from thermocline.contracts.inputs import BuiltInput
from thermocline.inputs.text.build import _encoder_of
from thermocline.inputs.text.tower import TextTower
from thermocline.problems.token_classification.input import TokenInput
from thermocline.problems.token_classification.model import TokenModel, layers_of
from thermocline.tuning.layers.layer_map import LayerMap

TYPES = sorted(kind for task, kind in zoo.transformers_types() if task == "token")
TAGS = 5


@pytest.fixture(autouse=True)
def few_parameters_are_drawn():
    with torch.random.fork_rng(devices=[]):
        yield


def built(kind: str) -> tuple[TokenModel, LayerMap]:
    """The model of a type, and its layers."""
    try:
        backbone = _encoder_of(zoo.transformers_model("base", kind, small=True))
    except zoo.Unbuildable as reason:
        pytest.skip(str(reason)[:200])
    tower = TextTower(backbone, pooling="mean", pretrained=True)
    with torch.device("meta"):
        model = TokenModel(tower, TAGS)
    return model, layers_of(model, BuiltInput(TokenInput(), None, tower, None), {})


def test_there_are_many_types():
    assert len(TYPES) > 50


@pytest.mark.parametrize("kind", TYPES)
def test_backbone_and_head_have_layers(kind: str) -> None:
    model, layers = built(kind)
    names = {name for name, _ in model.named_parameters()}
    assert {name for one in layers for name in one.parameters} >= names
    head = [one for one in layers if one.role == "head"]
    assert [sorted(one.parameters) for one in head] == [["head.bias", "head.weight"]]
    backbone = [one for one in layers if any(name.startswith("towers.text.backbone.") for name in one.parameters)]
    assert len(backbone) >= 3
    assert {"stem", "block"} <= {one.role for one in backbone}
    assert all(one.pretrained for one in backbone)
    assert not head[0].pretrained
    assert model.head.in_features == model.towers["text"].features
