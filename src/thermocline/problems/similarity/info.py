"""Matching and search, described without importing it."""

from __future__ import annotations

from thermocline.problems.similarity.options import PairOptions, SimilarityOptions
from thermocline.registry import ProblemInfo
from thermocline.registry.metrics import MetricInfo, Parameter

TYPE = "similarity"
GRADED, BINARY, POSITIVES = "graded", "binary", "positives"
"""What the label says of a pair: how much it matches; whether; or nothing, since all pairs match."""

_TOP = Parameter("how many responses count", 0.0, float("inf"), whole=True)


def _metric(name: str, *aliases: str, top: bool = False) -> MetricInfo:
    return MetricInfo(
        name, greater_is_better=True, problem_types=(TYPE,), aliases=aliases, parameter=_TOP if top else None
    )


OF_GRADES = ("spearman", "pearson")
OF_CLASSES = ("roc_auc", "average_precision", "accuracy", "f1", "precision", "recall")
OF_RANKS = ("recall:", "hit_rate:", "mrr", "ndcg", "map")
"""Metrics of search: over the different responses of the data that are scored."""

METRICS_OF = {GRADED: OF_GRADES, BINARY: (*OF_CLASSES, *OF_RANKS), POSITIVES: OF_RANKS}
DEFAULT_METRIC = {GRADED: "spearman", BINARY: "roc_auc", POSITIVES: "mrr"}
USUAL_METRICS = {
    GRADED: OF_GRADES,
    BINARY: ("roc_auc", "average_precision", "accuracy", "f1"),
    POSITIVES: ("recall:1", "recall:10", "mrr", "ndcg:10", "map"),
}

INFO = ProblemInfo(
    name=TYPE,
    implementation="thermocline.problems.similarity.problem:Similarity",
    problem_types=(TYPE,),
    metrics=(
        _metric("spearman", "spearmanr", "spearman_r", "spearman_rho", "spearman_correlation"),
        _metric("pearson", "pearsonr", "pearson_r", "pearson_correlation"),
        _metric("roc_auc", "auc", "auroc", "rocauc", "roc_auc_score"),
        _metric("average_precision", "ap", "pr_auc", "auprc", "average_precision_score"),
        _metric("accuracy", "acc", "accuracy_score"),
        _metric("f1", "f1_score"),
        _metric("precision", "precision_score"),
        _metric("recall", "recall_score", top=True),
        _metric("hit_rate", "hits", "top_k_accuracy", top=True),
        _metric("mrr", "mean_reciprocal_rank", top=True),
        _metric("ndcg", "normalized_discounted_cumulative_gain", top=True),
        _metric("map", "mean_average_precision", top=True),
    ),
    default_metric={TYPE: DEFAULT_METRIC[GRADED]},
    usual_metrics={TYPE: USUAL_METRICS[GRADED]},
    preset="default",
    options={"model.similarity": SimilarityOptions, "data": PairOptions},
    reads=frozenset({"optim.loss", "optim.threshold", "model.peft", "model.lora_rank", "model.lora_alpha"}),
    inputs=("text", "image"),
    unread={
        "optim.head_init": "embeddings have no linear probe: they start as the backbone gives them, and a projection "
        "of texts and images from their correlations. Leave it out.",
        "model.tfidf": "it is for labels of rows, and pairs are compared by their embeddings. Leave it out.",
        "optim.mixup": "it mixes rows that have classes, and pairs have none. Leave it out.",
        "optim.cutmix": "it mixes rows that have classes, and pairs have none. Leave it out.",
    },
    type_aliases={
        "matching": TYPE,
        "text_similarity": TYPE,
        "image_similarity": TYPE,
        "image_text_similarity": TYPE,
        "text_matching": TYPE,
        "image_matching": TYPE,
        "semantic_matching": TYPE,
        "semantic_similarity": TYPE,
        "sentence_similarity": TYPE,
        "retrieval": TYPE,
    },
    roles={"query": "what is compared, or searched with", "response": "what it is compared with, or searched in"},
    label_optional=True,
)
