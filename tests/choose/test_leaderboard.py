"""The table of fits that were compared."""

from __future__ import annotations

import json
import math

import pytest

from support.tiny import told
from thermocline.choose.leaderboard import Entry, Leaderboard
from thermocline.errors import ArtifactError

ENTRIES = (
    Entry("trial 1", {"optim.lr": 0.1}, 0.8, 2.0, "complete"),
    Entry("trial 2", {"optim.lr": 0.2}, None, 1.0, "failed", "NonFiniteError: too fast"),
    Entry("trial 3", {"optim.lr": 0.3}, 0.9, 3.0, "complete"),
    Entry("trial 4", {"optim.lr": 0.4}, 0.95, 1.0, "pruned", "behind"),
    Entry("trial 5", {"optim.lr": 0.5}, 0.9, 1.0, "complete"),
)


@pytest.mark.parametrize(("greater", "order"), [(True, [3, 5, 1, 2, 4]), (False, [1, 3, 5, 2, 4])])
def test_the_best_complete_fit_is_first_and_among_equals_the_earlier_one(greater: bool, order: list[int]) -> None:
    frame = Leaderboard("accuracy", greater, ENTRIES).with_kept("trial 3").to_frame()
    assert frame["name"].tolist() == [f"trial {number}" for number in order]
    assert frame.columns.tolist() == ["name", "optim.lr", "score", "seconds", "state", "why"]
    assert frame.loc[frame["name"] == "trial 3", "why"].tolist() == ["kept"]
    assert math.isnan(frame.loc[frame["state"] == "failed", "score"].item())


def test_it_is_the_same_after_json() -> None:
    board = Leaderboard("accuracy", True, ENTRIES, {"seed": 0})
    again = Leaderboard.from_dict(json.loads(json.dumps(board.to_dict())))
    assert again == board


def test_lists_are_the_same_before_and_after_json() -> None:
    entry = Entry("trial 1", {"model.frozen_layers": ("embeddings", "stem")}, 0.8, 2.0, "complete")
    data = Leaderboard("accuracy", True, (entry,)).to_dict()
    assert json.loads(json.dumps(data)) == data


def test_without_fits_it_is_an_empty_table() -> None:
    assert Leaderboard("accuracy", True, ()).to_frame().empty


@pytest.mark.parametrize(
    "data", [{}, {"entries": 3}, {"entries": [{"name": "trial 1", "values": 3}]}, {"entries": [3]}]
)
def test_what_is_none_is_told(data: dict[str, object]) -> None:
    assert "Restore it from a copy" in told(ArtifactError, OSError, lambda: Leaderboard.from_dict(data))
