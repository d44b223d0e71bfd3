"""The optimizers that have a name: where their classes are, and what they are made with. Nothing is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from thermocline.errors import ConfigError, MissingDependencyError, did_you_mean, listing


@dataclass(frozen=True)
class OptimizerInfo:
    """An optimizer with a name.

    Attributes:
        name: As of `optim.optimizer`.
        implementation: Its class, as `package.module:attribute`.
        source: The paper it comes from.
        defaults: Arguments that differ from those of the class.
        fused: Whether the class has a fused implementation (`fused=True`).
        splits: Whether its groups are split into matrices of blocks and the rest (`thermocline.optimizers.muon`).
        extra: The extra that installs its package; empty where it comes with Thermocline.
        bytes_a_weight: Of its state, where a trial with a few weights would not show it.
    """

    name: str
    implementation: str
    source: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fused: bool = False
    splits: bool = False
    extra: str = ""
    bytes_a_weight: float | None = None

    def load(self) -> type:
        """Return the class.

        Raises:
            MissingDependencyError: Its package is not installed.
        """
        module, _, attribute = self.implementation.partition(":")
        try:
            loaded: type = getattr(import_module(module), attribute)
        except ImportError as error:
            if not self.extra:
                raise
            raise MissingDependencyError(
                f"optim.optimizer={self.name} needs {module.partition('.')[0]} ({error}). Install it with "
                f"pip install 'thermocline[{self.extra}]', or take optim.optimizer=adamw."
            ) from error
        return loaded


OPTIMIZERS = {
    one.name: one
    for one in (
        OptimizerInfo("adamw", "torch.optim:AdamW", "Loshchilov and Hutter, ICLR 2019", fused=True),
        OptimizerInfo("adam", "torch.optim:Adam", "Kingma and Ba, ICLR 2015", fused=True),
        # a momentum of 0.9 as in nearly every recipe since Krizhevsky et al. 2012
        OptimizerInfo("sgd", "torch.optim:SGD", "Robbins and Monro 1951", {"momentum": 0.9}, fused=True),
        OptimizerInfo("nadam", "torch.optim:NAdam", "Dozat, ICLR 2016 workshop"),
        OptimizerInfo("radam", "torch.optim:RAdam", "Liu et al., ICLR 2020"),
        OptimizerInfo("adafactor", "torch.optim:Adafactor", "Shazeer and Stern, ICML 2018"),
        OptimizerInfo("lion", "timm.optim:Lion", "Chen et al., NeurIPS 2023"),
        OptimizerInfo("muon", "thermocline.optimizers.muon:MuonWithAdamW", "Jordan et al. 2024", splits=True),
        OptimizerInfo(  # two moments of a byte, and a scale of 4 bytes for each 256 of them
            "adamw8bit",
            "bitsandbytes.optim:AdamW8bit",
            "Dettmers et al., ICLR 2022",
            extra="bnb",
            bytes_a_weight=2 * (1 + 4 / 256),
        ),
    )
}
"""By name."""


def find(name: str) -> OptimizerInfo:
    """Return the optimizer of a name.

    Raises:
        ConfigError: There is none.
    """
    if name in OPTIMIZERS:
        return OPTIMIZERS[name]
    raise ConfigError(
        f"There is no optimizer {name!r}; there are {listing(OPTIMIZERS, limit=99)}.{did_you_mean(name, OPTIMIZERS)}"
    )


def name_like(recorded: str) -> str:
    """Return the name of the optimizer that what was recorded of one means, or of a class of the same name.

    Example:
        >>> name_like("timm.optim.lion:Lion"), name_like("muon"), name_like("mine:Mine")
        ('lion', 'muon', '')
    """
    name = recorded.rpartition(":")[2].lower()
    return name if name in OPTIMIZERS else ""
