"""Estimators of scikit-learn over a `Predictor`: `fit(X, y)`, for its cross-validation, searches and pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.utils import Tags, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, assert_all_finite, validate_data

from thermocline.data.tables import as_frame
from thermocline.errors import ConfigError, DataError, LabelError, NotFittedError
from thermocline.predictor import Predictor
from thermocline.registry.metrics import Metric

if TYPE_CHECKING:
    from thermocline.config.typed_options import Hyperparameters

NESTED = "hyperparameters__"
"""What the name of a single option begins with: `hyperparameters__optim.lr`."""
LARGEST_DRAWN = 2**31 - 1


class EstimatorNotFittedError(NotFittedError, SklearnNotFittedError):  # type: ignore[misc]
    """An estimator was used before `fit`."""


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """What the two estimators share. Arguments are stored as they are, and checked by `fit`."""

    _problem_type = ""

    def __init__(  # noqa: PLR0913 - public API
        self,
        *,
        presets: Any = None,
        hyperparameters: Hyperparameters = None,
        column_types: Mapping[str, str] | None = None,
        eval_metric: str | Metric | Callable[..., Any] | None = None,
        time_limit: float | str | None = None,
        memory: int | str | None = None,
        model: Any = None,
        random_state: Any = 0,
        verbosity: int = 0,
    ) -> None:
        self.presets = presets
        self.hyperparameters = hyperparameters
        self.column_types = column_types
        self.eval_metric = eval_metric
        self.time_limit = time_limit
        self.memory = memory
        self.model = model
        self.random_state = random_state
        self.verbosity = verbosity

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002 - sklearn's
        """Return the constructor's arguments by name.

        Args:
            deep: Also each hyperparameter, as `hyperparameters__optim.lr`, where they are a dict.
        """
        found: dict[str, Any] = super().get_params(deep=False)
        given = found["hyperparameters"]
        if deep and isinstance(given, Mapping):
            found |= {f"{NESTED}{name}": value for name, value in given.items()}
        return found

    def set_params(self, **params: Any) -> Any:
        """Set arguments of the constructor, or single hyperparameters.

        Args:
            **params: Arguments by name; `hyperparameters__optim.lr` is one of a dict.

        Raises:
            ValueError: There is no such argument.
            ConfigError: Single hyperparameters, and `hyperparameters` is a file or a list.
        """
        single = {name.removeprefix(NESTED): one for name, one in params.items() if name.startswith(NESTED)}
        super().set_params(**{name: one for name, one in params.items() if not name.startswith(NESTED)})
        if single:
            given: Any = {} if self.hyperparameters is None else self.hyperparameters
            if not isinstance(given, Mapping):
                raise ConfigError(
                    f"{NESTED}{next(iter(single))} sets one of a dict, and hyperparameters is a "
                    f"{type(given).__name__}. Give hyperparameters as a dict."
                )
            self.hyperparameters = {**given, **single}
        return self

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit to a table and its labels.

        Args:
            X: A frame of pandas, polars or with Arrow's interface, with columns of text, images, categories and
                numbers; or an array `(rows, columns)`. Columns without names become `x0`, `x1`, ….
            y: The labels `(rows,)`.
            sample_weight: Weights `(rows,)` for the loss and for validation; None: all alike.

        Returns:
            This estimator.

        Raises:
            ValueError: The data cannot be used; most are errors of Thermocline's (`thermocline.errors`).
        """
        if y is None:
            raise LabelError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        frame = self._frame(X, reset=True)
        labels = self._labels(y)
        check_consistent_length(frame, labels)
        label, weight = _free(frame, "y"), _free(frame, "weight")
        frame = frame.assign(**{label: labels})
        if sample_weight is not None:
            frame = frame.assign(**{weight: _check_sample_weight(sample_weight, frame)})
        predictor = Predictor(
            label,
            self._problem_type,
            self.eval_metric,
            sample_weight=None if sample_weight is None else weight,
            model=self.model,
            verbosity=self.verbosity,
            **self._more(),
        )
        self.predictor_ = predictor.fit(
            frame,
            presets=self.presets,
            hyperparameters=self.hyperparameters,
            column_types=self.column_types,
            time_limit=self.time_limit,
            memory=self.memory,
            seed=_seed(self.random_state),
        )
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return predictions `(rows,)`, in the dtype of the labels.

        Args:
            X: As for `fit`, with the same columns.

        Raises:
            NotFittedError: `fit` has not been called.
            ValueError: Other columns than those of `fit`, or cells that do not fit them.
        """
        return self._answer(self._fitted().predict(self._frame(X), as_numpy=True))

    def _answer(self, found: Any) -> np.ndarray:
        return np.asarray(found)

    def _more(self) -> dict[str, Any]:
        """Return further arguments of the predictor."""
        return {}

    def _labels(self, y: Any) -> np.ndarray:
        """Return checked labels `(rows,)`."""
        labels = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        plain = pd.Series(labels).infer_objects().to_numpy() if labels.dtype == object else labels
        return np.asarray(plain)

    def _fitted(self) -> Predictor:
        if not self.__sklearn_is_fitted__():
            raise EstimatorNotFittedError(
                f"This {type(self).__name__} instance is not fitted yet: call fit(X, y) first."
            )
        found: Predictor = self.predictor_
        return found

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "predictor_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags

    def _frame(self, given: Any, *, reset: bool = False) -> pd.DataFrame:
        """Return a table as a frame, checked to have the columns of `fit`.

        Args:
            given: A table, or an array.
            reset: Whether it is that of `fit`.
        """
        is_table = hasattr(given, "columns") or hasattr(given, "__arrow_c_stream__") or isinstance(given, Mapping)
        if is_table and not hasattr(given, "tocsr"):
            frame = as_frame(given)
            if not len(frame):
                raise DataError(f"Found array with 0 sample(s) (shape={frame.shape}) while a minimum of 1 is required.")
            validate_data(self, frame, skip_check_array=True, reset=reset)
            named = any(isinstance(name, str) for name in frame.columns)
            return frame if named else frame.set_axis(_names(frame.shape[1]), axis=1)
        least = 2 if reset else 1
        how: dict[str, Any] = {"dtype": None, "ensure_all_finite": "allow-nan", "ensure_min_samples": least}
        array = validate_data(self, given, reset=reset, **how)
        return pd.DataFrame(array, columns=_names(array.shape[1])).infer_objects()


class ThermoclineClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A classifier of scikit-learn's kind: a `Predictor` that takes a table and its labels apart.

    It works in `cross_val_score`, `GridSearchCV`, `CalibratedClassifierCV`, and as the last step of a `Pipeline`.
    `score` is the accuracy, as of every classifier of scikit-learn's.

    Args:
        presets: As of `Predictor.fit`, like all that are not explained here.
        hyperparameters: As a dict its options can be searched one by one, as `hyperparameters__optim.lr`.
        column_types: Column → type, where inference is to be overruled.
        eval_metric: The metric that chooses between states of training, as of `Predictor`.
        positive_class: Of two classes the one that `eval_metric` and the threshold are about.
        time_limit: Seconds of one `fit`, or a text such as `"20m"`.
        memory: Memory that training may take.
        model: A module of your own as backbone, as of `Predictor`.
        random_state: The seed. None is 0: the same data give the same model. A `RandomState` draws one.
        verbosity: 0 prints nothing.

    Attributes:
        predictor_: The fitted `Predictor`, with plan, history and all else; its label column is `y`.
        classes_: The classes in order, `(classes,)`; the columns of `predict_proba`.
        n_features_in_: Number of columns seen in `fit`.
        feature_names_in_: Their names, where `X` was a frame.

    Example:
        >>> from sklearn.model_selection import cross_val_score
        >>> X, y = train[["price", "shop"]], train["verdict"]
        >>> cross_val_score(ThermoclineClassifier(hyperparameters=tiny), X, y, cv=2).shape
        (2,)
        >>> estimator = ThermoclineClassifier(hyperparameters=tiny).fit(X, y)
        >>> estimator.predict(test[["price", "shop"]]).shape, estimator.classes_.tolist()
        ((16,), ['bad', 'good'])
        >>> estimator.predict_proba(test[["price", "shop"]]).shape
        (16, 2)
        >>> single = ThermoclineClassifier(hyperparameters=tiny).set_params(**{"hyperparameters__optim.lr": 1e-4})
        >>> single.get_params()["hyperparameters__optim.lr"]
        0.0001
    """

    _problem_type = "classification"

    def __init__(  # noqa: PLR0913 - public API
        self,
        *,
        presets: Any = None,
        hyperparameters: Hyperparameters = None,
        column_types: Mapping[str, str] | None = None,
        eval_metric: str | Metric | Callable[..., Any] | None = None,
        positive_class: Any = None,
        time_limit: float | str | None = None,
        memory: int | str | None = None,
        model: Any = None,
        random_state: Any = 0,
        verbosity: int = 0,
    ) -> None:
        super().__init__(
            presets=presets,
            hyperparameters=hyperparameters,
            column_types=column_types,
            eval_metric=eval_metric,
            time_limit=time_limit,
            memory=memory,
            model=model,
            random_state=random_state,
            verbosity=verbosity,
        )
        self.positive_class = positive_class

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities float64 `(rows, classes)`, in the order of `classes_`.

        Args:
            X: As for `predict`.

        Raises:
            NotFittedError: As `predict`, like the others.
        """
        predictor = self._fitted()
        places = {one: place for place, one in enumerate(predictor.classes_)}
        found = predictor.predict_proba(self._frame(X), as_numpy=True)
        return np.asarray(found)[:, [places[one] for one in self.classes_]]

    def _answer(self, found: Any) -> np.ndarray:
        return np.asarray(found).astype(self.classes_.dtype)

    def _more(self) -> dict[str, Any]:
        return {"positive_class": self.positive_class}

    def _labels(self, y: Any) -> np.ndarray:
        labels = super()._labels(y)
        check_classification_targets(labels)
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise LabelError(f"y holds one class, {str(self.classes_[0])!r}: there is nothing to tell apart.")
        return labels


class ThermoclineRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """A regressor of scikit-learn's kind: a `Predictor` that takes a table and its numbers apart.

    `score` is R², as of every regressor of scikit-learn's. Arguments and attributes are those of
    `ThermoclineClassifier`, without classes.

    Example:
        >>> estimator = ThermoclineRegressor(hyperparameters=tiny).set_params(random_state=1)
        >>> estimator.fit(train[["shop"]], train["price"]).predict(test[["shop"]]).shape
        (16,)
        >>> estimator.get_params()["random_state"]
        1
    """

    _problem_type = "regression"

    def _labels(self, y: Any) -> np.ndarray:
        labels = super()._labels(y)
        return labels if labels.dtype.kind == "O" else labels.astype(np.float64)


def _names(number: int) -> list[str]:
    """Return names of columns that have none."""
    return [f"x{k}" for k in range(number)]


def _free(frame: pd.DataFrame, name: str) -> str:
    """Return a name that no column has."""
    while name in frame.columns:
        name += "_"
    return name


def _seed(given: Any) -> int:
    """Return the seed that a `random_state` means."""
    if given is None:
        return 0
    if isinstance(given, np.random.RandomState):
        return int(check_random_state(given).randint(LARGEST_DRAWN))
    seed: int = given
    return seed
