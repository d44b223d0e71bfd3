"""The text tower: any encoder or decoder that transformers' AutoModel builds, with a pooling.

Two texts may be read apart and compared: `[u, v, |u − v|, u · v]` of their features u and v (InferSent: Conneau et al.
2017; SBERT: Reimers and Gurevych 2019), and their cosine. Or the texts of any number of columns are read one by one,
and their features stand side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from thermocline.backbones.adapters import Adapters
from thermocline.contracts.tower import ROW, TOKEN, Tower
from thermocline.data.moving import HOST, on_host
from thermocline.errors import listing
from thermocline.inputs.own_backbone import OwnRecord
from thermocline.inputs.own_outputs import tensor_of
from thermocline.inputs.text.known_mask import KnownMask
from thermocline.inputs.text.rows import APART, EACH, JOINT, READINGS, readings_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


PADDED = 32  # tokens of a row with padding, where it is tried whether features depend on that
STATES = ("last_hidden_state", "pooler_output")
"""Where a module of the caller's own has the features of its tokens, or of the row."""


class TextTower(Tower):
    """A transformers backbone and a pooling. Grains: `row`, and `token` where a row is one sequence.

    Args:
        backbone: A model whose first output is `(rows, tokens, width)`.
        pooling: `cls` (first token), `mean` (over real tokens) or `last` (last real token).
        pretrained: Whether the backbone has pretrained weights.
        features: Features of a sequence; None: as the backbone's configuration says.
        by_token: Whether the backbone gives features of tokens, and not of rows.
        own: What is known of a backbone of the caller's own; else None.

    Attributes:
        pair: How texts of several columns are read: `joint`, `apart`, `both` or `each`; see `read_pair`.
        features: Features of a sequence.
        adapters: The adapters in the backbone, or None.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        pooling: str,
        pretrained: bool,
        features: int | None = None,
        by_token: bool = True,
        own: OwnRecord | None = None,
    ) -> None:
        super().__init__()
        self.own, self.by_token = own, by_token
        self.backbone = backbone
        self.pooling = pooling
        self.pretrained = pretrained
        config: Any = getattr(backbone, "config", None)
        if getattr(config, "use_cache", False):
            config.use_cache = False  # keys and values are for generation, which is not done
        self.features = features or _hidden_size(config)
        self.read_pair(JOINT)
        self.adapters: Adapters | None = None

    def read_pair(self, pair: str, columns: int = 2) -> None:
        """Set how two texts are read: in one sequence, or each alone and compared, or both; or any number, each alone.

        Args:
            pair: `joint`, `apart`, `both` or `each`.
            columns: Columns of text, where each is read alone.

        Raises:
            ValueError: Another word.
        """
        if pair not in READINGS:
            raise ValueError(f"a pair of texts is read {listing(READINGS)}, not {pair!r}")
        self.pair, self.columns = pair, columns
        joint = (self.features,) * (pair != APART)
        self.feature_blocks = () if pair == JOINT else (*joint, *(self.features,) * 4, 1)
        if pair == EACH:
            self.feature_blocks = (self.features,) * columns
        self.width = sum(self.feature_blocks) or self.features

    def forward(self, inputs: Mapping[str, torch.Tensor], *, grain: str = ROW) -> torch.Tensor:
        """Map token ids to features.

        Args:
            inputs: `input_ids` and `attention_mask`, int64 `(rows, tokens)`; where texts are read apart
                `(rows, readings, tokens)`, the joint reading first.
            grain: `row` or `token`.

        Returns:
            Float `(rows, width)`; for `token` the hidden states `(rows, tokens, width)`, those of padding included.

        Raises:
            ValueError: Another grain, or `token` where texts are read apart.
        """
        self.check_grain(grain)
        mask = inputs["attention_mask"].flatten(0, -2)
        given = KnownMask.of(mask, on_host(inputs, "attention_mask")) if self._may_know(inputs) else mask
        out = self.backbone(input_ids=inputs["input_ids"].flatten(0, -2), attention_mask=given)
        states: torch.Tensor = out[0] if self.own is None else tensor_of(out, STATES)
        if grain == TOKEN:
            return states
        return self._of_rows(self._pooled(states, mask) if self.by_token else states, inputs)

    def _may_know(self, inputs: Mapping[str, torch.Tensor]) -> bool:
        """Whether the host has a copy of the inputs, and the backbone is one of transformers that is not compiled."""
        return HOST in inputs and self.own is None and self.backbone._compiled_call_impl is None

    def row_states(self, states: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """Return the mean of a layer's output over real tokens; two texts that are read apart are compared.

        Args:
            states: Float `(rows * readings, tokens, width)`; None is returned for other shapes.
            inputs: As in `forward`.
        """
        mask = inputs["attention_mask"].flatten(0, -2)
        if states.dim() != 3 or states.shape[:2] != mask.shape:
            return None
        return self._of_rows(_mean(states.float(), mask), inputs)

    def _of_rows(self, pooled: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return features of rows, `(rows, width)`, from those of their sequences."""
        if self.pair == JOINT:
            return pooled
        if self.pair == EACH:
            return pooled.reshape(len(inputs["input_ids"]), -1)
        return _compared(pooled.view(-1, readings_of(self.pair, 2), pooled.shape[-1]))

    def _pooled(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.pooling == "cls":
            return states[:, 0]
        if self.pooling == "last":
            last = mask.sum(dim=1) - 1
            return states[torch.arange(states.shape[0], device=states.device), last]
        return _mean(states, mask)

    def trial(self) -> torch.Tensor:
        """Return the features of a row of four tokens a reading, `(1, width)`, in eval mode and without gradients."""
        was_training = self.training
        self.eval()
        ids = torch.ones(1, readings_of(self.pair, self.columns), 4, dtype=torch.long)
        with torch.no_grad():
            features = self({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        self.train(was_training)
        return torch.as_tensor(features)

    @property
    def grains(self) -> frozenset[str]:
        """`row`, and `token` where a row is one sequence."""
        return frozenset({ROW, TOKEN} if self.pair == JOINT and self.by_token else {ROW})

    @property
    def backbone_module(self) -> nn.Module:
        """The backbone."""
        return self.backbone

    @property
    def library_module(self) -> nn.Module | None:
        """The backbone, unless it is the caller's own."""
        return self.backbone if self.own is None else None

    @property
    def layer_example(self) -> dict[str, torch.Tensor] | None:
        """Of a backbone of the caller's own four tokens, int64 `(1, 4)`."""
        ids = torch.zeros(1, 4, dtype=torch.long)
        return None if self.own is None else {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    @property
    def varying_shapes(self) -> bool:
        """Texts come in many widths."""
        return True


def _hidden_size(config: Any) -> int:
    """Return the width of hidden states; of a backbone that reads more than texts that of its text part."""
    of_texts = getattr(config, "get_text_config", None)
    for one in (config, of_texts() if callable(of_texts) else None):
        for name in ("hidden_size", "d_model"):
            if size := getattr(one, name, None):
                return int(size)
    raise AttributeError(f"{type(config).__name__} names neither hidden_size nor d_model")


def _mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean over real tokens, `(rows, width)`."""
    weight = mask.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def _compared(readings: torch.Tensor) -> torch.Tensor:
    """Return what two texts have in common, after the joint reading where there is one.

    Args:
        readings: Features `(rows, readings, features)`; the last two readings are of the two texts.
    """
    *joint, u, v = readings.unbind(1)
    cosine = nn.functional.cosine_similarity(u, v, dim=1).unsqueeze(1)
    return torch.cat([*joint, u, v, (u - v).abs(), u * v, cosine], dim=1)


def token_limit(tower: TextTower, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the most tokens a row may have: the tokenizer's limit or that of the position embeddings."""
    limit = int(tokenizer.model_max_length)
    config: Any = getattr(tower.backbone, "config", None)
    for module in tower.backbone.modules():
        # learned positions that start after the padding index (the RoBERTa family) are fewer
        if isinstance(module, nn.Embedding) and module.num_embeddings == getattr(
            config, "max_position_embeddings", None
        ):
            offset = module.padding_idx + 1 if module.padding_idx is not None else 0
            limit = min(limit, module.num_embeddings - offset)
    places = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    return min(limit, int(places)) if places and int(places) > 0 else limit


def depends_on_padding(tower: TextTower, vocabulary: int, *, most: int = PADDED) -> bool:
    """Return whether a row's features change with its padding, as FNet's do.

    Args:
        tower: The tower.
        vocabulary: How many tokens there are.
        most: The most tokens that a row may have.
    """
    was_training = tower.training
    tower.eval()
    width = min(most, PADDED)
    ids = torch.arange(5, 5 + min(6, width - 1)).remainder(vocabulary).unsqueeze(0)
    behind = torch.zeros(1, width - ids.shape[1], dtype=torch.long)
    padded = torch.cat([ids, behind], dim=1)
    mask = torch.cat([torch.ones_like(ids), behind], dim=1)
    with torch.no_grad():
        alone = tower({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        with_padding = tower({"input_ids": padded, "attention_mask": mask})
    tower.train(was_training)
    return not torch.allclose(alone, with_padding, atol=1e-4, rtol=1e-4)
