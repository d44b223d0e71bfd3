"""The end of a fit of rows: what validation decides about the state that is kept."""

from __future__ import annotations

from dataclasses import replace

from thermocline.contracts.closing import Closing, Settled
from thermocline.contracts.problem import Assembly
from thermocline.problems.rowwise.target import MIDDLE, RowTarget


def settle(assembly: Assembly, closing: Closing) -> Settled:
    """Return the target with the threshold that the kept state was scored with.

    Args:
        assembly: The model, in the state that is kept.
        closing: What may be computed with it.
    """
    target: RowTarget = assembly.target
    if target.problem_type == "binary":
        given = assembly.config.optim.threshold
        usual = MIDDLE if given == "auto" else given
        target = replace(target, threshold=closing.scores.get("threshold", usual))
    return Settled(target, closing.scores)
