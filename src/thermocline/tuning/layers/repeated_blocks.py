"""Repeated blocks, found by the structure of a module alone.

A *block* is a module with at least two weight matrices and a norm. A *stack* is a list of blocks: a ModuleList or
Sequential, or digit-suffixed siblings (`layer1 … layer4`), or sibling lists of one length of which each index is one
block (`attentions[i]`, `ffns[i]`). A block that holds a stack itself is a stage and is split. Experts of a mixture
have no norm of their own and single convolutions no second matrix, so neither is taken for a block.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace

from torch import nn

from thermocline.tuning.layers.families import PARALLEL
from thermocline.tuning.layers.module_names import join_names
from thermocline.tuning.layers.norms import is_norm

_DIGITS = re.compile(r"^(.*?)_?(\d+)$")
_LISTS = (nn.ModuleList, nn.Sequential)
#: The modules that make up one block or stage, with their names in the model.
Step = list[tuple[str, nn.Module]]


@dataclass(frozen=True)
class Block:
    """One block: its module's name and the names of its parameters, in order of definition."""

    name: str
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Stack:
    """A run of blocks.

    Attributes:
        path: The module that holds them.
        blocks: In order.
        numbered: Whether they are digit-suffixed siblings rather than the items of a list.
    """

    path: str
    blocks: tuple[Block, ...]
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


@dataclass(frozen=True)
class _Siblings:
    """Children of one module that make up a stack together."""

    keys: list[str]
    stack: Stack


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
    siblings = {**_parallel_lists(module, name, rule=rule), **_numbered(module, name, rule=rule)}
    found: list[Stack] = []
    done: set[str] = set()
    for key, child in module.named_children():
        if key in done or not _has_parameters(child) or PARALLEL.search(key):
            continue
        if key in siblings:
            done.update(siblings[key].keys)
            found.append(siblings[key].stack)
        else:
            found.extend(find_stacks(child, join_names(name, key), rule=rule))
    return found


def is_list(module: nn.Module) -> bool:
    """Whether a module is a list with items: a ModuleList, a Sequential, or a subclass of one."""
    return isinstance(module, _LISTS) and next(module.named_children(), None) is not None


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
    if len(children) < least or not _are_run_of_blocks([child for _, child in children], rule=rule):
        return None
    # a list of one item that holds another stack is only a container of it
    if len(children) == 1 and find_stacks(children[0][1], "", rule=rule):
        return None
    return _stack(name, [[(join_names(name, key), child)] for key, child in children], rule=rule)


def _are_run_of_blocks(children: list[nn.Module], *, rule: Rule) -> bool:
    """Whether most children are blocks, and most are of one type (or all are blocks)."""
    blocks = [_is_block([child], rule=rule) for child in children]
    types = Counter(type(child).__name__ for child in children)
    common = types.most_common(1)[0][1]
    return sum(blocks) * 2 >= len(children) and (common * 2 >= len(children) or all(blocks))


def _parallel_lists(module: nn.Module, name: str, *, rule: Rule) -> dict[str, _Siblings]:
    """Sibling ModuleLists of one length, of which each index is one block and at most one is a stack by itself."""
    lists = {
        key: child
        for key, child in module.named_children()
        if isinstance(child, nn.ModuleList) and len(child) > 1 and _has_parameters(child) and None not in list(child)
    }
    out: dict[str, _Siblings] = {}
    for length in sorted({len(child) for child in lists.values()}):
        same = {key: child for key, child in lists.items() if len(child) == length}
        stacked = [key for key, child in same.items() if _are_run_of_blocks(list(child), rule=rule)]
        if len(same) < 2 or len(stacked) > 1:
            continue
        steps = [[(f"{join_names(name, key)}.{i}", child[i]) for key, child in same.items()] for i in range(length)]
        if not all(_is_block([sub for _, sub in step], rule=rule) for step in steps):
            continue
        primary = stacked[0] if stacked else max(same, key=lambda key: _size(same[key]))
        out[next(iter(same))] = _Siblings(list(same), _stack(join_names(name, primary), steps, rule=rule))
    return out


