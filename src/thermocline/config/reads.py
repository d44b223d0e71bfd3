"""Which options a fit reads, and what is said of those that were set and have no effect.

An option that was set by hand and that this kind of problem never reads is an error; from a preset or a file of
hyperparameters, which are shared between problems, it is a note. An option that would be read with other columns, or
with another value of another option, is a note where it was set by hand: one set of options may serve several frames,
and several choices in a loop. All count only where the value is another than it would be otherwise (that of the
presets, or the default): to set what holds anyway does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thermocline.registry import InputInfo, ProblemInfo, input_infos, problem_infos, types_of

from .joined import Schema, option_names, schema_of, shared_options
from .keys import Key
from .overrides import BY_HAND, FILE, raise_faults
from .resolved import PRESET, ResolvedConfig, shown
from .spaces import SEARCH

READ_BY_KINDS = (
    "model.conv_bn",
    "model.fusion.*",
    "model.lora_alpha",
    "model.lora_rank",
    "model.peft",
    "model.tfidf",
    "model.trees",
    "data.image_folder",
    "data.max_unreadable_images",
    "data.target_transform",
    "env.cache_images",
    "env.compile",
    "env.micro_batch_tokens",
    "optim.arms",
    "optim.calibrate",
    "optim.class_weights",
    "optim.cutmix",
    "optim.head_init",
    "optim.label_smoothing",
    "optim.loss",
    "optim.mixup",
    "optim.threshold",
)
"""Shared options that a fit reads only where its kinds say so (`ProblemInfo.reads`, `InputInfo.reads`)."""

ALONE = "all columns are of one kind of input, and nothing is joined. Leave it out."


@dataclass(frozen=True)
class Reads:
    """The options that a fit reads.

    Attributes:
        names: Their dotted names.
        what: The fit, for messages: its problem type.
        reasons: Dotted name of an option that is not read → why, and what to do.
        by_columns: Options that are read with other columns than the data have.
        own_preset: The preset of this kind of problem; its options are not noted.
    """

    names: frozenset[str]
    what: str
    reasons: Mapping[str, str] = field(default_factory=dict)
    by_columns: frozenset[str] = frozenset()
    own_preset: str = ""


def reads_of(problem: ProblemInfo, inputs: Sequence[InputInfo], problem_type: str | None = None) -> Reads:
    """Return which options a fit reads.

    Args:
        problem: The kind of problem.
        inputs: The input kinds of its columns.
        problem_type: The problem type; None counts what any of the kind's types reads.

    Raises:
        ConfigError: A kind names an option in its `reads` that does not exist.
    """
    schema, what = schema_of(problem), problem_type or problem.name
    types = types_of(problem, problem_type)
    patterns = set(problem.reads).union(*(problem.reads_by_type.get(one, frozenset()) for one in types))
    patterns = patterns.union(*(one.reads for one in inputs), problem.reads_joined if len(inputs) > 1 else ())
    own = option_names(problem.options).union(*(option_names(one.options) for one in inputs))
    names = read_by_every_fit(schema) | own | expanded(patterns, schema)
    by_columns = {
        **_of_absent_inputs(problem, inputs, schema),
        **dict.fromkeys(expanded(problem.reads_joined, schema), ALONE),
    }
    reasons = {
        **_of_other_problems(problem, own, what),
        **by_columns,
        **_of_other_types(problem, schema, what),
        **problem.unread,
    }
    return Reads(names, what, reasons, frozenset(by_columns) - names, problem.preset)


def check_read(config: ResolvedConfig, reads: Reads) -> tuple[str, ...]:
    """Check that everything set by hand has an effect.

    Args:
        config: The configuration.
        reads: What the fit reads.

    Returns:
        A note for each option set by hand that is read with other columns or other options, and for each preset and
        each file that sets options which this kind of problem does not read.

    Raises:
        ConfigError: Options set by hand that this kind of problem never reads, and options in a search that this fit
            does not read; all of them in one error.
    """
    faults: list[str] = []
    notes: list[str] = []
    unread: dict[str, list[str]] = {}
    for name, origin in config.provenance.items():
        is_read = name in reads.names
        if origin.startswith(SEARCH) and not is_read:
            faults.append(f"{name} is a space and has no effect: {_reason(name, reads)}")
        if not _differs(config, name):
            continue
        if origin == BY_HAND:
            why = _unmet(config, name) if is_read else _reason(name, reads)
            line = f"{name} is set to {shown(config[name])} and has no effect: {why}"
            if why:
                (notes if is_read or name in reads.by_columns else faults).append(line)
        elif name in reads.by_columns or is_read or origin == f"{PRESET}{reads.own_preset}":
            continue
        elif origin.startswith((FILE, PRESET)):
            unread.setdefault(origin, []).append(name)
    raise_faults(faults, "hyperparameters")
    shared = [
        f"{origin.replace(':', ' ', 1)} sets options that have no effect here: {', '.join(names)}"
        for origin, names in unread.items()
    ]
    return (*notes, *shared)


def _reason(name: str, reads: Reads) -> str:
    """Return why an option is not read, and what to do."""
    return reads.reasons.get(name, f"{reads.what} does not read it. Leave it out.")


def _differs(config: ResolvedConfig, name: str) -> bool:
    """Whether a value is another than it would be had the user, or the preset, not set it."""
    return bool(config[name] != config.replaced.get(name, config.schema.keys[name].default))


def _unmet(config: ResolvedConfig, name: str) -> str:
    """Return which other option keeps this one from being read, and what to do; empty where none does.

    The default means the same with and without the other option, so nothing is said of it.
    """
    key: Key = config.schema.keys[name]
    if config[name] == key.default:
        return ""
    for other, values in key.only_with:
        if config[other] not in values:
            wanted = " or ".join(f"{other}={shown(value)}" for value in values)
            return (
                f"it is read with {wanted} only, and {other} is {shown(config[other])}. Leave it out, or set {wanted}."
            )
    for other, values in key.not_with:
        if config[other] in values:
            return f"it is not read with {other}={shown(config[other])}. Leave it out, or change {other}."
    return ""


def read_by_every_fit(schema: Schema) -> frozenset[str]:
    """Return the options that every fit reads."""
    return shared_options() - expanded(READ_BY_KINDS, schema)


def expanded(patterns: Iterable[str], schema: Schema) -> frozenset[str]:
    """Return the options that names, or sections as `model.fusion.*`, mean."""
    names: set[str] = set()
    for pattern in patterns:
        section = pattern.removesuffix("*")
        found = [name for name in schema.keys if name.startswith(section)] if section != pattern else []
        names.update(found or [schema.key(pattern).path])
    return frozenset(names)


def _of_other_problems(problem: ProblemInfo, own: Iterable[str], what: str) -> dict[str, str]:
    """Return a reason for each option of another kind of problem, and of inputs that this kind does not have."""
    reasons: dict[str, str] = {}
    for one in input_infos():
        if one.name not in problem.inputs:
            reasons |= dict.fromkeys(option_names(one.options), f"{what} does not read it.")
    for other in problem_infos():
        if other.name != problem.name:
            text = f"{what} does not read it, but {_words(other.problem_types)} does."
            reasons |= dict.fromkeys(option_names(other.options), text)
    alike = {name.rpartition(".")[2]: name for name in own}
    hints = {name: alike.get(name.rpartition(".")[2]) for name in reasons}
    return {
        name: f"{text} Leave it out{f', or set {hints[name]}' if hints[name] else ''}."
        for name, text in reasons.items()
    }


def _of_absent_inputs(problem: ProblemInfo, inputs: Sequence[InputInfo], schema: Schema) -> dict[str, str]:
    """Return a reason for each option that is read with columns which the data do not have."""
    used = {one.name for one in inputs}
    types: dict[str, list[str]] = {}
    for one in input_infos():
        if one.name in problem.inputs and one.name not in used:
            for name in option_names(one.options) | expanded(one.reads, schema):
                types.setdefault(name, []).extend(one.column_types)
    advice = "Leave it out, or see the columns' types (column_types)."
    return {name: f"there is no column of type {_words(known)}. {advice}" for name, known in types.items()}


def _of_other_types(problem: ProblemInfo, schema: Schema, what: str) -> dict[str, str]:
    """Return a reason for each option that this kind reads with other problem types only."""
    types: dict[str, list[str]] = {}
    for one, patterns in problem.reads_by_type.items():
        for name in expanded(patterns, schema):
            types.setdefault(name, []).append(one)
    return {name: f"{what} does not read it, but {_words(known)} does. Leave it out." for name, known in types.items()}


def _words(names: Sequence[Any]) -> str:
    *front, last = names
    return f"{', '.join(front)} or {last}" if front else str(last)
