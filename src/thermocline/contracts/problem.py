"""What a kind of problem offers: how labels are read, what is learnt, and how outputs become predictions.

A kind is one folder under `problems/`, or a class of the caller's own. It derives from `Problem`, which has defaults
for what most kinds share. A `Problem` is stateless: what is learnt from data is in the target, in what was built, and
in the model's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from torch import nn

from thermocline.config import ResolvedConfig
from thermocline.contracts.request import Request
from thermocline.data.batches import Rows
from thermocline.data.columns import Columns
from thermocline.errors import ConfigError
from thermocline.registry import ProblemInfo
from thermocline.tuning.layers.layer_map import LayerMap

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Labelled:
    """A frame and its labels as one kind of problem reads them.

    Attributes:
        frame: The rows.
        folder: Where relative paths start.
        labels: Labels that were read apart from the frame's columns (boxes), or None.
        notes: What a user should know of the reading.
    """

    frame: pd.DataFrame
    folder: Path | None = None
    labels: Any = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frame)


class Target(Protocol):
    """What the label asks for, learnt from the training rows. A frozen dataclass."""

    @property
    def problem_type(self) -> str:
        """The problem type, such as `binary`."""

    @property
    def label(self) -> str | tuple[str, ...]:
        """The label column, or several."""

    @property
    def labels(self) -> tuple[str, ...]:
        """All label columns: what is no feature."""

    @property
    def eval_metric(self) -> str:
        """The canonical name of the metric that validation uses."""

    @property
    def reason(self) -> str:
        """Why this problem type, and what is notable about the labels."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `Problem.read_target` is the inverse."""


@dataclass(frozen=True)
class Built:
    """A model with what turns frames into its rows.

    Attributes:
        model: The model; its towers are in `model.towers`, an `nn.ModuleDict`.
        inputs: Tower → the input that was built for it (`contracts.inputs.BuiltInput`, or what the kind has).
        layer_map: Its layers.
        config: The configuration, with what building chose.
        notes: What a user should know.
    """

    model: nn.Module
    inputs: Mapping[str, Any]
    layer_map: LayerMap
    config: ResolvedConfig
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Objective:
    """What training minimises. The loss of a step is the sum over its micro-batches, divided by their total weight.

    Attributes:
        total: (model outputs, batch) → sum of the losses in the batch, each times its weight.
        weight: batch → the sum of these weights.
        whole_batch: Whether rows of a batch are compared with each other, so that micro-batches would change the loss.
    """

    total: Callable[[Any, Mapping[str, Any]], torch.Tensor]
    weight: Callable[[Mapping[str, Any]], float]
    whole_batch: bool = False


class Start(Protocol):
    """A start of the head that is computed from features of the training rows, before the first step."""

    name: str
    """What the head starts at, such as `the probe`."""

    features: Callable[[Any], torch.Tensor]
    """batch → features float `(rows, width)`; what the pass over the training rows computes."""

    def apply(self, features: np.ndarray, reached: np.ndarray) -> str:
        """Fit it to the rows that were reached, write it into the model, and return a note, empty where none was done.

        Args:
            features: float32 `(rows, width)`.
            reached: Which rows have features, bool `(rows,)`: a time limit may leave some out.
        """


class Collector(Protocol):
    """Collects what passes over rows give, batch by batch, and scores it."""

    def compute(self, batch: Mapping[str, Any]) -> Any:
        """Return what to collect of a batch; runs the model."""

    def add(self, positions: np.ndarray, values: Any) -> None:
        """Keep what a batch gave.

        Args:
            positions: The batch's row positions, int64 `(batch,)`.
            values: What `compute` returned.
        """

    def outputs(self) -> Any:
        """Return all that was collected, in the order of the rows."""

    def scores(self, metrics: Sequence[str]) -> dict[str, float]:
        """Return each metric by the name asked for, over the rows that were reached; NaN where it is not defined.

        Only where there are labels.
        """

    def fallback_loss(self) -> float | None:
        """Return the loss over the rows reached, which decides where the metric is not defined, or None."""


@dataclass(frozen=True)
class Learning:
    """How a model is trained.

    Attributes:
        objective: The loss.
        start: Computes a start of the head from features, or None.
        start_note: What step 0 of the history says where there is no start.
        also_score: Metrics that the history shows beside the one that decides.
    """

    objective: Objective
    start: Start | None = None
    start_note: str = "the head starts at random"
    also_score: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fitted:
    """What a kind needs of a model to train or use it; `pipeline.assembly.Assembly` adds the plan.

    Attributes:
        target: What the label asks for.
        columns: The columns.
        built: Model, inputs, layers, configuration.
        weight: The column of row weights, or None.
    """

    target: Any
    columns: Columns
    built: Built
    weight: str | None = None

    @property
    def model(self) -> Any:
        """The model."""
        return self.built.model

    @property
    def config(self) -> ResolvedConfig:
        """The configuration."""
        return self.built.config


