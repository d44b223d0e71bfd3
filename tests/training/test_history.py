"""The history is a frame, and draws itself."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from thermocline.training.history import History

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


def test_it_draws_where_it_is_told():
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    assert History(ROWS).plot(ax) is ax
