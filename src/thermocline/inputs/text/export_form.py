"""How texts become token ids where there is neither transformers nor this package."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from thermocline.contracts.exporting import ROWS, InputForm
from thermocline.errors import ExportError
from thermocline.inputs.text.processor import TextProcessor
from thermocline.inputs.text.rows import JOINT, LEAST, readings_of

TOKENIZER = "tokenizer.json"


def text_form(processor: TextProcessor, folder: Path) -> InputForm:
    """Return what makes token ids, and write the tokenizer as the library tokenizers reads it.

    Raises:
        ExportError: The tokenizer is a class of transformers that this library has no equal of.
    """
    _write_tokenizer(processor, folder)
    several = len(processor.columns) > 1 and processor.pair == JOINT
    pad = processor.tokenizer.pad_token_id
    settings = {
        "columns": [column.name for column in processor.columns],
        "join": processor.join,
        "pair": processor.pair,
        "tokenizer": TOKENIZER,
        "max_length": processor.max_length,
        "prefix": processor.prefix,
        "suffix": processor.suffix,
        "separator": processor.separator,
        "pad": int(pad if pad is not None else 0),
        "pad_to": None if processor.pad_to_longest else processor.max_length,
        "least": min(LEAST, processor.most),
        "most": processor.most,
        "of_columns": several,
    }
    readings = readings_of(processor.pair, len(processor.columns))
    tokens = "tokens" if processor.pad_to_longest else None
    axes: tuple[str | None, ...] = (ROWS, tokens) if readings == 1 else (ROWS, None, tokens)
    names = ("input_ids", "attention_mask", *(("columns",) if several else ()))
    sources = ("thermocline.data.standalone_cells", "thermocline.inputs.text.standalone")
    return InputForm(dict.fromkeys(names, axes), partial(_example, processor), settings, "TextReader", sources)


def _write_tokenizer(processor: TextProcessor, folder: Path) -> None:
    from tokenizers import Tokenizer

    own = getattr(processor.tokenizer, "backend_tokenizer", None)
    if not isinstance(own, Tokenizer):
        raise ExportError(
            f"The tokenizer {type(processor.tokenizer).__name__} runs in transformers only, and an exported model runs "
            "without it. Fit with a checkpoint that has a tokenizer.json, or use format='transformers'."
        )
    plain = Tokenizer.from_str(own.to_str())
    plain.no_truncation()
    plain.no_padding()
    plain.save(str(folder / TOKENIZER))


def _example(processor: TextProcessor, rows: int) -> dict[str, np.ndarray]:
    """Return arrays of made-up tokens, in rows of different lengths."""
    rng = np.random.default_rng(rows)
    width = min(LEAST + rows, processor.most) if processor.pad_to_longest else processor.max_length
    columns = len(processor.columns)
    readings, several = readings_of(processor.pair, columns), columns > 1 and processor.pair == JOINT
    shape = (rows * readings, width)
    lengths = np.maximum(width - np.arange(rows * readings) % 4, 1)
    mask = (np.arange(width) < lengths[:, None]).astype(np.int64)
    pad = processor.tokenizer.pad_token_id or 0
    arrays = {
        "input_ids": np.where(mask == 1, rng.integers(0, len(processor.tokenizer), shape), pad),
        "attention_mask": mask,
    }
    if several:
        arrays["columns"] = np.where(mask == 1, rng.integers(-1, len(processor.columns), shape), -1)
    final = (rows, width) if readings == 1 else (rows, readings, width)
    return {name: np.ascontiguousarray(array.reshape(final), dtype=np.int64) for name, array in arrays.items()}
