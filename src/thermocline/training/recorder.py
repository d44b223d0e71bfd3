"""Keeps a run's history, prints its lines, and passes numbers to the loggers."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thermocline.training.history import History
from thermocline.training.rates import Rates
from thermocline.training.run import Reporting

if TYPE_CHECKING:
    from thermocline.training.step_results import StepResults

NAN = float("nan")


class Recorder:
    """Writes one row of history at a time.

    Args:
        clock: Seconds since the run began.
        steps_per_epoch: To count epochs.
        reporting: Where lines and numbers go.
        rates: Where the rates of layers are kept.
        sizes: The parameters of each layer.

    Attributes:
        before: Called before anything is said: what is known later of earlier steps is said first.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        steps_per_epoch: int,
        reporting: Reporting,
        rates: Rates,
        sizes: Mapping[str, int],
    ) -> None:
        self._clock, self._before = clock, 0.0
        self.steps_per_epoch, self.rates, self.sizes = steps_per_epoch, rates, sizes
        self.say, self.say_detail, self.loggers = reporting.say, reporting.detail, reporting.loggers
        self.rows: list[dict[str, Any]] = []
        self.before: Callable[[], None] = lambda: None

    def resume(self, seconds: float, rows: Sequence[Mapping[str, Any]], rates: Mapping[int, list[float]]) -> None:
        """Continue what an earlier process recorded."""
        self._before = seconds - self._clock()
        self.rows = [dict(row) for row in rows]
        self.rates.taken = dict(rates)

    def clock(self) -> float:
        """Return the seconds that the run has taken, in all its processes."""
        return self._before + self._clock()

    @property
    def step(self) -> int:
        """The step of the last row."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    def add(self, step: int, values: Mapping[str, Any], *, quiet: bool = False) -> None:
        """Add a row; without `quiet` it is printed."""
        self.before()
        epoch = step / self.steps_per_epoch
        row = {"epoch": epoch, "step": step, "train_loss": NAN, "lr": NAN, **values, "seconds": round(self.clock(), 3)}
        self.rows.append(row)
        if not quiet:
            self.say(line(row))

    def note(self, text: str, *, quiet: bool = False) -> None:
        """Add a row that only says something."""
        self.add(self.step, {"note": text}, quiet=quiet)

    def detail(self, text: str) -> None:
        """Add a row that only says something, which is printed where details are asked for."""
        self.note(text, quiet=True)
        self.say_detail(line(self.rows[-1]))

    def scores_at(self, step: int) -> dict[str, float]:
        """Return what the last validation at a step gave: metrics by name."""
        rows = [row for row in self.rows if row["step"] == step and any(key.startswith("val_") for key in row)]
        return {key.removeprefix("val_"): value for key, value in rows[-1].items() if key.startswith("val_")}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Pass finite numbers on to every logger."""
        self.before()
        for logger in self.loggers:
            logger.log(step, {name: value for name, value in values.items() if math.isfinite(value)})

    def take(self, step: int, results: StepResults, rates: Mapping[str, float], frozen: Collection[str]) -> None:
        """Keep the rates of a step, and pass them on to the loggers with its loss and how much is frozen.

        Loggers are told as soon as the loss is known.

        Args:
            step: The step.
            results: Knows its loss, the last, or will.
            rates: The rate of each layer; one that is not among them never trains.
            frozen: The layers that did not train in it.
        """
        self.rates.take(step, rates)
        if self.loggers:
            each = {f"lr/{label}": rates.get(label, 0.0) for label in self.rates.labels}
            share = sum(self.sizes[label] for label in frozen) / max(1, sum(self.sizes.values()))
            also = {**each, "frozen/layers": len(frozen), "frozen/share": share}
            results.then(lambda loss: self.log(step, {"loss": loss, **also}))

    def show(self, bar: Any, results: StepResults) -> None:
        """Show the loss on a progress bar, where it is one.

        Args:
            bar: What wraps the steps.
            results: Knows the losses of the steps since the last validation; they are read where there is a bar.
        """
        if hasattr(bar, "set_postfix") and results.losses:
            bar.set_postfix(loss=f"{np.mean(results.losses[-20:]):.4f}", refresh=False)

    def history(self) -> History:
        """Return what was recorded, the columns always in one order."""
        scores = list(dict.fromkeys(key for row in self.rows for key in row if key.startswith("val_")))
        history = History(self.rows, columns=["epoch", "step", "train_loss", "lr", *scores, "seconds", "note"])
        history.lrs = self.rates.to_frame()
        return history


def line(row: Mapping[str, Any]) -> str:
    """Return a row of history as a line of text."""
    scores = "  ".join(f"{key}={value:.4f}" for key, value in row.items() if key.startswith("val_"))
    loss = "" if math.isnan(row["train_loss"]) else f"train_loss={row['train_loss']:.4f}"
    parts = [f"epoch {row['epoch']:.2f}", f"step {row['step']}", loss, scores, row.get("note") or ""]
    return "  ".join(part for part in parts if part) + f"  ({row['seconds']:.0f} s)"
