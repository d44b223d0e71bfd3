"""Problems with one label a row or several: binary, multiclass, multilabel, regression; described without import."""

from __future__ import annotations

from dataclasses import replace

from thermocline.registry import ProblemInfo
from thermocline.registry.metrics import MetricInfo, Parameter

_CLASSES = ("binary", "multiclass")
_LABELS = ("binary", "multiclass", "multilabel")
_NUMBERS = ("regression",)
_OF_CLASSES = frozenset({"optim.label_smoothing", "optim.calibrate", "optim.class_weights"})


def _higher(name: str, problem_types: tuple[str, ...], *aliases: str, tunes: bool = False) -> MetricInfo:
    """Return a metric of which more is better."""
    return MetricInfo(name, greater_is_better=True, problem_types=problem_types, aliases=aliases, tunes_threshold=tunes)


def _lower(name: str, problem_types: tuple[str, ...], *aliases: str) -> MetricInfo:
    """Return a metric of which less is better."""
    return MetricInfo(name, greater_is_better=False, problem_types=problem_types, aliases=aliases)


_LEVEL = Parameter("the level of the quantile", 0.0, 1.0)
_TOP = Parameter("how many classes count", 0.0, float("inf"), whole=True, spelled=r"top_?(\d+)(?:_acc(?:uracy)?)?")


def _counted(stem: str, *aliases: str, tunes: tuple[str, ...] = ()) -> tuple[MetricInfo, ...]:
    """Return a metric of one class and its averages over the classes.

    Args:
        stem: Its name.
        aliases: Other names of that of one class.
        tunes: The names that `tunes_threshold` is true of. Of two classes a micro average and a weighted recall are the
            accuracy, and precision or recall alone are best where no or every row is called positive.
    """
    averages = [(f"{stem}_{one}", f"{one}_{stem}", f"{stem}_score_{one}") for one in ("macro", "micro", "weighted")]
    return (
        _higher(stem, ("binary",), f"{stem}_score", f"{stem}_binary", *aliases, tunes=stem in tunes),
        *(_higher(name, _LABELS, *others, tunes=name in tunes) for name, *others in averages),
    )


INFO = ProblemInfo(
    name="rowwise",
    implementation="thermocline.problems.rowwise.problem:Rowwise",
    problem_types=("binary", "multiclass", "multilabel", "regression"),
    metrics=(
        _higher("accuracy", _LABELS, "acc", "accuracy_score", "subset_accuracy", "exact_match"),
        _higher("balanced_accuracy", _CLASSES, "balanced_accuracy_score", "bacc", "balanced_acc", tunes=True),
        _higher("roc_auc", _LABELS, "roc_auc_ovr", "roc_auc_ovr_macro", "auc", "auroc", "rocauc", "roc_auc_score"),
        _higher("roc_auc_ovr_weighted", _LABELS, "auroc_weighted", "roc_auc_weighted"),
        _higher("roc_auc_ovr_micro", _LABELS, "auroc_micro", "roc_auc_micro"),
        _higher("roc_auc_ovo", _CLASSES, "roc_auc_ovo_macro"),
        _higher("roc_auc_ovo_weighted", _CLASSES),
        _higher("average_precision", _LABELS, "average_precision_score", "ap", "pr_auc", "prauc", "auprc", "auc_pr"),
        _lower("log_loss", _LABELS, "nll", "cross_entropy", "logloss", "nll_loss", "ce", "neg_log_loss"),
        _lower("brier", _LABELS, "brier_score", "brier_score_loss", "brier_loss", "neg_brier_score"),
        _lower("ece", _CLASSES, "expected_calibration_error", "calibration_error"),
        replace(_higher("top_k", ("multiclass",), "top_k_accuracy", "topk", "top_k_accuracy_score"), parameter=_TOP),
        _higher("mcc", _CLASSES, "matthews_corrcoef", "matthews", "matthews_correlation", tunes=True),
        _higher("kappa", _CLASSES, "cohen_kappa", "cohen_kappa_score", tunes=True),
        _higher("quadratic_kappa", _CLASSES, "quadratic_weighted_kappa", "qwk", tunes=True),
        _lower("hamming_loss", _LABELS, "hamming"),
        *_counted("f1", tunes=("f1", "f1_macro", "f1_weighted")),
        *_counted("precision"),
        *_counted("recall", "sensitivity", "tpr", tunes=("recall_macro",)),
        *_counted("jaccard", "iou", "jaccard_index", tunes=("jaccard", "jaccard_macro", "jaccard_weighted")),
        _higher("specificity", ("binary",), "tnr", "true_negative_rate"),
        _lower("rmse", _NUMBERS, "root_mean_squared_error", "root_mean_square_error", "neg_root_mean_squared_error"),
        _lower("mse", _NUMBERS, "mean_squared_error", "mean_square_error", "l2", "neg_mean_squared_error"),
        _lower("mae", _NUMBERS, "mean_absolute_error", "l1", "neg_mean_absolute_error"),
        _lower("median_absolute_error", _NUMBERS, "medae", "mdae", "neg_median_absolute_error"),
        _lower("max_error", _NUMBERS, "maximum_error", "neg_max_error"),
        _lower("mape", _NUMBERS, "mean_absolute_percentage_error", "neg_mean_absolute_percentage_error"),
        _lower("smape", _NUMBERS, "symmetric_mean_absolute_percentage_error"),
        _lower("wape", _NUMBERS, "wmape", "weighted_mean_absolute_percentage_error"),
        _lower("rmsle", _NUMBERS, "root_mean_squared_log_error", "neg_root_mean_squared_log_error"),
        _lower("msle", _NUMBERS, "mean_squared_log_error", "neg_mean_squared_log_error"),
        replace(_lower("pinball", _NUMBERS, "pinball_loss", "quantile_loss", "mean_pinball_loss"), parameter=_LEVEL),
        _higher("r2", _NUMBERS, "r2_score", "r_squared", "r^2"),
        _higher("explained_variance", _NUMBERS, "explained_variance_score"),
        _higher("spearman", _NUMBERS, "spearmanr", "spearman_r", "spearman_rho", "spearman_correlation"),
        _higher("pearson", _NUMBERS, "pearsonr", "pearson_r", "pearson_correlation"),
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
    reads=frozenset(
        {
            "optim.arms",
            "optim.head_init",
            "optim.loss",
            "optim.mixup",
            "optim.refit",
            "model.peft",
            "model.lora_rank",
            "model.lora_alpha",
        }
    ),
    inputs=("text", "image", "table"),
    reads_by_type={
        "binary": _OF_CLASSES | {"optim.threshold"},
        "multiclass": _OF_CLASSES,
        "multilabel": _OF_CLASSES,
        "regression": frozenset({"data.target_transform"}),
    },
    reads_joined=frozenset({"model.fusion.*"}),
    type_aliases={
        "binary_classification": "binary",
        "multi_class": "multiclass",
        "multiclass_classification": "multiclass",
        "multi_class_classification": "multiclass",
        "multi_label": "multilabel",
        "multilabel_classification": "multilabel",
        "multi_label_classification": "multilabel",
        "single_label_classification": "classification",
        "classifier": "classification",
        "text_classification": "classification",
        "image_classification": "classification",
        "sequence_classification": "classification",
        "tabular_classification": "classification",
        "regressor": "regression",
        "tabular_regression": "regression",
    },
    open_types={"classification": _CLASSES},
    own_metrics=True,
)
