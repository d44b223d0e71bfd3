"""Text columns to token ids: columns are joined into one sequence a row and cut fairly, or two are read apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from thermocline.data.column_values import texts
from thermocline.data.columns import Column, Columns
from thermocline.errors import counted
from thermocline.inputs.text.rows import APART, EACH, JOINT, LEAST, TextRows, readings_of
from thermocline.inputs.text.standalone import fair_share

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNCUT = 1_000_000  # tokens; no text of a frame has as many
LONGEST = 512  # tokens; a longer default would cost more than it gains on most frames


class TextProcessor:
    """Tokenises the text columns of a frame into one sequence a row, or one for each way to read it.

    With several columns each keeps its place: `names` writes `name: value`, `separator` puts the
    tokenizer's separator between the values. Where a row is too long, its longest column is cut first.

    Args:
        tokenizer: A transformers tokenizer.
        columns: The text columns, in order.
        join: `names` or `separator`.
        max_length: The most tokens a sequence, special tokens included.
        pad_to_longest: False pads every batch to `max_length` (for models whose features depend on padding).
        most: The most tokens that the model takes; `None` for `max_length`.
        pair: `joint`, `each`, or for two columns `apart` or `both`. A text that is read alone goes without its column's
            name.
    """

    def __init__(  # noqa: PLR0913 - what a predictor saves of it
        self,
        tokenizer: PreTrainedTokenizerBase,
        columns: Sequence[Column],
        *,
        join: str,
        max_length: int,
        pad_to_longest: bool = True,
        most: int | None = None,
        pair: str = JOINT,
    ) -> None:
        if pair not in (JOINT, EACH) and len(columns) != 2:
            raise ValueError(f"a pair of texts are two columns, not {len(columns)}")
        self.pair = pair
        self.tokenizer = tokenizer
        self.columns = tuple(columns)
        self.join = join
        self.max_length = max_length
        self.pad_to_longest = pad_to_longest
        self.most = max_length if most is None else most
        self.prefix, self.suffix, self.separator = _special_ids(tokenizer)

    def rows(self, frame: pd.DataFrame) -> TextRows:
        """Tokenise a frame's text columns."""
        readings: list[Iterable[Sequence[list[int]]]] = []
        if self.pair not in (APART, EACH):
            named = self.join == "names" and len(self.columns) > 1
            pieces = [self._pieces(frame[column.name], column, named=named) for column in self.columns]
            readings.append(zip(*pieces, strict=True))
        if self.pair != JOINT:
            alone = [self._pieces(frame[column.name], column, named=False) for column in self.columns]
            readings += [zip(pieces, strict=True) for pieces in alone]
        room = self.max_length - len(self.prefix) - len(self.suffix)
        cuts = [self._cut(reading, room) for row in zip(*readings, strict=True) for reading in row]
        several = len(self.columns) > 1 and self.pair == JOINT
        pad = self.tokenizer.pad_token_id
        return TextRows(
            tuple(self._join(cut) for cut in cuts),
            int(pad if pad is not None else 0),
            None if self.pad_to_longest else self.max_length,
            min(LEAST, self.most),
            most=self.most,
            readings=readings_of(self.pair, len(self.columns)),
            columns=tuple(self._columns(cut) for cut in cuts) if several else None,
        )

    def uncut(self) -> TextProcessor:
        """Return the same for texts of any length, to tell how much is cut."""
        made: dict[str, Any] = {"join": self.join, "max_length": UNCUT, "most": self.most, "pair": self.pair}
        return TextProcessor(self.tokenizer, self.columns, **made)

    def restricted(self, names: Sequence[str]) -> TextProcessor:
        """Return the same for some of the columns, each of which is read alone.

        Raises:
            ValueError: Columns are read in one sequence, or compared.
        """
        if self.pair != EACH:
            raise ValueError(f"columns are read {self.pair}, not each alone")
        columns = [column for column in self.columns if column.name in names]
        made: dict[str, Any] = {"join": self.join, "max_length": self.max_length, "most": self.most, "pair": EACH}
        return TextProcessor(self.tokenizer, columns, pad_to_longest=self.pad_to_longest, **made)

    def _pieces(self, series: pd.Series[Any], column: Column, *, named: bool) -> list[list[int]]:
        values = [
            "" if value is None else f"{column.name}: {value}" if named else value for value in texts(series, column)
        ]
        if not values:
            return []
        encoded = self.tokenizer(
            values,
            add_special_tokens=False,
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        return list(encoded["input_ids"])

    def _cut(self, pieces: Sequence[Sequence[int]], room: int) -> list[tuple[int, Sequence[int]]]:
        """Return the columns that a sequence holds, and of each the tokens that there is room for."""
        # with the separator every column keeps its place, missing or not; with names that is not needed
        kept = [(i, p) for i, p in enumerate(pieces) if p or self.join == "separator"]
        room = max(room - len(self.separator) * max(len(kept) - 1, 0), len(kept))
        budget = fair_share([len(p) for _, p in kept], room)
        return [(i, piece[:size]) for (i, piece), size in zip(kept, budget, strict=True)]

    def _join(self, cut: Sequence[tuple[int, Sequence[int]]]) -> np.ndarray:
        """Return a sequence's token ids."""
        body: list[int] = []
        for k, (_, piece) in enumerate(cut):
            body += [*(self.separator if k else ()), *piece]
        ids = self.prefix + body + self.suffix
        return np.asarray(ids or [int(self.tokenizer.pad_token_id or 0)], dtype=np.int32)

    def _columns(self, cut: Sequence[tuple[int, Sequence[int]]]) -> np.ndarray:
        """Return the column of each of these, -1 for none."""
        body: list[int] = []
        for k, (i, piece) in enumerate(cut):
            body += [-1] * (len(self.separator) if k else 0) + [i] * len(piece)
        columns = [-1] * len(self.prefix) + body + [-1] * len(self.suffix)
        return np.asarray(columns or [-1], dtype=np.int16)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; the tokenizer is saved apart."""
        return {
            "columns": Columns(self.columns).to_dict(),
            "join": self.join,
            "max_length": self.max_length,
            "pad_to_longest": self.pad_to_longest,
            "most": self.most,
            "pair": self.pair,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> TextProcessor:
        """Inverse of `to_dict`; for what older versions did not write: `max_length` for `most`, and `joint`."""
        return cls(
            tokenizer,
            Columns.from_dict(data["columns"]).columns,
            join=data["join"],
            max_length=data["max_length"],
            pad_to_longest=data["pad_to_longest"],
            most=data.get("most"),
            pair=data.get("pair", JOINT),
        )


def choose_max_length(lengths: np.ndarray, model_limit: int) -> tuple[int, str]:
    """Return the most tokens a row may have, and why.

    Args:
        lengths: Tokens per training row, uncut up to `model_limit`.
        model_limit: The most tokens the model takes.
    """
    limit = min(model_limit, LONGEST)
    need = int(np.quantile(lengths, 0.995)) if len(lengths) else limit
    chosen = min(limit, max(16, -(-need // 8) * 8))
    cut = int((lengths > chosen).sum())
    rows = counted(cut, "row is", "rows are") if cut else "no row is"
    return chosen, f"99.5 % of the training rows have at most {need} tokens; {rows} cut"


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int], list[int]]:
    """Return the ids that a tokenizer adds before a text, after it, and between two."""
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a")["input_ids"])
    start = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)
    between = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    separator = [int(between)] if between is not None else list(tokenizer("\n", add_special_tokens=False)["input_ids"])
    return full[:start], full[start + len(bare) :], separator
