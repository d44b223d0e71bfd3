"""Tokenizers for text backbones: that of the pretrained model, or one trained on the training texts."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermocline.backbones.pretrained import TOKENIZER_FILES, has_tokenizer
from thermocline.errors import CheckpointError, ConfigError, MissingDependencyError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VOCABULARY = 8_000  # pieces of a tokenizer trained here; small, since its embeddings start at random


def load_tokenizer(folder: Path, *, name: str, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a pretrained model's folder, padding on the right.

    Raises:
        CheckpointError: There is none, or it cannot be read.
        MissingDependencyError: It takes the package sentencepiece or protobuf, which is not installed.
    """
    from transformers import AutoTokenizer

    if not has_tokenizer(folder):
        raise CheckpointError(
            f"The checkpoint {name!r} has no tokenizer files ({', '.join(TOKENIZER_FILES)}). Add the tokenizer "
            f"it was trained "
            "with, or set pretrained=false: a tokenizer is then trained on your texts."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=trust_remote_code)
    except Exception as error:
        if lacking := _lacking(error):
            raise MissingDependencyError(
                f"The tokenizer of {name!r} needs the package {lacking}, which is not installed. Install it: "
                "pip install 'thermocline[sentencepiece]'"
            ) from None
        raise CheckpointError(
            f"The tokenizer of {name!r} cannot be loaded ({type(error).__name__}: {first_line(error)})."
        ) from None
    tokenizer.padding_side = "right"
    tokenizer.truncation_side = "right"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
    tokenizer.model_max_length = int(min(tokenizer.model_max_length, 1_000_000))
    return tokenizer


def _lacking(error: BaseException) -> str:
    """Return the package that an error of transformers asks for, of those in the extra `sentencepiece`."""
    text = str(error).lower()
    for package, module in (("sentencepiece", "sentencepiece"), ("protobuf", "google.protobuf")):
        if package in text and not _is_there(module):
            return package
    return ""


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # there is no package `google` at all
        return False


def train_tokenizer(texts: Iterable[str], *, most: int = VOCABULARY) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE tokenizer (Sennrich et al. 2016; bytes as in GPT-2) on texts, deterministically.

    Args:
        texts: The training texts.
        most: The most pieces in the vocabulary.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=most,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=1_000_000,
    )


def hiding_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the token behind which others are hidden: the mask token, else that of unknown words.

    Raises:
        ConfigError: The tokenizer has neither.
    """
    for found in (tokenizer.mask_token_id, tokenizer.unk_token_id):
        if found is not None:
            return int(found)
    raise ConfigError(
        "model.text.token_dropout hides tokens behind the mask token or that of unknown words, and this checkpoint's "
        "tokenizer has neither. Leave it out."
    )


def fit_vocabulary(config: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a random model's configuration agree with a tokenizer trained here."""
    config.vocab_size = len(tokenizer)
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "cls_token_id": tokenizer.cls_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "decoder_start_token_id": tokenizer.cls_token_id,
    }
    for key, value in ids.items():
        if getattr(config, key, None) is not None or key == "pad_token_id":
            setattr(config, key, value)
