"""The commands that use a saved predictor: predict, evaluate, export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from thermocline.cli.parts import (
    FILE,
    FOLDER,
    METRIC,
    add_command,
    add_json,
    check_out,
    completes,
    json_line,
    load,
    notes_on_stderr,
)
from thermocline.errors import escaped

_ROWS = ".csv, .tsv or .parquet; images also a folder; boxes COCO .json or a VOC folder"


def add(commands: Any) -> None:
    """Add the commands."""
    _add_predict(commands)
    _add_evaluate(commands)
    _add_export(commands)


def _add_predict(commands: Any) -> None:
    examples = (
        "thermocline predict my_model test.csv --keep id --out submission.csv\n"
        "thermocline predict my_model test.csv --keep id --proba --json"
    )
    use = add_command(commands, "predict", "predict the rows of a file", examples)
    add_model_and_rows(use)
    form = use.add_argument_group("what is written")
    text = "columns of the data to write before the predictions, such as an id"
    form.add_argument("--keep", nargs="+", action="extend", metavar="COLUMN", help=text)
    instead = form.add_mutually_exclusive_group()
    instead.add_argument("--proba", action="store_true", help="also probabilities, in a column p_CLASS per class")
    text = "probabilities in place of predictions, in a column per class"
    instead.add_argument("--proba-only", action="store_true", help=text)
    text = "numbers with lower and upper bounds, which hold this share of rows"
    instead.add_argument("--interval", type=float, metavar="COVERAGE", help=text)
    form.add_argument(
        "--json", action="store_true", help="JSON, a line per row, in place of CSV; an error, too, on stderr"
    )
    text = "write here; to the screen by default. For masks a folder: they are written there, their paths to the screen"
    completes(form.add_argument("--out", metavar="FILE", help=text), FILE)
    use.set_defaults(run=_predict)


def _add_evaluate(commands: Any) -> None:
    example = "thermocline evaluate my_model test.csv --metrics accuracy log_loss"
    use = add_command(commands, "evaluate", "score predictions against the labels in a file", example)
    add_model_and_rows(use)
    text = "names of metrics; by default the usual ones"
    completes(use.add_argument("--metrics", nargs="+", metavar="METRIC", help=text), METRIC)
    add_json(use, "the scores")
    use.set_defaults(run=_evaluate)


def add_model_and_rows(use: argparse.ArgumentParser) -> None:
    """Add what every command takes that reads rows for a saved predictor."""
    completes(use.add_argument("model", help="the folder of a saved predictor"), FOLDER)
    completes(use.add_argument("data", help=f"the rows: {_ROWS}"), FILE)
    text = "where relative paths of images start; the folder of the file by default"
    completes(use.add_argument("--image-folder", metavar="FOLDER", help=text), FOLDER)
    use.add_argument("--trust-remote-code", action="store_true", help="let code that a text backbone brought run")


def _add_export(commands: Any) -> None:
    text = "write a predictor as ONNX, or its backbone for its library"
    export = add_command(commands, "export", text, "thermocline export my_model exported --data test.csv")
    completes(export.add_argument("model", help="the folder of a saved predictor"), FOLDER)
    completes(export.add_argument("out", help="the folder to write"), FOLDER)
    formats = "onnx (default), torch_export, transformers or timm"
    export.add_argument("--format", default="onnx", metavar="NAME", help=formats)
    export.add_argument("--quantize", metavar="int8", help="weights of 8 bits, in onnx")
    completes(export.add_argument("--data", metavar="FILE", help="labelled rows to score before and after"), FILE)
    export.add_argument("--tower", metavar="NAME", help="whose backbone, where there are several")
    export.add_argument("--overwrite", action="store_true", help="replace another export")
    export.add_argument("--trust-remote-code", action="store_true", help="let code that a text backbone brought run")
    add_json(export, "the files and scores")
    export.set_defaults(run=_export)


def _predict(given: argparse.Namespace) -> None:
    from thermocline.cli import predictions

    if given.out is None or not Path(given.out).is_dir():
        check_out(given.out)
    kept = predictions.read_kept(given.data, given.keep or [], typed=given.json)
    predictor = load(given)
    images = predictions.images_folder(predictor, given)
    out = given.out if images is None else None
    check_out(out)
    with notes_on_stderr():
        found = predictions.predicted(predictor, given, images)
    if given.json:
        predictions.write_json(found, kept, out)
    else:
        predictions.write_csv(found, kept, out)


def _evaluate(given: argparse.Namespace) -> None:
    predictor = load(given)
    with notes_on_stderr():
        scores = predictor.evaluate(given.data, given.metrics, image_folder=given.image_folder)
    if given.json:
        print(json_line(scores))
        return
    for name, score in scores.items():
        print(f"{escaped(name)} {score:.6g}")


def _export(given: argparse.Namespace) -> None:
    names = ("format", "quantize", "data", "tower", "overwrite")
    found = load(given).export(given.out, **{name: getattr(given, name) for name in names})
    if given.json:
        scores = None if found.scores is None else found.scores.to_dict(orient="index")
        facts = {"path": str(found.path), "format": found.format, "files": found.files, "use": found.use}
        print(json_line({**facts, "scores": scores}))
    else:
        print(escaped(str(found), lines=True))
