"""The history is a frame, and draws itself."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from support.toy import fit
from thermocline.training.history import History, kept_steps
from thermocline.training.rates import Rates

mpl.use("Agg")

ROWS = [
    {"epoch": 0.0, "step": 0, "train_loss": np.nan, "lr": 0.0, "note": "probe", "val_accuracy": 0.5},
    {"epoch": 0.5, "step": 5, "train_loss": np.nan, "lr": np.nan, "note": "step 5 skipped"},
    {"epoch": 1.0, "step": 10, "train_loss": 0.7, "lr": 0.1, "note": "", "val_accuracy": 0.8},
]


@pytest.fixture(autouse=True)
def closed():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_it_is_a_frame_and_stays_one():
    history = History(ROWS)
    assert isinstance(history[history["step"] > 0], History)
    assert type(history.to_frame()) is pd.DataFrame
    assert history.to_frame().equals(pd.DataFrame(ROWS))


def test_it_draws_scores_losses_and_the_floor():
    ax = History(ROWS).plot()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["val_accuracy", "at step 0", "train_loss"]
    assert ax.get_ylabel() == "val_accuracy"
    assert ax.lines[0].get_xdata().tolist() == [0, 10]  # lines without a score are left out


@pytest.mark.parametrize("rows", [[], ROWS[:1], ROWS[1:2]])
def test_short_histories_draw_too(rows):
    columns = ["epoch", "step", "train_loss", "lr", "note", "val_accuracy"]
    assert History(rows, columns=columns).plot() is not None


def test_a_notebook_shows_it_as_all_tables_and_its_slices_too():
    html = History(ROWS)[["step", "note"]]._repr_html_()
    assert html.startswith("<style>.tcl")
    assert ">step 5 skipped<" in html
    assert "NaN" not in History(ROWS)._repr_html_()


@pytest.mark.parametrize(
    ("note", "steps"),
    [
        ("kept: step 20, with a TF-IDF model (0.3)", [20]),
        ("kept: average of steps [10, 20]", [10, 20]),
        ("kept: step 0, probe: tuning validated worse", [0]),
        ("step 5 skipped", []),
    ],
)
def test_the_note_says_which_steps_are_kept(note, steps):
    assert kept_steps(note) == steps


def test_it_draws_where_it_is_told():
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    assert History(ROWS).plot(ax) is ax


# the rates that were


def rates(layers=6, steps=20):
    kept = Rates([f"text/blocks.{i}" for i in range(layers)], steps)
    for step in range(1, steps + 1):
        kept.take(step, {f"text/blocks.{i}": 0.1 * 0.5**i for i in range(layers) if step > i})
    return kept


def test_rates_are_kept_and_stay_with_a_slice():
    history = History(ROWS)
    assert history.lrs is None
    history.lrs = rates().to_frame()
    assert history[history["step"] > 0].lrs is history.lrs
    assert history.lrs.index.tolist() == list(range(1, 21))
    assert history.lrs.loc[1].tolist() == [0.1, 0, 0, 0, 0, 0]
    assert history.lrs.loc[20, "text/blocks.2"] == 0.025


def test_a_long_run_keeps_some_hundred():
    assert Rates(["a"], 1_000_000).every == 2500
    assert Rates(["a"], 10).every == 1


def test_the_rates_of_a_fit_are_those_of_its_optimizer(tmp_path):
    trainer, history = fit(tmp_path, plan={"lr_decay": 0.5, "frozen_layers": "stem"})
    assert history.lrs.shape == (10, 5)
    assert (history.lrs["text/embed"] == 0).all()
    plan = trainer.run.plan
    for step, row in history.lrs.iterrows():
        assert row["text/blocks.1"] == pytest.approx(plan.lr_at("text/blocks.1", plan.cursor(step - 1, 10)), rel=1e-5)


def test_rates_draw_layers_over_steps():
    history = History(ROWS)
    history.lrs = rates().to_frame()
    ax = history.plot_lrs()
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [f"text/blocks.{i}" for i in range(6)]
    assert ax.get_xlabel() == "step (grey: frozen)"
    assert ax.get_xlim() == (0, 20)
    history.lrs = rates(layers=100).to_frame()
    assert len(history.plot_lrs().get_yticklabels()) <= 40
    with pytest.raises(ValueError, match="no step was taken"):
        History(ROWS).plot_lrs()
