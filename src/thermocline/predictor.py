"""The public API: a predictor that is fitted to a DataFrame. No algorithm is here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import pandas as pd

from thermocline.config.foreign_calls import answers_arguments, no_attribute
from thermocline.errors import ArtifactError, ConfigError, NotFittedError, ResumeError, counted
from thermocline.pipeline.global_state import keeps_global_state

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from thermocline.choose.board import Board
    from thermocline.choose.found import Found
    from thermocline.choose.ranking import BackboneRanking
    from thermocline.choose.recommendation import Recommendation
    from thermocline.config import ResolvedConfig
    from thermocline.config.typed_options import Hyperparameters
    from thermocline.contracts.baseline import Reference
    from thermocline.contracts.problem import Assembly, Problem
    from thermocline.contracts.request import Request
    from thermocline.data.columns import Columns
    from thermocline.data.tables import Data
    from thermocline.evaluation.report import EvaluationReport
    from thermocline.export.exported import Exported
    from thermocline.inspection.attributed import Attribution
    from thermocline.inspection.importance_table import Importance
    from thermocline.inspection.shown_rows import ShownRows
    from thermocline.pipeline.corpus import Corpus
    from thermocline.pipeline.fit_summary import FitSummary
    from thermocline.pipeline.fitted import Fitted
    from thermocline.registry.metrics import Metric
    from thermocline.training.callbacks import Callback
    from thermocline.training.history import History
    from thermocline.training.loggers import Logger
    from thermocline.tuning.plan.layer_plan import LayerPlan

Label = str | Sequence[str] | None
OwnModel: TypeAlias = "nn.Module | tuple[nn.Module, Any] | Mapping[str, Any] | None"

#: Attributes that the constructor sets by what it was given.
_GIVEN = (
    "label",
    "_path",
    "_positive_class",
    "sample_weight",
    "verbosity",
    "_problem_type",
    "_eval_metric",
    "_problem",
    "_model",
    "query",
    "response",
)
#: Those that a fit sets, as they are before.
_UNFITTED: Mapping[str, Any] = {
    "_assembly": None,
    "_history": None,
    "_identity": "",
    "_ended": True,
    "_leaderboard": None,
    "_saved_at": None,
    "_reference": None,
    "_seconds": {},
}


@answers_arguments
class Predictor:
    """Fine-tunes pretrained backbones on frames of text, images, categories and numbers.

    Args:
        label: The label column; a list of columns for `multilabel`. None: pairs that all match, of
            `problem_type="similarity"`.
        problem_type: `binary`, `multiclass`, `multilabel` or `regression`, inferred from the label by default;
            `classification` where the classes decide which; or another of `thermocline.registry.problem_types()`,
            which are never inferred (docs/tutorials/detection.md).
        eval_metric: The metric that validation uses; a default per problem type. A name; a function
            `(y_true, y_pred) -> float` of which more is better; a scorer of scikit-learn; or a `thermocline.Metric`.
        path: Where `fit` saves the predictor, `~` expanded; nothing is saved by default. The folder is made or replaced
            as a whole, so it cannot be the working folder or one above it.
        positive_class: Of two classes the one that f1, precision and recall, and the threshold are about, written as in
            the data; metrics of both classes do not depend on it. By default 1 (beside 0 or -1), True, `yes`, `y`,
            `true`, `positive` or `pos`, else the class that has fewer training rows, of two equally frequent ones the
            later in order. Classes keep their order, and `predict_proba` its columns.
        sample_weight: A column of row weights, used in the loss and in validation; no feature.
        query: For `problem_type="similarity"`: the column of texts or images that are compared, or searched with.
        response: Likewise: the column that they are compared with, or that is searched. Without both, the two columns
            of texts or images, in order.
        problem: A kind of problem of your own in place of `problem_type`: an instance of a class that derives from
            `thermocline.contracts.problem.Problem`.
        model: Modules of your own as backbones: an `nn.Module` for images, `(module, tokenizer)` for texts, or both as
            a dict, `{"image": module, "text": (module, tokenizer)}` (docs/how-to/own_model.md). A copy is trained.
        verbosity: 0 says nothing. 1 prints a summary when a fit begins and when it ends and a line for each validation,
            shows progress in a terminal or a notebook, and notes what predictions come across in the logger
            `thermocline`. 2 prints all columns, options and layers too.

    Attributes:
        columns: The columns and their types, with reasons (after `fit`).
        config: Every option, with where its value came from.
        plan: Learning rate and frozen state of every layer, and when they change.
        history: A DataFrame of validations and events, with `.plot()`.
        problem_type: What was given or inferred.
        eval_metric: The metric that validation used, by its own name (before `fit`: what was given).
        positive_class: The positive class of two, as it is among the labels (before `fit`: what was given).
        threshold: The probability above which `predict` and `evaluate` answer the positive class (`optim.threshold`);
            None where there are not two classes.
        model: The fitted network, an `nn.Module` in eval mode.
        classes_: The classes, in the order of `predict_proba`.
        feature_names_in_: The columns that predictions are made from; `n_features_in_` is their number.

    Raises:
        ConfigError: An unknown problem type or metric, or a metric that does not fit.

    Example:
        >>> predictor = Predictor("verdict", verbosity=0).fit(train, hyperparameters=tiny)
        >>> predictor
        Predictor(label='verdict': binary, text + table, 8 layers)
        >>> predictor.predict(test).head(2).tolist()
        ['good', 'bad']
        >>> predictor.columns["price"].kind, predictor.config.optim.max_epochs
        ('numeric', 1)
    """

    _assembly: Assembly | None
    _history: History | None
    _identity: str
    _ended: bool  # whether its fit was not stopped by Ctrl-C
    _leaderboard: Mapping[str, Any] | None
    _saved_at: Path | None  # where the model that is fitted was saved, or loaded from
    _reference: Reference | None
    _seconds: Mapping[str, float]  # by stage, of a fit in this process

    def __init__(  # noqa: PLR0913 - public API
        self,
        label: Label,
        problem_type: str | None = None,
        eval_metric: str | Metric | Callable[..., Any] | None = None,
        path: str | os.PathLike[str] | None = None,
        *,
        positive_class: Any = None,
        sample_weight: str | None = None,
        query: str | None = None,
        response: str | None = None,
        problem: Problem | None = None,
        model: OwnModel = None,
        verbosity: int = 1,
    ) -> None:
        from thermocline.data.label_columns import label_columns
        from thermocline.pipeline.arguments import check_problem_type, check_weight_name, verbosity_of
        from thermocline.registry import check_names, check_roles, named_metric, own_info, problem_type_of

        check_problem_type(problem_type)
        check_weight_name(sample_weight)
        own = None if problem is None else own_info(problem)
        if problem is not None:
            _check_own(problem)
        check_names(problem_type, named_metric(eval_metric), own=own)
        names = label_columns(label)
        self.query, self.response = query, response
        check_roles(label, self._roles, problem_type, own=own)
        self.label = label if label is None or isinstance(label, str | list) else list(names)
        self.path = path
        self._positive_class = positive_class
        self.sample_weight = sample_weight
        self.verbosity = verbosity_of(verbosity)
        self._problem_type: str | None = problem_type_of(problem_type, own=own)
        if self._problem_type == problem_type:
            self._problem_type = problem_type  # the object that was given, as sklearn.base.clone checks
        self._eval_metric = eval_metric
        self._problem, self._model = problem, model
        _own_modules(model)
        vars(self).update(_UNFITTED)

    @keeps_global_state
    def fit(  # noqa: PLR0913 - public API
        self,
        train_data: Data,
        tuning_data: Data | None = None,
        *,
        presets: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        hyperparameters: Hyperparameters = None,
        column_types: Mapping[str, str] | None = None,
        time_limit: float | str | None = None,
        memory: int | str | None = None,
        plan: LayerPlan | str | os.PathLike[str] | None = None,
        seed: int = 0,
        resume: bool = False,
        callbacks: Sequence[Callback] | Callback = (),
        loggers: Sequence[Logger] | Logger = (),
        start_from: str | os.PathLike[str] | Predictor | None = None,
        search: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> Predictor:
        """Fit to a frame, from scratch unless `start_from` says otherwise.

        A predictor that was fitted or loaded before is fitted anew, and its former model is replaced in memory, as in
        scikit-learn. A saved predictor on disk is never replaced unasked: where `path` holds one, this one's own
        included, `fit` refuses before anything is trained, unless `overwrite` or `resume` says otherwise.

        Args:
            train_data: A DataFrame, of pandas, polars or any library with Arrow's interface; a dict of columns, or a
                list of dicts; or a path to a CSV or Parquet file. It is not changed. Images also come as a folder that
                holds a folder of each class, or as a glob such as `"photos/*/*.jpg"`. Some problem types read
                annotation files too (docs/tutorials/detection.md).
            tuning_data: Rows to validate on; by default some of `train_data` are split off. In its place the labels of
                `train_data`, where that has no label column, as in scikit-learn: `fit(X, y)`.
            presets: Preset names or files, composed left to right: a later one replaces values of an earlier one. By
                default the one of the problem type. `auto` compares the fit with other ways to train; see
                `leaderboard`.
            hyperparameters: Options by name (`thermocline.list_options()` has them): a dict with dotted or nested keys,
                `"key=value"` strings, or a YAML file. A dict that is made elsewhere is annotated `thermocline.Options`.
                With `search` a value may be a space: `choice(a, b)`, `uniform(0, 0.2)`, `loguniform(1e-5, 1e-3)`,
                `int(2, 6)`. `optim.loss` may be a function (docs/how-to/losses.md).
            column_types: Column → `numeric`, `categorical`, `text`, `image` or `null`, where inference is to be
                overruled.
            time_limit: Seconds for everything, loading, averaging and all trials of a search included, or a text such
                as `"20m"`; a resumed run has them anew. Steps are timed, and the schedule is made for as many as fit.
            memory: Memory that training may take beyond what the process takes before it, such as `"8GB"`: options are
                changed until it fits, those that cost no accuracy first (micro-batches, layers computed again, bf16,
                frozen layers, smaller inputs). What you set stays. `recommend` shows what that would be.
            plan: A plan to follow, as `explain` returns it, perhaps edited; or the path to one saved as JSON, or to a
                YAML file of phases.
            seed: Same seed, same result on the CPU.
            resume: Continue from the newest checkpoint of the same run at `path`, to the same end as if it had never
                stopped, by Ctrl-C too; start where there is none, and load what was saved where it has ended. More
                epochs, other loggers or another device may be asked for. Checkpoints lie next to `path` until then
                (`env.checkpoint_every`).
            callbacks: Objects of classes that derive from `thermocline.Callback`: code of your own that is called at
                the begin and the end of the fit, of phases, epochs, steps and validations, and may end training. They
                are called in every trial of a search, and of a race in the fit as it was asked for.
            loggers: Where loss, rates and scores are logged, besides `env.loggers`: `thermocline.CSV`, `TensorBoard`,
                `MLflow`, `WandB`, or objects of your own that follow the protocol `thermocline.Logger`. They log the
                fits in which callbacks are called.
            start_from: A fitted predictor whose towers and head are where training starts: the path of a saved one, a
                `Predictor`, or `"self"` for this one. Classes are matched by value; new ones start from a probe, and
                those that the new labels lack are not predicted any more. Columns keep their types, categories, medians
                and tokenizer; the scale of a number is that of the new labels. Options that were set there hold where
                none are set here. What does not fit starts anew, and a note says so.
            search: How values are chosen from spaces: `{"trials": 20}`, perhaps with `storage`, the path of a file or
                the URL of a database that several processes share, and `study`, a name in it. Each trial is a fit on
                the same rows; the one that validates best becomes this predictor, and `leaderboard()` lists them all.
            overwrite: Replace the predictor that is saved at `path`. It stays until the new one is trained, so a fit
                that fails or is stopped loses nothing. Files that are no saved predictor are not replaced. With
                `resume`, a saved predictor of the same run is loaded, and one of another run is replaced.

        Returns:
            This predictor.

        Raises:
            OutputExistsError: `path` holds a saved predictor, or other files.
            OutputInUseError: Another fit or save is writing to `path`.
            ArtifactError: There is no saved predictor at `start_from`, or it is damaged.
            ResumeError: What `resume` finds is of another run; the message lists what differs.
            StorageError: The storage of a search cannot be reached, or holds another search.
            LoggerError: A logger cannot begin.
            ThermoclineError: Data or options that cannot be used; always before anything is trained where they show it.

        Example:
            >>> options = {**tiny, "optim.lr_choice": "two_stage", "model.text.frozen_layers": "embeddings"}
            >>> predictor = Predictor("verdict", "binary", "accuracy", path="my_model", verbosity=0)
            >>> predictor.fit(train, hyperparameters=options, seed=1).plan.frozen
            ('text/embeddings',)
            >>> predictor.fit(train, hyperparameters=options, overwrite=True, start_from="self").started_from["towers"]
            ('text', 'table')
        """
        began = time.monotonic()  # importing takes time as well
        from thermocline.pipeline import arguments, own_code, saved_folder

        arguments.check_flags(resume=resume, overwrite=overwrite)
        given = train_data, tuning_data, presets, hyperparameters, column_types, seed
        how: dict[str, Any] = {"time_limit": time_limit, "memory": memory, "plan": plan, "resume": resume}
        how |= {"callbacks": own_code.callbacks_of(callbacks), "loggers": own_code.loggers_of(loggers)}
        request = self._starting(self._request(*given, **how, began=began), start_from)
        with nullcontext() if self.path is None else saved_folder.writing_to(self.path):
            if search is not None or _is_raced(request):
                self._compared(request, search, overwrite=overwrite)
            else:
                self._fit_or_resumed(request, overwrite=overwrite)
        self._tell_end(began)
        return self

    @keeps_global_state
    def explain(  # noqa: PLR0913 - public API
        self,
        train_data: Data,
        tuning_data: Data | None = None,
        *,
        presets: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        hyperparameters: Hyperparameters = None,
        column_types: Mapping[str, str] | None = None,
        seed: int = 0,
        start_from: str | os.PathLike[str] | Predictor | None = None,
        timed: bool = False,
    ) -> LayerPlan:
        """Return the plan that `fit` would follow with these arguments, without training.

        It prints as a table, can be edited, and is accepted by `fit(plan=…)`. Its `estimate` tells what each phase
        costs: bytes that are live at the peak, and time relative to full tuning.

        Args:
            train_data: As for `fit`, like the others.
            tuning_data: Rows to validate on.
            presets: Preset names or files.
            hyperparameters: Overrides.
            column_types: Types to overrule.
            seed: The run's.
            start_from: A fitted predictor to start from.
            timed: Take four training steps and a part of a validation on the device of the run, and tell how many
                seconds each phase takes. They are undone: a fit afterwards gives the same bits.

        Raises:
            ThermoclineError: As `fit`.

        Example:
            >>> plan = predictor.explain(train, hyperparameters={**tiny, "model.frozen_layers": "embeddings"})
            >>> plan.frozen
            ('text/embeddings',)
            >>> print(plan.estimate)
            Estimate: 16 rows a step, ...
        """
        from thermocline.pipeline.arguments import check_flags
        from thermocline.pipeline.explain import explain

        check_flags(timed=timed)
        request = self._request(train_data, tuning_data, presets, hyperparameters, column_types, seed, training=False)
        return explain(self._starting(request, start_from), timed=timed)

    @keeps_global_state
    def recommend(  # noqa: PLR0913 - public API
        self,
        train_data: Data,
        tuning_data: Data | None = None,
        *,
        presets: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        hyperparameters: Hyperparameters = None,
        column_types: Mapping[str, str] | None = None,
        memory: int | str | None = None,
        time_limit: float | str | None = None,
        probes: bool = False,
        seed: int = 0,
        start_from: str | os.PathLike[str] | Predictor | None = None,
    ) -> Recommendation:
        """Return the options that `fit` would use, within an amount of memory and time, without training.

        It is a table of option, value, source (`user`, `preset`, `rule`, `measured`), why, and alternatives with their
        cost, over a forecast of bytes and seconds. A few training steps are timed, and undone.

        Args:
            train_data: As for `fit`, like the others.
            tuning_data: Rows to validate on.
            presets: Preset names or files.
            hyperparameters: Overrides; what is set here stays.
            column_types: Types to overrule.
            memory: As for `fit`.
            time_limit: Seconds, or a text such as `"20m"`. Where it is too short for the whole schedule, a shorter one
                is recommended; where less than half of it would fit, as few frozen layers as that half needs.
            probes: Also run some of the training rows through the model once, and fit linear models to the outputs of
                each layer and tower: how much of the label is in each, with standard errors, in `.probes`. They change
                no option: how deep to freeze is decided by memory and time.
            seed: The run's.
            start_from: A fitted predictor to start from.

        Raises:
            NotEnoughMemoryError: Nothing fits `memory`; the message says what the least would be.
            ThermoclineError: As `fit`.

        Example:
            >>> recommended = predictor.recommend(train, hyperparameters=tiny)  # and perhaps memory="8GB"
            >>> recommended["optim.lr"].why
            'a tower is pretrained (Tang et al., AutoML 2024)'
            >>> recommended.to_dict()["env.batch_size"]  # fit(train, hyperparameters=recommended.to_dict())
            16
        """
        from thermocline.choose.recommend import recommend
        from thermocline.pipeline.arguments import check_flags

        check_flags(probes=probes)
        given = train_data, tuning_data, presets, hyperparameters, column_types, seed
        request = self._request(*given, memory=memory, time_limit=time_limit, training=False)
        return recommend(self._starting(request, start_from), probes=probes)

    @keeps_global_state
    def rank_backbones(  # noqa: PLR0913 - public API
        self,
        train_data: Data,
        tower: str,
        checkpoints: Sequence[str | os.PathLike[str]],
        tuning_data: Data | None = None,
        *,
        presets: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        hyperparameters: Hyperparameters = None,
        column_types: Mapping[str, str] | None = None,
        seed: int = 0,
    ) -> BackboneRanking:
        """Compare backbones by a linear probe of their frozen features, without training.

        Each is loaded as `fit` with it would, and training rows run through it once; a linear model of its own features
        is scored by five folds. One that cannot be loaded is a row with the reason.

        Args:
            train_data: As for `fit`, like the others.
            tower: `text` or `image`: the columns that the backbone reads.
            checkpoints: Values of `model.<tower>.checkpoint`: folders, names on the hub, `offline:minilm-l6`.
            tuning_data: Rows to validate on; they are not used.
            presets: Preset names or files.
            hyperparameters: Overrides.
            column_types: Types to overrule.
            seed: The run's.

        Raises:
            CheckpointError: None of them can be probed; the message says why of each.
            ConfigError: There is no such tower; the problem has no label of each row.
            DataError: There is no such column, or as `fit`.

        Example:
            >>> folder = tiny["model.text.checkpoint"]  # or names on the hub, or "offline:minilm-l6"
            >>> predictor.rank_backbones(train, "text", [folder], hyperparameters=tiny).best == folder
            True
        """
        from thermocline.choose.ranking import rank_backbones

        request = self._request(train_data, tuning_data, presets, hyperparameters, column_types, seed, training=False)
        return rank_backbones(request, tower, checkpoints)

    @overload
    def predict(
        self,
        data: Data | pd.Series[Any],
        *,
        image_folder: str | os.PathLike[str] | None = None,
        out: str | os.PathLike[str] | None = None,
        as_numpy: Literal[False] = False,
    ) -> pd.Series[Any] | pd.DataFrame: ...

    @overload
    def predict(
        self,
        data: Data | pd.Series[Any],
        *,
        image_folder: str | os.PathLike[str] | None = None,
        out: str | os.PathLike[str] | None = None,
        as_numpy: Literal[True],
    ) -> np.ndarray: ...

    @keeps_global_state
    def predict(
        self,
        data: Data | pd.Series[Any],
        *,
        image_folder: str | os.PathLike[str] | None = None,
        out: str | os.PathLike[str] | None = None,
        as_numpy: bool = False,
    ) -> pd.Series[Any] | pd.DataFrame | np.ndarray:
        """Return predictions on the frame's index, in the label's dtype.

        Args:
            data: As for `fit`, with the columns that training used; the label is not needed. One row is a dict of
                values, or a row of a frame, `frame.iloc[0]`. Where an image is all that is used: a folder of images, a
                glob, the path of one, or a list of paths or images.
            image_folder: Where relative paths of images in `data` start. By default they start at the folder of the
                table or annotation file, else at the working folder; all of them at one. `data.image_folder` is of the
                training data and does not count here.
            out: A folder in which predictions that are images (masks) are written as PNG files, as soon as each is
                found; their paths are returned. Files that are there are not overwritten.
            as_numpy: Return the values as an array, without index and names.

        Returns:
            A Series; a DataFrame of 0 and 1 for a multilabel target given as columns. Where boxes are predicted each
            value is a list of `{label, score, box}`, highest score first; a box is x1, y1, x2, y2 in the image's
            pixels. Where every pixel has a class each value is a mask, uint8 or uint16 `(height, width)` of the image,
            in the numbers of the training masks, or with names the positions of the classes. With `as_numpy` an array
            `(rows,)` or `(rows, labels)`.

        Raises:
            NotFittedError: `fit` has not been called.
            MissingColumnError: A column is missing.
            ColumnTypeError: A value that is no number in a numeric column.
            ImageReadError: An image that is named but not there; the message lists the folders that were tried.

        Example:
            >>> predictor.predict(test).head(2)
            0    good
            1     bad
            Name: verdict, dtype: ...
            >>> predictor.predict({"review": "great cast, lovely music", "price": 9.5, "shop": "online"}).tolist()
            ['good']
            >>> predictor.predict(test, as_numpy=True).shape
            (16,)
        """
        from thermocline.pipeline.arguments import check_flags
        from thermocline.pipeline.path_argument import folder_argument
        from thermocline.pipeline.predict import predict

        check_flags(as_numpy=as_numpy)
        folder = None if out is None else folder_argument(out)
        found = predict(self._fitted(), data, image_folder=image_folder, out=folder, verbosity=self.verbosity)
        return found.to_numpy() if as_numpy else found

    @overload
    def predict_proba(
        self,
        data: Data | pd.Series[Any],
        *,
        image_folder: str | os.PathLike[str] | None = None,
        as_numpy: Literal[False] = False,
    ) -> pd.DataFrame: ...

    @overload
    def predict_proba(
        self,
        data: Data | pd.Series[Any],
        *,
        image_folder: str | os.PathLike[str] | None = None,
        as_numpy: Literal[True],
    ) -> np.ndarray: ...

    @keeps_global_state
    def predict_proba(
        self, data: Data | pd.Series[Any], *, image_folder: str | os.PathLike[str] | None = None, as_numpy: bool = False
    ) -> pd.DataFrame | np.ndarray:
        """Return probabilities on the frame's index, a column per class or label, in the order of `classes_`.

        Args:
            data: As `predict`.
            image_folder: As `predict`.
            as_numpy: Return them as an array float64 `(rows, classes)`.

        Raises:
            ConfigError: The problem has none.
            NotFittedError: As `predict`, like the others.

        Example:
            >>> probabilities = predictor.predict_proba(test)
            >>> probabilities.columns.tolist(), probabilities.shape
            (['bad', 'good'], (16, 2))
            >>> predictor.predict_proba(test, as_numpy=True).sum(axis=1).round(6).max()
            np.float64(1.0)
        """
        from thermocline.pipeline.arguments import check_flags
        from thermocline.pipeline.predict import probabilities

        check_flags(as_numpy=as_numpy)
        found = probabilities(self._fitted(), data, image_folder=image_folder, verbosity=self.verbosity)
        return found.to_numpy() if as_numpy else found

    @keeps_global_state
    def _predict_both(self, data: Data, *, image_folder: str | os.PathLike[str] | None = None) -> Any:
        """Return what `predict` and `predict_proba` return, from one pass."""
        from thermocline.pipeline.predict import with_probabilities

        return with_probabilities(self._fitted(), data, image_folder=image_folder, verbosity=self.verbosity)

    @keeps_global_state
    def predict_interval(
        self, data: Data, coverage: float = 0.9, *, image_folder: str | os.PathLike[str] | None = None
    ) -> pd.DataFrame:
        """Return predictions of a regression, and between which numbers the true ones are expected.

        Intervals are split-conformal (Vovk et al. 2005; Lei et al. 2018): the prediction plus and minus a quantile of
        the absolute errors on the validation rows, as wide for each row. With `optim.loss=quantiles:…` they lie between
        two of the quantiles, moved alike (Romano et al. 2019), and are as wide as the row asks for. They hold at least
        `coverage` of new rows like the validation rows, but for a little where few of these chose the state that was
        kept.

        Args:
            data: As `predict`.
            coverage: The share of new rows that the intervals are to hold, above 0 and below 1. 0.9 needs 9 validation
                rows, 0.95 19 and 0.99 99.
            image_folder: As `predict`.

        Returns:
            Columns `lower`, `prediction` (that of `predict`) and `upper` on the data's index, in the label's units;
            with several quantiles also `quantile_0.05` and so on, as they are learnt.

        Raises:
            ConfigError: The label is no number, or the validation rows are too few; the message says how many are
                needed.
            NotFittedError: As `predict`, like the others.

        Example:
            >>> prices = Predictor("price", verbosity=0).fit(train[["shop", "price"]], hyperparameters=tiny)
            >>> between = prices.predict_interval(test, coverage=0.5)
            >>> between.columns.tolist()
            ['lower', 'prediction', 'upper']
        """
        from thermocline.pipeline.predict import intervals

        fitted = self._fitted()
        return intervals(fitted, data, coverage, image_folder=image_folder, verbosity=self.verbosity)

    @keeps_global_state
    def evaluate(
        self,
        data: Data,
        metrics: Any = None,
        *,
        image_folder: str | os.PathLike[str] | None = None,
    ) -> dict[str, float]:
        """Score predictions against the labels in a frame.

        Args:
            data: As for `fit`, labels included; the column of sample weights is used where it is there.
            metrics: A metric or a list of them, as `eval_metric` in the constructor; by default `eval_metric` and then
                the usual ones of the problem type. Where boxes are predicted also `per_class`: `map/…` and `map_50/…`
                of each class. In their place the labels of `data`, where that has no label column: `evaluate(X, y)`.
            image_folder: As `predict`.

        Returns:
            Name → score, in the label's own units, of `neg_…` with its sign as in scikit-learn; also `threshold`, where
            classes were chosen at another than 0.5.

        Raises:
            ConfigError: A metric that does not exist or does not fit.
            LabelError: A label that training did not see.

        Example:
            >>> sorted(predictor.evaluate(test))
            ['accuracy', 'f1', 'log_loss', 'roc_auc']
            >>> predictor.evaluate(test, ["accuracy", "balanced_accuracy"])
            {'accuracy': 1.0, 'balanced_accuracy': 1.0}
        """
        from thermocline.pipeline.called_with import table_to_score
        from thermocline.pipeline.predict import evaluate

        fitted = self._fitted()
        table, names = table_to_score(data, metrics, self.label)
        return evaluate(fitted, table, names, image_folder=image_folder, verbosity=self.verbosity)

    @keeps_global_state
    def report(
        self,
        data: Data,
        metrics: Any = None,
        *,
        image_folder: str | os.PathLike[str] | None = None,
    ) -> EvaluationReport:
        """Score predictions against the labels in a frame, and show where they are right and wrong.

        Scores have 95 % intervals: rows are drawn again with replacement (Efron 1979), the same draws for each
        predictor; `thermocline.evaluation.bootstrap` says what that costs. Beside them stands the best constant answer
        on these rows. Of classes there are also a classification report, confusions, calibration and the threshold; of
        numbers errors, residuals and the coverage of intervals; of boxes average precision by class and kinds of
        errors.

        Args:
            data: As `evaluate`; it is not changed.
            metrics: As `evaluate`; or the labels of `data`.
            image_folder: As `predict`.

        Returns:
            The report: `print(report)`, HTML in a notebook, `.plot()`, `.to_dict()`, `.to_frame()`, `.save(path)`.

        Raises:
            ConfigError: A metric that does not exist or does not fit; one that cannot be computed on these rows is said
                in the report.
            DataError: There are no rows, or columns are missing.
            LabelError: Labels that are missing, or that training did not see.

        Example:
            >>> report = predictor.report(test)
            >>> report.to_frame()[["metric", "baseline"]].head(1)
                metric  baseline
            0  roc_auc       0.5
            >>> report.save("report.html").name
            'report.html'
        """
        from thermocline.evaluation.making import report
        from thermocline.pipeline.called_with import table_to_score

        fitted = self._fitted()
        table, names = table_to_score(data, metrics, self.label)
        return report(fitted, table, names, image_folder=image_folder, verbosity=self.verbosity)

    @keeps_global_state
    def top_losses(
        self, data: Data, n: int = 10, *, image_folder: str | os.PathLike[str] | None = None
    ) -> pd.DataFrame:
        """Return the rows of a labelled frame with the highest loss, the highest first.

        Args:
            data: As `evaluate`; it is not changed.
            n: How many rows; all where there are fewer.
            image_folder: As `predict`.

        Returns:
            On the frame's index the label, `prediction`, `probability` of the label (of numbers `residual`, the label
            less the prediction; of several labels `wrong`, how many), `loss`, and the other columns of the frame. The
            loss is the log-loss, of numbers the absolute error in the label's units. Where boxes are predicted: how
            many there are, were found, missed and wrong in each image, and as loss those missed and the scores of wrong
            ones added up. A column of the frame that has one of these names stands as `"loss (data)"`.

        Raises:
            ConfigError: `n` is no whole number above 0, or the problem has no loss of a row.
            DataError: As `report`.

        Example:
            >>> predictor.top_losses(test, 3).columns.tolist()
            ['verdict', 'prediction', 'probability', 'loss', 'review', 'price', 'shop']
        """
        from thermocline.evaluation.making import top_losses

        return top_losses(self._fitted(), data, n, image_folder=image_folder, verbosity=self.verbosity)

    def score(self, data: Data, labels: Any = None, *, image_folder: str | os.PathLike[str] | None = None) -> float:
        """Return `eval_metric` on labelled data such that more is better, as scikit-learn's tools ask for.

        Args:
            data: As for `evaluate`.
            labels: The labels of `data`, where that has no label column.
            image_folder: As `predict`.

        Returns:
            The metric; times -1 where less of it is better, as of `rmse`.

        Raises:
            LabelError: A label that training did not see.

        Example:
            >>> predictor.score(test) == predictor.score(test.drop(columns="verdict"), test["verdict"])
            True
        """
        from thermocline.pipeline.called_with import table_to_score
        from thermocline.pipeline.predict import score

        fitted = self._fitted()
        table = table_to_score(data if labels is None else (data, labels), None, self.label)[0]
        return score(fitted, table, image_folder=image_folder, verbosity=self.verbosity)

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002 - sklearn's signature
        """Return what the constructor was given, by name, as scikit-learn's estimators do.

        Args:
            deep: Without effect: no argument has parameters of its own.

        Example:
            >>> Predictor("verdict", eval_metric="f1").get_params()["eval_metric"]
            'f1'
        """
        del deep
        return {
            "label": self.label,
            "problem_type": self._problem_type,
            "eval_metric": self._eval_metric,
            "path": self._path,
            "positive_class": self._positive_class,
            "sample_weight": self.sample_weight,
            "query": self.query,
            "response": self.response,
            "problem": self._problem,
            "model": self._model,
            "verbosity": self.verbosity,
        }

    def set_params(self, **params: Any) -> Predictor:
        """Set arguments of the constructor for the next `fit`; a model that is fitted stays.

        Args:
            **params: Arguments by name.

        Returns:
            This predictor.

        Raises:
            ArgumentError: The constructor takes no such argument.
            ConfigError: A value that it does not take.

        Example:
            >>> Predictor("verdict").set_params(eval_metric="f1").eval_metric
            'f1'
        """
        given = type(self)(**{**self.get_params(), **params})
        vars(self).update({name: vars(given)[name] for name in _GIVEN})
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return self._assembly is not None

    def __sklearn_tags__(self) -> Any:
        from thermocline.pipeline.sklearn_tags import tags_of

        return tags_of(self.problem_type)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: the constructor's arguments, and the files that `save` would write."""
        state = {name: vars(self)[name] for name in _GIVEN}
        if self._assembly is not None:
            from thermocline.pipeline.packed import Packed

            state["fitted"] = Packed.of(self._whole())
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({**_UNFITTED, **{name: state[name] for name in _GIVEN}})
        if "fitted" in state:
            from thermocline.pipeline.predict import to_best_device
            from thermocline.registry import named_metric

            self._take(state["fitted"].unpacked(self._problem, named_metric(self._eval_metric)))
            to_best_device(self._fitted().model)

    @keeps_global_state
    def embed(
        self, data: Data, *, side: str | None = None, image_folder: str | os.PathLike[str] | None = None
    ) -> np.ndarray:
        """Return the features below the head, float32 `(rows, width)`, towers side by side.

        Trees beside the network have no part in them. Of `problem_type="similarity"` they are those that are compared,
        each side of length 1.

        Args:
            data: As `predict`. With `side` only the column of that side is needed; also a Series or a list of its
                texts or images, or one text.
            side: For `problem_type="similarity"`: `query` or `response`; None: both, one behind the other.
            image_folder: As `predict`.

        Raises:
            ConfigError: The problem has no features of a whole row, or there is no such side.

        Example:
            >>> vectors = predictor.embed(test)
            >>> vectors.shape, vectors.dtype
            ((16, 100), dtype('float32'))
        """
        from thermocline.pipeline.searching import embed_side

        return embed_side(self._fitted(), data, side, image_folder=image_folder, verbosity=self.verbosity)

    @keeps_global_state
    def corpus(self, data: Data, *, image_folder: str | os.PathLike[str] | None = None) -> Corpus:
        """Return responses with their embeddings, to search in them again and again, or to save them.

        Args:
            data: A table with the column of responses, a Series or a list of texts or images.
            image_folder: As `predict`.

        Raises:
            ConfigError: The problem is not `similarity`.

        Example:
            >>> shop = matcher.corpus(["a red chair", "a blue lamp"])
            >>> shop
            Corpus(2 rows, 32 numbers each)
        """
        from thermocline.pipeline.searching import corpus

        return corpus(self._fitted(), data, image_folder=image_folder, verbosity=self.verbosity)

    @keeps_global_state
    def search(
        self, queries: Data, corpus: Data | Corpus, k: int = 10, *, image_folder: str | os.PathLike[str] | None = None
    ) -> pd.DataFrame:
        """Return the responses that match each query best, exactly: every query is compared with every response.

        Responses of the same score stand in the order of the corpus. Scores are cosines, computed in blocks, so that
        memory does not grow with queries times responses.

        Args:
            queries: A table with the column of queries, a Series or a list of texts or images, or one text.
            corpus: The responses, alike; or what `corpus` returned, or `Corpus.load`.
            k: How many responses a query; all of them where there are fewer.
            image_folder: As `predict`.

        Returns:
            Columns `query`, `response`, `score` (float32) and `rank` (from 1), on the index of the queries, which
            repeats. A side that is no text or path is shown by its index.

        Raises:
            ConfigError: The problem is not `similarity`; `k` is no whole number of at least 1; or the corpus is of
                other weights.
            DataError: There are no queries, or no responses.

        Example:
            >>> matcher.search("a red chair", ["a blue lamp", "a red chair"], k=1)[["response", "rank"]]
                  response  rank
            0  a red chair     1
        """
        from thermocline.pipeline.searching import search

        given = {"image_folder": image_folder, "verbosity": self.verbosity}
        return search(self._fitted(), queries, corpus, k, **given)

    @keeps_global_state
    def show(
        self, data: Data, *, least_score: float | None = None, image_folder: str | os.PathLike[str] | None = None
    ) -> Any:
        """Show predictions on their rows: boxes and masks on images as a figure; entities and pairs print themselves.

        Args:
            data: A few rows, such as `frame.head()`.
            least_score: Boxes or entities of a lower score are left out; None: boxes below 0.3.
            image_folder: As `predict`.

        Raises:
            ConfigError: The predictions of this problem have no picture.

        Example:
            >>> predictor.show(test)
            Traceback (most recent call last):
            ...
            thermocline.errors.ConfigError: show is not for binary problems: ...
        """
        from thermocline.pipeline.predict import show

        options = {"image_folder": image_folder, "least_score": least_score}
        return show(self._fitted(), data, verbosity=self.verbosity, **options)

    @keeps_global_state
    def show_batch(  # noqa: PLR0913 - public API
        self,
        data: Data,
        n: int = 9,
        *,
        augmented: bool = True,
        epoch: int = 0,
        seed: int = 0,
        presets: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        hyperparameters: Any = None,
        column_types: Mapping[str, str] | None = None,
        image_folder: str | os.PathLike[str] | None = None,
    ) -> ShownRows:
        """Show what the model reads of a few rows: images as it is given them, tokens decoded, cells as numbers.

        Before `fit` these are training rows as `fit` with the same arguments would read them; the backbones are loaded,
        as in `explain`, and nothing is trained. On a fitted predictor they are any rows, with or without labels.

        Args:
            data: As for `fit`, at least two rows; on a fitted predictor as `predict`.
            n: The most rows that are shown.
            augmented: Show rows as training reads them: images varied, tokens hidden. False: as `predict` reads them.
            epoch: The epoch of training whose variants are shown, counted from 0.
            seed: The run's, which decides the variants; and which rows are shown.
            presets: As for `fit`, before `fit` alone, like the next two.
            hyperparameters: Overrides.
            column_types: Types to overrule.
            image_folder: As `predict`; on a fitted predictor alone. Before that it is the option `data.image_folder`.

        Returns:
            An object that prints, shows in a notebook, and draws with `.plot()`.

        Raises:
            ConfigError: Arguments of a fit on a fitted predictor; or a transform of images that it does not hold.
            DataError: No rows.
            ThermoclineError: Before `fit`, as `fit`.

        Example:
            >>> shown = Predictor("verdict", verbosity=0).show_batch(train, n=2, hyperparameters=tiny)
            >>> shown.plot().savefig("batch.png")
        """
        from thermocline.inspection.rows_to_show import Choice, batch_before, batch_of, check_unfitted

        choice = Choice(n, seed, augmented, epoch)
        if self._assembly is not None:
            check_unfitted({"presets": presets, "hyperparameters": hyperparameters, "column_types": column_types})
            return batch_of(self._assembly, data, choice, image_folder=image_folder)
        if image_folder is not None:
            raise ConfigError("Before fit image_folder is an option: hyperparameters={'data.image_folder': …}.")
        choice.check()
        given = data, None, presets, hyperparameters, column_types, seed
        return batch_before(self._request(*given, training=False), choice)

    @keeps_global_state
    def show_results(
        self,
        data: Data,
        n: int = 9,
        *,
        seed: int = 0,
        least_score: float | None = None,
        image_folder: str | os.PathLike[str] | None = None,
    ) -> ShownRows:
        """Show a few rows with their label and what the model predicts for them: right, wrong, or how far off.

        Args:
            data: As `predict`. Without labels predictions are shown alone.
            n: The most rows that are shown.
            seed: Which rows.
            least_score: Where boxes or entities are predicted: those of a lower score are left out; None: boxes below
                0.3.
            image_folder: As `predict`.

        Returns:
            An object that prints, shows in a notebook, and draws with `.plot()`: boxes on their images, those of the
            label on the left.

        Raises:
            ConfigError: A number that is out of range.
            DataError: No rows, or as `predict`.
            LabelError: A label that training did not see.
            NotFittedError: `fit` has not been called.

        Example:
            >>> predictor.show_results(test, n=4).plot().savefig("results.png")
        """
        from thermocline.inspection.rows_to_show import Choice, results_of

        fitted, choice = self._fitted(), Choice(n, seed, least_score=least_score)
        return results_of(fitted, data, choice, image_folder=image_folder, verbosity=self.verbosity)

    @keeps_global_state
    def importance(  # noqa: PLR0913 - public API
        self,
        data: Data,
        metric: Any = None,
        *,
        columns: str | Sequence[str] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        repeats: int = 5,
        max_rows: int | None = 1000,
        seed: int = 0,
        image_folder: str | os.PathLike[str] | None = None,
    ) -> Importance:
        """Return what the score loses when a column is shuffled: permutation importance (Breiman 2001).

        Columns that say the same share what they are worth: shuffled alone, each loses little. Put them into one of
        `groups`. Each tower is run over the rows once. A tower that reads several columns is run again `repeats` times
        for each of them; one that reads a single column is not.

        Args:
            data: As `evaluate`, labels included; rows that training did not see.
            metric: A metric; by default that of validation. In its place the labels of `data`, where that has no label
                column: `importance(X, y)`.
            columns: Those that are shuffled; all that the model reads by default.
            groups: Name → columns that are shuffled together, so that their cells stay beside each other.
            repeats: Permutations of the rows, the same ones for each column. The standard errors are over these.
            max_rows: Of more rows so many are drawn; None: all are used.
            seed: Of rows and permutations.
            image_folder: As `predict`.

        Returns:
            A table of column, type, score lost in units of the metric (above 0: worse without the column), standard
            error, and a remark where it is within two of them from 0. It has `.plot()` and `.to_frame()`.

        Raises:
            ConfigError: A metric that does not fit; a column that the model does not read; boxes are predicted.
            DataError: Fewer than two rows; a metric that is not defined on them.
            MissingColumnError: There is no such column.
            NotFittedError: `fit` has not been called.

        Example:
            >>> sorted(predictor.importance(test, repeats=2).to_frame()["column"])
            ['price', 'review', 'shop']
        """
        from thermocline.inspection.importance import Shuffling, importance
        from thermocline.pipeline.called_with import table_to_score

        fitted = self._fitted()
        what = Shuffling(columns, groups, repeats, max_rows, seed)
        table, metric = table_to_score(data, metric, self.label)
        return importance(fitted, table, metric, what, image_folder=image_folder, verbosity=self.verbosity)

    @keeps_global_state
    def attribution(
        self,
        data: Data | pd.Series[Any],
        columns: str | Sequence[str] | None = None,
        *,
        method: str = "occlusion",
        of: Any = None,
        grid: int = 7,
        image_folder: str | os.PathLike[str] | None = None,
    ) -> Attribution:
        """Return what the words, fields of an image and cells of one row add to what the model predicts for it.

        Args:
            data: One row, such as `frame.iloc[[0]]`.
            columns: Those whose parts are told apart; all that the model reads by default.
            method: `occlusion` leaves out a word, covers a field of an image with its mean colour, or empties a cell,
                and takes the difference: one prediction for each part. `integrated_gradients`, `input_x_gradient` and
                `saliency` take gradients of the network with respect to tokens and pixels, by captum:
                `pip install 'thermocline[captum]'`.
            of: The class or label whose probability is explained; by default what is predicted, of several labels the
                likeliest. Of a regression it is the number.
            grid: With `occlusion`, rows and columns of fields that an image is cut into.
            image_folder: As `predict`.

        Returns:
            Parts with what each adds: above 0 it raises the probability or the number. It prints, shows words coloured
            in a notebook, and draws heat maps with `.plot()`.

        Raises:
            ConfigError: There is no such method or class; the problem predicts no class or number of a row.
            DataError: Not one row.
            MissingColumnError: There is no such column.
            MissingDependencyError: captum is not installed.
            NotFittedError: `fit` has not been called.

        Example:
            >>> predictor.attribution(test.iloc[[0]]).to_frame().columns.tolist()
            ['column', 'part', 'adds']
        """
        from thermocline.inspection.attribution import Way, attribution

        fitted, way = self._fitted(), Way(method, columns, of, grid)
        return attribution(fitted, data, way, image_folder=image_folder, verbosity=self.verbosity)

    @keeps_global_state
    def save(self, path: str | os.PathLike[str] | None = None, *, overwrite: bool = False) -> Path:
        """Save into a folder of safetensors, JSON and YAML.

        Args:
            path: The folder; the predictor's own `path` by default. One that holds this same fit is written again.
            overwrite: Replace a saved predictor of another fit. Files that are no saved predictor are not replaced;
                those of your own in the folder of a saved predictor stay in it.

        Raises:
            OutputExistsError: The folder holds something else.
            OutputInUseError: A fit or another save is writing to it.

        Example:
            >>> predictor.save("saved").name
            'saved'
        """
        from thermocline.pipeline.path_argument import folder_argument
        from thermocline.pipeline.saved_folder import writing_to

        target = self.path if path is None else folder_argument(path)
        self._fitted()
        if target is None:
            raise ConfigError("save needs a path: predictor.save('my_model').")
        with writing_to(target):
            self._save(target, overwrite=overwrite)
        return target

    @keeps_global_state
    def export(
        self,
        path: str | os.PathLike[str],
        format: str = "onnx",
        *,
        quantize: str | None = None,
        data: Data | None = None,
        tower: str | None = None,
        overwrite: bool = False,
    ) -> Exported:
        """Write the model into a folder, in a format that other programs load.

        The outputs of a whole model are compared with those of this predictor before anything stays on the disk.

        Args:
            path: The folder.
            format: `onnx`: the whole model, with a program `run.py` that needs onnxruntime, numpy, tokenizers and
                Pillow only (extra `onnx`); `torch_export`: the whole model as a `torch.export` program;
                `transformers` or `timm`: the tuned backbone alone, adapters merged, as their own folder.
            quantize: `int8` for an ONNX model whose matrices have 8 bits.
            data: Labelled rows that both this predictor and the exported model are scored on.
            tower: Whose backbone is written, where several have one of this library.
            overwrite: Replace an export of another fit or format. Saved predictors and other files are never replaced.

        Returns:
            What was written, with sizes, how it is loaded, and the scores.

        Raises:
            ConfigError: Arguments that do not fit; several towers and none named.
            ExportError: The model cannot be exported so; nothing is written.
            MissingDependencyError: The extra `onnx` is not installed.
            OutputExistsError: The folder holds something else.

        Example:
            >>> exported = predictor.export("backbone", "transformers")
            >>> exported.use
            "transformers.AutoModel.from_pretrained('backbone')"
        """
        from thermocline.export.exporting import Wish, export
        from thermocline.pipeline.arguments import check_flags
        from thermocline.pipeline.path_argument import folder_argument

        check_flags(overwrite=overwrite)
        folder = folder_argument(path)
        return export(self._whole(), folder, Wish(format, quantize, tower, data, overwrite))

    @keeps_global_state
    def model_card(self) -> str:
        """Return a model card in Markdown: data, pretrained weights and their licence, plan, options, scores, versions.

        An export holds it as README.md.

        Raises:
            NotFittedError: `fit` has not been called.

        Example:
            >>> print(predictor.model_card())
            # verdict: binary
            ...
        """
        from thermocline.export.model_card import PLAIN_USE, card

        return card(self._whole(), None, PLAIN_USE)

    @classmethod
    @keeps_global_state
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str | torch.device = "auto",
        problem: Problem | None = None,
        model: OwnModel = None,
        trust_remote_code: bool = False,
        verbosity: int = 1,
    ) -> Predictor:
        """Load a saved predictor; needs no hub, and runs no code from the folder.

        Args:
            path: The folder; `~` is expanded.
            device: Where it predicts: `cpu`, `cuda`, `cuda:1`, `mps`; `auto`: the fastest that is there.
            problem: The kind of problem of your own that it was fitted with; built-in kinds need none.
            model: The modules of your own that it was fitted with, as in the constructor. A copy of them gets the
                weights that were saved.
            trust_remote_code: Whether code that a text backbone brought with its pretrained weights may run.
            verbosity: As in the constructor.

        Raises:
            ArtifactError: There is none, it is damaged, or a newer version wrote it; or it was fitted with a module of
                your own, and none that fits its weights was given.
            ConfigError: The path is no path, or verbosity no whole number; the device is not there; or the predictor is
                of a kind of problem that is not installed and was not given.

        Example:
            >>> folder = predictor.save("saved")
            >>> loaded = Predictor.load(folder, verbosity=0)
            >>> loaded.predict(test).equals(predictor.predict(test))
            True
        """
        from thermocline.pipeline import artifact
        from thermocline.pipeline.path_argument import folder_argument
        from thermocline.training.device import device_of

        folder, place = folder_argument(path), device_of(device)
        loaded = artifact.load(folder, artifact.Trust(problem, trust_remote_code, _own_modules(model)))
        assembly = loaded.assembly
        assembly.model.to(place)
        target = assembly.target
        made = cls(
            target.label if isinstance(target.label, str | None) else list(target.label),
            target.problem_type,
            getattr(target, "metric", None) or target.eval_metric,
            folder,
            positive_class=getattr(target, "positive", None),
            sample_weight=assembly.weight,
            **{name: one for name, one in getattr(target, "roles", {}).items() if name in assembly.problem.info.roles},
            problem=problem,
            model=model,
            verbosity=verbosity,
        )
        made._take(loaded)
        made._saved_at = folder
        return made

    @property
    def path(self) -> Path | None:
        """Where `fit` saves the predictor, or None; it may be set anew.

        Raises:
            ConfigError: What it is set to is no path.
        """
        return self._path

    @path.setter
    def path(self, given: str | os.PathLike[str] | None) -> None:
        from thermocline.pipeline.path_argument import folder_argument

        path = None if given is None else folder_argument(given)
        self._path = given if isinstance(given, Path) and given == path else path

    @property
    def problem_type(self) -> str | None:
        """What was given, or inferred by `fit`."""
        return self._assembly.target.problem_type if self._assembly else self._problem_type

    @property
    def eval_metric(self) -> Any:
        """The metric that validation used, by its own name; before `fit`, what was given."""
        from thermocline.registry import named_metric

        return self._assembly.target.eval_metric if self._assembly else named_metric(self._eval_metric)

    @property
    def positive_class(self) -> Any:
        """The positive class of two, as it is among the labels; before `fit`, what was given."""
        return getattr(self._assembly.target, "positive", None) if self._assembly else self._positive_class

    @property
    def threshold(self) -> float | None:
        """The probability above which a row is of the positive class; None where there are not two classes."""
        threshold: float | None = getattr(self._fitted().target, "threshold", None)
        return threshold

    @property
    def model(self) -> nn.Module:
        """The fitted network, in eval mode; `forward` takes a batch of rows (`thermocline.data.batches`)."""
        model: nn.Module = self._fitted().model
        return model.eval()

    @property
    def classes_(self) -> np.ndarray:
        """The classes as they are in the data, or the labels of a multilabel target: the order of `predict_proba`.

        Raises:
            AttributeError: The label is a number; as in scikit-learn.
        """
        classes = getattr(self._fitted().target, "classes", ())
        if not classes:
            raise AttributeError(
                f"{self.label!r} is a {self.problem_type} label and has no classes.", name="classes_", obj=self
            )
        plain = len({type(one) for one in classes}) == 1
        found: np.ndarray = pd.Index(classes, dtype=None if plain else object).to_numpy()
        return found

    @property
    def feature_names_in_(self) -> np.ndarray:
        """The names of the columns that predictions are made from, object `(n_features_in_,)`."""
        import numpy as np

        return np.array(self.columns.used, dtype=object)

    @property
    def n_features_in_(self) -> int:
        """How many columns predictions are made from."""
        return len(self.columns.used)

    @property
    def plan(self) -> LayerPlan:
        """Learning rate and frozen state of every layer, and when they change."""
        return self._fitted().plan

    @property
    def config(self) -> ResolvedConfig:
        """Every option, with where its value came from."""
        return self._fitted().config

    @property
    def columns(self) -> Columns:
        """The columns and their types, with reasons."""
        return self._fitted().columns

    @property
    def history(self) -> History:
        """A DataFrame of validations and events, with `.plot()`."""
        self._fitted()
        assert self._history is not None
        return self._history

    @property
    def started_from(self) -> Mapping[str, Any] | None:
        """What the fit started from (`fit(start_from=…)`), or None.

        Its `where` is the path, `fingerprint` names weights and label; `towers` are those that were taken, `head` says
        whether the head was (`whole`, `part`, `fresh`), and `new` are the positions of new classes in `classes_`.
        """
        started = self._fitted().built.started
        return None if started is None else started.to_dict()

    def fit_summary(self) -> FitSummary:
        """Return how the fit ended: what was kept, its score beside simpler ones, the time it took, and what is next.

        It prints, shows in a notebook, and has `to_dict()`. The time by stage is known in the process that fitted, not
        after `load`.

        Raises:
            NotFittedError: `fit` has not been called.

        Example:
            >>> [one.name for one in predictor.fit_summary().compared]
            ['the probe at step 0', 'the majority class']
        """
        from thermocline.pipeline.fit_summary import summary_of

        return summary_of(self._whole(), None if self._saved_at is None else str(self._saved_at), self._seconds)

    def leaderboard(self) -> Board:
        """Return a row for each fit that this predictor was chosen from, the best first.

        Returns:
            Columns `name`, one for each option that differs between the fits, `score` (of the validation rows, in the
            metric's own direction), `seconds`, `state` (`complete`, `pruned`, `failed`, `running`, `stopped`) and `why`
            (why a fit failed or ended early, or `kept`). With `presets="auto"` also `loss` of the validation rows and
            `loss after 1/9` of the steps; `gain`, by how much the loss is below that of the fit as it was asked for;
            its standard error, `gain_error`; and `plot_race()` draws it.

        Raises:
            NotFittedError: `fit` has not been called.
            ConfigError: It was fitted once, without a search or `presets="auto"`.

        Example:
            >>> spaces = {**tiny, "optim.lr": "loguniform(1e-4, 1e-2)"}
            >>> found = Predictor("verdict", verbosity=0)
            >>> found.fit(train[["price", "shop", "verdict"]], hyperparameters=spaces, search={"trials": 2})
            Predictor(label='verdict': binary, table, 3 layers)
            >>> found.leaderboard().columns.tolist()
            ['name', 'optim.lr', 'score', 'seconds', 'state', 'why']
        """
        from thermocline.choose.leaderboard import Leaderboard

        self._fitted()
        if self._leaderboard is None:
            raise ConfigError(
                "This predictor was fitted once and chosen from no others; see predictor.history. A search compares "
                "fits: fit(…, hyperparameters={'optim.lr': 'loguniform(1e-5, 1e-3)'}, search={'trials': 20}); so does "
                "presets='auto'."
            )
        return Leaderboard.from_dict(self._leaderboard).to_frame()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if hasattr(type(self), name):  # a property of ours that failed: its own error
                return object.__getattribute__(self, name)
            raise no_attribute(self, name)

    def __repr__(self) -> str:
        state = "not fitted"
        if self._assembly is not None:
            towers = " + ".join(self._assembly.model.towers)
            state = f"{self.problem_type}, {towers}, {counted(len(self._assembly.plan.layers), 'layer')}"
        return f"Predictor(label={self.label!r}: {state})"

    @property
    def _roles(self) -> dict[str, str]:
        """The columns that were named by what they are for."""
        given = {"query": self.query, "response": self.response}
        return {name: column for name, column in given.items() if column is not None}

    def _request(
        self,
        train_data: Data,
        tuning_data: Data | None,
        presets: Any,
        hyperparameters: Any,
        column_types: Mapping[str, str] | None,
        seed: int,
        **more: Any,
    ) -> Request:
        """Put what `fit` or `explain` was given together with what the constructor was given."""
        from thermocline.contracts.request import Request
        from thermocline.data.worker_processes import check_main_guard
        from thermocline.pipeline.called_with import tables_to_fit
        from thermocline.registry import named_metric

        check_main_guard()
        data, tuning = tables_to_fit(train_data, tuning_data, self.label)
        return Request(
            data,
            self.label,
            tuning_data=tuning,
            problem_type=self._problem_type,
            eval_metric=named_metric(self._eval_metric),
            positive_class=self._positive_class,
            weight=self.sample_weight,
            problem=self._problem,
            objects=_own_modules(self._model),
            roles=self._roles,
            presets=presets,
            hyperparameters=hyperparameters,
            column_types=column_types,
            seed=seed,
            path=self.path,
            verbosity=self.verbosity,
            **more,
        )

    def _starting(self, request: Request, start_from: Any) -> Request:
        """Return a request with the predictor that it starts from."""
        if start_from is None:
            return request
        from thermocline.pipeline import starting

        known = self if isinstance(start_from, str) and start_from == starting.SELF else start_from
        if isinstance(known, Predictor):
            earlier = starting.fitted_earlier(known._whole(), str(known._saved_at or "a predictor in memory"))
        else:
            earlier = starting.saved_earlier(known, request)
        return starting.starting(request, earlier)

    def _fitted(self) -> Assembly:
        if self._assembly is None:
            raise NotFittedError(
                "This predictor is not fitted yet: call fit(train_data) first, or Predictor.load(path)."
            )
        return self._assembly

    def _save(self, target: Path, *, overwrite: bool) -> None:
        from thermocline.pipeline import artifact

        begin = time.monotonic()
        artifact.save(self._whole(), target, overwrite=overwrite)
        self._saved_at = target
        if self._seconds:
            self._seconds = {**self._seconds, "saving": time.monotonic() - begin}

    def _tell_end(self, began: float) -> None:
        """Print how the fit ended; what no stage has taken went into loading libraries, or into other fits."""
        from thermocline.report.console import Console

        rest = time.monotonic() - began - sum(self._seconds.values())
        if self._seconds and rest > 0:
            name = "loading libraries" if self._leaderboard is None else "other fits"
            self._seconds = {name: rest, **self._seconds}
        Console(self.verbosity).headed(self.fit_summary().headed())

    def _whole(self) -> Fitted:
        """Return what was fitted."""
        from thermocline.pipeline.fitted import Fitted

        whole = self._fitted(), self.history, self._identity, self._ended, self._leaderboard
        return Fitted(*whole, reference=self._reference, seconds=self._seconds)

    def _take(self, fitted: Fitted) -> None:
        """Be what was fitted."""
        self._assembly, self._history, self._identity = fitted.assembly, fitted.history, fitted.identity
        self._ended, self._leaderboard, self._saved_at = fitted.ended, fitted.leaderboard, None
        self._reference, self._seconds = fitted.reference, fitted.seconds

    def _fit_or_resumed(self, request: Request, *, overwrite: bool) -> Predictor:
        """Be what a fit gives, or a run that has ended, and save it; the lock of the path is held."""
        from thermocline.pipeline import places, saved_folder
        from thermocline.pipeline.fit import fit
        from thermocline.pipeline.resume import can_go_on

        stopped = request.resume and self.path is not None and can_go_on(self.path)
        if not (request.resume and not stopped and self._has_ended(request, overwrite=overwrite)):
            # a folder that holds something else must show before training, not after it
            if self.path is not None and not stopped:
                saved_folder.check_fit(self.path, self._identity, overwrite=overwrite)
            self._take(fit(request))
            if self.path is not None:
                self._save(self.path, overwrite=overwrite)
        if self.path is not None and self._ended:
            places.remove_checkpoints(self.path, self._identity)
        return self

    def _compared(self, request: Request, search: Any, *, overwrite: bool) -> Predictor:
        """Be the best of several fits, and save it; the lock of the path is held.

        Args:
            request: The fit that is asked for.
            search: What `fit(search=…)` was given; None for a race.
            overwrite: As in `fit`.
        """
        from thermocline.pipeline.predict import to_best_device

        found = _searched(request, search, self._identity, overwrite=overwrite)
        to_best_device(found.fitted.assembly.model)
        self._take(found.fitted)
        if self.path is not None and found.folder is not None:
            self._save(self.path, overwrite=overwrite or found.replaces)
            if self._ended:
                found.folder.remove()
        return self

    def _has_ended(self, request: Request, *, overwrite: bool) -> bool:
        """Return whether the run to be resumed has ended already; what it saved is loaded then.

        Raises:
            ResumeError: What was saved is of another run, and is not to be replaced.
            ArtifactError: What was saved is damaged, and is not to be replaced.
        """
        from thermocline.pipeline import artifact, resume

        try:
            facts = None if self.path is None else artifact.facts(self.path)
            if self.path is None or facts is None:
                return False
            trust = resume.trusts_remote_code(request)
            code: dict[str, Any] = {"problem": self._problem, "model": self._model, "trust_remote_code": trust}
            ended = Predictor.load(self.path, **code, verbosity=self.verbosity)
            resume.check_ended(request, ended._fitted(), facts)
        except (ResumeError, ArtifactError):
            if overwrite:
                return False
            raise
        self._assembly, self._history, self._identity = ended._assembly, ended._history, ended._identity
        self._ended, self._leaderboard, self._saved_at = ended._ended, ended._leaderboard, self.path
        self._reference, self._seconds = ended._reference, {}
        return True


def _own_modules(model: Any) -> Mapping[str, Any]:
    """Return the caller's own modules by option, checked."""
    if model is None:
        return {}
    from thermocline.inputs.own_backbone import backbones_of

    return backbones_of(model)


def _check_own(problem: Any) -> None:
    """Check a kind of problem of the caller's own.

    Raises:
        ConfigError: Something that it has to define is missing.
    """
    from thermocline.contracts.problem import Problem
    from thermocline.registry import own_problem

    own_problem.check_problem(problem, Problem)


def _is_raced(request: Request) -> bool:
    from thermocline.choose.race_run import is_asked_for

    return is_asked_for(request)


def _searched(request: Request, search: Any, own: str, *, overwrite: bool) -> Found:
    """Return what a search has found; without one, what a race has."""
    if search is None:
        from thermocline.choose.race_run import race

        return race(request, own, overwrite=overwrite)
    from thermocline.choose.storage import check_installed

    check_installed()  # before what imports it
    from thermocline.choose import run

    return run.search(request, search, own, overwrite=overwrite)
