"""thermocline report: scores with intervals, tables and pictures of a saved predictor on labelled rows."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from thermocline.cli.parts import FILE, METRIC, add_command, add_json, completes, json_line, load
from thermocline.cli.using import add_model_and_rows


def add(commands: Any) -> None:
    """Add the command to a parser's commands."""
    text = "show where predictions are right and wrong, on labelled rows"
    parser = add_command(commands, "report", text, "thermocline report my_model test.csv --out report.html")
    add_model_and_rows(parser)
    text = "also write it as one HTML file with pictures"
    completes(parser.add_argument("--out", metavar="FILE", help=text), FILE)
    text = "names of metrics; by default the usual ones"
    completes(parser.add_argument("--metrics", nargs="+", metavar="METRIC", help=text), METRIC)
    add_json(parser, "the report")
    parser.set_defaults(run=_report)


def _report(given: argparse.Namespace) -> None:
    from thermocline.evaluation.report import html_path

    if given.out is not None:
        html_path(given.out)  # what cannot be written must show before the work, not after it
    found = load(given).report(given.data, given.metrics, image_folder=given.image_folder)
    print(json_line(found.to_dict()) if given.json else found)
    if given.out is not None:
        print(f"report written to {found.save(given.out)}", file=sys.stderr)
