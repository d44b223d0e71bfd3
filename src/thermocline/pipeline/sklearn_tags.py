"""What scikit-learn's tools ask of an estimator: whether it classifies, what it takes."""

from __future__ import annotations

from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags


def tags_of(problem_type: str | None) -> Tags:
    """Return the tags of a predictor of a problem type; None: it is not known yet, and folds are not stratified."""
    kinds = {"binary": "classifier", "multiclass": "classifier", "classification": "classifier"}
    kind = "regressor" if problem_type == "regression" else kinds.get(problem_type or "")
    return Tags(
        estimator_type=kind,
        target_tags=TargetTags(required=False, one_d_labels=True, multi_output=problem_type == "multilabel"),
        classifier_tags=ClassifierTags() if kind == "classifier" else None,
        regressor_tags=RegressorTags() if kind == "regressor" else None,
        input_tags=InputTags(two_d_array=False, string=True, categorical=True, allow_nan=True),
    )
