"""All that the outputs of a prefix depend on: settings, weights, rows, versions and the machine."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import nn

from thermocline.efficiency.prefix_cache.cached_tower import CachedTower
from thermocline.efficiency.prefix_cache.options import CacheOptions
from thermocline.tuning.apply import module_owners
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.verify import tensors_hash

#: Packages whose code computes values, or makes the inputs that they are computed from.
PACKAGES = ("thermocline", "torch", "timm", "transformers", "peft", "numpy", "pillow")

_LEFT_OUT = ("training", "forward")  # the mode of a module, and a call that the cache defers
_ORIGIN = ("_name_or_path", "transformers_version", "_commit_hash")  # in a configuration: where it was read from
_DEEPEST = 6


def store_name(tower: CachedTower, split: str, model: nn.Module, layer_map: LayerMap, options: CacheOptions) -> str:
    """Return a name with a hash of all that the values of a split depend on."""
    prefix = tower.prefix
    facts = {
        **options.facts,
        "machine": machine(tower.device),
        "versions": versions(),
        "settings": settings_hash(tower.module),
        "weights": tensors_hash(prefix_state(tower, model, layer_map)),
        "rows": tower.rows[split].identity(),
        "batch": options.batch_size(split),
        "compiled": options.compiled,
        "layers": prefix.labels,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    return f"{prefix.tower}-{split}-{digest[:16]}"


def versions() -> dict[str, str]:
    """Return the versions of the packages that compute values; of those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine(device: torch.device) -> dict[str, Any]:
    """Return what of a machine and of torch's settings the rounding of sums depends on."""
    facts: dict[str, Any] = {
        "device": device.type,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "matmul": torch.get_float32_matmul_precision(),
        "onednn": torch.backends.mkldnn.enabled,
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def settings_hash(module: nn.Module) -> str:
    """Return a hash over the classes of all modules and over their settings, such as a number of heads or an epsilon.

    Weights and buffers have no part in it.
    """
    describe = _Describing()
    digest = hashlib.sha256()
    for name, each in module.named_modules():
        public = {key: value for key, value in vars(each).items() if not key.startswith("_") and key not in _LEFT_OUT}
        line = [name, _name_of(type(each)), [[key, describe(value)] for key, value in sorted(public.items())]]
        digest.update(json.dumps(line).encode() + b"\n")
    return digest.hexdigest()


def prefix_state(tower: CachedTower, model: nn.Module, layer_map: LayerMap) -> list[tuple[str, torch.Tensor]]:
    """Return the parameters of a prefix, and the buffers that it reads.

    Buffers of layers after the prefix are left out: statistics of their norms change as they train.
    """
    labels = frozenset(tower.prefix.labels)
    wanted = {name for label in labels for name in layer_map[label].parameters}
    state: list[tuple[str, torch.Tensor]] = [(name, p) for name, p in model.named_parameters() if name in wanted]
    modules = dict(model.named_modules())
    for name, (own, inside) in module_owners(model, layer_map).items():
        if f"{name}.".startswith(f"towers.{tower.prefix.tower}.") and _is_read(own, inside, labels):
            state += [(f"{name}.{key}", buffer) for key, buffer in modules[name].named_buffers(recurse=False)]
    return state


def _is_read(own: str | None, inside: frozenset[str], labels: frozenset[str]) -> bool:
    """Whether a module is of a layer of the prefix, or holds one, or is of no layer at all."""
    return own in labels if own is not None else not inside or bool(inside & labels)


class _Describing:
    """Describes values as JSON has them, the same in every process; what it does not know counts by its class."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Any]] = {}  # id → a configuration, kept alive, and its description

    def __call__(self, value: Any, deep: int = 0) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return repr(value)
        if isinstance(value, torch.Tensor | np.ndarray | nn.Module) or deep > _DEEPEST:
            return _name_of(type(value))
        if isinstance(value, bytes | complex | Enum | PurePath | torch.dtype | torch.device | np.generic):
            return str(value)
        if isinstance(value, functools.partial):
            return ["partial", self(value.func, deep + 1), self(value.args, deep + 1), self(value.keywords, deep + 1)]
        if isinstance(value, Mapping):
            return sorted(([str(key), self(one, deep + 1)] for key, one in value.items()), key=lambda pair: pair[0])
        if isinstance(value, set | frozenset):
            return sorted(json.dumps(self(one, deep + 1)) for one in value)
        if isinstance(value, list | tuple):
            return [self(one, deep + 1) for one in value]
        return self._object(value, deep)

    def _object(self, value: Any, deep: int) -> Any:
        if id(value) in self._known:
            return self._known[id(value)][1]
        if hasattr(value, "__qualname__"):  # a class or a function
            return _name_of(value)
        described: Any = [_name_of(type(value)), *self._parts(value, deep)]
        self._known[id(value)] = value, described
        return described

    def _parts(self, value: Any, deep: int) -> Iterator[Any]:
        if callable(getattr(value, "to_dict", None)):  # a configuration of transformers
            yield self({key: one for key, one in value.to_dict().items() if key not in _ORIGIN}, deep + 1)
            yield self(getattr(value, "_attn_implementation", None))  # which is no part of its dictionary
        elif is_dataclass(value):
            yield [[field.name, self(getattr(value, field.name), deep + 1)] for field in fields(value)]


def _name_of(one: Any) -> str:
    return f"{getattr(one, '__module__', '')}.{getattr(one, '__qualname__', '')}"
