"""Which convolutions of a model feed one BatchNorm and nothing else.

One image runs through a copy of the model that shares its weights. A dispatch mode sees every operator, knows the
outputs of convolutions by identity and notes what reads them: also an operator that is in no autograd graph (a detached
copy, a comparison) is a second reader. A module is known by the forward that is running, so that a weight may be made
in it (weight standardisation, a parametrisation) and need not be a parameter.
"""

from __future__ import annotations

import copy
import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from thermocline.efficiency.memory.conv_bn import CONVOLUTIONS, NORM, Fold, Pair, has_hooks, own_forward
from thermocline.errors import LayerMapError, first_line
from thermocline.tuning.layers.example_inputs import examples_of
from thermocline.tuning.random_numbers import RandomNumbers

#: The largest difference of a folded pair from the plain one, as a share of the largest output.
_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
_OWN_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def pairs_of(model: nn.Module, example: Any = None) -> tuple[Pair, ...]:
    """Find the pairs that `ConvBN` may fold, and check each of them.

    The model is not touched: neither statistics, flags, hooks and modes nor the random numbers of torch. It is run
    in eval mode and, where that works, in train mode with its norms in eval, for what exists in training only.

    Args:
        model: On any device, whatever of it trains.
        example: Inputs of one forward pass: a tensor, a tuple of positional or a mapping of keyword arguments; a
            tensor on the meta device is replaced by random values of its shape. None makes them from the
            configuration of a timm or transformers model.

    Returns:
        The pairs in the order of the model's modules. One that computes something else when it is folded, or whose
        modules carry hooks, has a note that says so.

    Raises:
        LayerMapError: The model cannot be copied, or no forward pass works.
    """
    modules = dict(model.named_modules())
    if not any(isinstance(m, CONVOLUTIONS) for m in modules.values()) or not any(map(_fixed_norm, modules.values())):
        return ()
    devices = {p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"}
    with RandomNumbers(0, devices=sorted(devices)):
        watches = _passes(model, examples_of(model) if example is None else [example])
    order = {name: place for place, name in enumerate(modules)}
    linked = sorted({link for watch in watches for link in watch.links().items()}, key=lambda link: order[link[0]])
    return tuple(
        Pair(conv, norm, _note(modules[conv], modules[norm], [w.errors[conv] for w in watches if conv in w.errors]))
        for conv, norm in linked
        if all(watch.links().get(conv) == norm or not {conv, norm} & watch.calls.keys() for watch in watches)
    )


def _fixed_norm(module: nn.Module) -> bool:
    return isinstance(module, NORM) and module.running_mean is not None and module.running_var is not None


def _note(conv: nn.Module, norm: nn.Module, errors: Iterable[float]) -> str:
    hooked = [word for word, module in (("convolution", conv), ("norm", norm)) if has_hooks(module)]
    if hooked:
        return f"hooks on the {' and the '.join(hooked)}"
    worst = max(errors, default=0.0)
    dtype = next((p.dtype for p in norm.buffers() if p.is_floating_point()), torch.float32)
    dtypes = {p.dtype for p in conv.parameters()} | {dtype}
    if worst > max(_TOLERANCE.get(dtype, 1e-3) for dtype in dtypes):
        return f"folded, its output differs by {worst:.1e} of the largest value"
    return ""


# -- a copy of the model ------------------------------------------------------------------------


def _passes(model: nn.Module, examples: Iterable[Any]) -> list[_Watch]:
    """Run a copy in both modes on the first example that works."""
    failed = "it says nothing of its inputs"
    for example in examples:
        try:
            watches = [_watched(model, example, training=False)]
        except Exception as error:  # a foreign forward pass may raise anything
            failed = f"{type(error).__name__}: {first_line(error)}"
            continue
        try:
            watches.append(_watched(model, example, training=True))
        except Exception:  # a model that asks for labels in train mode, or for more than one row
            return watches
        return watches
    raise LayerMapError(
        f"No forward pass of {type(model).__name__} to find convolutions with their norms ({failed}). Give example= "
        "as model(…) takes it: a tensor, a tuple of arguments or a mapping of keyword arguments."
    )


def _watched(model: nn.Module, example: Any, *, training: bool) -> _Watch:
    shadow = _shadow(model)
    shadow.train(training)
    for module in shadow.modules():
        if isinstance(module, NORM):
            module.eval()
    watch = _Watch()
    for name, module in shadow.named_modules():
        if own_forward(module) and (isinstance(module, CONVOLUTIONS) or _fixed_norm(module)):
            stand_in = watch.conv if isinstance(module, CONVOLUTIONS) else watch.norm
            vars(module)["forward"] = functools.partial(stand_in, name, module, module.forward)
    inputs = _real(example, model)
    with torch.no_grad(), watch:
        watch.finish(_call(shadow, inputs))
    return watch


def _shadow(model: nn.Module) -> nn.Module:
    """A copy with the same weights in memory, all of which train, and without hooks of the caller."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(p.detach(), requires_grad=p.is_floating_point()) for p in model.parameters()
    }
    for module in model.modules():
        for name in _OWN_HOOKS:
            memo[id(getattr(module, name))] = type(getattr(module, name))()
    return copy.deepcopy(model, memo)


def _real(example: Any, model: nn.Module) -> Any:
    """The example on the model's device, with values."""
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))

    def made(tensor: Tensor) -> Tensor:
        if not tensor.is_meta or first.is_meta:
            return tensor.to(first.device)
        if tensor.is_floating_point():
            return torch.randn(tensor.shape, device=first.device).to(first.dtype)
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device=first.device)

    return pytree.tree_map_only(Tensor, made, dict(example) if isinstance(example, Mapping) else example)


