"""Runs that are stopped by Ctrl-C or a kill and go on: nothing is lost, and what has changed is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.errors import ResumeError
from thermocline.training import best_states
from thermocline.training.best_states import BestStates
from thermocline.training.trainer import Trainer

TWICE = {**TINY, "optim.max_epochs": 2, "env.checkpoint_every": 1}


def fit(path: Path | None, **more: object) -> Predictor:
    given = {"hyperparameters": TWICE, **more}
    return Predictor("y", path=path, verbosity=0).fit(make_table(60), **given)  # type: ignore[arg-type]


def press_ctrl_c(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Before a step is taken, once."""
    original, pressed = Trainer.step, []

    def stopping(self: Trainer, number: int, *rest: object) -> None:
        if number == step and not pressed:
            pressed.append(number)
            raise KeyboardInterrupt
        original(self, number, *rest)

    monkeypatch.setattr(Trainer, "step", stopping)


def notes(predictor: Predictor) -> str:
    return "\n".join(str(note) for note in predictor.history["note"])


def same(one: Predictor, other: Predictor) -> bool:
    left, right = one._fitted().model.state_dict(), other._fitted().model.state_dict()
    return all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.fixture(scope="module")
def whole():
    return fit(None)


@pytest.mark.parametrize("again", ["the same object", "another program"])
def test_after_ctrl_c_a_run_goes_on(tmp_path, monkeypatch, whole, again):
    path = tmp_path / "run"
    press_ctrl_c(monkeypatch, 5)
    predictor = fit(path)
    assert "stopped by Ctrl-C" in notes(predictor)
    usable = Predictor.load(path, verbosity=0)
    assert usable.predict(make_table(10)).equals(predictor.predict(make_table(10)))
    assert usable.save() == path  # which does not end the run
    assert list((tmp_path / "run-checkpoints").glob("step-*"))
    if again == "the same object":
        predictor.fit(make_table(60), hyperparameters=TWICE, resume=True)
    else:
        predictor = fit(path, resume=True)
    assert same(predictor, whole)
    assert "Ctrl-C" not in notes(predictor)
    assert "rounded otherwise" not in notes(predictor)
    assert predictor.history["step"].tolist() == whole.history["step"].tolist()
    assert same(Predictor.load(path, verbosity=0), whole)
    assert not (tmp_path / "run-checkpoints").exists()
    monkeypatch.setattr(Trainer, "fit", lambda self: pytest.fail("it was trained again"))
    assert same(fit(path, resume=True), whole)  # it has ended now


def test_after_ctrl_c_another_run_does_not_go_on(tmp_path, monkeypatch):
    press_ctrl_c(monkeypatch, 5)
    fit(tmp_path / "run")
    with pytest.raises(ResumeError, match=r"optim\.lr"):
        fit(tmp_path / "run", resume=True, hyperparameters={**TWICE, "optim.lr": 0.5})
    assert Predictor.load(tmp_path / "run", verbosity=0).predict(make_table(3)) is not None


def test_without_checkpoints_it_has_ended(tmp_path, monkeypatch):
    options = {**TWICE, "env.checkpoint_every": None}  # every 15 seconds
    press_ctrl_c(monkeypatch, 5)
    stopped = fit(tmp_path / "run", hyperparameters=options)
    assert same(fit(tmp_path / "run", hyperparameters=options, resume=True), stopped)


# threads and processors


def test_what_rounds_otherwise_is_told(tmp_path, monkeypatch):
    press_ctrl_c(monkeypatch, 5)
    fit(tmp_path / "run")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "OTHER")
    resumed = fit(tmp_path / "run", resume=True)
    assert "resumed at step 4 with threads: 1 then, 7 now" in notes(resumed)
    assert 'then, "OTHER" now' in notes(resumed)
    assert "from step 4 on sums are rounded otherwise: the bits are not those of a run in one go" in notes(resumed)


# between file operations


class Stopped(BaseException):
    pass


def scores() -> list[tuple[int, float]]:
    return [(0, 0.1), (2, 0.3), (4, 0.2), (6, 0.4), (8, 0.5), (10, 0.5)]


def offer_all(folder: Path, top_k: int, stop_at: int) -> BestStates:
    """Offer states, and stop before, in the middle of, or after the n-th file operation."""
    best, model = BestStates(folder, top_k), nn.Linear(2, 2)
    count = [0]

    def point() -> None:
        count[0] += 1
        if count[0] == stop_at:
            raise Stopped

    def save(tensors, filename):
        point()
        Path(filename).write_bytes(b"half")
        point()
        original_save(tensors, filename)
        point()

    def unlink(self, missing_ok=False):
        point()
        original_unlink(self, missing_ok=missing_ok)
        point()

    original_save, original_unlink = best_states.save_file, Path.unlink
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(best_states, "save_file", save)
        patch.setattr(Path, "unlink", unlink)
        try:
            for step, score in scores():
                best.offer(step, best_states.Scored(score), lambda: best_states.tuned_state(model, frozenset()))
        except Stopped:
            pass
        else:
            raise EOFError
    return best


@pytest.mark.parametrize("top_k", [1, 2])
def test_what_is_remembered_as_best_lies_on_the_disk_at_every_moment(tmp_path, top_k):
    stops = 0
    for stop in range(1, 100):
        try:
            best = offer_all(tmp_path / str(stop), top_k, stop)
        except EOFError:
            break
        stops += 1
        for kept in best.kept:
            assert set(best.load(kept)) == {"weight", "bias"}
        if stop > 3:
            assert best.best is not None
    assert stops > 12
