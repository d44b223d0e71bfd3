"""Augmentation of an image together with its boxes, by torchvision's tv_tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from thermocline.inputs.image.joint_transforms import colour_steps, resized
from thermocline.problems.object_detection.box_spec import DetectionSpec

if TYPE_CHECKING:
    from PIL.Image import Image

_LEAST_SIDE = 16  # pixels: smaller images are not cropped
_MOST_TIMES = 2.0  # images larger than so many times the input's size are made smaller before augmentation
_JITTER = {"light": 0.8, "standard": 0.6}  # smallest factor on the size of `edges`; DETR: 480 of 800


@dataclass(frozen=True)
class Scene:
    """An image with its boxes.

    Attributes:
        pixels: uint8 `(3, height, width)`.
        boxes: float32 `(boxes, 4)`, xyxy in these pixels.
        labels: Class numbers, int64 `(boxes,)`.
    """

    pixels: torch.Tensor
    boxes: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def of(cls, image: Image, boxes: np.ndarray, labels: np.ndarray) -> Scene:
        """Return an RGB image with its boxes."""
        pixels = torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)
        return cls(pixels, torch.from_numpy(np.asarray(boxes, np.float32)), torch.from_numpy(np.asarray(labels)))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.pixels.shape[-2]), int(self.pixels.shape[-1])


def augmented(scene: Scene, spec: DetectionSpec, strength: str) -> tuple[Scene, float]:
    """Return an augmented scene and a factor on the size that it is resized to.

    `light` mirrors, shifts colours a little, and crops or surrounds with padding a little. `standard` is the recipe of
    SSD (Liu et al., ECCV 2016) that RT-DETR and D-FINE are trained with: strong shifts of colour, the image on a
    canvas of up to twice its sides, a crop that keeps a box, mirroring. A box whose centre is outside of the crop is
    left out, and so is one of less than a pixel; the others are cut to the crop.

    Random numbers come from torch's global generator, which the caller seeds.

    Args:
        scene: The image and its boxes.
        spec: The size of the detector's images, and the colour of padding.
        strength: `light` or `standard`.
    """
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    scene = _shrunk(scene, spec)
    sample: dict[str, Any] = {
        "image": tv_tensors.Image(scene.pixels),
        "boxes": tv_tensors.BoundingBoxes(
            scene.boxes.reshape(-1, 4), format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=scene.size
        ),
        "labels": scene.labels,
    }
    steps = [*colour_steps(strength), *_places(strength, spec, min(scene.size))]
    out = v2.Compose([*steps, v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(labels_getter=_labels)])(sample)
    least = _JITTER[strength]
    jitter = least + (1.0 - least) * float(torch.rand(())) if spec.resize == "edges" else 1.0
    plain = out["image"].as_subclass(torch.Tensor), out["boxes"].as_subclass(torch.Tensor)
    return Scene(*plain, out["labels"]), jitter


def _labels(sample: dict[str, Any]) -> torch.Tensor:
    labels: torch.Tensor = sample["labels"]
    return labels


def _places(strength: str, spec: DetectionSpec, side: int) -> list[Any]:
    from torchvision.transforms import v2

    wide, least, overlaps = (2.0, 0.3, None) if strength == "standard" else (1.25, 0.7, [0.5, 0.7, 0.9, 1.0])
    steps: list[Any] = [v2.RandomZoomOut(fill=list(spec.fill), side_range=(1.0, wide), p=0.5 if wide == 2.0 else 0.3)]
    if side >= _LEAST_SIDE:
        crop = v2.RandomIoUCrop(min_scale=least, sampler_options=overlaps)
        steps.append(v2.RandomApply([crop], p=0.8 if strength == "standard" else 0.5))
    return [*steps, v2.RandomHorizontalFlip()]


def _shrunk(scene: Scene, spec: DetectionSpec) -> Scene:
    """Make a large image smaller first, so that augmenting it takes no longer than one of the input's size."""
    height, width = scene.size
    inner = spec.inner(height, width)
    factor = _MOST_TIMES * max(inner[0] / height, inner[1] / width)
    if factor >= 1.0:
        return scene
    size = (max(1, round(factor * height)), max(1, round(factor * width)))
    ratio = torch.tensor([size[1] / width, size[0] / height] * 2, dtype=torch.float32)
    return Scene(resized(scene.pixels, size, spec.interpolation), scene.boxes * ratio, scene.labels)
