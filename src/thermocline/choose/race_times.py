"""What the fits of a race take, by what the fit as it was asked for took, and which short fits there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from thermocline.choose.portfolio import Entrant
from thermocline.pipeline.fitted import Fitted

SHARES = ("1/9", "1/3")
GO_ON = 3  # one of so many is trained longer
LEAST_STEPS = 50
"""A short fit takes: at 18 steps on 500 images and on 1,000 short texts the probe was ahead of every arm."""
MARGIN = 1.1  # of the time that a further fit may take more than the same did before
SHORTEST = 0.6  # of its seconds are enough for a whole fit, whose schedule is made for the time


@dataclass(frozen=True)
class Times:
    """What a fit takes.

    Attributes:
        fixed: Seconds that do not grow with its steps: reading, building, the probe, the end.
        stepping: Seconds of all steps of its schedule, with the validations between them.
    """

    fixed: float = 0.0
    stepping: float = 0.0

    @classmethod
    def of(cls, fitted: Fitted, seconds: float) -> Times:
        """Return what a fit took, in all its processes; of one that stopped early, what all steps would have taken.

        Args:
            fitted: The fit.
            seconds: What it took in this process.
        """
        history = fitted.history.to_frame()
        seconds = max(seconds, float(history["seconds"].max()))
        trained = history[history["train_loss"].notna()]
        if trained.empty:
            return cls(seconds, 0.0)
        before = history.loc[history["step"] == 0, "seconds"]
        taken = float(trained["seconds"].iloc[-1]) - (float(before.max()) if len(before) else 0.0)
        stepping = taken / max(1, int(trained["step"].iloc[-1])) * fitted.steps
        return cls(max(0.0, seconds - taken), stepping)

    def whole(self, entrant: Entrant) -> float:
        """Return the seconds of a whole fit of another."""
        return self.fixed + entrant.length * self.stepping

    def short(self, share: str) -> float:
        """Return the seconds of a short fit, as if none came before it."""
        return self.fixed + float(Fraction(share)) * self.stepping

    def needed(self, taking_part: Sequence[Entrant], steps: int) -> float:
        """Return the seconds that others need at least.

        Args:
            taking_part: The others.
            steps: Of the fit as it was asked for.
        """
        wholes = [self.whole(one) for one in taking_part]
        shares = shares_of(steps)
        if len(wholes) <= 1:
            return SHORTEST * sum(wholes)
        if not shares:
            return sum(wholes)
        total, before, count = SHORTEST * max(wholes), 0.0, len(wholes)
        for share in (float(Fraction(one)) for one in shares):
            if count <= 1:
                break
            total += count * (self.fixed + (share - before) * self.stepping)
            count, before = -(-count // GO_ON), share
        return total


def shares_of(steps: int) -> list[str]:
    """Return the shares of so many steps that short fits take."""
    return [share for share in SHARES if steps * Fraction(share) >= LEAST_STEPS]
