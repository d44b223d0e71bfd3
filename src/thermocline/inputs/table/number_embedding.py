"""Numbers to vectors, before the first layer of a table's network."""

from __future__ import annotations

import warnings

import torch
from torch import nn


def number_embedding(kind: str, edges: list[torch.Tensor]) -> tuple[nn.Module | None, int]:
    """Return a module from numbers `(rows, columns)` to `(rows, columns, width)`, and how much that is in all.

    Args:
        kind: `piecewise` (Gorishniy, Rubachev and Babenko, NeurIPS 2022), `periodic` (the same), or `none`.
        edges: Bin edges of each column, float32, ascending.
    """
    import rtdl_num_embeddings as embeddings

    if kind == "none" or not edges:
        return None, 0
    if kind == "periodic":
        return embeddings.PeriodicEmbeddings(len(edges), 16, lite=False), 16 * len(edges)
    with torch.device("cpu"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns with two bins, such as 0/1 columns
        module = embeddings.PiecewiseLinearEmbeddings(edges, 12, activation=False, version="B")
    return module, 12 * len(edges)
