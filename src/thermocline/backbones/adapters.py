"""Adapters of the peft library, injected into a backbone in place: LoRA and (IA)³."""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from thermocline.errors import MissingDependencyError

INJECTED = ("lora", "ia3")
"""The methods that add parameters; the others choose among those of the backbone."""


@dataclass(frozen=True)
class Adapters:
    """Which adapters a backbone has, and where: all that is needed to inject them again.

    Attributes:
        method: `lora` or `ia3`.
        targets: Names of the backbone's modules that are adapted.
        feedforward: Those of them whose input is scaled rather than their output (`ia3`).
        rank: Of the update (`lora`).
        alpha: The update is multiplied by `alpha / rank` (`lora`).
    """

    method: str
    targets: tuple[str, ...]
    feedforward: tuple[str, ...] = ()
    rank: int = 8
    alpha: float = 16.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Adapters:
        """Return what `to_dict` wrote."""
        lists = {key: tuple(str(name) for name in data[key]) for key in ("targets", "feedforward")}
        return cls(**{**data, **lists})


def is_installed() -> bool:
    """Whether peft is there; nothing is imported."""
    return importlib.util.find_spec("peft") is not None


def require_peft(method: str) -> None:
    """Check that the library is there; nothing is imported.

    Raises:
        MissingDependencyError: It is not.
    """
    if not is_installed():
        raise MissingDependencyError(
            f"The adapters of model.peft={method!r} need the package peft. Install it: pip install 'thermocline[peft]'"
        )


def inject(backbone: nn.Module, adapters: Adapters) -> None:
    """Inject new adapters into a backbone, in place; its outputs stay the same until they are trained.

    LoRA (Hu et al., ICLR 2022) adds to a matrix a product of two of low rank, the second of them zero at the start.
    (IA)³ (Liu et al., NeurIPS 2022) multiplies activations by a vector, of ones at the start.

    Raises:
        MissingDependencyError: peft is not installed.
    """
    require_peft(adapters.method)
    import peft

    config: Any
    if adapters.method == "lora":
        config = peft.LoraConfig(
            r=adapters.rank, lora_alpha=adapters.alpha, lora_dropout=0.0, target_modules=_exactly(adapters.targets)
        )
    else:
        config = peft.IA3Config(
            target_modules=_exactly(adapters.targets), feedforward_modules=_exactly(adapters.feedforward)
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out")  # peft corrects this for GPT-2 by itself
        peft.inject_adapter_in_model(config, backbone)
    for name in adapters.targets:
        _show_constants(backbone.get_submodule(name))


def merge(backbone: nn.Module, adapters: Adapters) -> None:
    """Put what adapters have learnt into the weights of a backbone, in place: its modules are then as before `inject`.

    Raises:
        MissingDependencyError: peft is not installed.
    """
    require_peft(adapters.method)
    for name in adapters.targets:
        layer: Any = backbone.get_submodule(name)
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(backbone.get_submodule(parent), last, layer.get_base_layer())


def ia3_targets(backbone: nn.Module, candidates: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Choose what (IA)³ scales.

    Where peft has a default for the model's type, that is used: keys, values, and the input of the second
    feed-forward matrix (of BERT also that of the attention's output: both are called `output.dense`). In other
    models, such as ViTs and convolutional nets, the output of every candidate is scaled.

    Args:
        backbone: The model.
        candidates: Names of the modules that may be adapted.

    Returns:
        The modules to adapt, and those of them whose input is scaled.
    """
    from peft.utils import constants

    kind = getattr(getattr(backbone, "config", None), "model_type", "")
    keys = constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING.get(kind, [])
    inputs = constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING.get(kind, [])
    chosen = _ending(candidates, keys)
    return (chosen, _ending(chosen, inputs)) if chosen else (tuple(candidates), ())


def reachable(tower: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Return those modules of a tower's backbone that are called in a forward pass, so that an adapter has an effect.

    Some blocks use a matrix's weight without calling its module (BEiT's `qkv`, torch's MultiheadAttention): an adapter
    there would get no gradient. Such a module's parent is called in a forward pass of one row, and the module is not.

    Args:
        tower: A tower with `backbone` and `trial()`.
        names: Modules of the backbone.
    """
    backbone: Any = tower.get_submodule("backbone")
    called: set[str] = set()
    watched = {*names, *(name.rpartition(".")[0] for name in names)}
    hooks = [
        backbone.get_submodule(name).register_forward_pre_hook(lambda _module, _args, name=name: called.add(name))
        for name in watched
    ]
    try:
        tower.trial()  # type: ignore[operator]
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(name for name in names if name in called or name.rpartition(".")[0] not in called)


def _show_constants(layer: Any) -> None:
    """Copy the replaced module's attributes, such as a convolution's stride, for code that reads them."""
    for key, value in vars(layer.get_base_layer()).items():
        if not key.startswith("_") and not hasattr(layer, key):
            setattr(layer, key, value)


def _exactly(names: Iterable[str]) -> str:
    """Return a regular expression for exactly these names; given a list, peft compares endings."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def _ending(names: Iterable[str], keys: Iterable[str]) -> tuple[str, ...]:
    endings = tuple(f".{key}" for key in keys)
    return tuple(name for name in names if f".{name}".endswith(endings))
