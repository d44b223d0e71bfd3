"""What a configuration leaves open about training, chosen from the model and the number of rows."""

from __future__ import annotations

import numpy as np

from thermocline.config import ResolvedConfig
from thermocline.errors import counted
from thermocline.problems.rowwise import peft
from thermocline.problems.rowwise.model import FusionModel
from thermocline.problems.rowwise.target import RowTarget

STEPS, MOST_EPOCHS, LEAST_EPOCHS = 6000, 25, 5
"""What an ensemble over a table trains for: so many steps about, within these numbers of epochs."""


def choose_defaults(config: ResolvedConfig, model: FusionModel, target: RowTarget, rows: int) -> ResolvedConfig:
    """Choose learning rate, epochs and batch sizes that were left open, and say why.

    Args:
        config: What was asked for.
        model: The model that it is for.
        target: What the label asks for.
        rows: Training rows.
    """
    pretrained = any(tower.pretrained for tower in model.towers.values())
    deep = any(tower.backbone_module is not None for tower in model.towers.values())
    ensemble = _alone(model)
    if config.optim.lr is None:
        rate, why = (1e-4, "a tower is pretrained") if pretrained else (1e-3, "no tower is pretrained")
        if pretrained and config.model.peft is not None:
            rate, why = peft.RATES[config.model.peft], "few weights train in a pretrained tower, and must go far"
        if config.optim.optimizer == "sgd":  # its steps are as small as the gradients are
            rate, why = 100 * rate, f"SGD, {why}"
        config = config.choose("optim.lr", rate, why)
    if config.env.batch_size is None:
        per_batch, least, most = (40, 8, 32) if deep else (64, 16, 256) if ensemble else (128, 8, 256)
        size = int(np.clip(2 ** round(np.log2(max(rows, 1) / per_batch)), least, most))
        config = config.choose("env.batch_size", size, counted(rows, "training row"))
    if config.optim.max_epochs is None:
        config = config.choose("optim.max_epochs", *_epochs(config, model, target, rows))
    if config.env.micro_batch_size is None:
        config = config.choose("env.micro_batch_size", config.env.batch_size, "the whole batch at once")
    if config.env.eval_batch_size is None:
        config = config.choose("env.eval_batch_size", 64 if deep else 1024, "no gradients to keep")
    return config


def _epochs(config: ResolvedConfig, model: FusionModel, target: RowTarget, rows: int) -> tuple[int, str]:
    """Return how many passes over the training rows, and why."""
    if any(tower.pretrained for tower in model.towers.values()):
        if target.problem_type == "regression":  # its probe starts further from where tuning ends
            return 4, "a tower is pretrained, and the target is a number"
        return 3, "a tower is pretrained"
    if not _alone(model):
        return 5, "no tower is pretrained"
    assert config.env.batch_size
    steps = -(-rows // config.env.batch_size)
    epochs = int(np.clip(round(STEPS / steps), LEAST_EPOCHS, MOST_EPOCHS))
    return epochs, f"a table alone, which starts at random, and {counted(steps, 'step')} an epoch"


def _alone(model: FusionModel) -> bool:
    """Whether an ensemble over a table is all there is."""
    return [tower.members > 0 for tower in model.towers.values()] == [True]
