"""Tensors kept by row, in memory or in mapped files: what a frozen prefix gave for every row."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

_VERSION = 1


@dataclass(frozen=True)
class Form:
    """How the values of one name lie in a store.

    Attributes:
        dtype: Of the values, such as `float32`.
        row: The shape of a row's values; of one token's where rows are as long as their tokens.
        order: The dimensions of a batch in the order in which they lie in memory; the rows come first.
        by_token: Whether dimension 1 of a batch counts tokens, of which a row keeps its own.
    """

    dtype: str
    row: tuple[int, ...]
    order: tuple[int, ...]
    by_token: bool

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, or of a token."""
        return math.prod(self.row) * int(getattr(torch, self.dtype).itemsize)

    @property
    def in_order(self) -> bool:
        """Whether dimensions lie in memory as they are numbered."""
        return self.order == tuple(range(len(self.order)))

    @property
    def back(self) -> tuple[int, ...]:
        """The permutation that numbers the dimensions again."""
        return tuple(sorted(range(len(self.order)), key=self.order.__getitem__))


class Misfit(ValueError):
    """Values that do not come row by row."""


def form_of(value: torch.Tensor, rows: int, width: int | None) -> Form:
    """Return how a batch's values are to be kept.

    Args:
        value: `(rows, …)`.
        rows: Rows of the batch.
        width: Tokens of its longest row, where rows differ in length.

    Raises:
        Misfit: The first dimension does not count rows.
    """
    if value.dim() < 1 or value.shape[0] != rows:
        raise Misfit(f"values of shape {tuple(value.shape)} for {rows} rows do not come row by row")
    order = tuple(sorted(range(value.dim()), key=lambda d: (-value.stride()[d], d)))
    by_token = width is not None and value.dim() > 1 and value.shape[1] == width
    if order[0] != 0 or (by_token and order[1] != 1):
        order = tuple(range(value.dim()))
    kept = [d for d in order if d != 0 and not (by_token and d == 1)]
    return Form(str(value.dtype).removeprefix("torch."), tuple(value.shape[d] for d in kept), order, by_token)


@dataclass
class _Kept:
    form: Form
    values: torch.Tensor  # (rows or tokens, *form.row)
    filled: np.ndarray
    sums: np.ndarray | None  # of the rows' bytes, on disk
    trusted: np.ndarray  # rows written or checked by this process
    files: list[Path] = field(default_factory=list)
    full: bool = False  # whether every item has values that need no check


