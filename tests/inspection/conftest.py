"""Two predictors that all tests of this folder share: one of a text, an image and a table, one of boxes."""

from __future__ import annotations

import pytest
import torch

from support.shapes import options, save_detector, write_shapes
from support.tiny import TINY, make_table, make_texts, write_images
from thermocline import Predictor


def mixed_frame(folder, rows=24):
    """A text, an image and three cells a row; `same` has one value."""
    pictures = write_images(folder, rows).rename(columns={"y": "colour_of_image"})
    table = make_table(rows)[["x", "colour"]]
    frame = make_texts(rows).join([pictures["img"], table]).assign(same=1.5)
    frame["img"] = [str(folder / name) for name in frame["img"]]
    frame.loc[3, "x"] = None
    return frame.set_index(frame.index + 100)


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    return mixed_frame(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def mixed_options(text_folder, image_folder):
    return TINY | {
        "model.text.checkpoint": str(text_folder),
        "model.image.checkpoint": str(image_folder),
        "model.image.size": 64,
        "model.text.max_length": 10,
        "model.trees": "off",
        "model.tfidf": "off",
        "optim.max_epochs": 1,
        "data.valid_fraction": 0.25,
    }


@pytest.fixture(scope="session")
def types():
    return {"review": "text", "same": "numeric"}


@pytest.fixture(scope="session")
def fitted_mixed(mixed, mixed_options, types):
    """Tests must not change it. Its head is large, so that every column counts."""
    predictor = Predictor("y", verbosity=0).fit(mixed, hyperparameters=mixed_options, column_types=types)
    with torch.no_grad():
        predictor.model.head.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    return predictor


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    frame = write_shapes(folder, rows=6)
    return frame.assign(file=[str(folder / name) for name in frame["file"]])


@pytest.fixture(scope="session")
def fitted_boxes(shapes, tmp_path_factory):
    """A detector after one step; tests must not change it."""
    folder = tmp_path_factory.mktemp("checkpoints")
    given = options(save_detector(folder / "tiny-rt-detr"), folder, **{"optim.max_steps": 1})
    given.pop("data.image_folder")
    return Predictor("rois", "object_detection", verbosity=0).fit(shapes, hyperparameters=given)
