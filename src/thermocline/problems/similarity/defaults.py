"""What a configuration leaves open about the training of pairs, chosen from the model and the number of rows."""

from __future__ import annotations

import math

from thermocline.config import ResolvedConfig
from thermocline.config.resolved import DEFAULT
from thermocline.errors import counted
from thermocline.problems.similarity.losses import KNOWN, read_loss
from thermocline.problems.similarity.model import SimilarityModel
from thermocline.problems.similarity.target import PairTarget
from thermocline.training.optimizing import rate_factor

RATES = {"text": 5.0e-5, "image": 3.0e-4, "both": 2.0e-4}
"""Of AdamW, where towers are pretrained; benchmarks/matching.py."""
FRESH = 1.0e-3
EPOCHS = {"pretrained": 4, "fresh": 10}
BATCHES = (16, 32, 64)
"""Least, usual and most rows of a step: in-batch negatives are the more the better."""


def choose_defaults(config: ResolvedConfig, model: SimilarityModel, target: PairTarget, rows: int) -> ResolvedConfig:
    """Choose learning rate, epochs and batch sizes that were left open, and say why.

    Args:
        config: What was asked for.
        model: The model that it is for.
        target: What the label asks for.
        rows: Training rows.
    """
    pretrained = any(tower.pretrained for tower in model.towers.values())
    if config.optim.lr is None:
        config = config.choose("optim.lr", *_rate(config, model, pretrained=pretrained))
    if config.env.batch_size is None:
        config = config.choose("env.batch_size", *_batch_size(target, rows))
    if config.optim.max_epochs is None:
        name = "pretrained" if pretrained else "fresh"
        words = "a pretrained tower" if pretrained else "no pretrained tower"
        config = config.choose("optim.max_epochs", EPOCHS[name], f"{words}; Reimers and Gurevych, EMNLP 2019")
    if config.env.micro_batch_size is None:
        config = config.choose("env.micro_batch_size", config.env.batch_size, "the whole batch at once")
    if config.env.eval_batch_size is None:
        config = config.choose("env.eval_batch_size", 64, "no gradients to keep")
    if config.provenance["optim.warmup"] == DEFAULT and config.optim.warmup != 0.1:
        config = config.choose("optim.warmup", 0.1, "Reimers and Gurevych, EMNLP 2019")
    return config


def _rate(config: ResolvedConfig, model: SimilarityModel, *, pretrained: bool) -> tuple[float, str]:
    factor, times = rate_factor(config.optim.optimizer)
    if not pretrained:
        return factor * FRESH, ", ".join(part for part in ("no pretrained tower", times) if part)
    name = "both" if len(model.towers) > 1 else next(iter(model.towers))
    words = "a text and an image tower" if name == "both" else f"a shared {name} tower"
    rate = RATES.get(name, RATES["both"])
    return factor * rate, ", ".join(part for part in (f"{words}; benchmarks/matching.py", times) if part)


def _batch_size(target: PairTarget, rows: int) -> tuple[int, str]:
    least, usual, most = BATCHES
    compared = KNOWN[read_loss(target.loss).name].whole_batch
    wanted = most if KNOWN[read_loss(target.loss).name].of_matches else usual
    size = min(wanted, max(least, 2 ** round(math.log2(max(rows, 1) / 20))))
    why = "; rows of a batch are compared with each other" if compared else ""
    return size, f"{counted(rows, 'training row')}{why}"
