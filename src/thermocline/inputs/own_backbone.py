"""Modules of the caller's own as backbones: `Predictor(model=…)`.

A saved predictor has their weights and the name of their class, which is never imported: `load` is given the module
again. The caller's module stays as it is: a copy is trained.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from thermocline.backbones.saved_config import only_shapes
from thermocline.config import Needed, ResolvedConfig, is_recorded
from thermocline.errors import ArgumentError, ArtifactError, ConfigError, counted, did_you_mean, first_line, listing
from thermocline.registry import input_infos
from thermocline.tuning.layers.wrappers import unwrap
from thermocline.tuning.verify import tensors_hash

ARGUMENT = "model="
FORMS = (
    "model=module for images, model=(module, tokenizer) for texts, or both as a dict: "
    "model={'image': module, 'text': (module, tokenizer)}"
)
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class OwnBackbone(Needed):
    """A module that was given, with its tokenizer where it reads texts.

    Attributes:
        value: The module, out of its wrappers; it is the caller's, and stays as it is.
        tokenizer: A tokenizer of transformers, or the path of one; None for images.
    """

    tokenizer: Any = None

    @property
    def kind(self) -> str:
        """The class of the module: `my.package:Net`."""
        return f"{type(self.value).__module__}:{type(self.value).__qualname__}"

    @property
    def name(self) -> str:
        """What is recorded of it: its class, and a fingerprint of its weights, which tells one run from another."""
        return f"{self.kind}(weights {self._fingerprint})"

    @cached_property
    def _fingerprint(self) -> str:
        return tensors_hash(sorted(self.value.state_dict().items()))[:16]

    def copied(self) -> nn.Module:
        """Return a copy on the CPU, in float32 and in training mode, each of whose parameters may be trained.

        Raises:
            ConfigError: It cannot be copied.
        """
        try:
            made: nn.Module = copy.deepcopy(self.value)
        except Exception as error:
            raise ConfigError(
                f"{self.kind} was given as {ARGUMENT}, and copy.deepcopy of it fails ({type(error).__name__}: "
                f"{first_line(error)}). A copy is trained, so that yours stays as it is: let its attributes be such "
                "that can be copied."
            ) from error
        made = made.to(device="meta" if only_shapes() else "cpu", dtype=torch.float32).train()
        return made.requires_grad_()


@dataclass(frozen=True)
class OwnRecord:
    """What a saved predictor says of a module.

    Attributes:
        kind: Its class, as text: nothing imports it.
        shapes: Name of each parameter and buffer that is saved → its shape.
    """

    kind: str
    shapes: Shapes

    @classmethod
    def of(cls, own: OwnBackbone) -> OwnRecord:
        """Return the record of a module that was given."""
        return cls(own.kind, {name: tuple(one.shape) for name, one in own.value.state_dict().items()})

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"class": self.kind, "shapes": {name: list(shape) for name, shape in self.shapes.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OwnRecord:
        """Inverse of `to_dict`."""
        return cls(str(data["class"]), {str(k): tuple(map(int, v)) for k, v in dict(data["shapes"]).items()})

    def check(self, own: OwnBackbone) -> None:
        """Check that a module that is given again has parameters and buffers of these names and shapes.

        Raises:
            ArtifactError: It has others; the message lists the first of them.
        """
        now = OwnRecord.of(own).shapes
        lines = [f"{name}: {_shown(shape)} saved, {_shown(now.get(name))} given" for name, shape in self.shapes.items()]
        wrong = [line for line, name in zip(lines, self.shapes, strict=True) if now.get(name) != self.shapes[name]]
        wrong += [
            f"{name}: none saved, {_shown(shape)} given" for name, shape in now.items() if name not in self.shapes
        ]
        if wrong:
            more = f"\n  and {len(wrong) - 6} more" if len(wrong) > 6 else ""
            raise ArtifactError(
                f"The module that was given as {ARGUMENT} ({own.kind}) has other weights than the one that was saved "
                f"({self.kind}):\n  " + "\n  ".join(wrong[:6]) + f"{more}\nGive one that is built as that was."
            )


def _shown(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else str(list(shape))


def backbones_of(given: Any) -> dict[str, OwnBackbone]:
    """Return the modules that were given as `model=`: option → module.

    Raises:
        ConfigError: What was given is none of the forms that are taken, or a module that cannot be a backbone.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> list(backbones_of(net)), list(backbones_of({"image": net}))
        (['model.image.checkpoint'], ['model.image.checkpoint'])
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return dict([_backbone("text" if isinstance(given, tuple) else "image", given)])
    towers = [info.name for info in input_infos() if info.has_backbone]
    for name in given:
        if name not in towers:
            raise ConfigError(
                f"model has the key {name!r}; its keys are {listing(towers)}.{did_you_mean(name, towers)} It takes "
                f"{FORMS}."
            )
    if not given:
        raise ConfigError(f"model is an empty dict. It takes {FORMS}.")
    return dict(_backbone(tower, one) for tower, one in given.items())


