"""How a LayerMap is made: drafts to layers, modules to layers, maps to one map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from thermocline.errors import LayerMapError, listing
from thermocline.tuning.layers.detector_layers import head_drafts
from thermocline.tuning.layers.detector_parts import PARTS, notes_of, parts_of, resting
from thermocline.tuning.layers.drafts import Detection, Draft
from thermocline.tuning.layers.families import clean_name, unwrap
from thermocline.tuning.layers.finding import find_layers
from thermocline.tuning.layers.heads import Head, base_prefix, head_parameters
from thermocline.tuning.layers.hosted_adapters import add_adapters, added_adapters, part_adapters
from thermocline.tuning.layers.modules import assign_modules
from thermocline.tuning.layers.patterns import prefixes

if TYPE_CHECKING:
    from thermocline.tuning.layers.layer_map import Layer, LayerMap

_NO_DEPTH = ("head", "adapter")


def map_of(
    model: nn.Module,
    *,
    head: Head,
    example: Any,
    tower: str,
    pretrained: bool,
    fresh: frozenset[str],
    fresh_parts: frozenset[str],
    adapters: frozenset[str],
) -> LayerMap:
    """`LayerMap.of`."""
    core, path = unwrap(model)
    canonical, aliases = named(core)
    parts = parts_of(core)
    _check_fresh_parts(fresh_parts, parts)
    added = [name for name in added_adapters(core) if name in canonical]
    if parts is None or head is not None:
        head_ids, head_source = head_parameters(core, head)
    else:
        head_ids = {id(p) for name, p in canonical.items() if parts[name] == "head" and name not in added}
        head_source = "detector"
    if parts is not None:
        parts = _with_head(parts, canonical, head_ids)
    found = find_layers(core, head_ids | {id(canonical[name]) for name in added}, example, parts)
    heads = [name for name, p in canonical.items() if id(p) in head_ids]
    if heads and parts is not None:
        found.drafts.extend(head_drafts(core, heads, head_source))
    elif heads:
        name = shared_path(heads, canonical) or "head"
        found.drafts.append(Draft(name, "head", heads, head_source))
    for draft in found.drafts:
        if draft.role in ("stem", "neck") and not draft.tower and not draft.part:
            name = shared_path(draft.parameters, canonical)
            taken = any(other.name == name for other in found.drafts if other is not draft)
            draft.name = name if name and not taken else draft.name
    if added:
        add_adapters(found.drafts, added)
    if adapters:
        part_adapters(found.drafts, {name.removeprefix(f"{path}.") for name in adapters}, canonical)
    _strip_prefix(found.drafts, base_prefix(core))
    fresh_head = head is not None
    rest = resting(core) if parts is not None else frozenset()
    layers = made_layers(
        core,
        canonical,
        found,
        tower=tower,
        pretrained=pretrained,
        fresh={name.removeprefix(f"{path}.") for name in fresh},
        fresh_head=fresh_head,
        fresh_parts=fresh_parts,
        resting=rest,
    )
    if len(found.drafts) - bool(heads) <= 1 and len(canonical) > 4 and not _is_one_layer(found):
        found.doubts.append("everything came out as one layer")
    order = "forward pass" if found.ordered else "definition"
    made = finished(layers, aliases, found, path, canonical, order=order)
    return made if parts is None else replace(made, notes=notes_of(core, rest))


def _check_fresh_parts(fresh: frozenset[str], parts: Mapping[str, str] | None) -> None:
    """Raise unless these are parts of a detector, and the model is one."""
    unknown = sorted(fresh.difference(PARTS))
    if unknown:
        raise LayerMapError(f"fresh_parts= names {listing(unknown)}; parts of a detector are {listing(PARTS)}.")
    if fresh and parts is None:
        raise LayerMapError("fresh_parts= is for detectors, and this model is none that we know; use fresh=.")


def _with_head(parts: Mapping[str, str], canonical: Mapping[str, nn.Parameter], head: set[int]) -> dict[str, str]:
    """The parts with the head that was decided on; other heads count to what runs before them."""
    last = next((part for part in ("decoder", "neck") if part in parts.values()), "backbone")
    decided = {name: "head" if id(p) in head else parts[name] for name, p in canonical.items()}
    return {
        name: last if part == "head" and id(canonical[name]) not in head else part for name, part in decided.items()
    }


def _is_one_layer(found: Detection) -> bool:
    return all(draft.role == "head" for draft in found.drafts)


def finished(
    layers: list[Layer],
    aliases: dict[str, str],
    found: Detection,
    path: str,
    canonical: dict[str, nn.Parameter],
    *,
    order: str,
) -> LayerMap:
    """Check that nothing is left out, and give the map the names of the model as it is wrapped."""
    from thermocline.tuning.layers.layer_map import LayerMap

    missing = set(canonical).difference(*(layer.parameters for layer in layers))
    assert not missing, f"parameters without a layer: {listing(sorted(missing))}"
    prefix = f"{path}." if path else ""
    return LayerMap(
        tuple(_prefixed(layer, prefix) for layer in layers),
        {prefix + alias: prefix + name for alias, name in aliases.items()},
        _warnings(found),
        not found.doubts,
        order,
    )


def _warnings(found: Detection) -> tuple[str, ...]:
    if found.doubts:
        return ("THE LAYERS OF THIS MODEL COULD NOT BE FOUND WITH CONFIDENCE", *found.doubts)
    return ()


def named(model: nn.Module) -> tuple[dict[str, nn.Parameter], dict[str, str]]:
    """Return parameters by the first of their names, and the other names of tied ones."""
    canonical = dict(model.named_parameters())
    by_id = {id(p): name for name, p in canonical.items()}
    aliases = {
        name: by_id[id(p)] for name, p in model.named_parameters(remove_duplicate=False) if name not in canonical
    }
    return canonical, aliases


def _strip_prefix(drafts: list[Draft], prefix: str) -> None:
    """Name layers as the base model does: `encoder.layer.3`, not `bert.encoder.layer.3`."""
    for draft in drafts:
        if prefix and draft.role != "head":
            draft.name = draft.name.removeprefix(f"{prefix}.")
            draft.tower = draft.tower.removeprefix(f"{prefix}.")
        draft.name = clean_name(draft.name)


def made_layers(
    model: nn.Module,
    canonical: dict[str, nn.Parameter],
    found: Detection,
    *,
    tower: str,
    pretrained: bool,
    fresh: Set[str],
    fresh_head: bool,
    fresh_parts: Set[str] = frozenset(),
    resting: Set[str] = frozenset(),
) -> list[Layer]:
    """Turn drafts into layers: depth per tower, modules, state of the weights."""
    from thermocline.tuning.layers.layer_map import Layer

    drafts = found.drafts
    modules = assign_modules(model, [draft.parameters for draft in drafts], [d.role for d in drafts])
    next_depth: dict[str, int] = {}
    out: list[Layer] = []
    for draft, own_modules in zip(drafts, modules, strict=True):
        depth = next_depth.get(draft.tower, 0)
        if draft.role == "adapter":
            depth = max(depth - 1, 0)  # that of its host
        else:
            next_depth[draft.tower] = depth + 1
        if not draft.parameters:  # all of it stands in its adapter, which keeps its depth
            continue
        loaded = pretrained and not draft.added and not (fresh_head and draft.role == "head")
        among = any if draft.part == "head" else all  # a head whose last layer is new is new
        loaded = loaded and not (fresh and among(name in fresh for name in draft.parameters))
        loaded = loaded and draft.part not in fresh_parts
        name = tower if not draft.tower else draft.tower if tower == "model" else f"{tower}.{draft.tower}"
        out.append(
            Layer(
                name=draft.name,
                tower=name,
                role=draft.role,
                depth=depth,
                parameters=tuple(draft.parameters),
                modules=own_modules,
                pretrained=loaded,
                source=draft.source,
                n_parameters=sum(canonical[n].numel() for n in draft.parameters),
                part=draft.part,
                resting=all(n in resting for n in draft.parameters),
            )
        )
    return out


def map_of_one(model: nn.Module, *, name: str, tower: str, role: str, pretrained: bool, depth: int) -> LayerMap:
    """`LayerMap.single`."""
    from thermocline.tuning.layers.layer_map import Layer, LayerMap

    canonical, aliases = named(model)
    modules = tuple(path for path, _ in model.named_modules())  # "" is the module itself, named on joining
    count = sum(p.numel() for p in canonical.values())
    layer = Layer(name, tower, role, depth, tuple(canonical), modules, pretrained, "caller", count)
    return LayerMap((layer,), aliases)


def shared_path(names: list[str], every: Iterable[str]) -> str:
    """Return the outermost module that holds these parameters and no others, or `""`."""
    shared = [a for a in prefixes(names[0])[:-1] if all(n.startswith(f"{a}.") for n in names)]
    others = set(every).difference(names)
    alone = (a for a in shared if not any(n.startswith(f"{a}.") for n in others))
    return next(alone, "")


def joined(maps: Mapping[str, LayerMap]) -> LayerMap:
    """`LayerMap.join`."""
    from thermocline.tuning.layers.layer_map import ORDERS, LayerMap

    layers: list[Layer] = []
    aliases: dict[str, str] = {}
    warnings: list[str] = []
    depths: dict[str, int] = {}
    for path, part in maps.items():
        prefix = f"{path}." if path else ""
        base = dict(depths)
        for layer in part.layers:
            layer = replace(_prefixed(layer, prefix), depth=layer.depth + base.get(layer.tower, 0))
            depths[layer.tower] = max(depths.get(layer.tower, 0), layer.depth + 1)
            layers.append(layer)
        aliases |= {prefix + alias: prefix + name for alias, name in part.aliases.items()}
        warnings.extend(f"{path}: {text}" if path else text for text in part.warnings)
    confident = all(part.confident for part in maps.values())
    known = {part.order for part in maps.values()}
    order = next((one for one in ORDERS if one in known), ORDERS[-1])
    notes = tuple(f"{path}: {text}" if path else text for path, part in maps.items() for text in part.notes)
    return LayerMap(tuple(layers), aliases, tuple(warnings), confident, order, notes)


def _prefixed(layer: Layer, prefix: str) -> Layer:
    if not prefix:
        return layer
    return replace(
        layer,
        parameters=tuple(prefix + name for name in layer.parameters),
        modules=tuple((prefix + name).removesuffix(".") for name in layer.modules),
    )


def check_partition(layers: Sequence[Layer]) -> None:
    """Raise unless labels are unique and no parameter is in two layers."""
    seen: dict[str, str] = {}
    labels: set[str] = set()
    for layer in layers:
        if layer.label in labels:
            raise LayerMapError(f"Two layers are called {layer.label!r}; give one another name or tower.")
        labels.add(layer.label)
        for name in layer.parameters:
            if name in seen:
                raise LayerMapError(f"{name!r} is in two layers, {seen[name]!r} and {layer.label!r}.")
            seen[name] = layer.label


def map_from_dict(data: Mapping[str, Any]) -> LayerMap:
    """`LayerMap.from_dict`."""
    from thermocline.tuning.layers.layer_map import Layer, LayerMap

    if data.get("version") != 1:
        raise LayerMapError(f"A layer map of version {data.get('version')!r}; this program reads version 1.")
    try:
        layers = tuple(
            Layer(**{**one, "parameters": tuple(one["parameters"]), "modules": tuple(one["modules"])})
            for one in data["layers"]
        )
        return LayerMap(
            layers,
            dict(data["aliases"]),
            tuple(data["warnings"]),
            bool(data["confident"]),
            str(data.get("order", "caller")),
            tuple(data.get("notes", ())),
        )
    except (KeyError, TypeError) as error:
        raise LayerMapError(f"A damaged layer map: {error}.") from None
