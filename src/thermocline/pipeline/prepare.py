"""Read, check, split: all that data and options alone can show is shown here, before anything is loaded."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

from thermocline import registry
from thermocline.config import ResolvedConfig, check_read, reads_of
from thermocline.contracts.labelled import Labelled, Reading
from thermocline.contracts.problem import Problem
from thermocline.contracts.request import Request
from thermocline.data.columns import Columns
from thermocline.data.roots import Roots
from thermocline.data.worker_processes import check_number
from thermocline.errors import ConfigError, ThermoclineWarning, counted
from thermocline.pipeline.arguments import check_seed
from thermocline.pipeline.columns_before import as_before, with_column_types
from thermocline.pipeline.inherited_faults import told_inherited
from thermocline.pipeline.places import check_loggers
from thermocline.training.device import choose_device, choose_precision, launch_note
from thermocline.training.optimizing import check_optimizer

FEW_ROWS = 3
"""So many training rows, or fewer, are warned of."""


@dataclass(frozen=True)
class Prepared:
    """Checked and split data.

    Attributes:
        request: What was asked for.
        problem: The kind of problem.
        target: What the label asks for.
        columns: The columns.
        config: The configuration, device and precision chosen.
        train: Training rows.
        valid: Validation rows.
        notes: What a user should know: rows left out, how the rows were split.
    """

    request: Request
    problem: Problem
    target: Any
    columns: Columns
    config: ResolvedConfig
    train: Labelled
    valid: Labelled
    notes: tuple[str, ...]

    def for_request(self, request: Request) -> Prepared:
        """Return the same data for another request, with what that has settled about the model and its training."""
        return replace(self, request=request, config=with_chosen(self.config, request))


def problem_of(request: Request) -> Problem:
    """Return the kind of problem of a request: the caller's own, or the one that the problem type means."""
    problem: Problem = request.problem or registry.load(registry.find_problem(request.problem_type))
    return problem


def prepare(request: Request) -> Prepared:
    """Check the data and the options against each other, and split.

    Raises:
        ThermoclineError: The data or an option cannot be used; the message says where and what to do.
    """
    check_seed(request.seed)
    problem = problem_of(request)
    config = with_chosen(request.settled(problem.info), request)
    with told_inherited(request, config):
        return _prepared(request, problem, config)


def _prepared(request: Request, problem: Problem, config: ResolvedConfig) -> Prepared:
    if request.training:
        check_loggers(request, config)
        check_number(config.env.num_workers or 0)
    problem.check_request(request, config)
    config = with_device(config)
    check_optimizer(config)
    roots = Roots.of_training(config.data.image_folder)
    reading = Reading("train_data", "train", request, config, roots=roots)
    found = problem.read(request.data, reading)
    columns = as_before(problem.find_columns(found, with_column_types(request, found.frame.columns)), request)
    check_options(problem, columns, config, request.problem_type)  # early; checked again once the type is inferred
    if request.earlier is None:  # which has the weights that are to be found
        problem.check(columns, config)
    found = problem.keep_usable(found, columns, reading)
    target = problem.find_target(found, request)
    if request.positive_class is not None and getattr(target, "positive", None) is None and not _was_binary(request):
        raise ConfigError(
            f"positive_class={request.positive_class!r} is for binary problems, and {request.label!r} is "
            f"{target.problem_type}. Leave it out."
        )
    unread = check_options(problem, columns, config, target.problem_type)
    if request.tuning_data is None:
        train, valid, config, reason = _split(problem, found, target, config, seed=request.seed)
        notes = found.notes
    else:
        roots = Roots.of_tuning(config.data.image_folder)
        reading = Reading("tuning_data", "validate", request, config, columns, roots)
        valid = problem.keep_usable(problem.read(request.tuning_data, reading), columns, reading)
        problem.check_labels(valid, target, what="tuning_data")
        problem.check_apart(found, valid, target, columns)
        train, reason, notes = found, "tuning_data", (*found.notes, *valid.notes)
    _warn_of_few(len(train), len(valid))
    rows = problem.describe_split(train, valid, reason)
    told = (rows, *notes, *config.notes, *unread, *launch_note())
    return Prepared(request, problem, target, columns, config, train, valid, told)


def _was_binary(request: Request) -> bool:
    """Whether the positive class is that of the predictor that the fit starts from, which had two classes."""
    was = None if request.earlier is None else getattr(request.earlier.assembly.target, "positive", None)
    return was is not None and bool(was == request.positive_class)


def with_chosen(config: ResolvedConfig, request: Request) -> ResolvedConfig:
    """Return a configuration with what was settled before the request was made."""
    for key, (value, why) in request.chosen.items():
        config = config.choose(key, value, why)
    return config


def _warn_of_few(train: int, valid: int) -> None:
    if train > FEW_ROWS:
        return
    warnings.warn(
        f"There {'is' if train == 1 else 'are'} only {counted(train, 'row')} to train on, and {valid:,} to validate: "
        "scores and the choice of the best state are chance. Give more data.",
        ThermoclineWarning,
        stacklevel=6,
    )


def with_device(config: ResolvedConfig) -> ResolvedConfig:
    """Choose device and precision.

    Raises:
        ConfigError: The device is not there, or does not compute in this precision.
    """
    device, why = choose_device(config.env.device)
    config = config if config.env.device == device else config.choose("env.device", device, why)
    precision, why = choose_precision(config.env.precision, device)
    return config if config.env.precision == precision else config.choose("env.precision", precision, why)


def check_options(
    problem: Problem, columns: Columns, config: ResolvedConfig, problem_type: str | None
) -> tuple[str, ...]:
    """Check that what was set by hand, or is to be searched, is read by this fit.

    Args:
        problem: The kind of problem.
        columns: The columns.
        config: The configuration.
        problem_type: The problem type; None before it is inferred.

    Raises:
        ConfigError: Something is not; every fault in one error.

    Returns:
        A note for each option that a preset or a file sets and this fit does not read.
    """
    infos = [info for info in registry.input_infos() if info.name in problem.info.inputs]
    used = [info for info in infos if columns.have(info.column_types)]
    return check_read(config, reads_of(problem.info, used, problem_type))


def _split(
    problem: Problem, found: Labelled, target: Any, config: ResolvedConfig, *, seed: int
) -> tuple[Labelled, Labelled, ResolvedConfig, str]:
    fraction = config.data.valid_fraction
    train, valid, reason = problem.split(found, target, fraction, seed=seed)
    if fraction is None:
        config = config.choose("data.valid_fraction", round(len(valid) / len(found), 4), reason)
    return problem.take(found, train), problem.take(found, valid), config, reason
