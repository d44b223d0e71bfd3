"""Optimizers: names and classes, arguments, the trial, the split of Muon, sizes of states."""

from __future__ import annotations

from importlib.util import find_spec
from typing import get_args

import pytest
import timm.optim
import torch
from torch import nn

from support.backbones import bert
from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.config import ResolvedConfig, load_rules, resolve
from thermocline.config.schema import Optimizer
from thermocline.errors import ConfigError, MissingDependencyError, ResumeError
from thermocline.optimizers.choice import OptimizerChoice
from thermocline.optimizers.infos import OPTIMIZERS, find, name_like
from thermocline.optimizers.muon import MuonWithAdamW, block_matrices, split_groups
from thermocline.optimizers.state import numbers_by_name, restore_by_name, state_by_name
from thermocline.optimizers.trial import check, state_entries
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

CPU = torch.device("cpu")
HERE = [name for name, info in OPTIMIZERS.items() if not info.extra]


def tried(name="adamw", arguments=None, own=None, *, checkpoints=True):
    check(OptimizerChoice(name, arguments or {}, own), CPU, checkpoints=checkpoints)


def own(kind):
    return {"name": f"{kind.__module__}:{kind.__qualname__}", "own": kind}


# -- names -----------------------------------------------------------------------------------------------------------


def test_names_are_those_of_the_option_and_have_a_rule_for_the_rate():
    assert set(get_args(Optimizer)) == set(OPTIMIZERS)
    assert set(load_rules().optimizers) == set(OPTIMIZERS) - {"adamw"}
    with pytest.raises(ConfigError, match=r"no optimizer 'adamv'.*Did you mean 'adam'"):
        find("adamv")
    assert [name_like(one) for one in ("muon", "torch.optim.sgd:SGD", "mine:Mine")] == ["muon", "sgd", ""]


@pytest.mark.parametrize("name", HERE)
def test_all_run_and_go_on_exactly_from_their_state(name):
    tried(
        name,
        {"eps": 1e-6} if name not in ("sgd", "lion", "adafactor") else {"foreach": False} if name != "muon" else {},
    )
    weight = nn.Parameter(torch.ones(8, 5))
    group = {"params": [weight], "lr": 0.1, "weight_decay": 0.0, "muon": True}
    optimizer = OptimizerChoice(name).over([group], 0.1, CPU)
    for _ in range(2):
        weight.grad = weight.detach().clone()
        optimizer.step()
    assert weight.mean() < 1
    state = state_by_name(optimizer, as_module(weight))
    counted = sum(one.nbytes for one in state.values())
    assert counted == sum(entry.bytes_for((8, 5)) for entry in state_entries(OptimizerChoice(name), 2, matrices=True))


def as_module(weight):
    module = nn.Module()
    module.weight = weight
    return module


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="it is installed")
def test_the_extra_is_named():
    assert "pip install 'thermocline[bnb]'" in told(MissingDependencyError, ImportError, lambda: tried("adamw8bit"))


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="no bitsandbytes")
def test_eight_bits():
    tried("adamw8bit")


def test_defaults():
    group = lambda: [{"params": [nn.Parameter(torch.ones(2, 2))], "muon": False}]  # noqa: E731
    assert OptimizerChoice("sgd").over(group(), 0.1, CPU).defaults["momentum"] == 0.9
    assert OptimizerChoice("sgd", {"momentum": 0.5}).over(group(), 0.1, CPU).defaults["momentum"] == 0.5
    for name in ("adamw", "adam", "sgd"):
        assert OptimizerChoice(name).over(group(), 0.1, CPU).param_groups[0]["fused"]
    assert OptimizerChoice("adamw", {"betas": [0.8, 0.9]}).over(group(), 0.1, CPU).defaults["betas"] == (0.8, 0.9)
    assert not OptimizerChoice("adamw", {"foreach": True}).over(group(), 0.1, CPU).param_groups[0]["fused"]


# -- arguments and classes that cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("adamw", {"lr": 1.0}, "'lr' has an option of its own, optim.lr"),
        ("muon", {"weight_decay": 1.0}, "'weight_decay' has an option of its own, optim.weight_decay"),
        ("adamw", {"maximize": True}, "'maximize' has no use in a fit"),
        ("sgd", {"nestrov": True}, "no argument 'nestrov'; it takes .*Did you mean 'nesterov'"),
        ("adamw", {"betas": [0.9, 1.5]}, "adamw with .*on cpu: ValueError: Invalid beta parameter at index 1: 1.5"),
        ("adamw", {"betas": 3}, "does not run on trial weights"),
        ("muon", {"adjust_lr_fn": "other"}, "other is not supported"),
    ],
)
def test_arguments_that_cannot_be(name, arguments, says):
    with pytest.raises(ConfigError, match=says):
        tried(name, arguments)


