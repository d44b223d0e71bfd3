"""Feature maps of image backbones: which backbones have one, and its layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class MapLayout:
    """How a backbone's last hidden states are laid out.

    Attributes:
        kind: `channels_first` `(images, channels, h, w)`, `channels_last` `(images, h, w, channels)`, or `tokens`
            `(images, tokens, channels)`, row by row behind prefix tokens (class and register tokens).
        prefix: How many prefix tokens there are.
        height: Rows of the grid, for `tokens`.
    """

    kind: str
    prefix: int = 0
    height: int = 0

    def to_map(self, states: torch.Tensor) -> torch.Tensor:
        """Return hidden states as `(images, channels, h, w)`."""
        if self.kind == "channels_first":
            return states
        if self.kind == "channels_last":
            return states.permute(0, 3, 1, 2)
        tokens = states[:, self.prefix :].transpose(1, 2)
        return tokens.reshape(*tokens.shape[:2], self.height, -1)


def hidden_states(backbone: Any, pixels: torch.Tensor) -> Any:
    """Return the last hidden states before pooling, by timm's `forward_features` or transformers' first output.

    Args:
        backbone: A timm or transformers model.
        pixels: Normalised, float `(images, 3, h, w)`.
    """
    if hasattr(backbone, "forward_features"):
        return backbone.forward_features(pixels)
    return backbone(pixels)[0]


def find_layout(backbone: nn.Module, states: Any, size: tuple[int, int], *, pooled: int) -> MapLayout | None:
    """Return the layout of a backbone's hidden states, or None where they are no map that is known to be one.

    A layout is returned only where the library says it: timm's `output_fmt`, `num_features`, `num_prefix_tokens` and
    `patch_embed.grid_size`; transformers' `patch_size`, and channels that are as many as pooled features. A number of
    tokens that happens to be a square is not enough.

    Args:
        backbone: The backbone.
        states: What `hidden_states` gave.
        size: Height and width of the images in pixels.
        pooled: Features of an image after pooling.
    """
    if not isinstance(states, torch.Tensor):
        return None
    if states.dim() == 4:
        channels = getattr(backbone, "num_features", pooled)
        last = getattr(backbone, "output_fmt", "NCHW") == "NHWC"
        fits = states.shape[3 if last else 1] == channels
        return MapLayout("channels_last" if last else "channels_first") if fits else None
    return _token_layout(backbone, states, size) if states.dim() == 3 else None


def _token_layout(backbone: Any, states: torch.Tensor, size: tuple[int, int]) -> MapLayout | None:
    grid = getattr(getattr(backbone, "patch_embed", None), "grid_size", None)
    prefix = getattr(backbone, "num_prefix_tokens", None)
    patch = getattr(getattr(backbone, "config", None), "patch_size", None)
    if isinstance(patch, int):  # transformers: patches row by row
        grid = (size[0] // patch, size[1] // patch)
        prefix = states.shape[1] - grid[0] * grid[1]
        registers = int(getattr(backbone.config, "num_register_tokens", 0) or 0)
        if prefix not in (registers, registers + 1, registers + 2):  # none, a class token, and one for distillation
            return None
    if grid is None or prefix is None or states.shape[1] != grid[0] * grid[1] + prefix:
        return None
    return MapLayout("tokens", int(prefix), int(grid[0]))
