"""How prefixes are cached, and why one is not, as far as that shows without a forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thermocline.data.batches import Rows
from thermocline.data.memory_budget import Budget
from thermocline.efficiency.prefix_cache.prefix import Prefix
from thermocline.tuning.layers.layer_map import LayerMap

LEAST_USES = 2.0  # passes over the rows from which caching saves time


@dataclass(frozen=True)
class CacheOptions:
    """How prefixes are cached.

    Attributes:
        mode: `auto`, `off`, `memory` or `disk`.
        usual: Rows of nearly every training batch; the values of other batches are not stored.
        budget: Memory that may be taken.
        folder: Where files are written.
        shared: Whether files are kept for other fits.
        facts: What of the configuration the values depend on (precision), for files.
        compiled: Whether backbones are compiled, so that they run as a whole or not at all.
        sizes_vary: Whether training batches are cut by tokens.
        validated: Rows of a batch of validation.
    """

    mode: str
    usual: int
    budget: Budget
    folder: Path
    shared: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    compiled: bool = False
    sizes_vary: bool = False
    validated: int = 0

    def batch_size(self, split: str) -> int:
        """Return the rows of the batches of a split whose values are stored."""
        return self.validated if split == "valid" else self.usual


def reason_not_cached(
    layer_map: LayerMap, prefix: Prefix, rows: Mapping[str, Rows], options: CacheOptions, uses: float
) -> str | None:
    """Return why a prefix is not to be cached, or `None`.

    Args:
        layer_map: The layers of the whole model.
        prefix: The frozen layers.
        rows: `train` and `valid`.
        options: How prefixes are cached.
        uses: Passes over the training rows for which the prefix stays as it is.
    """
    if options.mode == "off":
        return "optim.cache_prefix is off"
    if not layer_map.confident and not prefix.whole:
        return "the order of the layers is not known"
    if uses < LEAST_USES:
        return f"it holds for {uses:.1f} passes over the rows; caching saves time from {LEAST_USES:.0f} on"
    for split in rows.values():
        reason = split.parts[prefix.tower].not_cacheable()
        if reason is not None:
            return reason
    if options.sizes_vary:
        return "env.micro_batch_tokens makes batches of different size, and with it the rounding"
    if options.compiled and not prefix.whole:
        return "env.compile compiles the backbone as a whole"
    return None
