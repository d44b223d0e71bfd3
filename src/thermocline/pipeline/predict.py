"""Using a fitted model: predictions, scores, features, pictures. No trainer is built and no file is written."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import torch

from thermocline.contracts.collecting import ArrayCollector
from thermocline.contracts.labelled import Labelled, Purpose, Reading
from thermocline.contracts.learning import Collector
from thermocline.contracts.problem import Assembly
from thermocline.contracts.reporting import Results
from thermocline.contracts.request import Request
from thermocline.data.batches import Rows
from thermocline.data.column_notes import cell_notes
from thermocline.data.column_rules import missing_mask
from thermocline.data.roots import Roots
from thermocline.data.tables import as_rows
from thermocline.errors import ConfigError, ThermoclineWarning
from thermocline.registry import metric_of, named_metric
from thermocline.registry.metrics import Metric, negates
from thermocline.report.console import Console
from thermocline.training.device import choose_device
from thermocline.training.inference import Pass, collect

BATCHES_SHOWN = 50
"""Batches from which a pass shows its progress."""

_TOLD: WeakKeyDictionary[torch.nn.Module, set[str]] = WeakKeyDictionary()
"""The columns of whose missing values a model's predictions have told, so that a service is told once."""


def predict(
    assembly: Assembly, data: object, *, image_folder: object = None, out: Path | None = None, verbosity: int = 0
) -> pd.Series[Any] | pd.DataFrame:
    """Return predictions on the frame's index, in the label's dtype; with `out` the paths where they are written.

    Raises:
        ConfigError: `out`, and they cannot be written as files.
        DataError: A column is missing, or a cell cannot be read.
    """
    if out is not None:
        assembly.problem.check_written(assembly.target)
    found = _read(assembly, data, "predict", image_folder)
    outputs = _outputs(assembly, found, Console(verbosity), **({} if out is None else {"out": out}))
    return assembly.problem.predictions(outputs, assembly.target, found.frame.index)


def probabilities(assembly: Assembly, data: object, *, image_folder: object = None, verbosity: int = 0) -> pd.DataFrame:
    """Return probabilities on the frame's index, a column per class or label.

    Raises:
        ConfigError: The problem has none.
        DataError: As `predict`.
    """
    assembly.problem.check_probabilities(assembly.target)
    found = _read(assembly, data, "predict", image_folder)
    outputs = _outputs(assembly, found, Console(verbosity))
    return assembly.problem.probabilities(outputs, assembly.target, found.frame.index)


def with_probabilities(
    assembly: Assembly, data: object, *, image_folder: object = None, verbosity: int = 0
) -> tuple[pd.Series[Any] | pd.DataFrame, pd.DataFrame]:
    """Return what `predict` and what `probabilities` return, from one pass.

    Raises:
        ConfigError: As `probabilities`.
        DataError: As `predict`.
    """
    problem, target = assembly.problem, assembly.target
    problem.check_probabilities(target)
    found = _read(assembly, data, "predict", image_folder)
    outputs, index = _outputs(assembly, found, Console(verbosity)), found.frame.index
    return problem.predictions(outputs, target, index), problem.probabilities(outputs, target, index)


def intervals(
    assembly: Assembly, data: object, coverage: float, *, image_folder: object = None, verbosity: int = 0
) -> pd.DataFrame:
    """Return predictions on the frame's index, and between which numbers the true ones are expected.

    Raises:
        ConfigError: The problem has no intervals, or none of this coverage.
        DataError: As `predict`.
    """
    assembly.problem.check_interval(assembly.target, coverage)
    found = _read(assembly, data, "predict", image_folder)
    outputs = _outputs(assembly, found, Console(verbosity))
    return assembly.problem.interval(outputs, assembly.target, coverage, found.frame.index)


def embed(assembly: Assembly, data: object, *, image_folder: object = None, verbosity: int = 0) -> np.ndarray:
    """Return features float32 `(rows, width)`.

    Raises:
        ConfigError: The problem has no features of a row.
        DataError: As `predict`.
    """
    features = assembly.problem.features(assembly)
    found = _read(assembly, data, "predict", image_folder)
    rows = assembly.problem.rows(found, assembly, labelled=False)
    width = None if len(rows) else assembly.problem.features_width(assembly)
    collector = ArrayCollector(features, len(rows), width=width)
    _run(assembly, rows, collector, found, Console(verbosity))
    return collector.values


