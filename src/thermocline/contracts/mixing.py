"""How the rows of a training batch are mixed with each other: mixup and CutMix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T", bound=torch.Tensor)


@dataclass(frozen=True)
class Mixing:
    """Each row of a batch is mixed with the row before it; the first with the last. Batches are in random order.

    Attributes:
        share: How much of a row stays, from 0 to 1.
        box: Of images a box that is taken from the other row: top, left, bottom, right as shares of the sides; None
            where whole images are mixed.
    """

    share: float
    box: tuple[float, float, float, float] | None = None

    @staticmethod
    def other(values: torch.Tensor) -> torch.Tensor:
        """Return for each row the values of the row that it is mixed with."""
        return values.roll(1, dims=0)

    def mixed(self, values: torch.Tensor) -> torch.Tensor:
        """Return values of rows, float `(rows, …)`, mixed in proportion."""
        return self.share * values + (1 - self.share) * self.other(values)

    def mixed_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return pixels uint8 `(rows, columns, 3, height, width)`, mixed in proportion, or the box replaced."""
        other = self.other(pixels)
        if self.box is None:
            blended = self.share * pixels.float() + (1 - self.share) * other.float()
            return blended.round_().to(pixels.dtype)
        height, width = pixels.shape[-2:]
        top, bottom = (round(self.box[side] * height) for side in (0, 2))
        left, right = (round(self.box[side] * width) for side in (1, 3))
        out = pixels.clone()
        out[..., top:bottom, left:right] = other[..., top:bottom, left:right]
        return out
