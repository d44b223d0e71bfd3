"""Text columns as an input: tokenizer, tower, rows, and their part of a saved predictor."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from thermocline.backbones.adapters import Adapters
from thermocline.backbones.library_settings import quiet_transformers
from thermocline.backbones.pretrained import Source, find_text, folder_of, has_tokenizer
from thermocline.backbones.saved_config import only_shapes
from thermocline.config import ResolvedConfig
from thermocline.contracts.exporting import InputForm
from thermocline.contracts.inputs import BuiltInput, InputKind, RowSource
from thermocline.contracts.showing import Differentiable, Parts, View
from thermocline.data.column_values import texts
from thermocline.data.columns import Column, Columns
from thermocline.data.row_part import RowPart
from thermocline.errors import counted, listing
from thermocline.inputs.own_layers import layers_of_own
from thermocline.inputs.text.build import build_text, load_config, rebuild_text
from thermocline.inputs.text.export_form import text_form
from thermocline.inputs.text.info import INFO
from thermocline.inputs.text.own_build import (
    build_own_text,
    check_length,
    describe_own_text,
    own_text,
    own_tokenizer,
    rebuild_own_text,
)
from thermocline.inputs.text.pairs import settle_pair
from thermocline.inputs.text.processor import TextProcessor, choose_max_length
from thermocline.inputs.text.rows import EACH, JOINT, Hiding, TextRows
from thermocline.inputs.text.tokenizer import VOCABULARY, hiding_token, load_tokenizer, train_tokenizer
from thermocline.inputs.text.tower import PADDED, depends_on_padding, token_limit
from thermocline.inputs.text.views import text_differentiable, text_parts, text_views
from thermocline.tuning.layers.layer_map import LayerMap

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from thermocline.inputs.text.tower import TextTower

FOLDER = "text"
"""Where configuration and tokenizer are in a saved predictor's folder."""