def evaluate(
    assembly: Assembly,
    data: object,
    names: Any,
    *,
    image_folder: object = None,
    verbosity: int = 0,
) -> dict[str, float]:
    """Score labelled data, `eval_metric` first where no metrics are named.

    Args:
        assembly: The fitted model.
        data: As `predict`, with labels.
        names: A metric or several: names, functions, scorers of scikit-learn, `thermocline.Metric`; None: the usual.
        image_folder: As `predict`.
        verbosity: As `predict`.

    Raises:
        ConfigError: A metric that does not exist or does not fit; before anything is computed.
        DataError: As `predict`; labels that are missing or unseen.
    """
    problem, target = assembly.problem, assembly.target
    canonical = {name: problem.check_metric(one, target) for name, one in _asked(assembly, names).items()}
    _, collector = scored(assembly, data, image_folder=image_folder, verbosity=verbosity)
    scores = collector.scores(list(dict.fromkeys(canonical.values())))
    by = {name: metric if isinstance(metric, str) else metric.name for name, metric in canonical.items()}
    signs = {name: -1.0 if negates(name) and not negates(metric) else 1.0 for name, metric in by.items()}
    named = {name: signs[name] * scores[metric] for name, metric in by.items() if metric in scores}
    return named | {name: score for name, score in scores.items() if name not in by.values()}


def scored(
    assembly: Assembly, data: object, *, image_folder: object = None, verbosity: int = 0
) -> tuple[Results, Collector]:
    """Return what a pass over labelled data gives, and what has collected it, which scores it.

    Raises:
        DataError: As `evaluate`.
    """
    problem = assembly.problem
    found = _read(assembly, data, "score", image_folder)
    problem.check_labels(found, assembly.target, what="data")
    rows = problem.rows(found, assembly, labelled=True)
    collector = problem.collector(assembly, rows, found, scoring=True)
    _run(assembly, rows, collector, found, Console(verbosity))
    return Results(found, rows, collector.outputs()), collector


def metrics_for(assembly: Assembly, given: Any) -> tuple[tuple[str | Metric, ...], str]:
    """Return metrics by their canonical names, those that `evaluate` gives where none are given, and what is left out.

    Raises:
        ConfigError: As `evaluate`.
    """
    problem, target = assembly.problem, assembly.target
    if given is None:
        names, left_out = _usual(assembly)
        asked: dict[str, Any] = {name: name for name in names}
    else:
        asked, left_out = _asked(assembly, given), ""
    return tuple(dict.fromkeys(problem.check_metric(one, target) for one in asked.values())), left_out


def _usual(assembly: Assembly) -> tuple[list[str], str]:
    """Return the metrics of validation and of the problem type, and one that no saved predictor holds, else nothing."""
    target = assembly.target
    names = list(dict.fromkeys([target.eval_metric, *assembly.problem.usual_metrics(target)]))
    own: Metric | None = getattr(target, "metric", None)
    if own is None or own.function is not None:
        return names, ""
    names.remove(own.name)
    return names, own.name


def _asked(assembly: Assembly, given: Any) -> dict[str, Any]:
    """Return the metrics that are asked for, by the names that results have.

    Without any, those of the problem type; the metric of validation is left out where it is a function that the saved
    predictor does not hold, with a warning.
    """
    if given is None:
        names, left_out = _usual(assembly)
        if left_out:
            warnings.warn(
                f"Validation went by {left_out!r}, a function that no saved predictor holds, so it is left out here. "
                f"Hand it in to have it: evaluate(data, metrics=[function, {names[0]!r}]).",
                ThermoclineWarning,
                stacklevel=4,
            )
        return {name: name for name in names}
    single = isinstance(given, (str, Metric)) or callable(given)
    if not single and not isinstance(given, Iterable):
        raise ConfigError(f"metrics is a metric or a list of metrics, not {given!r}.")
    found = [named_metric(one) for one in ([given] if single else given)]
    return {one.name if isinstance(one, Metric) else str(one): one for one in found}


def score(assembly: Assembly, data: object, *, image_folder: object = None, verbosity: int = 0) -> float:
    """Return the metric of validation on labelled data, negative where less of it is better.

    Raises:
        DataError: As `evaluate`.
    """
    target = assembly.target
    asked = getattr(target, "metric", None) or target.eval_metric
    found = evaluate(assembly, data, asked, image_folder=image_folder, verbosity=verbosity)[target.eval_metric]
    return found if metric_of(assembly.problem.info, target).greater_is_better else -found


