"""How long a run is: steps per epoch and in all, decided in one place."""

from __future__ import annotations

from dataclasses import dataclass

from thermocline.config import ResolvedConfig
from thermocline.config.schema import MOST_STEPS
from thermocline.data.order import epoch_order
from thermocline.errors import ConfigError, counted


@dataclass(frozen=True)
class RunLength:
    """The length of a run.

    Attributes:
        steps_per_epoch: Optimizer steps in an epoch.
        total_steps: Optimizer steps that the run takes at most.
    """

    steps_per_epoch: int
    total_steps: int

    @classmethod
    def of(cls, config: ResolvedConfig, rows: int) -> RunLength:
        """Return the length of a run over training rows.

        Args:
            config: The configuration, epochs and batch size settled.
            rows: Training rows.

        Raises:
            ConfigError: It takes too many steps.
        """
        optim, batch = config.optim, config.env.batch_size
        assert optim.max_epochs
        assert batch
        per_epoch = len(epoch_order(rows, batch, seed=0, epoch=0, lengths=None))  # whatever seed and lengths are
        total = per_epoch * optim.max_epochs
        total = total if optim.max_steps is None else min(total, optim.max_steps)
        if total > MOST_STEPS:
            raise ConfigError(
                f"{counted(rows, 'row')} in batches of {batch:,} for optim.max_epochs={optim.max_epochs:,} are "
                f"{total:,} steps; a run takes at most {MOST_STEPS:,}. Lower optim.max_epochs, or set optim.max_steps."
            )
        return cls(per_epoch, total)

    def validates(self, step: int, last: int, interval: float) -> bool:
        """Say whether the run validates after a step.

        Args:
            step: The step, from 1.
            last: The last one of the run.
            interval: Epochs between two.
        """
        return step == last or step % self._every(interval) == 0

    def validations(self, step: int, last: int, interval: float) -> int:
        """Return how often the run validates after a step, up to the last one; see `validates`."""
        every = self._every(interval)
        return max(0, last // every - step // every) + (last > step and last % every != 0)

    def _every(self, interval: float) -> int:
        return max(1, round(interval * self.steps_per_epoch))
