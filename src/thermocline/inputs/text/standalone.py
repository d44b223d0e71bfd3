"""Texts as token ids, in the program beside an exported model; see `data.standalone_cells`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thermocline.data.standalone_cells import cell_of, text_of, whole_letters


class TextReader:
    """Turns text columns into token ids, as `TextProcessor` and `TextRows` do.

    Args:
        settings: Columns, how they are joined, special tokens, lengths; see `TextInput.export_form`.
        folder: The export's; it holds the tokenizer's file.
    """

    def __init__(self, settings: Mapping[str, Any], folder: Path) -> None:
        from tokenizers import Tokenizer

        self.settings = settings
        self.columns, self.pair = settings["columns"], settings["pair"]
        self.tokenizer = Tokenizer.from_file(str(folder / settings["tokenizer"]))
        self.room = settings["max_length"] - len(settings["prefix"]) - len(settings["suffix"])

    def arrays(self, rows: Sequence[Mapping[str, Any]], _folder: Path | None) -> dict[str, np.ndarray]:
        """Return `input_ids`, `attention_mask` and, of several columns, `columns`, int64 `(rows, tokens)`.

        Of several readings a row, `(rows, readings, tokens)`.
        """
        named = self.settings["join"] == "names" and len(self.columns) > 1
        readings: list[list[list[tuple[int, int]]]] = []
        if self.pair not in ("apart", "each"):
            pieces = [self._pieces(rows, name, named=named) for name in self.columns]
            readings.append([self._sequence(list(one)) for one in zip(*pieces, strict=True)])
        if self.pair != "joint":
            alone = [self._pieces(rows, name, named=False) for name in self.columns]
            readings += [[self._sequence([piece]) for piece in pieces] for pieces in alone]
        return self._padded([sequence for row in zip(*readings, strict=True) for sequence in row], len(readings))

    def _pieces(self, rows: Sequence[Mapping[str, Any]], name: Any, *, named: bool) -> list[list[int]]:
        texts = [_written(cell_of(row, name)) for row in rows]
        given = ["" if text is None else f"{name}: {text}" if named else text for text in texts]
        encoded = self.tokenizer.encode_batch(given, add_special_tokens=False)
        return [one.ids[: self.settings["max_length"]] for one in encoded]

    def _sequence(self, pieces: list[list[int]]) -> list[tuple[int, int]]:
        """Return the tokens of a sequence, each with the number of its column, -1 for special tokens."""
        between = self.settings["separator"]
        kept = [(i, p) for i, p in enumerate(pieces) if p or self.settings["join"] == "separator"]
        room = max(self.room - len(between) * max(len(kept) - 1, 0), len(kept))
        shares = fair_share([len(piece) for _, piece in kept], room)
        tokens = [(token, -1) for token in self.settings["prefix"]]
        for place, ((i, piece), share) in enumerate(zip(kept, shares, strict=True)):
            tokens += [(token, -1) for token in between] if place else []
            tokens += [(token, i) for token in piece[:share]]
        tokens += [(token, -1) for token in self.settings["suffix"]]
        return tokens or [(self.settings["pad"], -1)]

    def _padded(self, sequences: list[list[tuple[int, int]]], readings: int) -> dict[str, np.ndarray]:
        width = max(self.settings["least"], *(len(one) for one in sequences))
        width = self.settings["pad_to"] or max(min(width, self.settings["most"]), *(len(one) for one in sequences))
        ids = np.full((len(sequences), width), self.settings["pad"], dtype=np.int64)
        mask, columns = np.zeros_like(ids), np.full_like(ids, -1)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = [token for token, _ in sequence]
            columns[row, : len(sequence)] = [column for _, column in sequence]
            mask[row, : len(sequence)] = 1
        shape = ids.shape if readings == 1 else (-1, readings, width)
        arrays = {"input_ids": ids.reshape(shape), "attention_mask": mask.reshape(shape)}
        return arrays | ({"columns": columns} if self.settings["of_columns"] else {})


def _written(value: Any) -> str | None:
    if isinstance(value, str):
        return whole_letters(value) if value and not value.isspace() else None
    return text_of(value)


def fair_share(lengths: Sequence[int], room: int) -> list[int]:
    """Return how many tokens each column keeps: the longest are cut first, to equal lengths, until all fit."""
    if sum(lengths) <= room:
        return list(lengths)
    left, shares = room, [0] * len(lengths)
    for rank, i in enumerate(sorted(range(len(lengths)), key=lambda i: lengths[i])):
        shares[i] = min(lengths[i], left // (len(lengths) - rank))
        left -= shares[i]
    return shares
