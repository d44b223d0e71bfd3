"""Checks, builds, describes and rebuilds the inputs that a frame's columns need, in the order of the registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from thermocline.config import ResolvedConfig
from thermocline.config.joined import option_names
from thermocline.contracts.inputs import BuiltInput, InputKind, RowSource
from thermocline.contracts.starting import NotTakenError, kept_options
from thermocline.data.columns import Columns
from thermocline.data.row_part import RowPart
from thermocline.inputs.own_backbone import check_read
from thermocline.registry import InputInfo, input_infos, load
from thermocline.tuning.layers.layer_map import LayerMap


def needed_inputs(columns: Columns) -> list[InputInfo]:
    """Return the kinds of input that take any of these columns."""
    present = {column.kind for column in columns}
    return [info for info in input_infos() if present.intersection(info.column_types)]


def check_inputs(columns: Columns, config: ResolvedConfig) -> None:
    """Check what can be checked of the inputs without loading anything.

    Raises:
        CheckpointError: Pretrained weights that cannot be found.
        ConfigError: An option that does not fit.
    """
    check_read({info.name: info for info in needed_inputs(columns)}, config)
    for info in needed_inputs(columns):
        load(info).check(columns, config)


def usable_rows(
    source: RowSource, columns: Columns, config: ResolvedConfig, *, what: str
) -> tuple[np.ndarray | None, list[str]]:
    """Return the rows that every input can read, as positions or None for all, and notes on those left out.

    Raises:
        DataError: Cells that cannot be used, or too many of them.
    """
    kept: np.ndarray | None = None
    notes: list[str] = []
    for info in needed_inputs(columns):
        rows, told = load(info).usable_rows(source, columns, config, what=what)
        notes += told
        if rows is not None:
            kept = rows if kept is None else np.intersect1d(kept, rows)
    return kept, notes


def build_inputs(source: RowSource, columns: Columns, config: ResolvedConfig) -> list[BuiltInput]:
    """Build processor and tower of every input; random weights are drawn from torch's generator, input by input.

    Returns:
        The inputs, each with the configuration in which all of them chose.

    Raises:
        CheckpointError: Pretrained weights cannot be loaded.
        ConfigError: An option that a backbone does not take.
    """
    inputs: list[BuiltInput] = []
    for info in needed_inputs(columns):
        inputs.append(load(info).build(source, columns, config))
        config = inputs[-1].config
    return [each.with_config(config) for each in inputs]


def continued_inputs(
    earlier: Mapping[str, BuiltInput],
    before: ResolvedConfig,
    source: RowSource,
    columns: Columns,
    config: ResolvedConfig,
) -> tuple[list[BuiltInput], dict[str, str]]:
    """Return every input that the columns need, those of an earlier fit where they fit, as `build_inputs` does.

    Args:
        earlier: The inputs of that fit, by tower.
        before: Its configuration.
        source: The training rows.
        columns: Their columns.
        config: The configuration.

    Returns:
        The inputs, and tower → why it is built anew, for those that are.

    Raises:
        ConfigError: Options ask for another tower than the one that fits.
    """
    inputs: list[BuiltInput] = []
    anew: dict[str, str] = {}
    check_read({info.name: info for info in needed_inputs(columns)}, config)
    for info in needed_inputs(columns):
        kind: InputKind = load(info)
        try:
            if info.name not in earlier:
                raise NotTakenError("there was no such tower")
            kept = kept_options(config, before, option_names(info.options), info.free_options, tower=info.name)
            inputs.append(kind.continued(earlier[info.name], source, columns, kept))
        except NotTakenError as why:
            anew[info.name] = str(why)
            inputs.append(kind.build(source, columns, config))
        config = inputs[-1].config
    return [each.with_config(config) for each in inputs], anew


def input_rows(inputs: Iterable[BuiltInput], source: RowSource) -> dict[str, RowPart]:
    """Turn a frame into rows: tower → its rows.

    Raises:
        DataError: A cell that does not fit its column; an image that is not there.
    """
    return {each.kind.info.name: each.rows(source) for each in inputs}


def tower_maps(inputs: Iterable[BuiltInput], adapted: Mapping[str, LayerMap]) -> dict[str, LayerMap]:
    """Return the layers of the towers of a model: path below the model → map.

    Args:
        inputs: The inputs whose towers it has.
        adapted: The maps of backbones that were adapted, by tower.
    """
    maps: dict[str, LayerMap] = {}
    for one in inputs:
        name = one.kind.info.name
        if name in adapted:
            maps[f"towers.{name}.backbone"] = adapted[name]
            continue
        for path, layer_map in one.kind.layers(one.tower).items():
            maps[f"towers.{name}.{path}" if path else f"towers.{name}"] = layer_map
    return maps


def describe_inputs(inputs: Iterable[BuiltInput], folder: Path) -> dict[str, Any]:
    """Return what `rebuild_inputs` needs as plain data for JSON, by tower; files are written below `folder`."""
    return {each.kind.info.name: each.kind.describe(each, folder) for each in inputs}


def rebuild_inputs(
    described: Mapping[str, Any], folder: Path, config: ResolvedConfig, *, trust_remote_code: bool
) -> list[BuiltInput]:
    """Build the inputs of a saved predictor; the weights are loaded by the caller.

    Args:
        described: What `describe_inputs` returned; other keys are ignored.
        folder: The predictor's folder.
        config: Its configuration.
        trust_remote_code: Whether code may run that a backbone needs.

    Raises:
        ValueError: A description names other files, a hub, or code.
        ArtifactError: A backbone needs code that only `trust_remote_code` lets run.
        MissingDependencyError: A backbone has adapters, and peft is not installed.
    """
    return [
        load(info).rebuild(described[info.name], folder, config, trust_remote_code=trust_remote_code)
        for info in input_infos()
        if info.name in described
    ]
