"""The plan of a run: what the options ask for, or a plan that was given, with the length of the run."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from thermocline.config import ResolvedConfig, read_phase_file
from thermocline.contracts.problem import Built, Problem
from thermocline.errors import ConfigError, SelectorError, listing
from thermocline.training.run_length import RunLength
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.selectors import read_selector
from thermocline.tuning.named_schedules.by_name import read_request
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.plan.layer_rates import checked_rates
from thermocline.tuning.plan.parameter_rules import rules_from_data
from thermocline.tuning.schedule.phase_files import WrittenPhases, phases_from_data
from thermocline.tuning.schedule.phases import EVERYTHING, Phase, check_arguments

GivenPlan = LayerPlan | WrittenPhases | None
"""A plan to follow, phases alone, or nothing."""


def plan_for(
    problem: Problem, built: Built, given: GivenPlan, phases: tuple[Phase, ...] | None, rows: int
) -> tuple[LayerPlan, ResolvedConfig]:
    """Return the plan of a run, and the configuration with what the plan decides.

    Args:
        problem: The kind of problem; it adds to what is frozen.
        built: The model's layers and its configuration.
        given: A plan or phases that go before the options.
        phases: The phases that the options write out (`read_phases`).
        rows: Training rows.

    Raises:
        SelectorError: `frozen_layers` matches nothing, or everything.
        ConfigError: A plan that was given is for other layers.
    """
    layer_map, config = built.layer_map, built.config
    plan = _with_phases(_from_options(problem, layer_map, config), config, phases, rows)
    plan, config = _with_length(plan, config, rows)
    if isinstance(given, LayerPlan):
        given.check(layer_map)
        for key, value in (("optim.lr", given.lr), ("optim.lr_choice", given.lr_choice)):
            config = config.choose(key, value, "the plan that was given")
        plan, config = _with_length(given, config, rows)
    elif given is not None:
        plan, config = _with_length(plan.with_phases(given.phases(phase_of_options(config))), config, rows)
    plan.check(layer_map)
    return plan, config


def check_layer_options(config: ResolvedConfig) -> None:
    """Raise where frozen layers, rates by selector or parameter rules cannot be read, whatever the layers are.

    Raises:
        ConfigError: The line says which, and what is allowed.
        SelectorError: Likewise.
    """
    for key, value in config.items():
        if key.endswith(".frozen_layers") and value is not None:
            read_selector(value)
    if config.optim.layer_lr is not None:
        rates = checked_rates(config.optim.layer_lr, "optim.lr")
        if EVERYTHING in rates:
            raise ConfigError("optim.layer_lr has no '*': the rate of what it does not name is optim.lr.")
    rules_from_data(config.optim.parameter_rules, "optim.parameter_rules")


def read_phases(config: ResolvedConfig) -> tuple[Phase, ...] | None:
    """Return the phases that are written out in a configuration, if there are any.

    Raises:
        ConfigError: They cannot be read, or a schedule plan is asked for besides, or there is no such plan; or the
            schedule has other arguments.
    """
    optim = config.optim
    like = phase_of_options(config)
    if optim.schedule_plan is not None:
        if optim.phases is not None:
            raise ConfigError("optim.phases and optim.schedule_plan both say what trains when; give one of them.")
        read_request(optim.schedule_plan)
    return None if optim.phases is None else phases_from_data(optim.phases, "optim.phases", like)


def phase_of_options(config: ResolvedConfig) -> Phase:
    """Return the phase that `optim.lr_schedule`, its arguments and `optim.warmup` describe.

    Raises:
        ConfigError: The schedule does not take these arguments.
    """
    optim = config.optim
    arguments = optim.lr_schedule_args or {}
    check_arguments(optim.lr_schedule, arguments, "optim.lr_schedule_args")
    try:
        return phases_from_data([{"schedule": optim.lr_schedule, "warmup": optim.warmup, **arguments}])[0]
    except ConfigError as error:
        raise ConfigError(f"optim.lr_schedule_args: {str(error).removeprefix('phases[0]: ')}") from None


def read_plan(plan: LayerPlan | str | os.PathLike[str] | None) -> GivenPlan:
    """Return a plan that was given, read from its file where a path was given.

    Raises:
        ConfigError: No such file, or it cannot be read.
    """
    if plan is None or isinstance(plan, LayerPlan):
        return plan
    if not isinstance(plan, str | os.PathLike):
        raise ConfigError(
            "plan is a LayerPlan, or the path to one saved as JSON or to a YAML file of phases, not "
            f"{type(plan).__name__}."
        )
    path = Path(plan)
    if not path.is_file():
        raise ConfigError(
            f"There is no plan at {str(path)!r}. Write one: Path(…).write_text(predictor.explain(…).to_json())."
        )
    try:
        if path.suffix in (".yaml", ".yml"):
            return WrittenPhases(read_phase_file(str(path)), "phases")
        return LayerPlan.from_json(path.read_text(encoding="utf-8"))
    except (ConfigError, UnicodeDecodeError) as error:
        raise ConfigError(f"The plan {str(path)!r} cannot be read: {error}") from error


def _from_options(problem: Problem, layer_map: LayerMap, config: ResolvedConfig) -> LayerPlan:
    """Return the plan that the options ask for."""
    optim = config.optim
    assert optim.lr is not None
    own = _tower_selectors(layer_map, config)
    return LayerPlan.build(
        layer_map,
        lr=optim.lr if optim.layer_lr is None else {**optim.layer_lr, EVERYTHING: optim.lr},
        lr_choice=optim.lr_choice,
        lr_decay=optim.lr_decay,
        lr_min_scale=optim.lr_min_scale,
        lr_mult=optim.lr_mult,
        weight_decay=optim.weight_decay,
        frozen_layers=config.model.frozen_layers,
        tower_frozen_layers=problem.frozen_selectors(layer_map, config, own),
        parameter_rules=optim.parameter_rules,
    ).with_phases([replace(phase_of_options(config), name=Phase().name)])


def _tower_selectors(layer_map: LayerMap, config: ResolvedConfig) -> Mapping[str, Any]:
    """Return tower → selector of `model.<tower>.frozen_layers`.

    Raises:
        SelectorError: One is set by the user for a tower that is not there.
    """
    selectors: dict[str, Any] = {}
    for name, key in tower_sections(config).items():
        value = config[f"{key}.frozen_layers"]
        if value is None:
            continue
        if name in layer_map.towers:
            selectors[name] = value
        elif config.provenance.get(f"{key}.frozen_layers") == "user":
            raise SelectorError(
                f"{key}.frozen_layers={value!r} matches nothing: this problem has no {name} tower. Towers: "
                f"{listing(layer_map.towers)}. Leave it out, or see the columns' types (column_types)."
            )
    return selectors


def tower_sections(config: ResolvedConfig) -> dict[str, str]:
    """Return tower → its section of the configuration: those under `model` that can freeze layers."""
    sections = [key.removesuffix(".frozen_layers") for key, _ in config.items() if key.endswith(".frozen_layers")]
    return {section.partition(".")[2]: section for section in sections if section.startswith("model.")}


def _with_phases(plan: LayerPlan, config: ResolvedConfig, phases: tuple[Phase, ...] | None, rows: int) -> LayerPlan:
    """Return the plan with the phases that a configuration writes out, or that a named schedule writes."""
    if phases is not None:
        return plan.with_phases(phases)
    if config.optim.schedule_plan is None:
        return plan
    return _with_length(plan, config, rows)[0].scheduled(config.optim.schedule_plan)


def _with_length(plan: LayerPlan, config: ResolvedConfig, rows: int) -> tuple[LayerPlan, ResolvedConfig]:
    """Return the plan with the length of the run. Where the phases say how many epochs they take, that is the number,
    unless a user or a preset set `optim.max_epochs`.
    """
    if plan.epochs is not None and config.provenance["optim.max_epochs"].startswith("chosen"):
        config = config.choose("optim.max_epochs", math.ceil(plan.epochs), "the phases of the plan")
    length = RunLength.of(config, rows)
    return replace(plan, total_steps=length.total_steps, steps_per_epoch=length.steps_per_epoch), config
