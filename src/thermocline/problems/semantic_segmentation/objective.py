"""The loss of a segmenter: the cross entropy of pixels, a weighted mean over those that have a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from thermocline.contracts.learning import Objective
from thermocline.data.moving import on_host
from thermocline.problems.semantic_segmentation.model import resized_logits
from thermocline.problems.semantic_segmentation.palette import NO_CLASS
from thermocline.problems.semantic_segmentation.segmenter_layers import TOWER


def over_pixels(weights: Sequence[float]) -> Objective:
    """Return the cross entropy, in which each pixel counts what its class weighs, whatever the micro-batches.

    Args:
        weights: The weight of a pixel of each class.
    """
    made = torch.tensor(tuple(weights), dtype=torch.float32)
    return Objective(partial(_total, made), partial(_weight, made))


def weights_of(pixels: Sequence[int] | np.ndarray, power: float) -> tuple[float, ...]:
    """Return what a pixel of each class weighs: (its share of the pixels) ** -power, with a mean of 1 over the pixels.

    A class without pixels weighs as the rarest that has some.

    Args:
        pixels: How many pixels each class has.
        power: 0 weighs all pixels alike, 1 all classes.

    Example:
        >>> weights_of([900, 100], 1.0)
        (0.5555..., 5.0)
        >>> weights_of([900, 100], 0.0)
        (1.0, 1.0)
    """
    counts = np.asarray(pixels, dtype=np.float64)
    counts = np.where(counts > 0, counts, counts[counts > 0].min(initial=np.inf) if (counts > 0).any() else 1.0)
    raw = (counts / counts.sum()) ** -power
    return tuple((raw * counts.sum() / (raw * counts).sum()).tolist())


def _total(weights: torch.Tensor, outputs: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
    mask: torch.Tensor = batch[TOWER]["mask"]
    logits = resized_logits(outputs, (int(mask.shape[-2]), int(mask.shape[-1])))
    return F.cross_entropy(logits, mask, weights.to(mask.device), ignore_index=NO_CLASS, reduction="sum")


def _weight(weights: torch.Tensor, batch: Mapping[str, Any]) -> float:
    mask = on_host(batch[TOWER], "mask")
    counts = torch.bincount(mask[mask != NO_CLASS], minlength=len(weights)).double()
    total = float((counts * weights.double()).sum())
    return total if total > 0 else 1.0
