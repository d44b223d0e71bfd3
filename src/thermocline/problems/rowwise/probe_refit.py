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
    start, started = start_of(assembly, train, seed=closing.seed), assembly.built.started
    if started is not None and started.has_head:  # which is no probe
        return None
    wanted = closing.at_start and assembly.config.optim.refit == "auto"
    if start is None or not wanted or closing.seconds_left() <= 0:
        return None
    rows, every = {"train": start.rows, "valid": np.arange(len(valid))}, (train, valid)
    if not len(valid) or len(start.rows) + len(valid) > start.most:
        return None  # so many rows gain nothing by a few more
    found = [closing.collect(split, start.features, of_split) for split, of_split in rows.items()]
    if not all(reached.all() for _, reached in found) or closing.seconds_left() <= 0:
        return None
    features = [one for one, _ in found]
    encoded = [one.target[of] for one, of in zip(every, rows.values(), strict=True) if one.target is not None]
    weights = [one.weights[of] for one, of in zip(every, rows.values(), strict=True)]
    if not tells_apart(encoded[0]):
        return None
    alone = start.fit(features[0].copy(), encoded[0], weights[0], closing.seconds_left, to_tune=False)
    outputs = _outputs(alone, features[1])
    weight = np.concatenate(weights)
    counts = weight > 0
    both = np.concatenate(features)[counts], np.concatenate(encoded)[counts], weight[counts]
    whole = start.fit(*both, closing.seconds_left, to_tune=False)
    fold(whole, start.model)
    on = counted(len(both[0]), "row")
    return Refitted(outputs, f"probe fitted again, on training and validation data, {on}: {whole.note}")


def _outputs(probe: Probe, features: np.ndarray) -> np.ndarray:
    return np.asarray(features @ probe.weight.T + probe.bias, dtype=np.float32)
