"""Races: real fits of tiny frames, with what is kept, killed at many moments, stopped, and failed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from support.compared import same, table
from support.stopping import Killed
from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.choose import race as racing
from thermocline.choose import race_times
from thermocline.choose.leaderboard import Entry, Leaderboard
from thermocline.choose.paired import Gain
from thermocline.choose.portfolio import Entrant
from thermocline.choose.race_times import Times
from thermocline.data.batches import Rows
from thermocline.errors import ConfigError, NonFiniteError, OutputExistsError, ResumeError, ThermoclineWarning
from thermocline.problems.rowwise.problem import Rowwise
from thermocline.problems.rowwise.target import RowTarget
from thermocline.training.trainer import Trainer

FRAME = make_table(80)
OPTIONS = {**TINY, "optim.max_epochs": 3, "env.checkpoint_every": 2, "model.trees": "off", "model.tfidf": "off"}
OPTIONS = {key: value for key, value in OPTIONS.items() if not key.startswith(("model.fusion", "model.text"))}


def race(path: Path | None = None, *, options: Any = None, **more: Any) -> Predictor:
    predictor = Predictor("y", path=path, verbosity=more.pop("verbosity", 0))
    return predictor.fit(FRAME, presets="auto", hyperparameters={**OPTIONS, **(options or {})}, **more)


@pytest.fixture(autouse=True, scope="module")
def _short_fits() -> Iterator[None]:
    """Short fits of few steps, which a race would leave out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(race_times, "LEAST_STEPS", 1)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A race that was never stopped, saved."""
    return race(tmp_path_factory.mktemp("race") / "whole")


# -- what a race does


def test_the_best_of_the_race_becomes_the_predictor(capsys: pytest.CaptureFixture[str]) -> None:
    predictor = race(verbosity=1)
    board = predictor.leaderboard().set_index("name")
    assert set(board.index) == {"as asked", "3 times the rate", "a third of the rate", "average"}
    assert list(board["why"]).count("kept") == 1
    assert (board["state"] == "complete").sum() == 3  # as asked, the best of the others, their average
    pruned = board[board["state"] == "pruned"]
    assert len(pruned) == 1
    assert "after 1/9 of the steps: loss" in pruned["why"].iloc[0]
    assert board.loc["3 times the rate", "optim.lr"] == 3 * board.loc["as asked", "optim.lr"]
    said = capsys.readouterr().out
    assert "compared with it: 3 times the rate, a third of the rate" in said
    assert f"kept: {board.index[board['why'] == 'kept'][0]}" in said


def test_another_is_kept_only_for_a_clear_gain(whole: Predictor) -> None:
    board = whole.leaderboard().set_index("name")
    others = board.drop(index="as asked").dropna(subset=["gain"])
    clear = others[others["gain"] > others["gain_error"]]
    best = clear["gain"].idxmax() if len(clear) else "as asked"
    assert board.loc[best, "why"] == "kept"


def test_what_was_asked_for_is_the_fit_without_a_race(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gain, "is_clear", property(lambda _: False))
    raced = race()
    plain = Predictor("y", verbosity=0).fit(FRAME, hyperparameters=OPTIONS)
    assert same(raced, plain)
    board = raced.leaderboard().set_index("name")
    assert board.loc["as asked", "why"] == "kept"
    assert "no clear gain" in set(board["why"])
    assert raced.history.drop(columns="seconds").equals(plain.history.drop(columns="seconds"))


def test_an_arm_that_is_kept_is_the_fit_with_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gain, "is_clear", property(lambda gain: gain.mean == gain.mean))
    monkeypatch.setattr(racing.Race, "_average", lambda *_: None)
    raced = race()
    kept = raced.leaderboard().set_index("why").loc["kept"]
    assert kept["name"] != "as asked"
    plain = Predictor("y", verbosity=0).fit(FRAME, hyperparameters={**OPTIONS, "optim.lr": kept["optim.lr"]})
    assert same(raced, plain)
    assert raced.config.provenance["optim.lr"] == f"chosen: arm {kept['name']!r}"


def test_the_same_seed_gives_the_same_race(whole: Predictor) -> None:
    again = race()
    assert table(again).equals(table(whole))
    assert same(again, whole)


def test_numbers_are_compared_by_squared_errors() -> None:
    frame = FRAME.assign(y=np.random.default_rng(0).normal(size=len(FRAME)) + FRAME["x"])
    predictor = Predictor("y", verbosity=0).fit(frame, presets="auto", hyperparameters=OPTIONS)
    assert predictor.leaderboard()["gain"].notna().sum() == 2
    assert predictor.predict(frame).notna().all()


def test_losses_of_rows() -> None:
    frame = pd.DataFrame({"y": [0.0, 1.0, 3.0]})
    target = RowTarget.of(frame, "y", "regression", None)
    rows = Rows({}, target=target.encode(frame), weight=np.array([1.0, 2.0, 0.0], dtype=np.float32))
    outputs = np.array([[0.0], [np.nan], [0.0]], dtype=np.float32)
    losses = Rowwise().row_losses(outputs, target, rows)
    assert losses is not None
    assert np.isnan(losses[1])
    assert losses[2] == 0  # its weight is
    assert losses[0] == pytest.approx(float(target.encode(frame)[0, 0] ** 2))  # its weight is the mean
    classes = replace(RowTarget.of(pd.DataFrame({"y": list("abab")}), "y", "binary", None), temperature=2.0)
    rows = Rows({}, target=np.array([0, 1]))
    losses = Rowwise().row_losses(np.array([[0.0, 4.0], [0.0, 4.0]], dtype=np.float32), classes, rows)
    assert losses == pytest.approx([np.log1p(np.exp(2.0)), np.log1p(np.exp(-2.0))])


def test_what_the_user_set_stays() -> None:
    predictor = race(options={"optim.lr": 0.01})
    assert list(predictor.leaderboard()["name"]) == ["as asked"]
    assert predictor.config["optim.lr"] == 0.01


def test_rates_that_the_user_set_by_selector_stay() -> None:
    predictor = race(options={"optim.lr": {"table": 0.01, "head": 0.003}})
    assert list(predictor.leaderboard()["name"]) == ["as asked"]  # a base rate that no layer follows changes nothing
    some = race(options={"optim.lr": {"head": 0.003}, "optim.arms": 2})
    assert "3 times the rate" in set(some.leaderboard()["name"])


def test_fewer_arms() -> None:
    predictor = race(options={"optim.arms": 2})
    assert set(predictor.leaderboard()["name"]) == {"as asked", "3 times the rate", "average"}


def test_a_saved_race(whole: Predictor) -> None:
    path = whole.path
    assert path is not None
    loaded = Predictor.load(path, verbosity=0)
    assert table(loaded).equals(table(whole))
    assert same(loaded, whole)
    assert [one.name for one in path.parent.iterdir() if not one.name.endswith(".lock")] == ["whole"]
    with pytest.raises(OutputExistsError):
        race(path)
    assert same(race(path, resume=True), whole)
    with pytest.raises(ResumeError, match=r"optim\.arms"):
        race(path, resume=True, options={"optim.arms": 4})


def test_without_enough_steps_the_first_others_are_trained_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race_times, "LEAST_STEPS", 50)
    monkeypatch.setattr(racing, "MOST_WHOLE", 3)
    options = {key: value for key, value in OPTIONS.items() if key != "optim.max_epochs"}
    frame = make_table(40)
    chosen = {**options, "model.table.members": 0}
    predictor = Predictor("y", verbosity=0).fit(frame, presets="auto", hyperparameters=chosen)
    board = predictor.leaderboard().set_index("name")
    assert set(board["state"]) == {"complete"}
    assert "loss after 1/9" not in board.columns
    assert board.loc["twice the epochs", "optim.max_epochs"] == 2 * board.loc["as asked", "optim.max_epochs"]


@pytest.mark.parametrize(("left", "count"), [(10.0, 0), (13.0, 1), (16.0, 2), (1e9, 3)])
def test_as_many_take_part_as_there_is_time_for(left: float, count: int) -> None:
    others = [Entrant(2 + n, "", {}, 2.0 if n == 0 else 1.0) for n in range(3)]
    needed = [Times(1.0, 9.0).needed(others[:n], 1000) for n in range(4)]
    assert needed == sorted(needed)
    assert needed[0] == 0
    assert sum(one <= left for one in needed[1:]) == count


# -- stopped and killed


def test_a_race_that_is_killed_again_and_again(
    whole: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, taken = Trainer.step, [0]
    moments = {int(one) for one in np.random.default_rng(0).choice(np.arange(2, 40), 10, replace=False)}

    def dying(self: Trainer, number: int, *rest: Any) -> None:
        taken[0] += 1
        if taken[0] in moments:
            raise Killed
        original(self, number, *rest)

    monkeypatch.setattr(Trainer, "step", dying)
    for _ in range(20):
        try:
            killed = race(tmp_path / "killed", resume=True)
            break
        except Killed:
            continue
    assert taken[0] > max(moments)
    assert table(killed).equals(table(whole))
    assert same(killed, whole)
    assert [one.name for one in tmp_path.iterdir() if not one.name.endswith(".lock")] == ["killed"]


def test_ctrl_c_keeps_what_was_asked_for_and_the_race_goes_on(
    whole: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = racing.Race._trained

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(racing.Race, "_trained", stopped)
    predictor = race(tmp_path / "model")
    board = predictor.leaderboard().set_index("name")
    assert board.loc["as asked", "why"] == "kept"
    assert set(board["state"]) == {"complete", "stopped"}
    monkeypatch.setattr(racing.Race, "_trained", trained)
    again = race(tmp_path / "model", resume=True)
    assert table(again).equals(table(whole))
    assert same(again, whole)


def test_a_race_that_did_not_end_is_replaced_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(racing.Race, "_trained", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            race(tmp_path / "model")
    with pytest.raises(ResumeError, match="another race"):
        race(tmp_path / "model", resume=True, seed=1)
    with pytest.warns(ThermoclineWarning, match="holds a race that did not end"):
        race(tmp_path / "model", options={"optim.arms": 2})


def test_an_arm_that_fails_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Trainer.step

    def failing(self: Trainer, number: int, *rest: Any) -> None:
        if self.run.plan.lr == 0.003:
            raise NonFiniteError("The loss was not finite.")
        original(self, number, *rest)

    monkeypatch.setattr(Trainer, "step", failing)
    board = race().leaderboard().set_index("name")
    assert board.loc["3 times the rate", "state"] == "failed"
    assert board.loc["3 times the rate", "why"] == "NonFiniteError: The loss was not finite."
    assert board.loc["a third of the rate", "state"] == "complete"


def test_without_time_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(racing.Race, "_in_time", lambda _, seconds: seconds == 0)
    predictor = race(time_limit="1h")
    board = predictor.leaderboard()
    assert list(board["name"]) == ["as asked"]
    assert list(board["why"]) == ["kept"]
    assert predictor.predict(FRAME).notna().all()


def test_a_slow_arm_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(racing, "SLOW", 1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ThermoclineWarning)  # a short fit has no time to be validated
        board = race(time_limit="1h").leaderboard().set_index("name")
    failed = board[board["state"] == "failed"]
    assert len(failed) == 2
    assert failed["why"].str.contains("1/9 of the steps take more than").all()


# -- bad input


def test_a_plan_and_a_race() -> None:
    plan = Predictor("y", verbosity=0).explain(FRAME, hyperparameters=OPTIONS)
    message = told(ConfigError, ValueError, lambda: race(plan=plan))
    assert "give one of them" in message
    assert "Without presets='auto' the plan is followed" in message


@pytest.mark.parametrize(
    "options",
    [
        {"optim.schedule_plan": "gradual_unfreeze(factor=1.5)"},
        {"optim.phases": [{"name": "one", "epochs": 1}, {"name": "two"}]},
    ],
)
def test_phases_and_a_race(options: Any) -> None:
    message = told(ConfigError, ValueError, lambda: race(options=options))
    assert f"{next(iter(options))} says what trains when" in message


def test_a_search_and_a_race() -> None:
    spaces = {"optim.lr": "loguniform(1e-4, 1e-1)"}
    message = told(ConfigError, ValueError, lambda: race(options=spaces, search={"trials": 2}))
    assert "search= looks for values in spaces, and presets='auto'" in message


def test_resuming_needs_a_path() -> None:
    assert "continues a race that lies at a path" in told(ConfigError, ValueError, lambda: race(resume=True))


# -- what it looks like


def test_the_plot_has_losses_and_gains(whole: Predictor) -> None:
    board = whole.leaderboard()
    figure = board.plot_race()
    losses, gains = figure.axes
    assert [text.get_text() for text in losses.get_xticklabels()] == ["1/9 of the steps", "all"]
    assert [text.get_text() for text in losses.get_legend().get_texts()] == list(board["name"])
    ended = board[board["state"] == "complete"]
    names = [text.get_text() for text in gains.get_yticklabels()]
    assert [name.removesuffix(" (kept)") for name in names] == list(ended["name"])
    assert sum(name.endswith(" (kept)") for name in names) == 1
    points = [bars.lines[0].get_xdata()[0] for bars in gains.containers]
    assert points == pytest.approx(ended["gain"].fillna(0).tolist())
    plt.close(figure)


def test_a_search_has_no_race_to_draw() -> None:
    with pytest.raises(ValueError, match="presets='auto' compares"):
        Leaderboard("accuracy", True, (Entry("trial 1", {}, 0.9, 1.0, "complete"),)).to_frame().plot_race()
