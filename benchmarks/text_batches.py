"""Tokens with padding per token of text, in the batches of an epoch and of a pass without training.

    python benchmarks/text_batches.py [--rows 1000 5000 50000] [--batch 32] [--epochs 3] [--lengths FILE]

Lengths are lognormal (mean 46, at most 128) or read from a file of one number a line. Counts, not seconds: ours (every
batch padded to at least 16 tokens), plain shuffling as the Trainer of transformers does by default, and its sampler by
length where the installed version has one. Beside it, how often two rows that meet in a batch meet again in the next
epoch: what an order pays for less padding. Writes `benchmarks/results/text_batches.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thermocline.data.order import epoch_order, inference_order, micro_batches
from thermocline.inputs.text.rows import LEAST

Order = Callable[[int], list[np.ndarray]]


def main() -> None:
    """Count all, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 5_000, 50_000])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lengths", type=Path, help="a file of lengths in tokens, one a line")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "text_batches.json")
    arguments = parser.parse_args()
    results = []
    for n in arguments.rows:
        lengths = lognormal(n) if arguments.lengths is None else read(arguments.lengths, n)
        for name, least, order in orders(lengths, arguments.batch):
            epochs = [order(epoch) for epoch in range(arguments.epochs)]
            row = {
                "rows": n,
                "order": name,
                "padded / real": round(float(np.mean([padded(e, lengths, least) for e in epochs])), 4),
                "worst epoch": round(max(padded(e, lengths, least) for e in epochs), 4),
                "meet again": round(meet_again(epochs[0], epochs[1], n), 4),
            }
            results.append(row)
            print(
                "  ".join(
                    f"{key} {value!s:<26}" if key == "order" else f"{key} {value:<8}" for key, value in row.items()
                )
            )
    content = {"batch": arguments.batch, "least": LEAST, "mean tokens": mean(lengths), "results": results}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def orders(lengths: np.ndarray, batch: int) -> list[tuple[str, int, Order]]:
    """Every order: its name, the fewest tokens a batch is padded to, and epoch → batches."""
    n, widths = len(lengths), np.maximum(lengths, LEAST)

    def ours(epoch: int) -> list[np.ndarray]:
        return epoch_order(n, batch, seed=0, epoch=epoch, lengths=widths)

    def in_parts(epoch: int) -> list[np.ndarray]:
        tokens = batch * int(lengths.mean())
        return [p for b in ours(epoch) for p in micro_batches(b, most_rows=batch, most_tokens=tokens, lengths=widths)]

    def plain(epoch: int) -> list[np.ndarray]:
        generator = torch.Generator().manual_seed(epoch)
        order = torch.randperm(n, generator=generator).numpy()
        return [order[i : i + batch] for i in range(0, n, batch)]

    found: list[tuple[str, int, Order]] = [
        ("ours", LEAST, ours),
        ("ours, a budget of tokens", LEAST, in_parts),
        ("ours, without training", LEAST, lambda _: inference_order(n, batch, widths)),
        ("plain shuffling (Trainer)", 1, plain),
    ]
    sampler = by_length()
    if sampler is not None:

        def grouped(epoch: int) -> list[np.ndarray]:
            generator = torch.Generator().manual_seed(epoch)
            order = np.array(list(sampler(batch, lengths=lengths.tolist(), generator=generator)))
            return [order[i : i + batch] for i in range(0, n, batch)]

        found.append(("Trainer, by length", 1, grouped))
    return found


def by_length() -> Any:
    """Return transformers' sampler by length, or `None` where this version has none."""
    try:
        from transformers.trainer_pt_utils import LengthGroupedSampler
    except ImportError:
        return None
    return LengthGroupedSampler


def padded(batches: list[np.ndarray], lengths: np.ndarray, least: int) -> float:
    """Tokens with padding per token."""
    return float(sum(len(b) * max(least, int(lengths[b].max())) for b in batches) / lengths.sum())


def meet_again(one: list[np.ndarray], two: list[np.ndarray], n: int) -> float:
    """The share of pairs of rows in one batch that are in one batch of the other epoch as well."""
    of = np.empty(n, dtype=np.int64)
    for i, batch in enumerate(two):
        of[batch] = i
    pairs = again = 0
    for batch in one:
        counts = np.unique(of[batch], return_counts=True)[1]
        pairs += len(batch) * (len(batch) - 1)
        again += int((counts * (counts - 1)).sum())
    return again / max(pairs, 1)


def lognormal(n: int, *, average: float = 46.0, cap: int = 128, spread: float = 0.65) -> np.ndarray:
    """Lengths as short texts have them."""
    rng = np.random.default_rng(0)
    drawn = np.exp(rng.normal(np.log(average * 1.03) - spread**2 / 2, spread, n))
    return np.clip(drawn.round(), 3, cap).astype(np.int64)


def read(path: Path, n: int) -> np.ndarray:
    """Draw lengths from a file."""
    given = np.loadtxt(path, dtype=np.int64, ndmin=1)
    return np.random.default_rng(0).choice(given, n, replace=n > len(given))


def mean(lengths: np.ndarray) -> float:
    """Tokens a row, on average."""
    return round(float(lengths.mean()), 2)


if __name__ == "__main__":
    main()
