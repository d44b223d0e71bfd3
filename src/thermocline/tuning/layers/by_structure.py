"""From a module to an ordered list of layer drafts: timm's own matcher first, else the table and the structure."""

from __future__ import annotations

from torch import nn

from thermocline.tuning.layers.drafts import Draft, Proposal, make_names_unique
from thermocline.tuning.layers.families import EMBEDDING_LIKE, TOWER_SEGMENT, Family, family_of
from thermocline.tuning.layers.module_names import is_inside, join_names, prefixes
from thermocline.tuning.layers.patterns import compile_glob
from thermocline.tuning.layers.placement import place_parameters
from thermocline.tuning.layers.repeated_blocks import Block, Rule, Stack, find_stacks
from thermocline.tuning.layers.timm_groups import by_group_matcher
from thermocline.tuning.layers.wrappers import clean_name

#: Blocks must hold this share of what is neither head nor embedding for a map to be trusted.
_LEAST_SHARE = 0.4
#: Share of a model above which a part without blocks is searched for plainer ones, and how many these must be.
_LARGE_PART = 0.1
_LEAST_PLAIN = 3


def find_by_structure(model: nn.Module, head: set[int], *, matcher: bool = True) -> Proposal:
    """Split a model into layers.

    Args:
        model: The model, out of its wrappers.
        head: Ids of the head's parameters.
        matcher: Whether timm's own `group_matcher` is asked first.

    Returns:
        Drafts without the head: stem first, then blocks in order, then necks, tower by tower.
    """
    body = {name: p for name, p in model.named_parameters() if id(p) not in head}
    if not body:
        return Proposal([])
    family = family_of(model)
    if matcher and callable(getattr(model, "group_matcher", None)):
        found = by_group_matcher(model, body, family)
        if found is not None:
            return found
    return _by_stacks(model, body, family)


def _by_stacks(model: nn.Module, body: dict[str, nn.Parameter], family: Family | None) -> Proposal:
    stacks = _listed_stacks(model, body, family) or stacks_of(model, body)
    if not stacks:
        return _by_children(model, body)
    towers = _towers(stacks)
    alone = len(towers) == 1 and len(next(iter(towers.values()))) == len(stacks)
    if not towers or alone:
        return _with_doubts(model, body, place_parameters(model, body, stacks, family))
    drafts, left = [], dict(body)
    for tower, own in towers.items():
        part = {n: p for n, p in left.items() if n.startswith(f"{tower}.")}
        left = {n: p for n, p in left.items() if n not in part}
        for draft in place_parameters(model, part, own, family):
            draft.tower = tower
            draft.name = draft.name.removeprefix(f"{tower}.")
            drafts.append(draft)
    outside = [stack for stack in stacks if not any(is_inside(stack.path, tower) for tower in towers)]
    if left and outside:
        drafts.extend(place_parameters(model, left, outside, family))
    elif left:
        drafts.append(Draft("neck", "neck", list(left), "structure"))
    return _with_doubts(model, body, drafts)


def stacks_of(model: nn.Module, body: dict[str, nn.Parameter]) -> list[Stack]:
    """Return the stacks of blocks, the decoder's last; parameters that are not in `body` are left out."""
    units = frozenset(getattr(model, "_no_split_modules", None) or ())
    for strict in (True, False):
        found = [within(stack, body) for stack in find_stacks(model, rule=Rule(strict, units))]
        found = [stack for stack in found if stack.blocks]
        if found:
            found += _plainer(model, body, found) if strict else []
            return sorted(found, key=lambda stack: "decoder" in stack.path.split("."))
    return []


def _plainer(model: nn.Module, body: dict[str, nn.Parameter], found: list[Stack]) -> list[Stack]:
    """Stacks without norms in large parts of a model that hold no others (a plain net ahead of a transformer)."""
    total = sum(p.numel() for p in body.values())
    taken = {name for stack in found for block in stack.blocks for name in block.parameters}
    free = {name: p for name, p in body.items() if name not in taken}
    out: list[Stack] = []
    for path, module in _without_stacks(model, "", found):
        size = sum(p.numel() for name, p in free.items() if name.startswith(f"{path}."))
        if path and size > _LARGE_PART * total and not any(is_inside(path, stack.path) for stack in found):
            stacks = (within(stack, free) for stack in find_stacks(module, path, rule=Rule(strict=False)))
            out.extend(stack for stack in stacks if len(stack.blocks) >= _LEAST_PLAIN)
    return out


