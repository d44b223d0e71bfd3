"""How two text columns are read: in one sequence, each alone and compared, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from thermocline.config import ResolvedConfig
from thermocline.contracts.inputs import RowSource
from thermocline.data.columns import Column
from thermocline.data.order import inference_order
from thermocline.errors import counted
from thermocline.inputs.text.processor import TextProcessor
from thermocline.inputs.text.rows import APART, BOTH, EACH, JOINT, TextRows
from thermocline.inputs.text.tower import TextTower

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPTION = "model.text.pair"
BESIDE = "side by side"
"""Features of two texts without a comparison. Where they tell as much as a comparison does, the texts are no pair."""
MOST_ROWS = 400  # that a choice is made on
MOST_TOKENS = 128  # of a sequence of them
AT_ONCE = 32  # rows through the backbone


def settle_pair(
    source: RowSource,
    columns: list[Column],
    tower: TextTower,
    tokenizer: PreTrainedTokenizerBase,
    config: ResolvedConfig,
    *,
    limit: int,
) -> ResolvedConfig:
    """Set how a tower reads two text columns, and return the configuration that says how and why.

    Where it is left open, a linear model of the frozen features of some training rows decides (`RowSource.judge`): the
    joint reading, unless comparing the texts tells more than one reading does and than both texts side by side do.

    Args:
        source: The training rows.
        columns: The text columns.
        tower: Reads all columns in one sequence so far.
        tokenizer: The tokenizer.
        config: Says what was asked for.
        limit: The most tokens that the model takes.
    """
    asked = config.model.text.pair
    if asked == EACH:
        tower.read_pair(EACH, len(columns))
        return config
    if len(columns) != 2:
        if asked in (APART, BOTH):
            why = f"{asked} compares two text columns; of {counted(len(columns), 'column')} it has no effect"
            return config.choose(OPTION, JOINT, why)
        return config
    if asked != "auto":
        tower.read_pair(asked)
        return config
    if source.judge is None or not tower.pretrained:
        return config.choose(OPTION, JOINT, "no pretrained weights to compare readings with")
    rows = source.judge.rows(MOST_ROWS)
    frame = source.frame.iloc[rows]
    forms: dict[str, list[np.ndarray]] = {}
    for pair in (JOINT, APART):
        processor = TextProcessor(
            tokenizer, columns, join=config.model.text.join, max_length=min(limit, MOST_TOKENS), pair=pair
        )
        tower.read_pair(pair)
        forms[pair] = _blocks(tower, processor.rows(frame))
    u, v, *compared = forms.pop(APART)
    forms |= {BESIDE: [u, v], APART: [u, v, *compared], BOTH: [*forms[JOINT], u, v, *compared]}
    found, why = source.judge.choose(rows, forms)
    chosen = JOINT if found == BESIDE else found
    tower.read_pair(chosen)
    return config.choose(OPTION, chosen, why)


def _blocks(tower: TextTower, rows: TextRows) -> list[np.ndarray]:
    """Return the blocks of the tower's features of all rows, float32 `(rows, width)` each."""
    features = np.zeros((len(rows), tower.width), dtype=np.float32)
    was_training = tower.training
    tower.eval()
    with torch.no_grad():
        for batch in inference_order(len(rows), AT_ONCE, rows.widths):
            inputs = {name: torch.from_numpy(array) for name, array in rows.batch(batch).items()}
            features[batch] = tower(inputs).float().numpy()
    tower.train(was_training)
    return np.split(features, np.cumsum(tower.feature_blocks or (tower.width,))[:-1], axis=1)