@dataclass(frozen=True)
class Reading:
    """Which data are read, and what they have to hold.

    Attributes:
        what: The name of the data in messages: `train_data`, `tuning_data`, `data`.
        request: Label, weight, column types as they were given.
        config: The configuration.
        columns: The columns that have to be there; None for training data, which decide them.
        labelled: Whether labels have to be there.
    """

    what: str
    request: Request
    config: ResolvedConfig
    columns: Columns | None = None
    labelled: bool = True


class Problem:
    """A kind of problem. Methods are in the order in which a fit calls them.

    Class attributes:
        info: The light record of this kind.
    """

    info: ProblemInfo

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
            DataError: There is nothing to learn from.
        """
        raise NotImplementedError

    def check(self, columns: Columns, config: ResolvedConfig) -> None:
        """Check what columns and options show together; nothing is loaded.

        Raises:
            CheckpointError: Pretrained weights that cannot be found.
        """
        raise NotImplementedError

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

    def split(
        self, found: Labelled, target: Any, fraction: float | None, *, seed: int
    ) -> tuple[np.ndarray, np.ndarray, str]:
        """Return sorted training positions, sorted validation positions, and why the share was chosen.

        Args:
            found: All rows.
            target: What the label asks for.
            fraction: Share for validation, or None to choose one.
            seed: The run's seed.
        """
        raise NotImplementedError

    def take(self, found: Labelled, rows: np.ndarray) -> Labelled:
        """Return some of the rows, with their labels."""
        assert found.labels is None
        return Labelled(found.frame.iloc[rows], found.folder, None, found.notes)

    def describe_split(self, train: Labelled, valid: Labelled, reason: str) -> str:
        """Return the note that says how many rows train and how many validate."""
        return f"{len(train)} rows train, {len(valid)} validate ({reason})"

    # -- model

    def build(self, train: Labelled, columns: Columns, target: Any, config: ResolvedConfig, *, seed: int) -> Built:
        """Build the model and choose what the configuration leaves open about training; no plan.

        Random weights are drawn from torch's generator, which the caller seeds and puts back.

        Raises:
            CheckpointError: Pretrained weights cannot be loaded.
            ConfigError: An option that does not fit the model.
        """
        raise NotImplementedError

    def rows(self, found: Labelled, fitted: Fitted, *, training: bool = False, seed: int = 0) -> Rows:
        """Turn a frame into rows, with encoded labels and weights where they are known.

        Args:
            found: The frame; without labels at prediction.
            fitted: The model.
            training: Whether rows are augmented.
            seed: The run's seed.
        """
        raise NotImplementedError

    def learning(self, fitted: Fitted, train: Rows, *, seed: int) -> Learning:
        """Return loss and start of a run."""
        raise NotImplementedError

    def frozen_selectors(self, layer_map: LayerMap, config: ResolvedConfig, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return tower → selector of layers that never train, given the user's own; adapters add their hosts."""
        del layer_map, config
        return dict(own)

    # -- results

    def collector(self, fitted: Fitted, rows: Rows, found: Labelled | None, *, scoring: bool) -> Collector:
        """Return what collects outputs of a pass over rows.

        Args:
            fitted: The model.
            rows: The rows that are passed over.
            found: Their frame and labels.
            scoring: Whether scores follow; else predictions.
        """
        raise NotImplementedError

    def predictions(self, outputs: Any, target: Any, index: pd.Index[Any]) -> pd.Series[Any] | pd.DataFrame:
        """Return predictions on an index, in the label's dtype.

        Args:
            outputs: `Collector.outputs()`.
            target: What the label asks for.
            index: The frame's index.
        """
        raise NotImplementedError

    def probabilities(self, outputs: Any, target: Any, index: pd.Index[Any]) -> pd.DataFrame:
        """Return probabilities, a column per class.

        Raises:
            ConfigError: This kind has none.
        """
        del outputs, index
        raise ConfigError(f"{target.problem_type} has no probabilities of a row. Use predict.")

    def features(self, fitted: Fitted) -> Callable[[Any], torch.Tensor]:
        """Return what computes features float `(rows, width)` of a batch, for `embed`.

        Raises:
            ConfigError: This kind has no features of a whole row.
        """
        raise ConfigError(f"{fitted.target.problem_type} has no features of a row to embed.")

    def check_metric(self, name: str, target: Any) -> str:
        """Return the canonical name of a metric that `evaluate` was asked for.

        Raises:
            ConfigError: There is no such metric, or it does not fit the problem type.
        """
        from thermocline.registry import find_metric

        return find_metric(self.info, name, target.problem_type).name

    def picture(self, predictions: Any, found: Labelled, fitted: Fitted, **options: Any) -> Figure:
        """Draw predictions on their rows.

        Raises:
            ConfigError: This kind draws nothing.
        """
        del predictions, found, options
        raise ConfigError(f"show is not for {fitted.target.problem_type} problems. Use predict.")

    # -- a saved predictor

    def describe(self, fitted: Fitted, folder: Path) -> dict[str, Any]:
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

        Raises:
            ValueError: The description names other files, a hub, or code.
        """
        raise NotImplementedError
