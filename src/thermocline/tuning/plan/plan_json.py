"""A plan as JSON and back, with every fault named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

from thermocline.errors import ConfigError, listing
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.plan.lr_choice import canonical_choice
from thermocline.tuning.plan.parameter_rules import rules_from_data
from thermocline.tuning.plan.plan_layer import PlanLayer
from thermocline.tuning.schedule.phase_files import phase_to_dict, phases_from_data

_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "tuple[str, ...]": (list,),
}


_VERSION, _WITH_RULES = 2, 3
"""Of a plan without parameter rules, and of one with them: a program that does not know them must not drop them."""
_LONGEST_NAME = 1000
_DECISIONS = ("version", "lr", "lr_choice", "layers", "phases", "parameter_rules")


def plain(plan: Decisions) -> dict[str, Any]:
    """Return a plan as data that JSON can hold."""
    rules = [one.to_dict() for one in plan.parameter_rules]
    return {
        "version": _WITH_RULES if rules else _VERSION,
        "lr": plan.lr,
        "lr_choice": plan.lr_choice,
        "layers": [_layer(one) for one in plan.layers],
        "phases": [phase_to_dict(one) for one in plan.phases],
        **({"parameter_rules": rules} if rules else {}),
        "warnings": list(plan.warnings),
        "confident": plan.confident,
        "total_steps": plan.total_steps,
        "steps_per_epoch": plan.steps_per_epoch,
    }


def _layer(one: PlanLayer) -> dict[str, Any]:
    """An entry; only in an object detector it has a part, so that the fingerprints of other plans stay as they are."""
    data = asdict(one)
    if not one.part:
        del data["part"]
    return data


def fingerprint(plan: Decisions) -> str:
    """Return the fingerprint of a plan, as `LayerPlan.fingerprint` describes."""
    decisions = {key: value for key, value in plain(plan).items() if key in _DECISIONS}
    text = json.dumps(decisions, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fields_from_json(text: str) -> dict[str, Any]:
    """Return the fields of the plan that `plain` made the data of.

    Raises:
        ConfigError: Not such text, or of a version that this program does not know.
    """
    try:
        data = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"A plan must be JSON text: {error}.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"A plan is a JSON object; got {type(data).__name__}.")
    if data.get("version") not in (1, _VERSION, _WITH_RULES):
        raise ConfigError(f"A plan of version {data.get('version')!r}; this program reads versions 1, 2 and 3.")
    missing = [key for key in ("lr", "lr_choice", "layers", "phases") if key not in data]
    if missing:
        raise ConfigError(f"The plan lacks {listing(missing)}.")
    layers = [PlanLayer(**_record(one, PlanLayer, f"layers[{i}]")) for i, one in enumerate(_list(data, "layers"))]
    phases = phases_from_data([_renamed(one) for one in _list(data, "phases")])
    choice = canonical_choice(data["lr_choice"])
    warnings = tuple(str(one) for one in data.get("warnings", ()))
    known = data.get("confident", True), data.get("total_steps"), data.get("steps_per_epoch")
    if not isinstance(known[0], bool) or not all(one is None or type(one) is int for one in known[1:]):
        raise ConfigError(
            "In a plan 'confident' is true or false, 'total_steps' and 'steps_per_epoch' whole numbers or null."
        )
    return {
        "layers": tuple(layers),
        "lr": data["lr"],
        "lr_choice": choice,
        "phases": phases,
        "parameter_rules": rules_from_data(data.get("parameter_rules"), "parameter_rules of the plan"),
        "warnings": warnings,
        **dict(zip(("confident", "total_steps", "steps_per_epoch"), known, strict=True)),
    }


def _renamed(phase: Any) -> Any:
    """A phase of version 1: `until` is now `fraction`, and 1 is the default."""
    if not isinstance(phase, dict) or "until" not in phase:
        return phase
    rest = {key: value for key, value in phase.items() if key != "until"}
    return rest if phase["until"] == 1 else {**rest, "fraction": phase["until"]}


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
        if isinstance(value, str) and len(value) > _LONGEST_NAME:
            raise ConfigError(f"{where}.{name} in the plan has {len(value):,} characters; at most {_LONGEST_NAME:,}.")
        if isinstance(value, list):
            value = tuple(value)
        out[name] = float(value) if known[name].type == "float" else value
    return out
