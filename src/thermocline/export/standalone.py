"""The program beside an exported model: reads rows, runs the model, prints answers; see `data.standalone_cells`."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

EMPTY_CELLS = frozenset(
    {"", "NA", "N/A", "n/a", "#NA", "#N/A", "#N/A N/A", "<NA>", "NULL", "null", "None", "NaN", "nan", "-NaN", "-nan"}
    | {"1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
)


class Model:
    """An exported model.

    Args:
        folder: Where it lies; that of this file by default.

    Example:
        `Model().predict([{"text": "a fine day"}])` returns
        `[{'prediction': 'good', 'probabilities': {'bad': 0.02, 'good': 0.98}}]`.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        import onnxruntime

        self.folder = Path(folder or Path(__file__).parent)
        self.settings = json.loads((self.folder / "preprocessing.json").read_text(encoding="utf-8"))
        self.session = onnxruntime.InferenceSession(
            str(self.folder / self.settings["model"]), providers=onnxruntime.get_available_providers()
        )
        self.readers = {
            name: globals()[one["reader"]](one["settings"], self.folder)
            for name, one in self.settings["inputs"].items()
        }
        answers = self.settings["answers"]
        self.answers = globals()[answers["maker"]](answers["settings"])

    def predict(
        self, rows: Sequence[Mapping[str, Any]], image_folder: str | Path | None = None
    ) -> list[dict[str, Any]]:
        """Return the answer for each row, a dict with `prediction` and, of classes, `probabilities`.

        Args:
            rows: One dict a row, with the columns that training used.
            image_folder: Where relative paths of images start; the working folder by default.

        Raises:
            ValueError: A column is missing, or a cell cannot be read.
            OSError: An image cannot be read.
        """
        found: list[dict[str, Any]] = []
        at_once = self.settings["rows_at_once"]
        for start in range(0, len(rows), at_once):
            found += self._answers(rows[start : start + at_once], Path(image_folder) if image_folder else None)
        return found

    def _answers(self, rows: Sequence[Mapping[str, Any]], folder: Path | None) -> list[dict[str, Any]]:
        given = {name: reader.arrays(rows, folder) for name, reader in self.readers.items()}
        arrays = {f"{name}/{key}": array for name, one in given.items() for key, array in one.items()}
        names = [output.name for output in self.session.get_outputs()]
        outputs = self.session.run(names, {one.name: arrays[one.name] for one in self.session.get_inputs()})
        last = {key: array for one in given.values() for key, array in one.items()}
        return list(self.answers.of(dict(zip(names, outputs, strict=True)), last))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a file with a row a line (.csv, .tsv, .jsonl), or a JSON list of dicts; empty cells are None.

    Raises:
        ValueError: It is none of these.
    """
    if path.suffix.lower() in (".csv", ".tsv"):
        csv.field_size_limit(2**31 - 1)
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            separator = max(",;\t|", key=first.count)
            return [
                {name: None if cell in EMPTY_CELLS else cell for name, cell in row.items()}
                for row in csv.DictReader(file, delimiter=separator)
            ]
    if path.suffix.lower() not in (".json", ".jsonl", ".ndjson"):
        raise ValueError(f"{path.name!r} is none of .csv, .tsv, .jsonl and .json.")
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line of JSON for each row of a file."""
    parser = argparse.ArgumentParser(description="Predict the rows of a file with the model in this folder.")
    parser.add_argument("data", type=Path, help="a .csv, .tsv, .jsonl or .json file of rows")
    parser.add_argument("--image-folder", type=Path, help="where relative paths of images start; the file's by default")
    given = parser.parse_args(arguments)
    try:
        answers = Model().predict(read_rows(given.data), given.image_folder or given.data.parent)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    _write(answers)
    return 0


def _write(answers: Iterable[Mapping[str, Any]]) -> None:
    out = sys.stdout
    if hasattr(out, "reconfigure"):
        out.reconfigure(encoding="utf-8")
    for answer in answers:
        out.write(json.dumps(answer, ensure_ascii=False, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


if __name__ == "__main__":
    sys.exit(main())
