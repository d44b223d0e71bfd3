"""The table of fits that were compared, as a user sees it: a frame with a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from thermocline.choose.leaderboard import COMPLETE, KEPT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSS, AFTER = "loss", "loss after "
"""Columns of a race: the mean loss of the validation rows of a whole fit, and after a share of the steps."""


class Board(pd.DataFrame):
    """A DataFrame of the fits that a predictor was chosen from, the best first; see `Predictor.leaderboard`."""

    @property
    def _constructor(self) -> Any:
        return Board

    def plot_race(self) -> Figure:
        """Draw a race: the loss of the validation rows after each share of the steps, and the gains of whole fits.

        Returns:
            A figure. On the left a line for each way to train, where there were short fits; on the right by how much
            the loss of each whole fit is below that of the fit as it was asked for, with a standard error on each side.

        Raises:
            ValueError: The fits were not compared by a race (`presets="auto"`).

        Example:
            `predictor.leaderboard().plot_race()`
        """
        from thermocline.report import plotting

        plt = plotting.pyplot()

        if LOSS not in self.columns:
            raise ValueError("There is no race to draw: it is of fits that presets='auto' compares.")
        stages = [name for name in self.columns if str(name).startswith(AFTER)]
        lines = [{**line, "color": f"C{place}"} for place, line in enumerate(self.to_dict(orient="records"))]
        count = 2 if stages else 1
        height = 1.2 + 0.32 * max(len(lines), 6)
        figure: Figure
        figure, axes = plt.subplots(1, count, figsize=(5.2 * count, height), layout="constrained", squeeze=False)
        if stages:
            _draw_losses(axes[0, 0], lines, [*stages, LOSS])
        _draw_gains(axes[0, -1], [line for line in lines if line["state"] == COMPLETE])
        return figure


def _draw_losses(ax: Axes, lines: list[dict[Any, Any]], stages: list[str]) -> None:
    for line in lines:
        width = 2.5 if line["why"] == KEPT else 1.2
        values = [float(line[stage]) for stage in stages]
        ax.plot(range(len(stages)), values, marker="o", lw=width, color=line["color"], label=line["name"])
    ax.set_xticks(range(len(stages)), [f"{one.removeprefix(AFTER)} of the steps" for one in stages[:-1]] + ["all"])
    ax.set_ylabel("loss of the validation rows")
    ax.grid(alpha=0.25)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize="small", frameon=False)


def _draw_gains(ax: Axes, lines: list[dict[Any, Any]]) -> None:
    ax.axvline(0, color="#888888", lw=1)
    for place, line in enumerate(lines):
        gain, error = (0.0 if line[name] != line[name] else float(line[name]) for name in ("gain", "gain_error"))
        marker, size = ("*", 14) if line["why"] == KEPT else ("o", 6)
        ax.errorbar(gain, place, xerr=error, marker=marker, markersize=size, capsize=3, color=line["color"])
    names = [f"{line['name']} (kept)" if line["why"] == KEPT else str(line["name"]) for line in lines]
    ax.set_yticks(range(len(lines)), names)
    ax.set_ylim(len(lines) - 0.5, -0.5)
    ax.set_xlabel("loss below that of the fit as asked, ± a standard error")
    ax.grid(axis="x", alpha=0.25)
