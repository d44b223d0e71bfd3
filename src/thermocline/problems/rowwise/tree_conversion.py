"""scikit-learn's boosted trees to tensors, checked against scikit-learn's own predictions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from thermocline.problems.rowwise.tree_ensemble import CODES, LEAVES, ONE, PLACES, WORD, EnsembleShape, TreeEnsemble

TOLERANCE = 1e-6
UNKNOWN = -8.0
"""The raw output of a class that a model has not seen: a probability of some in ten thousand."""


class ConversionError(ValueError):
    """The trees of this version of scikit-learn are not laid out as those that were known."""


@dataclass(frozen=True)
class Boosted:
    """A model of scikit-learn, and what it calls the categories that it has seen.

    Attributes:
        model: A `HistGradientBoosting` classifier or regressor; its first columns are the categorical ones.
        known: For each categorical column the codes that its training rows have, sorted: it sees their positions.
        outputs: Outputs a row: 1 for two classes or a number, else one a class.
    """

    model: Any
    known: tuple[np.ndarray, ...]
    outputs: int

    def cells(self, x: np.ndarray) -> np.ndarray:
        """Return cells as the model sees them: codes as positions among the known ones, NaN where it knows none."""
        x = x.copy()
        for j, known in enumerate(self.known):
            if len(known):
                place = np.searchsorted(known, x[:, j]).clip(max=len(known) - 1)
                x[:, j] = np.where(known[place] == x[:, j], place, np.nan)
        return x

    def stages(self, x: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the outputs float64 `(rows, outputs)` after each iteration."""
        staged = self.model.staged_decision_function if hasattr(self.model, "classes_") else self.model.staged_predict
        for raw in staged(self.cells(x)):
            yield self.spread(raw.reshape(len(x), -1))

    @property
    def own(self) -> np.ndarray:
        """Which outputs are the model's own: not all where its rows had not every class."""
        if self.outputs == 1:
            return np.zeros(1, dtype=np.int64)
        return np.asarray(self.model.classes_, dtype=np.int64)

    @property
    def factors(self) -> list[float]:
        """What the model's outputs count in its `own`: where it saw two of more classes, one output makes two."""
        return [-0.5, 0.5] if self.outputs > 1 and len(self.own) == 2 else [1.0] * len(self.own)

    def spread(self, raw: np.ndarray) -> np.ndarray:
        """Return the model's raw outputs `(rows, own)` as `(rows, outputs)`."""
        full = np.full((len(raw), self.outputs), UNKNOWN, dtype=np.float64)
        full[:, self.own] = raw * np.asarray(self.factors)
        return full


def converted(models: Sequence[Boosted], iterations: int, sample: np.ndarray) -> TreeEnsemble:
    """Return the mean of some models as one ensemble.

    The trees are read from attributes of scikit-learn that are not public, so each model's prediction is compared
    with scikit-learn's own.

    Args:
        models: The models, of as many outputs.
        iterations: How many iterations of each count.
        sample: Rows to compare on, float32 `(rows, columns)`; those of training reach every leaf.

    Raises:
        ConversionError: A model's trees cannot be read, or their prediction is another one.
    """
    try:
        for model in models:
            _compare(_ensemble([model], iterations), model, iterations, sample)
        return _ensemble(models, iterations)
    except ConversionError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ConversionError(f"the trees cannot be read ({type(error).__name__}: {error})") from error


def _compare(ensemble: TreeEnsemble, model: Boosted, iterations: int, sample: np.ndarray) -> None:
    wanted = next(itertools.islice(model.stages(sample), iterations - 1, None))
    with torch.inference_mode():
        found = ensemble(torch.from_numpy(sample)).double().numpy()
    off = float(np.abs(found - wanted).max() / max(1.0, float(np.abs(wanted).max())))
    if not off <= TOLERANCE:
        raise ConversionError(f"the trees give other predictions than scikit-learn does (by {off:.1g})")


