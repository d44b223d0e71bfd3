"""Problems with one label a row or several: binary, multiclass, multilabel, regression; described without import."""

from __future__ import annotations

from thermocline.registry import MetricInfo, ProblemInfo

_CLASSES = ("binary", "multiclass")
_LABELS = ("binary", "multiclass", "multilabel")
_NUMBERS = ("regression",)


def _counted(stem: str) -> tuple[MetricInfo, ...]:
    """Return a metric of one class and its averages over the classes."""
    averages = (MetricInfo(f"{stem}_{average}", True, _LABELS) for average in ("macro", "micro", "weighted"))
    return (MetricInfo(stem, True, ("binary",)), *averages)


INFO = ProblemInfo(
    name="rowwise",
    implementation="thermocline.problems.rowwise.problem:Rowwise",
    problem_types=("binary", "multiclass", "multilabel", "regression"),
    metrics=(
        MetricInfo("accuracy", True, _LABELS, ("acc", "subset_accuracy")),
        MetricInfo("balanced_accuracy", True, _CLASSES),
        MetricInfo("roc_auc", True, _LABELS, ("roc_auc_ovr", "roc_auc_ovr_macro", "auc")),
        MetricInfo("average_precision", True, _LABELS),
        MetricInfo("log_loss", False, _LABELS, ("nll", "cross_entropy")),
        MetricInfo("mcc", True, _CLASSES, ("matthews_corrcoef",)),
        MetricInfo("quadratic_kappa", True, _CLASSES, ("quadratic_weighted_kappa",)),
        MetricInfo("hamming_loss", False, _LABELS),
        *_counted("f1"),
        *_counted("precision"),
        *_counted("recall"),
        MetricInfo("rmse", False, _NUMBERS, ("root_mean_squared_error",)),
        MetricInfo("mse", False, _NUMBERS, ("mean_squared_error",)),
        MetricInfo("mae", False, _NUMBERS, ("mean_absolute_error",)),
        MetricInfo("median_absolute_error", False, _NUMBERS),
        MetricInfo("mape", False, _NUMBERS, ("mean_absolute_percentage_error",)),
        MetricInfo("r2", True, _NUMBERS),
        MetricInfo("spearman", True, _NUMBERS, ("spearmanr",)),
        MetricInfo("pearson", True, _NUMBERS, ("pearsonr",)),
    ),
    default_metric={
        "binary": "roc_auc",
        "multiclass": "accuracy",
        "multilabel": "average_precision",  # needs no threshold, so it changes from the first epoch on
        "regression": "rmse",
    },
    usual_metrics={
        "binary": ("accuracy", "roc_auc", "f1", "log_loss"),
        "multiclass": ("accuracy", "f1_macro", "log_loss"),
        "multilabel": ("f1_macro", "f1_micro", "roc_auc"),
        "regression": ("rmse", "mae", "r2"),
    },
    preset="default",
    reads=frozenset({"optim.head_init", "model.peft", "model.lora_rank", "model.lora_alpha"}),
    inputs=("text", "image", "table"),
    reads_by_type={name: frozenset({"optim.label_smoothing"}) for name in _LABELS},
    reads_joined=frozenset({"model.fusion.*"}),
)
