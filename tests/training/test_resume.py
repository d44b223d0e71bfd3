"""Stopped anywhere and resumed is never stopped, bit for bit."""

import pytest

from support.plans import NAMES
from support.stopping import Trap, check_same, fit


def stops_of(trainer, cursors):
    """The moments that matter: first step, mid-epoch, in accumulation, in validation, around every edge, at the end."""
    last = trainer.total_steps
    found = [("step", 1), ("saved", 1), ("micro", 4), ("validation", 4), ("saving", 6), ("micro", last)]
    edges = {cursor.phase_start for cursor in cursors if cursor.phase_start}
    near = sorted({step for edge in edges for step in (edge - 1, edge, edge + 1) if 0 < step <= last})
    found += [(moment, step) for step in near for moment in ("saved", "step")]
    return [*sorted(found, key=lambda stop: stop[1]), ("validation", last), ("choosing", last)]


def resumed(folder, stops, whole, seen, **options):
    """Fit with stops, and compare every step and the end with a run that never stopped."""
    trap = Trap(stops, seen)
    outcome = fit(folder, trap, **options)
    assert not trap.left
    assert outcome[2] == len(stops) + 1
    check_same(whole, outcome)


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [*((name, "adamw") for name in NAMES), ("thaw and freeze again", "sgd"), ("milestones", "sgd")],
)  # other optimizers: test_resumed_optimizers.py
def test_stopped_anywhere_is_never_stopped(name, optimizer, tmp_path):
    options = {"plan": name, "optim": {"optimizer": optimizer, "lr": 0.02}}
    watch = Trap()
    whole = fit(tmp_path / "whole", watch, every=0, **options)
    assert {cursor.phase for cursor in watch.cursors} == set(range(len(whole[0].run.plan.phases)))
    stops = stops_of(whole[0], watch.cursors)
    for every in (1, 4) if name == "thaw and freeze again" else (1,):  # resumed where it was stopped; steps before too
        resumed(tmp_path / str(every), stops, whole, watch.seen, every=every, **options)


@pytest.mark.parametrize("stop", [(moment, step) for moment in ("step", "saving", "saved") for step in (1, 5, 8, 15)])
def test_one_stop_alone(stop, tmp_path):
    watch = Trap()
    whole = fit(tmp_path / "whole", watch, every=0, plan="thaw and freeze again")
    resumed(tmp_path / "again", [stop], whole, watch.seen, every=2, plan="thaw and freeze again")


@pytest.mark.parametrize(
    ("how", "least"), [("best", 0.0), ("uniform_soup", 0.0), ("greedy_soup", 0.0), ("best", 0.002)]
)
def test_early_stopping_probe_and_soups(how, least, tmp_path):
    optim = {"patience": 4, "min_delta": least, "top_k": 3, "top_k_average": how, "head_init": "probe"}
    options = {"plan": "gradual_unfreeze by plateau", "optim": {"max_epochs": 20, **optim}}
    watch = Trap()
    whole = fit(tmp_path / "whole", watch, every=0, **options)
    notes, last = whole[1]["note"], int(whole[1]["step"].max())
    assert notes.str.contains("stopped early").any()
    assert notes.str.contains("probe: logistic").any()
    assert last < whole[0].total_steps
    stops = [("validation", 0), ("saved", 0), ("micro", 3), ("validation", last), ("saved", last), ("choosing", last)]
    resumed(tmp_path / "again", stops, whole, watch.seen, every=1, **options)


def test_the_probe_is_fitted_once(tmp_path, monkeypatch):
    from thermocline.problems.rowwise import probe

    fitted = []
    inner = probe.fit_probe
    monkeypatch.setattr(probe, "fit_probe", lambda *a, **k: fitted.append(k["to_tune"]) or inner(*a, **k))
    fit(tmp_path, Trap([("step", 1), ("step", 9)]), optim={"head_init": "probe"})
    assert fitted.count(True) == 1
