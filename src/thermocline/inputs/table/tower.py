"""The table tower: fixed encodings for a linear model, and a small network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from thermocline.contracts.tower import ROW, Tower
from thermocline.inputs.table.members import MemberBlock, MemberStem, SideBySide
from thermocline.inputs.table.number_embedding import number_embedding
from thermocline.inputs.table.rows import TableRows


class TableTower(Tower):
    """Numbers and categories to features: wide and deep (Cheng et al. 2016).

    The wide part is fixed: piecewise-linear encodings of the numbers (Gorishniy, Rubachev and Babenko, NeurIPS
    2022), one column per missing number, one per category. A linear head on it is an additive model, which is what
    the probe fits. The deep part is an MLP over learned embeddings of the same cells, which that paper and the TabM
    study (Gorishniy et al., ICLR 2025) find on a par with much heavier networks.

    With `members` the deep part is an ensemble that shares all its weights but a factor on each input (TabM-mini, of
    the latter paper): its features are those of each member in turn, divided by the number of members, so that one
    linear head over all of them gives the mean of the members' outputs. Without, it is one residual net whose last
    layer starts at zero, so that a probed head is exact at the first step, and learns slowly.

    Args:
        bins: Bin edges of each numeric column, float32, ascending; an empty list leaves the column out of the encoding.
        cardinalities: Codes per categorical column, the 0 for missing included.
        width: Width of the deep part, and its features.
        blocks: Residual blocks of the deep part.
        dropout: In the deep part.
        embedding: `piecewise` or `periodic` embeddings of the numbers in the deep part, or `none`.
        members: Members of the ensemble; 0 for the residual net.

    Attributes:
        width: Features a row, wide ones first.
        fixed: How many of them are wide.
    """

    starts: torch.Tensor

    def __init__(  # noqa: PLR0913
        self,
        bins: Sequence[Sequence[float]],
        cardinalities: Sequence[int],
        *,
        width: int,
        blocks: int,
        dropout: float,
        embedding: str,
        members: int = 0,
    ) -> None:
        super().__init__()
        import rtdl_num_embeddings as embeddings

        self.bins = [list(edges) for edges in bins]
        self.cardinalities = list(cardinalities)
        self.options = {"width": width, "blocks": blocks, "dropout": dropout, "embedding": embedding}
        self.members, self.zero_start = members, not members
        self.binned = [j for j, edges in enumerate(bins) if len(edges) > 1]
        with torch.device("cpu"):  # their shapes follow from values, also where the rest is built for its shapes alone
            edges = [torch.tensor(bins[j], dtype=torch.float32) for j in self.binned]
            self.encoding = embeddings.PiecewiseLinearEncoding(edges) if edges else None
        self.fixed = sum(len(e) - 1 for e in edges) + len(bins) + sum(cardinalities)
        starts = torch.tensor([0, *cardinalities]).cumsum(0)[: len(cardinalities)]
        self.register_buffer("starts", starts, persistent=False)
        self.stem: nn.Module
        self.out: nn.Module
        if members:
            self.options["members"] = members
            self.stem = MemberStem(edges, len(bins), cardinalities, width=width, embedding=embedding, members=members)
            self.blocks = nn.ModuleList(MemberBlock(width, dropout) for _ in range(blocks))
            self.out = SideBySide()
        else:
            self.stem = TableStem(edges, len(bins), cardinalities, width=width, embedding=embedding)
            self.blocks = nn.ModuleList(TableBlock(width, dropout) for _ in range(blocks))
            self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
            for parameter in self.out[1].parameters():
                nn.init.zeros_(parameter)
        self.width = self.fixed + max(members, 1) * width

    def forward(self, inputs: Mapping[str, torch.Tensor], *, grain: str = ROW) -> torch.Tensor:
        """Map the cells of rows to features.

        Args:
            inputs: `numbers` and `missing` float32 `(rows, numeric)`, `codes` int64 `(rows, categorical)`.
            grain: `row`.

        Returns:
            Float32 `(rows, width)`.

        Raises:
            ValueError: Another grain.
        """
        self.check_grain(grain)
        numbers, missing, codes = inputs["numbers"], inputs["missing"], inputs["codes"]
        binned = numbers if len(self.binned) == numbers.shape[1] else numbers[:, self.binned]
        wide = [] if self.encoding is None else [self.encoding(binned).flatten(1)]
        wide.append(missing)
        if self.cardinalities:
            flags = numbers.new_zeros(codes.shape[0], sum(self.cardinalities))
            wide.append(flags.scatter_(1, codes + self.starts, 1.0))
        hidden = self.stem(binned, torch.cat([numbers, missing], dim=1), codes)
        for block in self.blocks:
            hidden = block(hidden)
        return torch.cat([*wide, self.out(hidden)], dim=1)


class TableStem(nn.Module):
    """Concatenates embeddings of numbers and categories with the plain numbers, through one linear layer."""

    def __init__(
        self,
        edges: Sequence[torch.Tensor],
        numeric: int,
        cardinalities: Sequence[int],
        *,
        width: int,
        embedding: str,
    ) -> None:
        super().__init__()
        self.numbers, number_width = number_embedding(embedding, list(edges))
        self.categories = nn.ModuleList(nn.Embedding(n, _category_width(n)) for n in cardinalities)
        inputs = number_width + 2 * numeric + sum(_category_width(n) for n in cardinalities)
        self.linear = nn.Linear(inputs, width)

    def forward(self, binned: torch.Tensor, plain: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Map embedded numbers, all numbers with their missing flags, and codes to `(rows, width)`."""
        parts = [] if self.numbers is None else [self.numbers(binned).flatten(1)]
        parts += [plain, *(table(codes[:, j]) for j, table in enumerate(self.categories))]
        out: torch.Tensor = self.linear(torch.cat(parts, dim=1))
        return out


class TableBlock(nn.Module):
    """A pre-norm residual block: norm, linear, ReLU, dropout, linear."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(rows, width)` to `(rows, width)`."""
        out: torch.Tensor = x + self.down(self.dropout(torch.relu(self.up(self.norm(x)))))
        return out


def number_bins(rows: TableRows, most: int) -> list[list[float]]:
    """Return quantile bin edges of each numeric column, at most `most` bins; none for a column of one value."""
    edges: list[list[float]] = []
    for j in range(rows.numbers.shape[1]):
        present = rows.numbers[rows.missing[:, j] == 0, j].astype(np.float64)
        if not len(present):
            edges.append([])
            continue
        cuts = np.unique(np.quantile(present, np.linspace(0, 1, most + 1)).astype(np.float32))
        edges.append(cuts.tolist() if len(cuts) > 1 else [])
    return edges


def _category_width(cardinality: int) -> int:
    return int(min(64, 2 + round(1.6 * cardinality**0.56)))  # fastai's rule of thumb, capped
