"""What a kind of problem offers: how labels are read, what is trained, and how outputs become predictions.

A kind is one folder under `problems/`, or a class of the caller's own. It derives from `Problem`, which has defaults
for what most kinds share. A `Problem` is stateless: what is fitted to data is in the target, in what was built, and
in the model's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch import nn

from thermocline.config import ResolvedConfig
from thermocline.contracts.baseline import Baseline
from thermocline.contracts.closing import Closing, Settled
from thermocline.contracts.exporting import ExportForm
from thermocline.contracts.labelled import Labelled, Reading
from thermocline.contracts.learning import Collector, Learning
from thermocline.contracts.probing import LinearFolds
from thermocline.contracts.reporting import Redrawn, Results, Told
from thermocline.contracts.request import Request
from thermocline.contracts.showing import Answer, Explained, GradientOutput, View
from thermocline.contracts.starting import PART, WHOLE, Earlier, Started, copy_matching, matched_note
from thermocline.data.batches import Rows
from thermocline.data.columns import Columns
from thermocline.data.splitting import random_rows, split_note, valid_share
from thermocline.errors import ConfigError, ExportError
from thermocline.registry import ProblemInfo
from thermocline.registry.metrics import Metric
from thermocline.registry.own_problem import CHECKED, checked
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Built:
    """A model with what turns frames into its rows.

    Attributes:
        model: The model; its towers are in `model.towers`, an `nn.ModuleDict`.
        inputs: Tower → the input that was built for it (`contracts.inputs.BuiltInput`, or what the kind has).
        layer_map: Its layers.
        config: The configuration, with what building chose.
        notes: What a user should know.
        started: What the model took from an earlier one; None: nothing.
    """

    model: nn.Module
    inputs: Mapping[str, Any]
    layer_map: LayerMap
    config: ResolvedConfig
    notes: tuple[str, ...] = ()
    started: Started | None = None


@dataclass(frozen=True)
class Assembly:
    """A model ready to train or to predict, with all it takes to use it.

    Attributes:
        problem: The kind of problem.
        target: What the label asks for.
        columns: The columns.
        built: Model, inputs, layers, configuration.
        plan: What the layers do.
        weight: The column of row weights, or None.
        facts: What makes the run this run; see `training.run_identity`.
    """

    problem: Problem
    target: Any
    columns: Columns
    built: Built
    plan: LayerPlan
    weight: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> Any:
        """The model."""
        return self.built.model

    @property
    def config(self) -> ResolvedConfig:
        """The configuration."""
        return self.built.config

    @property
    def layer_map(self) -> LayerMap:
        """The model's layers."""
        return self.built.layer_map

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(self.built.model.parameters()).device
        return device

    def with_config(self, config: ResolvedConfig) -> Assembly:
        """Return the same assembly under a configuration in which more was chosen."""
        return replace(self, built=replace(self.built, config=config))