class TextInput(InputKind):
    """Text columns, joined into one sequence of tokens a row; two may be read apart.

    Attributes:
        processor_type: What turns frames into rows. A kind of problem that reads texts in another way derives from it,
            and from this class.
    """

    info = INFO
    processor_type: type[TextProcessor] = TextProcessor

    def check(self, columns: Columns, config: ResolvedConfig) -> None:
        """Check that the pretrained weights can be found; nothing is loaded."""
        del columns
        if own_text(config) is None:
            _source(config)

    def build(self, source: RowSource, columns: Columns, config: ResolvedConfig) -> BuiltInput:
        """Build tokenizer and tower; choose pooling, reading and number of tokens where they are left open."""
        options = config.model.text
        own = [column for column in columns if column.kind in INFO.column_types]
        tokenizer, tower = _built(source, own, config)
        if options.token_dropout:
            hiding_token(tokenizer)
        if options.pooling == "auto":
            config = config.choose("model.text.pooling", tower.pooling, "fits the model")
        limit = token_limit(tower, tokenizer)
        if tower.own is not None:  # which may not say what it takes
            limit = min(limit, options.max_length or limit)
        most = min(options.max_length or limit, limit)
        if tower.own is not None:
            check_length(tower, min(most, PADDED))
        exact = not depends_on_padding(tower, len(tokenizer), most=most)
        config = settle_pair(source, own, tower, tokenizer, config, limit=limit)
        made = partial(self.processor_type, tokenizer, own, join=options.join, pad_to_longest=exact, pair=tower.pair)
        config = self.with_length(config, made(max_length=most), source.frame, limit)
        processor = made(max_length=config.model.text.max_length, most=limit)
        if tower.own is not None:
            check_length(tower, config.model.text.max_length)
        return BuiltInput(self, processor, tower, config)

    def continued(self, before: BuiltInput, source: RowSource, columns: Columns, config: ResolvedConfig) -> BuiltInput:
        """Return the tower with its tokenizer, for these columns; two texts that were compared are two again."""
        old: TextProcessor = before.processor
        own = [column for column in columns if column.kind in INFO.column_types]
        names, pair = [column.name for column in own], old.pair
        tower = copy.deepcopy(before.tower)
        tower.pretrained, tower.notes = True, ()
        if names != [column.name for column in old.columns]:
            tower.notes = (f"reads {listing(names)}, and read {listing(column.name for column in old.columns)}",)
            if pair == EACH:
                tower.read_pair(pair, len(names))  # type: ignore[operator]
            elif pair != JOINT and len(names) != 2:
                pair = JOINT
                tower.read_pair(pair)  # type: ignore[operator]
                config = config.choose("model.text.pair", pair, f"{counted(len(names), 'text column')}")
        if config.model.text.max_length is None:
            config = config.choose("model.text.max_length", old.max_length, "as in the fit that this one starts from")
        made = partial(self.processor_type, old.tokenizer, own, join=config.model.text.join, most=old.most, pair=pair)
        processor = made(max_length=config.model.text.max_length, pad_to_longest=old.pad_to_longest)
        config = self.with_length(config, processor, source.frame, old.most)
        return BuiltInput(
            self, made(max_length=config.model.text.max_length, pad_to_longest=old.pad_to_longest), tower, config
        )

    def rows(self, built: BuiltInput, source: RowSource) -> RowPart:
        """Tokenise the text columns of a frame."""
        processor: TextProcessor = built.processor
        rows, share = self.read(built, source.frame), built.config.model.text.token_dropout
        if not (share and source.training):
            return rows
        token, special = hiding_token(processor.tokenizer), processor.tokenizer.all_special_ids
        return replace(rows, hiding=Hiding(share, token, tuple(special), source.seed))

    def read(self, built: BuiltInput, frame: pd.DataFrame) -> TextRows:
        """Tokenise the text columns of a frame, no tokens hidden."""
        processor: TextProcessor = built.processor
        return processor.rows(frame)

    def with_length(
        self, config: ResolvedConfig, processor: TextProcessor, frame: pd.DataFrame, limit: int
    ) -> ResolvedConfig:
        """Return the configuration with the most tokens of a sequence.

        Args:
            config: Says what was asked for.
            processor: Cuts where the model's limit is.
            frame: The training rows.
            limit: The most tokens that the model takes.
        """
        asked = config.model.text.max_length
        if asked is None:
            length, why = self.chosen_length(processor, frame, limit)
            return config.choose("model.text.max_length", length, why)
        if asked > limit:
            why = f"the model takes no more ({asked} was asked for)"
            return config.choose("model.text.max_length", limit, why)
        return config

    def chosen_length(self, processor: TextProcessor, frame: pd.DataFrame, limit: int) -> tuple[int, str]:
        """Return the most tokens of a sequence where nothing is asked for, and why; see `with_length`."""
        return choose_max_length(processor.rows(frame).longest, limit)

    def views(
        self, built: BuiltInput, frame: pd.DataFrame, part: Any, rows: np.ndarray, epoch: int | None
    ) -> list[list[View]]:
        """Return the sequences of tokens, decoded."""
        return text_views(built.processor, frame, part, rows, epoch)

    def parts(self, built: BuiltInput, column: Column, cell: object, folder: Path | None, grid: int) -> Parts:
        """Return the words of a text."""
        del built, folder, grid
        return text_parts(texts(pd.Series([cell], dtype=object), column)[0])

    def differentiable(self, built: BuiltInput, inputs: Mapping[str, torch.Tensor]) -> Differentiable:
        """Return the embeddings of tokens."""
        return text_differentiable(built.processor, cast("TextTower", built.tower), inputs)

    def layers(self, tower: Any) -> Mapping[str, LayerMap]:
        """Return the layers of the backbone."""
        if tower.own is not None:
            example = tower.layer_example
            return {"backbone": layers_of_own(tower.backbone, example, tower=INFO.name, pretrained=tower.pretrained)}
        return {"backbone": LayerMap.of(tower.backbone, tower=INFO.name, pretrained=tower.pretrained)}

    def describe(self, built: BuiltInput, folder: Path) -> dict[str, Any]:
        """Return processor, pooling and adapters; write the configuration and the tokenizer below `folder`."""
        tower: Any = built.tower
        with quiet_transformers():
            if tower.own is None:
                tower.backbone.config.save_pretrained(str(folder / FOLDER))
            built.processor.tokenizer.save_pretrained(str(folder / FOLDER))
        for stray in (folder / FOLDER).glob("*.py"):  # remote code is never saved
            stray.unlink()
        return {
            "processor": built.processor.to_dict(),
            "pooling": tower.pooling,
            "pretrained": tower.pretrained,
            "adapters": None if tower.adapters is None else tower.adapters.to_dict(),
            **({} if tower.own is None else {"own": describe_own_text(tower)}),
        }

    def rebuild(
        self, described: Mapping[str, Any], folder: Path, config: ResolvedConfig, *, trust_remote_code: bool
    ) -> BuiltInput:
        """Build the tower from its saved configuration, with random weights, and load the tokenizer."""
        if "own" in described:
            tower = rebuild_own_text(described, config)
        else:
            adapters = described.get("adapters")
            tower = rebuild_text(
                folder / FOLDER,
                pooling=described["pooling"],
                pretrained=described["pretrained"],
                trust_remote_code=trust_remote_code,
                adapters=Adapters.from_dict(adapters) if adapters else None,
            )
            read = described["processor"]
            tower.read_pair(read.get("pair", JOINT), len(read["columns"]["columns"]))
        if only_shapes():  # the tokenizer has no part in them
            return BuiltInput(self, None, tower, config)
        tokenizer = load_tokenizer(folder / FOLDER, name=str(folder), trust_remote_code=trust_remote_code)
        return BuiltInput(self, self.processor_type.from_dict(described["processor"], tokenizer), tower, config)

    def write_preprocessing(self, built: BuiltInput, folder: Path) -> None:
        """Write the tokenizer."""
        with quiet_transformers():
            built.processor.tokenizer.save_pretrained(str(folder))

    def export_form(self, built: BuiltInput, folder: Path) -> InputForm:
        """Return how columns are joined, with special tokens and lengths; write the tokenizer."""
        return text_form(built.processor, folder)


