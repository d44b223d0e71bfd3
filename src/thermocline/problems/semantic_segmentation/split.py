"""The split of images into training and validation, a function of the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from thermocline.data.splitting import SPLIT_STREAM, size_note, valid_share


def split_masks(
    present: Sequence[frozenset[int]], pictures: Sequence[Hashable], fraction: float | None, *, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Split images into training and validation; every class stays in training, and rows of one picture together.

    Args:
        present: For each image the classes that occur in its mask.
        pictures: What is equal for rows of the same picture.
        fraction: Share for validation, or `None` to choose it from the number of images.
        seed: The run's seed.

    Returns:
        Sorted training positions, sorted validation positions, and why the share was chosen.
    """
    count = len(present)
    share, why = valid_share(count, fraction)
    rows_of: dict[Hashable, list[int]] = {}
    for row, key in enumerate(pictures):
        rows_of.setdefault(key, []).append(row)
    groups = list(rows_of.values())
    order = np.random.default_rng([seed, SPLIT_STREAM]).permutation(len(groups))
    left = Counter(value for own in present for value in own)
    wanted, held = int(np.clip(round(share * count), 1, count - 1)), list[int]()
    for number in order:
        rows = groups[int(number)]
        own = Counter(value for row in rows for value in present[row])
        if len(held) + len(rows) > max(wanted, len(rows)) or len(held) >= wanted:
            continue
        if all(left[value] > own[value] for value in own) and len(held) + len(rows) < count:
            held += rows
            left.subtract(own)
    if not held:  # every image has a class of its own
        held = groups[int(order[0])]
        why += ", although a class is then in validation alone"
    if len(groups) < count:
        why += f", of {len(groups):,} pictures, the rows of each kept together"
    why += size_note(count, len(held), fraction)
    return np.setdiff1d(np.arange(count), held), np.sort(np.array(held, dtype=np.int64)), why
