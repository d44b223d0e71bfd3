"""Reading a plan from JSON, with every fault named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from thermocline.errors import ConfigError, listing
from thermocline.tuning.phases import Phase

if TYPE_CHECKING:
    from thermocline.tuning.plan import LayerPlan

_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "tuple[str, ...]": (list,),
    "str | tuple[str, ...]": (str, list),
}


def plan_from_json(text: str) -> LayerPlan:
    """`LayerPlan.from_json`."""
    from thermocline.tuning.choices import canonical_choice
    from thermocline.tuning.plan import LayerPlan, PlanLayer

    try:
        data = json.loads(text)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"A plan must be JSON text: {error}.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"A plan is a JSON object; got {type(data).__name__}.")
    if data.get("version") != 1:
        raise ConfigError(f"A plan of version {data.get('version')!r}; this program reads version 1.")
    missing = [key for key in ("lr", "lr_choice", "layers", "phases") if key not in data]
    if missing:
        raise ConfigError(f"The plan lacks {listing(missing)}.")
    layers = [PlanLayer(**_record(one, PlanLayer, f"layers[{i}]")) for i, one in enumerate(_list(data, "layers"))]
    phases = [Phase(**_record(one, Phase, f"phases[{i}]")) for i, one in enumerate(_list(data, "phases"))]
    repeated = len({layer.label for layer in layers}) != len(layers)
    if repeated:
        raise ConfigError("The plan names a layer twice.")
    choice = canonical_choice(data["lr_choice"])
    warnings = tuple(str(one) for one in data.get("warnings", ()))
    return LayerPlan(tuple(layers), data["lr"], choice, tuple(phases), warnings)


def _list(data: Mapping[str, Any], key: str) -> list[Any]:
    if not isinstance(data[key], list):
        raise ConfigError(f"{key!r} in a plan is a list; got {data[key]!r}.")
    return list(data[key])


def _record(data: Any, kind: type, where: str) -> dict[str, Any]:
    """Check a record against the fields of a dataclass."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where} in the plan must be an object; got {data!r}.")
    known = {one.name: one for one in fields(kind)}
    unknown = sorted(set(data) - set(known))
    missing = [name for name, one in known.items() if name not in data and one.default is MISSING]
    if unknown or missing:
        faults = ([f"lacks {listing(missing)}"] if missing else []) + (
            [f"has unknown {listing(unknown)}"] if unknown else []
        )
        raise ConfigError(f"{where} in the plan {' and '.join(faults)}.")
    out: dict[str, Any] = {}
    for name, value in data.items():
        allowed = _TYPES[str(known[name].type)]
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise ConfigError(f"{where}.{name} in the plan must be {known[name].type}; got {value!r}.")
        if isinstance(value, list):
            value = tuple(value)
        out[name] = float(value) if known[name].type == "float" else value
    return out
