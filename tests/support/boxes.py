"""Boxes as shares of an image, mapped back to its pixels: the inverse of `box_spec.to_shares`."""

from __future__ import annotations

import numpy as np


def to_pixels(boxes: np.ndarray, scale: np.ndarray, size: np.ndarray | None = None) -> np.ndarray:
    """Return float32 xyxy `(boxes, 4)` of centre, width and height as shares.

    Args:
        boxes: Of one image, `(boxes, 4)`.
        scale: Width and height that the share 1 means, `(2,)`.
        size: Height and width of the image, `(2,)`, to cut boxes that reach over its edge.
    """
    shares = np.asarray(boxes, dtype=np.float64)
    half = shares[:, 2:] / 2
    edges = np.concatenate([shares[:, :2] - half, shares[:, :2] + half], axis=1)
    edges = edges * np.tile(np.asarray(scale, dtype=np.float64), 2)
    if size is not None:
        edges = np.clip(edges, 0.0, np.tile(np.asarray(size, dtype=np.float64)[::-1], 2))
    return edges.astype(np.float32)
