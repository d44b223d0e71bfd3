"""Scores of search: at which rank the responses that match a query are, of all different responses of some data.

A response that has the same score as another one comes behind it where it stands behind it in the data. As in ranx
(Bassani, ECIR 2022), whose figures these are where no two scores are equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from thermocline.data.nearest import BLOCK, blocks_of, exact_dtype


@dataclass(frozen=True)
class Ranked:
    """Ranks of the responses that match a query.

    Attributes:
        query: The number of the query of each, int64 `(matches,)`, sorted.
        rank: Its rank from 1, int64 `(matches,)`, rising within a query.
    """

    query: np.ndarray
    rank: np.ndarray

    @classmethod
    def of(cls, pairs: np.ndarray, content: np.ndarray, matches: np.ndarray, device: torch.device) -> Ranked:
        """Rank the different responses of some pairs for each different query that has a match.

        Args:
            pairs: Embeddings float32 `(rows, 2, width)` of query and response.
            content: Numbers of the contents of both `(rows, 2)`; equal where they are the same.
            matches: Which pairs match, bool `(rows,)`.
            device: Where it is computed.
        """
        _, first_response, response = np.unique(content[:, 1], return_index=True, return_inverse=True)
        order = np.argsort(first_response)  # in the order of the data
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        response = place[response]
        corpus = pairs[first_response[order], 1]
        _, first_query, query = np.unique(content[:, 0], return_index=True, return_inverse=True)
        both = np.unique(np.stack([query[matches], response[matches]], axis=1), axis=0)
        asked = np.unique(both[:, 0])
        ranks = _ranks(pairs[first_query[asked], 0], corpus, np.searchsorted(asked, both[:, 0]), both[:, 1], device)
        by_rank = np.lexsort([ranks, both[:, 0]])
        return cls(np.searchsorted(asked, both[by_rank, 0]), ranks[by_rank])

    def score(self, name: str) -> float:
        """Return the mean over queries of a metric, such as `recall:10` or `mrr`; NaN where no query has a match."""
        stem, _, number = name.partition(":")
        if not len(self.query):
            return math.nan
        top = float(number) if number else math.inf
        queries = int(self.query[-1]) + 1
        found = self.rank <= top
        relevant = np.bincount(self.query, minlength=queries)
        nth = np.arange(len(self.query)) - np.repeat(np.cumsum(relevant) - relevant, relevant) + 1

        def summed(values: np.ndarray) -> np.ndarray:
            return np.bincount(self.query, weights=np.where(found, values, 0.0), minlength=queries)

        if stem == "recall":
            each = summed(np.ones(len(self.rank))) / relevant
        elif stem == "hit_rate":
            each = (summed(np.ones(len(self.rank))) > 0).astype(np.float64)
        elif stem == "mrr":
            each = summed((nth == 1) / self.rank)
        elif stem == "map":
            each = summed(nth / self.rank) / relevant
        else:
            ideal = np.bincount(self.query, weights=np.where(nth <= top, 1 / np.log2(nth + 1), 0.0), minlength=queries)
            each = summed(1 / np.log2(self.rank + 1)) / ideal
        return float(each.mean())


def _ranks(
    queries: np.ndarray, corpus: np.ndarray, query: np.ndarray, response: np.ndarray, device: torch.device
) -> np.ndarray:
    """Return the rank of some responses for some queries, int64 `(pairs,)`.

    Args:
        queries: float32 `(queries, width)`.
        corpus: float32 `(responses, width)`.
        query: Positions of queries `(pairs,)`, sorted.
        response: Positions of responses `(pairs,)`.
        device: Where it is computed.
    """
    ranks = np.zeros(len(query), dtype=np.int64)
    dtype = exact_dtype(device)
    for rows, columns in blocks_of(len(queries), len(corpus)):
        left = torch.from_numpy(queries[rows]).to(device, dtype)
        own = slice(*np.searchsorted(query, [rows.start, rows.stop]))
        at = torch.from_numpy(query[own] - rows.start).to(device)
        place = torch.from_numpy(response[own]).to(device)
        score = torch.zeros(len(at), device=device)
        for one in columns:
            here = (place >= one.start) & (place < one.stop)
            score[here] = _products(left, corpus[one])[at[here], place[here] - one.start]
        before = torch.ones(len(at), dtype=torch.long, device=device)
        for one in columns:
            products, places = _products(left, corpus[one]), torch.arange(one.start, one.stop, device=device)
            for part in torch.arange(len(at), device=device).split(max(1, BLOCK // len(places))):  # type: ignore[no-untyped-call]
                each, least = products[at[part]], score[part, None]
                before[part] += ((each > least) | ((each == least) & (places < place[part, None]))).sum(dim=1)
        ranks[own] = before.cpu().numpy()
    return ranks


def _products(left: torch.Tensor, corpus: np.ndarray) -> torch.Tensor:
    """Return float32 `(queries, responses)`: the same bits each time."""
    return (left @ torch.from_numpy(corpus).to(left).T).float()
