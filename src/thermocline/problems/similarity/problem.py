"""Matching and search: pairs of texts, of images, or one of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from thermocline.config import ResolvedConfig
from thermocline.contracts.closing import Closing, Settled
from thermocline.contracts.inputs import BuiltInput, RowSource
from thermocline.contracts.labelled import Labelled, Reading
from thermocline.contracts.learning import Learning
from thermocline.contracts.problem import Assembly, Built, Problem
from thermocline.contracts.reporting import Results
from thermocline.contracts.request import Request
from thermocline.contracts.showing import Answer
from thermocline.contracts.starting import WHOLE, Earlier
from thermocline.data.batches import Rows
from thermocline.data.columns import Columns
from thermocline.errors import ConfigError, DataError
from thermocline.inputs.building import (
    build_inputs,
    check_inputs,
    continued_inputs,
    describe_inputs,
    rebuild_inputs,
    usable_rows,
)
from thermocline.inputs.image.reading import located
from thermocline.inputs.labelled_frames import check_weight_column, read_rows, row_weights
from thermocline.problems.rowwise import peft
from thermocline.problems.rowwise.starting import check_some_taken
from thermocline.problems.similarity.answers import answers_of, pair_report, shown_pairs
from thermocline.problems.similarity.collector import PairCollector
from thermocline.problems.similarity.defaults import choose_defaults
from thermocline.problems.similarity.info import BINARY, INFO, USUAL_METRICS
from thermocline.problems.similarity.labels import metric_for, target_of, values_of
from thermocline.problems.similarity.losses import read_loss
from thermocline.problems.similarity.model import SimilarityModel, layers_of
from thermocline.problems.similarity.options import SimilarityOptions
from thermocline.problems.similarity.pairs import asked_roles, check_sides, contents, guess_note, pair_columns
from thermocline.problems.similarity.settle import settle
from thermocline.problems.similarity.showing import ShownPairs
from thermocline.problems.similarity.split import split_pairs
from thermocline.problems.similarity.start import CorrelatedStart
from thermocline.problems.similarity.starting import head_from, with_known_head
from thermocline.problems.similarity.target import ORDER, PairTarget, cosines_of
from thermocline.registry.metrics import Metric
from thermocline.tuning.layers.layer_map import LayerMap

PAIR = "model.text.pair"
MOST_SHOWN = 24  # pairs at once


class Similarity(Problem):
    """`similarity`: which pairs match, how much, and which of many responses match a query.

    Example:
        >>> scores = matcher.predict(pairs)
        >>> scores.name, scores.dtype
        ('grade', dtype('float64'))
        >>> matcher.embed(["a red chair"], side="query").shape
        (1, 32)
    """

    info = INFO
    takes_features = True

    # -- data

    def check_request(self, request: Request, config: ResolvedConfig) -> None:
        """Check that weights are not the label, that there is such a loss, and that each text is read alone."""
        check_weight_column(request)
        if config.objects.get("optim.loss") is not None:
            raise ConfigError("optim.loss is a name for pairs, such as 'cosent:20', and no function. Name one.")
        if config.optim.loss is not None:
            read_loss(config.optim.loss)
        if config.model.text.pair not in ("auto", "each"):
            raise ConfigError(
                f"{PAIR}={config.model.text.pair!r} reads two texts together, and each side of a pair has an embedding "
                "of its own. Leave it out; problem_type='regression' or 'binary' reads them together."
            )

    def read(self, data: object, reading: Reading) -> Labelled:
        """Read a frame; a column of responses that do not match is needed in training data alone."""
        if reading.columns is not None:
            reading = replace(reading, columns=_compared(reading.columns, asked_roles(reading.request, reading.config)))
        found = read_rows(data, reading)
        if reading.columns is not None and not reading.for_fit:
            check_sides(found.frame, reading.columns.used, what=reading.what)
        if reading.purpose == "train":
            columns, roles = pair_columns(found, reading.request, asked_roles(reading.request, reading.config))
            check_sides(found.frame, list(roles.values()), what=reading.what)
            kinds = {columns[name].kind for name in roles.values()}
            asked = found.frame, reading.request, reading.config, roles
            target = target_of(*asked, mixed=len(kinds) > 1)
            found = replace(found, labels=target, notes=(*found.notes, *guess_note(reading.request, roles)))
        return found

    def find_columns(self, found: Labelled, request: Request) -> Columns:
        """Return the columns: the sides in order, then others, which are not used."""
        target: PairTarget = found.labels
        return pair_columns(found, request, target.roles)[0]

    def check(self, columns: Columns, config: ResolvedConfig) -> None:
        """Check that every input's pretrained weights can be found, and that there is something to adapt."""
        check_inputs(columns, config)
        peft.check(columns, config)

    def keep_usable(self, found: Labelled, columns: Columns, reading: Reading) -> Labelled:
        """Find where images lie, and leave out rows with images that cannot be read."""
        found = located(found, columns.of("image"), reading)
        if reading.purpose == "validate":
            columns = _compared(columns, asked_roles(reading.request, reading.config))
            check_sides(found.frame, columns.used, what=reading.what)
        source = RowSource(found.frame, found.folder)
        rows, notes = usable_rows(source, columns, reading.config, what=reading.what)
        kept = found if rows is None else replace(self.take(found, rows), labels=found.labels)
        return replace(kept, notes=(*found.notes, *notes))

    def find_target(self, found: Labelled, request: Request) -> PairTarget:
        """Return what the labels say of pairs."""
        del request
        target: PairTarget = found.labels
        return target

    def check_labels(self, found: Labelled, target: PairTarget, *, what: str) -> None:
        """Check that labels are numbers, or classes that training had."""
        values_of(found.frame, target, what=what)

    def split(
        self, found: Labelled, target: PairTarget, fraction: float | None, *, seed: int
    ) -> tuple[np.ndarray, np.ndarray, str]:
        """Split such that pairs with the same query or response stay together, classes in proportion."""
        return split_pairs(found.frame, target, values_of(found.frame, target), fraction, seed=seed)

    def take(self, found: Labelled, rows: np.ndarray) -> Labelled:
        """Return some of the rows."""
        return replace(found, frame=found.frame.iloc[rows], labels=None)

    # -- model

    def build(
        self, train: Labelled, columns: Columns, target: PairTarget, config: ResolvedConfig, *, seed: int
    ) -> Built:
        """Build a tower, or one for texts and one for images, and projections."""
        source = RowSource(train.frame, train.folder, training=True, seed=seed)
        inputs = build_inputs(source, columns, _read_alone(columns, config))
        return self._built(inputs, columns, target, len(train))

    def build_from(
        self,
        earlier: Earlier,
        train: Labelled,
        columns: Columns,
        target: PairTarget,
        config: ResolvedConfig,
        *,
        seed: int,
    ) -> Built:
        """Build the model with the towers and projections of an earlier one that fit."""
        before: Assembly = earlier.assembly
        source = RowSource(train.frame, train.folder, training=True, seed=seed)
        config = _read_alone(columns, config)
        inputs, anew = continued_inputs(before.built.inputs, before.config, source, columns, config)
        check_some_taken(earlier, inputs, anew)
        built = self._built(inputs, columns, target, len(train), before.layer_map)
        started, notes = head_from(earlier, built.model, anew)
        layer_map = built.layer_map if started.head != WHOLE else with_known_head(built.layer_map)
        return replace(built, layer_map=layer_map, started=started, notes=(*notes, *built.notes))

    def _built(
        self,
        inputs: list[BuiltInput],
        columns: Columns,
        target: PairTarget,
        rows: int,
        before: LayerMap | None = None,
    ) -> Built:
        config = inputs[-1].config
        model = self.model(inputs, target, columns, config)
        adapted = peft.adapt(model, config, before)  # type: ignore[arg-type]
        config = choose_defaults(config, model, target, rows)
        notes = tuple(f"{name}: {line}" for name, tower in model.towers.items() for line in tower.notes)
        named = {one.kind.info.name: one for one in inputs}
        return Built(model, named, layers_of(model, inputs, adapted), config, notes)

    def model(
        self, inputs: list[BuiltInput], target: PairTarget, columns: Columns, config: ResolvedConfig
    ) -> SimilarityModel:
        """Return the model over the inputs' towers, that of the query first."""
        kinds = [columns[name].kind for name in target.sides]
        towers = {one.kind.info.name: one.tower for one in inputs}
        ordered = {name: towers[name] for name in dict.fromkeys(kinds)}
        width = config.section("model.similarity", SimilarityOptions).width
        return SimilarityModel(ordered, {name: kinds.count(name) for name in ordered}, width=width)  # type: ignore[arg-type]

    def rows(
        self, found: Labelled, assembly: Assembly, *, labelled: bool, training: bool = False, seed: int = 0
    ) -> Rows:
        """Turn pairs into rows, with how much they match and which contents are the same where they are labelled."""
        source = RowSource(found.frame, found.folder, training=training, seed=seed)
        inputs, target, weight = assembly.built.inputs, assembly.target, None
        names = [one for one in target.sides if training or one != target.roles.get("negative")]
        if not training and "negative" in target.roles:
            inputs = {name: one.restricted(names) for name, one in inputs.items()}
        rows = Rows({name: one.with_config(assembly.config).rows(source) for name, one in inputs.items()})
        if not labelled:
            return rows
        if assembly.weight is not None and assembly.weight in found.frame.columns:
            weight = row_weights(found.frame, assembly.weight, "data").astype(np.float32)
        value = values_of(found.frame, target)
        encoded = np.column_stack([value, contents(found.frame, names, assembly.columns)])
        return replace(rows, target=encoded, weight=weight)

    def learning(self, assembly: Assembly, train: Rows, *, seed: int) -> Learning:
        """Return the loss, and for texts and images a start of their projections."""
        model, started = assembly.model, assembly.built.started
        objective = read_loss(assembly.target.loss).objective()
        if started is not None and started.has_head:
            where = f"{started.where!r}"
            return Learning(
                objective, start_note=f"the embeddings are those of {where}", untrained=f"the state that {where} gave"
            )
        if len(model.towers) > 1:
            start = CorrelatedStart(model, train, seed=seed)
            return Learning(objective, start=start if len(start.rows) else None)
        note = "embeddings are the features of the backbone as they are"
        return Learning(objective, start_note=note, untrained="the untrained embeddings")

    def frozen_selectors(self, layer_map: LayerMap, config: ResolvedConfig, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the user's selectors; under `model.peft` the layers that host adapters are frozen."""
        return dict(own) if config.model.peft is None else peft.with_frozen_hosts(layer_map, own)

    # -- results

    def collector(
        self, assembly: Assembly, rows: Rows, found: Labelled, *, scoring: bool, **options: Any
    ) -> PairCollector:
        """Return what collects embeddings; for predictions cosines."""
        del found, options
        return PairCollector(assembly.model, assembly.target, rows, scoring=scoring)

    def settled(self, assembly: Assembly, closing: Closing) -> Settled:
        """Return the target with what cosines mean; see `settle`."""
        return settle(assembly, closing)

    def usual_metrics(self, target: PairTarget) -> tuple[str, ...]:
        """Return the metrics of what the label says."""
        return USUAL_METRICS[target.form]

    def check_metric(self, asked: str | Metric, target: PairTarget) -> str:
        """Return the canonical name of a metric that fits what the label says."""
        return metric_for(asked, target)

    def describe_labels(self, found: Labelled, target: PairTarget) -> str:
        """Return what labels say of pairs."""
        del found
        return f"{target.reason}; loss {target.loss}"

    def predictions(self, outputs: np.ndarray, target: PairTarget, index: pd.Index[Any]) -> pd.Series[Any]:
        """Return grades in the label's units, classes, or cosines."""
        return target.decode(cosines_of(outputs), index)

    def check_probabilities(self, target: PairTarget) -> None:
        """Check that there are two classes.

        Raises:
            ConfigError: There are none.
        """
        if target.form != BINARY:
            raise ConfigError(
                "There are no classes of pairs here, so there are no probabilities. Use predict, which gives scores."
            )

    def probabilities(self, outputs: np.ndarray, target: PairTarget, index: pd.Index[Any]) -> pd.DataFrame:
        """Return probabilities of the two classes."""
        return target.proba(cosines_of(outputs), index)

    def features(self, assembly: Assembly) -> Callable[[Any], torch.Tensor]:
        """Return the model: its embeddings are what is compared."""
        model: Callable[[Any], torch.Tensor] = assembly.model
        return model

    def features_width(self, assembly: Assembly) -> int:
        """Return how many numbers the embeddings of the sides have that are read."""
        return int(assembly.model.width) * len(assembly.columns.used)

    def sides(self, target: PairTarget) -> Mapping[str, str]:
        """Return side → column: `query`, `response`, and `negative` where there are triplets."""
        return {name: target.roles[name] for name in ORDER if name in target.roles}

    def restricted(self, assembly: Assembly, side: str) -> Assembly:
        """Return an assembly that reads the column of one side alone."""
        column = assembly.columns[assembly.target.roles[side]]
        inputs = {
            name: one.restricted([column.name])
            for name, one in assembly.built.inputs.items()
            if column.kind in one.kind.info.column_types
        }
        built = replace(assembly.built, inputs=inputs)
        return replace(assembly, columns=Columns((column,)), built=built, weight=None)

    # -- for a person to look at

    def row_report(self, assembly: Assembly, results: Results) -> pd.DataFrame:
        """Return prediction, cosine and loss of each pair."""
        return pair_report(assembly.target, results)

    def answers(self, outputs: np.ndarray, found: Labelled, assembly: Assembly, *, labelled: bool) -> list[Answer]:
        """Return scores, or classes, beside labels."""
        target: PairTarget = assembly.target
        labelled = labelled and target.label is not None
        return answers_of(cosines_of(outputs), found.frame, target, labelled=labelled)

    def check_drawable(self, target: PairTarget) -> None:
        """Pairs can be shown with their scores."""

    def check_picture(self, found: Labelled, assembly: Assembly, **options: Any) -> None:
        """Check that there are some pairs, and not too many."""
        del assembly, options
        if not 0 < len(found) <= MOST_SHOWN:
            raise DataError(f"show takes 1 to {MOST_SHOWN} pairs, not {len(found)}: show(data.head()).")

    def picture(self, outputs: np.ndarray, found: Labelled, assembly: Assembly) -> ShownPairs:
        """Return the pairs with their scores or classes."""
        return shown_pairs(cosines_of(outputs), found, assembly)

    def label_texts(self, found: Labelled, assembly: Assembly) -> list[str]:
        """Return the labels as text; of pairs that all match `matches`."""
        return super().label_texts(found, assembly) if assembly.target.labels else ["matches"] * len(found)

    # -- a saved predictor

    def describe(self, assembly: Assembly, folder: Path) -> dict[str, Any]:
        """Return the descriptions of the inputs by tower, and which columns there are."""
        return {**describe_inputs(assembly.built.inputs.values(), folder), "pairs": assembly.columns.to_dict()}

    def read_target(self, described: Mapping[str, Any]) -> PairTarget:
        """Return the target that was described."""
        return PairTarget.from_dict(described)

    def rebuild(
        self,
        described: Mapping[str, Any],
        folder: Path,
        target: PairTarget,
        config: ResolvedConfig,
        *,
        trust_remote_code: bool,
    ) -> tuple[SimilarityModel, Mapping[str, BuiltInput]]:
        """Build a saved model's towers and projections."""
        inputs = rebuild_inputs(described, folder, config, trust_remote_code=trust_remote_code)
        model = self.model(inputs, target, Columns.from_dict(described["pairs"]), config)
        return model, {one.kind.info.name: one for one in inputs}


def _compared(columns: Columns, roles: Mapping[str, str]) -> Columns:
    """Return the columns without that of responses that do not match."""
    return Columns(tuple(one for one in columns if one.name != roles.get("negative")))


def _read_alone(columns: Columns, config: ResolvedConfig) -> ResolvedConfig:
    """Return a configuration in which each text is read alone."""
    if not columns.of("text") or config.model.text.pair == "each":
        return config
    return config.choose(PAIR, "each", "each side of a pair has an embedding of its own")