def _call(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, Sequence) and not isinstance(inputs, str):
        return model(*inputs)
    return model(inputs)


# -- its forward pass -----------------------------------------------------------------------------


@dataclass
class _Output:
    """What a convolution operator made in the forward of a convolution module."""

    conv: str
    tensor: Tensor  # held, so that its id stays its own
    readers: list[str] = field(default_factory=list)
    returned: bool = False  # by the module, and not by the model
    inputs: tuple[Any, Any] = ((), {})


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the outputs of convolutions through one forward pass.

    Attributes:
        calls: How often each convolution and norm ran.
        errors: How far the output of a norm is from the folded one, as a share of the largest, by convolution.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: Counter[str] = Counter()
        self.errors: dict[str, float] = {}
        self._outputs: dict[int, _Output] = {}
        self._running = [""]
        self._modules: dict[str, nn.Module] = {}
        self._paused = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if self._paused:
            return out
        for leaf in pytree.tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor) and id(leaf) in self._outputs:
                self._outputs[id(leaf)].readers.append(self._running[-1])
        if func.overloadpacket is torch.ops.aten.convolution:
            self._outputs[id(out)] = _Output(self._running[-1], out)
        return out

    def conv(self, name: str, module: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
        """Stand in for a convolution's forward."""
        self._modules[name] = module
        out = self._run(name, forward, args, kwargs)
        made = self._outputs.get(id(out))
        if made and made.conv == name:
            made.returned, made.inputs = True, (args, kwargs)
        return out

    def norm(self, name: str, module: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
        """Stand in for a norm's forward; what comes straight from a convolution is computed both ways."""
        x = args[0] if args else next(iter(kwargs.values()), None)
        made = self._outputs.get(id(x))
        if made and made.returned and not made.readers and not self._paused:
            self._paused = True
            try:
                self.errors[made.conv] = _difference(self._modules[made.conv], module, forward, made)
            finally:
                self._paused = False
        return self._run(name, forward, args, kwargs)

    def _run(self, name: str, forward: Any, args: Any, kwargs: Any) -> Any:
        if self._paused:
            return forward(*args, **kwargs)
        self.calls[name] += 1
        self._running.append(name)
        try:
            return forward(*args, **kwargs)
        finally:
            self._running.pop()

    def finish(self, result: Any) -> None:
        """Note which outputs the model itself returns, and release the activations."""
        for leaf in pytree.tree_leaves(result):
            if id(leaf) in self._outputs:
                self._outputs[id(leaf)].returned = False
        for made in self._outputs.values():
            made.tensor, made.inputs = torch.empty(0), ((), {})

    def links(self) -> dict[str, str]:
        """Return the norm of each convolution that has one, where both ran once and nothing else took part."""
        made = list(self._outputs.values())
        count = Counter(output.conv for output in made)
        return {
            output.conv: output.readers[0]
            for output in made
            if output.returned
            and output.conv in self.errors
            and len(output.readers) == 1
            and self.calls[output.conv] == self.calls[output.readers[0]] == count[output.conv] == 1
        }


def _difference(conv: nn.Module, norm: nn.Module, plain: Any, made: _Output) -> float:
    """Return the largest difference between both ways, as a share of the largest output; the norm runs `plain`."""
    if made.tensor.is_meta:
        return 0.0
    fold = Fold(conv, norm, made.conv)  # type: ignore[arg-type]
    args, kwargs = made.inputs
    with _random_scale(norm):
        first = plain(made.tensor.clone())  # an activation in the norm's forward may write into its input
        with torch.enable_grad():
            second = fold.run_norm(plain, (fold.run_conv(type(conv).forward.__get__(conv), args, kwargs),), {})
    first, second = first.double(), second.detach().double()
    if first.shape != second.shape:
        return float("inf")
    both = first.isfinite() & second.isfinite()
    if not both.any():  # the weights are at fault
        return 0.0
    largest = max(float(first[both].abs().max()), 1.0)
    return float((first - second)[both].abs().max()) / largest


@contextmanager
def _random_scale(norm: nn.Module) -> Iterator[None]:
    """Give the copy of a norm a random scale and shift: with those of a new norm, an error might not show."""
    held = dict(norm._parameters)
    for name, lowest in (("weight", 0.5), ("bias", 0.0)):
        value = held.get(name)
        if value is not None:
            norm._parameters[name] = nn.Parameter(torch.rand_like(value) + lowest)
    try:
        yield
    finally:
        norm._parameters.update(held)