def _without_stacks(module: nn.Module, path: str, stacks: list[Stack]) -> list[tuple[str, nn.Module]]:
    """The outermost modules in which none of these stacks lies, with their paths."""
    if not any(is_inside(stack.path, path) for stack in stacks):
        return [(path, module)]
    return [
        one for key, child in module.named_children() for one in _without_stacks(child, join_names(path, key), stacks)
    ]


def plain_stacks(model: nn.Module) -> list[Stack]:
    """Return the stacks of a plain net, whose blocks have no norm."""
    return find_stacks(model, rule=Rule(strict=False))


def within(stack: Stack, body: dict[str, nn.Parameter]) -> Stack:
    """Return the stack with only the parameters in `body` (no head, no other part, no blocks counted before)."""
    kept = (Block(b.name, tuple(n for n in b.parameters if n in body)) for b in stack.blocks)
    return Stack(stack.path, tuple(block for block in kept if block.parameters))


def _listed_stacks(model: nn.Module, body: dict[str, nn.Parameter], family: Family | None) -> list[Stack]:
    """The blocks that the table of exceptions names, as one stack."""
    if family is None or not family.blocks:
        return []
    blocks: list[Block] = []
    for pattern in family.blocks:
        regex = compile_glob(pattern)
        for name, _ in model.named_modules():
            if name and regex.fullmatch(clean_name(name)):
                own = tuple(n for n in body if n.startswith(f"{name}."))
                if own:
                    blocks.append(Block(name, own))
    return [Stack(blocks[0].name.rpartition(".")[0], tuple(blocks))] if blocks else []


def _towers(stacks: list[Stack]) -> dict[str, list[Stack]]:
    """Stacks by the tower they lie in; fewer than two keys mean one tower."""
    towers: dict[str, list[Stack]] = {}
    for stack in stacks:
        for above in prefixes(stack.path):
            if TOWER_SEGMENT.match(above.rpartition(".")[2]):
                towers.setdefault(above, []).append(stack)
                break
    return towers


def _with_doubts(model: nn.Module, body: dict[str, nn.Parameter], drafts: list[Draft]) -> Proposal:
    """The proposal, in doubt where the blocks hold too small a share of the parameters."""
    tables = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    in_blocks = sum(body[n].numel() for draft in drafts if draft.role == "block" for n in draft.parameters)
    counted = sum(
        p.numel() for n, p in body.items() if id(p) not in tables and not EMBEDDING_LIKE.search(clean_name(n))
    )
    if counted and in_blocks < _LEAST_SHARE * counted:
        share = 100 * in_blocks / counted
        return Proposal(drafts, [f"the blocks found hold only {share:.0f} % of the parameters"])
    return Proposal(drafts)


def _by_children(model: nn.Module, body: dict[str, nn.Parameter]) -> Proposal:
    """Every child a layer, in order of definition; a child that holds most of the model is opened.

    A plain Sequential runs in its own order; of anything else only a forward pass tells it.
    """
    drafts: list[Draft] = []
    total = sum(p.numel() for p in body.values())
    for name in body:
        top = _small_module_above(model, name, total)
        if drafts and drafts[-1].name == top:
            drafts[-1].parameters.append(name)
        else:
            drafts.append(Draft(top, "block", [name], "children"))
    make_names_unique(drafts)
    if type(model) is nn.Sequential:
        return Proposal(drafts)
    return Proposal(drafts, ["no repeated blocks were found; the children are taken as they are defined"])


def _small_module_above(model: nn.Module, name: str, total: int) -> str:
    """The outermost module around a parameter that holds less than half of the model's `total` weights."""
    *paths, _ = prefixes(name)
    for path in paths:
        module = model.get_submodule(path)
        inner = [child for child in module.children() if next(child.parameters(), None) is not None]
        if 2 * sum(p.numel() for p in module.parameters()) < total or len(inner) < 2:
            return path
    return paths[-1] if paths else "stem"
