"""Processed rows of a frame, and the tensors of some of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from thermocline.data.pixel_cache import Keep
from thermocline.inputs.image.rows import ImageRows
from thermocline.inputs.table.rows import TableRows
from thermocline.inputs.text.rows import TextRows
from thermocline.problems.object_detection.rows import DetectionRows

Batch = dict[str, Any]
RowPart = TextRows | ImageRows | TableRows | DetectionRows


@dataclass(frozen=True)
class Rows:
    """Processed rows of a frame.

    Attributes:
        parts: For each tower (`text`, `image`, `table`, or `detector` alone) its rows.
        target: Encoded labels `(rows, …)`, or `None` at prediction, and where they are part of a tower's rows (boxes).
        weight: Row weights float32 `(rows,)`, or `None`.
    """

    parts: Mapping[str, RowPart]
    target: np.ndarray | None = None
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def batch(self, rows: np.ndarray, epoch: int | None = None, *, without: frozenset[str] = frozenset()) -> Batch:
        """Return the tensors of these row positions.

        Args:
            rows: Row positions.
            epoch: The epoch of training that images are augmented for, or `None` for images as they are.
            without: Towers that are left out.
        """
        batch: Batch = {"rows": torch.from_numpy(rows)}
        for name, part in self.parts.items():
            if name in without:
                continue
            arrays = part.batch(rows, epoch) if isinstance(part, ImageRows | DetectionRows) else part.batch(rows)
            batch[name] = {key: torch.from_numpy(np.ascontiguousarray(a)) for key, a in arrays.items()}
        if self.target is not None:
            batch["target"] = torch.from_numpy(self.target[rows])
        if self.weight is not None:
            batch["weight"] = torch.from_numpy(self.weight[rows])
        return batch

    @property
    def lengths(self) -> np.ndarray | None:
        """Tokens that each row takes up when it is the longest of a batch, int64 `(rows,)`, where there is text."""
        text = self.parts.get("text")
        return text.widths if isinstance(text, TextRows) else None

    def unlabelled(self) -> Rows:
        """Return the same rows as at prediction."""
        bare = {
            name: replace(part, boxes=None, labels=None) if isinstance(part, DetectionRows) else part
            for name, part in self.parts.items()
        }
        return Rows(bare)

    def fingerprint(self) -> str:
        """Return 16 hex digits over all that a model is given of these rows; image files count by their paths."""
        digest = hashlib.sha256()
        for name in sorted(self.parts):
            digest.update(name.encode())
            for piece in self.parts[name].pieces():
                digest.update(piece)
        for array in (self.target, self.weight):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


@contextmanager
def images_kept(rows: Sequence[Rows], keep: Keep) -> Iterator[list[Rows]]:
    """Give the same rows, whose images are decoded once and kept while this lasts.

    Args:
        rows: Rows of one fit, those that matter most first: they share a budget.
        keep: Where pixels are kept. What does not fit is decoded every time.
    """
    with ExitStack() as stack:
        kept = []
        for each in rows:
            image = each.parts.get("image")
            if isinstance(image, ImageRows):
                image = stack.enter_context(image.kept(keep))
                each = replace(each, parts={**each.parts, "image": image})
            kept.append(each)
        yield kept
