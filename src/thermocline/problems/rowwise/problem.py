"""One label a row (classes, several at once, or a number) from columns of text, images, categories and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch

from thermocline.config import ResolvedConfig
from thermocline.contracts.baseline import Baseline
from thermocline.contracts.closing import Closing, Settled
from thermocline.contracts.exporting import ExportForm
from thermocline.contracts.inputs import BuiltInput, RowSource
from thermocline.contracts.labelled import Labelled, Reading
from thermocline.contracts.learning import Learning
from thermocline.contracts.problem import Assembly, Built, Problem
from thermocline.contracts.reporting import Redrawn, Results, Told
from thermocline.contracts.request import Request
from thermocline.contracts.showing import Answer, Explained, GradientOutput
from thermocline.contracts.starting import WHOLE, Earlier
from thermocline.data.batches import Rows
from thermocline.data.column_notes import cell_notes, id_notes
from thermocline.data.columns import Columns
from thermocline.errors import ConfigError
from thermocline.inputs.building import (
    build_inputs,
    check_inputs,
    continued_inputs,
    describe_inputs,
    rebuild_inputs,
    usable_rows,
)
from thermocline.inputs.image.reading import located
from thermocline.inputs.labelled_frames import (
    check_weight_column,
    feature_columns,
    read_rows,
    row_weights,
)
from thermocline.problems.rowwise import peft, tfidf, trees
from thermocline.problems.rowwise.answers import answers_of, explained_of, gradient_of, texts_of
from thermocline.problems.rowwise.collector import RowCollector, collector_of
from thermocline.problems.rowwise.constant import constant_baseline, labels_in_words
from thermocline.problems.rowwise.defaults import choose_defaults
from thermocline.problems.rowwise.export_form import row_form, with_outputs
from thermocline.problems.rowwise.folds import RowFolds
from thermocline.problems.rowwise.form_judge import LinearFormJudge
from thermocline.problems.rowwise.info import INFO
from thermocline.problems.rowwise.interval_frame import half_width, interval
from thermocline.problems.rowwise.losses import read_loss
from thermocline.problems.rowwise.mixing import of_both_labels, varying
from thermocline.problems.rowwise.model import FusionModel, layers_of
from thermocline.problems.rowwise.objective import by_row, row_losses
from thermocline.problems.rowwise.own_metrics import tried
from thermocline.problems.rowwise.probe import start_of
from thermocline.problems.rowwise.rare_class import warn_of_rare_class
from thermocline.problems.rowwise.redrawn import redrawn_of
from thermocline.problems.rowwise.reporting import row_report, scored_rows, told
from thermocline.problems.rowwise.same_images import warn_of_training_images
from thermocline.problems.rowwise.settle import settle
from thermocline.problems.rowwise.split import split_rows
from thermocline.problems.rowwise.starting import (
    check_some_taken,
    start_words,
    taken_from,
    transform_before,
    with_known_head,
)
from thermocline.problems.rowwise.state_judge import StateJudge
from thermocline.problems.rowwise.table_trees import TableTrees
from thermocline.problems.rowwise.target import RowTarget
from thermocline.problems.rowwise.target_options import with_options
from thermocline.problems.rowwise.target_scale import chosen_scale
from thermocline.problems.rowwise.tfidf_model import TfidfModel
from thermocline.registry.metrics import Metric
from thermocline.tuning.layers.layer_map import LayerMap

BESIDE: Mapping[str, Any] = {"trees": TableTrees, "tfidf": TfidfModel}
"""What may be fitted beside the network: the attribute of the model, and the module."""


class Rowwise(Problem):
    """`binary`, `multiclass`, `multilabel` and `regression`.

    Example:
        >>> from dataclasses import replace
        >>> from thermocline.problems.rowwise.problem import Rowwise
        >>> class Careful(Rowwise):
        ...     info = replace(Rowwise.info, name="careful")
        ...     def probabilities(self, outputs, target, index):
        ...         return super().probabilities(outputs, target, index).clip(0.01, 0.99)
        >>> careful = Predictor("verdict", "binary", problem=Careful(), verbosity=0)
        >>> careful = careful.fit(train[["price", "verdict"]], hyperparameters=tiny)
        >>> careful.predict_proba(test).to_numpy().max() <= 0.99
        np.True_
    """

    info = INFO
    takes_features = True
    of_its_types = ("find_target", "split", "learning", "collector", "predictions", "read_target")

    # -- data

    def check_request(self, request: Request, config: ResolvedConfig) -> None:
        """Check that weights are not the label, and that there is such a loss."""
        check_weight_column(request)
        if config.optim.loss is not None:
            read_loss(config.optim.loss, config.objects.get("optim.loss"))

    def read(self, data: object, reading: Reading) -> Labelled:
        """Read a frame; labels of training data are checked with it."""
        found = read_rows(data, reading)
        if reading.purpose != "train":
            return found
        target, _ = self._target_of(found, reading)  # a fault of the labels shows before images are decoded
        own = getattr(target, "metric", None)
        if own is not None:
            tried(target, own, target.encode(found.frame))
        warn_of_rare_class(target, found.frame)
        return replace(found, labels=target)

    def find_columns(self, found: Labelled, request: Request) -> Columns:
        """Return the columns of features."""
        return feature_columns(found, request)

    def check(self, columns: Columns, config: ResolvedConfig) -> None:
        """Check that every input's pretrained weights can be found, and that there is something to adapt."""
        check_inputs(columns, config)
        peft.check(columns, config)

    def keep_usable(self, found: Labelled, columns: Columns, reading: Reading) -> Labelled:
        """Find where images lie, and leave out rows with cells that no input can read."""
        found = located(found, columns.of("image"), reading)
        source = RowSource(found.frame, found.folder)
        rows, notes = usable_rows(source, columns, reading.config, what=reading.what)
        notes += [f"{reading.what}, {note}" for note in cell_notes(found.frame, columns).values()]
        kept = found if rows is None else self.take(found, rows)
        if reading.purpose == "train":
            target, said = self._target_of(kept, reading, columns)
            notes += [*id_notes(found.frame, columns), *said]
            kept = replace(kept, labels=target)
        return replace(kept, notes=(*found.notes, *notes))

    def find_target(self, found: Labelled, request: Request) -> RowTarget:
        """Return problem type, classes and scale of the labels."""
        if isinstance(found.labels, RowTarget):
            return found.labels
        asked = request.problem_type, request.eval_metric, request.positive_class
        assert request.label is not None  # `ProblemInfo.label_optional`
        return RowTarget.of(found.frame, request.label, *asked)

    def _target_of(
        self, found: Labelled, reading: Reading, columns: Columns | None = None
    ) -> tuple[RowTarget, tuple[str, ...]]:
        """Return the target of training data, that of a regression on its scale; and a note where this was chosen."""
        target, scale = self.find_target(found, reading.request), reading.config.data.target_transform
        if isinstance(target, RowTarget) and target.problem_type in INFO.problem_types:
            target = with_options(target, found.frame, reading.request, reading.config)
        if target.problem_type != "regression" or scale == "none":
            return target, ()
        transform = transform_before(reading.request.earlier, target, scale)
        if transform is not None:
            return target.on_transform(transform, found.frame), ()
        if scale != "auto":
            return target.on_scale(scale, found.frame), ()
        if columns is None:
            return target, ()
        return chosen_scale(target, found.frame, columns, reading.request.seed)

    def check_labels(self, found: Labelled, target: RowTarget, *, what: str) -> None:
        """Check that there are no labels that training did not see."""
        target.encode(found.frame, what=what)

    def check_apart(self, train: Labelled, valid: Labelled, target: RowTarget, columns: Columns) -> None:
        """Warn of tuning data whose images all are those of training data, with other labels."""
        warn_of_training_images(train, valid, target, columns.of("image"))

    def split(
        self, found: Labelled, target: RowTarget, fraction: float | None, *, seed: int
    ) -> tuple[np.ndarray, np.ndarray, str]:
        """Split, classes kept in proportion."""
        return split_rows(target, target.encode(found.frame), fraction, seed=seed)

    def take(self, found: Labelled, rows: np.ndarray) -> Labelled:
        """Return some of the rows."""
        return replace(found, frame=found.frame.iloc[rows], labels=None)

    # -- model

    def build(
        self, train: Labelled, columns: Columns, target: RowTarget, config: ResolvedConfig, *, seed: int
    ) -> Built:
        """Build a tower for each kind of input, and a head over their features."""
        return self._built(build_inputs(_source(train, target, seed), columns, config), target, len(train))

    def build_from(
        self,
        earlier: Earlier,
        train: Labelled,
        columns: Columns,
        target: RowTarget,
        config: ResolvedConfig,
        *,
        seed: int,
    ) -> Built:
        """Build the model with the towers of an earlier one that fit the columns, and its head where that fits too."""
        before: Assembly = earlier.assembly
        source = _source(train, target, seed)
        inputs, anew = continued_inputs(before.built.inputs, before.config, source, columns, config)
        check_some_taken(earlier, inputs, anew)
        built = self._built(inputs, target, len(train), before.layer_map)
        started, notes = taken_from(earlier, cast(FusionModel, built.model), target, anew)
        layer_map = built.layer_map if started.head != WHOLE else with_known_head(built.layer_map)
        return replace(built, layer_map=layer_map, started=started, notes=(*notes, *built.notes))

    def _built(self, inputs: list[BuiltInput], target: RowTarget, rows: int, before: LayerMap | None = None) -> Built:
        """Return the model over inputs, with what is chosen by it.

        Args:
            inputs: Each has the configuration.
            target: What the label asks for.
            rows: Training rows.
            before: The layers of the model that inputs with adapters come from.
        """
        config = inputs[-1].config
        model = self.model(inputs, target, config)
        adapted = peft.adapt(model, config, before)  # last: the other random weights are as without adapters
        config = choose_defaults(config, model, target, rows)
        layer_map = layers_of(model, inputs, adapted)
        notes = tuple(f"{name}: {line}" for name, tower in model.towers.items() for line in tower.notes)
        built = Built(model, {one.kind.info.name: one for one in inputs}, layer_map, config, notes)
        return replace(built, notes=notes + tuple(line for line, _ in _beside(built, target, rows) if line))

    def model(self, inputs: list[BuiltInput], target: RowTarget, config: ResolvedConfig) -> FusionModel:
        """Return the model over the inputs' towers."""
        towers = {one.kind.info.name: one.tower for one in inputs}
        fusion = config.model.fusion
        return FusionModel(towers, target.width, width=fusion.width, dropout=fusion.dropout)

    def rows(
        self, found: Labelled, assembly: Assembly, *, labelled: bool, training: bool = False, seed: int = 0
    ) -> Rows:
        """Turn a frame into rows, with encoded labels and weights where it is labelled."""
        source = RowSource(found.frame, found.folder, training=training, seed=seed)
        inputs, weight = assembly.built.inputs, None
        rows = Rows({name: one.with_config(assembly.config).rows(source) for name, one in inputs.items()})
        if not labelled:
            return rows
        if assembly.weight is not None and assembly.weight in found.frame.columns:
            weight = row_weights(found.frame, assembly.weight, "data").astype(np.float32)
        encoded = assembly.target.encode(found.frame)
        return replace(rows, target=encoded, weight=weight, balance=balance_of(assembly.target, encoded))

    def learning(self, assembly: Assembly, train: Rows, *, seed: int) -> Learning:
        """Return the loss by problem type, and the probe where the head starts from it."""
        target, optim = assembly.target, assembly.config.optim
        assembly.model.apart = True
        started = assembly.built.started
        words: dict[str, Any] = {} if started is None or not started.has_head else start_words(started)
        given = None if optim.threshold == "auto" else optim.threshold
        judged = target if target.problem_type != "binary" else replace(target, threshold=given)
        return Learning(
            of_both_labels(by_row(target.learnt, smoothing=optim.label_smoothing, label_weights=target.label_weights)),
            varying=varying(optim),
            start=start_of(assembly, train, seed=seed),
            judge=StateJudge(judged, calibrated=optim.calibrate == "auto"),
            end_share=Learning.end_share + sum(share for _, share in _beside(assembly.built, target, len(train))),
            **words,
        )

    def frozen_selectors(self, layer_map: LayerMap, config: ResolvedConfig, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the user's selectors; under `model.peft` the layers that host adapters are frozen."""
        return dict(own) if config.model.peft is None else peft.with_frozen_hosts(layer_map, own)

    # -- results

    def collector(
        self, assembly: Assembly, rows: Rows, found: Labelled, *, scoring: bool, **options: Any
    ) -> RowCollector:
        """Return what collects raw outputs."""
        del found, options
        return collector_of(assembly.model, assembly.target, rows, assembly.config, scoring=scoring)

    def settled(self, assembly: Assembly, closing: Closing) -> Settled:
        """Return the target with temperature and threshold; see `settle`."""
        return settle(assembly, closing)

    def baseline(self, assembly: Assembly, rows: Mapping[str, Rows]) -> Baseline | None:
        """Return the score of the majority class, or of the mean."""
        target = assembly.target
        if not isinstance(target, RowTarget) or target.problem_type not in INFO.problem_types:
            return None  # of a kind that derives from this one
        return constant_baseline(target, rows["train"], rows["valid"])

    def describe_labels(self, found: Labelled, target: RowTarget) -> str:
        """Return the classes with their shares, or the range of the numbers."""
        known = isinstance(target, RowTarget) and target.problem_type in INFO.problem_types
        return labels_in_words(found.frame, target) if known else ""

    def row_losses(self, outputs: np.ndarray, target: RowTarget, rows: Rows) -> np.ndarray | None:
        """Return log-losses with the temperature; of numbers the loss, on the scale that is learnt."""
        if target.problem_type not in INFO.default_metric:  # of a kind that derives from this one
            return None
        assert rows.target is not None
        given = torch.from_numpy(outputs / target.temperature)
        loss = target.learnt if target.problem_type == "regression" else target.loss_name
        weights: dict[str, Any] = {"label_weights": target.label_weights}
        losses = row_losses(loss, given, torch.from_numpy(rows.target), **weights).double().numpy()
        weight = rows.fit_weight
        return losses if weight is None else losses * weight / max(float(weight.mean()), 1e-30)

    def tell(self, assembly: Assembly, results: Results, metrics: Sequence[str | Metric]) -> Told:
        """Return tables and pictures of classes, labels or numbers, and the best constant answer as a baseline."""
        if self.info is not INFO:  # a kind that derives from this one may have others
            return super().tell(assembly, results, metrics)
        return told(assembly.target, results, metrics)

    def redrawn(self, assembly: Assembly, results: Results, metrics: Sequence[str | Metric]) -> Redrawn | None:
        """Return how drawn rows are scored."""
        if self.info is not INFO:
            return super().redrawn(assembly, results, metrics)
        return redrawn_of(scored_rows(assembly.target, results), metrics)

    def row_report(self, assembly: Assembly, results: Results) -> pd.DataFrame:
        """Return prediction, probability or residual, and loss of each row."""
        if self.info is not INFO:
            return super().row_report(assembly, results)
        return row_report(assembly.target, results)

    def predictions(
        self, outputs: np.ndarray, target: RowTarget, index: pd.Index[Any]
    ) -> pd.Series[Any] | pd.DataFrame:
        """Return classes, 0 and 1 per label, or numbers in the label's units."""
        return target.decode(outputs, index)

    def probabilities(self, outputs: np.ndarray, target: RowTarget, index: pd.Index[Any]) -> pd.DataFrame:
        """Return probabilities, a column per class or label."""
        return target.proba(outputs, index)

    def check_probabilities(self, target: RowTarget) -> None:
        """Check that there are probabilities.

        Raises:
            ConfigError: The target is a number.
        """
        own = type(self).probabilities is not Rowwise.probabilities
        if target.problem_type not in INFO.problem_types and not own:  # of a kind that derives from this one
            super().check_probabilities(target)
        if target.problem_type == "regression":
            raise ConfigError(f"{target.labels[0]!r} is a regression target: there are no probabilities. Use predict.")

    def check_interval(self, target: RowTarget, coverage: float) -> None:
        """Check that intervals of this coverage can be made."""
        half_width(target, coverage)

    def interval(self, outputs: np.ndarray, target: RowTarget, coverage: float, index: pd.Index[Any]) -> pd.DataFrame:
        """Return predictions with the numbers around them that hold a share of new rows."""
        return interval(outputs, target, coverage, index)

    def features(self, assembly: Assembly) -> Callable[[Any], torch.Tensor]:
        """Return what the head sees; of an ensemble's members the mean."""
        features: Callable[[Any], torch.Tensor] = assembly.model.row_features
        return features

    def check_probes(self) -> None:
        """Check that the loss and the metrics are those of this kind: one that derives from it may have others."""
        if self.info is not INFO:
            super().check_probes()

    def folds(self, assembly: Assembly, train: Rows, *, seed: int) -> RowFolds:
        """Return the folds of the training rows."""
        return RowFolds.of(assembly.target, train, seed)

    # -- for a person to look at

    def label_texts(self, found: Labelled, assembly: Assembly) -> list[str]:
        """Return classes, the labels that a row has, or numbers."""
        target = assembly.target
        if target.problem_type not in INFO.default_metric:  # of a kind that derives from this one
            return super().label_texts(found, assembly)
        return texts_of(found.frame[target.label if isinstance(target.label, str) else list(target.label)], target)

    def answers(self, outputs: Any, found: Labelled, assembly: Assembly, *, labelled: bool) -> list[Answer]:
        """Return predictions with their probabilities, or how far off they are, beside labels."""
        if assembly.target.problem_type not in INFO.default_metric:
            return super().answers(outputs, found, assembly, labelled=labelled)
        return answers_of(outputs, found.frame, assembly.target, labelled=labelled)

    def check_attribution(self, target: RowTarget) -> None:
        """Check that outputs are those of this kind: one that derives from it may have others."""
        if target.problem_type not in INFO.default_metric:
            super().check_attribution(target)

    def explained(self, outputs: Any, target: RowTarget, of: Any) -> Explained:
        """Return the probability of a class or label, or the number."""
        return explained_of(outputs, target, of)

    def gradient_output(self, assembly: Assembly, outputs: Any, of: Any) -> GradientOutput:
        """Return the same of the network alone."""
        return gradient_of(assembly, outputs, of)

    # -- a saved predictor

    def describe(self, assembly: Assembly, folder: Path) -> dict[str, Any]:
        """Return the descriptions of the inputs by tower, and of what was fitted beside the network."""
        described = describe_inputs(assembly.built.inputs.values(), folder)
        beside = {name: getattr(assembly.model, name) for name in BESIDE}
        return described | {name: one.describe() for name, one in beside.items() if one is not None}

    def read_target(self, described: Mapping[str, Any]) -> RowTarget:
        """Return the target that was described."""
        return RowTarget.from_dict(described)

    def rebuild(
        self,
        described: Mapping[str, Any],
        folder: Path,
        target: RowTarget,
        config: ResolvedConfig,
        *,
        trust_remote_code: bool,
    ) -> tuple[FusionModel, Mapping[str, BuiltInput]]:
        """Build a saved model's towers and head, and what was fitted beside them."""
        inputs = rebuild_inputs(described, folder, config, trust_remote_code=trust_remote_code)
        model = self.model(inputs, target, config)
        for name in BESIDE.keys() & described.keys():
            setattr(model, name, BESIDE[name].rebuilt(described[name]))
        return model, {one.kind.info.name: one for one in inputs}

    # -- an export

    def export_form(self, assembly: Assembly, folder: Path) -> ExportForm:
        """Return the model with what turns its outputs into probabilities, or numbers in the label's units."""
        if self.info is not INFO:  # a kind that derives from this one may have others
            return super().export_form(assembly, folder)
        return row_form(assembly, folder)

    def with_outputs(self, assembly: Assembly, run: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Assembly:
        """Return an assembly whose raw outputs an exported model computes."""
        return with_outputs(assembly, run)


def balance_of(target: Any, encoded: np.ndarray) -> np.ndarray | None:
    """Return what rows count by their class; None with the target of a kind that derives from this one."""
    return target.balance(encoded) if isinstance(target, RowTarget) else None


def _source(train: Labelled, target: RowTarget, seed: int) -> RowSource:
    """Return training rows as inputs are built from them."""
    judge = LinearFormJudge(target, train.frame, seed)
    return RowSource(train.frame, train.folder, training=True, seed=seed, judge=judge)


def _beside(built: Built, target: RowTarget, rows: int) -> list[tuple[str, float]]:
    """Return, for each model beside the network, a line on it and the share of a time limit that is kept for it."""
    asked = built.config.model
    found = []
    for kind, option in ((trees, asked.trees), (tfidf, asked.tfidf)):
        wanted, line = kind.announced(built.model, target, option, rows)
        found.append((line, kind.END_SHARE * wanted))
    return found
