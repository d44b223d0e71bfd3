"""What an earlier process left of a comparison of fits, where it is to be resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from thermocline.choose.facts import differences
from thermocline.choose.leaderboard import Leaderboard
from thermocline.config import Drawn
from thermocline.contracts.request import Request
from thermocline.errors import ResumeError
from thermocline.pipeline import artifact, resume
from thermocline.pipeline.fitted import Fitted
from thermocline.pipeline.listed_files import MANIFEST


def saved_earlier(request: Request, facts: Mapping[str, Any], *, overwrite: bool) -> Fitted | None:
    """Return what the search or race to be resumed has saved, ended or stopped by Ctrl-C; None where there is nothing.

    Args:
        request: The fit that is asked for.
        facts: What makes its comparison this one.
        overwrite: Whether what is saved of another may be replaced.

    Raises:
        ResumeError: What is saved is of another search or race, or of none, and is not to be replaced.
    """
    path = request.path
    if path is None or not request.resume or not (path / MANIFEST).is_file():
        return None
    plain = replace(request, drawn=Drawn("no trial"))
    fitted = artifact.load(path, artifact.Trust.of(request, remote_code=resume.trusts_remote_code(plain)))
    different = _differing(fitted, facts, path)
    if not different:
        return fitted
    if overwrite:
        return None
    raise ResumeError(
        f"The predictor that is saved at {str(path)!r} is of another fit, and resume=True only continues the same one. "
        "What changed:\n  " + "\n  ".join(different) + "\nUndo this, or choose another path."
    )


def _differing(fitted: Fitted, facts: Mapping[str, Any], path: Path) -> list[str]:
    if fitted.leaderboard is None:
        return [f"{str(path)!r} holds a fit that was chosen from no others"]
    return differences(Leaderboard.from_dict(fitted.leaderboard).facts, facts)