def _numbered(module: nn.Module, name: str, *, rule: Rule) -> dict[str, _Siblings]:
    """Digit-suffixed siblings: `layer1 … layer4`, `block_0 …`."""
    if is_list(module):
        return {}
    by_stem: dict[str, list[tuple[int, str, nn.Module]]] = {}
    for key, child in module.named_children():
        match = _DIGITS.match(key)
        if match and match[1] and _has_parameters(child):
            by_stem.setdefault(match[1], []).append((int(match[2]), key, child))
    out: dict[str, _Siblings] = {}
    for stem, members in by_stem.items():
        if PARALLEL.search(stem):
            continue
        first = members[0][1]
        members.sort(key=lambda member: member[0])
        if len(members) < 2 or not _are_run_of_blocks([child for _, _, child in members], rule=rule):
            continue
        steps = [[(join_names(name, key), child)] for _, key, child in members]
        out[first] = _Siblings([key for _, key, _ in members], replace(_stack(name, steps, rule=rule), numbered=True))
    return out


def _stack(path: str, steps: list[Step], *, rule: Rule) -> Stack:
    return Stack(path, tuple(block for step in steps for block in split_stage(step, primary=path, rule=rule)))


def split_stage(step: Step, *, primary: str, rule: Rule = Rule(), deepest: int = 2) -> list[Block]:
    """Return the blocks of one stage, or the one block that it is.

    Parameters before the first inner block belong to it; parameters after a block belong to that block.

    Args:
        step: Names and modules that make up the stage, in order.
        primary: The list after which an undivided block is named, where several lists make up the stage.
        rule: As in `find_stacks`.
        deepest: How many levels below the stage its list of blocks may lie.
    """
    sizes = {name: p.numel() for key, module in step for name, p in module.named_parameters(prefix=key)}
    stacks = [stack for key, module in step for stack in _inner_stacks(module, key, rule=rule, deepest=deepest)]
    inner = [block for stack in stacks for block in stack.blocks]
    if rule.strict and _is_stage(step, inner, sizes):
        return _extended(inner, list(sizes))
    name = next((key for key, _ in step if key.rpartition(".")[0] == primary), step[0][0])
    return [Block(name, tuple(sizes))]


def _is_stage(step: Step, inner: list[Block], sizes: dict[str, int]) -> bool:
    """Whether inner blocks are what a step consists of: several, or one in a list, with half of the weights."""
    several = len(inner) > 1 or (len(inner) == 1 and _has_list(step))
    held = {name for block in inner for name in block.parameters}
    return several and 2 * sum(size for name, size in sizes.items() if name in held) >= sum(sizes.values())


def _extended(blocks: list[Block], names: list[str]) -> list[Block]:
    """The blocks with what is defined between them: each name goes with the block before it, or with the first."""
    owner = {name: index for index, block in enumerate(blocks) for name in block.parameters}
    parameters: list[list[str]] = [[] for _ in blocks]
    current = 0
    for name in names:
        current = owner.get(name, current)
        parameters[current].append(name)
    return [Block(block.name, tuple(own)) for block, own in zip(blocks, parameters, strict=True)]


def _inner_stacks(module: nn.Module, name: str, *, rule: Rule, deepest: int) -> list[Stack]:
    """The stacks inside a stage; a GradientCheckpointingLayer is one block unless all items of its lists are alike."""
    level = name.count(".") + deepest
    stacks = [s for s in find_stacks(module, name, rule=rule) if s.path.count(".") <= level and not s.numbered]
    unit_inside = any(type(sub).__name__ in rule.units for sub in module.modules() if sub is not module)
    if any(kind.__name__ == "GradientCheckpointingLayer" for kind in type(module).__mro__) and not unit_inside:
        for key, child in module.named_children():
            if is_list(child) and len({type(one).__name__ for one in child.children()}) > 1:
                path = join_names(name, key)
                stacks = [stack for stack in stacks if stack.path != path]
    return stacks


def _has_list(step: Step) -> bool:
    return any(is_list(module) or any(is_list(child) for child in module.children()) for _, module in step)


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
