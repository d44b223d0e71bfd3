"""The options of an earlier fit that one which starts from it has by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .resolved import CHOSEN, DEFAULT, STARTED, ResolvedConfig

OF_THE_FIT = frozenset({"data.image_folder", "optim.arms"})
"""Options that are about one set of rows or one comparison of fits; they are not inherited."""
OF_THE_MACHINE = "env."
TRAINS = frozenset({"env.batch_size", "env.micro_batch_size", "env.micro_batch_tokens", "env.precision"})
"""Options of this section that are inherited all the same: they change what is learnt."""

EXCLUSIVE = ("optim.phases", "optim.schedule_plan")
"""One of them replaces the other."""


def inherited(earlier: ResolvedConfig, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values that a user or a preset set in an earlier fit, and their origins, by dotted name.

    What that fit chose by itself is chosen anew.

    Args:
        earlier: The configuration of that fit.
        given: What is set now.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    left = EXCLUSIVE if any(given.get(name) is not None for name in EXCLUSIVE) else ()
    for name, value in earlier.items():
        origin = earlier.provenance[name]
        if origin == DEFAULT or origin.startswith(CHOSEN) or name in OF_THE_FIT or name in left:
            continue
        if name.startswith(OF_THE_MACHINE) and name not in TRAINS:
            continue
        values[name] = value
        origins[name] = origin if origin.startswith(STARTED) else f"{STARTED}{origin}"
    return values, origins
