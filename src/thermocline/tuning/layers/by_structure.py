"""From a module to an ordered list of layer drafts: timm's own matcher first, else table and structure."""

from __future__ import annotations

from torch import nn

from thermocline.tuning.layers.drafts import Detection, Draft, common_name, unique_names
from thermocline.tuning.layers.families import (
    EMBEDDING_LIKE,
    FINAL_NORM,
    TOWER_SEGMENT,
    Family,
    clean_name,
    family_of,
)
from thermocline.tuning.layers.patterns import compile_glob, prefixes
from thermocline.tuning.layers.repeated_blocks import Block, Rule, Stack, find_stacks, is_norm
from thermocline.tuning.layers.timm_groups import by_group_matcher

#: Blocks must hold this share of what is neither head nor embedding for a map to be trusted.
_LEAST_SHARE = 0.4
#: Share of a model above which a part without blocks is searched for plainer ones, and how many these must be.
_LARGE_PART = 0.1
_LEAST_PLAIN = 3


def detect(model: nn.Module, head: set[int], *, matcher: bool = True) -> Detection:
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
        return Detection([])
    family = family_of(model)
    if matcher and callable(getattr(model, "group_matcher", None)):
        found = by_group_matcher(model, body, family)
        if found is not None:
            return found
    return _by_structure(model, body, family)


def _by_structure(model: nn.Module, body: dict[str, nn.Parameter], family: Family | None) -> Detection:
    stacks = _explicit(model, body, family) or stacks_of(model, body)
    if not stacks:
        return _by_children(model, body)
    towers = _towers(stacks, family)
    alone = len(towers) == 1 and len(next(iter(towers.values()))) == len(stacks)
    if not towers or alone:
        drafts = assign(model, body, stacks, family)
        return _judge(model, body, drafts)
    drafts, left = [], dict(body)
    for tower, own in towers.items():
        part = {n: p for n, p in left.items() if n.startswith(f"{tower}.")}
        left = {n: p for n, p in left.items() if n not in part}
        for draft in assign(model, part, own, family):
            draft.tower = tower
            draft.name = draft.name.removeprefix(f"{tower}.")
            drafts.append(draft)
    outside = [stack for stack in stacks if not any(_under(stack.path, tower) for tower in towers)]
    if left and outside:
        drafts.extend(assign(model, left, outside, family))
    elif left:
        drafts.append(Draft("neck", "neck", list(left), "structure"))
    return _judge(model, body, drafts)


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

    def visit(module: nn.Module, path: str) -> None:
        if any(_under(stack.path, path) for stack in found):
            for key, child in module.named_children():
                visit(child, f"{path}.{key}" if path else key)
            return
        size = sum(p.numel() for n, p in free.items() if n.startswith(f"{path}."))
        if path and size > _LARGE_PART * total and not any(_under(path, stack.path) for stack in found):
            stacks = (within(stack, free) for stack in find_stacks(module, path, rule=Rule(strict=False)))
            out.extend(stack for stack in stacks if len(stack.blocks) >= _LEAST_PLAIN)

    visit(model, "")
    return out


def plain_stacks(model: nn.Module) -> list[Stack]:
    """Return the stacks of a plain net, whose blocks have no norm."""
    return find_stacks(model, rule=Rule(strict=False))


def within(stack: Stack, body: dict[str, nn.Parameter]) -> Stack:
    """Return the stack without what is head, of another part, or counted before (shared blocks)."""
    kept = (Block(b.name, tuple(n for n in b.parameters if n in body)) for b in stack.blocks)
    return Stack(stack.path, tuple(block for block in kept if block.parameters))


def _explicit(model: nn.Module, body: dict[str, nn.Parameter], family: Family | None) -> list[Stack]:
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


def _towers(stacks: list[Stack], family: Family | None) -> dict[str, list[Stack]]:
    """Stacks by the tower they stand in; fewer than two keys mean one tower."""
    towers: dict[str, list[Stack]] = {}
    for stack in stacks:
        for above in prefixes(stack.path):
            named = TOWER_SEGMENT.match(above.rpartition(".")[2])
            if named or (family and any(_under(above, tower) for tower in family.towers)):
                towers.setdefault(above, []).append(stack)
                break
    return towers


def _under(name: str, path: str) -> bool:
    return not path or name == path or name.startswith(f"{path}.")