class Hidden(torch.optim.SGD):
    """Remembers something that nobody can see."""

    count = 0

    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            group["lr"] = 0.1 / self.count
        return super().step(closure)


class Listed(torch.optim.SGD):
    """Keeps a list in its state."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["seen"] = [1, 2]
        return super().step(closure)


class Moving(torch.optim.SGD):
    """Lets weights that have no gradient decay."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.mul_(0.9)
        return super().step(closure)


class Needing(torch.optim.SGD):
    """Takes each weight to have a gradient."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.sub_(parameter.grad)


class ByGroup(torch.optim.SGD):
    """Counts in its groups, and in its states as a plain number."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["taken"] = group.get("taken", torch.zeros(())) + 1
            group["count"] = group.get("count", 0) + 1
            group["lr"] = 0.1 / (group["count"] + float(group["taken"]))
        return super().step(closure)


@pytest.mark.parametrize("kind", [torch.optim.RMSprop, torch.optim.Rprop, timm.optim.Lamb, timm.optim.Adan, ByGroup])
def test_classes_that_can_be(kind):
    tried(**own(kind))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (torch.optim.LBFGS, "needs 'closure': it computes the loss several times"),
        (torch.optim.Muon, "ValueError: Muon only supports 2D parameters"),
        (torch.optim.SparseAdam, "does not support dense gradients"),
        (nn.Linear, "no class derived from torch.optim.Optimizer"),
        (lambda groups: None, "no class derived from torch.optim.Optimizer"),
        (Moving, "changes it where a weight has no gradient.*whose grad is None"),
        (Needing, "raises TypeError .* where a weight has no gradient"),
        (Hidden, "neither in its state nor in its groups.*env.checkpoint_every=0"),
        (Listed, "has 'seen', which is neither a tensor nor a number.*env.checkpoint_every=0"),
    ],
)
def test_classes_that_cannot_be(kind, says):
    with pytest.raises(ConfigError, match=says):
        tried("mine:Mine", own=kind)
    if kind in (Hidden, Listed):
        tried("mine:Mine", own=kind, checkpoints=False)


def test_a_state_is_read_by_names_into_another_order_of_groups():
    def made(flip):
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        parameters = list(model.parameters())
        return model, torch.optim.NAdam([{"params": [p]} for p in (parameters[::-1] if flip else parameters)])

    model, optimizer = made(flip=False)
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    again, other = made(flip=True)
    restore_by_name(other, again, state_by_name(optimizer, model), numbers_by_name(optimizer, model))
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            assert torch.equal(other.state[again.get_parameter(name)][key], value)


# -- Muon --------------------------------------------------------------------------------------------------------------


def swin():
    """Has a table of relative positions in every block: a matrix that is no transformation."""
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(32, 4, num_classes=2, embed_dim=16, depths=(2, 2), num_heads=(2, 2), window_size=4)


@pytest.mark.parametrize("make", [bert, swin])
def test_muon_trains_the_matrices_of_blocks(make):
    model = make()
    layer_map = LayerMap.of(model)
    plan = LayerPlan.build(layer_map)
    own = block_matrices(plan, model)
    assert own
    for name, parameter in own.items():
        assert parameter.ndim == 2
        assert isinstance(model.get_submodule(name.rpartition(".")[0]), nn.Linear), name
    linear = {f"{name}.weight" for name, one in model.named_modules() if isinstance(one, nn.Linear)}
    blocks = {name for layer in layer_map if layer.role == "block" for name in layer.parameters}
    assert set(own) == linear & blocks
    groups = plan.parameter_groups(model)
    split = split_groups(groups, {id(one) for one in own.values()})
    assert sum(len(group["params"]) for group in split) == len(list(model.parameters()))
    assert {group["layer"] for group in split} == {group["layer"] for group in groups}
    assert all(("muon" in group) and group["lr_scale"] for group in split)


