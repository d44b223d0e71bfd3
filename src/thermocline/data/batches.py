"""Splitting rows, ordering them, and cutting them into batches: functions of (seed, epoch), never of workers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from thermocline.data.image import ImageRows
from thermocline.data.table import TableRows
from thermocline.data.text import TextRows
from thermocline.errors import DataError

if TYPE_CHECKING:
    from thermocline.tasks import Task

BUCKET = 32  # batches sorted by length together: the longer, the less padding and the less shuffling

Batch = dict[str, Any]
RowPart = TextRows | ImageRows | TableRows


@dataclass(frozen=True)
class Rows:
    """Processed rows of a frame.

    Attributes:
        parts: For each tower (`text`, `image`, `table`) its rows.
        target: Encoded labels `(rows, …)`, or `None` at prediction.
        weight: Row weights float32 `(rows,)`, or `None`.
    """

    parts: Mapping[str, RowPart]
    target: np.ndarray | None = None
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def batch(self, rows: np.ndarray, epoch: int | None = None) -> Batch:
        """Return the tensors of these row positions; with an epoch, images are augmented for it."""
        batch: Batch = {"rows": torch.from_numpy(rows)}
        for name, part in self.parts.items():
            arrays = part.batch(rows, epoch) if isinstance(part, ImageRows) else part.batch(rows)
            batch[name] = {key: torch.from_numpy(np.ascontiguousarray(a)) for key, a in arrays.items()}
        if self.target is not None:
            batch["target"] = torch.from_numpy(self.target[rows])
        if self.weight is not None:
            batch["weight"] = torch.from_numpy(self.weight[rows])
        return batch

    @property
    def lengths(self) -> np.ndarray | None:
        """Tokens per row, where there is text."""
        text = self.parts.get("text")
        return text.lengths if isinstance(text, TextRows) else None

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


def epoch_order(n_rows: int, batch_size: int, *, seed: int, epoch: int, lengths: np.ndarray | None) -> list[np.ndarray]:
    """Return the row positions of every batch of an epoch.

    Rows are shuffled; with `lengths`, runs of `BUCKET` batches are sorted by length before they are cut, and the
    batches are shuffled again, so that a batch holds rows of like length. A last batch of one row joins the one
    before it (BatchNorm cannot take a single row).

    Args:
        n_rows: Rows in all.
        batch_size: Rows a batch.
        seed: The run's seed.
        epoch: Counted from 0.
        lengths: Tokens per row, or `None`.
    """
    rng = np.random.default_rng([seed, epoch, 0x0EDE])
    order = rng.permutation(n_rows)
    if lengths is not None:
        size = BUCKET * batch_size
        runs = [order[i : i + size] for i in range(0, n_rows, size)]
        order = np.concatenate([run[np.argsort(lengths[run], kind="stable")] for run in runs])
    batches = _cut(order, batch_size)
    if lengths is not None:
        batches = [batches[i] for i in rng.permutation(len(batches))]
    return batches


def _cut(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches


def inference_order(rows: Rows, batch_size: int) -> list[np.ndarray]:
    """Return batches for a pass without training: sorted by length where there is text, else in order."""
    lengths = rows.lengths
    order = np.arange(len(rows)) if lengths is None else np.argsort(-lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


class _Cutter(Dataset[Batch | DataError]):
    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __getitem__(self, key: Any) -> Batch | DataError:
        positions, epoch = key
        try:
            return self.rows.batch(positions, epoch)
        except DataError as error:  # raised in a worker, it would arrive with a traceback for a message
            return error


def load(rows: Rows, plan: Sequence[tuple[np.ndarray, int | None]], *, num_workers: int = 0) -> Iterator[Batch]:
    """Yield the batch of every `(row positions, epoch)` in `plan`, in order.

    Args:
        rows: The processed rows.
        plan: Which rows, and for which epoch (`None`: no augmentation).
        num_workers: Processes that prepare batches ahead; 0 prepares them here. The result is the same.
    """
    if num_workers == 0:
        for positions, epoch in plan:
            yield rows.batch(positions, epoch)
        return
    batches: DataLoader[Any] = DataLoader(
        _Cutter(rows),
        batch_size=None,
        sampler=list(plan),
        num_workers=num_workers,
        generator=torch.Generator(),  # or the workers' seed would be drawn from the caller's
    )
    for batch in batches:
        if isinstance(batch, DataError):
            raise batch
        yield batch


def split_rows(
    task: Task, target: np.ndarray, fraction: float | None, *, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Split row positions into training and validation, classes kept in proportion.

    Every class keeps a row in training, where there are rows enough to have one left to validate.

    Args:
        task: Tells whether there are classes.
        target: Encoded labels.
        fraction: Share for validation, or `None` to choose it from the number of rows.
        seed: The run's seed.

    Returns:
        Sorted training positions, sorted validation positions, and why the share was chosen.
    """
    from sklearn.model_selection import train_test_split

    n = len(target)
    why = "given" if fraction is not None else f"{n} rows"
    # at least 150 rows where a fifth of the data has them, a tenth up to 500, a twentieth of very many
    chosen = float(np.clip(max(150 / n, min(0.1, 500 / n)), 0.05, 0.2))
    share = chosen if fraction is None else fraction
    count = int(np.clip(round(share * n), 1, n - 1))
    rows = np.arange(n)
    if task.problem_type in ("binary", "multiclass"):
        sizes = np.bincount(target, minlength=task.width)
        splittable = rows[sizes[target] > 1]
        count = min(max(count, int((sizes > 1).sum())), len(splittable) - int((sizes > 1).sum()))
        if count >= int((sizes > 1).sum()) > 0:
            _, held = train_test_split(splittable, test_size=count, stratify=target[splittable], random_state=seed)
        else:
            held = _random_rows(n, max(count, 1), seed)
        held = np.sort(_with_all_classes_in_training(target, held))
    else:
        held = _random_rows(n, count, seed)
    return np.setdiff1d(rows, held), held, why


def _random_rows(n: int, count: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng([seed, 0x5B11]).permutation(n)[:count])


def _with_all_classes_in_training(target: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Give back one row of every class that validation would hold all of, as long as a row is left to validate."""
    lost = np.bincount(target[held], minlength=target.max() + 1) == np.bincount(target)
    _, first = np.unique(target[held], return_index=True)
    back = [i for i in first if lost[target[held[i]]]]
    return np.delete(held, back) if len(back) < len(held) else held[:1]
