"""How values of trials are chosen: first the starting points, then by TPE, from the seed and the trial's number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

START_UP_TRIALS = 8
"""So many trials are drawn at random, starting points counted, before TPE begins."""


class Sampler(BaseSampler):
    """Chooses values by multivariate TPE (Falkner et al. 2018), after given starting points.

    What is drawn for a trial follows from the seed, its number, and the trials that ended before: processes that share
    a study draw different values from one seed, and a search that was stopped goes on as if it had not.

    Args:
        seed: The seed of the search.
        starts: The values of the first trials, by name, as the distributions have them.
    """

    def __init__(self, seed: int, starts: Sequence[Mapping[str, Any]]) -> None:
        self._seed, self._starts = seed, starts
        self._tpe: TPESampler | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Make the sampler of this trial."""
        seed = int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0])
        self._tpe = TPESampler(seed=seed, multivariate=True, n_startup_trials=START_UP_TRIALS)
        self._tpe.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what is drawn together: nothing of a starting point."""
        if trial.number < len(self._starts):
            return {}
        return self._of_trial.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw values together."""
        if trial.number < len(self._starts):
            return {}
        return self._of_trial.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one value by itself, or take that of the starting point."""
        if trial.number < len(self._starts):
            return self._starts[trial.number][param_name]
        return self._of_trial.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Nothing is to be done."""

    @property
    def _of_trial(self) -> TPESampler:
        assert self._tpe is not None
        return self._tpe
