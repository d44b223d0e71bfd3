from __future__ import annotations

import sys

import pytest

from thermocline.errors import MissingDependencyError
from thermocline.evaluation.report import EvaluationReport
from thermocline.report import plots
from thermocline.report.sections import Bars


@pytest.fixture
def without_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without("matplotlib"), *sys.meta_path])


def test_without_matplotlib_the_extra_is_named(without_matplotlib):
    with pytest.raises(MissingDependencyError, match=r"pip install 'thermocline\[plots\]'"):
        plots.pyplot()


def test_a_report_is_html_without_its_pictures(without_matplotlib):
    section = Bars("AP by class", "AP", {"cat": 0.5})
    report = EvaluationReport("object_detection", "rois", 9, sections=(section,))
    html = report._repr_html_()
    assert "AP by class" in html
    assert "pip install &#x27;thermocline[plots]&#x27;" in html
    assert "<img" not in html


class Without:
    """A finder that says a package is not there."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_every_plot_asks_for_it_in_this_way():
    """An import of pyplot elsewhere would end in a bare ModuleNotFoundError."""
    import re
    from pathlib import Path

    root = Path(plots.__file__).parents[1]
    bare = re.compile(r"^\s*(?:import matplotlib\.pyplot|from matplotlib import .*pyplot)", re.MULTILINE)
    found = [path.name for path in root.rglob("*.py") if bare.search(path.read_text(encoding="utf-8"))]
    assert found == ["plots.py"]
