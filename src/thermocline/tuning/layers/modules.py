"""Which layer a module belongs to, those without parameters included (dropout, activations, buffers)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn


def assign_modules(model: nn.Module, groups: Sequence[Iterable[str]], roles: Sequence[str]) -> list[tuple[str, ...]]:
    """Give every module to at most one group of parameters.

    A module whose parameters all lie in one group belongs to it. One without parameters belongs where it
    stands: inside such a module, or to the one before it under the same parent (ViT's `pos_drop`), except
    that what comes right before a head belongs to the head. One that spans groups belongs to none, unless
    these are a layer and its adapter: an attention that holds an adapter, a BatchNorm whose bias alone
    trains, or a dropout beside them, is the layer's, and in eval mode when that is frozen.

    Args:
        model: The model.
        groups: Names of parameters; an adapter's come right after those of the layer that hosts it.
        roles: The role of each group.

    Returns:
        Module names per group, in order of definition.
    """
    owner = {name: index for index, names in enumerate(groups) for name in names}
    host = _hosts(roles)
    out: list[list[str]] = [[] for _ in groups]

    seen: set[int] = set()

    def visit(module: nn.Module, name: str, inherited: int | None) -> None:
        if id(module) in seen:  # shared: it is named once, as `named_modules` does
            return
        seen.add(id(module))
        own = owners_of(module, name)
        if name and not own and inherited is not None:
            out[inherited].append(name)
        own = own if len(own) <= 1 else {host[group] for group in own}
        only = next(iter(own)) if len(own) == 1 else inherited
        if name and len(own) == 1:
            out[next(iter(own))].append(name)
        children = [(key, child, f"{name}.{key}" if name else key) for key, child in module.named_children()]
        sets = [{host[group] for group in owners_of(child, path)} for _, child, path in children]
        for index, (_, child, path) in enumerate(children):
            place = only if len(own) <= 1 else _neighbour(sets, index, roles)
            visit(child, path, place)

    def owners_of(module: nn.Module, name: str) -> set[int]:
        prefix = f"{name}." if name else ""
        return {owner[prefix + n] for n, _ in module.named_parameters() if prefix + n in owner}

    visit(model, "", None)
    return [tuple(names) for names in out]


def _hosts(roles: Sequence[str]) -> list[int]:
    """For each group the layer that it is an adapter of, or itself."""
    hosts: list[int] = []
    for index, role in enumerate(roles):
        hosts.append(hosts[-1] if role == "adapter" and hosts else index)
    return hosts


def _neighbour(sets: list[set[int]], index: int, roles: Sequence[str]) -> int | None:
    """The group of the sibling before (the last part of it), or after where there is none."""
    after = next((group for group in sets[index + 1 :] if group), None)
    if after is not None and all(roles[one] == "head" for one in after):
        return min(after)
    before = next((group for group in reversed(sets[:index]) if group), None)
    if before is not None:
        return max(before)
    return min(after) if after else None
