"""What a label of one value or one list a row asks for: type, encoding, width, and the way back to its dtype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.cells import as_classes, as_numbers
from thermocline.data.label_columns import check_there, label_columns
from thermocline.data.row_names import first_rows, is_name, plain
from thermocline.errors import ConfigError, LabelError, NonFiniteError, counted, listing
from thermocline.problems.rowwise.info import INFO
from thermocline.problems.rowwise.intervals import Residuals
from thermocline.problems.rowwise.label_values import check_given, lists, quantities, zero_one
from thermocline.problems.rowwise.labels import read_label, read_label_columns
from thermocline.problems.rowwise.losses import Loss
from thermocline.problems.rowwise.quantiles import nearest
from thermocline.problems.rowwise.target_saved import described, fields_of
from thermocline.problems.rowwise.transforms import Transform
from thermocline.problems.rowwise.written_numbers import NumberForm, without_decimals
from thermocline.registry import check_names, find_metric, problem_type_of
from thermocline.registry.metrics import Metric

MIDDLE = 0.5
"""The threshold of two classes where nothing decides for another."""

_LOSSES = {"binary": "cross_entropy", "multiclass": "cross_entropy", "multilabel": "bce", "regression": "mse"}


@dataclass(frozen=True)
class RowTarget:
    """What the label asks for. Made by `RowTarget.of`.

    Attributes:
        problem_type: `binary`, `multiclass`, `multilabel` or `regression`.
        label: The label column; a tuple of columns where a multilabel target has one column per label.
        classes: The classes in order, or the labels' names.
        dtypes: The dtype of the label column, or of each.
        categories: All categories and whether they are ordered, where the label is a categorical.
        mean: Mean of a regression target.
        std: Its standard deviation.
        eval_metric: The metric that validation goes by.
        reason: Why this problem type, and what is notable about the labels.
        form: How the numbers of a regression are written where they are text that Python does not read.
        positive: The positive class of two, which metrics of one class are about; None where there are not two.
        threshold: The probability above which a row is of the positive class; None until a fit has decided.
        temperature: What outputs are divided by before they are probabilities; see `calibration`.
        residuals: Errors of a regression on the validation rows; None until a fit has ended.
        transform: The scale on which a regression is learnt, where it is not the label's; mean and std are on it.
        metric: The metric that validation goes by, where it is one of the caller's own; `eval_metric` is its name.
        loss: What is learnt, where it is another loss than that of the problem type.
        class_weights: What each class, or label where a row has it, counts in what is fitted; empty: alike.
        offsets: What outputs that are quantiles are moved by, on the scale that is learnt; empty: nothing.
        intervals: How far the validation rows are outside of each pair of quantiles; see `quantiles.scores`.
    """

    problem_type: str
    label: str | tuple[str, ...]
    classes: tuple[Any, ...] = ()
    dtypes: tuple[str, ...] = ()
    categories: tuple[tuple[Any, ...], bool] | None = None
    mean: float = 0.0
    std: float = 1.0
    eval_metric: str = ""
    reason: str = ""
    form: NumberForm | None = None
    positive: Any = None
    threshold: float | None = None
    temperature: float = 1.0
    residuals: Residuals | None = None
    transform: Transform | None = None
    metric: Metric | None = None
    loss: Loss | None = None
    class_weights: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    intervals: tuple[Residuals, ...] = ()

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        label: str | Sequence[str],
        problem_type: str | None = None,
        eval_metric: str | Metric | None = None,
        positive_class: Any = None,
    ) -> RowTarget:
        """Return what the labels of a training frame ask for.

        Two distinct values are `binary`; other texts and categories `multiclass`; numbers with a fraction, as text
        or objects too, `regression`; whole numbers `multiclass` where at most 20 are different and each has two rows on
        average, else `regression`. A list of columns, or a column of lists, is `multilabel`.

        Args:
            frame: The training data.
            label: The label column, or a list of columns holding 0 and 1.
            problem_type: Overrides what is inferred; `classification` leaves it to the number of classes.
            eval_metric: A metric's name, or one of the caller's own; the default is by problem type.
            positive_class: The positive class of two; see `positive.find_positive` for the default.

        Raises:
            MissingColumnError: The label column is absent.
            ConfigError: An unknown problem type or metric, or one that does not fit; a positive class that is none of
                two classes.
            LabelError: Labels that cannot be trained on.
        """
        check_names(problem_type, eval_metric, own=INFO)
        problem_type = problem_type_of(problem_type, own=INFO)
        names = label_columns(label)
        check_there(frame, names, what="train_data")
        if len(frame) < 2:
            raise LabelError(f"Training needs at least two rows; train_data has {len(frame)}.")
        alone = isinstance(label, str)
        if alone:
            found = read_label(frame[names[0]], problem_type, positive_class)
        else:
            found = read_label_columns(frame, names, problem_type)
        default = INFO.default_metric[found.problem_type]
        metric = find_metric(INFO, eval_metric or default, found.problem_type).name
        own = eval_metric if isinstance(eval_metric, Metric) else None
        return cls(label=names[0] if alone else names, eval_metric=metric, metric=own, **vars(found))

    @property
    def labels(self) -> tuple[str, ...]:
        """The label columns, always as a tuple: what is no feature."""
        return (self.label,) if isinstance(self.label, str) else self.label

    @property
    def width(self) -> int:
        """How many outputs a model has: one per class or label, one for regression, or one per quantile."""
        if self.problem_type == "regression":
            return max(1, len(self.levels))
        if not self.classes:
            raise ConfigError(
                f"{type(self).__name__} has no classes for {self.problem_type!r} labels. Where labels are no classes, "
                "define encode(self, frame, *, what='the data'), which returns an array (rows, …), and width, the "
                "outputs of the head."
            )
        return len(self.classes)

    @property
    def loss_name(self) -> str:
        """The loss of the problem type, and of linear models: `cross_entropy`, `bce` or `mse`."""
        return _LOSSES[self.problem_type]

    @property
    def learnt(self) -> str | Loss:
        """The loss that is learnt."""
        return self.loss or self.loss_name

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of the quantiles that are learnt, ascending; empty where others things are."""
        return () if self.loss is None else self.loss.levels

    @property
    def label_weights(self) -> tuple[float, ...]:
        """What each of several labels counts where a row has it; empty where they count alike, or it is one label."""
        return self.class_weights if self.problem_type == "multilabel" else ()

    def balance(self, encoded: np.ndarray) -> np.ndarray | None:
        """Return what each row counts by its class, float32 `(rows,)`, or None where there are no such weights."""
        if not self.class_weights or self.problem_type == "multilabel":
            return None
        return np.asarray(np.take(np.asarray(self.class_weights, dtype=np.float32), encoded))

    @property
    def positive_code(self) -> int:
        """The number of the positive class of two."""
        return self.classes.index(self.positive)

    # -- labels to numbers

    def encode(self, frame: pd.DataFrame, *, what: str = "the data") -> np.ndarray:
        """Return the target: int64 `(n,)`, 0/1 float32 `(n, labels)`, or standardised float32 `(n, 1)`.

        Raises:
            MissingColumnError: A label column is absent.
            LabelError: Missing labels, classes that training did not see, targets that are no finite numbers.
        """
        check_there(frame, self.labels, what=what)
        if not isinstance(self.label, str):
            return np.stack([zero_one(as_numbers(frame[name])) for name in self.label], axis=1).astype(np.float32)
        if self.problem_type == "regression":
            numbers = self.quantities(frame)
            numbers = numbers if self.transform is None else self.transform.forward(numbers)
            return ((numbers - self.mean) / self.std).astype(np.float32)[:, None]
        series = without_decimals(frame[self.label])
        if self.problem_type == "multilabel":
            return self._encode_lists(series)
        series = as_classes(series, self.classes)
        check_given(series)
        codes = {value: number for number, value in enumerate(self.classes)}
        values = [plain(value) for value in series.astype(object)]
        target = np.array([codes.get(v, -1) if is_name(v) else -1 for v in values], dtype=np.int64)
        self._check_seen(series, target < 0, [v for v, t in zip(values, target, strict=True) if t < 0])
        return target

    def quantities(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the labels of a regression as they are, float64 `(n,)`."""
        series = without_decimals(frame[self.labels[0]])
        return quantities(as_numbers(series) if self.form is None else series, self.form)

    def _encode_lists(self, series: pd.Series[Any]) -> np.ndarray:
        cells = lists(series)
        codes = {value: number for number, value in enumerate(self.classes)}
        target = np.zeros((len(cells), len(codes)), dtype=np.float32)
        unseen: dict[int, list[Any]] = {}
        for row, cell in enumerate(cells):
            for value in cell:
                if is_name(value) and value in codes:
                    target[row, codes[value]] = 1.0
                else:
                    unseen.setdefault(row, []).append(value)
        mask = np.isin(np.arange(len(cells)), list(unseen))
        self._check_seen(series, mask, [value for values in unseen.values() for value in values])
        return target

    def _check_seen(self, series: pd.Series[Any], mask: np.ndarray, values: Sequence[Any]) -> None:
        if not mask.any():
            return
        distinct = list({repr(value): value for value in values}.values())
        types = sorted({type(value).__name__ for value in self.classes})
        other = (
            ""
            if {type(v).__name__ for v in distinct} <= set(types)
            else (f" (in training they were of type {' and '.join(types)})")
        )
        raise LabelError(
            f"Label {series.name!r} holds {listing(distinct)}, which training never saw{other}, in "
            f"{counted(int(mask.sum()), 'row')}: {first_rows(series.index, mask, series)}. "
            f"Known: {listing(self.classes)}. Drop these rows, or fit on data that has them."
        )

    # -- outputs to labels

    def restore(self, outputs: np.ndarray) -> np.ndarray:
        """Return a standardised regression target or output in the label's own units, float64."""
        units: np.ndarray = np.asarray(outputs, dtype=np.float64) * self.std + self.mean
        return units if self.transform is None else self.transform.inverse(units)

    def predicted(self, outputs: np.ndarray) -> np.ndarray:
        """Return predictions in the label's own units, float64 `(n, 1)`.

        A mean, where errors on another scale are known; of several quantiles the one whose level is the nearest to a
        half.
        """
        if self.levels:
            return self.quantiles(outputs)[:, [nearest(self.levels, MIDDLE)]]
        if self.transform is None or not self.transform.errors:
            return self.restore(outputs)
        outputs = np.asarray(outputs, dtype=np.float64)
        return sum((self.restore(outputs + error) for error in self.transform.errors), np.zeros(1)) / len(
            self.transform.errors
        )

    def quantiles(self, outputs: np.ndarray) -> np.ndarray:
        """Return the quantiles in the label's own units and in order, float64 `(n, levels)`."""
        moved = np.asarray(outputs, dtype=np.float64) + (np.array(self.offsets) if self.offsets else 0.0)
        return self.restore(np.sort(moved, axis=1))

    def on_scale(self, name: str, frame: pd.DataFrame) -> RowTarget:
        """Return the target of a regression that is learnt on another scale; see `Transform.of`.

        Args:
            name: `log` or `quantile`.
            frame: The training data.
        """
        return self.on_transform(Transform.of(name, self.quantities(frame), self.labels[0]), frame)

    def on_transform(self, transform: Transform, frame: pd.DataFrame) -> RowTarget:
        """Return the target of a regression that is learnt on a scale.

        Args:
            transform: The scale.
            frame: The training data; mean and spread are those of its labels.
        """
        values = transform.forward(self.quantities(frame))
        return replace(self, transform=transform, mean=float(values.mean()), std=float(values.std()))

    def activate(self, logits: np.ndarray) -> np.ndarray:
        """Return probabilities `(n, width)` as float64: softmax over classes, a sigmoid per label."""
        logits = np.asarray(logits, dtype=np.float64) / self.temperature
        if self.problem_type == "multilabel":
            small = np.exp(-np.abs(logits))  # never overflows
            return np.asarray(np.where(logits >= 0, 1.0, small) / (1.0 + small))
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    def choose(self, logits: np.ndarray) -> np.ndarray:
        """Return the class numbers int64 `(n,)`, or 0/1 `(n, labels)` where the chance is above a half.

        Of two classes it is the positive one where its probability is above the threshold.
        """
        if self.problem_type == "multilabel":
            return np.asarray(np.asarray(logits) > 0, dtype=np.int64)
        if self.problem_type == "binary":
            chosen = self.activate(logits)[:, self.positive_code] > (self.threshold or MIDDLE)
            return np.where(chosen, self.positive_code, 1 - self.positive_code)
        return np.asarray(np.asarray(logits).argmax(axis=1), dtype=np.int64)

    def decode(self, outputs: np.ndarray, index: pd.Index[Any] | None = None) -> pd.Series[Any] | pd.DataFrame:
        """Return predictions on an index, in the label's dtype (regression: float64).

        Args:
            outputs: Raw outputs of a model `(n, width)`.
            index: The frame's index; None counts from 0.

        Returns:
            A Series named as the label; a DataFrame of 0 and 1 where the label is a list of columns.

        Raises:
            NonFiniteError: An output is NaN or infinite.
        """
        outputs, index = self.check_outputs(outputs, index)
        if self.problem_type == "regression":
            return pd.Series(self.predicted(outputs)[:, 0], index=index, name=self.labels[0])
        chosen = self.choose(outputs)
        if not isinstance(self.label, str):
            table = pd.DataFrame(chosen, index=index, columns=list(self.label))
            return table.astype(dict(zip(self.label, self.dtypes, strict=True)))
        if self.problem_type == "multilabel":
            lists = [[self.classes[k] for k in np.flatnonzero(row)] for row in chosen]
            return pd.Series(lists, index=index, name=self.label, dtype=object)
        values = pd.Series([self.classes[k] for k in chosen], index=index, name=self.label, dtype=object)
        return values.astype(self._dtype())

    def proba(self, logits: np.ndarray, index: pd.Index[Any] | None = None) -> pd.DataFrame:
        """Return probabilities, a column per class or label.

        Raises:
            ConfigError: A regression has no probabilities.
            NonFiniteError: An output is NaN or infinite.
        """
        if self.problem_type == "regression":
            raise ConfigError(f"{self.labels[0]!r} is a regression target: there are no probabilities. Use predict.")
        logits, index = self.check_outputs(logits, index)
        # An index of booleans would read frame[True] as a mask
        dtype = object if any(isinstance(value, bool) for value in self.classes) else None
        return pd.DataFrame(self.activate(logits), index=index, columns=pd.Index(self.classes, dtype=dtype))

    def check_outputs(self, outputs: np.ndarray, index: pd.Index[Any] | None) -> tuple[np.ndarray, pd.Index[Any]]:
        """Return outputs as an array and the index of their rows.

        Raises:
            NonFiniteError: An output is NaN or infinite.
        """
        outputs = np.asarray(outputs)
        if outputs.ndim != 2 or outputs.shape[1] != self.width:
            raise ValueError(f"Outputs of shape {outputs.shape} are not (rows, {self.width}).")
        rows = pd.RangeIndex(len(outputs)) if index is None else index
        bad = ~np.isfinite(outputs).all(axis=1)
        if bad.any():
            raise NonFiniteError(
                f"The model's outputs are not finite in {counted(int(bad.sum()), 'row')}: {first_rows(rows, bad)}."
            )
        return outputs, rows

    def _dtype(self) -> Any:
        if self.categories is not None:
            return pd.CategoricalDtype(pd.Index(self.categories[0]), ordered=self.categories[1])
        return self.dtypes[0]

    # -- to and from JSON

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` undoes it exactly, dtypes included, but for functions."""
        return described(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RowTarget:
        """Return what `to_dict` wrote down, before or after a trip through JSON."""
        fields = fields_of(values)
        if fields["problem_type"] == "binary":
            fields = {"positive": fields["classes"][-1], "threshold": MIDDLE} | fields
        return cls(**fields)
