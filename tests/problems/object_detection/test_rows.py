"""Batches for a detector: pixels and boxes that belong together, augmented as a function of (seed, epoch, row)."""

import io
import random
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageDraw

from support.boxes import to_pixels
from support.tiny import told
from thermocline.errors import ImageReadError, LabelError
from thermocline.problems.object_detection.box_spec import DetectionSpec
from thermocline.problems.object_detection.boxes import read_boxes
from thermocline.problems.object_detection.rows import DetectionRows, targets

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0)}
SPECS = [
    DetectionSpec("squash", (96, 128)),
    DetectionSpec("edges", (96, 160)),
    DetectionSpec("edges", (96, 160), relative="canvas", divisor=32),
    DetectionSpec("fit", (128, 128), relative="canvas"),
]


def painted(size, boxes):
    """A grey picture on which every box is filled with the colour of its label."""
    picture = Image.new("RGB", size, (110, 110, 110))
    pen = ImageDraw.Draw(picture)
    for x1, y1, x2, y2, label in boxes:
        pen.rectangle((x1, y1, x2 - 1, y2 - 1), fill=COLOURS[label])
    return picture


CELLS = [
    ((80, 60), [[4, 6, 34, 40, "red"], [50, 20, 76, 50, "green"]]),
    ((60, 90), [[10, 10, 50, 70, "green"]]),
    ((400, 300), [[30, 40, 160, 140, "red"]]),
    ((50, 50), []),
]
FRAME = pd.DataFrame(
    {
        "pic": pd.Series([painted(size, boxes) for size, boxes in CELLS], dtype=object),
        "rois": pd.Series([boxes for _, boxes in CELLS], dtype=object),
    }
).set_axis(list("abcd"))
NAMED = [f"{spec.resize}-{spec.relative}" for spec in SPECS]
CLASSES = ("green", "red")


def rows_of(spec=SPECS[0], augment=None, seed=0, frame=FRAME):
    boxes = read_boxes(frame, "rois", "pic", None)
    rows = DetectionRows.of(frame["pic"], None, spec).with_boxes(boxes, CLASSES)
    return rows.with_augmentation(augment or "none", seed)


def tensors(batch):
    return {key: torch.from_numpy(array) for key, array in batch.items()}


