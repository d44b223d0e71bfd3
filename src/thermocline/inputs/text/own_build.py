"""Text towers over modules of the caller's own, each with its tokenizer."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from thermocline.backbones.adapters import Adapters, inject
from thermocline.config import ResolvedConfig
from thermocline.errors import ConfigError
from thermocline.inputs.own_backbone import OwnBackbone, OwnRecord, needed_again, own_backbone
from thermocline.inputs.own_outputs import ROWS, head_note, tried
from thermocline.inputs.text.rows import JOINT
from thermocline.inputs.text.tokenizer import load_tokenizer
from thermocline.inputs.text.tower import STATES, TextTower

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPTION = "model.text.checkpoint"
CALLED = "module(input_ids=ids, attention_mask=mask), both int64 (rows, tokens)"


def own_text(config: ResolvedConfig) -> OwnBackbone | None:
    """Return the module that was given for texts, or None.

    Raises:
        ConfigError: The options name one that was not given.
    """
    return own_backbone(config, OPTION)


def own_tokenizer(own: OwnBackbone) -> PreTrainedTokenizerBase:
    """Return a copy of a module's tokenizer, or the one in its folder.

    Raises:
        CheckpointError: There is no tokenizer in the folder.
    """
    if isinstance(own.tokenizer, str | os.PathLike):
        folder = Path(own.tokenizer).expanduser()
        if not folder.is_dir():
            raise ConfigError(
                f"model holds {str(folder)!r} as the tokenizer of {own.kind}, and there is no such folder. Give one, "
                "or the tokenizer itself: model=(module, AutoTokenizer.from_pretrained(…))."
            )
        return load_tokenizer(folder, name=str(folder), trust_remote_code=False)
    made: PreTrainedTokenizerBase = copy.deepcopy(own.tokenizer)
    return made


def build_own_text(own: OwnBackbone, tokenizer: PreTrainedTokenizerBase, config: ResolvedConfig) -> TextTower:
    """Build a text tower over a copy of a module.

    Args:
        own: The module.
        tokenizer: Its tokenizer.
        config: Says the pooling, and whether its weights count as pretrained.

    Raises:
        ConfigError: It does not run on tokens, or gives no features; a pooling, and it gives one vector a row.
    """
    options, module = config.model.text, own.copied()
    ids = torch.tensor([[0, len(tokenizer) - 1, 0, 0]] * ROWS)
    called = f"{CALLED}; ids up to {len(tokenizer) - 1:,}, the tokenizer's last"
    run = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    out = tried(module, lambda: module(**run), called, STATES)
    by_token = out.dim() == 3
    if out.dim() == 4 or (by_token and out.shape[1] != ids.shape[1]):
        raise ConfigError(
            f"{own.kind}, given as model=, gives outputs of shape {tuple(out.shape)} for {ROWS} rows of "
            f"{ids.shape[1]} tokens. It has to give (rows, tokens, width), or (rows, width)."
        )
    if not by_token and options.pooling != "auto":
        raise ConfigError(
            f"model.text.pooling={options.pooling} makes one vector of those of the tokens, and {own.kind} gives one a "
            "row by itself. Leave it out."
        )
    pooling = "mean" if options.pooling == "auto" else options.pooling
    tower = TextTower(
        module,
        pooling=pooling,
        pretrained=options.pretrained,
        features=int(out.shape[-1]),
        by_token=by_token,
        own=OwnRecord.of(own),
    )
    counts = "count as pretrained (model.text.pretrained=false: as new)" if options.pretrained else "count as new"
    form = f"{pooling} of its tokens" if by_token else "one vector a row"
    tower.notes = (f"{own.kind} of your own, {form}; its weights as given {counts}",)
    tower.notes += head_note(module, tower.features, "give the encoder below it for hidden states")
    if frozen := sum(not one.requires_grad for one in own.value.parameters()):
        tower.notes += (f"{frozen} of its parameters had requires_grad=False; the plan decides (frozen_layers)",)
    return tower


def check_length(tower: TextTower, length: int) -> None:
    """Check that a module runs on as many tokens as a row may have.

    Raises:
        ConfigError: It does not.
    """
    module, ids = tower.backbone, torch.zeros(ROWS, length, dtype=torch.long)
    called = f"module(input_ids=ids, attention_mask=mask), both int64 ({ROWS}, {length}); model.text.max_length sets it"
    tried(module, lambda: module(input_ids=ids, attention_mask=torch.ones_like(ids)), called, STATES)


def describe_own_text(tower: TextTower) -> dict[str, Any]:
    """Return what `rebuild_own_text` needs besides pooling and adapters, as plain data for JSON."""
    assert tower.own is not None
    return {**tower.own.to_dict(), "features": tower.features, "by_token": tower.by_token}


def rebuild_own_text(data: Mapping[str, Any], config: ResolvedConfig) -> TextTower:
    """Build a saved tower over a copy of the module that is given again; the weights are loaded by the caller.

    Raises:
        ArtifactError: None was given, or it has other weights.
        MissingDependencyError: It has adapters, and peft is not installed.
    """
    described, record = data["own"], OwnRecord.from_dict(data["own"])
    tower = TextTower(
        needed_again(config, OPTION, record).copied(),
        pooling=data["pooling"],
        pretrained=data["pretrained"],
        features=int(described["features"]),
        by_token=bool(described["by_token"]),
        own=record,
    )
    if adapters := data.get("adapters"):
        tower.adapters = Adapters.from_dict(adapters)
        inject(tower.backbone, tower.adapters)
    read = data["processor"]
    tower.read_pair(read.get("pair", JOINT), len(read["columns"]["columns"]))
    return tower
