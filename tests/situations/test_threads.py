"""Threads beside a fit: a load or an explanation there changes no random number of it, nor the caller's own."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import nn

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.pipeline import artifact
from thermocline.training.stepping import Stepper
from thermocline.tuning.random_numbers import RandomNumbers

WITH_DROPOUT = {**TINY, "optim.max_epochs": 4, "model.table.dropout": 0.5, "env.batch_size": 8}


def fit() -> Predictor:
    return Predictor("y", verbosity=0).fit(make_table(60), hyperparameters=WITH_DROPOUT)


@pytest.fixture(scope="module")
def alone():
    """With dropout, so that its bits depend on the generator."""
    fitted = fit()
    assert any(isinstance(module, nn.Dropout) and module.p == 0.5 for module in fitted._fitted().model.modules())
    return fitted


def same(one: Predictor, other: Predictor) -> bool:
    left, right = one._fitted().model.state_dict(), other._fitted().model.state_dict()
    return all(torch.equal(value, right[name]) for name, value in left.items())


def test_loads_and_explanations_beside_a_fit(alone, tmp_path, monkeypatch):
    """They come between its steps, however many wait, and the fit goes on between them."""
    path, frame = alone.save(tmp_path / "run"), make_table(30)
    stepping, overlaps, ended = threading.Event(), [], threading.Event()
    gradients, read = Stepper.gradients, artifact._read

    def step(self, *rest):
        stepping.set()
        time.sleep(0.005)  # the others get their turn, if they take one
        out = gradients(self, *rest)
        stepping.clear()
        return out

    def reading(*args, **kwargs):
        overlaps.append(stepping.is_set())
        torch.rand(7)
        return read(*args, **kwargs)

    monkeypatch.setattr(Stepper, "gradients", step)
    monkeypatch.setattr(artifact, "_read", reading)

    def load():
        while not ended.is_set():
            Predictor.load(path, verbosity=0)
            Predictor("y", verbosity=0).explain(frame, hyperparameters=TINY)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        beside = fit()
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert len(overlaps) > 2
    assert not any(overlaps)
    assert same(beside, alone)


def test_two_fits_at_once(alone):
    state, fitted = torch.get_rng_state(), []
    threads = [threading.Thread(target=lambda: fitted.append(fit())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(one, alone) for one in fitted)
    assert len(fitted) == 2
    assert torch.equal(torch.get_rng_state(), state)


def test_one_thread_has_the_generator():
    drawn, inside = [], threading.Event()

    def other():
        inside.wait()
        with RandomNumbers(5):
            drawn.append(torch.rand(2))

    thread = threading.Thread(target=other)
    thread.start()
    before = torch.get_rng_state()
    with RandomNumbers(3) as numbers:
        first = torch.rand(2)
        inside.set()
        time.sleep(0.05)
        assert not drawn
        with RandomNumbers(4):  # in one thread they may be nested
            torch.rand(1)
        second = torch.rand(2)
        while not drawn:
            numbers.let_others()
    thread.join()
    assert torch.equal(torch.get_rng_state(), before)
    with RandomNumbers(3):
        assert torch.equal(torch.rand(2), first)
        assert torch.equal(torch.rand(2), second)
    with RandomNumbers(5):
        assert torch.equal(torch.rand(2), drawn[0])


def test_an_error_inside_gives_it_back():
    with pytest.raises(KeyError), RandomNumbers(1):
        raise KeyError
    found = []
    thread = threading.Thread(target=lambda: found.append(RandomNumbers(1).__enter__().__exit__()))
    thread.start()
    thread.join(5)
    assert found == [None]


def test_a_forked_process_has_a_generator_of_its_own():
    """Its parent's threads, which may hold the lock, are not in it."""
    import multiprocessing

    held, done = threading.Event(), threading.Event()

    def hold():
        with RandomNumbers(1):
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    process = multiprocessing.get_context("fork").Process(target=lambda: RandomNumbers(2).__enter__())
    process.start()
    process.join(20)
    done.set()
    thread.join()
    assert process.exitcode == 0