@pytest.mark.parametrize("spec", SPECS, ids=NAMED)
@pytest.mark.parametrize(("augment", "epochs"), [(None, [None]), ("light", range(6)), ("standard", range(12))])
def test_what_a_box_holds_has_the_colour_of_its_label(spec, augment, epochs):
    """Through resizing, padding, mirroring, cropping and surrounding alike; colours shift, but not so far."""
    rows, seen = rows_of(spec, augment), 0
    for epoch in epochs:
        batch = rows.batch(np.arange(4), epoch)
        for i, target in enumerate(targets(tensors(batch))):
            inner = batch["mask"][i].any(1).sum(), batch["mask"][i].any(0).sum()
            unit = batch["mask"].shape[1:] if spec.relative == "canvas" else inner
            edges = to_pixels(target["boxes"].numpy(), np.array(unit[::-1])).round().astype(int)
            for (x1, y1, x2, y2), label in zip(edges, target["class_labels"].tolist(), strict=True):
                if x2 - x1 < 6 or y2 - y1 < 6:
                    continue
                held = batch["pixels"][i, :, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].astype(int)
                red, green = held[0].mean(), held[1].mean()
                around = batch["pixels"][i].astype(int)
                spread = (around.max(0) - around.min(0))[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
                assert spread.min() > 20, (epoch, i)  # coloured all over: none of the grey around
                if augment != "standard":  # which may turn hues
                    assert (red > green) == (CLASSES[label] == "red")
                seen += 1
    assert seen >= 4 * len(epochs) - 8


def test_the_shapes_of_a_batch():
    batch = rows_of(DetectionSpec("edges", (96, 160), divisor=32)).batch(np.array([1, 3, 0]))
    assert {key: (value.shape, value.dtype.name) for key, value in batch.items()} == {
        "pixels": ((3, 3, 160, 128), "uint8"),
        "mask": ((3, 160, 128), "int64"),
        "sizes": ((3, 2), "int64"),
        "scale": ((3, 2), "float32"),
        "counts": ((3,), "int64"),
        "labels": ((3,), "int64"),
        "boxes": ((3, 4), "float32"),
    }
    assert batch["sizes"].tolist() == [[90, 60], [50, 50], [60, 80]]
    assert batch["counts"].tolist() == [1, 0, 2]
    assert batch["labels"].tolist() == [0, 1, 0]
    assert batch["mask"].sum(axis=(1, 2)).tolist() == [144 * 96, 96 * 96, 96 * 128]


def test_padding_has_the_mean_colour_and_no_mask():
    batch = rows_of(SPECS[1]).batch(np.array([0, 1]))
    outside = batch["pixels"].transpose(0, 2, 3, 1)[batch["mask"] == 0]
    assert len(outside)
    assert (outside == SPECS[1].fill).all()


def test_a_batch_without_any_box():
    batch = rows_of(augment="standard").batch(np.array([3, 3]), 0)
    assert batch["boxes"].shape == (0, 4)
    assert [len(target["boxes"]) for target in targets(tensors(batch))] == [0, 0]


def test_prediction_needs_no_boxes():
    rows = DetectionRows.of(FRAME["pic"], None, SPECS[0])
    assert set(rows.batch(np.arange(2))) == {"pixels", "mask", "sizes", "scale"}


def test_transformers_takes_the_targets():
    from transformers import DetrConfig, DetrForObjectDetection

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        config = DetrConfig(
            d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=5,
            encoder_attention_heads=2, decoder_attention_heads=2, num_labels=2, use_timm_backbone=False,
            backbone_config={"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 8, 8],
                             "depths": [1, 1, 1, 1], "out_features": ["stage4"]},
            use_pretrained_backbone=False, backbone=None,
        )  # fmt: skip
        model = DetrForObjectDetection(config)
        batch = tensors(rows_of(SPECS[1]).batch(np.arange(4)))
        out = model(batch["pixels"].float() / 255, pixel_mask=batch["mask"], labels=targets(batch))
    assert torch.isfinite(out.loss)


# augmentation


@pytest.mark.parametrize("strength", ["light", "standard"])
@pytest.mark.parametrize("spec", [SPECS[0], SPECS[3]], ids=[NAMED[0], NAMED[3]])
def test_augmentation_is_a_function_of_seed_epoch_and_row(strength, spec):
    rows = rows_of(spec, strength)
    torch.manual_seed(1)
    one = rows.batch(np.array([0, 2]), 2)
    torch.manual_seed(2)
    random.seed(9)
    two = rows.batch(np.array([2, 1, 0]), 2)
    np.testing.assert_array_equal(one["pixels"][0], two["pixels"][2])
    np.testing.assert_array_equal(one["boxes"][: one["counts"][0]], two["boxes"][-two["counts"][2] :])
    changed = [rows.batch(np.array([0]), 3), rows_of(spec, strength, seed=1).batch(np.array([0]), 2)]
    for other in changed:
        assert (other["pixels"][0] != one["pixels"][0]).any()


def test_augmentation_leaves_the_global_generators_alone():
    rows = rows_of(augment="standard")
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    rows.batch(np.arange(4), 0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    assert before[2] == random.getstate()


def test_no_augmentation_outside_training_or_where_none_is_wanted():
    plain = rows_of().batch(np.arange(4))
    for rows, epoch in ((rows_of(augment="standard"), None), (rows_of(augment="none"), 1)):
        batch = rows.batch(np.arange(4), epoch)
        assert all((batch[key] == plain[key]).all() for key in plain)


@pytest.mark.parametrize("strength", ["light", "standard"])
def test_epochs_mirror_crop_and_lose_boxes_but_never_degrade_one(strength):
    rows, counts, firsts = rows_of(SPECS[3], strength), set(), set()
    for epoch in range(24):
        batch = rows.batch(np.array([0]), epoch)
        counts.add(int(batch["counts"][0]))
        firsts.update(batch["labels"][np.argsort(batch["boxes"][:, 0])][:1].tolist())
        assert (batch["boxes"][:, 2:] > 0).all()
        assert (batch["boxes"][:, :2] - batch["boxes"][:, 2:] / 2 >= -1e-6).all()
        assert (batch["boxes"][:, :2] + batch["boxes"][:, 2:] / 2 <= 1 + 1e-6).all()
    assert firsts == {0, 1}  # the one on the left was on the right
    assert counts >= ({1, 2} if strength == "standard" else {2})


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (17, 16), (3000, 4)])
@pytest.mark.parametrize("strength", ["light", "standard"])
@pytest.mark.parametrize("spec", SPECS, ids=NAMED)
def test_odd_sizes(size, strength, spec):
    frame = pd.DataFrame({"pic": [Image.new("RGB", size)], "rois": [[[0, 0, *size, "red"]]]})
    for epoch in range(3):
        batch = rows_of(spec, strength, frame=frame).batch(np.array([0]), epoch)
        assert batch["pixels"].ndim == 4
        assert np.isfinite(batch["boxes"]).all()


# rows and messages


def test_crowds_are_not_trained_on():
    frame = FRAME.assign(rois_crowd=pd.Series([[[0, 0, 9, 9, "red"]], [], None, []], index=FRAME.index))
    rows, plain = rows_of(frame=frame), rows_of()
    np.testing.assert_array_equal(rows.batch(np.arange(4))["boxes"], plain.batch(np.arange(4))["boxes"])


def test_a_class_out_of_the_list_is_an_error():
    boxes = read_boxes(FRAME, "rois", "pic", None)
    call = lambda: DetectionRows.of(FRAME["pic"], None, SPECS[0]).with_boxes(boxes, ("red",))  # noqa: E731
    assert "'green', which training never saw" in told(LabelError, ValueError, call)


def test_an_image_that_goes_missing_names_its_row(tmp_path):
    FRAME["pic"].iloc[0].save(tmp_path / "a.png")
    frame = FRAME.iloc[:1].assign(pic=str(tmp_path / "a.png"))
    rows = rows_of(frame=frame)
    (tmp_path / "a.png").write_bytes(b"broken")
    message = told(ImageReadError, OSError, lambda: rows.batch(np.array([0])))
    assert "row 0 (index 'a')" in message
    assert "a.png" in message
    empty = DetectionRows.of(pd.Series([None], dtype=object), None, SPECS[0])
    assert "the cell is empty" in told(ImageReadError, OSError, lambda: empty.batch(np.array([0])))


def test_identity_tells_rows_apart():
    def encoded(picture):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()

    def pieces(frame):
        return b"|".join(rows_of(frame=frame).identity(files=False))

    one = pieces(FRAME)
    assert pieces(FRAME) == one
    assert pieces(FRAME.iloc[[1, 0, 2, 3]]) != one
    moved = FRAME.copy()
    moved.at["b", "rois"] = [[10, 10, 50, 71, "green"]]
    assert pieces(moved) != one
    assert pieces(FRAME.assign(pic=[encoded(p) for p in FRAME["pic"]])) != one
