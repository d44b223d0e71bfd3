"""matplotlib, which plots need and nothing else does: it is an extra."""

from __future__ import annotations

from types import ModuleType

from thermocline.errors import MissingDependencyError


def pyplot() -> ModuleType:
    """Return `matplotlib.pyplot`.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot as plt
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise MissingDependencyError(
            "Plots need the package matplotlib. Install it: pip install 'thermocline[plots]'"
        ) from None
    return plt
