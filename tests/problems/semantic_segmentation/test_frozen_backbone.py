"""A frozen backbone: neck and head train, BatchNorm keeps its statistics, and stored features change no bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from thermocline import Predictor
from thermocline.problems.semantic_segmentation.objective import over_pixels, weights_of

# they validate on pictures that they train on, which is warned of
pytestmark = pytest.mark.filterwarnings("ignore:.* in train_data too")


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder: Path = tmp_path_factory.mktemp("shapes")
    rng, rows = np.random.default_rng(0), []
    for number in range(8):
        image = rng.integers(90, 140, (48, 64, 3)).astype(np.uint8)
        mask = np.zeros((48, 64), np.uint8)
        for value, colour in ((1, (220, 40, 40)), (2, (40, 60, 220))):
            top, left = rng.integers(2, 24), rng.integers(2, 36)
            image[top : top + 16, left : left + 20] = colour
            mask[top : top + 16, left : left + 20] = value
        names = folder / f"{number}.png", folder / f"{number}-mask.png"
        Image.fromarray(image).save(names[0])
        Image.fromarray(mask).save(names[1])
        rows.append([str(name) for name in names])
    return pd.DataFrame(rows, columns=["image", "mask"])


def fit(frame: pd.DataFrame, backbone: str, **given: Any) -> Predictor:
    options = {
        "model.segmenter.backbone": backbone,
        "model.segmenter.backbone_pretrained": False,
        "model.segmenter.head_width": 8,
        "model.segmenter.augment": "none",
        "model.frozen_layers": "backbone",
        "optim.max_epochs": 2,
        "env.batch_size": 4,
        **given,
    }
    predictor = Predictor("mask", "semantic_segmentation", verbosity=0)
    return predictor.fit(frame, frame.iloc[:4], hyperparameters=options)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_stored_features_of_several_levels_change_no_bit(backbone: str, frame: pd.DataFrame) -> None:
    without, stored = (fit(frame, backbone, **{"optim.cache_prefix": mode}) for mode in ("off", "memory"))
    assert "run once a row" in " ".join(stored.history["note"].dropna())
    losses = [one.history["train_loss"].dropna().tolist() for one in (without, stored)]
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]
    weights = [one._fitted().model.state_dict() for one in (without, stored)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_frozen_backbone_keeps_weights_and_statistics(frame: pd.DataFrame) -> None:
    predictor = fit(frame, "test_resnet", **{"optim.max_epochs": 1})
    torch.manual_seed(0)
    layers = predictor.plan.layer_map
    assert {layer.part for layer in layers if layer.label in predictor.plan.frozen} == {"backbone"}
    state = predictor._fitted().model.state_dict()
    means = [value for name, value in state.items() if "backbone" in name and name.endswith("running_mean")]
    assert means
    assert all(not value.any() for value in means)  # as built


def test_pixels_of_rare_classes_weigh_more_and_the_mean_stays_one() -> None:
    assert weights_of([900, 100], 0.0) == (1.0, 1.0)
    root = weights_of([900, 100], 0.5)
    assert root[1] / root[0] == pytest.approx(3)
    assert (900 * root[0] + 100 * root[1]) / 1000 == pytest.approx(1)
    assert weights_of([900, 0, 100], 1.0)[1] == weights_of([900, 0, 100], 1.0)[2]


def test_micro_batches_do_not_change_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 8, 8, generator=generator)
    mask = torch.randint(-1, 3, (4, 16, 16), generator=generator)
    objective = over_pixels((0.5, 2.0, 1.0))

    def loss(parts: list[slice]) -> float:
        batches = [(logits[part], {"segmenter": {"mask": mask[part]}}) for part in parts]
        total = sum(float(objective.total(outputs, batch)) for outputs, batch in batches)
        return total / sum(objective.weight(batch) for _, batch in batches)

    whole = loss([slice(0, 4)])
    assert loss([slice(0, 1), slice(1, 4)]) == pytest.approx(whole, rel=1e-5)
    upsampled = torch.nn.functional.interpolate(logits, size=(16, 16), mode="bilinear")
    expected = torch.nn.functional.cross_entropy(upsampled, mask, torch.tensor([0.5, 2.0, 1.0]), ignore_index=-1)
    assert whole == pytest.approx(float(expected), rel=1e-5)
