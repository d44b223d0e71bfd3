"""The size a detector gets, and boxes on their way there and back."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from support.boxes import to_pixels
from support.tiny import told
from thermocline.errors import ConfigError
from thermocline.problems.object_detection.box_spec import DetectionSpec, box_scale, to_shares
from thermocline.problems.object_detection.rows import DetectionRows

side = st.integers(1, 4096)
SPECS = [
    DetectionSpec(),
    DetectionSpec("squash", (320, 512), relative="canvas"),
    DetectionSpec("edges", (480, 800)),
    DetectionSpec("edges", (480, 800), relative="canvas", divisor=32),
    DetectionSpec("edges", (80, 133), canvas=(160, 140), relative="canvas"),
    DetectionSpec("fit", (416, 416), relative="canvas"),
    DetectionSpec("fit", (300, 500), divisor=64),
    DetectionSpec("edges", (480, 800), step=16),
]
NAMED = [f"{spec.resize}-{spec.relative}-{spec.divisor}-{spec.step}-{spec.canvas}" for spec in SPECS]


@st.composite
def pictures(draw):
    """Sizes of some images, and boxes in the first."""
    sizes = draw(st.lists(st.tuples(side, side), min_size=1, max_size=3))
    height, width = sizes[0]
    share = st.floats(0, 1, width=32)
    corners = draw(st.lists(st.tuples(share, share, share, share), min_size=1, max_size=5))
    boxes = [[min(a, c) * width, min(b, d) * height, max(a, c) * width, max(b, d) * height] for a, b, c, d in corners]
    return np.array(sizes), np.array(boxes, dtype=np.float32)


@pytest.mark.parametrize("spec", SPECS, ids=NAMED)
@given(pictures())
def test_there_and_back_is_exact(spec, given_pictures):
    sizes, boxes = given_pictures
    inner = np.array([spec.inner(*size) for size in sizes])
    outer = spec.outer(inner)
    scale = box_scale(spec, sizes, inner, outer)
    shares = to_shares(boxes, scale[0])
    assert shares.dtype == scale.dtype == np.float32
    assert (shares >= 0).all()
    assert (shares <= 1 + 1e-6).all()
    back = to_pixels(shares, scale[0], sizes[0])
    assert np.abs(back - boxes).max() < 1e-3
    assert (back >= 0).all()
    assert (back[:, [0, 2]] <= sizes[0][1]).all()
    # the same box seen on the canvas: shares of the canvas, or of the image on it
    on_canvas = boxes * np.tile(inner[0][::-1] / sizes[0][::-1], 2)
    unit = outer[::-1] if spec.relative == "canvas" else inner[0][::-1]
    np.testing.assert_allclose(to_pixels(shares, np.array(unit)), on_canvas, atol=2e-3)


@pytest.mark.parametrize("spec", SPECS, ids=NAMED)
@given(side, side, st.floats(0.5, 1.0))
def test_images_fit_their_canvas_and_keep_their_aspect(spec, height, width, jitter):
    inner = spec.inner(height, width, jitter=jitter)
    outer = spec.outer(np.array([inner]))
    assert 1 <= inner[0] <= outer[0]
    assert 1 <= inner[1] <= outer[1]
    assert outer[0] % spec.divisor == outer[1] % spec.divisor == 0
    if spec.resize == "squash":
        assert inner == spec.size
    elif spec.step > 1:
        assert inner[0] % spec.step == inner[1] % spec.step == 0
    elif min(inner) > 1:
        assert abs(inner[0] / height - inner[1] / width) < 1 / min(height, width) + 1e-6


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (100, 2000), (37, 41), (1333, 800), (2000, 2000)])
def test_the_same_sizes_as_transformers(size):
    from transformers.image_transforms import get_size_with_aspect_ratio

    ours = DetectionSpec("edges", (800, 1333)).inner(*size)
    theirs = get_size_with_aspect_ratio(size, 800, 1333)
    assert np.abs(np.subtract(ours, theirs)).max() <= 1  # they cut the fraction off, we round it


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("DetrImageProcessor", {"size": {"shortest_edge": 90, "longest_edge": 150}}),
        ("YolosImageProcessor", {"size": {"shortest_edge": 60, "longest_edge": 80}, "image_std": [0.5, 0.5, 0.5]}),
        ("RTDetrImageProcessor", {}),
        ("RTDetrImageProcessor", {"size": {"height": 320, "width": 256}, "resample": 3}),
        ("DeformableDetrImageProcessor", {"size": {"shortest_edge": 90, "longest_edge": 180},
                                          "pad_size": {"height": 200, "width": 180}}),
        ("ConditionalDetrImageProcessor", {"size": {"max_height": 120, "max_width": 160}, "do_pad": False}),
    ],
)  # fmt: skip
def test_an_image_arrives_as_transformers_own_processor_gives_it(name, settings):
    processor = getattr(transformers, name)(**settings)
    spec = DetectionSpec.of_processor(processor.to_dict())
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (12, 9, 3), dtype=np.uint8)).resize((80, 60))
    theirs = processor(images=picture, return_tensors="pt")["pixel_values"][0]
    batch = DetectionRows.of(pd.Series([picture], dtype=object), None, spec).batch(np.array([0]))
    mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (spec.mean, spec.std))
    ours = (torch.from_numpy(batch["pixels"][0]) - mean) / std
    torch.testing.assert_close(ours, theirs, atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("data", "resize", "size"),
    [
        ({}, "edges", (800, 1333)),
        ({"size": 600, "max_size": 1000}, "edges", (600, 1000)),
        ({"size": {"shortest_edge": 2000}}, "edges", (2000, 2000)),
        ({"size": {"height": 64, "width": 96}}, "squash", (64, 96)),
    ],
)
def test_sizes_of_processors(data, resize, size):
    spec = DetectionSpec.of_processor(data)
    assert (spec.resize, spec.size) == (resize, size)


def test_processors_that_normalise_nothing_have_black_padding():
    spec = DetectionSpec.of_processor({"do_normalize": False, "resample": 3})
    assert (spec.mean, spec.std, spec.fill, spec.interpolation) == ((0.0,) * 3, (1.0,) * 3, (0, 0, 0), "bicubic")
    assert DetectionSpec().fill == (124, 116, 104)


def test_another_size():
    assert DetectionSpec("squash", (640, 640)).with_size(320).size == (320, 320)
    assert DetectionSpec("edges", (800, 1333)).with_size(400).size == (400, 666)
    moved = DetectionSpec("edges", (800, 1333), canvas=(1400, 1400)).with_size(400)
    assert moved.canvas == (666, 666)


def test_specs_that_cannot_be():
    assert "cannot be made" in told(ConfigError, ValueError, lambda: DetectionSpec("edges", (800, 600)))
    small = lambda: DetectionSpec("edges", (80, 133), canvas=(133, 100))  # noqa: E731
    assert "does not hold images of up to 133×133" in told(ConfigError, ValueError, small)
    strange = lambda: DetectionSpec.of_processor({"size": {"width": 3}})  # noqa: E731
    assert "{'width': 3}" in told(ConfigError, ValueError, strange)


@pytest.mark.parametrize("spec", SPECS, ids=NAMED)
def test_the_spec_survives_json(spec):
    assert DetectionSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
