"""The images that a detector takes, and boxes as shares of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from thermocline.errors import ConfigError

Resize: TypeAlias = Literal["squash", "edges", "fit"]
Relative: TypeAlias = Literal["image", "canvas"]

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, the default of every detector
_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # Pillow's codes


@dataclass(frozen=True)
class DetectionSpec:
    """The pixels and boxes that a detector takes.

    Attributes:
        resize: `squash` to a height and width whatever the aspect (RT-DETR, D-FINE); `edges` until the short edge has
            its length or the long one its limit (DETR); `fit` into a height and width, aspect kept (letterbox).
        size: Height and width (`squash`, `fit`), or the short edge and the limit of the long one (`edges`).
        canvas: Height and width that images are padded to, at the right and below; None: to the largest of the batch,
            and for `fit` to `size`.
        step: Height and width of a resized image are multiples of it, the rest cut off (YOLOS: 16); not with `squash`.
        divisor: Height and width of a batch are multiples of it, filled up with padding.
        mean: Per channel, of pixels in 0..1; padding has this colour, so that it is 0 when normalised.
        std: Per channel, of pixels in 0..1.
        interpolation: `nearest`, `bilinear` or `bicubic`.
        relative: What boxes are shares of: the `image` without its padding (as DETR was trained, for detectors that
            are given the mask), or the whole `canvas` (for detectors that see no mask).
        grey: The range of values of more than 8 bits that becomes 0 to 255, where training images had some.
    """

    resize: Resize = "squash"
    size: tuple[int, int] = (640, 640)
    canvas: tuple[int, int] | None = None
    step: int = 1
    divisor: int = 1
    mean: tuple[float, float, float] = _MEAN
    std: tuple[float, float, float] = _STD
    interpolation: str = "bilinear"
    relative: Relative = "image"
    grey: tuple[float, float] | None = None

    @property
    def one_size(self) -> bool:
        """Whether all images come out in one size, whatever their shape."""
        return self.resize == "squash" or self.canvas is not None

    def __post_init__(self) -> None:
        impossible = min(*self.size, self.step, self.divisor) < 1 or self.step > min(self.size)
        if impossible or (self.resize == "edges" and self.size[0] > self.size[1]):
            raise ConfigError(
                f"A detector's images of size {self.size} ({self.resize}, in steps of {self.step}, padded to multiples "
                f"of {self.divisor}) cannot be made: sides are at least 1 and a step, and the short edge is at most "
                "the long one."
            )
        if self.canvas is not None:
            needed = (self.size[1],) * 2 if self.resize == "edges" else self.size
            if self.canvas[0] < needed[0] or self.canvas[1] < needed[1]:
                raise ConfigError(
                    f"A canvas of {self.canvas[0]}×{self.canvas[1]} pixels does not hold images of up to "
                    f"{needed[0]}×{needed[1]}."
                )

    @classmethod
    def of_processor(cls, data: Mapping[str, Any], *, relative: Relative = "image") -> DetectionSpec:
        """Return what an image processor's settings (`preprocessor_config.json`) ask for.

        Args:
            data: The settings; what they leave out is as in DETR's processor.
            relative: See `DetectionSpec`.

        Raises:
            ConfigError: A size that is none of those that detectors have.
        """
        resize, size = _processor_size(data)
        plain = data.get("do_normalize") is False
        pad = data.get("pad_size") if data.get("do_pad", True) else None
        return cls(
            resize=resize,
            size=size,
            canvas=(int(pad["height"]), int(pad["width"])) if pad else None,
            step=16 if str(data.get("image_processor_type", "")).startswith("Yolos") else 1,
            divisor=int(data.get("size_divisor") or 1),
            mean=(0.0, 0.0, 0.0) if plain else _three(data.get("image_mean") or _MEAN),
            std=(1.0, 1.0, 1.0) if plain else _three(data.get("image_std") or _STD),
            interpolation=_interpolation(data.get("resample", 2)),
            relative=relative,
        )

    def with_size(self, side: int) -> DetectionSpec:
        """Return the spec for images of another size: their height and width, or their short edge.

        The limit of the long edge keeps its proportion, and a canvas grows or shrinks with it.
        """
        factor = side / self.size[0]
        size = (side, side) if self.resize != "edges" else (side, max(side, round(self.size[1] * factor)))
        canvas = None if self.canvas is None else (max(size),) * 2
        return replace(self, size=size, canvas=canvas)

    @property
    def fill(self) -> tuple[int, int, int]:
        """The colour of padding, in 0..255."""
        red, green, blue = (round(255 * value) for value in self.mean)
        return red, green, blue

    def inner(self, height: int, width: int, *, jitter: float = 1.0) -> tuple[int, int]:
        """Return height and width that an image is resized to, before padding; each at least `step`.

        Args:
            height: Of the image.
            width: Of the image.
            jitter: A factor on the size, at most 1; `squash` has but one size.
        """
        if self.resize == "squash":
            return self.size
        if self.resize == "fit":
            factor = jitter * min(self.size[0] / height, self.size[1] / width)
        else:
            factor = jitter * min(self.size[0] / min(height, width), self.size[1] / max(height, width))
        limits = self.size if self.resize == "fit" else (self.size[1],) * 2
        tall, wide = (min(round(factor * side), limit) for side, limit in zip((height, width), limits, strict=True))
        return max(tall // self.step, 1) * self.step, max(wide // self.step, 1) * self.step

    def outer(self, inner: np.ndarray) -> tuple[int, int]:
        """Return height and width of a batch of images of these heights and widths, `(rows, 2)`."""
        fixed = self.canvas or (self.size if self.resize in ("squash", "fit") else None)
        height, width = fixed or inner.max(axis=0).tolist()
        return _up(int(height), self.divisor), _up(int(width), self.divisor)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DetectionSpec:
        """Inverse of `to_dict`."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**fields)


