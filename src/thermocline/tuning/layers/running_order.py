"""Layers put in the order in which a forward pass runs them.

Structure says which parameters make up a block; only a forward pass says when a block runs, and when the parameters
outside all blocks are used. Where the two disagree in a way that no order resolves, the map says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from thermocline.tuning.layers.drafts import Draft, Proposal, by_tower, make_names_unique
from thermocline.tuning.layers.dry_run import Pass
from thermocline.tuning.layers.module_names import common_module
from thermocline.tuning.layers.placement_by_use import Stray, place_strays, times_of

#: A tower of which more than this share of blocks run side by side has no order of blocks.
_MOST_MERGED = 0.5


@dataclass(frozen=True)
class _Tower:
    """One tower in execution order, how many of its blocks were merged, and why its order is in doubt (or empty)."""

    drafts: list[Draft]
    merged: int = 0
    doubt: str = ""


def put_in_order(found: Proposal, run: Pass, is_norm: Callable[[str], bool]) -> Proposal:
    """Return the layers in execution order.

    Args:
        found: The layers as structure proposes them; its drafts are changed.
        run: The first uses of all parameters; the parameters of one draft are in one of its groups.
        is_norm: Whether a parameter is that of a normalisation.
    """
    towers = [_tower(own, run, is_norm) for own in by_tower(found.drafts).values()]
    drafts = [draft for tower in towers for draft in tower.drafts]
    make_names_unique(drafts)
    unused = any(draft.role == "block" and not times_of(draft, run) for draft in drafts)
    doubts = [tower.doubt for tower in towers if tower.doubt]
    return Proposal(drafts, doubts, sum(tower.merged for tower in towers), ordered=not unused, run=run)


def _tower(own: list[Draft], run: Pass, is_norm: Callable[[str], bool]) -> _Tower:
    blocks = [draft for draft in own if draft.role == "block"]
    used = [draft for draft in blocks if times_of(draft, run)]
    if not used:
        return _Tower(own)
    rest = [draft for draft in own if draft.role != "block"]
    mask = sum(1 << group for group in {run.groups[name] for draft in blocks for name in draft.parameters})
    whole, loose = _split_interrupted(used, run)
    loose += _take_outliers(whole, run)
    merged = _merge_overlapping(whole, run)
    strays = [(name, draft) for draft in rest for name in draft.parameters] + loose
    if not any(draft.role == "stem" for draft in rest):
        strays += _take_ahead(merged[0], run)
    placed = place_strays(strays, merged, mask, run, is_norm)
    unused = [draft for draft in blocks if not times_of(draft, run)]  # no known input of the model uses them
    end = len(placed) - (placed[-1].role == "neck")
    doubt = _doubt(merged, len(whole), run)
    return _Tower([*placed[:end], *unused, *placed[end:]], len(whole) - len(merged), doubt)


def _doubt(blocks: list[Draft], before: int, run: Pass) -> str:
    """Why the order of these blocks, of which there were more before, is not to be trusted; empty if it is."""
    if before - len(blocks) > _MOST_MERGED * before:
        return f"most blocks of {blocks[0].name!r} and after run side by side in the forward pass"
    for first, second in pairwise(blocks):
        if min(times_of(second, run)) <= max(times_of(first, run)):
            return f"{second.name!r} starts before {first.name!r} is done in the forward pass"
    return ""


def _split_interrupted(blocks: list[Draft], run: Pass) -> tuple[list[Draft], list[Stray]]:
    """Split blocks during whose run other blocks run, although a list's index, or a matcher's number, joins them.

    Returns:
        The blocks, with the parts that are blocks themselves, and the parameters of the small parts that are none.
    """
    whole: list[Draft] = []
    loose: list[Stray] = []
    times = {id(draft): times_of(draft, run) for draft in blocks}
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


def _take_ahead(first: Draft, run: Pass) -> list[Stray]:
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


def _take_outliers(blocks: list[Draft], run: Pass) -> list[Stray]:
    """Take out the few parameters that run while other blocks do, and sort the blocks."""
    blocks.sort(key=lambda draft: median(times_of(draft, run)))
    middles = [median(times_of(draft, run)) for draft in blocks]
    loose: list[Stray] = []
    for index, draft in enumerate(blocks):
        low = middles[index - 1] if index else -1
        high = middles[index + 1] if index + 1 < len(blocks) else float("inf")
        away = [n for n in draft.parameters if n in run.first and not low <= run.first[n] <= high]
        if away and len(away) * 3 <= len(times_of(draft, run)):
            draft.parameters = [name for name in draft.parameters if name not in set(away)]
            loose.extend((name, draft) for name in away)
    return loose


def _merge_overlapping(blocks: list[Draft], run: Pass) -> list[Draft]:
    """Merge blocks that run side by side."""
    out: list[Draft] = []
    for draft in blocks:
        if out and min(times_of(draft, run)) <= max(times_of(out[-1], run)):
            last = out[-1]
            last.parameters = last.parameters + draft.parameters
            last.name = common_module(last.parameters) or last.name
            last.source = f"{last.source.removesuffix('+forward')}+forward"
        else:
            out.append(draft)
    return out
