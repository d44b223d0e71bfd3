"""What happened: one row per validation, and the events of a run."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from thermocline.report.frames import TextFrame, html_frame
from thermocline.report.plots import ORANGE, drawn, score_limits
from thermocline.report.svg import BLUE
from thermocline.training.rates import plot_rates

KEPT = "kept: "
"""How the note on the state that is kept begins."""

_STEPS = re.compile(rf"{KEPT}(?:average of steps \[([\d, ]+)\]|step (\d+))")


def kept_steps(note: str) -> list[int]:
    """Return the steps of the states that the note on what is kept names: one, or those of an average.

    Example:
        >>> kept_steps("kept: average of steps [20, 30]"), kept_steps("kept: step 0, the probe"), kept_steps("an epoch")
        ([20, 30], [0], [])
    """
    found = _STEPS.match(note)
    return [int(one) for one in (found[1] or found[2]).split(",")] if found else []


def note_of(steps: list[int]) -> str:
    """Return steps as `step 20`, or as `average of steps 20, 30`."""
    return f"step {steps[0]}" if len(steps) == 1 else f"average of steps {', '.join(map(str, steps))}"


class History(TextFrame):
    """A DataFrame of a run's validations: epoch, step, train_loss, lr, a column per metric, seconds, note.

    Step 0 is the probe (or the untrained head). `note` names events: the probe kept, rows dropped, an early stop.

    Attributes:
        lrs: The rates that layers had, a column a layer, at some hundred steps (its index) of the run; 0 where a
            layer did not train. `None` where they are not known.

    Example:
        >>> history = predictor.history
        >>> history[["epoch", "step", "note"]].tail(1)
           epoch  step  note
        3      1     3  kept: step 3
        >>> list(history.kept_scores), history.to_frame().shape
        (['roc_auc'], (4, 7))
        >>> history.lrs.columns.tolist()[:2]
        ['text/embeddings', 'text/encoder.layer.0']
        >>> history.plot().figure.savefig("scores.png")
        >>> history.plot_lrs().figure.savefig("rates.png")
    """

    _metadata = ["lrs"]  # noqa: RUF012  # pandas' way to hand an attribute on to a slice
    lrs: pd.DataFrame | None = None
    _spare = ("lr", "epoch")
    _legible = 30  # of the notes

    def to_frame(self) -> pd.DataFrame:
        """Return a plain DataFrame."""
        return pd.DataFrame(self)

    def _repr_html_(self) -> str:
        return html_frame(self)

    @property
    def kept_scores(self) -> dict[str, float]:
        """What the state that is kept was scored with in validation: metrics by name."""
        rows = self.to_frame()[self["note"].astype(str).str.startswith(KEPT)].to_dict(orient="records")
        found = {str(name): value for name, value in rows[-1].items()} if rows else {}
        scores = {name.removeprefix("val_"): value for name, value in found.items() if name.startswith("val_")}
        return {name: value for name, value in scores.items() if value == value}

    def plot(self, ax: Any = None) -> Any:  # type: ignore[override]
        """Draw the training loss and the validation metric over steps, with a star at the step that was kept.

        The axis of the metric spans 20 % of its highest value or more, so that a row more or less is no cliff.

        Args:
            ax: A matplotlib axis, or `None` for a new figure, without a background, legible on light and dark.

        Returns:
            The axis of the metric.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        with drawn(ax, (6.4, 3.8)) as ax:
            self._draw(ax)
            return ax

    def _draw(self, ax: Any) -> None:
        metric = next((c for c in self.columns if str(c).startswith("val_")), None)
        if metric:
            self._draw_scores(ax, str(metric))
        ax.set_xlabel("step")
        losses = self.dropna(subset=["train_loss"])
        lines, labels = ax.get_legend_handles_labels()
        if len(losses):
            right = ax.twinx()
            right.plot(losses["step"], losses["train_loss"], marker=".", color=ORANGE, label="train_loss")
            right.set_ylabel("train_loss", color=ORANGE)
            more = right.get_legend_handles_labels()
            lines, labels = lines + more[0], labels + more[1]
        ax.grid(alpha=0.25)
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
        ax.legend(lines, labels, ncols=2, fontsize="small", frameon=False, **place)

    def _draw_scores(self, ax: Any, metric: str) -> None:
        """The scores over steps, a line at that of step 0, and a star where the state is of that was kept."""
        scored = self.dropna(subset=[metric])
        kept = scored["note"].astype(str).str.startswith(KEPT) if "note" in scored else scored["step"] < 0
        line, end = scored[~kept], scored[kept].tail(1)
        ax.plot(line["step"], line[metric], marker="o", color=BLUE, label=metric)
        ax.set_ylabel(metric, color=BLUE)
        floor = line[line["step"] == 0]
        if len(floor) and len(line) > 1:
            ax.axhline(floor[metric].iloc[0], color=BLUE, linestyle=":", linewidth=1, label="at step 0")
        for note, step, score in zip(end.get("note", ()), end["step"], end[metric], strict=True):
            steps = kept_steps(str(note))
            label = f"kept: {note_of(steps)}" if steps else "kept"
            ax.plot(max(steps, default=step), score, "*", markersize=14, color=BLUE, label=label, zorder=3)
        if len(scored):
            ax.set_ylim(*score_limits([float(one) for one in scored[metric]]))

    def plot_lrs(self, ax: Any = None) -> Any:
        """Draw the rate that every layer had: layers over steps, the brighter the faster, blank where one was frozen.

        Args:
            ax: A matplotlib axis, or `None` for a new figure.

        Raises:
            ValueError: The history knows no rates.
        """
        if self.lrs is None or self.lrs.empty:
            raise ValueError("This history knows no rates: no step was taken.")
        return plot_rates(self.lrs, ax)
