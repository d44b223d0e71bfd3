"""Images for a detector, and boxes from its outputs, in the program beside an exported model.

See `data.standalone_cells`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thermocline.data.standalone_cells import cell_of
from thermocline.inputs.image.standalone import no_picture, open_picture

SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}


class DetectorReader:
    """Turns a column of images into what a detector takes, as `DetectionRows` does.

    Args:
        settings: The column, the fields of `DetectionSpec`, and whether the detector takes a mask.
        _folder: The export's.
    """

    def __init__(self, settings: Mapping[str, Any], _folder: Path) -> None:
        self.column, self.spec = settings["column"], settings["spec"]
        self.fill = [round(255 * value) for value in self.spec["mean"]]

    def arrays(self, rows: Sequence[Mapping[str, Any]], folder: Path | None) -> dict[str, np.ndarray]:
        """Return `pixels` uint8 `(rows, 3, height, width)`, `mask` int64 `(rows, height, width)`, 1 where there is
        image, `sizes` int64 `(rows, 2)`, heights and widths, and `scale` float32 `(rows, 2)`, what the share 1 means.
        """
        images = [self._image(row, folder) for row in rows]
        sizes = np.array([image.shape[:2] for image in images], dtype=np.int64)
        inner = np.array([self._inner(int(height), int(width)) for height, width in sizes], dtype=np.int64)
        height, width = self._outer(inner)
        pixels = np.empty((len(rows), 3, height, width), dtype=np.uint8)
        pixels[:] = np.array(self.fill, dtype=np.uint8)[:, None, None]
        mask = np.zeros((len(rows), height, width), dtype=np.int64)
        for i, (image, (tall, wide)) in enumerate(zip(images, inner, strict=True)):
            pixels[i, :, :tall, :wide] = resized_pixels(image, (tall, wide), self.spec["interpolation"]).transpose(
                2, 0, 1
            )
            mask[i, :tall, :wide] = 1
        scale = sizes[:, ::-1].astype(np.float64)
        if self.spec["relative"] == "canvas":
            scale = scale * np.array([width, height], dtype=np.float64) / inner[:, ::-1]
        return {"pixels": pixels, "mask": mask, "sizes": sizes, "scale": scale.astype(np.float32)}

    def _image(self, row: Mapping[str, Any], folder: Path | None) -> np.ndarray:
        value = cell_of(row, self.column)
        if no_picture(value):
            raise OSError(f"Column {self.column!r}: a row has no image.")
        return np.asarray(open_picture(value, folder, self.spec["grey"]), dtype=np.uint8)

    def _inner(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width that an image is resized to."""
        way, size, step = self.spec["resize"], self.spec["size"], self.spec["step"]
        if way == "squash":
            return size[0], size[1]
        if way == "fit":
            factor = min(size[0] / height, size[1] / width)
        else:
            factor = min(size[0] / min(height, width), size[1] / max(height, width))
        limits = size if way == "fit" else (size[1], size[1])
        tall, wide = (min(round(factor * side), limit) for side, limit in zip((height, width), limits, strict=True))
        return max(tall // step, 1) * step, max(wide // step, 1) * step

    def _outer(self, inner: np.ndarray) -> tuple[int, int]:
        """Return height and width of a batch."""
        fixed = self.spec["canvas"] or (self.spec["size"] if self.spec["resize"] in ("squash", "fit") else None)
        height, width = (
            -(-int(side) // self.spec["divisor"]) * self.spec["divisor"] for side in fixed or inner.max(axis=0)
        )
        return height, width


def resized_pixels(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Return uint8 pixels `(height, width, 3)` in another size, smoothed where they shrink, as torch computes them.

    Rows first, then columns, each by whole numbers of 16 bits (torch's `UpSampleKernel` for uint8).
    """
    if image.shape[:2] == tuple(size):
        return image
    if interpolation == "nearest":
        down, right = (_nearest(old, new) for old, new in zip(image.shape, size, strict=False))
        return np.asarray(image[down][:, right])
    for axis in (1, 0):
        if image.shape[axis] != size[axis]:
            image = _resized_axis(image, axis, int(size[axis]), interpolation)
    return image


def _nearest(old: int, new: int) -> np.ndarray:
    places = np.arange(new, dtype=np.float32) * np.float32(old / new)
    return np.minimum(places.astype(np.int64), old - 1)


def _resized_axis(image: np.ndarray, axis: int, length: int, interpolation: str) -> np.ndarray:
    weights, precision = _weights(image.shape[axis], length, interpolation)
    moved = np.moveaxis(image, axis, 0).astype(np.int64)
    out = np.tensordot(weights, moved, axes=1) + (1 << (precision - 1))
    return np.moveaxis(np.clip(out >> precision, 0, 255).astype(np.uint8), 0, axis)


def _weights(old: int, new: int, interpolation: str) -> tuple[np.ndarray, int]:
    """Return whole weights int64 `(new, old)` and by how many bits they are shifted."""
    scale = old / new
    support = SUPPORT[interpolation] * max(scale, 1.0)
    reach = int(np.ceil(support)) * 2 + 1
    rows = np.zeros((new, old))
    for i in range(new):
        centre = scale * (i + 0.5)
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), old)
        places = np.arange(min(max(last - first, 0), reach)) + first
        values = _filter((places - centre + 0.5) / max(scale, 1.0), interpolation)
        rows[i, places] = values / values.sum() if values.sum() else values
    precision, largest = 0, rows.max()
    while precision < 22 and int(0.5 + largest * (1 << (precision + 1))) < 1 << 15:
        precision += 1
    return np.trunc(rows * (1 << precision) + np.where(rows < 0, -0.5, 0.5)).astype(np.int64), precision


def _filter(x: np.ndarray, interpolation: str) -> np.ndarray:
    x = np.abs(x)
    if interpolation == "bilinear":
        return np.asarray(np.maximum(1.0 - x, 0.0))
    near, far = ((1.5 * x) - 2.5) * x * x + 1, ((-0.5 * (x - 5) * x) - 4) * x + 2  # Keys 1981, a = -0.5
    return np.asarray(np.where(x < 1, near, np.where(x < 2, far, 0.0)))


class BoxAnswers:
    """Turns scores and boxes into detections, as `Detector.decode` does.

    Args:
        settings: `classes`, the least `score`, the `most` boxes an image, whether each query has `one_class`, and of
            how many of the best pairs of query and class boxes are made (`pairs`; None: as many as queries)
            where it has several.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings, self.classes = settings, settings["classes"]

    def of(self, outputs: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """Return for each image its `prediction`: `label`, `score` and `box` (x1, y1, x2, y2), best first."""
        own = zip(outputs["scores"], outputs["boxes"], arrays["sizes"], arrays["scale"], strict=True)
        return [{"prediction": self._found(*one)} for one in own]

    def _found(
        self, scores: np.ndarray, boxes: np.ndarray, size: np.ndarray, scale: np.ndarray
    ) -> list[dict[str, Any]]:
        if self.settings["one_class"]:
            labels, queries = scores.argmax(axis=1), np.arange(len(scores))
        else:
            best = np.argsort(-scores.ravel(), kind="stable")[: self.settings["pairs"] or len(scores)]
            queries, labels = np.divmod(best, scores.shape[1])
        values = scores[queries, labels]
        order = np.argsort(-values, kind="stable")
        order = order[values[order] > self.settings["score"]]
        limit = np.tile(size[::-1], 2).astype(np.float32)
        edges = np.minimum(np.maximum(boxes[queries[order]] * np.tile(scale, 2), 0.0), limit)
        there = (edges[:, 2] > edges[:, 0]) & (edges[:, 3] > edges[:, 1]) & (labels[order] < len(self.classes))
        found = zip(labels[order][there], values[order][there], edges[there], strict=True)
        listed = [
            {"label": self.classes[int(k)], "score": float(v), "box": [float(e) for e in box]} for k, v, box in found
        ]
        return listed[: self.settings["most"]]
