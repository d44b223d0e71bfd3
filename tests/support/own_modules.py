"""Modules of a caller's own, as tests give them to `Predictor(model=…)`, and frames for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from thermocline import load_sample
from thermocline.inputs.text.tokenizer import train_tokenizer

IMAGES = {"optim.max_epochs": 2, "env.device": "cpu", "env.batch_size": 8, "model.image.size": 16}
TEXTS = {"optim.max_epochs": 2, "env.device": "cpu", "env.batch_size": 8, "optim.lr": 3e-3}


class Block(nn.Module):
    """A residual convolution with BatchNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.relu(self.norm(self.conv(x)))


class Net(nn.Module):
    """An image backbone of a stem and blocks; `views` asks for contiguous tensors, as much code does."""

    def __init__(self, width: int = 8, depth: int = 3, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stem = nn.Conv2d(3, width, 4, 4)
            self.blocks = nn.ModuleList(Block(width) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> Any:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return x.view(x.shape[0], x.shape[1], -1).mean(2)


class Words(nn.Module):
    """A text encoder of embeddings and blocks of linear layers; it gives a row for each token."""

    def __init__(self, vocabulary: int, width: int = 16, depth: int = 2) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embed = nn.Embedding(vocabulary, width)
            self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        x = self.embed(input_ids) * attention_mask[..., None]
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return x


def digits(rows: int = 64) -> Any:
    """Handwritten digits: `image` and `label`."""
    return load_sample("digits", rows=rows)


def tokenizer_of(frame: Any) -> Any:
    """A tokenizer trained on the reviews."""
    return train_tokenizer(list(frame["review"]), most=300)
