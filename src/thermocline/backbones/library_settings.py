"""Corrects settings that libraries ship and that hinder fine-tuning, and silences transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

HIGHEST_DROPOUT = 0.5
USUAL_DROPOUT = 0.1
HIGHEST_MOMENTUM = 0.5
BATCH_NORM_MOMENTUM = 0.1


def correct_settings(model: nn.Module) -> tuple[str, ...]:
    """Correct settings that cannot be meant, in place, and return what was changed.

    transformers' MobileNetV1 and V2 carry over TensorFlow's conventions: `classifier_dropout_prob` is 0.999 and 0.8 (a
    keep probability), BatchNorm's momentum 0.9997 (the share of the *old* value; for torch it is that of the new one).

    Args:
        model: A backbone.

    Returns:
        One line per kind of change.
    """
    notes: dict[str, int] = {}
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.momentum or 0) > HIGHEST_MOMENTUM:
            line = f"BatchNorm momentum {module.momentum} set to {BATCH_NORM_MOMENTUM}"
            module.momentum = BATCH_NORM_MOMENTUM
        elif isinstance(module, nn.modules.dropout._DropoutNd) and module.p > HIGHEST_DROPOUT:
            line = f"dropout {module.p} set to {USUAL_DROPOUT}"
            module.p = USUAL_DROPOUT
        else:
            continue
        notes[line] = notes.get(line, 0) + 1
    return tuple(f"{line} in {count} modules" for line, count in notes.items())


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers' progress bars and load reports, and restore its settings afterwards."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
