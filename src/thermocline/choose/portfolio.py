"""The ways to train that are compared with the options of a fit: a list in `presets/portfolio.yaml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from thermocline.backbones.adapters import is_installed
from thermocline.config import presets_folder, read_yaml
from thermocline.contracts.problem import Assembly
from thermocline.pipeline.planning import tower_sections
from thermocline.training.freezable import pretrained_blocks, rated_backbones, rates_given

FILE = "portfolio.yaml"
LR, EPOCHS = "optim.lr", "optim.max_epochs"
PRETRAINED, ADAPTERS = "pretrained", "adapters"


@dataclass(frozen=True)
class Arm:
    """A way to train, whatever the data.

    Attributes:
        name: What it is called.
        source: Where it comes from.
        options: Option → value.
        lr_factor: What the learning rate is multiplied by.
        epochs_factor: What the number of epochs is multiplied by.
        trains_last: How many last blocks of each pretrained backbone train; None: as the options have it.
        needs: `pretrained`, `adapters` or nothing.
    """

    name: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    lr_factor: float = 1.0
    epochs_factor: float = 1.0
    trains_last: int | None = None
    needs: str = ""


@dataclass(frozen=True)
class Entrant:
    """A way to train, for one fit.

    Attributes:
        number: Counted from 1, which is the fit as it was asked for.
        name: What it is called.
        options: Option → value, those that differ from the fit as it was asked for.
        length: How many times as many steps it takes.
    """

    number: int
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    length: float = 1.0


def arms() -> tuple[Arm, ...]:
    """Return the arms of the portfolio, in the order in which they join."""
    listed = read_yaml(presets_folder() / FILE, "the portfolio")["arms"]
    return tuple(_arm(dict(one)) for one in listed)


def entrants(assembly: Assembly) -> Iterator[Entrant]:
    """Yield the arms that apply to a fit, with the options that they change, numbered from 2.

    What the user set stays: an arm that would change it does not apply, nor does one that changes nothing.

    Args:
        assembly: The fit as it was asked for, built.
    """
    config, number = assembly.config, 1
    for arm in arms():
        changed = _options(arm, assembly)
        differing = {key: value for key, value in (changed or {}).items() if config[key] != value}
        if changed is not None and differing and all(config.is_open(key) for key in differing):
            number += 1
            yield Entrant(number, arm.name, differing, arm.epochs_factor)


def _arm(given: dict[str, Any]) -> Arm:
    needs = given.pop("for", "")
    return Arm(**given, needs=needs)


def _leaves_rates(arm: Arm, assembly: Assembly) -> bool:
    """Whether an arm leaves the rates that options give to layers, and has rates to change besides these."""
    if (arm.trains_last is not None or arm.needs == ADAPTERS) and rated_backbones(assembly):
        return False
    changes = arm.lr_factor != 1 or any(key.startswith(LR) for key in arm.options)
    return not changes or bool(assembly.plan.timeline.ever - rates_given(assembly).keys())


def _options(arm: Arm, assembly: Assembly) -> dict[str, Any] | None:
    """Return the options of an arm; None where it does not apply to the model."""
    config = assembly.config
    pretrained = [tower for tower in assembly.layer_map.towers if pretrained_blocks(assembly.layer_map, tower)]
    if (arm.needs and not pretrained) or (arm.needs == ADAPTERS and not is_installed()):
        return None
    if not _leaves_rates(arm, assembly):
        return None
    options = dict(arm.options)
    if arm.lr_factor != 1:
        assert config.optim.lr is not None
        options[LR] = float(f"{config.optim.lr * arm.lr_factor:.3g}")
    if arm.epochs_factor != 1:
        if config.optim.max_steps is not None:
            return None
        assert config.optim.max_epochs is not None
        options[EPOCHS] = round(config.optim.max_epochs * arm.epochs_factor)
    if arm.trains_last is not None:
        if any(value for key, value in config.items() if key.endswith("frozen_layers")):
            return None
        sections = tower_sections(config)
        for tower in pretrained:
            blocks = pretrained_blocks(assembly.layer_map, tower)
            options[f"{sections[tower]}.frozen_layers"] = max(0, blocks - arm.trains_last)
    return options
