"""Every type of transformers: layers with backbone and head, logits of our classes, saved and built again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from support.tiny_segmenters import SIDE, TYPES, config_of
from thermocline.problems.semantic_segmentation.options import SegmenterOptions
from thermocline.problems.semantic_segmentation.segmenter import Segmenter
from thermocline.problems.semantic_segmentation.segmenter_build import segmenter_of
from thermocline.problems.semantic_segmentation.segmenter_layers import layers_of
from thermocline.problems.semantic_segmentation.segmenter_saved import (
    checked_description,
    describe_segmenter,
    rebuild_segmenter,
)

CLASSES = ("car", "tree", 7, "sky")
#: Those with layers between backbone and head.
WITH_NECK = ("beit", "data2vec-vision", "dpt", "tipsv2_dpt")


@pytest.fixture(scope="module", params=TYPES)
def segmenter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    folder: Path = tmp_path_factory.mktemp(request.param)
    config_of(request.param).save_pretrained(str(folder))
    torch.manual_seed(0)
    options = SegmenterOptions(checkpoint=str(folder), pretrained=False)
    return segmenter_of(options, CLASSES, size_of_training_images=(SIDE, SIDE))


def test_its_layers_are_a_whole_partition_with_backbone_and_head(segmenter: Segmenter) -> None:
    layers = layers_of(segmenter, SegmenterOptions())
    parts = [layer.part for layer in layers]
    wanted = ["backbone", "neck", "head"] if segmenter.model.config.model_type in WITH_NECK else ["backbone", "head"]
    assert list(dict.fromkeys(parts)) == wanted
    names = [name for layer in layers for name in layer.parameters]
    assert sorted(names) == sorted(f"towers.segmenter.model.{name}" for name, _ in segmenter.model.named_parameters())
    assert (layers.confident, layers.order) == (True, "forward pass")
    assert all(layer.role == "head" for layer in layers if layer.part == "head")


def test_it_gives_logits_of_the_classes_and_gradients_to_every_weight(segmenter: Segmenter) -> None:
    pixels = torch.randint(0, 256, (2, 3, *segmenter.spec.size), dtype=torch.uint8)
    logits = segmenter({"pixels": pixels})
    assert (logits.shape[:2], logits.dtype) == ((2, len(CLASSES)), torch.float32)
    logits.square().mean().backward()
    without = [name for name, p in segmenter.model.named_parameters() if p.grad is None]
    assert not [name for name in without if "head" in name or "decoder" in name], without
    segmenter.zero_grad()


def test_it_is_built_again_from_plain_data(segmenter: Segmenter) -> None:
    described = checked_description(json.loads(json.dumps(describe_segmenter(segmenter))))
    with torch.device("meta"):
        again = rebuild_segmenter(described)
    own = segmenter.state_dict()
    assert {name: value.shape for name, value in again.state_dict().items()} == {n: v.shape for n, v in own.items()}
    again.load_state_dict(own, assign=True)
    assert (again.classes, again.spec, again.notes) == (CLASSES, segmenter.spec, segmenter.notes)
    assert [type(one).__name__ for one in again.modules()] == [type(one).__name__ for one in segmenter.modules()]
