"""What a comparison of fits has found."""

from __future__ import annotations

from dataclasses import dataclass

from thermocline.choose.folder import SearchFolder
from thermocline.pipeline.fitted import Fitted


@dataclass(frozen=True)
class Found:
    """What a search or a race has found.

    Attributes:
        fitted: The fit that is kept.
        folder: Where all fits lie; None where it had ended before, and what it found is saved already.
        replaces: Whether what is saved at the path is of the same search or race, and is to be replaced.
    """

    fitted: Fitted
    folder: SearchFolder | None
    replaces: bool = False
