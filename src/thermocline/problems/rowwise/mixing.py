"""Training on mixed rows: mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019).

Images are mixed as pixels. Of texts and tables the features of a row are mixed, before the head (manifold mixup: Verma
et al., ICML 2019; of sentences Guo et al. 2019). The loss is that of both labels, in proportion, which for a squared
error has the gradient of the mixed label.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from thermocline.contracts.learning import Objective
from thermocline.contracts.mixing import Mixing

if TYPE_CHECKING:
    from thermocline.config.schema import OptimConfig

MIXING = "mixing"
"""Where a batch holds how its rows are mixed."""


def drawn(mixup: float, cutmix: float) -> Mixing:
    """Draw how a batch is mixed, from torch's generator; where both are asked for, each in half of the batches.

    Args:
        mixup: Both parameters of the beta distribution of the share of a row; 0: no mixup.
        cutmix: The same of the area outside of the box; 0: no CutMix.
    """
    cuts = cutmix > 0 and (mixup == 0 or bool(torch.rand(()) < 0.5))
    alpha = torch.tensor(cutmix if cuts else mixup, dtype=torch.float64)
    share = float(torch.distributions.Beta(alpha, alpha, validate_args=False).sample())
    if not cuts:
        return Mixing(share)
    half = (1 - share) ** 0.5 / 2
    down, right = torch.rand(2, dtype=torch.float64).tolist()
    edges = (down - half, right - half, down + half, right + half)
    top, left, bottom, far = (min(max(edge, 0.0), 1.0) for edge in edges)
    return Mixing(1 - (bottom - top) * (far - left), (top, left, bottom, far))


def varying(optim: OptimConfig) -> Callable[[], Mapping[str, Any]] | None:
    """Return what draws the part of a training batch that says how its rows are mixed; None where they are not."""
    mixup, cutmix = optim.mixup, optim.cutmix
    return (lambda: {MIXING: drawn(mixup, cutmix)}) if mixup or cutmix else None


def of_both_labels(objective: Objective) -> Objective:
    """Return an objective that compares the outputs of mixed rows with the labels of both rows."""

    def total(outputs: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        mixing: Mixing | None = batch.get(MIXING)
        own = objective.total(outputs, batch)
        if mixing is None:
            return own
        other = {key: mixing.other(batch[key]) for key in ("target", "weight") if key in batch}
        return mixing.share * own + (1 - mixing.share) * objective.total(outputs, {**batch, **other})

    return Objective(total, objective.weight, objective.whole_batch)
