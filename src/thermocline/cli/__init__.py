"""The command line: thermocline demo | fit | predict | evaluate | export | explain | recommend | presets."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from thermocline.errors import ThermoclineError, counted, escaped
from thermocline.report.output import encodable, plain_where_needed

LEAST_DEMO_ROWS = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command line, without the program's name; the process's own by default.

    Returns:
        The exit status: 0, 1 for an error of Thermocline's (one paragraph on stderr), 130 after Ctrl-C.
    """
    with plain_where_needed():
        given = _parser().parse_args(arguments)
        return _run(given)


def _run(given: argparse.Namespace) -> int:
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_args, **_kwargs: escaped(f"warning: {message}\n", lines=True)
    try:
        given.run(given)
        if sys.stdout is not None:
            sys.stdout.flush()  # what cannot be written must show here, not when the process ends
    except ThermoclineError as error:
        print(escaped(f"thermocline: {error}", lines=True), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("thermocline: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough
        sys.stdout = None
        return 0
    except OSError as error:  # a disk that is full, a folder that may not be written to
        print(escaped(f"thermocline: {error}", lines=True), file=sys.stderr)
        return 1
    finally:
        warnings.formatwarning = usual
    return 0


def _bytes(text: str) -> int | str:
    """Return a whole number where a text is one: other texts are checked where they are used."""
    return int(text) if text.isdecimal() else text


def _seconds(text: str) -> float | str:
    """Return a number where a text is one: other texts are checked where they are used."""
    try:
        return float(text)
    except ValueError:
        return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thermocline", description="Fine-tune backbones on data frames, and see and control every layer."
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_fit(commands, "fit", _fit, "fit to a CSV or parquet file and save the predictor")
    _add_fit(commands, "explain", _explain, "show the plan of a fit without training")
    _add_fit(commands, "recommend", _recommend, "show the options that fit a memory and a time, without training")
    _add_use(commands, "predict", _predict, "predict the rows of a file")
    _add_use(commands, "evaluate", _evaluate, "score predictions against the labels in a file")
    _add_export(commands)
    _add_presets(commands)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser("demo", help="a real fine-tune on a sample frame, without a hub")
    demo.add_argument("--sample", choices=["docstrings", "digits", "mixed"], default="docstrings")
    demo.add_argument("--rows", type=int, help="rows of the sample")
    demo.add_argument("--out", type=Path, help="keep the saved predictor here")
    demo.add_argument("--seed", type=int, default=0)
    demo.set_defaults(run=_demo)


def _add_fit(commands: Any, name: str, run: Any, text: str) -> None:
    fit = commands.add_parser(name, help=text)
    fit.add_argument(
        "data", help="training data: .csv, .tsv or .parquet; images also a folder by class; boxes COCO or VOC"
    )
    fit.add_argument("--label", action="append", required=True, help="the label column; several for multilabel")
    fit.add_argument("--tuning-data", help="rows to validate on")
    fit.add_argument("--problem-type", help="binary, multiclass, multilabel, regression or object_detection")
    fit.add_argument("--eval-metric", help="the metric that validation goes by")
    fit.add_argument("--positive-class", metavar="CLASS", help="of two classes the one that f1 and others are about")
    fit.add_argument("--sample-weight", help="a column of row weights")
    fit.add_argument("--presets", nargs="+", metavar="NAME", help="preset names or files, composed left to right")
    fit.add_argument("--set", nargs="+", action="extend", metavar="KEY=VALUE", help="overrides, such as optim.lr=1e-4")
    fit.add_argument("--config", action="append", metavar="FILE", help="a YAML file of overrides")
    fit.add_argument("--column-type", nargs="+", action="extend", metavar="COLUMN=TYPE", help="types to overrule")
    fit.add_argument("--seed", type=int, default=0)
    fit.add_argument("--start-from", metavar="FOLDER", help="a saved predictor that training starts from")
    fit.add_argument("--quiet", action="store_true", help="print nothing but the result")
    fit.add_argument(
        "--verbosity", type=int, default=1, metavar="0|1|2", help="2 prints all options and the whole plan"
    )
    if name != "explain":
        fit.add_argument(
            "--memory",
            type=_bytes,
            help="memory that training may take, such as 8GB: options are changed until it fits",
        )
        fit.add_argument("--time-limit", type=_seconds, help="seconds for everything, or 20m, 1.5h")
    if name == "recommend":
        fit.add_argument("--probes", action="store_true", help="also probe the outputs of every layer, in one pass")
        fit.add_argument("--out", metavar="FILE", help="also write the options as YAML, for fit --config")
    elif name == "fit":
        _add_training(fit)
    else:
        fit.add_argument("--out", help="also write the plan as JSON")
        fit.add_argument("--timed", action="store_true", help="take a few steps, to tell how long the fit takes")
        fit.add_argument("--write-phases", metavar="FILE", help="also write the phases as YAML, to edit them")
    fit.set_defaults(run=run)


def _add_training(fit: argparse.ArgumentParser) -> None:
    """Add what only a fit takes, which trains and saves."""
    fit.add_argument("--out", required=True, help="the folder to save into")
    fit.add_argument("--search-trials", type=int, metavar="N", help="search spaces among the overrides, N fits")
    fit.add_argument("--search-storage", metavar="PATH|URL", help="a file or database that several searches share")
    fit.add_argument("--search-study", metavar="NAME", help="the name of the study in the storage")
    fit.add_argument("--plan", help="a plan saved as JSON, or a YAML file of phases")
    fit.add_argument("--resume", action="store_true", help="continue where the same command was stopped")
    fit.add_argument("--overwrite", action="store_true", help="replace the predictor that is saved at --out")


def _add_use(commands: Any, name: str, run: Any, text: str) -> None:
    use = commands.add_parser(name, help=text)
    use.add_argument("model", help="the folder of a saved predictor")
    use.add_argument(
        "data", help="the rows: .csv, .tsv or .parquet; images also a folder; boxes COCO .json or a VOC folder"
    )
    use.add_argument("--trust-remote-code", action="store_true", help="let code that a text backbone brought run")
    use.add_argument("--image-folder", help="where relative paths of images start; the folder of the file by default")
    if name == "predict":
        use.add_argument("--out", help="write a CSV here; to the screen by default")
        instead = use.add_mutually_exclusive_group()
        instead.add_argument("--proba", action="store_true", help="probabilities, a column per class")
        instead.add_argument("--interval", type=float, metavar="COVERAGE", help="numbers with lower and upper bounds")
    else:
        use.add_argument("--metrics", nargs="+", help="names of metrics")
    use.set_defaults(run=run)


def _add_export(commands: Any) -> None:
    export = commands.add_parser("export", help="write a saved predictor as ONNX, or its backbone for its library")
    export.add_argument("model", help="the folder of a saved predictor")
    export.add_argument("out", help="the folder to write")
    export.add_argument("--format", default="onnx", help="onnx, torch_export, transformers or timm")
    export.add_argument("--quantize", metavar="int8", help="weights of 8 bits, in onnx")
    export.add_argument("--data", help="labelled rows to score before and after")
    export.add_argument("--tower", help="whose backbone, where there are several")
    export.add_argument("--overwrite", action="store_true", help="replace another export")
    export.add_argument("--trust-remote-code", action="store_true", help="let code that a text backbone brought run")
    export.set_defaults(run=_export)


def _add_presets(commands: Any) -> None:
    presets = commands.add_parser("presets", help="list, show or copy presets")
    actions = presets.add_subparsers(required=True, metavar="ls | show | copy")
    ls = actions.add_parser("ls", help="name, purpose and backbones of each")
    ls.set_defaults(run=_list_presets)
    show = actions.add_parser("show", help="print a preset")
    show.add_argument("name")
    show.set_defaults(run=_show_preset)
    copy = actions.add_parser("copy", help="copy a preset into a file of your own, to edit it")
    copy.add_argument("name")
    copy.add_argument("file")
    copy.set_defaults(run=_copy_preset)


def _demo(given: argparse.Namespace) -> None:
    from thermocline.cli import demo
    from thermocline.errors import ConfigError

    if given.rows is not None and given.rows < LEAST_DEMO_ROWS:
        raise ConfigError(f"The demo needs at least {LEAST_DEMO_ROWS} rows to split, not {given.rows}.")
    demo.run(given.sample, rows=given.rows, out=given.out, seed=given.seed)


def _predictor(given: argparse.Namespace, path: str | None) -> Any:
    from thermocline.predictor import Predictor

    return Predictor(
        given.label[0] if len(given.label) == 1 else given.label,
        given.problem_type,
        given.eval_metric,
        path,
        positive_class=given.positive_class,
        sample_weight=given.sample_weight,
        verbosity=0 if given.quiet else given.verbosity,
    )


def _choices(given: argparse.Namespace) -> dict[str, Any]:
    from thermocline.errors import ConfigError

    pairs = [pair.rpartition("=") for pair in given.column_type or []]
    if any(not name or not kind for name, _, kind in pairs):
        raise ConfigError(f"--column-type takes COLUMN=TYPE, not {given.column_type}.")
    return {
        "tuning_data": given.tuning_data,
        "presets": given.presets,
        "hyperparameters": [*(given.config or []), *(given.set or [])] or None,
        "column_types": {name: kind for name, _, kind in pairs} or None,
        "seed": given.seed,
        "start_from": given.start_from,
    }


def _fit(given: argparse.Namespace) -> None:
    from thermocline.report.frames import frame_text

    predictor = _predictor(given, given.out)
    how = {name: getattr(given, name) for name in ("time_limit", "memory", "plan", "resume", "overwrite")}
    search = _search(given)
    predictor.fit(given.data, **how, **_choices(given), search=search)
    if predictor._leaderboard is not None and not given.quiet:
        print(frame_text(predictor.leaderboard(), index=False))
    print(escaped(f"saved to {predictor.path}"))


def _search(given: argparse.Namespace) -> dict[str, Any] | None:
    from thermocline.errors import ConfigError

    more = {"storage": given.search_storage, "study": given.search_study}
    if given.search_trials is None:
        for name, value in more.items():
            if value is not None:
                raise ConfigError(f"--search-{name} is for a search, which --search-trials asks for.")
        return None
    return {"trials": given.search_trials, **{name: value for name, value in more.items() if value is not None}}


def _check_out(file: str | None, option: str = "--out") -> None:
    """What cannot be written must show before the work, not after it."""
    from thermocline.errors import ConfigError

    if file and (Path(file).is_dir() or not Path(file).absolute().parent.is_dir()):
        raise ConfigError(f"{option} {file!r} cannot be written: it is a folder, or lies in one that is not there.")


def _explain(given: argparse.Namespace) -> None:
    from thermocline.errors import ConfigError

    _check_out(given.out)
    _check_out(given.write_phases, "--write-phases")
    if given.write_phases and Path(given.write_phases).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--write-phases {given.write_phases!r} has to end in .yaml or .yml.")
    plan = _predictor(given, None).explain(given.data, timed=given.timed, **_choices(given))
    print(plan)
    if given.out:
        Path(given.out).write_text(plan.to_json(), encoding="utf-8")
        print(f"plan written to {given.out}; edit it and pass it to fit --plan")
    if given.write_phases:
        Path(given.write_phases).write_text(plan.phases_yaml(), encoding="utf-8")
        print(f"phases written to {given.write_phases}; edit them and pass them to fit --plan")


def _recommend(given: argparse.Namespace) -> None:
    import yaml

    from thermocline.errors import ConfigError

    _check_out(given.out)
    if given.out and Path(given.out).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out {given.out!r} has to end in .yaml or .yml.")
    budget = {"memory": given.memory, "time_limit": given.time_limit}
    found = _predictor(given, None).recommend(given.data, **budget, probes=given.probes, **_choices(given))
    print(found)
    if given.out:
        Path(given.out).write_text(yaml.safe_dump(found.to_dict(), sort_keys=False), encoding="utf-8")
        print(f"options written to {given.out}; edit them and pass them to fit --config")


def _load(given: argparse.Namespace) -> Any:
    from thermocline.predictor import Predictor

    return Predictor.load(given.model, trust_remote_code=given.trust_remote_code)


@contextmanager
def _notes_on_stderr() -> Iterator[None]:
    """Write what predictions note to stderr; stdout holds nothing but the result."""
    import logging

    from thermocline.report.console import LOG

    handler, level = logging.StreamHandler(sys.stderr), LOG.level
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.setLevel(level)
        LOG.removeHandler(handler)


def _predict(given: argparse.Namespace) -> None:
    from thermocline.data.image_files import FILE

    _check_out(given.out)
    predictor = _load(given)
    predict = predictor.predict_proba if given.proba else predictor.predict
    if given.interval is not None:
        predict = partial(predictor.predict_interval, coverage=given.interval)
    with _notes_on_stderr():
        result = predict(given.data, image_folder=given.image_folder)
    if predictor.problem_type == "object_detection":
        result = result.map(partial(json.dumps, ensure_ascii=False))
    named = result.index.name == FILE  # of images in a folder
    if given.out:
        result.to_csv(given.out, index=named)
        print(f"{counted(len(result), 'prediction')} written to {given.out}", file=sys.stderr)
    elif sys.stdout is not None:
        text = result.to_csv(index=named)
        if not encodable(text):
            print(
                f"thermocline: the output is {sys.stdout.encoding}; letters that it lacks are written as \\uXXXX. "
                "--out FILE writes UTF-8.",
                file=sys.stderr,
            )
        sys.stdout.write(text)


def _evaluate(given: argparse.Namespace) -> None:
    predictor = _load(given)
    with _notes_on_stderr():
        scores = predictor.evaluate(given.data, given.metrics, image_folder=given.image_folder)
    for name, score in scores.items():
        print(f"{escaped(name)} {score:.6g}")


def _export(given: argparse.Namespace) -> None:
    names = ("format", "quantize", "data", "tower", "overwrite")
    print(escaped(str(_load(given).export(given.out, **{name: getattr(given, name) for name in names})), lines=True))


def _list_presets(_given: argparse.Namespace) -> None:
    from thermocline.config import list_presets
    from thermocline.report.screen import paragraph

    for row in list_presets().to_dict(orient="records"):
        print(paragraph(f"{row['name']}: {row['purpose']}"))
        parts = [f"{key}: {row[key]}" for key in row if key not in ("name", "purpose") and row[key]]
        if parts:
            print(paragraph(f"    {'; '.join(parts)}", indent="    "))


def _show_preset(given: argparse.Namespace) -> None:
    from thermocline.config import preset_text

    print(preset_text(given.name), end="")


def _copy_preset(given: argparse.Namespace) -> None:
    from thermocline.config import copy_preset

    print(f"copied to {copy_preset(given.name, given.file)}; use it: --presets {given.file}")


def _version() -> str:
    from importlib.metadata import version

    return f"thermocline {version('thermocline')}"
