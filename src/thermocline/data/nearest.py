"""The rows of a matrix that are nearest to others by their dot products: exact, in blocks, ties in order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

BLOCK = 4_000_000
"""Dot products that are held at once, about: 32 MB on the CPU."""
MOST_COLUMNS = 16_384
"""Of a block; of fewer queries there are more columns."""


def blocks_of(queries: int, corpus: int, most: int = BLOCK) -> Iterator[tuple[slice, list[slice]]]:
    """Yield blocks of queries, each with the blocks of the corpus that it is compared with.

    Args:
        queries: Number of queries.
        corpus: Number of rows of the corpus.
        most: Products of a block.
    """
    wide = max(1, min(corpus, max(MOST_COLUMNS, most // max(queries, 1)), most))
    tall = max(1, most // wide)
    for top in range(0, queries, tall):
        columns = [slice(left, min(left + wide, corpus)) for left in range(0, corpus, wide)]
        yield slice(top, min(top + tall, queries)), columns


def exact_dtype(device: torch.device) -> torch.dtype:
    """Return the type that products are added up in: float64 on the CPU, so that equal rows have equal scores."""
    return torch.float64 if device.type == "cpu" else torch.float32


def nearest(
    queries: np.ndarray, corpus: np.ndarray, k: int, device: torch.device, *, most: int = BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the `k` rows of the corpus nearest to each query, and their dot products.

    Rows with the same product, as float32, stand in the order of the corpus.

    Args:
        queries: float32 `(queries, width)`.
        corpus: float32 `(rows, width)`.
        k: At most as many as the corpus has rows.
        device: Where it is computed.
        most: Products that are held at once.

    Returns:
        int64 `(queries, k)` and float32 `(queries, k)`, the nearest first.
    """
    places = np.zeros((len(queries), k), dtype=np.int64)
    scores = np.zeros((len(queries), k), dtype=np.float32)
    dtype = exact_dtype(device)
    for rows, columns in blocks_of(len(queries), len(corpus), most):
        left = torch.from_numpy(queries[rows]).to(device, dtype)
        best = torch.zeros(len(left), 0, device=device)
        where = torch.zeros(len(left), 0, dtype=torch.long, device=device)
        for column in columns:
            right = torch.from_numpy(corpus[column]).to(device, dtype)
            product = (left @ right.T).float()
            found, at = _first(product, min(k, product.shape[1]))
            # what was found before comes first, so a stable sort keeps the order of the corpus
            both = torch.cat([best, found], dim=1)
            all_places = torch.cat([where, at + column.start], dim=1)
            order = both.sort(dim=1, descending=True, stable=True).indices[:, :k]
            best, where = both.gather(1, order), all_places.gather(1, order)
        scores[rows], places[rows] = best.cpu().numpy(), where.cpu().numpy()
    return places, scores


def _first(product: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `k` largest values of each row and their columns; of equal ones the first columns."""
    last = product.topk(k, dim=1, sorted=True).values[:, -1:]
    tied = (product >= last).sum(dim=1) > k
    at = product.topk(k, dim=1).indices
    if bool(tied.any()):  # topk takes any of those that are equal to the last
        at[tied] = product[tied].sort(dim=1, descending=True, stable=True).indices[:, :k]
    at = at.sort(dim=1).values
    values = product.gather(1, at)
    order = values.sort(dim=1, descending=True, stable=True).indices
    return values.gather(1, order), at.gather(1, order)