def _backbone(tower: str, given: Any) -> tuple[str, OwnBackbone]:
    module, tokenizer = given, None
    if isinstance(given, tuple):
        if len(given) != 2 or tower != "text":
            raise ConfigError(f"model holds {_described(given)} for {tower}. It takes {FORMS}.")
        module, tokenizer = given
    _check_module(module, tower)
    module = unwrap(module)[0]
    if tower == "text":
        _check_tokenizer(tokenizer, module)
    elif getattr(module, "main_input_name", "pixel_values") == "input_ids":
        raise ConfigError(
            f"{type(module).__name__} reads texts, and was given for images. It needs its tokenizer: "
            "model=(module, tokenizer)."
        )
    return f"model.{tower}.checkpoint", OwnBackbone(module, tokenizer)


def _check_module(module: Any, tower: str) -> None:
    if isinstance(module, type):
        raise ConfigError(f"model holds the class {module.__name__} for {tower}: make an object, {module.__name__}(…).")
    if isinstance(module, str):
        raise ArgumentError(
            f"model={module!r} is a name, and model takes modules: {FORMS}. Pretrained weights by name are an option: "
            f"hyperparameters={{'model.text.checkpoint': …}} or hyperparameters={{'model.image.checkpoint': …}}."
        )
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"model holds {_described(module)} for {tower}, which is no torch.nn.Module. It takes {FORMS}; a "
            "checkpoint by name is an option: hyperparameters={'model." + tower + ".checkpoint': …}."
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise ConfigError(
            f"model holds a scripted module for {tower}, whose layers cannot be told apart. Give the module that "
            "torch.jit.script was called on."
        )
    tensors = [*module.named_parameters(), *module.named_buffers()]
    unset = [name for name, one in tensors if isinstance(one, UninitializedParameter | UninitializedBuffer)]
    if unset:
        raise ConfigError(
            f"{type(module).__name__} has parameters without a shape ({listing(unset, limit=3)}): run it once on an "
            "input before it is given as model=."
        )
    if empty := [name for name, one in tensors if one.is_meta]:
        raise ConfigError(
            f"{type(module).__name__} has {counted(len(empty), 'tensor')} on the meta device, without values "
            f"({listing(empty, limit=3)}). Load its weights before it is given as model=."
        )
    if next(module.parameters(), None) is None:
        raise ConfigError(f"{type(module).__name__} was given as model= and has no parameters: nothing can be trained.")


def _check_tokenizer(tokenizer: Any, module: nn.Module) -> None:
    from transformers import PreTrainedTokenizerBase

    if isinstance(tokenizer, str | PreTrainedTokenizerBase) or hasattr(tokenizer, "__fspath__"):
        return
    what = "no tokenizer" if tokenizer is None else f"{_described(tokenizer)} as its tokenizer"
    raise ConfigError(
        f"model holds {type(module).__name__} for text with {what}. Give both, model=(module, tokenizer): a tokenizer "
        "of transformers, or the folder of one."
    )


def _described(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = " ".join(repr(value).split())
    return f"a {type(value).__name__}" if isinstance(value, nn.Module) or len(text) > 60 else text


def own_backbone(config: ResolvedConfig, option: str) -> OwnBackbone | None:
    """Return the module that was given for an option such as `model.image.checkpoint`, or None.

    Raises:
        ConfigError: The option names one, and none was given: no name is imported.
    """
    own, named = config.objects.get(option), config[option]
    if own is not None:
        assert isinstance(own, OwnBackbone)
        return own
    if is_recorded(named) and named.endswith(")"):  # `offline:…` is a name as well
        raise ConfigError(
            f"{option}={named!r} is the name of a module of your own, and no name is imported. Hand the module itself "
            "in, in Python: Predictor(label, model=module)."
        )
    return None


def needed_again(config: ResolvedConfig, option: str, record: OwnRecord) -> OwnBackbone:
    """Return the module that a saved predictor is built with, checked to fit its weights.

    Raises:
        ArtifactError: None was given, or it has other weights.
    """
    own = config.objects.get(option)
    if own is None:
        pair = "(module, tokenizer)" if option == "model.text.checkpoint" else "module"
        raise ArtifactError(
            f"The predictor was fitted with a module of your own, {record.kind}, for {option}. Its weights are saved, "
            "and its class is not imported from the name. Make one that is built as it was, and give it in Python: "
            f"Predictor.load(path, model={pair})."
        )
    assert isinstance(own, OwnBackbone)
    record.check(own)
    return own


def check_read(names: Mapping[str, Any], config: ResolvedConfig) -> None:
    """Check that there are columns for each module that was given.

    Args:
        names: The towers that the columns need, by name.
        config: The configuration.

    Raises:
        ConfigError: One has none.
    """
    for option, one in config.objects.items():
        tower = option.split(".")[1]
        if isinstance(one, OwnBackbone) and tower not in names:
            raise ConfigError(
                f"{one.kind} was given as model= for {tower} columns, and there are none. It takes {FORMS}. Or see the "
                "columns' types (column_types)."
            )