def assign(model: nn.Module, body: dict[str, nn.Parameter], stacks: list[Stack], family: Family | None) -> list[Draft]:
    """Give every parameter outside the blocks its place: stem, a block beside it, or neck.

    Args:
        model: The model.
        body: The parameters to be placed.
        stacks: Their blocks.
        family: What is known of the model's family.
    """
    blocks = [Draft(b.name, "block", list(b.parameters), "structure") for s in stacks for b in s.blocks]
    owner = {name: i for i, draft in enumerate(blocks) for name in draft.parameters}
    first_of = _first_blocks(stacks)
    stem: list[str] = []
    neck: list[str] = []
    order = list(body)
    for position, name in enumerate(order):
        if name in owner:
            continue
        place = _place(model, name, order[:position], owner, stacks, first_of, family)
        target = {"stem": stem, "neck": neck}.get(place) if isinstance(place, str) else blocks[place].parameters
        assert target is not None
        target.append(name)
    drafts = [*([Draft("stem", "stem", stem, "structure")] if stem else []), *blocks]
    if neck:
        drafts.append(Draft("neck", "neck", neck, "structure"))
    for draft in drafts:
        if draft.role != "block":
            draft.name = common_name(draft.parameters) or draft.name
            if any(_under(other.name, draft.name) for other in drafts if other is not draft):
                draft.name = draft.role
    unique_names(drafts)
    return drafts


def _first_blocks(stacks: list[Stack]) -> list[tuple[int, int]]:
    """(index of the first block, index of the last) per stack."""
    spans, start = [], 0
    for stack in stacks:
        spans.append((start, start + len(stack.blocks) - 1))
        start += len(stack.blocks)
    return spans


def _place(
    model: nn.Module,
    name: str,
    before: list[str],
    owner: dict[str, int],
    stacks: list[Stack],
    spans: list[tuple[int, int]],
    family: Family | None,
) -> str | int:
    clean = clean_name(name)
    module = model.get_submodule(name.rpartition(".")[0])
    if family and _listed(clean, family.stem):
        return "stem"
    if family and _listed(clean, family.last):
        return spans[-1][1]
    scope = _scope(name, stacks)
    inside = [i for i, stack in enumerate(stacks) if not scope or _under(stack.path, scope)] or [len(stacks) - 1]
    if is_norm(module) and FINAL_NORM.search(clean):
        return spans[inside[-1]][1]
    if isinstance(module, nn.Embedding) or EMBEDDING_LIKE.search(clean):
        return "stem"
    passed = [owner[other] for other in before if other in owner]
    done = [i for i in inside if any(spans[i][0] <= block <= spans[i][1] for block in passed)]
    if not done:
        return "stem" if inside[0] == 0 else spans[inside[0]][0]
    if not is_norm(module) and done[-1] and scope.rpartition(".")[2] == "decoder":
        return spans[done[-1]][0]  # reference points and the like: used from the decoder's first block on
    direct = name.rpartition(".")[0].rpartition(".")[0] == scope  # a norm inside a neck is the neck's
    if (is_norm(module) and direct) or done[-1] != len(stacks) - 1:
        return spans[done[-1]][1]
    return "neck"


def _listed(name: str, patterns: tuple[str, ...]) -> bool:
    return any(compile_glob(pattern).fullmatch(above) for pattern in patterns for above in prefixes(name))


def _scope(name: str, stacks: list[Stack]) -> str:
    """The deepest module that holds both the parameter and a stack."""
    for above in reversed(prefixes(name)[:-1]):
        if any(_under(stack.path, above) for stack in stacks):
            return above
    return ""


def _judge(model: nn.Module, body: dict[str, nn.Parameter], drafts: list[Draft]) -> Detection:
    tables = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    in_blocks = sum(body[n].numel() for draft in drafts if draft.role == "block" for n in draft.parameters)
    counted = sum(
        p.numel() for n, p in body.items() if id(p) not in tables and not EMBEDDING_LIKE.search(clean_name(n))
    )
    if counted and in_blocks < _LEAST_SHARE * counted:
        share = 100 * in_blocks / counted
        return Detection(drafts, [f"the blocks found hold only {share:.0f} % of the parameters"])
    return Detection(drafts)


def _by_children(model: nn.Module, body: dict[str, nn.Parameter]) -> Detection:
    """Every child a layer, in order of definition; a child that holds most of the model is opened.

    A plain Sequential runs in its own order; of anything else only a forward pass knows it.
    """
    drafts: list[Draft] = []
    total = sum(p.numel() for p in body.values())
    for name in body:
        top = _opened(model, name, total)
        if drafts and drafts[-1].name == top:
            drafts[-1].parameters.append(name)
        else:
            drafts.append(Draft(top, "block", [name], "children"))
    unique_names(drafts)
    if type(model) is nn.Sequential:
        return Detection(drafts)
    return Detection(drafts, ["no repeated blocks were found; the children are taken as they are defined"])


def _opened(model: nn.Module, name: str, total: int) -> str:
    """The outermost module around a parameter that holds less than half of the model's `total` weights."""
    *paths, _ = prefixes(name)
    for path in paths:
        module = model.get_submodule(path)
        inner = [child for child in module.children() if next(child.parameters(), None) is not None]
        if 2 * sum(p.numel() for p in module.parameters()) < total or len(inner) < 2:
            return path
    return paths[-1] if paths else "stem"
