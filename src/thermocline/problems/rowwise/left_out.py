"""What a ridge regression on blocks of features misses of each row, without that row.

The errors follow in closed form from one decomposition (Golub, Heath and Wahba, Technometrics 1979), so that many
factors of the blocks, and many penalties, can be tried.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PENALTIES = tuple(10.0**k for k in np.arange(-2, 4.5, 0.5))  # relative to the mean square of a row's features


class LeftOut:
    """Errors of rows left out, for any factors of the blocks. Blocks weigh alike, however wide they are.

    Args:
        blocks: Standardised features of each block, float `(rows, width)`.
        wanted: What is predicted, classes as 0 and 1, `(rows, outputs)`.
        weight: Row weights `(rows,)`.
    """

    def __init__(self, blocks: Sequence[np.ndarray], wanted: np.ndarray, weight: np.ndarray) -> None:
        self.weight = weight
        self._root = np.sqrt(weight / weight.mean())[:, None]
        share = (weight / weight.sum())[:, None]
        self._wanted = self._root * (wanted - (share * wanted).sum(axis=0))
        self._products = []
        for block in blocks:
            own = block.astype(np.float64)
            own = self._root * (own - (share * own).sum(axis=0))
            self._products.append(own @ own.T / own.shape[1])

    def errors(self, factors: np.ndarray) -> np.ndarray:
        """Return the squared error of each row, summed over the outputs, under the best penalty, float64 `(rows,)`.

        Args:
            factors: What each block is multiplied by `(blocks,)`.
        """
        inner = sum(factor**2 * one for factor, one in zip(factors, self._products, strict=True) if factor)
        values, vectors = np.linalg.eigh(np.asarray(inner))
        values = np.maximum(values, 0.0) / max(float(values.mean()), 1e-12)
        turned, squares = vectors.T @ self._wanted, vectors**2
        constant = self._root[:, 0] ** 2 / (self._root**2).sum()  # of the mean, which is fitted too
        found = []
        for penalty in PENALTIES:
            shrunk = values / (values + penalty)
            left_out = np.maximum(1.0 - squares @ shrunk - constant, 1e-9)
            residual = (self._wanted - vectors @ (shrunk[:, None] * turned)) / left_out[:, None]
            found.append((residual**2).sum(axis=1) / self._root[:, 0] ** 2)
        return min(found, key=lambda each: float(np.average(each, weights=self.weight)))
