"""A convolution and the BatchNorm after it folded into one convolution, while the norm is in eval mode.

You, Qu, Yang et al., "Efficient ConvBN Blocks for Transfer Learning and Beyond", ICLR 2024 (mode "tune"): with fixed
statistics the norm is a scale per channel, which can be multiplied into the weights while both still train. A plain
pair saves two activations for the backward pass, the input of each module; a folded one saves the convolution's input
alone, and here no folded weight either (`conv_bn_fold`). `conv_bn_pairs` finds the pairs of a model.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from thermocline.efficiency.memory.conv_bn_fold import CONVOLVE, folded
from thermocline.errors import LayerMapError, did_you_mean

#: Modules that may be folded; a subclass may pad its input or standardise its weight in a forward of its own.
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORM = _BatchNorm

_NORMALISE = (F.batch_norm, torch.batch_norm)
_MARK = "_thermocline_folded"
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True)
class Pair:
    """A convolution whose output goes to one BatchNorm and nowhere else.

    Attributes:
        conv: Name of the convolution's module.
        norm: Name of the norm's module.
        note: Why the pair is left as it is; empty for one that is folded.
    """

    conv: str
    norm: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.conv} → {self.norm}" + (f": {self.note}" if self.note else "")


class ConvBN:
    """Folds pairs of a model for as long as a context lasts.

    A pair is folded at a call where its norm is in eval mode, gradients are recorded, and either the convolution's
    input or its weight wants one. At any other call the module's own forward runs, so that inference is bit for bit
    what it was, and a norm that goes back to train mode needs nothing.

    Args:
        model: Owns the pairs; nothing in it changes before `installed`.
        pairs: As `conv_bn_pairs.pairs_of` gives them. Those with a note are left out.

    Attributes:
        pairs: Those that are folded.
        notes: A line for each pair that is left out.

    Raises:
        LayerMapError: A pair names a module that the model does not have, or one of another kind.
    """

    def __init__(self, model: nn.Module, pairs: Iterable[Pair]) -> None:
        given = tuple(pairs)
        self.pairs = tuple(pair for pair in given if not pair.note)
        self.notes = tuple(str(pair) for pair in given if pair.note)
        self._model = model
        self._folds()

    def __repr__(self) -> str:
        return f"ConvBN({len(self.pairs)} pairs, {len(self.notes)} left out)"

    @property
    def model(self) -> nn.Module:
        """Owns the pairs."""
        return self._model

    @property
    def norms(self) -> list[nn.Module]:
        """The BatchNorms of the pairs."""
        return [self._model.get_submodule(pair.norm) for pair in self.pairs]

    @contextmanager
    def installed(self) -> Iterator[ConvBN]:
        """Fold the pairs inside the context; afterwards the modules are as they were, whatever was raised.

        A copy or a pickle that is made inside is not folded. Inside another such context of the same modules this
        one does nothing.
        """
        with ExitStack() as stack:
            for fold in self._folds():
                if not any(isinstance(vars(m).get("forward"), _Forward) for m in (fold.conv, fold.norm)):
                    _replace(stack, fold.conv, _ConvForward(fold.conv, fold))
                    _replace(stack, fold.norm, _NormForward(fold.norm, fold))
            yield self

    def _folds(self) -> list[Fold]:
        modules = dict(self._model.named_modules())
        for name, kind in [(p.conv, CONVOLUTIONS) for p in self.pairs] + [(p.norm, (NORM,)) for p in self.pairs]:
            if not isinstance(modules.get(name), kind):
                what = type(modules[name]).__name__ if name in modules else "not a module of this model"
                kinds = " or ".join(k.__name__.lstrip("_") for k in kind)
                raise LayerMapError(
                    f"A pair names {name!r}, which is {what}; it should be a {kinds}."
                    f"{did_you_mean(name, modules)} Take pairs from pairs_of(model, example)."
                )
        return [Fold(modules[pair.conv], modules[pair.norm], str(pair)) for pair in self.pairs]


def own_forward(module: nn.Module) -> bool:
    """Whether a module's forward is that of its class, or the folding one of this module."""
    forward = vars(module).get("forward")
    return forward is None or isinstance(forward, _Forward) or getattr(forward, "__self__", None) is module


