"""Repeated blocks, found by the structure of a module alone.

A *block* is a module with at least two weight matrices and a norm; a *stack* is a list of them: a ModuleList
or Sequential, or digit-suffixed siblings (`layer1 … layer4`), or sibling lists of one length that run in step
(`attentions[i]`, `ffns[i]`). A block that holds a stack itself is a stage and is split. Experts of a mixture
have no norm of their own and single convolutions no second matrix, so neither is taken for a block.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace

from torch import nn

from thermocline.tuning.layers.families import PARALLEL

_DIGITS = re.compile(r"^(.*?)_?(\d+)$")
_LISTS = (nn.ModuleList, nn.Sequential)


@dataclass(frozen=True)
class Block:
    """One block: its module's name and the parameters that go with it, in order of definition."""

    name: str
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Stack:
    """A run of blocks. `path` is the module that holds them."""

    path: str
    blocks: tuple[Block, ...]
    #: Found as digit-suffixed siblings rather than as a list.
    numbered: bool = False


@dataclass(frozen=True)
class Rule:
    """What counts as a block.

    Attributes:
        strict: Ask for a norm and for two matrices. False finds blocks of plainer nets.
        units: Class names that the model itself calls indivisible (`_no_split_modules` of transformers).
    """

    strict: bool = True
    units: frozenset[str] = frozenset()


def find_stacks(module: nn.Module, name: str = "", *, rule: Rule = Rule()) -> list[Stack]:
    """Return the outermost stacks inside `module`, in order of definition, stages split into blocks.

    Args:
        module: Where to look.
        name: Its name within the model; parameter names come out with it in front.
        rule: What counts as a block.
    """
    if is_list(module):
        stack = _stack_of_list(module, name, rule=rule)
        if stack is not None:
            return [stack]
    grouped = {**_zipped(module, name, rule=rule), **_numbered(module, name, rule=rule)}
    found: list[Stack] = []
    done: set[str] = set()
    for key, child in module.named_children():
        if key in done or not _has_parameters(child):
            continue
        if PARALLEL.search(key):
            continue
        if key in grouped:
            members, stack = grouped[key]
            done.update(members)
            found.append(stack)
        else:
            found.extend(find_stacks(child, _join(name, key), rule=rule))
    return found


