"""A model of a few hundred weights with layers, norms and dropout, and a run of it in milliseconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import nn

from thermocline.config.schema import EnvConfig, OptimConfig
from thermocline.data.batches import Rows
from thermocline.inputs.table.rows import TableRows
from thermocline.pipeline.assemble import layers_of
from thermocline.problems.rowwise.fusion import FusionModel
from thermocline.problems.rowwise.task import Task
from thermocline.training.run import Run
from thermocline.training.trainer import Trainer
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


class Tower(nn.Module):
    def __init__(self, norm, dropout, pretrained):
        super().__init__()
        self.backbone, self.width, self.pretrained, self.notes = Backbone(norm, dropout), WIDTH, pretrained, ()

    def forward(self, batch):
        return self.backbone(batch["numbers"])


def make_model(outputs=2, *, norm=nn.LayerNorm, dropout=0.0, pretrained=True, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FusionModel({"text": Tower(norm, dropout, pretrained)}, outputs, width=8, dropout=0.0)


def make_frame(n, seed, kind):
    """Three numbers, and a label that follows a rule over them."""
    x = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    signal = x[:, 0] * x[:, 1] + 0.3 * x[:, 2]
    return x, pd.DataFrame({"y": signal if kind == "regression" else np.where(signal > np.median(signal), "b", "a")})


def make_rows(n=40, *, seed=0, kind="binary", weight=None, task=None):
    """Rows and their task."""
    x, frame = make_frame(n, seed, kind)
    task = Task.of(frame, "y", kind) if task is None else task
    part = TableRows(x, np.zeros_like(x), np.zeros((n, 0), np.int64))
    return Rows({"text": part}, task.encode(frame), weight), task


def make_run(folder, *, model=None, kind="binary", rows=40, weight=None, plan=None, optim=None, env=None, **options):
    train, task = make_rows(rows, kind=kind, weight=weight)
    valid, _ = make_rows(24, seed=1, kind=kind, task=task)
    model = make_model(task.width) if model is None else model
    layer_map = layers_of(model)
    settings = OptimConfig(**{"lr": 0.01, "max_epochs": 2, **(optim or {})})
    environment = EnvConfig(batch_size=8, micro_batch_size=8, eval_batch_size=16, device="cpu", precision="fp32")
    made = LayerPlan.build(layer_map, **{"lr": settings.lr, "weight_decay": 0.01, **(plan or {})})
    return Run(
        model=model,
        layer_map=layer_map,
        plan=made,
        task=task,
        train=train,
        valid=valid,
        optim=settings,
        env=replace(environment, **(env or {})),
        folder=folder,
        **options,
    )


def fit(folder, **options):
    """Fit and return the trainer and its history."""
    trainer = Trainer(make_run(folder, **options))
    return trainer, trainer.fit()


def state(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


class Recorder:
    """A logger that remembers."""

    def __init__(self):
        self.lines, self.closed = [], False

    def log(self, step, values):
        self.lines.append((step, dict(values)))

    def close(self):
        self.closed = True
