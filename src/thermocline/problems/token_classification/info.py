"""The light record of token classification, importable without torch."""

from __future__ import annotations

from thermocline.problems.token_classification.options import EntityOptions, SpanOptions
from thermocline.registry import ProblemInfo
from thermocline.registry.metrics import MetricInfo

_TYPES = ("token_classification",)
_METRICS: dict[str, tuple[str, ...]] = {
    "entity_f1": ("entity_f1_micro", "f1", "f1_micro", "seqeval", "overall_f1"),
    "entity_precision": ("entity_precision_micro", "precision", "precision_micro", "overall_precision"),
    "entity_recall": ("entity_recall_micro", "recall", "recall_micro", "overall_recall"),
    "entity_f1_macro": ("f1_macro",),
    "entity_precision_macro": ("precision_macro",),
    "entity_recall_macro": ("recall_macro",),
}
"""Scores of whole entities, each with its aliases."""

_OWN_LOSS = "it is not for token classification, whose loss is the cross-entropy of each token. Leave it out."

INFO = ProblemInfo(
    name="token_classification",
    implementation="thermocline.problems.token_classification.problem:TokenClassification",
    problem_types=_TYPES,
    metrics=tuple(
        MetricInfo(name, greater_is_better=True, problem_types=_TYPES, aliases=aliases)
        for name, aliases in _METRICS.items()
    ),
    default_metric={"token_classification": "entity_f1"},
    usual_metrics={"token_classification": ("entity_f1", "entity_precision", "entity_recall", "entity_f1_macro")},
    preset="default",
    type_aliases={
        "ner": "token_classification",
        "named_entities": "token_classification",
        "named_entity_recognition": "token_classification",
        "entities": "token_classification",
        "sequence_labeling": "token_classification",
        "sequence_labelling": "token_classification",
    },
    file_types=dict.fromkeys((".conll", ".iob", ".iob2", ".bio", ".bioes"), "a CoNLL file"),
    options={"data": SpanOptions, "model.entities": EntityOptions},
    reads=frozenset(
        {
            "optim.arms",
            "optim.head_init",
            "optim.label_smoothing",
            "model.peft",
            "model.lora_rank",
            "model.lora_alpha",
        }
    ),
    inputs=("text",),
    unread={
        "optim.loss": _OWN_LOSS,
        "optim.class_weights": _OWN_LOSS,
        "optim.mixup": "texts of token classification are not mixed. Leave it out.",
        "model.text.pair": "token classification reads one column of texts. Leave it out.",
        "model.text.join": "token classification reads one column of texts. Leave it out.",
        "model.text.pooling": "token classification reads the features of each token. Leave it out.",
        "model.tfidf": "it is for problems with one label a row. Leave it out.",
    },
)
