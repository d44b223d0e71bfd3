"""The split of images into training and validation, a function of the seed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from thermocline.data.class_split import split_with_classes


def split_boxes(
    labels: Sequence[Sequence[Any]], fraction: float | None, *, seed: int, pictures: Sequence[Hashable] = ()
) -> tuple[np.ndarray, np.ndarray, str]:
    """Split images with boxes and those without alike; see `split_with_classes`.

    Args:
        labels: For each image the classes of its boxes; at least two images have some.
        fraction: Share for validation, or `None` to choose it from the number of images.
        seed: The run's seed.
        pictures: What is equal for rows of the same picture; by default each row has its own.
    """
    return split_with_classes(labels, fraction, seed=seed, same=pictures, what="image", of_same="picture")