def is_list(module: nn.Module) -> bool:
    """Whether a module is a list: ModuleList, Sequential, or a subclass with numbered children only."""
    keys = [key for key, _ in module.named_children()]
    return isinstance(module, _LISTS) and bool(keys)


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation, by its type."""
    return "norm" in type(module).__name__.lower() and all(p.ndim <= 3 for p in module.parameters())


def _is_block(modules: list[nn.Module], *, rule: Rule) -> bool:
    matrices = sum(
        sum(n > 1 for n in p.shape) >= 2
        for module in modules
        for sub in module.modules()
        if not isinstance(sub, nn.Embedding)  # a table is looked up, it transforms nothing
        for p in sub.parameters(recurse=False)
    )
    if not rule.strict:
        return matrices >= 1
    return matrices >= 2 and any(is_norm(sub) for module in modules for sub in module.modules())


def _stack_of_list(module: nn.Module, name: str, *, rule: Rule) -> Stack | None:
    children = [(key, child) for key, child in module.named_children() if _has_parameters(child)]
    least = 1 if isinstance(module, nn.ModuleList) and rule.strict else 2
    if len(children) < least or not _alike([child for _, child in children], rule=rule):
        return None
    # a list of one that holds another stack is only a box around it
    if len(children) == 1 and find_stacks(children[0][1], "", rule=rule):
        return None
    return _build(name, [[(_join(name, key), child)] for key, child in children], rule=rule)


def _alike(children: list[nn.Module], *, rule: Rule) -> bool:
    """Whether children are a run of blocks: most are blocks, and most of one type (or all are blocks)."""
    blocks = [_is_block([child], rule=rule) for child in children]
    kinds = Counter(type(child).__name__ for child in children)
    common = kinds.most_common(1)[0][1]
    return sum(blocks) * 2 >= len(children) and (common * 2 >= len(children) or all(blocks))


def _zipped(module: nn.Module, name: str, *, rule: Rule) -> dict[str, tuple[list[str], Stack]]:
    """Sibling ModuleLists of one length that run in step, of which at most one is a stack by itself."""
    lists = {
        key: child
        for key, child in module.named_children()
        if isinstance(child, nn.ModuleList) and len(child) > 1 and _has_parameters(child) and None not in list(child)
    }
    out: dict[str, tuple[list[str], Stack]] = {}
    for length in sorted({len(child) for child in lists.values()}):
        same = {key: child for key, child in lists.items() if len(child) == length}
        stacked = [key for key, child in same.items() if _alike(list(child), rule=rule)]
        if len(same) < 2 or len(stacked) > 1:
            continue
        steps = [[(f"{_join(name, key)}.{i}", child[i]) for key, child in same.items()] for i in range(length)]
        if not all(_is_block([sub for _, sub in step], rule=rule) for step in steps):
            continue
        primary = stacked[0] if stacked else max(same, key=lambda key: _size(same[key]))
        out[next(iter(same))] = (list(same), _build(_join(name, primary), steps, rule=rule))
    return out


def _numbered(module: nn.Module, name: str, *, rule: Rule) -> dict[str, tuple[list[str], Stack]]:
    """Digit-suffixed siblings: `layer1 … layer4`, `block_0 …`."""
    if is_list(module):
        return {}
    families: dict[str, list[tuple[int, str, nn.Module]]] = {}
    for key, child in module.named_children():
        match = _DIGITS.match(key)
        if match and match[1] and _has_parameters(child):
            families.setdefault(match[1], []).append((int(match[2]), key, child))
    out: dict[str, tuple[list[str], Stack]] = {}
    for prefix, members in families.items():
        if PARALLEL.search(prefix):
            continue
        members.sort(key=lambda member: member[0])
        if len(members) < 2 or not _alike([child for _, _, child in members], rule=rule):
            continue
        steps = [[(_join(name, key), child)] for _, key, child in members]
        first = next(key for key, _ in module.named_children() if key in {m[1] for m in members})
        out[first] = (
            [key for _, key, _ in members],
            replace(_build(name, steps, rule=rule), numbered=True),
        )
    return out


def _build(path: str, steps: list[list[tuple[str, nn.Module]]], *, rule: Rule) -> Stack:
    blocks: list[Block] = []
    for step in steps:
        blocks.extend(split_stage(step, primary=path, rule=rule))
    return Stack(path, tuple(blocks))


def split_stage(
    step: list[tuple[str, nn.Module]], *, primary: str, rule: Rule = Rule(), deepest: int = 2
) -> list[Block]:
    """Return the blocks of one stage, or the one block that it is.

    What stands before the first inner block goes with it, what stands after one goes with that one.

    Args:
        step: Names and modules that make up the stage, in order.
        primary: The list after which a whole block is named, where several are zipped.
        rule: As in `find_stacks`.
        deepest: How many levels below the stage its list of blocks may lie.
    """
    named = [(name, p) for key, module in step for name, p in module.named_parameters(prefix=key)]
    inner = [
        block
        for key, module in step
        for stack in _inner(module, key, rule=rule, deepest=deepest)
        for block in stack.blocks
    ]
    owner = {name: index for index, block in enumerate(inner) for name in block.parameters}
    total = sum(p.numel() for _, p in named)
    held = sum(p.numel() for name, p in named if name in owner)
    if not inner or (len(inner) == 1 and not _is_list_step(step)) or held * 2 < total or not rule.strict:
        name = next((key for key, _ in step if key.rpartition(".")[0] == primary), step[0][0])
        return [Block(name, tuple(name_ for name_, _ in named))]
    parameters: list[list[str]] = [[] for _ in inner]
    current = 0
    for name, _ in named:
        current = owner.get(name, current)
        parameters[current].append(name)
    return [Block(block.name, tuple(own)) for block, own in zip(inner, parameters, strict=True)]


def _inner(module: nn.Module, name: str, *, rule: Rule, deepest: int) -> list[Stack]:
    """The stacks inside a stage; a GradientCheckpointingLayer is a block unless all inside is alike."""
    level = name.count(".") + deepest
    stacks = [s for s in find_stacks(module, name, rule=rule) if s.path.count(".") <= level and not s.numbered]
    unit_inside = any(type(sub).__name__ in rule.units for sub in module.modules() if sub is not module)
    if any(kind.__name__ == "GradientCheckpointingLayer" for kind in type(module).__mro__) and not unit_inside:
        for key, child in module.named_children():
            if is_list(child) and len({type(one).__name__ for one in child.children()}) > 1:
                path = _join(name, key)
                stacks = [stack for stack in stacks if stack.path != path]
    return stacks


def _is_list_step(step: list[tuple[str, nn.Module]]) -> bool:
    return any(is_list(module) or any(is_list(child) for child in module.children()) for _, module in step)


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
