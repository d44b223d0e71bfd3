"""Phases as a configuration asks for them, and a plan told how long its run is."""

from __future__ import annotations

import math
from dataclasses import replace

from thermocline.config import ResolvedConfig
from thermocline.data.order import epoch_order
from thermocline.errors import ConfigError
from thermocline.tuning.named_schedules.by_name import read_request
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.phase_files import phases_from_data
from thermocline.tuning.schedule.phases import Phase


def read_phases(config: ResolvedConfig) -> tuple[Phase, ...] | None:
    """Return the phases that are written out in a configuration, if there are any.

    Raises:
        ConfigError: They cannot be read, or a schedule plan is asked for besides, or there is no such plan.
    """
    optim = config.optim
    if optim.schedule_plan is not None:
        if optim.phases is not None:
            raise ConfigError("optim.phases and optim.schedule_plan both say what trains when; give one of them.")
        read_request(optim.schedule_plan)
    return None if optim.phases is None else phases_from_data(optim.phases, "optim.phases")


def with_phases(plan: LayerPlan, config: ResolvedConfig, phases: tuple[Phase, ...] | None, rows: int) -> LayerPlan:
    """Return the plan with the phases that a configuration writes out, or has a generator write."""
    if phases is not None:
        return plan.with_phases(phases)
    if config.optim.schedule_plan is None:
        return plan
    return fitted_to_run(plan, config, rows)[0].scheduled(config.optim.schedule_plan)


def fitted_to_run(plan: LayerPlan, config: ResolvedConfig, rows: int) -> tuple[LayerPlan, ResolvedConfig]:
    """Tell the plan how long the run is; where the phases say how many epochs they take, that is the number.

    Args:
        plan: The plan.
        config: Its `optim.max_epochs` gives way to the phases unless a user or a preset set it.
        rows: Training rows.
    """
    if plan.epochs is not None and config.provenance["optim.max_epochs"].startswith("chosen"):
        config = config.choose("optim.max_epochs", math.ceil(plan.epochs), "the phases of the plan")
    optim, batch = config.optim, config.env.batch_size
    assert optim.max_epochs
    assert batch
    per_epoch = len(epoch_order(rows, batch, seed=0, epoch=0, lengths=None))
    total = per_epoch * optim.max_epochs
    total = total if optim.max_steps is None else min(total, optim.max_steps)
    return replace(plan, total_steps=total, steps_per_epoch=per_epoch), config
