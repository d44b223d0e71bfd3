"""A model of a few hundred weights with layers, norms and dropout, and a run of it in milliseconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import nn

from thermocline.config import resolve
from thermocline.contracts.labelled import Labelled
from thermocline.contracts.problem import Assembly, Built
from thermocline.contracts.tower import Tower
from thermocline.data.batches import Rows
from thermocline.data.columns import Columns
from thermocline.inputs.table.rows import TableRows
from thermocline.problems.rowwise.model import FusionModel
from thermocline.problems.rowwise.problem import Rowwise
from thermocline.problems.rowwise.target import RowTarget
from thermocline.training.loggers import Logger
from thermocline.training.open_loggers import OpenLogger
from thermocline.training.run import Reporting, Run, Storage
from thermocline.training.time_limit import TimeLimit
from thermocline.training.trainer import Trainer
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

WIDTH = 6


class Block(nn.Module):
    def __init__(self, norm, dropout):
        super().__init__()
        self.a, self.norm, self.drop = nn.Linear(WIDTH, WIDTH), norm(WIDTH), nn.Dropout(dropout)

    def forward(self, x):
        return x + self.drop(torch.tanh(self.norm(self.a(x))))


class Backbone(nn.Module):
    def __init__(self, norm, dropout):
        super().__init__()
        self.embed = nn.Linear(3, WIDTH)
        self.blocks = nn.ModuleList(Block(norm, dropout) for _ in range(3))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class ToyTower(Tower):
    width = WIDTH

    def __init__(self, norm, dropout, pretrained):
        super().__init__()
        self.backbone, self.pretrained = Backbone(norm, dropout), pretrained

    def forward(self, inputs, *, grain="row"):
        return self.backbone(inputs["numbers"])

    @property
    def backbone_module(self):
        return self.backbone


def make_model(outputs=2, *, norm=nn.LayerNorm, dropout=0.0, pretrained=True, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FusionModel({"text": ToyTower(norm, dropout, pretrained)}, outputs, width=8, dropout=0.0)


def layers_of(model):
    """The layers of the toy model."""
    pretrained = model.towers["text"].pretrained
    maps = {"towers.text.backbone": LayerMap.of(model.towers["text"].backbone, tower="text", pretrained=pretrained)}
    maps["head"] = LayerMap.single(model.head, name="head", tower="fusion", role="head", depth=1)
    return LayerMap.join(maps)


def make_frame(n, seed, kind):
    """Three numbers, and a label that follows a rule over them."""
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    signal = x[:, 0] * x[:, 1] + 0.3 * x[:, 2]
    return x, pd.DataFrame({"y": signal if kind == "regression" else np.where(signal > np.median(signal), "b", "a")})


def make_rows(n=40, *, seed=0, kind="binary", weight=None, target=None):
    """Rows and their target."""
    x, frame = make_frame(n, seed, kind)
    target = RowTarget.of(frame, "y", kind) if target is None else target
    part = TableRows(x, np.zeros_like(x), np.zeros((n, 0), np.int64))
    return Rows({"text": part}, target.encode(frame), weight), target


def make_config(optim=None, env=None):
    """The configuration of a toy run: everything is settled."""
    settled: dict[str, object] = {
        "optim.lr": 0.01,
        "optim.max_epochs": 2,
        "env.batch_size": 8,
        "env.micro_batch_size": 8,
    }
    settled |= {"env.eval_batch_size": 16, "env.device": "cpu", "env.precision": "fp32", "optim.top_k_average": "best"}
    settled |= {f"optim.{name}": value for name, value in (optim or {}).items()}
    settled |= {f"env.{name}": value for name, value in (env or {}).items()}
    return resolve(None, settled)


def make_assembly(model, target, *, plan=None, optim=None, env=None):
    """The assembly of a toy run."""
    layer_map, config = layers_of(model), make_config(optim, env)
    made = LayerPlan.build(layer_map, **{"lr": config.optim.lr, "weight_decay": 0.01, **(plan or {})})
    return Assembly(Rowwise(), target, Columns(()), Built(model, {}, layer_map, config), made)


def make_run(folder, *, model=None, kind="binary", rows=40, weight=None, plan=None, optim=None, env=None, **options):
    train, target = make_rows(rows, kind=kind, weight=weight)
    valid, _ = make_rows(24, seed=1, kind=kind, target=target)
    model = make_model(target.width) if model is None else model
    loggers = [OpenLogger(one) for one in options.pop("loggers", ())]
    shown = {key: options.pop(key) for key in ("show", "say") if key in options}
    return Run(
        assembly=make_assembly(model, target, plan=plan, optim=optim, env=env),
        train=train,
        valid=valid,
        valid_found=Labelled(pd.DataFrame(index=range(24))),
        storage=Storage(folder, options.pop("store", None)),
        time_limit=options.pop("time_limit", None) or TimeLimit(None),
        reporting=Reporting(loggers, **shown),
        **options,
    )


def with_plan(run, plan):
    """The same run with another plan."""
    return replace(run, assembly=replace(run.assembly, plan=plan))


def fit(folder, **options):
    """Fit and return the trainer and its history."""
    trainer = Trainer(make_run(folder, **options))
    return trainer, trainer.fit()


def state(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


class Recorder(Logger):
    """A logger that remembers."""

    def __init__(self):
        self.lines, self.closed = [], False

    def log(self, step, values):
        self.lines.append((step, dict(values)))

    def close(self, *, failed=False):
        self.closed = True
