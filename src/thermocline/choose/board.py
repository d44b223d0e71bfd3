"""The table of fits that were compared, as a user sees it: a frame with a plot."""

from __future__ import annotations

from typing import Any

import pandas as pd

LOSS, AFTER = "loss", "loss after "
"""Columns of a race: the mean loss of the validation rows of a whole fit, and after a share of the steps."""


class Board(pd.DataFrame):
    """A DataFrame of the fits that a predictor was chosen from, the best first; see `Predictor.leaderboard`."""

    @property
    def _constructor(self) -> Any:
        return Board

    def plot_race(self, ax: Any = None) -> Any:
        """Draw the loss of the validation rows of each way to train, after each share of the steps.

        Args:
            ax: A matplotlib axis, or `None` for a new figure.

        Returns:
            The axis.

        Raises:
            ValueError: The fits were not compared by a race (`presets="auto"`).

        Example:
            `predictor.leaderboard().plot_race()`
        """
        import matplotlib.pyplot as plt

        if LOSS not in self.columns:
            raise ValueError("There is no race to draw: it is of fits that presets='auto' compares.")
        if ax is None:
            _, ax = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
        stages = [name for name in self.columns if str(name).startswith(AFTER)] + [LOSS]
        for place, line in enumerate(self.to_dict(orient="records")):
            is_kept = line["why"] == "kept"
            values = [float(line[stage]) for stage in stages]
            style: dict[str, Any] = {"color": f"C{place}", "zorder": 3 if is_kept else 2}
            ax.plot(range(len(stages)), values, marker="o", lw=2.5 if is_kept else 1.2, label=_label(line), **style)
            if is_kept:
                ax.plot(len(stages) - 1, values[-1], marker="*", markersize=16, **style)
        ax.set_xticks(range(len(stages)), [f"{one.removeprefix(AFTER)} of the steps" for one in stages[:-1]] + ["all"])
        ax.set_ylabel("loss of the validation rows")
        ax.set_xlim(-0.2, len(stages) - 0.8)
        ax.grid(alpha=0.25)
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", frameon=False)
        return ax


def _label(line: dict[Any, Any]) -> str:
    return f"{line['name']} (kept)" if line["why"] == "kept" else str(line["name"])