def box_scale(spec: DetectionSpec, sizes: np.ndarray, inner: np.ndarray, outer: tuple[int, int]) -> np.ndarray:
    """Return width and height in own pixels that the share 1 of a box means, float32 `(rows, 2)`.

    Args:
        spec: Says what boxes are shares of.
        sizes: Height and width of the images as they are, `(rows, 2)`.
        inner: Height and width that they were resized to, `(rows, 2)`.
        outer: Height and width of the batch.
    """
    own = sizes[:, ::-1].astype(np.float64)
    if spec.relative == "canvas":
        own = own * np.array(outer[::-1], dtype=np.float64) / inner[:, ::-1]
    return own.astype(np.float32)


def to_shares(boxes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Map boxes in own pixels, xyxy `(boxes, 4)`, to shares, centre, width and height, float32 `(boxes, 4)`.

    Args:
        boxes: Of one image.
        scale: Width and height that the share 1 means, `(2,)`.
    """
    shares = boxes.astype(np.float64) / np.tile(scale.astype(np.float64), 2)
    low, high = shares[:, :2], shares[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32)


def _processor_size(data: Mapping[str, Any]) -> tuple[Resize, tuple[int, int]]:
    size = data.get("size") or {"shortest_edge": 800, "longest_edge": 1333}
    if isinstance(size, int):  # processors before 2022
        size = {"shortest_edge": size, "longest_edge": data.get("max_size") or 1333}
    if "height" in size and "width" in size:
        return "squash", (int(size["height"]), int(size["width"]))
    if "max_height" in size and "max_width" in size:
        return "fit", (int(size["max_height"]), int(size["max_width"]))
    if "shortest_edge" in size:
        short = int(size["shortest_edge"])
        return "edges", (short, max(short, int(size.get("longest_edge") or data.get("max_size") or 1333)))
    raise ConfigError(
        f"The image processor has the size {size!r}. A detector's has height and width, shortest_edge and "
        "longest_edge, or max_height and max_width."
    )


def _interpolation(code: Any) -> str:
    name = _RESAMPLING.get(int(code), "bilinear")
    return name if name in ("nearest", "bilinear", "bicubic") else "bicubic"  # torch resizes by these three only


def _three(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third


def _up(side: int, divisor: int) -> int:
    return -(-side // divisor) * divisor
