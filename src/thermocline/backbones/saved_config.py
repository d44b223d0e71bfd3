"""Saved configurations of backbones: what would have a library read other files, ask a hub or run code is refused."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

#: Names under which timm and transformers take files, hubs or code.
ELSEWHERE = frozenset(
    {"checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "custom_load"}
    | {"hf_hub_id", "hf_hub_filename", "use_pretrained_backbone", "use_timm_backbone", "trust_remote_code"}
    | {"code_revision", "pretrained_model_name_or_path", "quantization_config"}
)
_MODELS = ("backbone", "architecture", "model_type")  # names of models that a library builds by itself
_WRAPPERS = ("timm_wrapper",)
_SOURCE = re.compile(r"\s*(local-dir|hf[-_]hub|ms-hub|file|https?)\s*:", re.IGNORECASE)
_IMPLEMENTATION = re.compile(r"_*(attn|attention|experts)_implementation(_internal)?")
_ORIGIN = ("_name_or_path",)  # where it was read from; nothing to load
_CODE = "auto_map"
_LABELS = ("id2label", "label2id")  # names that a user chose
_COUNT = re.compile(r"(num|n)_\w+|\w*(layers|layer|depth|depths|blocks|heads|labels|classes)")
_MOST = 100_000
_DEEPEST = 40


def checked_config(config: Mapping[str, Any], where: str, *, code: bool = False) -> dict[str, Any]:
    """Return a saved configuration without what names its origin, code, or how attention is computed.

    Attention is computed as the library does by default: that of a file may name a repository of kernels.

    Args:
        config: As JSON has it.
        where: What it is, for the message, such as `text/config.json`.
        code: Whether code that it names is kept.

    Raises:
        ValueError: At some depth it names a file, a hub or kernels, or counts more parts than any model has.
    """
    checked: dict[str, Any] = _Checker(where, code=code).mapping(config, ())
    return checked


class _Checker:
    def __init__(self, where: str, *, code: bool) -> None:
        self.where, self.code = where, code

    def mapping(self, given: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        """Check a mapping and what lies in it."""
        if len(path) > _DEEPEST:
            raise self._refused(path[:3], "it is nested too deeply")
        kept = {}
        for key, value in given.items():
            at = (*path, str(key))
            if key in _LABELS:
                kept[key] = value
                continue
            if key in ELSEWHERE and value:
                raise self._refused(at, f"{_shown(value)} would have files read or a hub asked that are not of it")
            if _IMPLEMENTATION.fullmatch(str(key)):
                self._check_implementation(at, value)
            elif key not in _ORIGIN and (key != _CODE or self.code):
                kept[key] = self.value(key, value, at)
        return kept

    def value(self, key: str, value: Any, at: tuple[str, ...]) -> Any:
        """Check the value of a key, or an entry of a list that is one."""
        if isinstance(value, Mapping):
            return self.mapping(value, at)
        if isinstance(value, list | tuple):
            return [self.value(key, one, (*at, str(number))) for number, one in enumerate(value)]
        if isinstance(value, str):
            self._check_text(key, value, at)
        elif isinstance(value, int) and abs(value) > _MOST and _COUNT.fullmatch(str(key)):
            raise self._refused(at, f"no model has {value:,}")
        return value

    def _check_text(self, key: str, value: str, at: tuple[str, ...]) -> None:
        if _SOURCE.match(value) or (key in _MODELS and ("/" in value or "\\" in value or ":" in value)):
            raise self._refused(at, f"{_shown(value)} is no model that a library builds by itself")
        if key == "model_type" and value in _WRAPPERS:
            raise self._refused(at, f"{_shown(value)} is a model of another library, which is not saved so")

    def _check_implementation(self, at: tuple[str, ...], value: Any) -> None:
        values = value.values() if isinstance(value, Mapping) else [value]
        for one in values:
            if isinstance(one, str) and not re.fullmatch(r"[\w|]*", one):
                raise self._refused(at, f"{_shown(one)} is a repository of kernels, which runs code from a hub")

    def _refused(self, path: tuple[str, ...], why: str) -> ValueError:
        return ValueError(f"{self.where}: {'.'.join(path)} is refused: {why}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def only_shapes() -> bool:
    """Whether modules are built on the meta device at this moment: for their shapes, without memory."""
    return torch.get_default_device().type == "meta"


_inside: list[bool] = []  # of each context that is open, in whatever thread: what the setting was before the first
_changing = threading.Lock()


@contextmanager
def no_hub() -> Iterator[None]:
    """Refuse every request to a hub inside the context, in all threads."""
    from huggingface_hub import constants

    with _changing:
        _inside.append(_inside[0] if _inside else bool(constants.HF_HUB_OFFLINE))
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        with _changing:
            before = _inside.pop()
            if not _inside:
                constants.HF_HUB_OFFLINE = before
