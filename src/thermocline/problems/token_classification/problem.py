"""Spans of a text of some classes, such as named entities, from any text backbone that gives features of tokens."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from thermocline.config import ResolvedConfig
from thermocline.contracts.inputs import BuiltInput, RowSource
from thermocline.contracts.labelled import Labelled, Reading
from thermocline.contracts.learning import Learning
from thermocline.contracts.problem import Assembly, Built, Problem
from thermocline.contracts.reporting import Redrawn, Results, Told
from thermocline.contracts.request import Request
from thermocline.contracts.showing import Answer
from thermocline.contracts.starting import WHOLE, Earlier
from thermocline.data.batches import Rows
from thermocline.data.class_split import split_with_classes
from thermocline.data.columns import Columns
from thermocline.errors import ConfigError, DataError, LabelError, ThermoclineWarning, counted, listing
from thermocline.inputs.building import check_inputs, describe_inputs
from thermocline.inputs.labelled_frames import row_weights
from thermocline.problems.rowwise import peft
from thermocline.problems.rowwise.defaults import choose_defaults
from thermocline.problems.rowwise.starting import start_words, with_known_head
from thermocline.problems.token_classification.collector import EntityCollector, Found
from thermocline.problems.token_classification.info import INFO
from thermocline.problems.token_classification.input import TokenInput, TokenProcessor
from thermocline.problems.token_classification.metrics import PER_CLASS
from thermocline.problems.token_classification.model import TOWER, TokenModel, layers_of
from thermocline.problems.token_classification.objective import over_tokens
from thermocline.problems.token_classification.probe import start_of
from thermocline.problems.token_classification.reading import check_arguments, read_marked, text_columns
from thermocline.problems.token_classification.reporting import redrawn, row_report, told
from thermocline.problems.token_classification.rows import TokenRows, off_borders
from thermocline.problems.token_classification.showing import EntityTexts, MarkedText
from thermocline.problems.token_classification.spans import Spans
from thermocline.problems.token_classification.starting import continued, take_head
from thermocline.problems.token_classification.target import EntityTarget
from thermocline.problems.token_classification.units import chosen_units
from thermocline.registry import find_metric
from thermocline.registry.metrics import Metric
from thermocline.tuning.layers.layer_map import LayerMap

MOST_SHOWN = 100  # texts of `show`
COMPARED_ROWS = 2_000  # on which entities are compared with borders of tokens
UNITS = "model.entities.units"


class TokenClassification(Problem):
    """`token_classification`: entities as spans of characters.

    Example:
        >>> from thermocline.registry import find_problem
        >>> find_problem("ner").name
        'token_classification'
    """

    info = INFO
    least_shown = 0.0

    # -- data

    def check_request(self, request: Request, config: ResolvedConfig) -> None:
        """Check arguments, and that one column is named at most."""
        check_arguments(request)
        if config["data.token_column"] is not None and config["data.text_column"] is not None:
            raise ConfigError(
                f"data.token_column={config['data.token_column']!r} and "
                f"data.text_column={config['data.text_column']!r} name two columns of texts. Of tokens with tags set "
                "data.token_column alone; of spans data.text_column."
            )

    def read(self, data: object, reading: Reading) -> Labelled:
        """Read texts, and their entities where they are needed."""
        return read_marked(data, reading)

    def find_columns(self, found: Labelled, request: Request) -> Columns:
        """Return the column of texts."""
        return text_columns(found, request)

    def check(self, columns: Columns, config: ResolvedConfig) -> None:
        """Check that pretrained weights can be found, and that there is something to adapt."""
        check_inputs(columns, config)
        peft.check(columns, config)

    def find_target(self, found: Labelled, request: Request) -> EntityTarget:
        """Return the classes, and where their entities begin and end."""
        spans: Spans = found.labels
        metric = find_metric(INFO, request.eval_metric or INFO.default_metric[INFO.name], INFO.name)
        marked = sum(bool(row) for row in spans.rows)
        least = 1 if request.tuning_data is not None else 2
        if marked < least:
            raise LabelError(
                f"Label {request.label!r} holds entities in {counted(marked, 'row')} of {len(spans)}. Training needs "
                f"{counted(least, 'row')} with some{'' if least == 1 else ': one to train on, one to validate'}."
            )
        units, why = chosen_units(found.frame.iloc[:, 0].tolist(), spans)
        count, classes = sum(map(len, spans.rows)), spans.classes()
        reason = f"{spans.reason}: {counted(count, 'entity', 'entities')} in {marked:,} of {len(spans):,} rows; {why}"
        return EntityTarget(str(request.label), classes, metric.name, reason, units)

    def describe_labels(self, found: Labelled, target: EntityTarget) -> str:
        """Return how many classes there are, with their names."""
        del found
        return f"entities of {counted(len(target.classes), 'class', 'classes')}: {listing(target.classes, limit=8)}"

    def check_labels(self, found: Labelled, target: EntityTarget, *, what: str) -> None:
        """Warn of classes that training data do not have: their entities count as not found."""
        new = [label for label in found.labels.classes() if label not in target.classes]
        if new:
            count = sum(span.label in new for row in found.labels.rows for span in row)
            warnings.warn(
                f"{what} has {counted(count, 'entity', 'entities')} of {counted(len(new), 'class', 'classes')} that "
                f"training did not see: {listing(new)}. They count as not found.",
                ThermoclineWarning,
                stacklevel=2,
            )

    def split(
        self, found: Labelled, target: EntityTarget, fraction: float | None, *, seed: int
    ) -> tuple[np.ndarray, np.ndarray, str]:
        """Split rows with entities and those without alike; each class keeps a row in training."""
        del target
        labels = [[span.label for span in row] for row in found.labels.rows]
        texts = found.frame.iloc[:, 0].tolist()
        return split_with_classes(labels, fraction, seed=seed, same=texts, what="row", of_same="text")

    def take(self, found: Labelled, rows: np.ndarray) -> Labelled:
        """Return some of the rows, with their entities."""
        spans: Spans | None = found.labels
        return replace(found, frame=found.frame.iloc[rows], labels=None if spans is None else spans.take(rows))

    # -- model

    def build(
        self, train: Labelled, columns: Columns, target: EntityTarget, config: ResolvedConfig, *, seed: int
    ) -> Built:
        """Build the tower, and a head over the features of tokens."""
        source = RowSource(train.frame, training=True, seed=seed)
        return self._built(TokenInput().build(source, columns, config), target, train)

    def build_from(
        self,
        earlier: Earlier,
        train: Labelled,
        columns: Columns,
        target: EntityTarget,
        config: ResolvedConfig,
        *,
        seed: int,
    ) -> Built:
        """Build the model with the tower of an earlier one, and its head where classes are as before."""
        source = RowSource(train.frame, training=True, seed=seed)
        one = continued(earlier, source, columns, config)
        built = self._built(one, target, train, earlier.assembly.layer_map)
        started, said = take_head(earlier, cast(TokenModel, built.model), target)
        layer_map = with_known_head(built.layer_map) if started.head == WHOLE else built.layer_map
        return replace(built, layer_map=layer_map, started=started, notes=(said, *built.notes))

    def _built(self, one: BuiltInput, target: EntityTarget, train: Labelled, before: LayerMap | None = None) -> Built:
        """Return the model over an input, with what is chosen by it."""
        model: Any = TokenModel(one.tower, target.width)
        adapted = peft.adapt(model, one.config, before)
        config = choose_defaults(one.config, model, cast(Any, target), len(train))
        if config[UNITS] == "auto":
            config = config.choose(UNITS, target.units, target.reason.rpartition("; ")[2])
        notes = [f"{TOWER}: {line}" for line in one.tower.notes]
        some = self.take(train, np.arange(min(len(train), COMPARED_ROWS)))
        processor: TokenProcessor = one.processor
        off = off_borders(processor.tokens(some.frame), some.labels)
        if off:
            of = sum(map(len, some.labels.rows))
            notes.append(
                f"{counted(off, 'entity', 'entities')} of {of:,} begin or end inside of a token: the whole token is "
                "marked, and predicted"
            )
        return Built(model, {TOWER: one}, layers_of(model, one, adapted), config, tuple(notes))

    def rows(
        self, found: Labelled, assembly: Assembly, *, labelled: bool, training: bool = False, seed: int = 0
    ) -> Rows:
        """Turn texts into windows, with tags and weights where they are labelled."""
        source = RowSource(found.frame, training=training, seed=seed)
        part = cast(TokenRows, assembly.built.inputs[TOWER].with_config(assembly.config).rows(source))
        if not labelled:
            return Rows({TOWER: part})
        weight = None
        if assembly.weight is not None and assembly.weight in found.frame.columns:
            weight = row_weights(found.frame, assembly.weight, "data").astype(np.float32)[part.owner]
        return Rows({TOWER: part.with_tags(found.labels, assembly.target.classes)}, weight=weight)

    def learning(self, assembly: Assembly, train: Rows, *, seed: int) -> Learning:
        """Return the loss of tokens, and the probe where the head starts from it."""
        started = assembly.built.started
        words: dict[str, Any] = {} if started is None or not started.has_head else start_words(started)
        return Learning(
            over_tokens(assembly.config.optim.label_smoothing),
            start=start_of(assembly, train, seed=seed),
            also_score=("entity_precision", "entity_recall"),
            **words,
        )

    def frozen_selectors(self, layer_map: LayerMap, config: ResolvedConfig, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the user's selectors; under `model.peft` the layers that host adapters are frozen."""
        return dict(own) if config.model.peft is None else peft.with_frozen_hosts(layer_map, own)

    # -- results

    def collector(
        self, assembly: Assembly, rows: Rows, found: Labelled, *, scoring: bool, **options: Any
    ) -> EntityCollector:
        """Return what collects entities."""
        target = replace(assembly.target, units=assembly.config[UNITS])
        texts = found.frame[assembly.columns.of("text")[0]].tolist()
        part = cast(TokenRows, rows.parts[TOWER])
        if scoring:
            return EntityCollector(assembly.model, target, part, texts, truths=found.labels)
        return EntityCollector(assembly.model, target, part, texts, least_score=float(options.get("least_score", 0.0)))

    def predictions(self, outputs: list[Found], target: EntityTarget, index: pd.Index[Any]) -> pd.Series[Any]:
        """Return for each row a list of `{start, end, label, score, text}`, by place."""
        return pd.Series(outputs, index=index, name=target.label, dtype=object)

    def check_probabilities(self, target: EntityTarget) -> None:
        """Raise: entities have scores of their own."""
        del target
        raise ConfigError(
            "token_classification gives no probabilities of a row: the entities of predict(data) have scores. Use "
            "predict."
        )

    def check_metric(self, asked: str | Metric, target: EntityTarget) -> str | Metric:
        """Return the canonical name of a metric; `per_class` is one here."""
        return asked if asked == PER_CLASS else super().check_metric(asked, target)

    # -- a report

    def tell(self, assembly: Assembly, results: Results, metrics: Sequence[str | Metric]) -> Told:
        """Return scores by class, and kinds of errors."""
        del assembly, metrics
        return told(results)

    def redrawn(self, assembly: Assembly, results: Results, metrics: Sequence[str | Metric]) -> Redrawn | None:
        """Return how drawn rows are scored."""
        del assembly, metrics
        return redrawn(results)

    def row_report(self, assembly: Assembly, results: Results) -> pd.DataFrame:
        """Return how many entities of each row were found, missed and wrong."""
        del assembly
        return row_report(results)

    # -- for a person to look at

    def check_drawable(self, target: EntityTarget) -> None:
        """Entities can be shown in their texts."""

    def check_picture(self, found: Labelled, assembly: Assembly, **options: Any) -> None:
        """Check that there are some texts, and not too many."""
        del assembly
        least = options["least_score"]
        if isinstance(least, bool) or not isinstance(least, int | float) or not 0 <= least <= 1:
            raise ConfigError(f"least_score is a number from 0 to 1, not {least!r}.")
        if not 0 < len(found) <= MOST_SHOWN:
            raise DataError(f"show takes 1 to {MOST_SHOWN} texts, not {len(found)}: show(data.head()).")

    def picture(self, outputs: list[Found], found: Labelled, assembly: Assembly) -> EntityTexts:
        """Return the texts with the entities in them."""
        texts = found.frame[assembly.columns.of("text")[0]]
        shown = [
            MarkedText(f"row {name}", text, entities)
            for name, text, entities in zip(found.frame.index, texts, outputs, strict=True)
        ]
        return EntityTexts(tuple(shown), assembly.target.classes)

    def check_importance(self, target: EntityTarget) -> None:
        """Raise: there is one column."""
        del target
        raise ConfigError("token_classification reads one column, so there is no importance of columns. Use report.")

    def label_texts(self, found: Labelled, assembly: Assembly) -> list[str]:
        """Return the entities of each row, with their classes."""
        texts = found.frame[assembly.columns.of("text")[0]]
        return [
            _listed([(text[one.start : one.end], one.label) for one in row])
            for text, row in zip(texts, found.labels.rows, strict=True)
        ]

    def answers(self, outputs: Any, found: Labelled, assembly: Assembly, *, labelled: bool) -> list[Answer]:
        """Return the entities that are found, beside the true ones."""
        texts = [_listed([(one["text"], one["label"]) for one in row]) for row in outputs]
        if not labelled:
            return [Answer(text) for text in texts]
        labels = self.label_texts(found, assembly)
        keys = [[(one["start"], one["end"], one["label"]) for one in row] for row in outputs]
        right = [own == list(map(tuple, row)) for own, row in zip(keys, found.labels.rows, strict=True)]
        return [Answer(*one) for one in zip(texts, labels, right, strict=True)]

    # -- a saved predictor

    def describe(self, assembly: Assembly, folder: Path) -> dict[str, Any]:
        """Return the description of the input."""
        return describe_inputs(assembly.built.inputs.values(), folder)

    def read_target(self, described: Mapping[str, Any]) -> EntityTarget:
        """Return the target that was described."""
        return EntityTarget.from_dict(described)

    def rebuild(
        self,
        described: Mapping[str, Any],
        folder: Path,
        target: EntityTarget,
        config: ResolvedConfig,
        *,
        trust_remote_code: bool,
    ) -> tuple[TokenModel, Mapping[str, BuiltInput]]:
        """Build a saved model's tower and head."""
        one = TokenInput().rebuild(described[TOWER], folder, config, trust_remote_code=trust_remote_code)
        return TokenModel(one.tower, target.width), {TOWER: one}


def _listed(entities: Sequence[tuple[str, Any]]) -> str:
    return "; ".join(f"{text} ({label})" for text, label in entities) or "none"
