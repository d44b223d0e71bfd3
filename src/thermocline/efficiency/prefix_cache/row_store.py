"""Tensors stored by row, in memory (also a GPU's) or in mapped files: the outputs of a frozen prefix for every row."""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thermocline.data.moving import sent
from thermocline.data.reserving import reserve

_VERSION = 1


@dataclass(frozen=True)
class Form:
    """How the values of one name are laid out in a store.

    Attributes:
        dtype: Of the values, such as `float32`.
        row: The shape of a row's values; of one token's where rows are as long as their tokens.
        order: The dimensions of a batch in the order of their strides in memory; the rows come first.
        by_token: Whether dimension 1 of a batch counts tokens, of which a row's own are stored.
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
        """Whether the strides of the dimensions decrease."""
        return self.order == tuple(range(len(self.order)))

    @property
    def back(self) -> tuple[int, ...]:
        """The permutation that restores the order of the dimensions."""
        return tuple(sorted(range(len(self.order)), key=self.order.__getitem__))


class FormMismatch(ValueError):
    """Values that do not come row by row."""


def form_of(value: torch.Tensor, rows: int, width: int | None) -> Form:
    """Return how a batch's values are to be stored.

    Args:
        value: `(rows, …)`.
        rows: Rows of the batch.
        width: Tokens of its longest row, where rows differ in length.

    Raises:
        FormMismatch: The first dimension does not count rows.
    """
    if value.dim() < 1 or value.shape[0] != rows:
        raise FormMismatch(f"values of shape {tuple(value.shape)} for {rows} rows do not come row by row")
    order = tuple(sorted(range(value.dim()), key=lambda d: (-value.stride()[d], d)))
    by_token = width is not None and value.dim() > 1 and value.shape[1] == width
    if order[0] != 0 or (by_token and order[1] != 1):
        order = tuple(range(value.dim()))
    stored = [d for d in order if d != 0 and not (by_token and d == 1)]
    return Form(str(value.dtype).removeprefix("torch."), tuple(value.shape[d] for d in stored), order, by_token)


@dataclass
class _Stored:
    form: Form
    values: torch.Tensor  # (rows or tokens, *form.row)
    filled: np.ndarray
    checksums: np.ndarray | None  # of the rows' bytes, on disk
    verified: np.ndarray  # rows written or checked by this process
    files: list[Path] = field(default_factory=list)
    complete: bool = False  # whether every item has values that need no check


class RowStore:
    """Values by name and item (a row, or one of its images, in one of its variants).

    Args:
        items: Number of items.
        lengths: Tokens of every item, or `None` where all are alike.
        folder: Where files are; `None` keeps values in memory.
        device: Whose memory that is; None: the host's.
        facts: What the values depend on; files of other facts are not used.

    Attributes:
        damaged: Items whose bytes on disk are not those that were written; they count as missing.
    """

    def __init__(
        self,
        items: int,
        lengths: np.ndarray | None = None,
        *,
        folder: Path | None = None,
        device: torch.device | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.items, self.lengths, self.folder, self.device = items, lengths, folder, device
        self._facts = {"version": _VERSION, "items": items, **(facts or {})}
        self._starts = None if lengths is None else np.concatenate([[0], np.cumsum(lengths)])
        self._stored: dict[str, _Stored] = {}
        self.damaged = 0

    def bytes_needed(self, form: Form) -> int:
        """Return the bytes that values of a form take for all items."""
        return form.row_bytes * self._places(form)

    def has(self, name: str, items: np.ndarray) -> bool:
        """Whether all these items have values."""
        stored = self._stored.get(name)
        return stored is not None and self._has_all(stored, items)

    def complete(self, name: str) -> bool:
        """Whether every item has values."""
        stored = self._stored.get(name)
        return stored is not None and stored.complete

    def missing(self, name: str) -> np.ndarray:
        """Return the items that have no values."""
        stored = self._stored.get(name)
        return np.arange(self.items) if stored is None else np.flatnonzero(~stored.filled.astype(bool))

    @property
    def names(self) -> tuple[str, ...]:
        """The names that were opened."""
        return tuple(self._stored)

    @property
    def bytes(self) -> int:
        """Bytes of the values, in memory or on disk."""
        return sum(self.bytes_needed(stored.form) for stored in self._stored.values())

    def open(self, name: str, form: Form, *, anew: bool = False) -> None:
        """Allocate the values of a name, or map the files that an earlier process left.

        Args:
            name: Of the values.
            form: How they are laid out.
            anew: Whether new files take the place of those that are there.

        Raises:
            FormMismatch: The name is open with another form.
            OSError: The disk has no space for its file.
        """
        if name in self._stored:
            if self._stored[name].form != form:
                raise FormMismatch(f"values of {form} where they were of {self._stored[name].form}")
            return
        places, dtype = self._places(form), getattr(torch, form.dtype)
        count = places * math.prod(form.row)
        if self.folder is None:
            values, filled = torch.empty(count, dtype=dtype, device=self.device), np.zeros(self.items, np.uint8)
            checksums: np.ndarray | None = None
            files: list[Path] = []
        else:
            values, filled, checksums, files = self._mapped(name, form, count, dtype, anew=anew)
        verified = np.zeros(self.items, bool)
        self._stored[name] = _Stored(form, values.view(places, *form.row), filled, checksums, verified, files)

    def write(self, name: str, items: np.ndarray, value: torch.Tensor) -> None:
        """Store the values of a batch.

        Args:
            name: Opened before.
            items: Which items, `(batch,)`.
            value: `(batch, …)`, of the form that the name was opened with.
        """
        stored = self._stored[name]
        rows = value.detach().permute(stored.form.order)
        if stored.form.by_token:
            source, target = self._tokens(items, value.shape[1])
            own = rows.flatten(0, 1)[sent(source, rows.device)]
            stored.values[sent(target, stored.values.device)] = own.to(stored.values.device)
        else:
            stored.values[sent(torch.from_numpy(items), stored.values.device)] = rows.to(stored.values.device)
        if stored.checksums is not None:
            stored.checksums[items] = [self._checksum(stored, item) for item in items]
        stored.filled[items] = 1
        stored.verified[items] = True
        stored.complete = bool(stored.verified.all())

    def read(self, name: str, items: np.ndarray, width: int | None, device: torch.device) -> torch.Tensor | None:
        """Return the values of a batch as they were written, with zeros as padding; `None` where some are missing.

        Args:
            name: Of the values.
            items: Which items.
            width: Tokens of the longest row of the batch.
            device: Where the values are wanted.
        """
        stored = self._stored.get(name)
        if stored is None or not self._has_all(stored, items):
            return None
        form = stored.form
        if form.by_token:
            assert width is not None
            source, target = self._tokens(items, width)
            there = stored.values.device
            out = torch.zeros(len(items) * width, *form.row, dtype=stored.values.dtype, device=there)
            out[sent(source, there)] = stored.values[sent(target, there)]
            out = out.view(len(items), width, *form.row)
        else:
            out = stored.values[sent(torch.from_numpy(items), stored.values.device)]
        out = out if out.device == device else sent(out, device)
        return out if form.in_order else out.permute(form.back)

    def forget(self) -> None:
        """Start anew without any values; another process that has mapped the files keeps them as they are.

        Raises:
            OSError: The disk has no space for new files.
        """
        forms = {name: stored.form for name, stored in self._stored.items()}
        self._stored = {}
        for name, form in forms.items():
            self.open(name, form, anew=True)

    def close(self, *, remove: bool = False) -> None:
        """Release all values; `remove` deletes their files."""
        for stored in self._stored.values():
            for file in stored.files if remove else ():
                file.unlink(missing_ok=True)
        self._stored = {}
        if remove and self.folder is not None and self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _places(self, form: Form) -> int:
        return int(self._starts[-1]) if form.by_token and self._starts is not None else self.items

    def _tokens(self, items: np.ndarray, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the places of the tokens of items in a batch `(items * width)`, and in the store."""
        assert self.lengths is not None
        assert self._starts is not None
        lengths = self.lengths[items]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        source = np.repeat(np.arange(len(items)) * width, lengths) + within
        return torch.from_numpy(source), torch.from_numpy(np.repeat(self._starts[items], lengths) + within)

    def _has_all(self, stored: _Stored, items: np.ndarray) -> bool:
        """Whether all items have values; those of an earlier process are verified when they are first used."""
        if stored.complete:
            return True
        if stored.checksums is None:
            return bool(stored.filled[items].all())
        for item in items[stored.filled[items].astype(bool) & ~stored.verified[items]]:
            if self._checksum(stored, item) == stored.checksums[item]:
                stored.verified[item] = True
            else:
                stored.filled[item] = 0
                self.damaged += 1
        return bool(stored.filled[items].all())

    def _checksum(self, stored: _Stored, item: int) -> int:
        if stored.form.by_token:
            assert self._starts is not None
            values = stored.values[int(self._starts[item]) : int(self._starts[item + 1])]
        else:
            values = stored.values[item]
        return zlib.crc32(values.contiguous().view(torch.uint8).numpy().tobytes())

    def _mapped(
        self, name: str, form: Form, count: int, dtype: torch.dtype, *, anew: bool
    ) -> tuple[torch.Tensor, np.ndarray, np.ndarray, list[Path]]:
        """Map the files of a name; those that do not fit these facts are replaced."""
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        data, marks, note = (self.folder / f"{name}.{kind}" for kind in ("values", "rows", "json"))
        facts = json.loads(json.dumps({**self._facts, "form": vars(form) | {}}, default=str))
        sizes = {data: max(count * dtype.itemsize, 1), marks: 5 * self.items}
        if (
            anew
            or _read(note) != facts
            or any(not file.is_file() or file.stat().st_size != sizes[file] for file in sizes)
        ):
            note.unlink(missing_ok=True)
            for file, size in sizes.items():
                _make(file, size)
            part = note.with_name(f"{note.name}.{os.getpid()}.part")
            part.write_text(json.dumps(facts), encoding="utf-8")
            part.replace(note)
        values = torch.from_file(str(data), shared=True, size=count, dtype=dtype)
        rows = np.memmap(marks, np.uint8, "r+")
        return values, rows[: self.items], rows[self.items :].view(np.uint32), [data, marks, note]


def _make(file: Path, size: int) -> None:
    """Put a file of zeros in the place of one that another process may have mapped, which keeps it as it is."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with part.open("w+b") as out:
            reserve(out.fileno(), size)
        part.replace(file)
    except OSError:
        part.unlink(missing_ok=True)  # what was allocated of it would take what space is left
        raise


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
