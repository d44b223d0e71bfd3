"""thermocline search: which responses of a file match the queries of another one best, by a saved predictor."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from thermocline.cli.parts import FILE, FOLDER, add_command, add_json, check_out, completes, json_line, load


def add(commands: Any) -> None:
    """Add the command to a parser's commands."""
    example = (
        "thermocline search my_model questions.csv answers.csv -k 5 --out found.csv\n"
        "thermocline search my_model questions.csv answers.csv --save-corpus answers\n"
        "thermocline search my_model questions.csv answers -k 5 --json"
    )
    parser = add_command(commands, "search", "find what matches queries best, of similarity predictors", example)
    completes(parser.add_argument("model", help="the folder of a saved predictor"), FOLDER)
    completes(parser.add_argument("queries", help="the queries: .csv, .tsv or .parquet"), FILE)
    text = "the responses: a file alike, or a folder that --save-corpus wrote"
    completes(parser.add_argument("corpus", help=text), FILE)
    parser.add_argument("-k", type=int, default=10, metavar="N", help="responses a query (default: 10)")
    text = "where relative paths of images start; the folder of the file by default"
    completes(parser.add_argument("--image-folder", metavar="FOLDER", help=text), FOLDER)
    text = "also write the responses with their embeddings, to search them again"
    completes(parser.add_argument("--save-corpus", metavar="FOLDER", help=text), FOLDER)
    completes(parser.add_argument("--out", metavar="FILE", help="write CSV here; to the screen by default"), FILE)
    parser.add_argument("--trust-remote-code", action="store_true", help="let code that a text backbone brought run")
    add_json(parser, "what was found, a line a query and response,")
    parser.set_defaults(run=_search)


def _search(given: argparse.Namespace) -> None:
    from thermocline.pipeline.corpus import FACTS, Corpus

    check_out(given.out)
    predictor = load(given)
    saved = (Path(given.corpus) / FACTS).is_file()
    how = {"image_folder": given.image_folder}
    corpus = Corpus.load(given.corpus) if saved else predictor.corpus(Path(given.corpus), **how)
    if given.save_corpus:
        corpus.save(given.save_corpus)
    found = predictor.search(Path(given.queries), corpus, given.k, **how)
    if given.json:
        text = "".join(f"{json_line(row)}\n" for row in found.to_dict(orient="records"))
    else:
        text = found.to_csv(index=False)
    if given.out:
        Path(given.out).write_text(text, encoding="utf-8")
    else:
        print(text, end="")
