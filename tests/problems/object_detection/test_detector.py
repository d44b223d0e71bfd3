"""Detectors: built from configurations and folders, with other classes, on other backbones; losses and boxes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from support.tiny_detectors import SIDE, TRAINABLE, config_of, detector_of, timm_backbone
from thermocline.backbones.class_heads import class_dependent
from thermocline.backbones.pretrained import find_image
from thermocline.errors import CheckpointError, ConfigError
from thermocline.problems.object_detection.detector import Detector
from thermocline.problems.object_detection.detector_backbone import OPEN_TYPES, unfreeze_built_frozen
from thermocline.problems.object_detection.detector_build import build_detector
from thermocline.problems.object_detection.detector_config import DetectorSettings
from thermocline.problems.object_detection.detector_saved import describe_detector, rebuild_detector
from thermocline.problems.object_detection.detector_source import DETECTORS, detector_types, find_detector
from thermocline.problems.object_detection.model import TOWER
from thermocline.problems.object_detection.objective import over_boxes
from thermocline.tuning.layers.detector_parts import frozen_norms

CLASSES = ("ant", "bee", "cat")


def saved(kind: str, folder: Path, classes: int = 3, seed: int = 0, **changes: object) -> Path:
    """A checkpoint of a small detector."""
    torch.manual_seed(seed)
    detector_of(kind, classes, **changes).save_pretrained(str(folder))
    return folder


def random_detector(kind: str, folder: Path, **options: object) -> Detector:
    """A small detector from its configuration alone."""
    torch.manual_seed(0)
    config_of(kind).save_pretrained(str(folder))
    source = find_detector(str(folder), pretrained=False)
    return build_detector(source, folder, CLASSES, DetectorSettings(size=SIDE, **options))  # type: ignore[arg-type]


def loaded(folder: Path, classes: tuple[str, ...] = CLASSES, **options: object) -> Detector:
    source = find_detector(str(folder), pretrained=True)
    return build_detector(source, folder, classes, DetectorSettings(size=SIDE, **options))  # type: ignore[arg-type]


def target(*labels: int) -> dict[str, torch.Tensor]:
    boxes = [[0.3 + 0.1 * i, 0.4, 0.2, 0.3] for i in range(len(labels))]
    return {"class_labels": torch.tensor(labels, dtype=torch.int64), "boxes": torch.tensor(boxes).reshape(-1, 4)}


def batch(*targets: dict[str, torch.Tensor], seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (len(targets), 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    return {
        "pixels": pixels,
        "counts": torch.tensor([len(one["boxes"]) for one in targets]),
        "labels": torch.cat([one["class_labels"] for one in targets]),
        "boxes": torch.cat([one["boxes"] for one in targets]),
    }


@pytest.mark.parametrize("kind", TRAINABLE)
def test_every_trainable_type_learns_from_images_with_and_without_boxes(kind: str, tmp_path: Path) -> None:
    detector = random_detector(kind, tmp_path)
    detector.train()
    out = detector(batch(target(0, 2), target()))
    out["loss"].backward()
    assert torch.isfinite(out["loss"])
    assert sum(p.grad is not None for p in detector.parameters()) > 0.5 * sum(1 for _ in detector.parameters())
    empty = detector(batch(target(), target()))["loss"]
    assert torch.isfinite(empty)
    detector.eval()
    with torch.no_grad():
        assert torch.isfinite(detector(batch(target(1), target(0, 1, 2)))["loss"])
        outputs = detector({"pixels": batch(target(), target())["pixels"]})["outputs"]
    found = detector.decode(outputs, [(100, 200), (30, 40)], threshold=0.0, most=5)
    for rows, (height, width) in zip(found, [(100, 200), (30, 40)], strict=True):
        assert 0 < len(rows) <= 5
        scores = [row["score"] for row in rows]
        assert scores == sorted(scores, reverse=True)
        for row in rows:
            x1, y1, x2, y2 = row["box"]
            assert row["label"] in CLASSES
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height


@pytest.mark.parametrize("kind", ["detr", "rt_detr", "d_fine", "deformable_detr", "yolos", "rf_detr"])
def test_with_other_classes_only_the_class_heads_start_afresh(kind: str, tmp_path: Path) -> None:
    folder = saved(kind, tmp_path)
    kept = load_file(folder / "model.safetensors")
    detector = loaded(folder, ("ant", "bee", "cat", "dog", "eel"))
    heads = class_dependent(detector.model)
    names = dict(detector.model.named_parameters())
    assert detector.fresh == heads & set(names)
    assert detector.fresh
    assert detector.pretrained
    for name, value in detector.model.state_dict().items():
        if name in kept and name not in heads:
            assert torch.equal(value, kept[name]), name
    assert torch.isfinite(detector(batch(target(4), target(0)))["loss"])


def test_heads_are_kept_only_where_the_classes_are_the_same(tmp_path: Path) -> None:
    folder = saved("rt_detr", tmp_path)
    own = ("LABEL_0", "LABEL_1", "LABEL_2")
    kept = load_file(folder / "model.safetensors")
    same = loaded(folder, own)
    assert same.fresh == frozenset()
    name = "model.decoder.class_embed.0.weight"
    assert torch.equal(same.model.state_dict()[name], kept[name])
    swapped = loaded(folder, own[::-1])
    assert name in swapped.fresh
    assert not torch.equal(swapped.model.state_dict()[name], kept[name])


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = saved("detr", tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["model.input_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 of \d+ parameters are missing.*input_projection"):
        loaded(folder)


def test_focal_heads_start_from_their_prior(tmp_path: Path) -> None:
    folder = saved("rt_detr", tmp_path)
    detector = loaded(folder, ("a", "b", "c", "d"))
    biases = [p for n, p in detector.model.named_parameters() if n.endswith("class_embed.0.bias")]
    assert (biases[0] < -1).all()


# backbones


def timm_folder(folder: Path, name: str = "test_efficientnet") -> Path:
    torch.manual_seed(1)
    model = timm.create_model(name, num_classes=4)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    folder.mkdir(exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"architecture": name, "num_classes": 4, "pretrained_cfg": {**model.pretrained_cfg, "num_classes": 4}}
    config["pretrained_cfg"] |= {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def on_backbone(kind: str, tmp_path: Path, folder: Path, **options: object) -> Detector:
    config_of(kind).save_pretrained(str(tmp_path / "detector"))
    return build_detector(
        find_detector(str(tmp_path / "detector"), pretrained=False),
        tmp_path / "detector",
        CLASSES,
        DetectorSettings(size=SIDE, **options),  # type: ignore[arg-type]
        backbone=find_image(str(folder), pretrained=True),
        backbone_folder=folder,
    )


@pytest.mark.parametrize("kind", OPEN_TYPES)
def test_a_timm_backbone_from_a_folder_is_in_the_detector_bit_for_bit(kind: str, tmp_path: Path) -> None:
    folder = timm_folder(tmp_path / "timm")
    detector = on_backbone(kind, tmp_path, folder)
    weights = load_file(folder / "model.safetensors")
    inside = next(m for m in detector.modules() if hasattr(m, "feature_info") and not hasattr(m, "_backbone"))
    own = inside.state_dict()
    assert len(own) > 10
    assert all(torch.equal(value, weights[name]) for name, value in own.items())
    # what runs is timm's own network, its activations included
    indices = [i["index"] for i in inside.feature_info.get_dicts()]
    theirs = timm.create_model("test_efficientnet", features_only=True, out_indices=indices)
    theirs.load_state_dict(own, strict=False)
    images = torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        mine = inside.eval()(images)
        for a, b in zip(mine, theirs.eval()(images), strict=True):
            torch.testing.assert_close(a, b)
    assert (detector.spec.mean, detector.spec.std) == ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    fresh = {name for name, _ in detector.model.named_parameters()} - detector.fresh
    assert fresh
    assert {id(dict(detector.model.named_parameters())[name]) for name in fresh} == {id(p) for p in inside.parameters()}


def test_a_backbone_of_transformers_is_put_in_too(tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(2)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(str(tmp_path / "resnet"))
    weights = load_file(tmp_path / "resnet" / "model.safetensors")
    detector = on_backbone("rt_detr", tmp_path, tmp_path / "resnet")
    own = {name.partition("backbone.model.")[2]: value for name, value in detector.state_dict().items()}
    shared = [name for name in own if name in weights]
    assert len(shared) > 20
    assert all(torch.equal(own[name], weights[name]) for name in shared)


def test_not_every_backbone_fits(tmp_path: Path) -> None:
    folder = timm_folder(tmp_path / "timm")
    with pytest.raises(CheckpointError, match="comes with its own backbone"):
        on_backbone("yolos", tmp_path, folder)
    flat = timm_folder(tmp_path / "vit", "test_vit")
    with pytest.raises(CheckpointError, match=r"strides \[8, 16, 32\]"):
        on_backbone("rt_detr", tmp_path, flat)
    checkpoint = saved("rt_detr", tmp_path / "whole")
    with pytest.raises(ConfigError, match="comes with its own backbone"):
        build_detector(
            find_detector(str(checkpoint), pretrained=True),
            checkpoint,
            CLASSES,
            backbone=find_image(str(folder), pretrained=True),
            backbone_folder=folder,
        )


# what a detector freezes as it is built


def test_random_detectors_are_unfrozen_and_others_on_request(tmp_path: Path) -> None:
    assert not frozen_norms(random_detector("detr", tmp_path / "random"))
    folder = timm_folder(tmp_path / "timm")
    still = on_backbone("detr", tmp_path, folder)
    assert frozen_norms(still)
    free = on_backbone("detr", tmp_path, folder, unfreeze=True)
    assert not frozen_norms(free)
    assert any("BatchNorms" in note for note in free.notes)
    images = batch(target(), target())["pixels"]
    with torch.no_grad():
        free.model.load_state_dict(still.model.state_dict(), strict=False)
        a, b = (one.eval()({"pixels": images})["outputs"].logits for one in (still, free))
    torch.testing.assert_close(a, b)


def test_unfreezing_keeps_what_a_detector_computes_and_its_constants() -> None:
    torch.manual_seed(0)
    model = detector_of("d_fine").eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.2, 0.2)
    images = torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        before = model(pixel_values=images).logits
        notes = unfreeze_built_frozen(model)
        torch.testing.assert_close(model.eval()(pixel_values=images).logits, before)
    assert "BatchNorms" in notes[0]
    assert {n.rpartition(".")[2] for n, p in model.named_parameters() if not p.requires_grad} == {"up", "reg_scale"}


@pytest.mark.parametrize("kind", ["detr", "rt_detr", "d_fine"])
def test_a_detector_is_built_again_from_plain_data(kind: str, tmp_path: Path) -> None:
    folder = timm_folder(tmp_path / "timm")
    for options in ({}, {"unfreeze": True}):
        detector = on_backbone(kind, tmp_path, folder, **options).eval()
        again = rebuild_detector(json.loads(json.dumps(describe_detector(detector)))).eval()
        again.load_state_dict(detector.state_dict())
        images = {"pixels": batch(target())["pixels"]}
        with torch.no_grad():
            assert torch.equal(detector(images)["outputs"].logits, again(images)["outputs"].logits)
        assert (again.spec, again.classes, again.fresh) == (detector.spec, detector.classes, detector.fresh)


# losses and boxes


@pytest.mark.parametrize("kind", ["rt_detr", "d_fine", "deformable_detr", "conditional_detr"])
def test_losses_of_micro_batches_add_up_to_that_of_the_step(kind: str, tmp_path: Path) -> None:
    detector = random_detector(kind, tmp_path).eval()  # eval: no denoising groups, no dropout
    targets = [target(0, 1, 2), target(), target(1), target(2, 2)]
    whole = batch(*targets)
    objective = over_boxes()
    boxes = objective.weight({TOWER: whole})

    def share(given: dict[str, torch.Tensor]) -> torch.Tensor:
        return objective.total(detector(given), {TOWER: given}) / boxes

    with torch.no_grad():
        step = detector(whole)["loss"]
        parts = [share({**batch(*targets[i : i + 2]), "pixels": whole["pixels"][i : i + 2]}) for i in (0, 2)]
        alone = share({**batch(targets[1]), "pixels": whole["pixels"][1:2]})
    torch.testing.assert_close(sum(parts), step, rtol=0.02 if kind == "d_fine" else 1e-4, atol=1e-4)
    assert alone < step


def test_boxes_come_by_the_familys_own_rule(tmp_path: Path) -> None:
    from types import SimpleNamespace

    logits = torch.tensor([[[4.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 9.0]]])
    boxes = torch.tensor([[[0.5, 0.5, 0.5, 1.0], [0.9, 0.5, 0.4, 0.2]]])

    class Outputs(SimpleNamespace):
        def __setitem__(self, key: str, value: torch.Tensor) -> None:
            setattr(self, key, value)

    softmax = random_detector("detr", tmp_path / "a")  # the last logit is "no object"
    found = softmax.decode(Outputs(logits=logits, pred_boxes=boxes), [(100, 200)], threshold=0.5)[0]
    assert [row["label"] for row in found] == ["ant"]
    assert found[0]["score"] == pytest.approx(float(logits[0, 0].softmax(0)[0]))
    assert found[0]["box"] == pytest.approx([50, 0, 150, 100])
    sigmoid = random_detector("rt_detr", tmp_path / "b")
    found = sigmoid.decode(Outputs(logits=logits[..., :3], pred_boxes=boxes), [(100, 200)], threshold=0.6)[0]
    assert [row["label"] for row in found] == ["ant", "bee"]
    assert found[0]["score"] == pytest.approx(float(torch.sigmoid(torch.tensor(4.0))))
    half = sigmoid.decode(
        Outputs(logits=logits[..., :3], pred_boxes=boxes), [(100, 200)], scale=torch.tensor([[400.0, 200.0]])
    )[0]
    assert half[0]["box"] == pytest.approx([100, 0, 200, 100])  # cut to the image


def test_padding_is_black_to_the_model_and_masked(tmp_path: Path) -> None:
    detector = random_detector("detr", tmp_path).eval()
    pixels = batch(target())["pixels"]
    mask = torch.ones(1, SIDE, SIDE, dtype=torch.int64)
    mask[:, :, 40:] = 0
    changed = pixels.clone()  # type: ignore[attr-defined]
    changed[:, :, :, 40:] = 255 - changed[:, :, :, 40:]
    with torch.no_grad():
        a, b = (detector({"pixels": one, "mask": mask})["outputs"].logits for one in (pixels, changed))
        c = detector({"pixels": pixels})["outputs"].logits
    assert torch.equal(a, b)
    assert not torch.allclose(a, c)


def test_a_detector_is_a_tower_without_features(tmp_path: Path) -> None:
    detector = random_detector("rt_detr", tmp_path)
    assert (detector.width, detector.grains) == (0, frozenset())
    assert detector.conv_example() is detector.backbone_module is None


# names and options


def test_names_that_are_no_detector_say_what_is(tmp_path: Path) -> None:
    assert {"detr", "rt_detr", "d_fine", "yolos"} <= set(detector_types())
    with pytest.raises(CheckpointError, match="Did you mean 'rt_detr'"):
        find_detector("rtdetr", pretrained=False)
    with pytest.raises(CheckpointError, match="architecture of transformers"):
        find_detector("rt_detr", pretrained=True)
    with pytest.raises(CheckpointError, match=r"a backbone and no detector.*model\.detector\.backbone"):
        find_detector(str(timm_folder(tmp_path / "timm")), pretrained=True)
    from transformers import BertConfig

    BertConfig().save_pretrained(str(tmp_path / "bert"))
    with pytest.raises(CheckpointError, match="'bert', which is no object detector"):
        build_detector(find_detector(str(tmp_path / "bert"), pretrained=False), tmp_path / "bert", CLASSES)
    with pytest.raises(ConfigError, match="at least one class"):
        build_detector(find_detector("detr", pretrained=False), None, ())


def test_queries_and_sizes(tmp_path: Path) -> None:
    detector = random_detector("detr", tmp_path / "a", queries=7)
    with torch.no_grad():
        assert detector(batch(target()))["outputs"].logits.shape == (1, 7, len(CLASSES) + 1)
    folder = saved("detr", tmp_path / "b")
    with pytest.raises(ConfigError, match="learned 10 queries"):
        loaded(folder, queries=12)
    assert loaded(saved("rt_detr", tmp_path / "c"), queries=5).model.config.num_queries == 5
    config_of("rf_detr").save_pretrained(str(tmp_path / "d"))
    with pytest.raises(ConfigError, match="does not run on images of 50×"):
        build_detector(
            find_detector(str(tmp_path / "d"), pretrained=False), tmp_path / "d", CLASSES, DetectorSettings(size=50)
        )


def test_a_type_without_a_loss_says_so(tmp_path: Path) -> None:
    detector = random_detector("pp_doclayout_v4", tmp_path)
    with pytest.raises((ConfigError, ValueError), match="train"):
        detector(batch(target(0)))


@pytest.mark.parametrize("name", ["ustc-community/dfine-small-coco", "PekingU/rtdetr_v2_r18vd"])
def test_the_presets_shapes_need_no_hub(name: str) -> None:
    assert name in DETECTORS
    source = find_detector(name, pretrained=False)
    assert source.kind == "architecture"
    detector = build_detector(source, None, CLASSES, DetectorSettings(size=160, queries=50))
    weights = sum(p.numel() for p in detector.parameters())
    assert weights == pytest.approx({"u": 10.3e6, "P": 20.0e6}[name[0]], rel=0.03)


def test_timm_backbones_are_described_without_a_download() -> None:
    assert "use_pretrained_backbone" not in timm_backbone(1)
    config = config_of("detr")
    config.backbone_config.use_pretrained_backbone = True
    torch.manual_seed(0)
    from thermocline.tuning.layers.detector_parts import offline

    assert offline(config).backbone_config.use_pretrained_backbone is False


@pytest.mark.parametrize("kind", ["rt_detr", "detr"])
def test_images_in_channels_last_give_the_same_boxes(kind, tmp_path):
    detector, given = random_detector(kind, tmp_path).eval(), batch(target(0, 1), target(2))
    seen = []
    detector.model.register_forward_pre_hook(lambda *call: seen.append(call[2]["pixel_values"]), with_kwargs=True)
    with torch.no_grad():
        before = detector(given)
        detector.channels_last_on = frozenset({"cpu"})
        after = detector(given)
    assert [one.is_contiguous(memory_format=torch.channels_last) for one in seen] == [False, True]
    assert torch.allclose(before["outputs"].logits, after["outputs"].logits, atol=1e-5)
    assert torch.allclose(before["loss"], after["loss"], atol=1e-5)
