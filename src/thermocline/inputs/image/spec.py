"""The pixels that an image backbone takes: size, resampling, crop, mean and deviation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

MOST_PIXELS = 4096
"""Pixels that a side of an image may have in a saved predictor."""


@dataclass(frozen=True)
class ImageSpec:
    """The pixels that a backbone takes.

    Attributes:
        size: Height and width in pixels.
        mean: Per channel, of pixels in 0..1.
        std: Per channel, of pixels in 0..1.
        interpolation: `nearest`, `bilinear`, `bicubic`, `lanczos`, `box` or `hamming`.
        crop_fraction: Share of the resized image that the centre crop keeps.
        squash: Resize both sides alike whatever the aspect.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop_fraction: float = 1.0
    squash: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ImageSpec:
        """Inverse of `to_dict`.

        Raises:
            ValueError: Images of a size that no backbone takes: one is run through it as it is built.
        """
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        spec = cls(**fields)
        if not all(1 <= side <= MOST_PIXELS for side in spec.size):
            raise ValueError(f"images of {spec.size} pixels; a side has 1 to {MOST_PIXELS:,}")
        return spec
