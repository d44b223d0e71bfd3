"""The layers of a module of the caller's own: by its own patterns, or found as those of any module."""

from __future__ import annotations

from typing import Any

from torch import nn

from thermocline.errors import ConfigError, LayerMapError, listing
from thermocline.tuning.layers.layer_map import LayerMap

PATTERNS = "layer_patterns"
"""The attribute, or the method without arguments, that lists patterns of a module's layers."""


def layers_of_own(module: nn.Module, example: Any, *, tower: str, pretrained: bool) -> LayerMap:
    """Return the layers of a module.

    Args:
        module: The module. Where it has `layer_patterns`, these say which layers there are (`LayerMap.from_patterns`).
        example: Inputs of one forward pass, as of `LayerMap.of`.
        tower: The name of its tower.
        pretrained: Whether its weights count as pretrained.

    Raises:
        ConfigError: Its patterns do not fit it.
    """
    patterns = getattr(module, PATTERNS, None)
    if patterns is None:
        try:
            return LayerMap.of(module, example=example, tower=tower, pretrained=pretrained)
        except LayerMapError:  # its code asks for values, and shapes are all there is
            return LayerMap.of(module, tower=tower, pretrained=pretrained)
    try:
        patterns = patterns() if callable(patterns) else patterns
        if not isinstance(patterns, list | tuple) or not all(isinstance(one, str | tuple) for one in patterns):
            raise LayerMapError(f"it is {patterns!r}, not a list of texts")
        return LayerMap.from_patterns(module, list(patterns), tower=tower, pretrained=pretrained)
    except Exception as error:
        inside = listing((name for name, _ in module.named_children()), limit=12)
        raise ConfigError(
            f"{PATTERNS} of {type(module).__name__} does not name its layers: {error} It is a list of patterns, those "
            f"nearest the input first, such as ['stem', 'blocks.*']; the module has {inside}."
        ) from error
