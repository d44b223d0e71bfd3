"""The commands that use a saved predictor: predict, evaluate, export."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from typing import Any

from thermocline.cli.parts import check_out, load, notes_on_stderr
from thermocline.errors import counted, escaped
from thermocline.report.output import encodable


def add(commands: Any) -> None:
    """Add the commands."""
    _add_use(commands, "predict", _predict, "predict the rows of a file")
    _add_use(commands, "evaluate", _evaluate, "score predictions against the labels in a file")
    _add_export(commands)


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


def _predict(given: argparse.Namespace) -> None:
    from thermocline.data.image_files import FILE

    check_out(given.out)
    predictor = load(given)
    predict = predictor.predict_proba if given.proba else predictor.predict
    if given.interval is not None:
        predict = partial(predictor.predict_interval, coverage=given.interval)
    with notes_on_stderr():
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
    predictor = load(given)
    with notes_on_stderr():
        scores = predictor.evaluate(given.data, given.metrics, image_folder=given.image_folder)
    for name, score in scores.items():
        print(f"{escaped(name)} {score:.6g}")


def _export(given: argparse.Namespace) -> None:
    names = ("format", "quantize", "data", "tower", "overwrite")
    print(escaped(str(load(given).export(given.out, **{name: getattr(given, name) for name in names})), lines=True))
