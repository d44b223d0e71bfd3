"""What an optimizer holds of the weights that it trains, and what a step of it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class OptimizerCost:
    """What an optimizer holds and does.

    A step writes and reads the gradient, and reads and writes the weight and the state.

    Attributes:
        usual: Bytes of state for a byte of weights, of layers that `share` does not have: AdamW has two moments.
        share: The same by the label of a layer.
        work: Operations of a step besides, by the label of a layer.

    Example:
        >>> OptimizerCost().state_bytes({"head": 400}, ["head"])
        800
    """

    usual: float = 2.0
    share: Mapping[str, float] = field(default_factory=dict)
    work: Mapping[str, float] = field(default_factory=dict)

    def of(self, label: str) -> float:
        """Return the bytes of state for a byte of a layer's weights."""
        return self.share.get(label, self.usual)

    def state_bytes(self, sizes: Mapping[str, int], labels: Iterable[str]) -> int:
        """Return the bytes of state of layers.

        Args:
            sizes: The bytes of the weights of each layer, by label.
            labels: Of the layers.
        """
        return round(sum(self.of(label) * sizes[label] for label in labels))

    def moved(self, sizes: Mapping[str, int], labels: Iterable[str]) -> float:
        """Return the bytes that a step of layers reads and writes; arguments as of `state_bytes`."""
        return sum((4 + 2 * self.of(label)) * sizes[label] for label in labels)

    def computed(self, labels: Iterable[str]) -> float:
        """Return the operations of a step of layers besides."""
        return sum(self.work.get(label, 0.0) for label in labels)


ADAMW = OptimizerCost()
SGD = OptimizerCost(usual=1.0)
