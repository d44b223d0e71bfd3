"""A model that was tuned on few rows of each class is trained on with those that validated it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from thermocline.contracts.closing import Closing, Settled
from thermocline.contracts.problem import Assembly
from thermocline.errors import counted

ROWS_A_CLASS = 10
"""Of training and validation together; of more, it is a gain on some sets and a loss on others."""
EPOCHS = 6
COMPARED_ROWS = 128


def trained_on_all(assembly: Assembly, closing: Closing, settled: Settled) -> Settled:
    """Train the state that is kept on all rows, where a pretrained model was tuned on few rows of each class.

    Where a class has four rows, the one that validates is a quarter of what is known of it. A model is more certain of
    rows that it has seen more often, and of others too, of which it knows a little more. The temperature takes half of
    that back: it grows by the root of the ratio that the lead of the first class over the second, in the mean of
    training rows, has to what it was before.

    Args:
        assembly: The model, in the state that is kept.
        closing: What may be computed.
        settled: What was settled before.
    """
    rows = len(closing.rows["train"]) + len(closing.rows["valid"])
    target = assembly.target
    few = target.problem_type == "multiclass" and rows <= ROWS_A_CLASS * target.width
    tuned = not closing.at_start and any(layer.pretrained for layer in assembly.layer_map)
    wanted = few and tuned and assembly.config.optim.refit == "auto" and closing.valid_outputs is not None
    if not wanted:
        return settled
    before = _lead(assembly, closing) if closing.seconds_left() > 0 else 0.0
    if not closing.train_on_all(EPOCHS):
        note = "the validation rows were not learnt: there is no time, or a loss was not finite"
        return replace(settled, notes=(*settled.notes, note))
    target, said = settled.target, ""
    if assembly.config.optim.calibrate == "auto":
        ratio = max(1.0, _lead(assembly, closing) / max(before, 1e-6))
        target = replace(target, temperature=target.temperature * ratio**0.5)
        said = f"; temperature {target.temperature:.3g} from then on"
    note = f"trained on with the validation rows, {counted(rows, 'row')}{said}"
    return replace(settled, target=target, notes=(*settled.notes, note))


def _lead(assembly: Assembly, closing: Closing) -> float:
    """Return by how much the first class leads in the network's outputs, in the mean of some training rows."""
    rows = np.arange(0, len(closing.rows["train"]), -(-len(closing.rows["train"]) // COMPARED_ROWS))
    outputs, reached = closing.collect("train", assembly.model.network, rows)
    ordered = np.sort(outputs[reached], axis=1)
    return float((ordered[:, -1] - ordered[:, -2]).mean()) if reached.any() else 1.0
