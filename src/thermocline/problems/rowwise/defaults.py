"""What a configuration leaves open about training, chosen from the model and the number of rows.

The values are those of `presets/rules.yaml`: this file says which family a model is of, and what follows from the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from torch import nn

from thermocline.config import Case, ResolvedConfig, Rule, Steps, load_rules
from thermocline.config.resolved import DEFAULT
from thermocline.contracts.tower import Tower
from thermocline.errors import counted
from thermocline.problems.rowwise.model import FusionModel
from thermocline.problems.rowwise.target import RowTarget
from thermocline.training.optimizing import rate_factor

PRETRAINED, FRESH, PLAIN, TABLE = "pretrained tower", "no pretrained tower", "no backbone", "table"
"""Families: some tower is pretrained; none is; none has a backbone; an ensemble over a table is all there is."""

BY_PRESETS = ("optim.lr_choice", "optim.lr_decay", "optim.warmup")
"""Options that rules choose only where presets and the user leave them at their defaults."""


def choose_defaults(config: ResolvedConfig, model: FusionModel, target: RowTarget, rows: int) -> ResolvedConfig:
    """Choose learning rate, epochs and batch sizes that were left open, and say why.

    Args:
        config: What was asked for.
        model: The model that it is for.
        target: What the label asks for.
        rows: Training rows.
    """
    case = _case(config, model, target, rows)
    deep = any(tower.backbone_module is not None for tower in model.towers.values())
    if config.optim.lr is None:
        config = config.choose("optim.lr", *_rate(config, case))
    if config.env.batch_size is None:
        sized = case if deep else replace(case, family=_without_backbone(model.towers))
        config = config.choose("env.batch_size", *_batch_size(sized))
    if config.optim.max_epochs is None:
        config = config.choose("optim.max_epochs", *_epochs(config, case))
    if config.env.micro_batch_size is None:
        config = config.choose("env.micro_batch_size", config.env.batch_size, "the whole batch at once")
    if config.env.eval_batch_size is None:
        config = config.choose("env.eval_batch_size", 64 if deep else 1024, "no gradients to keep")
    for option in (one for one in BY_PRESETS if config.provenance[one] == DEFAULT):
        rule = load_rules().find(option, case)
        if rule is not None and rule.value != config[option]:
            config = config.choose(option, rule.value, rule.why)
    return config


def family_of(towers: Mapping[str, Tower]) -> str:
    """Return the family of a model by its towers; one of other pretrained towers is named after these.

    Args:
        towers: Name of the input kind → tower.
    """
    loaded = [name for name, tower in towers.items() if tower.pretrained]
    if loaded == ["text"]:
        return "text encoder"
    if loaded == ["image"]:
        return "image ViT" if _has_attention(towers["image"].backbone_module) else "image CNN"
    if loaded:
        return " and ".join(loaded)
    if any(tower.backbone_module is not None for tower in towers.values()):
        return FRESH
    return _without_backbone(towers)


def _case(config: ResolvedConfig, model: FusionModel, target: RowTarget, rows: int) -> Case:
    general = PRETRAINED if any(tower.pretrained for tower in model.towers.values()) else FRESH
    start = config.model.peft or config.optim.head_init
    return Case(family_of(model.towers), general, rows, start, target.problem_type)


def _rate(config: ResolvedConfig, case: Case) -> tuple[float, str]:
    """Return the base rate, and why."""
    rule, (factor, times) = _needed("optim.lr", case), rate_factor(config.optim.optimizer)
    return factor * rule.value, ", ".join(part for part in (rule.why, times) if part)


def _batch_size(case: Case) -> tuple[int, str]:
    """Return the rows of a step, and why."""
    rule = _needed("env.batch_size", case)
    size = rule.value
    if isinstance(size, Steps):
        size = int(np.clip(2 ** round(np.log2(max(case.rows, 1) / size.steps)), size.least, size.most))
    return size, f"{counted(case.rows, 'training row')}, {rule.why}"


def _epochs(config: ResolvedConfig, case: Case) -> tuple[int, str]:
    """Return how many passes over the training rows, and why."""
    rule = _needed("optim.max_epochs", case)
    if not isinstance(rule.value, Steps):
        return rule.value, rule.why
    assert config.env.batch_size
    steps = -(-case.rows // config.env.batch_size)
    epochs = int(np.clip(round(rule.value.steps / steps), rule.value.least, rule.value.most))
    return epochs, f"{counted(steps, 'step')} an epoch, {rule.why}"


def _needed(option: str, case: Case) -> Rule:
    """Return the rule for an option that every family has a value for."""
    rule = load_rules().find(option, case)
    assert rule is not None
    return rule


def _has_attention(backbone: nn.Module | None) -> bool:
    """Whether layers of a backbone attend; that its features are pooled by attention does not count."""
    names = [type(module).__name__.lower() for module in backbone.modules()] if backbone is not None else []
    return any("attention" in name and "pool" not in name for name in names)


def _without_backbone(towers: Mapping[str, Tower]) -> str:
    """Return the family of a model whose towers have no backbone."""
    return TABLE if [tower.members > 0 for tower in towers.values()] == [True] else PLAIN