def has_hooks(module: nn.Module) -> bool:
    """Whether hooks read the inputs or outputs of a module: then these must be the unfolded ones.

    A hook with the attribute `harmless` changes and reads nothing.
    """
    hooks = (hook for name in _HOOKS for hook in getattr(module, name).values())
    return any(not getattr(hook, "harmless", False) for hook in hooks)


class Fold:
    """Runs one pair: the state that its two modules share.

    Args:
        conv: Of `CONVOLUTIONS`.
        norm: A BatchNorm with running statistics.
        name: For messages.
    """

    def __init__(self, conv: nn.Module, norm: _BatchNorm, name: str) -> None:
        self.conv, self.norm, self.name = conv, norm, name
        self._waiting = False  # folded, and the norm has not seen it yet
        self._in_conv = _Instead(CONVOLVE, self._convolve)
        self._in_norm = _Instead(_NORMALISE, lambda _, args, kwargs: _first(args, kwargs))
        # the forward of torch's own norms does nothing but normalise
        self._norm_only = type(norm).forward is _BatchNorm.forward

    def run_conv(self, plain: Any, args: Any, kwargs: Any) -> Any:
        """Run the convolution's forward; what it convolves comes out normalised, where the pair may be folded."""
        if self._waiting:
            self._waiting = False
            raise self._lost()
        if not self._may():
            return plain(*args, **kwargs)
        with self._in_conv:
            return plain(*args, **kwargs)

    def run_norm(self, plain: Any, args: Any, kwargs: Any) -> Any:
        """Run the norm's forward, without the normalising if the convolution has done it."""
        if not self._waiting:
            return plain(*args, **kwargs)
        self._waiting = False
        x = _first(args, kwargs)
        if getattr(x, _MARK, None) is not self:
            raise self._lost()
        delattr(x, _MARK)
        if self._norm_only:
            return x
        with self._in_norm:
            return plain(*args, **kwargs)

    def _may(self) -> bool:
        norm = self.norm
        return (
            not norm.training
            and norm.running_mean is not None
            and torch.is_grad_enabled()
            and not torch.compiler.is_compiling()
            and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
            and not has_hooks(norm)
            and not has_hooks(self.conv)
        )

    def _convolve(self, func: Any, args: Any, kwargs: Any) -> Any:
        out = folded(self.norm, args, kwargs)
        if out is None:
            return func(*args, **kwargs)
        setattr(out, _MARK, self)
        self._waiting = True
        return out

    def _lost(self) -> LayerMapError:
        return LayerMapError(
            f"{self.name} was folded, but the output of the convolution did not go straight to the norm, as it did "
            "when the pair was found. Leave this pair out, or find the pairs on an example that takes this path."
        )


class _Forward:
    """Replaces a module's forward; a copy or a pickle of the module has the original one."""

    def __init__(self, module: nn.Module, fold: Fold) -> None:
        self._module, self._fold, self._plain = module, fold, module.forward
        functools.update_wrapper(self, module.forward)  # type: ignore[arg-type]

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self._module, "forward")  # asked of the copy, before it has a forward of its own


class _ConvForward(_Forward):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._fold.run_conv(self._plain, args, kwargs)


class _NormForward(_Forward):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._fold.run_norm(self._plain, args, kwargs)


class _Instead(TorchFunctionMode):
    """Calls something else in place of some functions of torch, whatever else a module's forward does."""

    def __init__(self, functions: tuple[Any, ...], instead: Any) -> None:
        super().__init__()
        self._functions, self._instead = functions, instead

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self._functions:
            return self._instead(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


def _replace(stack: ExitStack, module: nn.Module, forward: _Forward) -> None:
    before = vars(module).get("forward")
    vars(module)["forward"] = forward
    if before is None:
        stack.callback(vars(module).pop, "forward", None)
    else:
        stack.callback(vars(module).__setitem__, "forward", before)


def _first(args: Any, kwargs: Any) -> Any:
    return args[0] if args else next(iter(kwargs.values()), None)
