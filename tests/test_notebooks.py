"""Notebooks: fixed data, and key figures that `make notebooks` compares (see notebooks/conftest.py)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("notebook_figures", FOLDER / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cell(text: str, tolerance: float | None = None) -> dict:
    outputs = [{"output_type": "stream", "text": text}]
    return {"metadata": {} if tolerance is None else {"thermocline": {"tolerance": tolerance}}, "outputs": outputs}


def test_figures_may_differ_by_the_tolerance_or_that_share_of_them(compare):
    committed = {"cells": [cell("accuracy 0.80\nbytes 1000", 0.05), cell("7")]}
    assert compare.differences(committed, {"cells": [cell("accuracy 0.84\nbytes 1040"), cell("9")]}) == []
    ((index, text),) = compare.differences(committed, {"cells": [cell("accuracy 0.86\nbytes 1000"), cell("7")]})
    assert index == 0
    assert "0.86, committed 0.8" in text
    assert compare.differences(committed, {"cells": [cell("accuracy 0.80\nbytes 1060"), cell("7")]}) != []


def test_figures_that_are_missing_are_told(compare):
    committed = {"cells": [cell("0.5 0.6", 0.05), cell("none", 0.05)]}
    told = compare.differences(committed, {"cells": [cell("0.5"), cell("none")]})
    assert [text for _, text in told] == [
        "has 1 figures, committed are 2",
        "has a tolerance, and no figures are committed",
    ]


def test_numbers_are_not_taken_out_of_names(compare):
    assert compare.numbers(cell("f1_macro -0.5, 3e-4 (layer.0) x2 12.")) == [-0.5, 3e-4, 12.0]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_key_figures_and_fixed_data(path, compare):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    keyed = [one for one in cells if "thermocline" in one["metadata"]]
    assert keyed
    assert all(compare.numbers(one) for one in keyed)
    assert "docstrings" not in "".join("".join(one["source"]) for one in cells if one["cell_type"] == "code")
