"""Settings that library configurations ship and that keep a fine-tune at chance, put right and told."""

from __future__ import annotations

from torch import nn

HIGHEST_DROPOUT = 0.5
BATCH_NORM_MOMENTUM = 0.1


def mend_traps(model: nn.Module) -> tuple[str, ...]:
    """Put right what cannot be meant, in place, and say what was changed.

    transformers' MobileNetV1 and V2 carry over TensorFlow's conventions: `classifier_dropout_prob` is 0.999 and 0.8 (a
    keep probability), BatchNorm's momentum 0.9997 (the share of the *old* value; for torch it is that of the new one).

    Args:
        model: A backbone.

    Returns:
        One line per kind of change.
    """
    notes: dict[str, int] = {}
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.momentum or 0) > 0.5:
            line = f"BatchNorm momentum {module.momentum} set to {BATCH_NORM_MOMENTUM}"
            module.momentum = BATCH_NORM_MOMENTUM
        elif isinstance(module, nn.modules.dropout._DropoutNd) and module.p > HIGHEST_DROPOUT:
            line = f"dropout {module.p} set to 0.1"
            module.p = 0.1
        else:
            continue
        notes[line] = notes.get(line, 0) + 1
    return tuple(f"{line} in {count} modules" for line, count in notes.items())
