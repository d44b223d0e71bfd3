"""Which layer a module belongs to, modules without parameters (dropout, activations, buffers) included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from thermocline.tuning.layers.module_names import join_names


def assign_modules(model: nn.Module, groups: Sequence[Iterable[str]], roles: Sequence[str]) -> list[tuple[str, ...]]:
    """Assign every module to at most one group of parameters.

    A module whose parameters all lie in one group belongs to it. A module without parameters belongs to the group of
    the module that it lies in, or of the sibling defined before it (ViT's `pos_drop`), except that a module right
    before a head belongs to the head. A module with parameters of several groups belongs to none, unless these are a
    layer and its adapter: an attention that holds an adapter, a BatchNorm whose bias alone trains, or a dropout next
    to them belongs to the layer, and is in eval mode when that is frozen.

    Args:
        model: The model.
        groups: Names of parameters; an adapter's come right after those of the layer that hosts it.
        roles: The role of each group.

    Returns:
        Module names per group, in order of definition.
    """
    walk = _Walk(groups, roles)
    walk.visit(model, "", None)
    return [tuple(names) for names in walk.modules]


class _Walk:
    """A walk over a model's modules; `modules` holds the names of each group's modules.

    Args:
        groups: As in `assign_modules`.
        roles: Likewise.
    """

    def __init__(self, groups: Sequence[Iterable[str]], roles: Sequence[str]) -> None:
        self.modules: list[list[str]] = [[] for _ in groups]
        self._owner = {name: index for index, names in enumerate(groups) for name in names}
        self._roles, self._hosts = roles, _hosts(roles)
        self._seen: set[int] = set()

    def visit(self, module: nn.Module, name: str, inherited: int | None) -> None:
        """Assign a module and those inside it.

        Args:
            module: The module.
            name: Its name in the model.
            inherited: The group that it belongs to where it has no parameters.
        """
        if id(module) in self._seen:  # shared: it is named once, as in `named_modules`
            return
        self._seen.add(id(module))
        groups = self._groups_in(module, name)
        hosts = groups if len(groups) <= 1 else {self._hosts[group] for group in groups}
        only = next(iter(hosts)) if len(hosts) == 1 else None
        own = inherited if not groups else only
        if name and own is not None:
            self.modules[own].append(name)
        children = [(child, join_names(name, key)) for key, child in module.named_children()]
        sets = [{self._hosts[group] for group in self._groups_in(child, path)} for child, path in children]
        for index, (child, path) in enumerate(children):
            place = own if len(hosts) <= 1 else self._group_beside(sets, index)
            self.visit(child, path, place)

    def _groups_in(self, module: nn.Module, name: str) -> set[int]:
        names = (join_names(name, own) for own, _ in module.named_parameters())
        return {self._owner[one] for one in names if one in self._owner}

    def _group_beside(self, sets: list[set[int]], index: int) -> int | None:
        """The last group of the sibling before, or the first of the one after; that of a head where it is next."""
        after = next((groups for groups in sets[index + 1 :] if groups), None)
        if after is not None and all(self._roles[one] == "head" for one in after):
            return min(after)
        before = next((groups for groups in reversed(sets[:index]) if groups), None)
        if before is not None:
            return max(before)
        return min(after) if after else None


def _hosts(roles: Sequence[str]) -> list[int]:
    """For each group the layer that it is an adapter of, or itself."""
    hosts: list[int] = []
    for index, role in enumerate(roles):
        hosts.append(hosts[-1] if role == "adapter" and hosts else index)
    return hosts