def _built(
    source: RowSource, columns: list[Column], config: ResolvedConfig
) -> tuple[PreTrainedTokenizerBase, TextTower]:
    """Return tokenizer and tower."""
    given, options = own_text(config), config.model.text
    if given is not None:
        tokenizer = own_tokenizer(given)
        return tokenizer, build_own_text(given, tokenizer, config)
    pretrained = _source(config)
    folder = folder_of(pretrained, "model.text")
    tokenizer, trained = _tokenizer(source.frame, columns, pretrained, folder, trust=options.trust_remote_code)
    tower = build_text(
        pretrained,
        folder,
        tokenizer if trained else None,
        pooling=options.pooling,
        trust_remote_code=options.trust_remote_code,
    )
    if trained:
        tower.notes += (f"tokenizer of {len(tokenizer)} pieces trained on the training texts",)
    return tokenizer, tower


def _source(config: ResolvedConfig) -> Source:
    options = config.model.text
    return find_text(options.checkpoint, pretrained=options.pretrained)


def _tokenizer(
    frame: pd.DataFrame, columns: list[Column], source: Source, folder: Path | None, *, trust: bool
) -> tuple[PreTrainedTokenizerBase, bool]:
    """Return the tokenizer of the pretrained model or (random weights only) one trained here, and whether it was."""
    if folder is not None and (source.pretrained or has_tokenizer(folder)):
        return load_tokenizer(folder, name=source.name, trust_remote_code=trust), False
    names = [column.name for column in columns]
    values = [str(value) for name in names for value in frame[name].dropna()]
    most = getattr(load_config(source, folder, trust_remote_code=trust), "vocab_size", None)
    return train_tokenizer([*names, *values], most=min(VOCABULARY, int(most or VOCABULARY))), True
