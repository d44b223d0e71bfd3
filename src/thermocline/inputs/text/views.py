"""What the text tower reads, as text: token ids decoded; the words of a cell; embeddings to differentiate by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from thermocline.contracts.showing import CellParts, Differentiable, Parts, View
from thermocline.errors import ConfigError, counted
from thermocline.inputs.text.rows import APART, EACH, JOINT, TextRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from thermocline.inputs.text.processor import TextProcessor
    from thermocline.inputs.text.tower import TextTower

MOST_WORDS = 200
"""Words of a cell that are left out one by one; of longer texts several neighbouring words at a time."""


_ALONE = "\u2e80-\u9fff\uf900-\ufaff"  # Chinese and Japanese letters: no white space tells words apart
_WORD = re.compile(rf"\s*(?:[{_ALONE}]|[^\s{_ALONE}]+)")


def text_views(
    processor: TextProcessor, frame: pd.DataFrame, part: TextRows, rows: np.ndarray, epoch: int | None
) -> list[list[View]]:
    """Return each sequence of some rows as the tower reads it, special and hidden tokens included.

    Args:
        processor: Made `part` from `frame`.
        frame: The frame.
        part: Its rows.
        rows: Positions of the rows that are shown.
        epoch: The epoch of training; None: as in prediction.
    """
    uncut = processor.uncut().rows(frame.iloc[rows]).token_counts
    names = _names(processor)
    views: list[list[View]] = []
    for place, row in enumerate(rows):
        arrays = part.batch(np.array([row]), epoch)
        ids, mask = (arrays[name].reshape(len(names), -1) for name in ("input_ids", "attention_mask"))
        kept = [one[known.astype(bool)] for one, known in zip(ids, mask, strict=True)]
        whole = uncut[place * len(names) : (place + 1) * len(names)]
        views.append(
            [
                View(name, _decoded(processor.tokenizer, own), _note(len(own), int(all_of)))
                for name, own, all_of in zip(names, kept, whole, strict=True)
            ]
        )
    return views


def _names(processor: TextProcessor) -> list[str]:
    """Return what each sequence of a row is called."""
    columns = [column.name for column in processor.columns]
    if processor.pair == JOINT:
        return [" + ".join(columns)]
    return columns if processor.pair in (APART, EACH) else [" + ".join(columns), *columns]


def _note(read: int, whole: int) -> str:
    return f"cut: reads {read:,} of {whole:,} tokens" if read < whole else counted(read, "token")


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: np.ndarray) -> str:
    return str(tokenizer.decode(ids.tolist(), clean_up_tokenization_spaces=False))


def text_parts(cell: object) -> Parts:
    """Return the words of a text, and the text without each of them (Li, Monroe and Jurafsky 2016: erasure).

    Of more than `MOST_WORDS` words several neighbouring ones are a part.
    """
    words = _WORD.findall(str(cell))
    size = max(1, -(-len(words) // MOST_WORDS))
    parts = ["".join(words[start : start + size]) for start in range(0, len(words), size)]
    without = ["".join(parts[:place] + parts[place + 1 :]).strip() for place in range(len(parts))]
    return Parts(tuple(parts), tuple(without))


def text_differentiable(
    processor: TextProcessor, tower: TextTower, inputs: Mapping[str, torch.Tensor]
) -> Differentiable:
    """Return the embeddings of a row's tokens; the baseline has the mask token, or padding, in the place of words.

    Args:
        processor: Its tokenizer made the tokens.
        tower: The tower.
        inputs: Its part of a batch of one row.

    Raises:
        ConfigError: Two texts are read apart, or the backbone has no embedding of tokens.
    """
    if processor.pair != JOINT:
        raise ConfigError(
            f"Gradients are for texts that are read as one; model.text.pair is {processor.pair!r}. Use "
            "method='occlusion'."
        )
    layer = _embedding(tower)
    ids, tokenizer = inputs["input_ids"], processor.tokenizer
    special = np.isin(ids[0].cpu().numpy(), tokenizer.all_special_ids)
    absent = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else tokenizer.pad_token_id
    nothing = torch.where(torch.from_numpy(special).to(ids.device), ids, int(absent or 0))
    with torch.no_grad():
        values, baseline = layer(ids).float().detach(), layer(nothing).float().detach()

    @contextmanager
    def placed(embeddings: torch.Tensor) -> Iterator[dict[str, torch.Tensor]]:
        given = {name: one.expand(len(embeddings), *one.shape[1:]) for name, one in inputs.items()}
        hook = layer.register_forward_hook(lambda _, __, out: embeddings.to(out.dtype))
        try:
            yield given
        finally:
            hook.remove()

    def cells(added: np.ndarray) -> list[CellParts]:
        of = inputs["columns"][0].cpu().numpy() if "columns" in inputs else np.where(special, -1, 0)
        tokens = added.sum(axis=-1)
        return [
            _words(tokenizer, column.name, ids[0].cpu().numpy()[of == place], tokens[of == place])
            for place, column in enumerate(processor.columns)
        ]

    return Differentiable(values, baseline, placed, cells)


def _embedding(tower: TextTower) -> Any:
    """Return the layer that maps token ids to embeddings."""
    try:
        layer = tower.backbone.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        layer = None
    if layer is None:
        raise ConfigError(
            f"{type(tower.backbone).__name__} names no embedding of tokens, so there is nothing to differentiate by. "
            "Use method='occlusion'."
        )
    return layer


def _words(tokenizer: PreTrainedTokenizerBase, column: str, ids: np.ndarray, values: np.ndarray) -> CellParts:
    """Return the words that tokens spell, with the sum of what their tokens add."""
    words: list[str] = []
    sums: list[float] = []
    for piece, value in zip(_pieces(tokenizer, ids), values.tolist(), strict=True):
        if words and not piece[:1].isspace() and not words[-1][-1:].isspace():
            words[-1], sums[-1] = words[-1] + piece, sums[-1] + value
        else:
            words.append(piece)
            sums.append(value)
    return CellParts(column, tuple(words), np.array(sums, dtype=np.float64))


def _pieces(tokenizer: PreTrainedTokenizerBase, ids: np.ndarray) -> Sequence[str]:
    """Return the text that each token adds to those before it."""
    before, pieces = "", []
    for end in range(1, len(ids) + 1):
        now = _decoded(tokenizer, ids[:end])
        pieces.append(now[len(before) :] if now.startswith(before) else " " + _decoded(tokenizer, ids[end - 1 : end]))
        before = now
    return pieces
