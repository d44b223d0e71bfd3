"""What a configuration leaves open about training, chosen from the model and the number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from thermocline.config import ResolvedConfig
from thermocline.problems.rowwise import peft as adaptation
from thermocline.problems.rowwise.fusion import FusionModel
from thermocline.problems.rowwise.task import Task


def choose_detector_rates(config: ResolvedConfig, *, pretrained: bool, rows: int) -> ResolvedConfig:
    """Choose for a detector what was left open, and say why.

    Args:
        config: What was asked for.
        pretrained: Whether any of its weights are.
        rows: Training images.
    """
    how = "pretrained" if pretrained else "at random"
    chosen: dict[str, tuple[Any, str]] = {
        "optim.lr": (1e-4 if config.optim.optimizer == "adamw" else 1e-2, "usual for detectors"),
        "optim.max_epochs": (30 if pretrained else 60, f"the detector starts {how}"),
        "env.batch_size": (int(np.clip(2 ** round(np.log2(max(rows, 1) / 40)), 2, 16)), f"{rows} training images"),
    }
    for key, (value, why) in chosen.items():
        config = config.choose(key, value, why) if config[key] is None else config
    if config.env.micro_batch_size is None:
        config = config.choose("env.micro_batch_size", config.env.batch_size, "the whole batch at once")
    if config.env.eval_batch_size is None:
        config = config.choose("env.eval_batch_size", 8, "no gradients to keep")
    if config.optim.head_init == "probe":
        config = config.choose("optim.head_init", "random", "boxes have no linear probe")
    return config


def choose_rates(config: ResolvedConfig, model: FusionModel, task: Task, rows: int) -> ResolvedConfig:
    """Choose learning rate, epochs and batch sizes that were left open, and say why.

    Args:
        config: What was asked for.
        model: The model that it is for.
        task: What the label asks for.
        rows: Training rows.
    """
    pretrained = any(bool(getattr(tower, "pretrained", False)) for tower in model.towers.values())
    deep = any(name != "table" for name in model.towers)
    if config.optim.lr is None:
        rate, why = (1e-4, "a tower is pretrained") if pretrained else (1e-3, "no tower is pretrained")
        if pretrained and config.model.peft is not None:
            rate, why = adaptation.RATES[config.model.peft], "few weights train in a pretrained tower, and must go far"
        if config.optim.optimizer == "sgd":  # its steps are as small as the gradients are
            rate, why = 100 * rate, f"SGD, {why}"
        config = config.choose("optim.lr", rate, why)
    if config.optim.max_epochs is None:
        epochs, why = (3, "a tower is pretrained") if pretrained else (5, "no tower is pretrained")
        if pretrained and task.problem_type == "regression":  # its probe starts further from where tuning ends
            epochs, why = 4, "a tower is pretrained, and the target is a number"
        config = config.choose("optim.max_epochs", epochs, why)
    if config.env.batch_size is None:
        per_batch, most = (40, 32) if deep else (128, 256)
        size = int(np.clip(2 ** round(np.log2(max(rows, 1) / per_batch)), 8, most))
        config = config.choose("env.batch_size", size, f"{rows} training rows")
    if config.env.micro_batch_size is None:
        config = config.choose("env.micro_batch_size", config.env.batch_size, "the whole batch at once")
    if config.env.eval_batch_size is None:
        config = config.choose("env.eval_batch_size", 64 if deep else 1024, "no gradients to keep")
    return config
