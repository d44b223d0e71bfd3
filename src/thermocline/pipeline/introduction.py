"""What is said before training: a summary of at most twenty lines, or every choice that was made."""

from __future__ import annotations

from collections.abc import Iterator

from thermocline.config.overrides import BY_HAND, FILE
from thermocline.config.resolved import CHOSEN, DEFAULT, PRESET, STARTED, shown
from thermocline.config.spaces import SEARCH
from thermocline.contracts.problem import Assembly
from thermocline.data.columns import KINDS, Columns
from thermocline.efficiency.costs.estimate import duration, size
from thermocline.errors import ConfigError, counted, listing
from thermocline.pipeline.arguments import seconds_of
from thermocline.pipeline.planning import tower_sections
from thermocline.pipeline.ready import Ready
from thermocline.report.console import Console
from thermocline.report.headed import Headed, Section
from thermocline.report.tables import count
from thermocline.training.optimizing import optimizer_cost
from thermocline.training.run_length import RunLength
from thermocline.tuning.plan.ribbon import course, ends
from thermocline.tuning.plan.show import headline

ALL = 2
"""The verbosity at which every choice is said."""

_MOST_LINES = 18  # where there are many notes; two of them are always there
_PHASES_NAMED = 3


def introduce(console: Console, found: Ready, *, plan: bool = True) -> None:
    """Say what was chosen before the work starts.

    Args:
        console: Under verbosity 1 it says a summary, under 2 the columns, all options that are no defaults, and the
            whole plan.
        found: Data and model of the fit.
        plan: Whether training follows; else the plan is what the caller gets.
    """
    if console.verbosity < ALL:
        console.headed(summary(found, plan=plan))
        return
    assembly, prepared = found.assembly, found.prepared
    console.say(f"{_title(assembly)} ({assembly.target.reason})", "bold")
    for note in (*prepared.notes, *assembly.built.notes):
        console.say(note)
    console.say(str(assembly.columns))
    sections = tower_sections(assembly.config)
    console.say(assembly.config.summary(without=[sections[name] for name in sections.keys() - assembly.model.towers]))
    if plan:
        console.say(str(assembly.plan))


def summary(found: Ready, *, plan: bool = True) -> Headed:
    """Return what a fit is about to do, in at most twenty lines.

    Args:
        found: Data and model.
        plan: Whether plan and folder are a part of it.
    """
    prepared, assembly, target = found.prepared, found.assembly, found.assembly.target
    labels = ": ".join(filter(None, [target.reason, prepared.problem.describe_labels(prepared.train, target)]))
    notes = [*prepared.notes, *assembly.built.notes]
    rows = f"{counted(len(found.train), 'row')} to train on, {len(found.valid):,} to validate on"
    notes = [note for note in notes if note not in assembly.plan.warnings and not _says_rows(note)]
    sections = [
        Section("Data", [rows, _columns(assembly.columns)], 3, "predictor.columns"),
        Section("Label", [labels] if labels else [], 2, "predictor.classes_"),
        Section("Model", _model(assembly), 4, "predictor.plan"),
    ]
    if plan:
        sections.append(Section("Plan", [headline(assembly.plan), _course(found)], 3, "predictor.plan"))
    sections += [
        Section("Cost", _cost(found), 1, cut=True),
        Section("Options", list(_options(assembly)), 3, "predictor.config"),
    ]
    if plan and prepared.request.path is not None:
        sections.append(Section("Saved", [f"to {str(prepared.request.path)!r} at the end"], 1))
    left = _MOST_LINES - len(str(Headed(_title(assembly), tuple(sections))).splitlines())
    sections.append(Section("Notes", notes, max(left, 2), "predictor.history, or verbosity=2", cut=True))
    return Headed(_title(assembly), tuple(sections))


def _says_rows(note: str) -> bool:
    """Whether a note says how many rows there are, which the summary does anyway."""
    return " train, " in note and " validate" in note and "(" in note


def _title(assembly: Assembly) -> str:
    target = assembly.target
    label = "without a label" if target.label is None else f"on {target.label!r}"
    return f"{target.problem_type} {label}, validated by {target.eval_metric}"


