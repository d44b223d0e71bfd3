"""Library settings that keep a fine-tune at chance are put right, and told."""

import pytest
import torch
from torch import nn

from thermocline.backbones.library_settings import correct_settings
from thermocline.backbones.pretrained import find_image
from thermocline.inputs.image.build import build_image


@pytest.mark.parametrize(("kind", "momentum"), [("mobilenet_v1", 0.9997), ("mobilenet_v2", 0.997)])
def test_transformers_mobilenets_are_mended(kind, momentum):
    from transformers import CONFIG_MAPPING, AutoModel

    shipped = AutoModel.from_config(CONFIG_MAPPING[kind](depth_multiplier=0.25, min_depth=4))
    norms = [m for m in shipped.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.momentum for m in norms} == {momentum}, "transformers has put it right itself: the trap can go"
    notes = correct_settings(shipped)
    assert all(m.momentum == 0.1 for m in norms)
    assert f"{momentum}" in notes[0]
    assert f"{len(norms)} modules" in notes[0]
    assert correct_settings(shipped) == ()


def test_the_classifiers_dropout_of_mobilenet_v1():
    from transformers import MobileNetV1Config, MobileNetV1ForImageClassification

    model = MobileNetV1ForImageClassification(MobileNetV1Config(depth_multiplier=0.25, min_depth=4))
    assert model.dropout.p == 0.999
    assert any("0.999" in note for note in correct_settings(model))
    assert model.dropout.p == 0.1


def test_a_tower_tells_what_was_mended():
    tower = build_image(find_image("mobilenet_v2", pretrained=False), None, size=32, columns=1)
    assert any("momentum" in note for note in tower.notes)


def test_running_statistics_survive_a_batch_after_mending():
    """With 0.997 of the new value one odd batch would be all that a BatchNorm remembers."""
    norm = nn.Sequential(nn.BatchNorm1d(3, momentum=0.997))
    correct_settings(norm)
    norm(torch.full((8, 3), 100.0) + torch.randn(8, 3))
    assert norm[0].running_mean.max() < 15


def test_ordinary_settings_are_left_alone():
    model = nn.Sequential(nn.BatchNorm1d(3, momentum=0.1), nn.BatchNorm1d(3, momentum=None), nn.Dropout(0.5))
    assert correct_settings(model) == ()
    assert model[1].momentum is None
    assert model[2].p == 0.5
