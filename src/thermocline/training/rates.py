"""The rates that layers had: kept at some hundred steps of a run, and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

STEPS_KEPT = 400  # steps of a run whose rates are kept, besides those at which phases begin
DARKEST = 1e-3  # of the highest rate: what is slower has the same colour
MOST_NAMES = 40  # at the side of a picture


class Rates:
    """Keeps the rates of layers at some hundred steps, however long the run is.

    Args:
        labels: The layers.
        total_steps: Of the run.
    """

    def __init__(self, labels: Sequence[str], total_steps: int) -> None:
        self.labels, self.every = tuple(labels), max(1, total_steps // STEPS_KEPT)
        self.taken: dict[int, list[float]] = {}

    def take(self, step: int, rates: Mapping[str, float]) -> None:
        """Keep the rates of a step to six digits; a layer that is not among them stands still."""
        self.taken[step] = [float(f"{rates.get(label, 0.0):.6g}") for label in self.labels]

    def to_frame(self) -> pd.DataFrame:
        """Return the rates, a row a step and a column a layer."""
        steps = pd.Index(list(self.taken), name="step", dtype="int64")
        return pd.DataFrame(list(self.taken.values()), index=steps, columns=list(self.labels), dtype="float64")


def plot_rates(rates: pd.DataFrame, ax: Any = None) -> Any:
    """Draw rates as colours: layers from the input (below) to the head (above), over the steps taken.

    Args:
        rates: From `Rates.to_frame`.
        ax: A matplotlib axis, or `None` for a new figure.

    Returns:
        The axis.
    """
    from thermocline.report import plotting

    plt = plotting.pyplot()
    from matplotlib.colors import LogNorm

    layers = list(rates.columns)
    if ax is None:
        height = 1.4 + 0.18 * min(len(layers), MOST_NAMES)
        _, ax = plt.subplots(figsize=(8, height), layout="constrained")
    steps = rates.index.to_numpy()
    edges = np.append(steps - 1, steps[-1])  # step 1 lies between 0 and 1 steps taken
    values = rates.to_numpy().T
    top = float(values.max()) or 1.0
    shown = np.ma.masked_less_equal(values, 0.0)
    mesh = ax.pcolormesh(
        edges, np.arange(len(layers) + 1), shown, cmap="viridis", norm=LogNorm(DARKEST * top, top), linewidth=0
    )
    ax.set_facecolor("#eeeeee")
    every = -(-len(layers) // MOST_NAMES)
    ax.set_yticks(np.arange(len(layers))[::every] + 0.5, layers[::every], fontsize="small")
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("step (grey: frozen)" if shown.mask.any() else "step")
    ax.figure.colorbar(mesh, ax=ax, label="learning rate", pad=0.02, extend="min")
    return ax
