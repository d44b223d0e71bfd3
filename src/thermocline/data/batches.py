"""Processed rows of a frame, and the tensors of some of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from thermocline.data.pixel_cache import Keep
from thermocline.data.row_part import RowPart

Batch = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """Processed rows of a frame.

    Attributes:
        parts: For each tower its rows.
        target: Encoded labels `(rows, …)`, or `None` at prediction, and where they are part of a tower's rows (boxes).
        weight: Row weights float32 `(rows,)`, or `None`.
        balance: What each row counts by its class, float32 `(rows,)`, or `None`: a factor of its weight in all that is
            fitted, and not in scores.
    """

    parts: Mapping[str, RowPart]
    target: np.ndarray | None = None
    weight: np.ndarray | None = None
    balance: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def batch(self, rows: np.ndarray, epoch: int | None = None, *, without: frozenset[str] = frozenset()) -> Batch:
        """Return the tensors of these row positions.

        Args:
            rows: Row positions, int64 `(batch,)`.
            epoch: The epoch of training, or `None` for rows without augmentation.
            without: Towers whose inputs are not decoded: the batch holds only what needs no decoding (see
                `RowPart.undecoded`), and nothing of a tower that has no such arrays.

        Returns:
            `rows` int64 `(batch,)`; tower → its arrays as tensors; `target` and `weight` where they are known.
        """
        batch: Batch = {"rows": torch.from_numpy(rows)}
        for name, part in self.parts.items():
            arrays = part.undecoded(rows) if name in without else part.batch(rows, epoch)
            if arrays:
                batch[name] = {key: torch.from_numpy(np.ascontiguousarray(a)) for key, a in arrays.items()}
        if self.target is not None:
            batch["target"] = torch.from_numpy(self.target[rows])
        weight = self.fit_weight
        if weight is not None:
            batch["weight"] = torch.from_numpy(weight[rows])
        return batch

    @cached_property
    def fit_weight(self) -> np.ndarray | None:
        """What each row counts in what is fitted, float32 `(rows,)`: its weight times its balance, or None."""
        if self.weight is None or self.balance is None:
            return self.balance if self.weight is None else self.weight
        return np.asarray(self.weight * self.balance)

    @property
    def weights(self) -> np.ndarray:
        """What each row counts in what is fitted, float32 `(rows,)`: 1 where nothing is given."""
        weight = self.fit_weight
        return np.ones(len(self), dtype=np.float32) if weight is None else weight

    @property
    def lengths(self) -> np.ndarray | None:
        """Tokens that each row takes up when it is the longest of a batch, int64 `(rows,)`; `None` without sequences.

        One part at most has sequences; of several the first counts.
        """
        return next((part.widths for part in self.parts.values() if part.widths is not None), None)

    def unlabelled(self) -> Rows:
        """Return the same rows as at prediction."""
        return Rows({name: part.unlabelled() for name, part in self.parts.items()})

    def with_part(self, name: str, part: RowPart) -> Rows:
        """Return the same rows with another part for one tower."""
        return replace(self, parts={**self.parts, name: part})

    def fingerprint(self) -> str:
        """Return 16 hex digits over all that a model is given of these rows; files count by their names as written."""
        digest = hashlib.sha256()
        for name in sorted(self.parts):
            digest.update(name.encode())
            for piece in self.parts[name].identity(files=False):
                digest.update(piece)
        for array in (self.target, self.weight):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        if self.balance is not None:
            digest.update(np.ascontiguousarray(self.balance).tobytes())
        return digest.hexdigest()[:16]


@contextmanager
def decoded_kept(rows: Sequence[Rows], keep: Keep) -> Iterator[list[Rows]]:
    """Yield the same rows, whose inputs are decoded once and kept until the context ends.

    Args:
        rows: Rows of one fit, those that matter most first: they share a budget.
        keep: Where decoded inputs are kept. What does not fit is decoded every time.
    """
    with ExitStack() as stack:
        yield [
            replace(each, parts={name: stack.enter_context(part.kept(keep)) for name, part in each.parts.items()})
            for each in rows
        ]
