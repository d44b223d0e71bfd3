"""One column of texts as an input whose tokens know their characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from thermocline.contracts.inputs import BuiltInput
from thermocline.contracts.showing import View
from thermocline.errors import ConfigError, counted
from thermocline.inputs.text.kind import TextInput
from thermocline.inputs.text.processor import LONGEST, TextProcessor
from thermocline.inputs.text.rows import LEAST
from thermocline.problems.token_classification.rows import TokenRows
from thermocline.problems.token_classification.windows import Tokens, Window, check_fast, tokenized, windows_of

STRIDE_SHARE = 4  # a window by this is the stride


class TokenProcessor(TextProcessor):
    """Tokenises one column into windows; see `TextProcessor` for its arguments."""

    def __init__(self, tokenizer: Any, columns: Any, **options: Any) -> None:
        check_fast(tokenizer)
        super().__init__(tokenizer, columns, **options)

    @property
    def room(self) -> int:
        """Tokens of a text that a window has room for."""
        return self.max_length - len(self.prefix) - len(self.suffix)

    def tokens(self, frame: pd.DataFrame) -> list[Tokens]:
        """Return the tokens of every row, uncut."""
        cells = frame[self.columns[0].name].tolist()
        return tokenized(self.tokenizer, [cell if isinstance(cell, str) else "" for cell in cells])

    def rows(self, frame: pd.DataFrame, stride: int | None = None) -> TokenRows:
        """Tokenise a frame's column of texts.

        Args:
            frame: The frame.
            stride: Tokens that two windows share; None: a quarter of a window.
        """
        tokens = self.tokens(frame)
        shared = min(self.room // STRIDE_SHARE if stride is None else stride, self.room - 1)
        found = [(row, window) for row, one in enumerate(tokens) for window in windows_of(len(one), self.room, shared)]
        pad = self.tokenizer.pad_token_id
        return TokenRows(
            tuple(self._window(tokens[row], window) for row, window in found),
            int(pad if pad is not None else 0),
            None if self.pad_to_longest else self.max_length,
            min(LEAST, self.most),
            most=self.most,
            owner=np.array([row for row, _ in found], dtype=np.int64),
            windows=tuple(window for _, window in found),
            tokens=tuple(tokens),
            lead=len(self.prefix),
        )

    def _window(self, tokens: Tokens, window: Window) -> np.ndarray:
        ids = [*self.prefix, *tokens.ids[window.start : window.end].tolist(), *self.suffix]
        return np.asarray(ids or [int(self.tokenizer.pad_token_id or 0)], dtype=np.int32)


class TokenInput(TextInput):
    """A column of texts, as windows of tokens."""

    processor_type = TokenProcessor

    def read(self, built: BuiltInput, frame: pd.DataFrame) -> TokenRows:
        """Tokenise the column of texts."""
        processor: TokenProcessor = built.processor
        stride = built.config["model.entities.stride"]
        if stride is not None and stride >= processor.room:
            raise ConfigError(
                f"model.entities.stride={stride}: two windows share that many tokens, and a window has room for "
                f"{processor.room} (model.text.max_length={processor.max_length}). Set a smaller one."
            )
        return processor.rows(frame, stride)

    def chosen_length(self, processor: TextProcessor, frame: pd.DataFrame, limit: int) -> tuple[int, str]:
        """Return the tokens of the longest text, as far as the model takes them; longer texts are read by windows."""
        assert isinstance(processor, TokenProcessor)
        special = len(processor.prefix) + len(processor.suffix)
        lengths = np.array([len(one) + special for one in processor.tokens(frame)])
        most = min(limit, LONGEST)
        need = int(lengths.max(initial=0))
        chosen = min(most, max(16, -(-need // 8) * 8))
        long = int((lengths > chosen).sum())
        rows = f"{counted(long, 'text is', 'texts are')} read by windows" if long else "no text is read by windows"
        return chosen, f"the longest text has {need:,} tokens; {rows}"

    def views(
        self, built: BuiltInput, frame: pd.DataFrame, part: Any, rows: np.ndarray, epoch: int | None
    ) -> list[list[View]]:
        """Return the windows of each row, decoded."""
        del frame
        processor: TokenProcessor = built.processor
        return [[_view(processor, part, np.flatnonzero(part.owner == row), epoch)] for row in rows]


def _view(processor: TokenProcessor, part: TokenRows, windows: Sequence[Any] | np.ndarray, epoch: int | None) -> View:
    texts = []
    for window in windows:
        arrays = part.batch(np.array([window]), epoch)
        ids = arrays["input_ids"][0][arrays["attention_mask"][0].astype(bool)]
        texts.append(str(processor.tokenizer.decode(ids.tolist(), clean_up_tokenization_spaces=False)))
    count = counted(len(part.tokens[int(part.owner[windows[0]])]), "token")
    note = count if len(texts) == 1 else f"{count} in {len(texts)} windows"
    return View(processor.columns[0].name, " ⟂ ".join(texts), note)
