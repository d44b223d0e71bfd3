"""thermocline report: scores with intervals, tables and pictures of a saved predictor on labelled rows."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any


def add(commands: Any) -> None:
    """Add the command to a parser's commands."""
    parser = commands.add_parser(
        "report", help="show where predictions are right and wrong: scores with intervals, tables, pictures"
    )
    parser.add_argument("model", help="the folder of a saved predictor")
    parser.add_argument(
        "data", help="labelled rows: .csv, .tsv or .parquet; images also a folder; boxes COCO .json or a VOC folder"
    )
    parser.add_argument("--out", metavar="FILE", help="also write it as one HTML file with pictures")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument("--metrics", nargs="+", help="names of metrics")
    parser.add_argument("--trust-remote-code", action="store_true", help="let code that a text backbone brought run")
    parser.add_argument("--image-folder", help="where relative paths of images start; by default the file's folder")
    parser.set_defaults(run=_report)


def _report(given: argparse.Namespace) -> None:
    from thermocline.evaluation.report import html_path
    from thermocline.predictor import Predictor

    if given.out is not None:
        html_path(given.out)  # what cannot be written must show before the work, not after it
    predictor = Predictor.load(given.model, trust_remote_code=given.trust_remote_code, verbosity=0)
    found = predictor.report(given.data, given.metrics, image_folder=given.image_folder)
    print(json.dumps(found.to_dict(), indent=2) if given.json else found)
    if given.out is not None:
        print(f"report written to {found.save(given.out)}", file=sys.stderr)