def show(assembly: Assembly, data: object, *, image_folder: object = None, verbosity: int = 0, **options: Any) -> Any:
    """Return predictions on their rows: a figure, or what prints and shows itself.

    Raises:
        ConfigError: The problem draws nothing, or an option does not fit.
        DataError: As `predict`; no rows, or too many for a picture.
    """
    problem = assembly.problem
    problem.check_drawable(assembly.target)
    if options.get("least_score") is None:
        options["least_score"] = problem.least_shown
    found = _read(assembly, data, "predict", image_folder)
    problem.check_picture(found, assembly, **options)
    outputs = _outputs(assembly, found, Console(verbosity), **options)
    return problem.picture(outputs, found, assembly)


def to_best_device(model: torch.nn.Module) -> None:
    """Put a loaded model where it runs fastest here."""
    model.to(choose_device("auto")[0])


def _read(assembly: Assembly, data: object, purpose: Purpose, image_folder: object) -> Labelled:
    """Read data whose relative paths start at a folder of their own, whatever held for the training data."""
    roots = Roots.of_use(image_folder)
    if image_folder is not None and not assembly.columns.of("image"):
        raise ConfigError(
            f"image_folder={image_folder!r} has no effect: this predictor was trained on no column of images. "
            "Leave it out."
        )
    data = as_rows(data, assembly.columns.used)
    request = Request(data, assembly.target.label, weight=assembly.weight, training=False)
    return assembly.problem.read(data, Reading("data", purpose, request, assembly.config, assembly.columns, roots))


def _outputs(assembly: Assembly, found: Labelled, console: Console, **options: Any) -> Any:
    """Return what the model gives for a frame without labels."""
    rows = assembly.problem.rows(found, assembly, labelled=False)
    collector = assembly.problem.collector(assembly, rows, found, scoring=False, **options)
    _run(assembly, rows, collector, found, console)
    return collector.outputs()


def _run(assembly: Assembly, rows: Rows, collector: Collector, found: Labelled, console: Console) -> None:
    """Pass over rows, with progress on the console."""
    if not len(rows):
        return
    if console.verbosity > 0:
        _note_cells(assembly, found.frame, console)
    collect(assembly.model, rows, collector, how_to_pass(assembly, console))


def how_to_pass(assembly: Assembly, console: Console) -> Pass:
    """Return how a pass over rows of a fitted model is made, with progress on the console."""
    env = assembly.config.env
    size, device = env.eval_batch_size, assembly.device
    assert size
    return Pass(
        batch_size=size,
        device=device,
        autocast=_precision(assembly, device),
        num_workers=env.num_workers,
        progress=lambda batches, total: (
            console.progress(batches, total, "predicting") if total > BATCHES_SHOWN else batches
        ),
    )


def found_rows(assembly: Assembly, data: object, purpose: Purpose, image_folder: object) -> Labelled:
    """Return data as they are read to be scored or predicted.

    Raises:
        ConfigError: `image_folder`, and there are no images.
        DataError: A column is missing, or a cell cannot be read.
    """
    return _read(assembly, data, purpose, image_folder)


def outputs_of(assembly: Assembly, found: Labelled, *, verbosity: int = 0, **options: Any) -> Any:
    """Return what the model gives for a frame, as `Problem.predictions` takes it.

    Args:
        assembly: The fitted model.
        found: The frame.
        verbosity: As `predict`.
        options: As of `Problem.collector`.
    """
    return _outputs(assembly, found, Console(verbosity), **options)


def _note_cells(assembly: Assembly, frame: pd.DataFrame, console: Console) -> None:
    """Note missing values and broken text; each cell is looked at."""
    told = _TOLD.setdefault(assembly.model, set())
    kinds = {column.name: column.kind for column in assembly.columns if column.kind != "null"}
    missing = {name: int(missing_mask(frame[name], words=kind == "numeric").sum()) for name, kind in kinds.items()}
    console.missing(missing, len(frame), told)
    for name, note in cell_notes(frame, assembly.columns).items():
        console.note(note, {f"cells of {name}"}, told)


def _precision(assembly: Assembly, device: torch.device) -> Callable[[], Any]:
    """Return the precision of training, where the device is still of the kind it was chosen for."""
    env = assembly.config.env
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(env.precision)
    enabled = dtype is not None and device.type == env.device
    return lambda: torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=enabled)