class Problem:
    """A kind of problem. Methods are in the order in which a fit calls them.

    Attributes:
        info: The light record of this kind.
        takes_features: Whether its model takes `{"features": …}` in the place of a tower's part of a batch, as
            `problems.rowwise.model.FusionModel` does: a tower whose columns stay the same is not run again then.
        of_its_types: Methods that serve the problem types of this class alone: one that derives from it for others has
            to define them.
        least_shown: The least score of what `show` and `show_results` show where nothing is asked for.

    Example:
        >>> from thermocline.contracts.problem import Problem
        >>> from thermocline.registry import find_problem, load
        >>> isinstance(load(find_problem("binary")), Problem)
        True
    """

    info: ProblemInfo
    takes_features: bool = False
    of_its_types: tuple[str, ...] = ()
    least_shown: float = 0.3

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        types = {"read": Labelled, "keep_usable": Labelled, "find_columns": Columns, "build": Built, "rows": Rows}
        types["learning"] = Learning
        for name in CHECKED & vars(cls).keys():
            setattr(cls, name, checked(name, vars(cls)[name], types))

    # -- data

    def check_request(self, request: Request, config: ResolvedConfig) -> None:
        """Check what the request and the options alone show; no data are read.

        Raises:
            ConfigError: An argument or option that this kind does not take.
        """

    def read(self, data: object, reading: Reading) -> Labelled:
        """Read a frame and check names, labels and weights; nothing is decoded.

        Raises:
            DataError: The data cannot be used.
        """
        raise NotImplementedError

    def find_columns(self, found: Labelled, request: Request) -> Columns:
        """Return the columns of the training frame, with types and reasons.

        Raises:
            DataError: There are no columns to train on.
        """
        raise NotImplementedError

    def check(self, columns: Columns, config: ResolvedConfig) -> None:
        """Check what columns and options show together; nothing is loaded.

        By default there is nothing to check.

        Raises:
            CheckpointError: Pretrained weights that cannot be found.
        """

    def keep_usable(self, found: Labelled, columns: Columns, reading: Reading) -> Labelled:
        """Return the rows without those that cannot be used, noted and warned of; too many are an error.

        Raises:
            DataError: More than the options allow.
        """
        del columns, reading
        return found

    def find_target(self, found: Labelled, request: Request) -> Any:
        """Return what the training labels ask for, a `Target`.

        Raises:
            LabelError: Labels that cannot be trained on.
        """
        raise NotImplementedError

    def check_labels(self, found: Labelled, target: Any, *, what: str) -> None:
        """Check that the labels of other data fit the target.

        Raises:
            LabelError: Labels that training did not see.
        """

    def check_apart(self, train: Labelled, valid: Labelled, target: Any, columns: Columns) -> None:
        """Check that training and tuning data do not say different things of the same images.

        Raises:
            LabelError: They do.
        """

    def split(
        self, found: Labelled, target: Any, fraction: float | None, *, seed: int
    ) -> tuple[np.ndarray, np.ndarray, str]:
        """Return sorted training positions, sorted validation positions, and why the share was chosen.

        By default rows are drawn at random, whatever their labels.

        Args:
            found: All rows.
            target: What the label asks for.
            fraction: Share for validation, or None to choose one.
            seed: The run's seed.
        """
        del target
        share, why = valid_share(len(found), fraction)
        valid = random_rows(len(found), min(max(round(share * len(found)), 1), len(found) - 1), seed)
        return np.setdiff1d(np.arange(len(found)), valid), valid, why

    def take(self, found: Labelled, rows: np.ndarray) -> Labelled:
        """Return some of the rows, with their labels."""
        assert found.labels is None
        return replace(found, frame=found.frame.iloc[rows])

    def describe_split(self, train: Labelled, valid: Labelled, reason: str) -> str:
        """Return the note that says how many rows train and how many validate."""
        return split_note(len(train), len(valid), "row", reason)

    # -- model

    def build(self, train: Labelled, columns: Columns, target: Any, config: ResolvedConfig, *, seed: int) -> Built:
        """Build the model and choose what the configuration leaves open about training; no plan.

        Random weights are drawn from torch's generator, which the caller seeds and puts back.

        Raises:
            CheckpointError: Pretrained weights cannot be loaded.
            ConfigError: An option that does not fit the model.
        """
        raise NotImplementedError

    def build_from(
        self,
        earlier: Earlier,
        train: Labelled,
        columns: Columns,
        target: Any,
        config: ResolvedConfig,
        *,
        seed: int,
    ) -> Built:
        """Build the model as `build` does, with what an earlier one of this kind has learnt.

        By default parameters and buffers are taken that have the same name and shape. A kind whose outputs are classes
        matches them by value.

        Args:
            earlier: The predictor that the fit starts from; it stays as it is.
            train: As of `build`, like the others.
            columns: The columns.
            target: What the label asks for.
            config: The configuration.
            seed: The run's seed.

        Raises:
            ConfigError: Nothing of it fits, or options ask for another model.
        """
        built = self.build(train, columns, target, config, seed=seed)
        copied, left = copy_matching(earlier.assembly.model, built.model)
        started = Started(earlier.where, earlier.fingerprint, head=PART if left else WHOLE)
        return replace(built, started=started, notes=(matched_note(started, copied, left), *built.notes))

    def rows(
        self, found: Labelled, assembly: Assembly, *, labelled: bool, training: bool = False, seed: int = 0
    ) -> Rows:
        """Turn a frame into rows.

        Args:
            found: The frame.
            assembly: The model.
            labelled: Whether the rows get encoded labels, and weights where there are some.
            training: Whether rows are augmented.
            seed: The run's seed.
        """
        raise NotImplementedError

    def learning(self, assembly: Assembly, train: Rows, *, seed: int) -> Learning:
        """Return loss and start of a run."""
        raise NotImplementedError

    def frozen_selectors(self, layer_map: LayerMap, config: ResolvedConfig, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return tower → selector of layers that never train, given the user's own; adapters add their hosts."""
        del layer_map, config
        return dict(own)

    # -- results

    def collector(self, assembly: Assembly, rows: Rows, found: Labelled, *, scoring: bool, **options: Any) -> Collector:
        """Return what collects outputs of a pass over rows.

        Args:
            assembly: The model.
            rows: The rows that are passed over.
            found: Their frame and labels.
            scoring: Whether scores follow; else predictions.
            options: What `Predictor.show` was given, where a picture follows.
        """
        raise NotImplementedError

    def settled(self, assembly: Assembly, closing: Closing) -> Settled:
        """Return the target with what validation decided, such as a threshold.

        What is fitted here beside the network belongs into the model as buffers: it is saved with the weights, and
        checkpoints hold none of it.

        Args:
            assembly: The model, in the state that is kept.
            closing: What may be computed with it.
        """
        return Settled(assembly.target, closing.scores)

    def baseline(self, assembly: Assembly, rows: Mapping[str, Rows]) -> Baseline | None:
        """Return the score of what predicts the same for every row, which the score of a fit is seen against.

        Args:
            assembly: The model, once it is fitted.
            rows: Rows that `train` and that `valid`ate, labelled.

        Returns:
            None where this kind has no such thing.
        """
        del assembly, rows
        return None

    def describe_labels(self, found: Labelled, target: Any) -> str:
        """Return what training labels hold, in a line, such as the classes with their shares; or nothing."""
        del found, target
        return ""

    def row_losses(self, outputs: np.ndarray, target: Any, rows: Rows) -> np.ndarray | None:
        """Return the loss of each row, times its weight in units of the mean weight, by which fits are compared.

        Args:
            outputs: On these rows, as `Closing.valid_outputs`.
            target: What the label asks for, as it is settled.
            rows: The rows, labelled.

        Returns:
            float64 `(rows,)`, NaN where a row has no outputs; None where this kind has no loss of a row.
        """
        del outputs, target, rows
        return None

    def predictions(self, outputs: Any, target: Any, index: pd.Index[Any]) -> pd.Series[Any] | pd.DataFrame:
        """Return predictions on an index, in the label's dtype.

        Args:
            outputs: `Collector.outputs()`.
            target: What the label asks for.
            index: The frame's index.
        """
        raise NotImplementedError

    def check_probabilities(self, target: Any) -> None:
        """Check that this target has probabilities.

        Raises:
            ConfigError: It has none.
        """
        raise ConfigError(f"{target.problem_type} gives no probabilities of a row. Use predict.")

    def probabilities(self, outputs: Any, target: Any, index: pd.Index[Any]) -> pd.DataFrame:
        """Return probabilities, a column per class, after `check_probabilities`."""
        raise NotImplementedError

    def check_interval(self, target: Any, coverage: float) -> None:
        """Check that predictions have intervals that hold a share of new rows; an error where that is not known."""
        del coverage
        raise ConfigError(f"predict_interval is for regression, not for {target.problem_type}. Use predict.")

    def interval(self, outputs: Any, target: Any, coverage: float, index: pd.Index[Any]) -> pd.DataFrame:
        """Return columns `lower`, `prediction` and `upper`, and perhaps others, after `check_interval`."""
        raise NotImplementedError

    def features(self, assembly: Assembly) -> Callable[[Any], torch.Tensor]:
        """Return what computes features float `(rows, width)` of a batch, for `embed`; an error where none are."""
        raise ConfigError(f"{assembly.target.problem_type} has no features of a row to embed.")

    def features_width(self, assembly: Assembly) -> int | None:
        """Return how many features a row has, for data without rows; None where that is not known."""
        width: int | None = getattr(assembly.model, "row_width", None)
        return width

    def sides(self, target: Any) -> Mapping[str, str]:
        """Return side → its column, where rows are pairs whose sides have features of their own; by default none."""
        del target
        return {}

    def restricted(self, assembly: Assembly, side: str) -> Assembly:
        """Return an assembly that reads one of the `sides` alone, whose features are those of that side."""
        raise ConfigError(
            f"{assembly.target.problem_type} has no sides such as {side!r}: its rows are no pairs. Use embed(data) "
            "without side; problem_type='similarity' is for pairs, and search is for those."
        )

    def usual_metrics(self, target: Any) -> tuple[str, ...]:
        """Return what `evaluate` reports beside the metric of validation; by default by problem type."""
        return self.info.usual_metrics[target.problem_type]

    def check_probes(self) -> None:
        """Check that features of whole rows can be probed.

        Raises:
            ConfigError: Rows have no label of their own.
        """
        raise ConfigError(
            "Linear probes are for problems with a label of each row (binary, multiclass, multilabel, regression), not "
            f"for {self.info.name}. Leave them out."
        )

    def folds(self, assembly: Assembly, train: Rows, *, seed: int) -> LinearFolds:
        """Return what scores linear models of features of the training rows, after `check_probes`."""
        raise NotImplementedError

    def check_metric(self, asked: str | Metric, target: Any) -> str | Metric:
        """Return the canonical name of a metric that `evaluate` was asked for, or the caller's own.

        Raises:
            ConfigError: There is no such metric, or it does not fit the problem type; or it is the caller's own that
                validation went by, which no saved predictor holds.
        """
        from thermocline.registry import find_metric

        own: Metric | None = getattr(target, "metric", None)
        if own is not None and asked == own.name:
            asked = own
        if not isinstance(asked, Metric):
            return find_metric(self.info, asked, target.problem_type).name
        if asked.function is None:
            raise ConfigError(
                f"The metric {asked.name!r} is a function that no saved predictor holds. Hand it in: evaluate(data, "
                "metrics=[function]), or name another metric."
            )
        if own is None or asked.name != own.name:
            find_metric(self.info, asked, target.problem_type)
        return asked

    # -- a report

    def tell(self, assembly: Assembly, results: Results, metrics: Sequence[str | Metric]) -> Told:
        """Return what a report shows beside the scores: tables and pictures in a neutral form, and a baseline.

        Args:
            assembly: The model.
            results: What a pass over labelled rows gave; there is at least one.
            metrics: The metrics that are shown, for the baseline.
        """
        del assembly, results, metrics
        return Told()

    def redrawn(self, assembly: Assembly, results: Results, metrics: Sequence[str | Metric]) -> Redrawn | None:
        """Return how rows that are drawn again are scored, for intervals; None: scores have no intervals.

        Args:
            assembly: The model.
            results: As of `tell`.
            metrics: The metrics that are shown.
        """
        del assembly, results, metrics
        return None

    def row_report(self, assembly: Assembly, results: Results) -> pd.DataFrame:
        """Return what is known of each row, on the frame's index: prediction and what it is off by; the last is `loss`.

        Raises:
            ConfigError: This kind has no loss of a row.
        """
        del results
        raise ConfigError(
            f"top_losses is not for {assembly.target.problem_type} problems: {type(self).__name__} has no row_report. "
            "Compare predict(data) with the labels."
        )

    def check_written(self, target: Any) -> None:
        """Check that predictions can be written as files, by a `collector` that is given the folder `out`.

        Raises:
            ConfigError: They are values of a frame, which is written whole.
        """
        raise ConfigError(
            f"out= is for predictions that are images, not for {target.problem_type}. Leave it out, and write what "
            "predict returns: predict(data).to_csv(...)."
        )

    # -- pictures

    def check_drawable(self, target: Any) -> None:
        """Check that predictions can be drawn.

        Raises:
            ConfigError: This kind draws nothing.
        """
        raise ConfigError(
            f"show is not for {target.problem_type} problems: their predictions have no picture. Use show_results."
        )

    def check_picture(self, found: Labelled, assembly: Assembly, **options: Any) -> None:
        """Check that predictions for these rows can be drawn with these options, which `collector` gets too.

        Raises:
            ConfigError: An option does not fit.
            DataError: No rows, or too many for a picture.
        """

    def picture(self, outputs: Any, found: Labelled, assembly: Assembly) -> Any:
        """Return collected outputs on their rows, after `check_picture`: a figure, or what prints and shows itself."""
        raise NotImplementedError

    # -- for a person to look at

    def views(
        self, found: Labelled, assembly: Assembly, rows: Rows, positions: np.ndarray, epoch: int | None
    ) -> list[list[View]]:
        """Return what the model reads of some rows: for each row a view of each column; by default those of the inputs.

        Args:
            found: The frame.
            assembly: The model.
            rows: The rows of the frame.
            positions: Of the rows that are shown, int64 `(rows,)`.
            epoch: The epoch of training in which they are read; None: as in prediction.
        """
        inputs = assembly.built.inputs
        each = [one.kind.views(one, found.frame, rows.parts[name], positions, epoch) for name, one in inputs.items()]
        return [[view for views in row for view in views] for row in zip(*each, strict=True)]

    def label_texts(self, found: Labelled, assembly: Assembly) -> list[str]:
        """Return the label of each row as text; by default the cells of the label columns."""
        names = list(assembly.target.labels)
        cells = found.frame[names].astype(object).to_numpy()
        return [", ".join(map(str, row)) for row in cells]

    def answers(self, outputs: Any, found: Labelled, assembly: Assembly, *, labelled: bool) -> list[Answer]:
        """Return what the model answers for each row, beside its label; by default both as text.

        Args:
            outputs: `Collector.outputs()`.
            found: The frame.
            assembly: The model.
            labelled: Whether the frame has labels.
        """
        predicted = self.predictions(outputs, assembly.target, found.frame.index)
        numbers = any(dtype.kind == "f" for dtype in pd.DataFrame(predicted).dtypes)
        texts = [", ".join(map(_text, row)) for row in pd.DataFrame(predicted).astype(object).to_numpy()]
        if not labelled:
            return [Answer(text) for text in texts]
        labels = self.label_texts(found, assembly)
        if numbers:  # which are never right to the last digit
            return [Answer(text, label) for text, label in zip(texts, labels, strict=True)]
        return [Answer(text, label, text == label) for text, label in zip(texts, labels, strict=True)]

    def check_importance(self, target: Any) -> None:
        """Check that columns can be shuffled to see what they are worth; an error where that would say nothing."""

    def check_attribution(self, target: Any) -> None:
        """Check that there is a number of each row that parts of a cell add to; an error by default."""
        raise ConfigError(
            f"attribution is for problems that predict a class or a number of each row, not for {target.problem_type}."
        )

    def explained(self, outputs: Any, target: Any, of: Any) -> Explained:
        """Return a number of each row that parts of a cell add to, after `check_attribution`.

        Args:
            outputs: `Collector.outputs()`; the first row is the one that is explained.
            target: What the label asks for.
            of: The class or label; None: what is predicted for the first row.

        Raises:
            ConfigError: There is no such class.
        """
        raise NotImplementedError

    def gradient_output(self, assembly: Assembly, outputs: Any, of: Any) -> GradientOutput:
        """Return the number of `explained` such that it can be differentiated; an error where it cannot."""
        del outputs, of
        raise ConfigError(f"{assembly.target.problem_type} has no outputs to differentiate. Use method='occlusion'.")

    # -- a saved predictor

    def describe(self, assembly: Assembly, folder: Path) -> dict[str, Any]:
        """Return what `rebuild` needs as plain data for JSON, and write files it needs below `folder`."""
        raise NotImplementedError

    def read_target(self, described: Mapping[str, Any]) -> Any:
        """Return the target that `Target.to_dict` described."""
        raise NotImplementedError

    def rebuild(
        self,
        described: Mapping[str, Any],
        folder: Path,
        target: Any,
        config: ResolvedConfig,
        *,
        trust_remote_code: bool,
    ) -> tuple[nn.Module, Mapping[str, Any]]:
        """Build a saved model's modules and inputs; the weights are loaded by the caller.

        It is called twice: first on the meta device, for the shapes alone, which have to be those of the weights.

        Raises:
            ValueError: The description names other files, a hub, or code.
        """
        raise NotImplementedError

    # -- an export

    def write_preprocessing(self, assembly: Assembly, tower: str, folder: Path) -> None:
        """Write what a library reads beside a tower's weights: a tokenizer, an image processor."""
        one = assembly.built.inputs.get(tower)
        if one is not None:
            one.kind.write_preprocessing(one, folder)

    def export_form(self, assembly: Assembly, folder: Path) -> ExportForm:
        """Return the model as a module of arrays, and what a program without this package needs to use it.

        Args:
            assembly: A copy of the model on the CPU, in eval mode and without adapters; it may be changed.
            folder: Where files that the inputs need are written.

        Raises:
            ExportError: This kind cannot be exported.
        """
        del assembly, folder
        raise ExportError(
            f"Problems of the kind {self.info.name!r} cannot be exported: {type(self).__name__} has no export_form. "
            "Save the predictor instead, predictor.save(path)."
        )

    def with_outputs(self, assembly: Assembly, run: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Assembly:
        """Return an assembly whose outputs an exported model computes, to score it, where there is an `export_form`.

        Args:
            assembly: The predictor's.
            run: Maps arrays of a batch by `"<input>/<array>"`, as tensors, to the exported model's outputs, as tensors.
        """
        raise NotImplementedError


def _text(value: Any) -> str:
    return f"{value:.4g}" if pd.api.types.is_float(value) else str(value)
