"""Fine-tune timm and transformers backbones from a DataFrame, and see and control what every layer does."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thermocline.config import list_options, list_presets
    from thermocline.config.typed_options import Options
    from thermocline.data.samples import list_samples, load_sample
    from thermocline.errors import ThermoclineError
    from thermocline.predictor import Predictor
    from thermocline.registry.metrics import Metric
    from thermocline.training.callbacks import Callback, FitState
    from thermocline.training.loggers import CSV, Logger, RunInfo, TensorBoard
    from thermocline.training.trackers import MLflow, WandB
    from thermocline.tuning.layers.layer_map import LayerMap
    from thermocline.tuning.plan.layer_plan import LayerPlan

__version__ = "0.1.0"
__all__ = [
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

_HOME = {
    "CSV": "thermocline.training.loggers",
    "Callback": "thermocline.training.callbacks",
    "Corpus": "thermocline.pipeline.corpus",
    "FitState": "thermocline.training.callbacks",
    "LayerMap": "thermocline.tuning.layers.layer_map",
    "LayerPlan": "thermocline.tuning.plan.layer_plan",
    "Logger": "thermocline.training.loggers",
    "MLflow": "thermocline.training.trackers",
    "Metric": "thermocline.registry.metrics",
    "Options": "thermocline.config.typed_options",
    "Predictor": "thermocline.predictor",
    "RunInfo": "thermocline.training.loggers",
    "TensorBoard": "thermocline.training.loggers",
    "ThermoclineClassifier": "thermocline.estimators",
    "ThermoclineError": "thermocline.errors",
    "ThermoclineRegressor": "thermocline.estimators",
    "WandB": "thermocline.training.trackers",
    "list_options": "thermocline.config",
    "list_presets": "thermocline.config",
    "list_samples": "thermocline.data.samples",
    "load_sample": "thermocline.data.samples",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'thermocline' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
