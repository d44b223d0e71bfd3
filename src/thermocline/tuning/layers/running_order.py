"""Layers put in the order in which a forward pass runs them.

Structure says which parameters make up a block; only a forward pass says when a block runs, and where the
parameters outside all blocks come in. Where the two disagree in a way that no order mends, the map says so.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, takewhile
from statistics import median

from thermocline.tuning.layers.drafts import Detection, Draft, common_name, unique_names
from thermocline.tuning.layers.dry_run import Pass

#: A tower of which more than this share of blocks run side by side has no order of blocks.
_MOST_MERGED = 0.5


def put_in_order(found: Detection, run: Pass, is_norm: Callable[[str], bool]) -> Detection:
    """Return the layers in execution order.

    Args:
        found: What structure says; its drafts are changed.
        run: The first uses of all parameters. Its groups are the numbers of the drafts in `found`.
        is_norm: Whether a parameter is that of a normalisation.
    """
    numbers = {id(draft): number for number, draft in enumerate(found.drafts)}
    drafts: list[Draft] = []
    doubts: list[str] = []
    merged = 0
    for tower in dict.fromkeys(draft.tower for draft in found.drafts):
        own = [draft for draft in found.drafts if draft.tower == tower]
        placed, joined, doubt = _tower(own, numbers, run, is_norm)
        drafts.extend(placed)
        merged += joined
        doubts.extend([doubt] if doubt else [])
    unique_names(drafts)
    asleep = any(draft.role == "block" and not _times(draft, run) for draft in drafts)
    return Detection(drafts, doubts, merged, ordered=not asleep)


def _tower(
    own: list[Draft], numbers: dict[int, int], run: Pass, is_norm: Callable[[str], bool]
) -> tuple[list[Draft], int, str]:
    blocks = [draft for draft in own if draft.role == "block"]
    used = [draft for draft in blocks if _times(draft, run)]
    if not used:
        return own, 0, ""
    rest = [draft for draft in own if draft.role != "block"]
    mask = sum(1 << numbers[id(draft)] for draft in blocks)
    whole, loose = _apart(used, run)
    loose += _outliers(whole, run)
    merged = _merged(whole, run)
    strays = [(name, draft) for draft in rest for name in draft.parameters] + loose
    if not any(draft.role == "stem" for draft in rest):
        strays += _ahead(merged[0], run)
    placed = _placed(strays, merged, mask, run, is_norm)
    idle = [draft for draft in blocks if not _times(draft, run)]  # no way of running the model uses them
    end = len(placed) - (placed[-1].role == "neck")
    out = [*placed[:end], *idle, *placed[end:]]
    return out, len(whole) - len(merged), _doubt(merged, len(whole), run)


def _doubt(blocks: list[Draft], before: int, run: Pass) -> str:
    """Why the order of these blocks, of which there were more before, is not to be trusted; empty if it is."""
    if before - len(blocks) > _MOST_MERGED * before:
        return f"most blocks of {blocks[0].name!r} and after run side by side in the forward pass"
    for first, second in pairwise(blocks):
        if min(_times(second, run)) <= max(_times(first, run)):
            return f"{second.name!r} starts before {first.name!r} is done in the forward pass"
    return ""


def _times(draft: Draft, run: Pass) -> list[int]:
    return [run.first[name] for name in draft.parameters if name in run.first]


def _apart(blocks: list[Draft], run: Pass) -> tuple[list[Draft], list[tuple[str, Draft]]]:
    """Take apart what does not run in one go although a list's index, or a matcher's number, puts it together.

    Returns:
        The blocks, those that such a draft consisted of included, and the small parts that are none.
    """
    whole: list[Draft] = []
    loose: list[tuple[str, Draft]] = []
    times = {id(draft): _times(draft, run) for draft in blocks}
    for draft in blocks:
        parts: dict[str, list[str]] = {}
        for name in draft.parameters:
            parts.setdefault(_numbered_root(name), []).append(name)
        low, high = min(times[id(draft)]), max(times[id(draft)])
        others = (time for other in blocks if other is not draft for time in times[id(other)])
        if len(parts) == 1 or not any(low < time < high for time in others):
            whole.append(draft)
            continue
        used = {root: sum(name in run.first for name in names) for root, names in parts.items()}
        largest = max(used, key=lambda root: used[root])
        for root, names in parts.items():
            if root == largest:
                draft.parameters = names
                whole.append(draft)
            elif 2 * used[root] >= used[largest]:
                whole.append(Draft(root, draft.role, names, draft.source, draft.tower))
            else:
                loose.extend((name, draft) for name in names)
    return whole, loose


def _ahead(first: Draft, run: Pass) -> list[tuple[str, Draft]]:
    """Take out what runs before the first block and is no part of it: a stem inside the first stage."""
    inside = [name for name in first.parameters if name.startswith(f"{first.name}.")]
    start = min((run.first[name] for name in inside if name in run.first), default=0)
    ahead = [name for name in first.parameters if name not in inside and run.first.get(name, start) < start]
    first.parameters = [name for name in first.parameters if name not in ahead]
    return [(name, first) for name in ahead]


def _numbered_root(name: str) -> str:
    """The name up to its first number: `encoder.layer.3` of `encoder.layer.3.output.dense.weight`."""
    parts = name.split(".")
    end = next((i for i, part in enumerate(parts) if part.isdigit()), 0)
    return ".".join(parts[: end + 1])


def _outliers(blocks: list[Draft], run: Pass) -> list[tuple[str, Draft]]:
    """Take out the few parameters that run while other blocks do, and sort the blocks."""
    blocks.sort(key=lambda draft: median(_times(draft, run)))
    middles = [median(_times(draft, run)) for draft in blocks]
    loose: list[tuple[str, Draft]] = []
    for index, draft in enumerate(blocks):
        low = middles[index - 1] if index else -1
        high = middles[index + 1] if index + 1 < len(blocks) else float("inf")
        away = [n for n in draft.parameters if n in run.first and not low <= run.first[n] <= high]
        if away and len(away) * 3 <= len(_times(draft, run)):
            draft.parameters = [name for name in draft.parameters if name not in set(away)]
            loose.extend((name, draft) for name in away)
    return loose


def _merged(blocks: list[Draft], run: Pass) -> list[Draft]:
    """Blocks that run side by side as one."""
    out: list[Draft] = []
    for draft in blocks:
        if out and min(_times(draft, run)) <= max(_times(out[-1], run)):
            last = out[-1]
            last.parameters = last.parameters + draft.parameters
            last.name = common_name(last.parameters) or last.name
            last.source = f"{last.source.removesuffix('+forward')}+forward"
        else:
            out.append(draft)
    return out


def _placed(
    strays: list[tuple[str, Draft]], blocks: list[Draft], mask: int, run: Pass, is_norm: Callable[[str], bool]
) -> list[Draft]:
    """Give every parameter outside the blocks its place by the moment of its first use."""
    spans = [(min(_times(block, run)), max(_times(block, run))) for block in blocks]
    own = [list(block.parameters) for block in blocks]
    stem: list[str] = []
    neck: list[str] = []
    onward = -1  # the last block from which the gap behind it has begun to belong to the next
    for name, origin in sorted(strays, key=lambda stray: run.first.get(stray[0], -1)):
        time = run.first.get(name)
        index = -1 if time is None else sum(start <= time for start, _ in spans) - 1
        last = index == len(blocks) - 1
        if time is None:
            (stem if origin.role == "stem" else neck).append(name)
        elif index < 0 or (_is_input(name, origin, run, mask) and not (last and time > spans[-1][1])):
            stem.append(name)
        elif time <= spans[index][1]:
            blocks[index].parameters.append(name)
        elif last:
            (blocks[-1].parameters if is_norm(name) and not neck else neck).append(name)
        else:
            nearer = _kin(name, own[index + 1]) - _kin(name, own[index])
            if nearer > 0 or (nearer == 0 and not is_norm(name)):
                onward = index
            blocks[index + (onward == index)].parameters.append(name)
    home = dict(strays)
    out = [_like(home, stem, "stem"), *blocks] if stem else list(blocks)
    return [*out, _like(home, neck, "neck")] if neck else out


def _is_input(name: str, origin: Draft, run: Pass, mask: int) -> bool:
    """Whether a parameter feeds the blocks from outside (a block's shortcut reads the same, and is the block's)."""
    return origin.role != "block" and not run.reads[name] & mask


def _kin(name: str, others: list[str]) -> int:
    """How many segments a name shares with the nearest of others."""
    parts = name.split(".")
    shared = 0
    for other in others:
        pairs = zip(parts, other.split("."), strict=False)
        shared = max(shared, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)))
    return shared


def _like(home: dict[str, Draft], names: list[str], role: str) -> Draft:
    """A draft for these names, called as the one that most of them come from where its role was the same."""
    origin = home[names[0]]
    same = origin.role == role and set(origin.parameters) & set(names)
    name = origin.name if same else common_name(names) or role
    return Draft(name, role, names, origin.source, origin.tower)
