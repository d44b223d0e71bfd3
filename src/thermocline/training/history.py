"""What happened: one row per validation, and the events of a run."""

from __future__ import annotations

from typing import Any

import pandas as pd

from thermocline.training.rates import plot_rates

KEPT = "kept: "
"""How the note on the state that is kept begins."""


class History(pd.DataFrame):
    """A DataFrame of a run's validations: epoch, step, train_loss, lr, a column per metric, seconds, note.

    Step 0 is the probe (or the untrained head). `note` names events: the probe kept, rows dropped, an early stop.

    Attributes:
        lrs: The rates that layers had, a column a layer, at some hundred steps (its index) of the run; 0 where a
            layer did not train. `None` where they are not known.
    """

    _metadata = ["lrs"]  # noqa: RUF012  # pandas' way to hand an attribute on to a slice
    lrs: pd.DataFrame | None = None

    @property
    def _constructor(self) -> Any:
        return History

    def to_frame(self) -> pd.DataFrame:
        """Return a plain DataFrame."""
        return pd.DataFrame(self)

    @property
    def kept_scores(self) -> dict[str, float]:
        """What the state that is kept was scored with in validation: metrics by name."""
        rows = self.to_frame()[self["note"].astype(str).str.startswith(KEPT)].to_dict(orient="records")
        found = {str(name): value for name, value in rows[-1].items()} if rows else {}
        scores = {name.removeprefix("val_"): value for name, value in found.items() if name.startswith("val_")}
        return {name: value for name, value in scores.items() if value == value}

    def plot(self, ax: Any = None) -> Any:  # type: ignore[override]
        """Draw the training loss and the validation metric over steps.

        Args:
            ax: A matplotlib axis, or `None` for a new figure.

        Returns:
            The axis of the metric.
        """
        from thermocline.report import plotting

        plt = plotting.pyplot()

        if ax is None:
            _, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
        metric = next((c for c in self.columns if str(c).startswith("val_")), None)
        scored = self.dropna(subset=[metric]) if metric else self
        if metric:
            kept = scored["note"].str.startswith(KEPT) if "note" in scored else scored["step"] < 0
            line, end = scored[~kept], scored[kept]
            ax.plot(line["step"], line[metric], marker="o", color="#1f6f8b", label=str(metric))
            ax.set_ylabel(str(metric), color="#1f6f8b")
            floor = line[line["step"] == 0]
            if len(floor) and len(line) > 1:
                ax.axhline(floor[metric].iloc[0], color="#1f6f8b", linestyle=":", linewidth=1, label="at step 0")
            if len(end):  # which may be an earlier state, or an average: no point of the line
                ax.plot(end["step"], end[metric], "*", markersize=13, color="#1f6f8b", label="kept")
        ax.set_xlabel("step")
        losses = self.dropna(subset=["train_loss"])
        lines, labels = ax.get_legend_handles_labels()
        if len(losses):
            right = ax.twinx()
            right.plot(losses["step"], losses["train_loss"], marker=".", color="#c7622b", label="train_loss")
            right.set_ylabel("train_loss", color="#c7622b")
            more = right.get_legend_handles_labels()
            lines, labels = lines + more[0], labels + more[1]
        ax.grid(alpha=0.25)
        ax.legend(
            lines, labels, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize="small", frameon=False
        )
        return ax

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
