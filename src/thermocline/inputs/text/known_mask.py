"""An attention mask on a device of which the host knows whether it hides anything."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree


class KnownMask(torch.Tensor):
    """An attention mask whose `all()` is known.

    In each forward pass transformers asks a mask whether it hides anything (`masking_utils`: `padding_mask.all()`)
    and waits for the device to say so. In all else it is an ordinary tensor, and what derives from it is one, but for
    the same mask of another type.
    """

    whole: bool

    @classmethod
    def of(cls, mask: torch.Tensor, on_host: torch.Tensor) -> KnownMask:
        """Return a mask of which the host has the same values."""
        return cls._named(mask, whole=bool(on_host.all()))

    @classmethod
    def _named(cls, mask: torch.Tensor, *, whole: bool) -> KnownMask:
        out = mask.as_subclass(cls)
        out.whole = whole
        return out

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer `all()`; hand everything else on, as of an ordinary tensor."""
        first = args[0] if args and isinstance(args[0], KnownMask) else None
        if first is not None and func is torch.Tensor.all and len(args) == 1 and not kwargs:
            return first.whole
        plain, options = pytree.tree_map_only(KnownMask, _plain, (args, kwargs or {}))
        out = func(*plain, **options)
        if first is not None and func in (torch.Tensor.to, torch.Tensor.bool):
            return cls._named(out, whole=first.whole)
        return out


def _plain(mask: KnownMask) -> torch.Tensor:
    with torch._C.DisableTorchFunctionSubclass():
        return mask.as_subclass(torch.Tensor)
