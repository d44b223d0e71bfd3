"""How many steps a run takes under a time limit, so that its schedule ends within it.

A run that is only cut off ends in the middle of its schedule, or even of its warm-up. So the steps are timed, and the
run is shortened to what fits: validations and what follows the last step are reserved for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from thermocline.efficiency.costs.forecast import Facts, forecast
from thermocline.efficiency.savings import Savings
from thermocline.training.optimizing import optimizer_cost
from thermocline.training.run import Run
from thermocline.training.run_length import RunLength
from thermocline.training.time_limit import TimeLimit
from thermocline.tuning.schedule.cursor import Cursor
from thermocline.tuning.schedule.timeline import Timeline

FIRST = 3  # steps that are timed before the run is shortened; the one before them is not, which sets much up
GROWTH = 1.3  # the steps are counted anew when so many times as many were timed,
EVERY = 0.05  # or this share of the limit has passed
WINDOW = 20  # steps about, over which their time is averaged
LEAST_CHANGE = 0.02  # of the steps: a smaller change is not worth a bend in the schedule
SLACK = 0.02  # of the limit


@dataclass(frozen=True)
class Reserve:
    """What a run needs besides its steps.

    Attributes:
        validation: Seconds of one.
        interval: Epochs between two.
        end: Seconds of the choice of the state that is kept.
        end_share: The share of the limit that is kept for what the problem does then.
    """

    validation: float
    interval: float
    end: float
    end_share: float


class Pacing:
    """Times steps, and says how many fit into a limit.

    Args:
        limit: The limit.
        length: What was planned.
        timeline: Of the plan.
        costs: By phase, what a step takes relative to those of other phases.

    Attributes:
        only_shorter: Whether the number of steps is not raised again, as in a run that is resumed under the same limit.
    """

    def __init__(self, limit: TimeLimit, length: RunLength, timeline: Timeline, costs: Sequence[float]) -> None:
        self._limit, self._length, self._timeline, self._costs = limit, length, timeline, tuple(costs)
        self._timed = -1  # the first step is not
        self._due = FIRST
        self._seconds = self._work = self._last = 0.0
        self.only_shorter = False

    @classmethod
    def of(cls, run: Run, length: RunLength, savings: Savings) -> Pacing:
        """Return the pacing of a run; what phases cost is counted only where it matters.

        Costs are those without a cache: a step on cached outputs takes far less, so later phases are first taken for
        shorter than they are, and the run is shortened once they are timed, not before.
        """
        phases, optim, limit = run.plan.phases, run.optim, run.time_limit
        costs = [1.0] * len(phases)
        if len(phases) > 1 and limit.seconds is not None:
            expected = forecast(savings, Facts(optimizer_cost(run.assembly), probe="", averaged=optim.ema is not None))
            costs = [phase.cost_uncached or 1.0 for phase in expected.estimate.phases]
        return cls(limit, length, run.plan.timeline, costs)

    def took(self, phase: int, seconds: float) -> None:
        """Note what a step of a phase took."""
        self._timed += 1
        if self._timed:
            before = 1 - 1 / WINDOW
            self._seconds, self._work = before * self._seconds + seconds, before * self._work + self._costs[phase]

    def paced(self, cursor: Cursor, reserve: Callable[[], Reserve]) -> Cursor:
        """Return the cursor in a run of as many steps as fit, or as it is.

        Args:
            cursor: After a step that was noted.
            reserve: Returns what is needed besides steps.
        """
        limit, now = self._limit, self._limit.elapsed
        if limit.seconds is None or self._timed < FIRST:
            return cursor
        if self._timed < self._due and now - self._last < EVERY * limit.seconds:
            return cursor
        self._due, self._last = max(self._timed + 1, round(GROWTH * self._timed)), now
        total = self._fitting(cursor, reserve())
        change = total - cursor.total_steps
        full = self._length.total_steps
        if not change or (self.only_shorter and change > 0):
            return cursor
        if abs(change) < LEAST_CHANGE * cursor.total_steps and total != full:
            return cursor
        return self._timeline.shortened(cursor, total, total / full)

    @property
    def step_seconds(self) -> float:
        """What a step took, on average over the last ones."""
        return self._seconds / max(self._work, 1e-12) * self._costs[0]

    def _fitting(self, cursor: Cursor, reserve: Reserve) -> int:
        """Return the most steps of the whole run for which there is time, at least those done."""
        limit = self._limit
        assert limit.seconds is not None
        left = limit.left - reserve.end - (reserve.end_share + SLACK) * limit.seconds
        unit = self._seconds / self._work
        least, most = cursor.step, self._length.total_steps
        while least < most:
            middle = (least + most + 1) // 2
            validations = self._length.validations(cursor.step - 1, middle, reserve.interval)  # one may be due now
            needed = unit * self._work_until(cursor, middle) + validations * reserve.validation
            least, most = (middle, most) if needed <= left else (least, middle - 1)
        return least

    def _work_until(self, cursor: Cursor, total: int) -> float:
        """Return the costs of the steps that are left in a run of this many steps, if no plateau ends a phase."""
        now = self._timeline.shortened(cursor, total, total / self._length.total_steps)
        work = 0.0
        while now.step < total:
            is_last = now.phase == len(self._costs) - 1
            end = total if is_last else min(max(self._timeline.phase_end(now), now.step + 1), total)
            work += self._costs[now.phase] * (end - now.step)
            now = self._timeline.next(replace(now, step=end - 1))
        return work
