"""Which layers a selector means: roles, counts, slices, segment globs, regular expressions, and lists of these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from thermocline.errors import ConfigError, SelectorError, did_you_mean, listing
from thermocline.tuning.layers.expressions import Expression
from thermocline.tuning.layers.layer import BACKBONE_ROLES, ROLES, Layer
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.layer_text import folded_labels
from thermocline.tuning.layers.module_names import prefixes
from thermocline.tuning.layers.patterns import compile_glob, matches_at_or_above, matches_suffix
from thermocline.tuning.layers.positions import counted_layers, is_slice, sliced_layers

#: Parts that only object detectors have; in other models these are names like any other.
_PARTS = ("encoder", "decoder")

_HELP = (
    "A selector is a role (stem, block, neck, backbone, fusion, head, adapter; of an object detector also encoder "
    "and decoder), a tower or a role in it ('text', 'text/backbone'), an integer n (the first n "
    "layers of a tower; negative: all but the last n), a slice such as '0:3' or '-2:' of the same layers, a segment "
    "glob such as 'encoder.layer.[0-5]' or 'layers.0.*', 're:…', or a list of these."
)


def select(layer_map: LayerMap, selector: Any, *, tower: str | None = None) -> tuple[str, ...]:
    """Return the labels of the layers that a selector means, in the map's order.

    Roles, counts and slices hold for every tower; where some tower is pretrained, `stem`, `block`, `neck`,
    `backbone`, counts and slices leave out towers that are not (freezing random weights is never meant), unless
    `tower` names one. Counts are over stem, blocks and necks, and include the adapters of these. A slice is read as
    in Python and is over the same layers: `"0:3"` is what 3 means, `":-2"` what -2 means, `"-2:"` is the last two;
    `text/0:3` is of one tower. A list holds one count at most: of `[0, 1, 2]` it cannot be told whether numbers of
    layers or positions are meant. The name of a tower means all of it, and `text/backbone` a role in it. A glob
    matches a layer by its name (also with `tower/` in front), or a module that whole layers lie in: `encoder`
    means every layer inside it. `re:` expressions must match a whole name. In an object detector `backbone` is the
    image backbone alone, and `neck`, `encoder` and `decoder` are the parts that run after it; a part that it does not
    have is read as a glob.

    Args:
        layer_map: The layers.
        selector: None, or what the message of an error calls a selector.
        tower: Look in this tower only.

    Raises:
        SelectorError: It cannot be read, matches nothing, or names something inside a layer.
        ConfigError: There is no such tower.
        LayerMapError: The order of the layers is not known.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_vit", num_classes=3)
        >>> layers = LayerMap.of(model, head=model.head)
        >>> from thermocline.tuning.layers.selectors import select
        >>> select(layers, "blocks.[0-1]")
        ('model/blocks.0', 'model/blocks.1')
        >>> select(layers, 2), select(layers, ["stem", "-1:"])
        (('model/stem', 'model/blocks.0'), ('model/stem', 'model/blocks.5'))
    """
    if selector is None:
        return ()
    layers = _scope(layer_map, tower)
    chosen: set[str] = set()
    for one in read_selector(selector):
        if one != "head":
            layer_map.require_confident(f"The selector {one!r}")
        if isinstance(one, str):
            _check_not_tied(layer_map, one)
        chosen |= _select_one(layers, one, everywhere=tower is None)
    return tuple(label for label in layer_map.labels if label in chosen)


def _scope(layer_map: LayerMap, tower: str | None) -> tuple[Layer, ...]:
    if tower is None:
        return layer_map.layers
    layers = layer_map.of_tower(tower)
    if not layers:
        raise ConfigError(
            f"There is no tower {tower!r}. Towers are {listing(layer_map.towers)}."
            f"{did_you_mean(tower, layer_map.towers)}"
        )
    return layers


def read_selector(selector: Any) -> list[str | int]:
    """Return a selector as a list, without looking for any layer.

    Args:
        selector: One level of list; a bare text or integer is one selector.

    Raises:
        SelectorError: It cannot be read.
    """
    if isinstance(selector, (str, int)):
        selector = [selector]
    if isinstance(selector, (dict, set, frozenset)) or not isinstance(selector, Iterable):
        raise SelectorError(f"Cannot read the selector {selector!r}. {_HELP}")
    items: list[str | int] = []
    for one in selector:
        if isinstance(one, bool) or not isinstance(one, (str, int)):
            raise SelectorError(f"Cannot read {one!r} as a selector. {_HELP}")
        if isinstance(one, str) and not one.strip():
            raise SelectorError(f"An empty text is no selector. {_HELP}")
        items.append(one.strip() if isinstance(one, str) else one)
    _check_counts([one for one in items if isinstance(one, int)])
    return items


def _check_counts(counts: Sequence[int]) -> None:
    """Raise where a list holds several integers: each of them is a number of layers, and positions may be meant."""
    if len(counts) < 2:
        return
    first, last = min(counts), max(counts)
    positions = f"'{first}:{last + 1}'" if first >= 0 and sorted(counts) == list(range(first, last + 1)) else "'0:3'"
    raise SelectorError(
        f"The selector {list(counts)!r} has several integers. An integer n is a number of layers: the first n. Give "
        f"one of them alone, such as {last}, or positions as a slice, such as {positions}; names as a glob, such as "
        "'blocks.[0,2,5]'."
    )


def _check_not_tied(layer_map: LayerMap, one: str) -> None:
    """Raise where a selector names nothing but the second name of a tied parameter, or a module of only such.

    Raises:
        SelectorError: It does. The parameter is one of the layer of its first name.
    """
    pattern = one.rpartition("/")[2]
    if pattern in (*ROLES, "backbone") or pattern.startswith("re:"):
        return
    named = [alias for alias in layer_map.aliases if any(matches_suffix(pattern, name) for name in prefixes(alias))]
    own = (name for layer in layer_map for name in (layer.name, *layer.parameters))
    if not named or any(matches_suffix(pattern, above) for name in own for above in prefixes(name)):
        return
    first = layer_map.aliases[named[0]]
    host = layer_map.layer_of(first)
    raise SelectorError(
        f"{one!r} is another name of {first!r}: the two are one tied parameter, which lies inside the layer "
        f"{host.label!r}. Layers are the unit that is frozen or scaled: select {host.name!r}."
    )


def _select_one(layers: Sequence[Layer], one: str | int, *, everywhere: bool) -> set[str]:
    if isinstance(one, int):
        return counted_layers(layers, _pretrained_towers(layers, everywhere=everywhere), one)
    if is_slice(one):
        tower, slash, span = one.rpartition("/")
        own = [layer for layer in layers if layer.tower == tower] if slash else layers
        if not own:
            raise SelectorError(_nothing(layers, one))
        return sliced_layers(layers, _pretrained_towers(own, everywhere=everywhere and not slash), span)
    tower, slash, tail = one.rpartition("/")
    if slash and tail in (*ROLES, "backbone") and not any(layer.label == one for layer in layers):
        own = [layer for layer in layers if layer.tower == tower]
        if own:
            return _select_one(own, tail, everywhere=False)
    roles = BACKBONE_ROLES if one == "backbone" else (one,) if one in ROLES else ()
    if roles:
        pool = _pretrained_towers(layers, everywhere=everywhere) if set(roles) <= set(BACKBONE_ROLES) else layers
        chosen = {layer.label for layer in pool if layer.role in roles and _is_of(layer, one)}
        # a layer may be named like a role without having it: then the name decides
        chosen = chosen or {layer.label for layer in layers if layer.name == one}
    elif one in _PARTS and any(layer.part == one for layer in layers):
        chosen = {layer.label for layer in layers if layer.part == one and layer.role != "adapter"}
    elif one.startswith("re:"):
        chosen = _by_expression(layers, one)
    elif _is_tower(layers, one):
        chosen = {layer.label for layer in layers if layer.tower == one}
    else:
        chosen = _by_glob(layers, one)
    if not chosen:
        raise SelectorError(_nothing(layers, one))
    return chosen


def _is_tower(layers: Sequence[Layer], one: str) -> bool:
    """Whether a text names a tower; where it names a layer, or a module with whole layers in it, these are meant."""
    towers = {layer.tower for layer in layers}
    return one in towers and not any(matches_at_or_above(one, layer.name) for layer in layers)


def _is_of(layer: Layer, role: str) -> bool:
    """Whether a layer may count for a role: in an object detector `backbone` means that part alone."""
    return role != "backbone" or layer.part in ("", "backbone")


def _pretrained_towers(layers: Sequence[Layer], *, everywhere: bool) -> list[Layer]:
    """The layers that counts and roles are about: those of pretrained towers, where there are any."""
    loaded = {layer.tower for layer in layers if layer.pretrained and layer.role in BACKBONE_ROLES}
    return [layer for layer in layers if not everywhere or not loaded or layer.tower in loaded]


def _by_expression(layers: Sequence[Layer], one: str) -> set[str]:
    regex = Expression(one.removeprefix("re:"), one)
    return {layer.label for layer in layers if regex.fullmatch(layer.name) or regex.fullmatch(layer.label)}


def _by_glob(layers: Sequence[Layer], one: str) -> set[str]:
    tower, slash, pattern = one.rpartition("/")
    if slash:
        layers = [layer for layer in layers if layer.tower == tower]
    compile_glob(pattern)
    chosen = {layer.label for layer in layers if matches_at_or_above(pattern, layer.name)}
    chosen = chosen or {layer.label for layer in layers if _all_roots(layer, pattern)}
    if chosen:
        return chosen
    if pattern.endswith(".*"):  # everything inside a layer means the layer
        inner = {layer.label for layer in layers if matches_at_or_above(pattern[:-2], layer.name)}
        if inner:
            return inner
    host = next((layer for layer in layers if _inside(layer, pattern)), None)
    if host is not None:
        raise SelectorError(
            f"{one!r} lies inside the layer {host.label!r}. Layers are the unit that is frozen or scaled: "
            f"select {host.name!r}."
        )
    return set()


def _all_roots(layer: Layer, pattern: str) -> bool:
    """Whether all of a layer lies under modules that the glob matches, by their names in the whole model."""
    return bool(layer.parameters) and all(matches_at_or_above(pattern, name) for name in layer.parameters)


def _inside(layer: Layer, pattern: str) -> bool:
    return any(matches_suffix(pattern, name) for name in (*layer.modules, *layer.parameters))


def _nothing(layers: Sequence[Layer], one: str) -> str:
    names = [above for layer in layers for above in prefixes(layer.name)]
    close = did_you_mean(one, [*dict.fromkeys(names), *ROLES, "backbone", *{layer.tower: 0 for layer in layers}])
    return f"The selector {one!r} matches no layer.{close} The layers are:\n{folded_labels(layers)}\n{_HELP}"
