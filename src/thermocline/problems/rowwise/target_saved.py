"""A target of rows as plain JSON values, and back. A function of the caller's own is saved by its name alone.

Where there is no such thing, the words are the same as before there was any, for checkpoints of then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from thermocline.problems.rowwise.intervals import Residuals
from thermocline.problems.rowwise.losses import saved_loss
from thermocline.problems.rowwise.transforms import Transform
from thermocline.problems.rowwise.written_numbers import NumberForm
from thermocline.registry.metrics import Metric

LATER = ("form", "residuals", "transform", "metric", "loss", "class_weights", "offsets", "intervals")
"""What is left out where it is none or empty."""


def described(target: Any) -> dict[str, Any]:
    """Return a `RowTarget` as plain JSON values."""
    values = asdict(replace(target, metric=None, loss=None))  # functions are not copied
    values["label"] = target.label if isinstance(target.label, str) else list(target.label)
    values["classes"] = list(target.classes)
    values["dtypes"] = list(target.dtypes)
    if target.categories is not None:
        values["categories"] = {"values": list(target.categories[0]), "ordered": target.categories[1]}
    for name in LATER:
        if not getattr(target, name):
            del values[name]
    if target.problem_type == "binary" and target.positive_code == 1:
        del values["positive"]
    if target.temperature == 1.0:
        del values["temperature"]
    return values | _later(target)


def _later(target: Any) -> dict[str, Any]:
    """Return what older versions did not have, where there is some."""
    values: dict[str, Any] = {name: getattr(target, name) for name in LATER if getattr(target, name)}
    for name in ("form", "class_weights", "offsets"):
        if name in values:
            values[name] = list(values[name])
    for name in ("residuals", "transform"):
        if name in values:
            values[name] = values[name].to_dict()
    if target.metric is not None:
        values["metric"] = {"greater_is_better": target.metric.greater_is_better, "needs": target.metric.needs}
    if target.loss is not None:
        values["loss"] = str(target.loss)
    if target.intervals:
        values["intervals"] = [one.to_dict() for one in target.intervals]
    return values


def fields_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `RowTarget` that `described` wrote down."""
    fields = dict(values)
    fields["label"] = fields["label"] if isinstance(fields["label"], str) else tuple(fields["label"])
    for name in ("classes", "dtypes", "class_weights", "offsets"):
        fields[name] = tuple(fields.get(name, ()))
    if fields.get("categories") is not None:
        kept = fields["categories"]
        fields["categories"] = tuple(kept["values"]), bool(kept["ordered"])
    if fields.get("form") is not None:
        fields["form"] = NumberForm(*fields["form"])
    if fields.get("residuals") is not None:
        fields["residuals"] = Residuals.from_dict(fields["residuals"])
    if fields.get("transform") is not None:
        fields["transform"] = Transform.from_dict(fields["transform"])
    if fields.get("metric") is not None:
        fields["metric"] = Metric(str(fields["eval_metric"]), None, **fields["metric"])
    if fields.get("loss") is not None:
        fields["loss"] = saved_loss(str(fields["loss"]))
    fields["intervals"] = tuple(Residuals.from_dict(one) for one in fields.get("intervals", ()))
    return fields
