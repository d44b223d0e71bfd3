"""A probe that is kept is fitted again: for the log-loss, and to the validation rows as well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thermocline.contracts.closing import Closing
from thermocline.contracts.problem import Assembly
from thermocline.errors import counted
from thermocline.problems.rowwise.probe import Probe, fold, start_of, tells_apart


@dataclass(frozen=True)
class Refitted:
    """A probe that was fitted again.

    Attributes:
        valid_outputs: What one that is fitted to the training rows alone gives for the validation rows, float32
            `(rows, outputs)`: by these the probe is judged.
        note: What was done.
    """

    valid_outputs: np.ndarray
    note: str


def refit_probe(assembly: Assembly, closing: Closing) -> Refitted | None:
    """Fit a kept probe again, and write it into the head; None where that is off, it is no probe, or no time is left.

    Nothing is tuned from it any more, so that its regularisation follows the loss of held-out rows alone.

    Args:
        assembly: The model at its start.
        closing: What may be computed.
    """
    train, valid = closing.rows["train"], closing.rows["valid"]
    start = start_of(assembly, train, seed=closing.seed)
    wanted = closing.at_start and assembly.config.optim.refit == "auto"
    if start is None or not wanted or closing.seconds_left() <= 0 or not len(valid):
        return None
    (features, reached), (more, found) = (closing.collect(split, start.features) for split in ("train", "valid"))
    rows = start.rows
    if not (reached[rows].all() and found.all()) or closing.seconds_left() <= 0:
        return None
    assert train.target is not None
    assert valid.target is not None
    encoded, others = train.target[rows], valid.target
    weights = [None if one.weight is None else one.weight for one in (train, valid)]
    own = None if weights[0] is None else weights[0][rows]
    if not tells_apart(encoded):
        return None
    alone = start.fit(features[rows], encoded, own, closing.seconds_left, to_tune=False)
    outputs = _outputs(alone, more)
    both = None if own is None or weights[1] is None else np.concatenate([own, weights[1]])
    every = np.concatenate([features[rows], more]), np.concatenate([encoded, others])
    whole = start.fit(*every, both, closing.seconds_left, to_tune=False)
    fold(whole, start.model)
    on = counted(len(every[0]), "row")
    return Refitted(outputs, f"probe fitted again, on training and validation data, {on}: {whole.note}")


def _outputs(probe: Probe, features: np.ndarray) -> np.ndarray:
    return np.asarray(features @ probe.weight.T + probe.bias, dtype=np.float32)
