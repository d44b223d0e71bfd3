"""A fit that starts from a fitted predictor: what it is given, what it takes, and what it says of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from thermocline.config import ResolvedConfig
from thermocline.config.resolved import shown
from thermocline.errors import ConfigError, ThermoclineError, counted, listing

WHOLE, PART, FRESH = "whole", "part", "fresh"
"""How much of a head is taken: all of it; some outputs, others are new; nothing."""


class NotTakenError(ThermoclineError, ValueError):
    """A part of an earlier model does not fit the data of a fit that starts from it; the message says why."""


@dataclass(frozen=True)
class Earlier:
    """A fitted predictor that a fit starts from.

    Attributes:
        assembly: Its model, on the CPU and of this fit alone (`contracts.problem.Assembly`).
        where: What a person calls it: its path.
        fingerprint: Of its weights and its label, so that a resumed fit starts from the same one.
    """

    assembly: Any
    where: str
    fingerprint: str


@dataclass(frozen=True)
class Started:
    """What a model took from an earlier one.

    Attributes:
        where: As of `Earlier`.
        fingerprint: As of `Earlier`.
        towers: The towers that were taken.
        head: `whole`, `part` or `fresh`.
        new: Positions of the outputs that the earlier head did not have; empty unless `part` of it was taken.
    """

    where: str
    fingerprint: str
    towers: tuple[str, ...] = ()
    head: str = FRESH
    new: tuple[int, ...] = ()

    @property
    def has_head(self) -> bool:
        """Whether any output of the head was taken."""
        return self.head != FRESH

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Started:
        """Return what `to_dict` wrote down."""
        return cls(**{**values, "towers": tuple(values["towers"]), "new": tuple(values["new"])})

    def __str__(self) -> str:
        return f"starts from {self.where!r} ({self.fingerprint})"


def kept_options(
    config: ResolvedConfig, before: ResolvedConfig, names: Iterable[str], free: Iterable[str], *, tower: str
) -> ResolvedConfig:
    """Return a configuration in which the options that a tower was built by are those of the fit that built it.

    Args:
        config: Of the fit that starts from it.
        before: Of the fit that built it.
        names: The options of the tower.
        free: Those of them that may be others.
        tower: Its name, for the message.

    Raises:
        ConfigError: Others were set by hand; all of them in one error.
    """
    wrong = []
    for name in sorted(set(names) - set(free)):
        asked, has = config[name], before[name]
        if asked == has:
            continue
        if not config.is_open(name) and asked not in (None, "auto"):
            wrong.append(f"{name}={shown(asked)}, it has {shown(has)}")
        said = "" if asked in (None, "auto") else f" ({asked} was asked for)"
        config = config.choose(name, has, f"as in the fit that this one starts from{said}")
    if wrong:
        raise ConfigError(
            f"start_from takes the {tower} tower as it is, and options ask for another one: {'; '.join(wrong)}. Leave "
            "them out, or leave start_from out to train a new one."
        )
    return config


@torch.no_grad()
def copy_matching(source: nn.Module, into: nn.Module) -> tuple[int, list[str]]:
    """Copy the parameters and buffers that two models share by name and shape.

    Args:
        source: The model that has them.
        into: The model that gets them.

    Returns:
        How many were copied, and the names of those of `into` that were not.
    """
    there, left, copied = source.state_dict(), [], 0
    for name, tensor in into.state_dict().items():
        if name in there and there[name].shape == tensor.shape and there[name].dtype == tensor.dtype:
            tensor.copy_(there[name])
            copied += 1
        else:
            left.append(name)
    return copied, left


def matched_note(started: Started, copied: int, left: Sequence[str]) -> str:
    """Return the line on a model whose tensors were matched by name and shape.

    Raises:
        ConfigError: Nothing was taken.
    """
    if not copied:
        raise ConfigError(
            f"Nothing of the model that start_from={started.where!r} has fits: no parameter has the name and the shape "
            f"that the new model has ({listing(left, limit=3)}). Leave start_from out."
        )
    rest = f"; new are {counted(len(left), 'tensor')}: {listing(left, limit=4)}" if left else ""
    return f"{started}: {counted(copied, 'tensor')} by name and shape{rest}"