class RowStore:
    """Values by name and item (a row, or one of its images, in one of its variants).

    Args:
        items: Number of items.
        lengths: Tokens of every item, or `None` where all are alike.
        folder: Where files lie; `None` keeps values in memory.
        facts: What the values depend on; files of other facts are not used.

    Attributes:
        damaged: Items whose bytes on disk were not what was written; they count as absent.
    """

    def __init__(
        self,
        items: int,
        lengths: np.ndarray | None = None,
        *,
        folder: Path | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.items, self.lengths, self.folder = items, lengths, folder
        self._facts = {"version": _VERSION, "items": items, **(facts or {})}
        self._starts = None if lengths is None else np.concatenate([[0], np.cumsum(lengths)])
        self._kept: dict[str, _Kept] = {}
        self.damaged = 0

    def needs(self, form: Form) -> int:
        """Return the bytes that values of a form take for all items."""
        return form.row_bytes * self._places(form)

    def holds(self, name: str, items: np.ndarray) -> bool:
        """Whether the values of all these items are there."""
        kept = self._kept.get(name)
        return kept is not None and self._all_good(kept, items)

    def full(self, name: str) -> bool:
        """Whether the values of every item are there."""
        kept = self._kept.get(name)
        return kept is not None and kept.full

    def absent(self, name: str) -> np.ndarray:
        """Return the items that have no values."""
        kept = self._kept.get(name)
        return np.arange(self.items) if kept is None else np.flatnonzero(~kept.filled.astype(bool))

    @property
    def names(self) -> tuple[str, ...]:
        """The names that there are values of."""
        return tuple(self._kept)

    @property
    def bytes(self) -> int:
        """What the values take, in memory or on disk."""
        return sum(self.needs(kept.form) for kept in self._kept.values())

    def open(self, name: str, form: Form) -> None:
        """Make room for the values of a name, or take up the files that an earlier process left."""
        if name in self._kept:
            if self._kept[name].form != form:
                raise Misfit(f"values of {form} where they were of {self._kept[name].form}")
            return
        places, dtype = self._places(form), getattr(torch, form.dtype)
        count = places * math.prod(form.row)
        if self.folder is None:
            values, filled = torch.empty(count, dtype=dtype), np.zeros(self.items, np.uint8)
            sums: np.ndarray | None = None
            files: list[Path] = []
        else:
            values, filled, sums, files = self._mapped(name, form, count, dtype)
        trusted = np.zeros(self.items, bool)
        self._kept[name] = _Kept(form, values.view(places, *form.row), filled, sums, trusted, files)

    def keep(self, name: str, items: np.ndarray, value: torch.Tensor) -> None:
        """Keep the values of a batch.

        Args:
            name: Opened before.
            items: Which items, `(batch,)`.
            value: `(batch, …)`, of the form that the name was opened with.
        """
        kept = self._kept[name]
        rows = value.detach().permute(kept.form.order)
        if kept.form.by_token:
            source, target = self._tokens(items, value.shape[1])
            kept.values[target] = rows.flatten(0, 1)[source].to(kept.values.device)
        else:
            kept.values[torch.from_numpy(items)] = rows.to(kept.values.device)
        if kept.sums is not None:
            kept.sums[items] = [self._sum(kept, item) for item in items]
        kept.filled[items] = 1
        kept.trusted[items] = True
        kept.full = bool(kept.trusted.all())

    def take(self, name: str, items: np.ndarray, width: int | None, device: torch.device) -> torch.Tensor | None:
        """Return the values of a batch as they were, zeros behind a shorter row; `None` where some are absent.

        Args:
            name: Of the values.
            items: Which items.
            width: Tokens of the longest row of the batch.
            device: Where the values are wanted.
        """
        kept = self._kept.get(name)
        if kept is None or not self._all_good(kept, items):
            return None
        form = kept.form
        if form.by_token:
            assert width is not None
            source, target = self._tokens(items, width)
            out = torch.zeros(len(items) * width, *form.row, dtype=kept.values.dtype)
            out[source] = kept.values[target]
            out = out.view(len(items), width, *form.row)
        else:
            out = kept.values[torch.from_numpy(items)]
        out = out if out.device == device else out.to(device, non_blocking=True)
        return out if form.in_order else out.permute(form.back)

    def close(self, *, remove: bool = False) -> None:
        """Let go of all values; `remove` deletes their files."""
        for kept in self._kept.values():
            for file in kept.files if remove else ():
                file.unlink(missing_ok=True)
        self._kept = {}
        if remove and self.folder is not None and self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _places(self, form: Form) -> int:
        return int(self._starts[-1]) if form.by_token and self._starts is not None else self.items

    def _tokens(self, items: np.ndarray, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where the tokens of items lie in a batch `(items * width)`, and where in the store."""
        assert self.lengths is not None
        assert self._starts is not None
        lengths = self.lengths[items]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        source = np.repeat(np.arange(len(items)) * width, lengths) + within
        return torch.from_numpy(source), torch.from_numpy(np.repeat(self._starts[items], lengths) + within)

    def _all_good(self, kept: _Kept, items: np.ndarray) -> bool:
        """Whether all items have values; those of an earlier process are checked when they are first used."""
        if kept.full:
            return True
        if kept.sums is None:
            return bool(kept.filled[items].all())
        for item in items[kept.filled[items].astype(bool) & ~kept.trusted[items]]:
            if self._sum(kept, item) == kept.sums[item]:
                kept.trusted[item] = True
            else:
                kept.filled[item] = 0
                self.damaged += 1
        return bool(kept.filled[items].all())

    def _sum(self, kept: _Kept, item: int) -> int:
        if kept.form.by_token:
            assert self._starts is not None
            values = kept.values[int(self._starts[item]) : int(self._starts[item + 1])]
        else:
            values = kept.values[item]
        return zlib.crc32(values.contiguous().view(torch.uint8).numpy().tobytes())

    def _mapped(
        self, name: str, form: Form, count: int, dtype: torch.dtype
    ) -> tuple[torch.Tensor, np.ndarray, np.ndarray, list[Path]]:
        """Map the files of a name; those that do not fit these facts are replaced."""
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        data, marks, note = (self.folder / f"{name}.{kind}" for kind in ("values", "rows", "json"))
        facts = json.loads(json.dumps({**self._facts, "form": vars(form) | {}}, default=str))
        fits = _read(note) == facts and data.is_file() and marks.is_file()
        fits = fits and data.stat().st_size == max(count * dtype.itemsize, 1) and marks.stat().st_size == 5 * self.items
        if not fits:
            note.unlink(missing_ok=True)
            for file, size in ((data, max(count * dtype.itemsize, 1)), (marks, 5 * self.items)):
                file.unlink(missing_ok=True)
                with file.open("wb") as out:
                    out.truncate(size)
            part = note.with_suffix(".part")
            part.write_text(json.dumps(facts), encoding="utf-8")
            part.replace(note)
        values = torch.from_file(str(data), shared=True, size=count, dtype=dtype)
        rows = np.memmap(marks, np.uint8, "r+")
        return values, rows[: self.items], rows[self.items :].view(np.uint32), [data, marks, note]


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
