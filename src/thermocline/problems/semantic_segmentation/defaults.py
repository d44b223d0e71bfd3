"""Training options that were left open, chosen from the segmenter's weights and the number of images."""

from __future__ import annotations

from typing import Any

import numpy as np

from thermocline.config import ResolvedConfig
from thermocline.errors import counted
from thermocline.training.optimizing import rate_factor

STEPS = 600
"""Steps of a training of pretrained weights, between 12 and 60 epochs; twice as many from random ones."""
LEAST_EPOCHS, MOST_EPOCHS = 12, 60


def choose_defaults(config: ResolvedConfig, *, pretrained: bool, rows: int) -> ResolvedConfig:
    """Choose what was left open, with a reason for each.

    Args:
        config: The configuration.
        pretrained: Whether any weights of the segmenter are pretrained.
        rows: Training images.
    """
    factor, times = rate_factor(config.optim.optimizer)
    how = "pretrained" if pretrained else "at random"
    if config.env.batch_size is None:
        batch = int(np.clip(2 ** round(np.log2(max(rows, 1) / 25)), 2, 16))
        config = config.choose("env.batch_size", batch, counted(rows, "training image"))
    size = config.env.batch_size
    assert size
    epochs = int(np.clip(round((STEPS if pretrained else 2 * STEPS) * size / max(rows, 1)), LEAST_EPOCHS, MOST_EPOCHS))
    chosen: dict[str, tuple[Any, str]] = {
        "optim.lr": (1e-4 * factor, ", ".join(part for part in ("usual for segmenters", times) if part)),
        "optim.max_epochs": (epochs, f"the segmenter starts {how}, {counted(rows, 'training image')}"),
    }
    for key, (value, why) in chosen.items():
        config = config.choose(key, value, why) if config[key] is None else config
    if config.env.micro_batch_size is None:
        config = config.choose("env.micro_batch_size", config.env.batch_size, "the whole batch at once")
    if config.env.eval_batch_size is None:
        config = config.choose("env.eval_batch_size", 8, "no gradients to keep")
    if config.optim.head_init == "probe":
        config = config.choose("optim.head_init", "random", "pixels have no linear probe (probe was asked for)")
    return config
