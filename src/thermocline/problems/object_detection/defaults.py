"""Training options that were left open, chosen from the detector's weights and the number of images."""

from __future__ import annotations

from typing import Any

import numpy as np

from thermocline.config import ResolvedConfig
from thermocline.errors import counted
from thermocline.training.optimizing import rate_factor


def choose_defaults(config: ResolvedConfig, *, pretrained: bool, rows: int) -> ResolvedConfig:
    """Choose what was left open, with a reason for each.

    Args:
        config: The configuration.
        pretrained: Whether any weights of the detector are pretrained.
        rows: Training images.
    """
    factor, times = rate_factor(config.optim.optimizer)
    how = "pretrained" if pretrained else "at random"
    chosen: dict[str, tuple[Any, str]] = {
        "optim.lr": (1e-4 * factor, ", ".join(part for part in ("usual for detectors", times) if part)),
        "optim.max_epochs": (30 if pretrained else 60, f"the detector starts {how}"),
        "env.batch_size": (
            int(np.clip(2 ** round(np.log2(max(rows, 1) / 40)), 2, 16)),
            counted(rows, "training image"),
        ),
    }
    for key, (value, why) in chosen.items():
        config = config.choose(key, value, why) if config[key] is None else config
    if config.env.micro_batch_size is None:
        config = config.choose("env.micro_batch_size", config.env.batch_size, "the whole batch at once")
    if config.env.eval_batch_size is None:
        config = config.choose("env.eval_batch_size", 8, "no gradients to keep")
    if config.optim.head_init == "probe":
        config = config.choose("optim.head_init", "random", "boxes have no linear probe (probe was asked for)")
    return config
