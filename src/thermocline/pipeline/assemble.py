"""From a frame and a configuration to processors, model, layers and plan: everything before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from thermocline.config import ResolvedConfig
from thermocline.contracts.inputs import BuiltInput, RowSource
from thermocline.data.batches import Rows
from thermocline.data.columns import Columns
from thermocline.errors import SelectorError, listing
from thermocline.inputs.building import build_inputs, check_inputs, input_rows, needed_inputs, tower_kind
from thermocline.pipeline.run_length import fitted_to_run, read_phases, with_phases
from thermocline.problems.object_detection.model import DetectionModel
from thermocline.problems.rowwise import peft as adaptation
from thermocline.problems.rowwise.defaults import choose_rates
from thermocline.problems.rowwise.fusion import FusionModel
from thermocline.problems.rowwise.task import Task
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan


@dataclass
class Assembly:
    """A model ready to train or to predict, with all it takes to use it."""

    task: Task
    columns: Columns
    config: ResolvedConfig
    inputs: Mapping[str, BuiltInput]
    model: FusionModel
    layer_map: LayerMap
    plan: LayerPlan
    notes: tuple[str, ...] = ()
    weight: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def rows(self, frame: pd.DataFrame, folder: Path | None, *, training: bool = False, seed: int = 0) -> Rows:
        """Turn a labelled frame into rows with targets and weights.

        Args:
            frame: The frame, labels included.
            folder: Where relative image paths start.
            training: Whether images are augmented.
            seed: The run's seed.
        """
        parts = input_rows(self.inputs.values(), RowSource(frame, folder, training, seed))
        weight = None if self.weight is None else frame[self.weight].to_numpy(dtype=np.float32)
        return Rows(parts, self.task.encode(frame), weight)


def check_sources(columns: Columns, config: ResolvedConfig) -> None:
    """Check that the pretrained weights that these columns need can be found; nothing is loaded.

    Raises:
        CheckpointError: They cannot.
        ConfigError: `model.peft` is set, and there is no backbone to adapt.
        MissingDependencyError: peft is needed and not installed.
    """
    check_inputs(columns, config)
    if config.model.peft is not None:
        towers = [info.name for info in needed_inputs(columns) if info.name in adaptation.TOWERS]
        adaptation.check(config.model.peft, towers)


def assemble(
    frame: pd.DataFrame,
    columns: Columns,
    task: Task,
    config: ResolvedConfig,
    folder: Path | None,
    *,
    seed: int,
    weight: str | None = None,
) -> Assembly:
    """Build processors, towers, layer map and plan from training rows.

    Args:
        frame: The training rows.
        columns: Their types.
        task: The task.
        config: The configuration; what is left open in it is chosen here, with the reason.
        folder: Where relative image paths start.
        seed: Of the random weights.
        weight: The column of row weights.

    Raises:
        CheckpointError: A checkpoint cannot be loaded.
        SelectorError: `frozen_layers` matches nothing, or everything.
        ConfigError: `model.peft` finds nothing in a backbone that it could train.
        LayerMapError: The layers of a backbone are needed and cannot be found.
    """
    phases = read_phases(config)  # faults in them show before anything is loaded
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inputs = {each.kind.info.name: each for each in build_inputs(RowSource(frame, folder), columns, config)}
        towers = {name: each.tower for name, each in inputs.items()}
        config = next(reversed(inputs.values())).config
        fusion = config.model.fusion
        model = FusionModel(towers, task.width, width=fusion.width, dropout=fusion.dropout)
        adapted = adaptation.adapt(model, config.model)  # last: the other random weights are as without adapters
    config = choose_rates(config, model, task, len(frame))
    layer_map = layers_of(model, adapted)
    plan = with_phases(make_plan(layer_map, config), config, phases, len(frame))
    plan, config = fitted_to_run(plan, config, len(frame))
    notes = tuple(f"{name}: {line}" for name, tower in towers.items() for line in tower.notes)
    return Assembly(task, columns, config, inputs, model, layer_map, plan, notes, weight)


def layers_of(model: FusionModel, adapted: Mapping[str, LayerMap] | None = None) -> LayerMap:
    """Return the layers of all towers, of the fusion MLP and of the head.

    Args:
        model: The model.
        adapted: The maps of backbones that `adaptation.adapt` has adapted, by tower.
    """
    maps: dict[str, LayerMap] = {}
    for name, tower in model.towers.items():
        own = (adapted or {}).get(name)
        found: Mapping[str, LayerMap] = {"backbone": own} if own else tower_kind(name).layers(tower)  # type: ignore[arg-type]
        maps |= {f"towers.{name}.{path}".rstrip("."): one for path, one in found.items()}
    if model.fusion is not None:
        maps["fusion"] = LayerMap.single(model.fusion, name="mlp", tower="fusion", role="fusion", depth=0)
    maps["head"] = LayerMap.single(model.head, name="head", tower="fusion", role="head", depth=1)
    return LayerMap.join(maps)


def make_plan(layer_map: LayerMap, config: ResolvedConfig) -> LayerPlan:
    """Return the plan that a configuration asks for."""
    optim, model = config.optim, config.model
    assert optim.lr is not None
    own = {name: getattr(model, name).frozen_layers for name in ("text", "image", "table", "detector")}
    for name, selector in own.items():
        key = f"model.{name}.frozen_layers"
        if selector is not None and name not in layer_map.towers and config.provenance.get(key) == "user":
            raise SelectorError(
                f"{key}={selector!r} matches nothing: this problem has no {name} tower. Towers: "
                f"{listing(layer_map.towers)}. Leave it out, or see the columns' types (column_types)."
            )
    selectors: dict[str, Any] = {k: v for k, v in own.items() if v is not None and k in layer_map.towers}
    if model.peft is not None:
        selectors = adaptation.hosts_frozen(layer_map, selectors)
    return LayerPlan.build(
        layer_map,
        lr=optim.lr,
        lr_choice=optim.lr_choice,
        lr_decay=optim.lr_decay,
        lr_mult=optim.lr_mult,
        weight_decay=optim.weight_decay,
        frozen_layers=model.frozen_layers,
        tower_frozen_layers=selectors,
        schedule=optim.lr_schedule,
        warmup=optim.warmup,
    )


def norm_eval_names(model: FusionModel | DetectionModel) -> list[str]:
    """Return the towers whose BatchNorm keeps its statistics."""
    return [f"towers.{name}" for name, tower in model.towers.items() if getattr(tower, "norm_eval", False)]
