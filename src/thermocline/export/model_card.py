"""A model card (Mitchell et al., FAT* 2019) in Markdown: what a model was trained on, how, and what it scores."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

import thermocline
from thermocline.backbones.licences import licence_of
from thermocline.contracts.problem import Assembly
from thermocline.errors import escaped, listing
from thermocline.pipeline.fitted import Fitted
from thermocline.pipeline.planning import tower_sections

MOST_CLASSES = 50  # that are named
LIBRARIES = ("torch", "transformers", "timm", "tokenizers", "peft", "onnxruntime")
PLAIN_USE = "thermocline.Predictor.load('path/to/folder').predict(data)"


def card(fitted: Fitted, format: str | None, use: str, scores: pd.DataFrame | None = None) -> str:
    """Return the card.

    Args:
        fitted: The model.
        format: Of the export that it lies in, or None where it stands alone.
        use: How the model is loaded.
        scores: Of other data, before and after an export.
    """
    assembly = fitted.assembly
    target = assembly.target
    parts = [
        f"# {_plain(', '.join(map(str, target.labels)) or 'no label')}: {target.problem_type}",
        f"A model of [Thermocline](https://pypi.org/project/thermocline) {thermocline.__version__}.",
        *_use(format, use),
        *_data(fitted),
        *_weights(assembly),
        *_training(assembly),
        *_scores(fitted, scores),
        *_versions(),
    ]
    return "\n\n".join(parts) + "\n"


def _use(format: str | None, use: str) -> list[str]:
    language = "sh" if use.startswith("python ") else "python"
    lines = ["## Use", f"```{language}\n{use}\n```"]
    if format == "onnx":
        lines += [
            "`run.py` needs the packages in `requirements.txt` only; from Python: `from run import Model`. Names and "
            "axes of the inputs, and what turns rows into them, are in `preprocessing.json`."
        ]
    if format == "torch_export":
        lines += ["It takes a dict of tensors; their names and axes are in `preprocessing.json`."]
    if format in ("transformers", "timm"):
        lines += ["This folder holds the tuned backbone alone: it gives features, and no predictions."]
    return lines


def _data(fitted: Fitted) -> list[str]:
    assembly, target = fitted.assembly, fitted.assembly.target
    notes = [str(note) for note in fitted.history.to_frame().get("note", []) if note]
    split = next((note for note in notes if " train, " in note), "")
    columns = [(column.name, column.kind, f"{column.missing:,}") for column in assembly.columns]
    lines = ["## Data", *([f"{split[:1].upper()}{_plain(split[1:])}."] if split else [])]
    lines += [_table(("column", "type", "missing in training"), columns)]
    classes = getattr(target, "classes", ())
    if classes:
        named = ", ".join(f"`{_plain(str(name))}`" for name in classes[:MOST_CLASSES])
        more = f" and {len(classes) - MOST_CLASSES:,} more" if len(classes) > MOST_CLASSES else ""
        lines += [f"{len(classes):,} classes: {named}{more}."]
    positive = getattr(target, "positive", None)
    if positive is not None:
        lines += [f"Positive class: `{_plain(str(positive))}`, above a probability of {target.threshold or 0.5:.3g}."]
    return lines


def _weights(assembly: Assembly) -> list[str]:
    rows = []
    for name, tower in assembly.model.towers.items():
        key = f"model.{name}.checkpoint"
        checkpoint = assembly.config[key] if key in assembly.config.schema.keys else None
        if checkpoint is None or not tower.pretrained:
            rows.append((name, "none: it started from random weights", "–"))
        else:
            rows.append((name, checkpoint, licence_of(checkpoint) or "not stated where they were read; see their page"))
    return ["## Pretrained weights", _table(("tower", "checkpoint", "licence"), rows)]


def _training(assembly: Assembly) -> list[str]:
    sections = tower_sections(assembly.config)
    unused = [sections[name] for name in sections.keys() - assembly.model.towers]
    presets = listing(assembly.config.presets) if assembly.config.presets else "none"
    return [
        "## Training",
        f"Presets: {presets}. What each layer did:",
        f"```\n{assembly.plan}\n```",
        "Options that are not defaults:",
        f"```\n{assembly.config.summary(without=unused)}\n```",
    ]


def _scores(fitted: Fitted, scores: pd.DataFrame | None) -> list[str]:
    kept = fitted.history.kept_scores
    lines = ["## Scores"]
    if kept:
        lines += ["On the validation rows, which also chose the state that was kept:"]
        lines += [_table(("metric", "score"), [(name, f"{score:.4g}") for name, score in kept.items()])]
    if scores is not None:
        rows = [
            (str(name), *(f"{one:.4g}" for one in row))
            for name, row in zip(scores.index, scores.to_numpy(), strict=True)
        ]
        lines += ["On other data, before and after this export:", _table(("metric", "before", "after", "change"), rows)]
    return lines if len(lines) > 1 else [*lines, "None: no rows were validated."]


def _versions() -> list[str]:
    found = [("Python", platform.python_version()), ("thermocline", thermocline.__version__)]
    for name in LIBRARIES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return ["## Versions", _table(("package", "version"), found)]


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_plain(str(cell)) for cell in line)} |" for line in lines)


def _plain(text: str) -> str:
    return escaped(text).replace("|", "\\|")
