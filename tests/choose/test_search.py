"""Searches: real fits of tiny tables, stopped, resumed, pruned and failed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.compared import same, table
from support.stopping import killed_before
from support.tiny import TINY, make_table, make_texts, told
from thermocline import Callback, FitState, Predictor
from thermocline.choose.pruning import Pruning
from thermocline.choose.settings import SearchSettings
from thermocline.choose.storage import quiet
from thermocline.choose.study import Plan, TrialStudy, pruner_for
from thermocline.config import read_spaces
from thermocline.errors import (
    ConfigError,
    NonFiniteError,
    OutputExistsError,
    ResumeError,
    SearchError,
    StorageError,
    ThermoclineWarning,
)
from thermocline.pipeline.listed_files import MANIFEST
from thermocline.training.trainer import Trainer

FRAME = make_table(60)
SPACES = {
    "optim.lr": "loguniform(1e-4, 1e-1)",
    "optim.lr_choice": "choice(two_stage, layerwise_decay)",
    "optim.warmup": "uniform(0, .2)",
}
OPTIONS = {**TINY, "env.checkpoint_every": 1, "model.trees": "off", "model.tfidf": "off"}


def search(path: Path | None = None, *, trials: int = 4, options: Any = SPACES, **more: Any) -> Predictor:
    predictor = Predictor("y", eval_metric="log_loss", path=path, verbosity=more.pop("verbosity", 0))
    how = {"trials": trials, **more.pop("how", {})}
    return predictor.fit(FRAME, hyperparameters={**OPTIONS, **options}, search=how, **more)


# -- what a search does


def test_the_best_trial_becomes_the_predictor(capsys: pytest.CaptureFixture[str]) -> None:
    predictor = search(verbosity=1)
    board = predictor.leaderboard()
    assert len(board) == 4
    assert set(board["state"]) == {"complete"}
    assert board["score"].is_monotonic_increasing  # log-loss: the best first
    best = board.iloc[0]
    assert best["why"] == "kept"
    assert predictor.history.kept_scores["log_loss"] == best["score"]
    for option, text in SPACES.items():
        assert predictor.config[option] == best[option]
        assert predictor.config.provenance[option] == f"search: {best['name']}, {text}"
    said = capsys.readouterr().out
    assert said.count("log_loss") >= 5
    assert f"kept: {best['name']}" in said
    assert "trial 3 of 4: optim.lr=" in said
    assert "column" not in said  # of a single fit


def test_a_trial_is_an_ordinary_fit_on_the_same_rows() -> None:
    predictor = search(trials=2)
    chosen = {option: predictor.config[option] for option in SPACES}
    alone = Predictor("y", eval_metric="log_loss", verbosity=0)
    alone.fit(FRAME, hyperparameters={**OPTIONS, **chosen})
    assert same(predictor, alone)
    assert predictor.history.drop(columns="seconds").equals(alone.history.drop(columns="seconds"))


def test_one_seed_gives_one_search() -> None:
    first, again, other = search(), search(), search(seed=1)
    assert table(first).equals(table(again))
    assert same(first, again)
    assert not table(first).equals(table(other))


def test_it_starts_from_the_defaults_and_other_learning_rates() -> None:
    plain = Predictor("y", verbosity=0).fit(FRAME, hyperparameters=OPTIONS).config
    board = search(trials=3).leaderboard().sort_values("name", ignore_index=True)
    assert board["optim.lr"].tolist() == pytest.approx([plain.optim.lr, plain.optim.lr / 3, plain.optim.lr * 3])
    assert board["optim.warmup"].tolist() == [plain.optim.warmup] * 3
    assert set(board["optim.lr_choice"]) == {plain.optim.lr_choice}
    outside = {"optim.lr": "loguniform(1e-2, 1e-1)", "optim.lr_choice": "choice(two_stage, single_lr)"}
    (start,) = search(trials=1, options=outside).leaderboard().to_dict(orient="records")
    assert (start["optim.lr"], start["optim.lr_choice"]) == (1e-2, "two_stage")


def test_backbones_are_values(text_folder: Path, gpt_folder: Path) -> None:
    spaces = {"model.text.checkpoint": f"choice({text_folder}, {gpt_folder})", "optim.max_epochs": "int(1, 2)"}
    predictor = Predictor("y", verbosity=0).fit(
        make_texts(40), hyperparameters={**OPTIONS, **spaces}, search={"trials": 4}
    )
    board = predictor.leaderboard()
    assert set(board["state"]) == {"complete"}
    assert set(board["model.text.checkpoint"]) <= {str(text_folder), str(gpt_folder)}
    assert board["optim.max_epochs"].map(type).eq(int).all()
    assert predictor.config["model.text.checkpoint"] == board["model.text.checkpoint"][0]


def test_callbacks_of_the_caller_are_called_in_every_trial() -> None:
    class Count(Callback):
        ends = 0

        def on_fit_end(self, state: FitState) -> None:
            self.ends += 1

    count = Count()
    search(trials=3, callbacks=[count])
    assert count.ends == 3


def test_a_fit_without_a_search_has_no_leaderboard(fitted_table: Predictor) -> None:
    assert "search={'trials': 20}" in told(ConfigError, ValueError, fitted_table.leaderboard)


# -- saving


def test_nothing_is_left_beside_the_saved_predictor(tmp_path: Path) -> None:
    predictor = search(tmp_path / "model", trials=3, options={**SPACES, "env.loggers": "csv"})
    assert sorted(one.name for one in tmp_path.iterdir()) == ["model", "model-logs"]
    logs = sorted(one.name for one in (tmp_path / "model-logs").iterdir())
    assert logs == ["trial-0001", "trial-0002", "trial-0003"]
    again = Predictor.load(tmp_path / "model")
    assert again.leaderboard().equals(predictor.leaderboard())
    assert same(again, predictor)
    assert again.config.provenance["optim.lr"].startswith("search: trial ")
    again.save(tmp_path / "copy")
    assert Predictor.load(tmp_path / "copy").leaderboard().equals(predictor.leaderboard())
    told(OutputExistsError, FileExistsError, lambda: search(tmp_path / "model", trials=3))


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    search(trials=2, options={**SPACES, "env.checkpoint_every": None})
    assert list(tmp_path.iterdir()) == []


def test_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "model-search").mkdir()
    (tmp_path / "model-search" / "notes.txt").write_text("mine")
    message = told(OutputExistsError, FileExistsError, lambda: search(tmp_path / "model"))
    assert "model-search" in message
    assert (tmp_path / "model-search" / "notes.txt").read_text() == "mine"


# -- stopped and resumed


def interrupt_in_trial(monkeypatch: pytest.MonkeyPatch, number: int, step: int) -> None:
    """Press Ctrl-C before a step of a trial."""
    original, begun = Trainer.step, []

    def pressed(self: Trainer, at: int, *rest: Any) -> None:
        begun.extend([at] if at == 1 else [])
        if len(begun) == number and at == step:
            raise KeyboardInterrupt
        original(self, at, *rest)

    monkeypatch.setattr(Trainer, "step", pressed)


@pytest.mark.parametrize(("trial", "step"), [(1, 2), (2, 1), (3, 5)])
def test_killed_and_resumed_is_never_stopped(tmp_path: Path, trial: int, step: int) -> None:
    whole = search(tmp_path / "whole")
    begun: list[int] = []
    original = Trainer.step

    def counted(self: Trainer, at: int, *rest: Any) -> None:
        begun.extend([at] if at == 1 else [])
        if len(begun) == trial and at == step:
            raise Gone
        original(self, at, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", counted)
        with pytest.raises(Gone):
            search(tmp_path / "run")
    run = search(tmp_path / "run", resume=True)
    assert table(run).equals(table(whole))
    assert same(run, whole)
    assert run.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["run", "whole"]


class Gone(BaseException):
    """Nothing in the program catches it, as nothing catches SIGKILL."""


def test_ctrl_c_ends_the_search_with_the_best_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = search(tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_in_trial(patch, 3, 4)
        stopped = search(tmp_path / "run")
    board = stopped.leaderboard()
    assert board["state"].tolist() == ["complete", "complete", "stopped"]
    assert "kept" in set(board["why"])
    assert stopped.predict(FRAME).notna().all()
    assert (tmp_path / "run-search").is_dir()
    with pytest.warns(ThermoclineWarning, match="run-search.*resume=True would continue it"):
        search(tmp_path / "run", overwrite=True)
    assert not (tmp_path / "run-search").exists()
    with monkeypatch.context() as patch:
        interrupt_in_trial(patch, 2, 3)
        search(tmp_path / "again")
    run = search(tmp_path / "again", resume=True)
    assert table(run).equals(table(whole))
    assert same(run, whole)


def test_ctrl_c_in_the_first_trial_keeps_what_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_in_trial(monkeypatch, 1, 4)
    predictor = search()
    assert predictor.leaderboard()["state"].tolist() == ["stopped"]
    assert predictor.predict(FRAME).notna().all()


def test_a_search_that_ended_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = search(tmp_path / "run")
    monkeypatch.setattr(Trainer, "fit", lambda _self: pytest.fail("it was trained again"))
    again = search(tmp_path / "run", resume=True)
    assert same(first, again)
    assert again.leaderboard().equals(first.leaderboard())
    message = told(ResumeError, ValueError, lambda: search(tmp_path / "run", resume=True, seed=3))
    assert "seed: 0 then, 3 now" in message


def test_a_fit_without_a_search_is_not_resumed_as_one(tmp_path: Path) -> None:
    Predictor("y", path=tmp_path / "run", verbosity=0).fit(FRAME, hyperparameters=OPTIONS)
    message = told(ResumeError, ValueError, lambda: search(tmp_path / "run", resume=True))
    assert "a fit that was chosen from no others" in message


# -- trials that fail


def fail_where(monkeypatch: pytest.MonkeyPatch, fails: Any) -> None:
    """Let the loss of trials be NaN, as it is where a rate is too high."""
    original = Trainer.step

    def step(self: Trainer, at: int, batches: Any, optimizer: Any) -> None:
        if fails(self.run.assembly.config):
            next(batches)
            self.results.took(at, float("nan"), 1.0)
        else:
            original(self, at, batches, optimizer)

    monkeypatch.setattr(Trainer, "step", step)
    monkeypatch.setattr("thermocline.training.step_results.PATIENCE_NON_FINITE", 3)


def test_a_trial_that_fails_is_noted_and_the_search_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_where(monkeypatch, lambda config: config.optim.lr > 2e-3)
    board = search().leaderboard()
    failed = board[board["state"] == "failed"]
    assert len(failed) >= 1
    assert (failed["optim.lr"] > 2e-3).all()
    assert failed["why"].str.startswith("NonFiniteError: The loss (nan)").all()
    assert (board[board["state"] == "complete"]["optim.lr"] <= 2e-3).all()
    assert len(board) == 4


def test_values_that_do_not_go_together_fail_their_trial() -> None:
    options = {"model.frozen_layers": "choice(null, nothing.like.this)", "optim.lr": "loguniform(1e-4, 1e-1)"}
    board = search(trials=8, options=options).leaderboard()
    failed = board["state"] == "failed"
    assert failed.any()
    assert (board["model.frozen_layers"].notna() == failed).all()
    assert board["why"][failed].str.startswith("SelectorError").all()


def test_where_all_fail_the_error_is_that_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_where(monkeypatch, lambda config: True)
    message = told(NonFiniteError, ArithmeticError, lambda: search(trials=2))
    assert message.startswith("All 2 trials failed. The first, trial 1: optim.lr=")
    assert "The loss (nan)" in message


# -- pruning


def test_a_trial_that_falls_behind_is_pruned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    original = TrialStudy.report
    asked: list[tuple[int, int, float]] = []

    def report(self: TrialStudy, trial: Any, score: float, validation: int) -> bool:
        asked.append((trial.number, validation, score))
        return original(self, trial, score, validation) or (trial.number == 2 and validation == 2)

    monkeypatch.setattr(TrialStudy, "report", report)
    board = search(tmp_path / "model", trials=3).leaderboard()
    pruned = board[board["name"] == "trial 2"].iloc[0]
    assert pruned["state"] == "pruned"
    assert pruned["why"].startswith("behind the median of the others at step ")
    assert pruned["score"] == next(score for number, place, score in asked if (number, place) == (2, 2))
    assert [place for number, place, _ in asked if number == 1] == [0, 1, 2]
    assert [one.name for one in tmp_path.iterdir()] == ["model"]


def test_the_study_gives_up_what_is_behind_and_no_better_for_five_validations(tmp_path: Path) -> None:
    study = study_of("uniform(0.1, 1)", trials=9)
    for _ in range(5):
        trial = study.ask(tmp_path, "me")
        assert trial is not None
        assert not any(study.report(trial, 0.5 + place / 100, place) for place in range(12))
        study.complete(trial, 0.6, 1.0, "id")
    behind = study.ask(tmp_path, "me")
    assert behind is not None
    told = [study.report(behind, 0.4 if place == 0 else 0.3, place) for place in range(12)]
    assert told.index(True) == 6  # five validations after the first that was no better


def study_of(space: str, trials: int) -> TrialStudy:
    """A study in memory without fits."""
    plan = Plan(read_spaces({"optim.weight_decay": space}), [{"optim.weight_decay": 0.9}], "accuracy", True, 0, {})
    return TrialStudy(SearchSettings(trials), plan)


def test_a_process_takes_up_its_own_trials_alone(tmp_path: Path) -> None:
    study = study_of("uniform(0, 1)", trials=3)
    mine, yours = study.ask(tmp_path / "a", "me"), study.ask(tmp_path / "a", "you")
    assert mine is not None
    assert yours is not None
    (again,) = study.unfinished("me")
    assert (again.number, again.values, again.taken_up) == (1, mine.values, True)
    study.complete(again, 0.5, 1.0, "id")
    assert study.unfinished("me") == []
    assert [one.state for one in study.entries()] == ["complete", "running"]


@pytest.mark.parametrize("trials", [40, 80])
def test_values_come_closer_to_the_best_ones(trials: int, tmp_path: Path) -> None:
    study, away = study_of("uniform(0, 1)", trials), []
    while (trial := study.ask(tmp_path, "me")) is not None:
        away.append(abs(trial.values["optim.weight_decay"] - 0.3))
        given_up = any(study.report(trial, place / 10 - away[-1], place) for place in range(9))
        if given_up:
            study.give_up(trial, 1.0, "behind", failed=False)
        else:
            study.complete(trial, 0.8 - away[-1], 1.0, "id")
    assert len(away) == trials
    assert min(away) < 0.02
    assert np.median(away[-16:]) < np.median(away[:8])
    states = [one.state for one in study.entries()]
    assert ("pruned" in states) == (trials >= 60)  # all get better to the end: the median's pruner has patience
    assert study.ask(tmp_path, "me") is None


def test_hyperband_takes_over_in_long_searches() -> None:
    with quiet():
        names = [type(pruner_for(trials)).__name__ for trials in (59, 60)]
    assert names == ["PatientPruner", "HyperbandPruner"]


def test_the_pruning_callback_counts_on_after_a_resume() -> None:
    callback = Pruning.__new__(Pruning)
    callback.load_state_dict(json.loads(json.dumps({"validations": 3})))
    assert callback.state_dict() == {"validations": 3}


# -- time


def test_the_time_limit_bounds_the_whole_search(monkeypatch: pytest.MonkeyPatch) -> None:
    from thermocline.training.time_limit import TimeLimit

    clock = [0.0]
    monkeypatch.setattr(TimeLimit, "elapsed", property(lambda self: clock[0]))
    limits: list[float | None] = []

    class Slow(Callback):
        def on_fit_end(self, state: FitState) -> None:
            clock[0] += 40.0

    original = Trainer.__init__

    def watched(self: Trainer, run: Any) -> None:
        limits.append(run.time_limit.seconds)
        original(self, run)

    monkeypatch.setattr(Trainer, "__init__", watched)
    board = search(trials=10, time_limit=100.0, callbacks=[Slow()]).leaderboard()
    assert len(board) == 2  # a third would not end in time
    assert limits == [100.0, 60.0]


# -- other storages


def test_a_database_holds_the_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    first = search(trials=2, how={"storage": url})
    assert len(first.leaderboard()) == 2
    more = search(trials=4, how={"storage": url})  # the same study, longer
    assert len(more.leaderboard()) == 4
    assert table(more).equals(table(search(trials=4)))


def test_another_search_is_not_mixed_in(tmp_path: Path) -> None:
    how = {"storage": tmp_path / "study.log"}
    search(trials=2, how=how)
    message = told(StorageError, OSError, lambda: search(trials=2, how=how, seed=4))
    assert "seed: 0 then, 4 now" in message
    assert "search={'study': …}" in message
    assert len(search(trials=2, how={**how, "study": "other"}, seed=4).leaderboard()) == 2


def test_a_study_whose_trials_lie_elsewhere(tmp_path: Path) -> None:
    how = {"storage": tmp_path / "study.log"}
    search(trials=2, how=how)  # its trials were in a temporary folder
    message = told(SearchError, RuntimeError, lambda: search(trials=2, how=how))
    assert "No trial of the search gave a model that can be loaded here" in message
    assert "trial 2: complete" in message


def test_a_trial_that_another_process_is_moving_away(tmp_path: Path) -> None:
    how = {"storage": tmp_path / "study.log"}
    first = search(tmp_path / "one", trials=2, how=how)
    for number in (1, 2):  # files of a folder are removed in any order: the list of them may be the last
        left = tmp_path / "one-search" / f"trial-{number:04d}"
        left.mkdir(parents=True)
        shutil.copy(tmp_path / "one" / MANIFEST, left)
    second = search(tmp_path / "two", trials=2, how=how)
    assert same(second, first)


def test_the_study_of_a_saved_predictor_can_be_used_by_others(tmp_path: Path) -> None:
    how = {"storage": tmp_path / "study.log"}
    first = search(tmp_path / "one", trials=3, how=how)
    second = search(tmp_path / "two", trials=3, how=how)
    assert same(first, second)
    assert table(first).equals(table(second))


def test_killed_in_the_middle_nothing_is_lost(tmp_path: Path) -> None:
    how = {"storage": tmp_path / "study.log"}
    with killed_before(4):
        search(tmp_path / "run", how=how)
    run = search(tmp_path / "run", how=how, resume=True)
    assert set(run.leaderboard()["state"]) == {"complete"}
    assert len(run.leaderboard()) == 4


def test_an_error_of_a_callback_ends_the_search_and_its_trial(tmp_path: Path) -> None:
    class Broken(Callback):
        def on_validation_end(self, state: FitState) -> None:
            raise LookupError("mine")

    how = {"storage": tmp_path / "study.log"}
    with pytest.raises(LookupError, match="mine"):
        search(trials=3, how=how, callbacks=[Broken()])
    board = search(trials=3, how=how).leaderboard()
    assert board["state"].tolist() == ["complete", "complete", "failed"]
    assert board["why"].tolist()[2] == "the search ended by an error"


def test_killed_while_a_trial_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from thermocline.pipeline import saved_folder

    def gone(*_: Any) -> None:
        raise Gone

    whole = search(tmp_path / "whole", trials=2)
    with monkeypatch.context() as patch:
        patch.setattr(saved_folder, "_set_modes", gone)
        patch.setattr(saved_folder, "_remove", lambda _folder: None)  # a killed process removes nothing
        with pytest.raises(Gone):
            search(tmp_path / "run", trials=2)
    assert (tmp_path / "run-search" / ".trial-0001-writing").is_dir()
    run = search(tmp_path / "run", trials=2, resume=True)
    assert table(run).equals(table(whole))
    assert same(run, whole)


def test_a_space_within_a_mapping_is_told() -> None:
    options = {"optim.lr": {"head": "loguniform(1e-4, 1e-1)"}}
    assert "for the '*' of optim.lr" in told(ConfigError, ValueError, lambda: search(options=options))
