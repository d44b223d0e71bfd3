"""Every optimizer resumes exactly, whatever is frozen, unfrozen and reset on the way."""

from importlib.util import find_spec

import pytest
import timm.optim
import torch

from support.plans import plan_of
from support.stopping import Trap, check_same, fit, run_of
from thermocline.optimizers.infos import OPTIMIZERS
from thermocline.training.trainer import Trainer

OWN = (torch.optim.RMSprop, timm.optim.Lamb, timm.optim.Adan)  # Lamb counts its steps in its groups
OFFERED = [
    pytest.param(
        name, marks=pytest.mark.skipif(bool(info.extra) and find_spec("bitsandbytes") is None, reason="no bnb")
    )
    for name, info in OPTIMIZERS.items()
]
ARGUMENTS = {
    "adamw": {"betas": [0.8, 0.99], "amsgrad": True},
    "sgd": {"momentum": 0.5, "nesterov": True},
    "muon": {"momentum": 0.9, "adamw_betas": [0.9, 0.98]},
    "adafactor": {"eps": [None, 1e-2]},
}


def options_of(optimizer, plan="thaw and freeze again"):
    optim = {"optimizer": optimizer, "lr": 0.02, "optimizer_args": ARGUMENTS.get(optimizer)}
    return {"plan": plan, "optim": optim}


@pytest.mark.parametrize("optimizer", [*OFFERED, *OWN])
def test_stopped_at_the_edges_of_phases_is_never_stopped(optimizer, tmp_path):
    options, watch = options_of(optimizer), Trap()
    whole = fit(tmp_path / "whole", watch, every=0, **options)
    edges = sorted({cursor.phase_start for cursor in watch.cursors if cursor.phase_start})
    assert len(edges) == 3
    trap = Trap([("saved", 2), ("step", edges[1] + 1), ("saved", edges[2])], watch.seen)
    again = fit(tmp_path / "again", trap, every=1, **options)
    assert not trap.left
    check_same(whole, again)


@pytest.mark.parametrize(("name", "optimizer"), [("lisa", "muon"), ("gradual_unfreeze by plateau", "adafactor")])
def test_layers_that_are_drawn_and_phases_that_end_by_scores(name, optimizer, tmp_path):
    options, watch = options_of(optimizer, name), Trap()
    whole = fit(tmp_path / "whole", watch, every=0, **options)
    trap = Trap([("saved", step) for step in (2, 9, 14)], watch.seen)
    check_same(whole, fit(tmp_path / "again", trap, every=1, **options))


@pytest.mark.parametrize("optimizer", OFFERED)
def test_what_trains_moves_and_what_is_frozen_does_not(optimizer, tmp_path):
    run = run_of(tmp_path, every=0, **options_of(optimizer, "one phase, some pinned"))
    before = {name: one.detach().clone() for name, one in run.model.named_parameters()}
    trainer, last = Trainer(run), {}
    trainer.save_checkpoint = lambda _: last.update({n: p.detach().clone() for n, p in run.model.named_parameters()})
    trainer.fit()
    frozen = {name for label in run.plan.frozen for name in run.layer_map[label].parameters}
    moved = {name for name, one in last.items() if not torch.equal(one, before[name])}
    assert moved.isdisjoint(frozen)
    assert moved >= {name for name in before if name not in frozen and before[name].ndim > 1}


def test_the_plan_has_the_same_groups_with_muon(tmp_path):
    run = run_of(tmp_path, **options_of("muon"))
    trainer = Trainer(run)
    optimizer, plan = trainer.make_optimizer(), plan_of("thaw and freeze again", run.layer_map)
    members = lambda groups, label: {id(p) for g in groups if g["layer"] == label for p in g["params"]}  # noqa: E731
    for label in plan.labels:
        assert members(optimizer.param_groups, label) == members(plan.parameter_groups(run.model), label)
    own = {group["layer"] for group in optimizer.param_groups if group["muon"]}
    assert own == {layer.label for layer in run.layer_map if layer.role == "block"}
