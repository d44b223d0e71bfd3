"""The images that a segmenter takes: size, resampling, mean and deviation; which size fits the training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from thermocline.inputs.image.spec import MOST_PIXELS

STRIDE = 32
"""Sides are a multiple of it: the coarsest maps of image backbones have this stride."""
LEAST_SIDE, MOST_SIDE = 64, 512
"""Limits of a side that is chosen from the training images."""


@dataclass(frozen=True)
class SegmentationSpec:
    """The images that a segmenter takes; both sides are resized alike whatever the aspect.

    Attributes:
        size: Height and width in pixels.
        mean: Per channel, of pixels in 0..1.
        std: Per channel, of pixels in 0..1.
        interpolation: `nearest`, `bilinear`, `bicubic`, `lanczos`, `box` or `hamming`; masks are always resized by
            the nearest pixel.
        flipped: Whether the model takes the colours as blue, green, red.
    """

    size: tuple[int, int]
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: str = "bilinear"
    flipped: bool = False

    def with_size(self, size: tuple[int, int]) -> SegmentationSpec:
        """Return the same with another size."""
        return replace(self, size=size)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SegmentationSpec:
        """Inverse of `to_dict`.

        Raises:
            ValueError: Images of a size that no segmenter takes.
        """
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        spec = cls(**fields)
        if len(spec.size) != 2 or not all(isinstance(side, int) and 1 <= side <= MOST_PIXELS for side in spec.size):
            raise ValueError(f"images of {spec.size} pixels; a side has 1 to {MOST_PIXELS:,}")
        return spec


def fitting_size(
    images: Sequence[int], *, longer: int | None = None, stride: int = STRIDE, square: bool = False
) -> tuple[int, int]:
    """Return the height and width of the input for images of about this size, each a multiple of the stride.

    Args:
        images: Height and width of a usual training image in its own pixels.
        longer: Pixels of the longer side; None: that of the images, between 64 and 512.
        stride: What both sides are multiples of.
        square: Whether both sides have to be the same.

    Example:
        >>> fitting_size((180, 240)), fitting_size((1080, 1920)), fitting_size((180, 240), longer=320)
        ((192, 256), (288, 512), (256, 320))
    """
    height, width = (max(1, side) for side in images)
    wanted = longer or min(MOST_SIDE, max(LEAST_SIDE, height, width))
    scale = wanted / max(height, width)
    sides = [
        max(stride, stride * round(side * scale / stride + (0.0 if longer or scale < 1 else 0.25)))
        for side in (height, width)
    ]
    if square:
        sides = [max(sides)] * 2
    return sides[0], sides[1]
