"""Plots: no background, grey texts, matplotlib's settings as before; nothing is cut off, nothing overlaps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from support.drawn import faults_of, texts_of
from thermocline.choose.leaderboard import COMPLETE, KEPT, PRUNED, WHOLE, Entry, Leaderboard
from thermocline.report.plots import drawn, look, pyplot, score_limits
from thermocline.report.svg import GREY
from thermocline.training.history import History
from thermocline.tuning.layers.layer import Layer
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    pyplot().close("all")


@pytest.fixture
def as_before() -> Iterator[None]:
    before = mpl.is_interactive()
    yield
    mpl.interactive(before)


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("fails", [False, True])
def test_what_a_backend_turns_on_with_the_first_figure_stays_on(*, fails: bool) -> None:
    """The one of notebooks is loaded within our look, and shows figures only while matplotlib is interactive."""
    mpl.interactive(False)
    with pytest.raises(KeyError) if fails else nullcontext(), look():
        mpl.interactive(True)
        if fails:
            raise KeyError
    assert mpl.is_interactive()
    assert mpl.rcParams["legend.frameon"] == mpl.rcParamsDefault["legend.frameon"]


def layer_map(blocks: int) -> LayerMap:
    """A stem, blocks, and a head."""
    names = [("stem", "stem"), *((f"encoder.layer.{i}", "block") for i in range(blocks)), ("head", "head")]
    layers = [
        Layer(name, "fusion" if role == "head" else "text", role, depth, (f"{name}.w",), (), role != "head", "x", 10)
        for depth, (name, role) in enumerate(names)
    ]
    return LayerMap(tuple(layers))


def plan(blocks: int = 12, **options: Any) -> LayerPlan:
    made = LayerPlan.build(layer_map(blocks), lr=1e-4, **options)
    return replace(made, total_steps=100, steps_per_epoch=20)


def history(layers: int = 8) -> History:
    rows = [
        {"epoch": step / 40, "step": step, "train_loss": 1.5 - step / 200, "note": "", "val_accuracy": score}
        for step, score in [(0, 0.80), (20, 0.8083), (40, 0.80), (60, 0.7917)]
    ]
    rows.append({**rows[-1], "train_loss": np.nan, "note": "kept: average of steps [20, 40]", "val_accuracy": 0.8083})
    made = History(rows)
    steps = np.arange(1, 61)
    rates = {f"text/encoder.layer.{i}": np.where(steps > 5 * i, 1e-4 * 0.5**i, 0.0) for i in range(layers)}
    made.lrs = pd.DataFrame(rates, index=pd.Index(steps, name="step"))
    return made


def board() -> Leaderboard:
    names = ["as asked", "3 times the rate", "twice the epochs", "3 times the rate, the upper half alone", "average"]
    entries = [
        Entry(
            name,
            {"optim.lr": 1e-4},
            0.8,
            10.0,
            COMPLETE if place != 3 else PRUNED,
            KEPT if place == 4 else "",
            0.01 * place or None,
            0.012 if place else None,
            {
                "1/9": 1.2 - 0.05 * place,
                "1/3": 1.0 - 0.05 * place,
                **({WHOLE: 0.8 - 0.01 * place} if place != 3 else {}),
            },
        )
        for place, name in enumerate(names)
    ]
    return Leaderboard("accuracy", True, tuple(entries))


FIGURES = {
    "plan": lambda: plan().plot().figure,
    "plan of one line": lambda: plan(lr_choice="single_lr").plot().figure,
    "plan of many lines": lambda: plan(24, frozen_layers="stem").plot().figure,
    "plan of phases": lambda: plan(6).scheduled("gradual_unfreeze").plot().figure,
    "plan of few phases": lambda: plan(6).scheduled("fine_tune(freeze_epochs=2)").plot().figure,
    "history": lambda: history().plot().figure,
    "rates": lambda: history().plot_lrs().figure,
    "rates of many layers": lambda: history(100).plot_lrs().figure,
    "race": lambda: board().to_frame().plot_race(),
}
SIZES = {"plan": (9, 4.2), "history": (6.4, 3.8), "rates": (8, 2.84), "race": (10.4, 3.12)}


@pytest.mark.parametrize("name", FIGURES)
def test_everything_can_be_read(name: str) -> None:
    figure = FIGURES[name]()
    assert not faults_of(figure)
    assert figure.get_facecolor()[3] == 0
    assert all(ax.get_facecolor()[3] < 0.3 for ax in figure.axes)
    assert tuple(figure.get_size_inches()) == pytest.approx(SIZES.get(name, figure.get_size_inches()))


def test_a_text_that_is_cut_off_or_overlaps_is_found() -> None:
    figure = pyplot().figure(figsize=(2, 2))
    figure.text(0.9, 0.5, "a text that is too long")
    figure.text(0.1, 0.5, "one")
    figure.text(0.12, 0.5, "two")
    assert faults_of(figure) == ["cut off: 'a text that is too long'", "overlap: 'one' and 'two'"]


def test_the_settings_of_matplotlib_are_as_before() -> None:
    before = dict(mpl.rcParams)
    with drawn(None, (2, 2)) as ax:
        title = ax.set_title("grey")
    with drawn(ax, (2, 2)) as same:
        assert same is ax
    assert title.get_color() == GREY
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    "scores", [[0.8, 0.8083], [0.999, 1.0], [0.0, 0.002], [2.0], [-3.0, -3.1], [0.1, 0.9], [np.nan]]
)
def test_one_row_more_or_less_is_no_cliff(scores: list[float]) -> None:
    low, high = score_limits(scores)
    known = [score for score in scores if score == score] or [0.5]
    assert low < min(known)
    assert high > max(known)
    assert max(known) - min(known) <= 0.92 * (high - low)
    if min(known) >= 0 and max(known) <= 1:
        assert 0.1 * (high - low) >= 1 / 120
        assert low > -0.1
        assert high < 1.1


def test_a_plan_names_its_schedule_and_shows_depth_by_a_bar_where_lines_are_many() -> None:
    few, many = plan().plot(), plan(24, frozen_layers="stem").plot()
    assert "then cosine" in few.get_title(loc="left")
    assert few.get_legend() is not None
    assert many.get_legend() is None
    words = [text for text, _ in texts_of(many.figure)]
    assert {"input", "head", "depth of the layer"} <= set(words)
    assert any(text.endswith("frozen: text/stem") for text in words)
    colors = [line.get_color()[:3] for line in many.lines if len(line.get_xdata())]
    assert len(set(colors)) == len(colors) == 25


def test_the_star_is_at_the_step_that_was_kept() -> None:
    ax = history().plot()
    (star,) = (line for line in ax.lines if line.get_marker() == "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (40, 0.8083)
    assert star.get_label() == "kept: average of steps 20, 40"
    low, high = ax.get_ylim()
    assert high - low > 0.16
