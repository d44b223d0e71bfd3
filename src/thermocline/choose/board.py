"""The table of fits that were compared, as a user sees it: a frame with a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thermocline.choose.leaderboard import COMPLETE, KEPT
from thermocline.report.frames import TextFrame, html_frame
from thermocline.report.plots import COLORS, look, pyplot
from thermocline.report.svg import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSS, AFTER = "loss", "loss after "
"""Columns of a race: the mean loss of the validation rows of a whole fit, and after a share of the steps."""


class Board(TextFrame):
    """A DataFrame of the fits that a predictor was chosen from, the best first; see `Predictor.leaderboard`.

    Example:
        >>> from thermocline.choose.board import Board
        >>> board = Board({"name": ["trial 1", "trial 2"], "score": [0.9, 0.8], "why": ["kept", ""]})
        >>> board.loc[board["why"] == "kept", "name"].tolist()
        ['trial 1']
    """

    def plot_race(self) -> Figure:
        """Draw a race: the loss of the validation rows after each share of the steps, and the gains of whole fits.

        Returns:
            A figure. On the left a line for each way to train, where there were short fits; on the right by how much
            the loss of each whole fit is below that of the fit as it was asked for, with a standard error on each side.

        Raises:
            ValueError: The fits were not compared by a race (`presets="auto"`).

        Example:
            >>> from thermocline.choose.board import Board
            >>> fits = {"name": ["as asked", "decay"], "loss": [0.6, 0.5], "gain": [0, 0.1], "gain_error": [0, 0.03]}
            >>> board = Board({**fits, "state": "complete", "why": ["", "kept"]})  # as presets="auto" makes it
            >>> board.plot_race().savefig("race.png")
        """
        if LOSS not in self.columns:
            raise ValueError("There is no race to draw: it is of fits that presets='auto' compares.")
        stages = [name for name in self.columns if str(name).startswith(AFTER)]
        lines = [
            {**line, "color": COLORS[place % len(COLORS)]} for place, line in enumerate(self.to_dict(orient="records"))
        ]
        count = 2 if stages else 1
        height = 1.2 + 0.32 * max(len(lines), 6)
        with look():
            figure: Figure = pyplot().figure(figsize=(5.2 * count, height), layout="constrained")
            axes = figure.subplots(1, count, squeeze=False)[0]
            if stages:
                _draw_losses(axes[0], lines, [*stages, LOSS])
            _draw_gains(axes[-1], [line for line in lines if line["state"] == COMPLETE])
        return figure

    def _repr_html_(self) -> str:
        return html_frame(self)


def _draw_losses(ax: Axes, lines: list[dict[Any, Any]], stages: list[str]) -> None:
    for place, line in enumerate(lines):
        width = 2.5 if line["why"] == KEPT else 1.2
        values = [float(line[stage]) for stage in stages]
        beside = 0.04 * (place - (len(lines) - 1) / 2)  # points of one stage do not hide each other
        ax.plot(
            [number + beside for number in range(len(stages))],
            values,
            marker="o",
            lw=width,
            color=line["color"],
            label=line["name"],
        )
    ax.set_xticks(range(len(stages)), [f"{one.removeprefix(AFTER)} of the steps" for one in stages[:-1]] + ["all"])
    ax.set_ylabel("loss of the validation rows")
    ax.grid(alpha=0.25)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize="small", frameon=False)


def _draw_gains(ax: Axes, lines: list[dict[Any, Any]]) -> None:
    ax.axvline(0, color=GREY, lw=1)
    for place, line in enumerate(lines):
        gain, error = (0.0 if line[name] != line[name] else float(line[name]) for name in ("gain", "gain_error"))
        marker, size = ("*", 14) if line["why"] == KEPT else ("o", 6)
        ax.errorbar(gain, place, xerr=error, marker=marker, markersize=size, capsize=3, color=line["color"])
    names = [f"{line['name']} (kept)" if line["why"] == KEPT else str(line["name"]) for line in lines]
    ax.set_yticks(range(len(lines)), names)
    ax.set_ylim(len(lines) - 0.5, -0.5)
    ax.set_xlabel("loss below that of the fit as asked,\n± 1 standard error")
    ax.locator_params(axis="x", nbins=5)
    ax.grid(axis="x", alpha=0.25)