def _columns(columns: Columns) -> str:
    """The columns by type, and where values are missing."""
    counts = {kind if kind != "null" else "not used": len(columns.of(kind)) for kind in KINDS}
    by_kind = [f"{number} {kind}" for kind, number in counts.items() if number]
    missing = [one.name for one in columns if one.missing and one.kind != "null"]
    gaps = f"; missing values in {listing(missing, limit=3)}" if missing else ""
    return f"{counted(len(columns), 'column')}: {', '.join(by_kind)}{gaps}"


def _model(assembly: Assembly) -> list[str]:
    """A line for each tower: its backbone, its weights, and whether they are pretrained and train."""
    config, never = assembly.config, frozenset(assembly.plan.frozen)
    sections, lines = tower_sections(config), []
    for tower in dict.fromkeys(layer.tower for layer in assembly.plan.layers):
        own = [layer for layer in assembly.plan.layers if layer.tower == tower]
        total = sum(layer.n_parameters for layer in own)
        trains = sum(layer.n_parameters for layer in own if layer.label not in never)
        known = _checkpoint(assembly, sections.get(tower, ""))
        state = "pretrained" if any(layer.pretrained for layer in own) else "not pretrained"
        trained = "all train" if trains == total else "frozen" if not trains else f"{count(trains)} train"
        parts = [f"{known}, {state}"] if known else []
        lines.append(f"{tower}: {', '.join([*parts, f'{count(total)} weights', trained])}")
    return lines


def _checkpoint(assembly: Assembly, section: str) -> str:
    """The pretrained weights, or the architecture, that a tower's section of the configuration names; or nothing."""
    try:
        return str(assembly.config[f"{section}.checkpoint"] or "")
    except ConfigError:
        return ""


def _course(found: Ready) -> str:
    """How long the run is, and its phases in short."""
    assembly = found.assembly
    plan, env = assembly.plan, assembly.config.env
    length = RunLength.of(assembly.config, len(found.train))
    epochs = f"{length.total_steps / length.steps_per_epoch:.3g}"
    steps = f"{counted(length.total_steps, 'step')} of {counted(env.batch_size or 0, 'row')} "
    steps += f"({epochs} epoch{'' if epochs == '1' else 's'})"
    phases = [f"{phase.name} ({ends(phase)})" for phase in plan.phases]
    if len(phases) == 1:
        return f"{steps}; {course(plan.phases[0])}"
    return f"{steps} in {len(phases)} phases: {listing(phases, limit=_PHASES_NAMED)}"


def _cost(found: Ready) -> list[str]:
    """The bytes that are known before a step was taken, the device, and the limit of time."""
    assembly, limit = found.assembly, found.prepared.request.time_limit
    env = assembly.config.env
    named = dict(assembly.model.named_parameters())
    optimizer = optimizer_cost(assembly).share
    never = frozenset(assembly.plan.frozen)
    total = 0.0
    for layer in assembly.layer_map:
        own = sum(named[name].nbytes for name in layer.parameters if name in named)
        total += own if layer.label in never else own * (2.0 + optimizer.get(layer.label, 0.0))
    told = f"at least {size(total)}, and activations on top"
    seconds = seconds_of(limit)
    return [f"{told}; {env.precision} on {env.device}" + ("" if seconds is None else f"; at most {duration(seconds)}")]


def _options(assembly: Assembly) -> Iterator[str]:
    """The options that were set, in full, and how many others are no defaults."""
    config = assembly.config
    given, preset, chosen, before = [], 0, 0, 0
    for key, value in config.items():
        origin = config.provenance[key]
        if origin == BY_HAND or origin.startswith((FILE, SEARCH)):
            given.append(f"{key}={shown(value)}")
        before += origin.startswith(STARTED)
        preset += origin.startswith(PRESET)
        chosen += origin.startswith(CHOSEN)
    if given:
        yield f"set: {', '.join(given)}"
    by = f"{'presets' if len(config.presets) > 1 else 'preset'} {', '.join(config.presets)}"
    told = {f"by {by}": preset, "chosen": chosen, "as in the earlier fit": before}
    usual = sum(origin == DEFAULT for origin in config.provenance.values())
    counts = [f"{number} {how}" for how, number in told.items() if number] + [f"{usual} at their defaults"]
    yield ", ".join(counts)
