"""Adapters: parameters that train for a layer whose own weights do not. Each has the depth of its host."""

from __future__ import annotations

from torch import nn

from thermocline.errors import LayerMapError, listing
from thermocline.tuning.layers.drafts import Draft
from thermocline.tuning.layers.module_names import prefixes


def added_adapters(model: nn.Module) -> list[str]:
    """Return the names of parameters that the peft library added; its layers declare them."""
    out: list[str] = []
    for name, module in model.named_modules():
        keys, base = getattr(module, "adapter_layer_names", None), getattr(module, "base_layer", None)
        if isinstance(keys, tuple) and isinstance(base, nn.Module):
            roots = tuple(f"{name}.{key}." if name else f"{key}." for key in keys)
            out.extend(n for n, _ in module.named_parameters(prefix=name) if n.startswith(roots))
    return list(dict.fromkeys(out))


def insert_added_adapters(drafts: list[Draft], adapters: list[str]) -> None:
    """Insert an adapter layer after each layer that hosts added adapters."""
    hosts: dict[str, Draft] = {}
    for draft in drafts:
        for name in draft.parameters:
            for above in prefixes(name)[:-1]:
                hosts.setdefault(above, draft)
    roots = {draft.name: draft for draft in drafts}
    for name in adapters:
        paths = list(reversed(prefixes(name)[:-1]))
        host = next((roots[a] for a in paths if a in roots), None) or next(
            (hosts[a] for a in paths if a in hosts), drafts[0]
        )
        label = f"{host.name}.adapter"
        own = next((d for d in drafts if d.name == label and d.tower == host.tower), None)
        if own is None:
            own = Draft(label, "adapter", [], "structure", host.tower, added=True, part=host.part)
            drafts.insert(drafts.index(host) + 1, own)
        own.parameters.append(name)


def split_off_adapters(drafts: list[Draft], wanted: set[str], parameters: dict[str, nn.Parameter]) -> None:
    """Make adapter layers of the parameters that the caller calls adapters, out of the layers that host them.

    Args:
        drafts: The layers, changed in place.
        wanted: The names of those parameters.
        parameters: All parameters of the model.

    Raises:
        LayerMapError: The model does not have one of them.
    """
    unknown = sorted(wanted.difference(parameters))
    if unknown:
        raise LayerMapError(f"adapters= names {listing(unknown)}, which the model does not have.")
    for draft in [draft for draft in drafts if draft.role not in ("head", "adapter")]:
        own = [name for name in draft.parameters if name in wanted]
        if own:
            draft.parameters = [name for name in draft.parameters if name not in wanted]
            adapter = Draft(f"{draft.name}.adapter", "adapter", own, "caller", draft.tower, part=draft.part)
            drafts.insert(drafts.index(draft) + 1, adapter)
