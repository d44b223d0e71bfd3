"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import thermocline

NAMES = ["LayerMap", "LayerPlan", "Predictor", "ThermoclineError", "__version__", "list_presets", "load_sample"]
HEAVY = ["torch", "torchvision", "transformers", "timm", "sklearn", "matplotlib", "accelerate"]


def test_public_names() -> None:
    assert sorted(thermocline.__all__) == sorted(NAMES)
    assert dir(thermocline) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_there(name: str) -> None:
    assert getattr(thermocline, name) is not None
    assert getattr(thermocline, name) is getattr(thermocline, name)


def test_a_name_that_is_not_there_says_which_are() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'Predicter'.*Predictor"):
        thermocline.Predicter  # noqa: B018


def _loaded_after(statement: str) -> str:
    code = f"import sys\n{statement}\nprint(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    "statement",
    [
        "import thermocline",
        "from thermocline import Predictor",
        "from thermocline import Predictor; Predictor('label', 'binary', 'roc_auc')",
        "from thermocline import load_sample, list_presets, ThermoclineError",
        "import thermocline.cli",
    ],
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert _loaded_after(statement) == ""


def test_importing_the_package_does_not_even_load_pandas() -> None:
    code = "import sys, thermocline; print('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"
