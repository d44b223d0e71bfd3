"""A callback that writes down every hook with what it saw, and checks the order of a fit."""

from __future__ import annotations

import re
from typing import Any

from thermocline import Callback, FitState
from thermocline.training.callbacks import HOOKS

ORDER = re.compile(
    r"fit_begin validation_begin validation_end"
    r"( (phase_begin )?(epoch_begin )?step_begin step_end"
    r"( validation_begin validation_end)?( epoch_end)?( phase_end)?)*"
    r" fit_end"
)
"""What `Callback` promises."""


class Diary(Callback):
    """Remembers every hook but the begin of a fit that is resumed.

    Attributes:
        lines: One for each call.
        resumed: How many times the fit began anew.
    """

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.resumed = 0

    def state_dict(self) -> dict[str, Any]:
        """Return all lines."""
        return {"lines": self.lines, "resumed": self.resumed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with them."""
        self.lines, self.resumed = list(state["lines"]), int(state["resumed"])

    def note(self, hook: str, state: FitState) -> None:
        """Write a line, all that a state has but times."""
        if hook == "fit_begin" and state.resumed:
            self.resumed += 1
            return
        names = ("step", "total_steps", "epoch", "epoch_index", "phase", "phase_index", "loss", "train_loss", "lr")
        seen = {name: getattr(state, name) for name in (*names, "rates", "score", "best_step")}
        self.lines.append({"hook": hook, **seen, "frozen": list(state.frozen_layers), "scores": dict(state.scores)})

    def grammar(self) -> str:
        """Return what is wrong with the order of the lines; nothing where they follow it and each begin has an end."""
        hooks = [str(line["hook"]) for line in self.lines]
        if not ORDER.fullmatch(" ".join(hooks)):
            return " ".join(hooks)
        for part in ("epoch", "phase", "step", "validation"):
            own = [hook for hook in hooks if hook.startswith(part)]
            if own != [f"{part}_begin", f"{part}_end"] * (len(own) // 2):
                return " ".join(own)
        return ""


def _noting(name: str) -> Any:
    return lambda self, state: self.note(name.removeprefix("on_"), state)


for _name in HOOKS:
    setattr(Diary, _name, _noting(_name))
