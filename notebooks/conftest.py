"""Key figures of a run are compared with those that are committed.

A cell with the metadata `"thermocline": {"tolerance": 0.05}` has key figures. Each number of its text output may differ
from the committed one by the tolerance, or by that share of it where it is greater than 1. Other cells only have to run.
`make notebooks NOTEBOOKS=--overwrite` runs and writes, and compares nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import nbformat
import pytest
from nbmake import pytest_items
from nbmake.nb_result import NotebookError, NotebookResult
from nbmake.nb_run import NotebookRun

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")


def numbers(cell: dict[str, Any]) -> list[float]:
    """Return the numbers in a cell's text output, in order; tables as pandas prints them, without names of columns."""
    said = []
    for output in cell.get("outputs", []):
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        said.append("".join(text))
    return [float(number) for number in NUMBER.findall("\n".join(said))]


def differences(committed: dict[str, Any], run: dict[str, Any]) -> list[tuple[int, str]]:
    """Return for each cell of key figures that differ its index and what differs."""
    found = []
    for index, (before, after) in enumerate(zip(committed["cells"], run["cells"], strict=True)):
        tolerance = before.get("metadata", {}).get("thermocline", {}).get("tolerance")
        if tolerance is None:
            continue
        old, new = numbers(before), numbers(after)
        if not old:
            found.append((index, "has a tolerance, and no figures are committed"))
        elif len(old) != len(new):
            found.append((index, f"has {len(new)} figures, committed are {len(old)}"))
        else:
            apart = [f"{b:g}, committed {a:g}" for a, b in zip(old, new) if abs(a - b) > tolerance * max(1, abs(a))]
            if apart:
                found.append((index, f"differs by more than {tolerance}: {'; '.join(apart)}"))
    return found


class Compared(NotebookRun):
    """A run whose key figures are compared."""

    def execute(self) -> NotebookResult:
        committed = nbformat.read(str(self.filename), 4)
        result = super().execute()
        apart = [] if result.error else differences(committed, result.nb)
        if apart:
            lines = "\n".join(f"{self.filename.name}, cell {index} {text}" for index, text in apart)
            hint = "Where the change is meant: make notebooks NOTEBOOKS=--overwrite, and read the result."
            result = replace(result, error=NotebookError(lines.splitlines()[0], f"{lines}\n{hint}", apart[0][0]))
        return result


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("overwrite", False):
        pytest_items.NotebookRun = Compared
