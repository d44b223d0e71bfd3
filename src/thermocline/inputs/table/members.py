"""The deep part of a table tower as an ensemble whose members share all weights but a factor on each input.

TabM-mini (Gorishniy, Kotelnikov and Babenko, ICLR 2025), after BatchEnsemble (Wen, Tran and Ba, ICLR 2020).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from thermocline.inputs.table.number_embedding import number_embedding

CATEGORY_WIDTH = 8
"""Width of a category's embedding: one for all columns, so that one look-up serves them all."""


class MemberStem(nn.Module):
    """Embeds the cells, scales them for each member, and maps them through one linear layer.

    Args:
        edges: Bin edges of each number that has bins, float32.
        numeric: Numeric columns.
        cardinalities: Codes per categorical column.
        width: Width of the output.
        embedding: See `number_embedding`.
        members: Members; their factors start at 1 or -1, drawn at random.
    """

    starts: torch.Tensor

    def __init__(
        self,
        edges: Sequence[torch.Tensor],
        numeric: int,
        cardinalities: Sequence[int],
        *,
        width: int,
        embedding: str,
        members: int,
    ) -> None:
        super().__init__()
        self.numbers, number_width = number_embedding(embedding, list(edges))
        self.categories = nn.Embedding(sum(cardinalities), CATEGORY_WIDTH) if cardinalities else None
        starts = torch.tensor([0, *cardinalities]).cumsum(0)[: len(cardinalities)]
        self.register_buffer("starts", starts, persistent=False)
        inputs = number_width + 2 * numeric + CATEGORY_WIDTH * len(cardinalities)
        self.factors = nn.Parameter(torch.randint(0, 2, (members, inputs)).float() * 2 - 1)
        self.linear = nn.Linear(inputs, width)

    def forward(self, binned: torch.Tensor, plain: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Map numbers with bins, all numbers with their missing flags, and codes to `(rows, members, width)`."""
        parts = [plain] if self.numbers is None else [self.numbers(binned).flatten(1), plain]
        if self.categories is not None:
            parts.append(self.categories(codes + self.starts).flatten(1))
        out: torch.Tensor = self.linear(torch.cat(parts, dim=1).unsqueeze(1) * self.factors)
        return out


class MemberBlock(nn.Module):
    """ReLU, dropout, linear; what is dropped of a row is the same for all members: drawing is slow on a CPU.

    Args:
        width: Width of input and output.
        dropout: Share of units dropped.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(rows, members, width)` to `(rows, members, width)`."""
        x = torch.relu(x)
        if self.training and self.dropout.p:
            x = x * self.dropout(x.new_ones(len(x), 1, x.shape[2]))
        out: torch.Tensor = self.linear(x)
        return out


class SideBySide(nn.Module):
    """ReLU, then the members' features one after the other, divided by their number: `(rows, members * width)`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map `(rows, members, width)` to `(rows, members * width)`."""
        return torch.relu(x).flatten(1) / x.shape[1]
