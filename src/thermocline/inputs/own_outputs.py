"""What a module of the caller's own gives, as features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from thermocline.errors import ConfigError, first_line

_KEYS = ("pooler_output", "last_hidden_state")
ROWS = 2
"""Rows that a module is tried on."""


def tensor_of(out: Any, keys: tuple[str, ...] = _KEYS) -> torch.Tensor:
    """Return the tensor of what a module gave.

    Args:
        out: A tensor; an object or a mapping with one of the keys, as models of transformers give; or what has a tensor
            as its first element.
        keys: Names under which it is looked for, in this order.

    Raises:
        TypeError: There is none.
    """
    if isinstance(out, torch.Tensor):
        return out
    for key in keys:
        found = out.get(key) if isinstance(out, Mapping) else getattr(out, key, None)
        if isinstance(found, torch.Tensor):
            return found
    values = list(out.values()) if isinstance(out, Mapping) else list(out) if isinstance(out, list | tuple) else []
    if values and isinstance(values[0], torch.Tensor):
        return values[0]
    raise TypeError(f"it gives a {type(out).__name__}")


def image_features(out: Any, *, class_token: bool) -> torch.Tensor:
    """Return features `(images, width)`: a map averaged over its places, tokens by the class token or their mean.

    Raises:
        TypeError: There is no tensor of such a form.
    """
    found = tensor_of(out)
    if found.dim() == 4:
        return found.mean(dim=(-2, -1))
    if found.dim() == 3:
        return found[:, 0] if class_token else found.mean(dim=1)
    return found


def tried(module: nn.Module, run: Callable[[], Any], called: str, keys: tuple[str, ...] = _KEYS) -> torch.Tensor:
    """Return what a module gives for `ROWS` rows, in eval mode and without gradients.

    Args:
        module: The module.
        run: Runs it.
        called: How it is called, for the message.
        keys: As of `tensor_of`.

    Raises:
        ConfigError: It does not run, or gives something else than features of rows.
    """
    name = type(module).__name__
    modes = [(one, one.training) for one in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            found = tensor_of(run(), keys)
    except Exception as error:
        raise ConfigError(
            f"{name}, given as model=, does not run ({type(error).__name__}: {first_line(error)}). It is called as "
            f"{called}, and gives features (rows, width): a tensor, or an object with pooler_output or "
            "last_hidden_state."
        ) from error
    finally:
        for one, mode in modes:
            one.training = mode
    shape = tuple(found.shape)
    if not found.is_floating_point() or not 2 <= found.dim() <= 4 or shape[0] != ROWS:
        raise ConfigError(
            f"{name}, given as model=, gives a {str(found.dtype).removeprefix('torch.')} tensor of shape {shape} for "
            f"{ROWS} rows. It has to give features as floating-point numbers, (rows, width)."
        )
    if not bool(found.isfinite().all()):
        raise ConfigError(f"{name}, given as model=, gives values that are not finite for {called}. Check its weights.")
    return found


def head_note(module: Any, width: int, advice: str) -> tuple[str, ...]:
    """Return a note where features seem to be the outputs of the module's own head; or nothing."""
    config = getattr(module, "config", None)
    classes = getattr(module, "num_classes", None) or (
        getattr(config, "num_labels", None) if type(module).__name__.find("Classification") >= 0 else None
    )
    if classes != width:
        return ()
    return (f"its features are the {width} outputs of its own head; {advice}",)