def test_muon_is_torchs_muon_and_torchs_adamw():
    torch.manual_seed(0)
    first, second = nn.Linear(6, 4), nn.Linear(6, 4)
    second.load_state_dict(first.state_dict())
    groups = [{"params": [first.weight], "muon": True}, {"params": [first.bias], "weight_decay": 0.0}]
    ours = MuonWithAdamW(groups, lr=0.01, weight_decay=0.1, fused=True)
    muon = torch.optim.Muon([second.weight], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([second.bias], lr=0.01, weight_decay=0.0, fused=True)
    for step in range(4):
        x = torch.randn(5, 6, generator=torch.Generator().manual_seed(step))
        for model, optimizers in ((first, [ours]), (second, [muon, adamw])):
            model(x).square().sum().backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_one_cycle_moves_both_momenta_of_muon():
    from thermocline.tuning.apply import LRSetter

    model = bert()
    plan = LayerPlan.build(LayerMap.of(model), schedule="one_cycle")
    optimizer = OptimizerChoice("muon").make(plan, model, CPU)
    set_rates = LRSetter(optimizer, plan)
    set_rates(plan.cursor(0, 10))
    assert {group["momentum"] for group in optimizer.param_groups if group["muon"]} == {0.95}
    assert {group["betas"] for group in optimizer.param_groups if not group["muon"]} == {(0.95, 0.999)}
    set_rates(plan.cursor(3, 10))
    assert {group["momentum"] for group in optimizer.param_groups if group["muon"]} == {0.85}


# -- fits --------------------------------------------------------------------------------------------------------------


def test_a_class_is_recorded_by_its_name_and_imported_by_none(tmp_path):
    config = resolve(None, {"optim.optimizer": ByGroup, "optim.optimizer_args": "momentum=0.5, nesterov=True"})
    name = f"{ByGroup.__module__}:ByGroup"
    assert config.optim.optimizer == name
    assert config.choose("optim.lr", 1.0, "a test").objects == {"optim.optimizer": ByGroup}
    again = ResolvedConfig.from_yaml(config.to_yaml())
    assert again.optim.optimizer == name
    assert again.optim.optimizer_args == {"momentum": 0.5, "nesterov": True}
    assert not again.objects
    predictor = Predictor("y", path=tmp_path / "fit", verbosity=0)
    predictor.fit(make_table(), hyperparameters={**TINY, "optim.optimizer": ByGroup})
    assert "nothing is known of" in predictor.config.provenance["optim.lr"]
    loaded = Predictor.load(tmp_path / "fit")
    assert loaded.config.optim.optimizer == name
    assert loaded.predict_proba(make_table()).equals(predictor.predict_proba(make_table()))
    explained = lambda: Predictor("y", verbosity=0).explain(  # noqa: E731
        make_table(), hyperparameters={**TINY, "optim.optimizer": "os:system"}
    )
    assert "no name is imported. Give the class itself" in told(ConfigError, ValueError, explained)


def test_another_optimizer_or_other_arguments_do_not_resume(tmp_path):
    from support.stopping import killed_before

    def job(**options):
        given = {f"optim.{name}": value for name, value in options.items()} | {"env.checkpoint_every": 1}
        return Predictor("y", path=tmp_path / "run", verbosity=0).fit(
            make_table(), hyperparameters={**TINY, **given}, resume=True
        )

    with killed_before(3):
        job(optimizer=ByGroup)
    with pytest.raises(ResumeError, match=r"optim\.optimizer: .*ByGroup.* then, .*RMSprop.* now"):
        job(optimizer=torch.optim.RMSprop)
    with pytest.raises(ResumeError, match=r"optim\.optimizer_args: nothing then, .*momentum.* now"):
        job(optimizer=ByGroup, optimizer_args={"momentum": 0.5})
    assert job(optimizer=ByGroup).history["step"].max() > 3


def test_a_class_without_weight_decay_is_noted():
    options = {**TINY, "optim.optimizer": torch.optim.Rprop}
    predictor = Predictor("y", verbosity=0).fit(make_table(), hyperparameters=options)
    assert predictor.history["note"].str.contains("has no weight decay: optim.weight_decay=0.01", na=False).any()


def test_faults_show_before_the_data_are_read():
    for options, says in (
        ({"optim.optimizer": torch.optim.LBFGS}, "closure"),
        ({"optim.optimizer_args": {"beta": 1}}, "no argument 'beta'"),
    ):
        with pytest.raises(ConfigError, match=says):
            Predictor("y", verbosity=0).explain("there/is/no.csv", hyperparameters=options)


def test_the_forecast_is_that_of_the_optimizer():
    from support.assemblies import prepared_and_assembled
    from thermocline.training.optimizing import optimizer_cost, state_bytes

    ratio = {}
    for name in ("adamw", "sgd", "adafactor", "muon", timm.optim.Adan):
        _, assembly = prepared_and_assembled(make_table(), {**TINY, "optim.optimizer": name})
        cost, kept = optimizer_cost(assembly), state_bytes(assembly)
        optimizer = OptimizerChoice(assembly.config.optim.optimizer, own=name if callable(name) else None)
        made = optimizer.make(assembly.plan, assembly.model, CPU)
        for group in made.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        made.step()
        made.step()
        real = {one: sum(v.nbytes for v in made.state[p].values() if isinstance(v, torch.Tensor))
                for one, p in assembly.model.named_parameters()}  # fmt: skip
        assert kept == real
        ratio[name] = {label: cost.of(label) for label in assembly.layer_map.labels}
        assert bool(sum(cost.work.values())) == (name == "muon")
    assert set(ratio["adamw"].values()) <= {2.0, 0.0}
    assert set(ratio["sgd"].values()) <= {1.0, 0.0}
    assert set(ratio[timm.optim.Adan].values()) <= {4.0, 0.0}
    assert max(ratio["adafactor"].values()) <= 1.0
    assert 1.0 < ratio["muon"]["table/blocks.0"] < 2.0