def _ensemble(models: Sequence[Boosted], iterations: int) -> TreeEnsemble:
    """Return the mean of models as tensors."""
    trees = [
        (one.model._predictors[step][place if len(one.model._predictors[step]) > 1 else 0], int(number), factor, one)
        for one in models
        for step in range(iterations)
        for place, (number, factor) in enumerate(zip(one.own, one.factors, strict=True))
    ]
    splits = [np.flatnonzero(tree.nodes["is_leaf"] == 0) for tree, *_ in trees]
    shape = EnsembleShape(
        trees=len(trees),
        splits=max(1, *map(len, splits)),
        sets=sum(int(tree.nodes["is_categorical"][own].sum()) for own, (tree, *_) in zip(splits, trees, strict=True)),
        outputs=models[0].outputs,
    )
    found = TreeEnsemble(shape)
    base = np.mean([one.spread(one.model._baseline_prediction)[0] for one in models], axis=0)
    found.base.numpy()[:] = _whole(base)
    sets = 0
    for number, (own, (tree, output, factor, one)) in enumerate(zip(splits, trees, strict=True)):
        found.output.numpy()[number] = output
        sets += _put_splits(found, number, tree, own, one.known, sets)
        _put_leaves(found, number, tree.nodes, own, factor / len(models))
    return found


def _put_splits(
    ensemble: TreeEnsemble, number: int, tree: Any, own: np.ndarray, known: tuple[np.ndarray, ...], sets: int
) -> int:
    """Write how one tree decides at its splits, the nodes `own`, and return how many are by category."""
    nodes = tree.nodes[own]
    columns = {
        "column": nodes["feature_idx"].astype(np.int64),
        "threshold": _rounded_down(nodes["num_threshold"]),
        "missing_left": nodes["missing_go_to_left"].astype(bool),
    }
    for name, values in columns.items():
        getattr(ensemble, name).numpy()[: len(own), number] = values
    by_set = np.flatnonzero(nodes["is_categorical"])
    bits = np.array(tree.raw_left_cat_bitsets, dtype="<u4").reshape(-1, CODES // WORD)
    seen = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")
    for row, split in enumerate(by_set, start=sets):
        codes = known[int(nodes["feature_idx"][split])].astype(np.int64)
        goes = np.full(CODES, bool(nodes["missing_go_to_left"][split]))  # codes it has not seen are as missing ones
        goes[codes] = seen[int(nodes["bitset_idx"][split]), : len(codes)]
        ensemble.by_set.numpy()[row] = split * ensemble.shape.trees + number
        ensemble.sets.numpy()[row] = np.packbits(goes, bitorder="little").view("<i4")
    return len(by_set)


def _put_leaves(ensemble: TreeEnsemble, number: int, nodes: np.ndarray, own: np.ndarray, factor: float) -> None:
    """Write which leaves of one tree remain behind its splits, and the values of its leaves."""
    order = {leaf: bit for bit, leaf in enumerate(_leaves(nodes, 0))}
    if len(order) > LEAVES:
        raise ConversionError(f"a tree has {len(order)} leaves, more than {LEAVES}")
    for row, node in enumerate(own):
        gone = sum(1 << order[leaf] for leaf in _leaves(nodes, int(nodes["left"][node])))
        ensemble.remaining.numpy()[row, number] = -1 - gone
    values = _whole(nodes["value"] * factor)
    for leaf, bit in order.items():
        ensemble.value.numpy()[number, 2**bit % PLACES] = values[leaf]


def _leaves(nodes: np.ndarray, node: int) -> list[int]:
    """Return the leaves below a node from left to right."""
    is_leaf, left, right = nodes["is_leaf"].tolist(), nodes["left"].tolist(), nodes["right"].tolist()
    found, waiting = [], [node]
    while waiting:
        node = waiting.pop()
        if is_leaf[node]:
            found.append(node)
        else:
            waiting += [right[node], left[node]]
    return found


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """Return the largest float32 numbers up to thresholds: float32 cells are on the same side of them."""
    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
    above = near.astype(np.float64) > thresholds
    return np.where(above, np.nextafter(near, np.float32(-np.inf)), near)


def _whole(values: np.ndarray) -> np.ndarray:
    whole: np.ndarray = np.round(values * ONE).astype(np.int64)
    return whole
