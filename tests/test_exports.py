"""The public names of the package."""

from __future__ import annotations

import pytest

import thermocline

NAMES = [
    "CSV",
    "Callback",
    "Corpus",
    "FitState",
    "LayerMap",
    "LayerPlan",
    "Logger",
    "MLflow",
    "Metric",
    "Options",
    "Predictor",
    "RunInfo",
    "TensorBoard",
    "ThermoclineClassifier",
    "ThermoclineError",
    "ThermoclineRegressor",
    "WandB",
    "__version__",
    "list_options",
    "list_presets",
    "list_samples",
    "load_sample",
]


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
