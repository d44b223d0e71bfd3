"""Problems with one label a row or several: binary, multiclass, multilabel, regression; described without import."""

from __future__ import annotations

from thermocline.registry import MetricInfo, ProblemInfo

_CLASSES = ("binary", "multiclass")
_LABELS = ("binary", "multiclass", "multilabel")
_NUMBERS = ("regression",)


def _higher(name: str, problem_types: tuple[str, ...], *aliases: str) -> MetricInfo:
    """Return a metric of which more is better."""
    return MetricInfo(name, greater_is_better=True, problem_types=problem_types, aliases=aliases)


def _lower(name: str, problem_types: tuple[str, ...], *aliases: str) -> MetricInfo:
    """Return a metric of which less is better."""
    return MetricInfo(name, greater_is_better=False, problem_types=problem_types, aliases=aliases)


def _counted(stem: str) -> tuple[MetricInfo, ...]:
    """Return a metric of one class and its averages over the classes."""
    return (_higher(stem, ("binary",)), *(_higher(f"{stem}_{one}", _LABELS) for one in ("macro", "micro", "weighted")))


INFO = ProblemInfo(
    name="rowwise",
    implementation="thermocline.problems.rowwise.problem:Rowwise",
    problem_types=("binary", "multiclass", "multilabel", "regression"),
    metrics=(
        _higher("accuracy", _LABELS, "acc", "subset_accuracy"),
        _higher("balanced_accuracy", _CLASSES),
        _higher("roc_auc", _LABELS, "roc_auc_ovr", "roc_auc_ovr_macro", "auc"),
        _higher("average_precision", _LABELS),
        _lower("log_loss", _LABELS, "nll", "cross_entropy"),
        _higher("mcc", _CLASSES, "matthews_corrcoef"),
        _higher("quadratic_kappa", _CLASSES, "quadratic_weighted_kappa"),
        _lower("hamming_loss", _LABELS),
        *_counted("f1"),
        *_counted("precision"),
        *_counted("recall"),
        _lower("rmse", _NUMBERS, "root_mean_squared_error"),
        _lower("mse", _NUMBERS, "mean_squared_error"),
        _lower("mae", _NUMBERS, "mean_absolute_error"),
        _lower("median_absolute_error", _NUMBERS),
        _lower("mape", _NUMBERS, "mean_absolute_percentage_error"),
        _higher("r2", _NUMBERS),
        _higher("spearman", _NUMBERS, "spearmanr"),
        _higher("pearson", _NUMBERS, "pearsonr"),
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
