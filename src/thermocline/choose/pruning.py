"""The callback through which a study gives a trial up."""

from __future__ import annotations

from typing import Any

from thermocline.choose.study import OpenTrial, TrialStudy
from thermocline.training.callbacks import Callback, FitState


class Pruned(Exception):
    """The trial is given up."""


class Pruning(Callback):
    """Reports each validation of a trial to its study, and ends the fit where the study gives it up.

    Args:
        study: The study.
        trial: The trial.
    """

    def __init__(self, study: TrialStudy, trial: OpenTrial) -> None:
        self.study, self.trial = study, trial
        self.validations = 0

    def on_validation_end(self, state: FitState) -> None:
        """Report the score.

        Raises:
            Pruned: The trial is given up.
        """
        give_up = self.study.report(self.trial, state.score, self.validations)
        self.validations += 1
        if give_up:
            raise Pruned(f"behind the median of the others at step {state.step}")

    def state_dict(self) -> dict[str, Any]:
        """Return how many validations there were."""
        return {"validations": self.validations}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self.validations = int(state["validations"])
