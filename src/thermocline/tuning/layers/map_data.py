"""A layer map as plain data that JSON can hold, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from thermocline.errors import LayerMapError
from thermocline.tuning.layers.layer import Layer
from thermocline.tuning.layers.partition import Partition

#: The key under which files hold `Layer.built_frozen`; it was the attribute's name when version 1 was written first.
_BUILT_FROZEN = "resting"
_LONGEST_NAME = 1000


def map_to_dict(layer_map: Partition) -> dict[str, Any]:
    """Return a map as plain data."""
    return {
        "version": 1,
        "layers": [_layer_to_dict(layer) for layer in layer_map.layers],
        "aliases": dict(layer_map.aliases),
        "warnings": list(layer_map.warnings),
        "confident": layer_map.confident,
        "order": layer_map.order,
        "notes": list(layer_map.notes),
    }


def map_from_dict(data: Mapping[str, Any]) -> Partition:
    """Return the map that `map_to_dict` wrote.

    Raises:
        LayerMapError: Not such data.
    """
    if data.get("version") != 1:
        raise LayerMapError(f"A layer map of version {data.get('version')!r}; this program reads version 1.")
    try:
        return Partition(
            tuple(_layer_from_dict(one) for one in data["layers"]),
            dict(data["aliases"]),
            tuple(data["warnings"]),
            bool(data["confident"]),
            str(data.get("order", "caller")),
            tuple(data.get("notes", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LayerMapError(f"A damaged layer map: {error}.") from None


def _layer_to_dict(layer: Layer) -> dict[str, Any]:
    return {_BUILT_FROZEN if key == "built_frozen" else key: value for key, value in asdict(layer).items()}


def _layer_from_dict(data: Mapping[str, Any]) -> Layer:
    fields = {"built_frozen" if key == _BUILT_FROZEN else key: value for key, value in data.items()}
    names = [fields["name"], *fields["parameters"], *fields["modules"]]
    if any(len(name) > _LONGEST_NAME for name in names):
        raise ValueError(f"a name of more than {_LONGEST_NAME} characters")
    return Layer(**{**fields, "parameters": tuple(fields["parameters"]), "modules": tuple(fields["modules"])})
