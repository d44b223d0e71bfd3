"""Pages of reference, made from what the code says: every option, preset and metric, as Markdown.

Each function returns a whole page, which begins with a heading. Nothing is written; a site or a script does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from thermocline.registry import problem_infos
from thermocline.registry.metrics import MetricInfo

from . import lookup
from .joined import schema_of
from .keys import Key
from .presets import preset_names, read_preset
from .resolved import shown

_OPTIONS = """\
# Options

What `fit`, `explain` and `recommend` take as `hyperparameters={"optim.lr": 1e-4}`, the command line as
`--set optim.lr=1e-4`, and a YAML file or a preset as `optim: {lr: 1.0e-4}`. `thermocline options` and
`thermocline.list_options()` have the same.
"""

_PRESETS = """\
# Presets

Options by name: `fit(train, presets=["medium_quality", "offline"])`, or `--presets medium_quality offline`. Each is
laid over `default`, and a later one over an earlier one.
"""

_METRICS = """\
# Metrics

Names for `Predictor(label, eval_metric=…)` and `evaluate(data, metrics=[…])`. Errors of numbers are in the label's own
units; shares are from 0 to 1. Functions, scorers of scikit-learn and `thermocline.Metric` are taken as well.
"""


def options_markdown() -> str:
    """Return all options of all installed kinds, a heading for each section and each option.

    Returns:
        A page of Markdown. The heading of an option is its dotted name in code, so that links to it go by
        `#optimlr_decay` or what the site makes of it.

    Example:
        >>> "### `optim.lr_decay`" in options_markdown()
        True
    """
    schema = schema_of()
    lines = [_OPTIONS]
    section = ""
    for key in sorted(schema.keys.values(), key=lambda key: _order(key, schema.top)):
        own = key.path.rpartition(".")[0]
        if own != section:
            section = own
            lines += [f"## {section}", ""]
        lines += _option(key)
    return "\n".join(lines)


def presets_markdown() -> str:
    """Return all presets: what each is for, what it extends, what it sets, and why.

    Returns:
        A page of Markdown.

    Example:
        >>> "## offline" in presets_markdown()
        True
    """
    lines = [_PRESETS, "| preset | what it is for |", "|---|---|"]
    found = {name: read_preset(name) for name in preset_names()}
    lines += [f"| [{name}](#{name}) | {one.purpose} |" for name, one in found.items()]
    for name, one in found.items():
        lines += ["", f"## {name}", "", one.purpose]
        if one.extends:
            lines += ["", f"Extends {', '.join(f'[{parent}](#{parent})' for parent in one.extends)}."]
        if one.values:
            lines += ["", "| option | value |", "|---|---|"]
            lines += [f"| `{path}` | `{_cell(shown(value))}` |" for path, value in one.values.items()]
        lines += ["", *(f"- `{subject}`: {_cell(why)}" for subject, why in one.why.items())] if one.why else []
    return "\n".join([*lines, ""])


def metrics_markdown() -> str:
    """Return all metrics of all installed kinds of problem, a table for each kind.

    Returns:
        A page of Markdown.

    Example:
        >>> "| `f1_macro` | more |" in metrics_markdown()
        True
    """
    lines = [_METRICS]
    for info in problem_infos():
        lines += [f"## {', '.join(info.problem_types)}", "", "| problem type | validation goes by | also reported |"]
        lines.append("|---|---|---|")
        for one in info.problem_types:
            usual = [f"`{name}`" for name in info.usual_metrics[one] if name != info.default_metric[one]]
            lines.append(f"| {one} | `{info.default_metric[one]}` | {', '.join(usual)} |")
        lines += [
            "",
            "| metric | better is | for | also called |",
            "|---|---|---|---|",
            *map(_metric, info.metrics),
            "",
        ]
    return "\n".join(lines)


def _order(key: Key, top: Sequence[str]) -> tuple[int, str]:
    """Return where an option stands: by top section, then those directly in a section before those below it."""
    section = key.path.rpartition(".")[0]
    return top.index(section.partition(".")[0]), section


def _option(key: Key) -> Iterator[str]:
    """Yield the lines of one option."""
    yield from (f"### `{key.path}`", "", key.doc, "")
    read_by = "; ".join(part for part in (lookup.read_by(key), lookup.conditions(key)) if part)
    yield f"- takes {key.allowed}"
    yield f"- default: `{shown(key.default)}`"
    yield f"- read by {read_by}"
    if not key.varies:
        yield "- cannot vary in a search"
    if presets := lookup.set_by_presets(key):
        yield f"- set by the presets {', '.join(f'`{name}` (`{shown(value)}`)' for name, value in presets.items())}"
    line, python = lookup.example(key)
    if line:
        yield f"- example: `{line}`, `{python}`"
    yield ""


def _metric(one: MetricInfo) -> str:
    name = f"`{one.name}:…`" if one.parameter else f"`{one.name}`"
    note = f" ({one.parameter.what})" if one.parameter else ""
    aliases = ", ".join(f"`{_cell(alias)}`" for alias in one.aliases)
    better = "more" if one.greater_is_better else "less"
    return f"| {name}{note} | {better} | {', '.join(one.problem_types)} | {aliases} |"


def _cell(text: Any) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
