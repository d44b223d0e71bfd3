"""The loss of a segmenter: the cross entropy of pixels, a mean over those that have a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F

from thermocline.contracts.learning import Objective
from thermocline.problems.semantic_segmentation.model import resized_logits
from thermocline.problems.semantic_segmentation.palette import NO_CLASS
from thermocline.problems.semantic_segmentation.segmenter_layers import TOWER


def over_pixels() -> Objective:
    """Return the cross entropy, in which each pixel of a class weighs 1, whatever the micro-batches."""
    return Objective(_total, _weight)


def _total(outputs: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
    mask: torch.Tensor = batch[TOWER]["mask"]
    logits = resized_logits(outputs, (int(mask.shape[-2]), int(mask.shape[-1])))
    return F.cross_entropy(logits, mask, ignore_index=NO_CLASS, reduction="sum")


def _weight(batch: Mapping[str, Any]) -> float:
    return max(float((batch[TOWER]["mask"] != NO_CLASS).sum()), 1.0)
