"""Options that say more of another one: where that is set later by itself, they do not hold any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RATES = "optim.lr", "optim.layer_lr"
"""One rate replaces rates by selector, whatever it is."""
ARGUMENTS = {"optim.optimizer": "optim.optimizer_args", "optim.lr_schedule": "optim.lr_schedule_args"}
"""Another optimizer or schedule takes other arguments."""


def ended_by(later: Mapping[str, Any], before: Mapping[str, Any]) -> set[str]:
    """Return the options that were set before and end with what is set later.

    Args:
        later: Values by dotted name.
        before: Those that they are laid over.
    """
    rate, by_selector = RATES
    ended = {by_selector} if rate in later else set()
    ended |= {
        arguments
        for name, arguments in ARGUMENTS.items()
        if name in later and name in before and later[name] != before[name]
    }
    return (ended & before.keys()) - later.keys()


def laid_over(before: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of two sources, of which the later one counts."""
    ended = ended_by(later, before)
    return {name: value for name, value in before.items() if name not in ended} | dict(later)
