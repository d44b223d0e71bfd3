"""How the towers of one model stand to each other: which feeds which, and what feeds a tower from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from torch import nn

from thermocline.tuning.layers.drafts import Draft, Proposal, by_tower
from thermocline.tuning.layers.dry_run import Pass, forward_pass
from thermocline.tuning.layers.families import is_embedding
from thermocline.tuning.layers.module_names import is_inside, prefixes


def group_numbers(drafts: Sequence[Draft]) -> dict[str, int]:
    """Number the parameters whose influence a forward pass follows: by draft, and by unit outside all towers.

    A unit is an outermost module that holds no tower, or a parameter without such a module.
    """
    numbers = {name: place for place, draft in enumerate(drafts) for name in draft.parameters}
    units: dict[str, int] = {}
    for name in _outside(drafts):
        numbers[name] = units.setdefault(_unit(name, drafts), len(drafts) + len(units))
    return numbers


def run_towers_alone(model: nn.Module, drafts: Sequence[Draft], run: Pass) -> None:
    """Add to a pass the first uses within towers of which it ran no block, each tower run on inputs of its own.

    Args:
        model: The model.
        drafts: Its layers as structure proposes them.
        run: A pass of the whole model; it is changed.
    """
    for tower, own in by_tower(drafts).items():
        blocks = [name for draft in own if draft.role == "block" for name in draft.parameters]
        if not tower or not blocks or any(name in run.first for name in blocks):
            continue
        inside = {name.removeprefix(f"{tower}."): n for name, n in run.groups.items() if is_inside(name, tower)}
        alone = forward_pass(model.get_submodule(tower), None, inside)
        if alone is not None:
            for mine, theirs in ((run.first, alone.first), (run.last, alone.last), (run.reads, alone.reads)):
                mine |= {f"{tower}.{name}": value for name, value in theirs.items()}
            run.alone |= {f"{tower}.{name}" for name in alone.first}


def move_inputs_into_towers(model: nn.Module, drafts: list[Draft], run: Pass) -> None:
    """Move what feeds the blocks of one tower from outside all towers into that tower's stem.

    A prompt encoder beside a mask decoder is such a unit: it works on nothing that a block made (embeddings may be
    added to it), and one tower's blocks read it. Nothing is moved where the pass did not run all towers.

    Args:
        model: The model.
        drafts: The layers as structure proposes them; they are changed.
        run: A pass of the whole model.
    """
    towers = by_tower(drafts)
    if any(not _ran(own, run) for tower, own in towers.items() if tower):
        return
    units: dict[int, list[str]] = {}
    for name in _outside(drafts):
        units.setdefault(run.groups[name], []).append(name)
    of_blocks = _bits([draft for draft in drafts if draft.role == "block"], run)
    readers = {tower: _read(own, run, ("block",)) for tower, own in towers.items() if tower}
    for number, names in units.items():
        reading = [tower for tower, read in readers.items() if read >> number & 1]
        works_on_blocks = any(run.reads.get(n, 0) & of_blocks for n in names if not is_embedding(model, n))
        if len(reading) == 1 and not works_on_blocks:
            _add_to_stem(drafts, towers[reading[0]], names)


def tower_notes(found: Proposal, names: Mapping[str, str]) -> tuple[str, ...]:
    """Return in words which towers read each other, and which were not run with the others.

    Args:
        found: Layers in order.
        names: The name of each tower as it is shown, by the drafts' own.
    """
    towers = {tower: own for tower, own in by_tower(found.drafts).items() if any(d.role == "block" for d in own)}
    run = found.run
    if len(towers) < 2 or run is None:
        return ()
    bits = {tower: _bits(own, run) for tower, own in towers.items()}
    seen = [tower for tower, own in towers.items() if any(n in run.first for d in own for n in d.parameters)]
    joint = [tower for tower, own in towers.items() if _ran(own, run)]
    read = {tower: _read(towers[tower], run, ("stem", "block")) for tower in joint}
    feeds = {tower: [other for other in joint if other != tower and read[tower] & bits[other]] for tower in joint}
    notes = [
        f"{names[tower]} reads what {' and '.join(names[one] for one in others)} made"
        for tower, others in feeds.items()
        if others
    ]
    apart = [pair for pair in combinations(joint, 2) if pair[1] not in feeds[pair[0]] and pair[0] not in feeds[pair[1]]]
    notes += [f"{names[one]} and {names[other]} run side by side: neither reads the other" for one, other in apart]
    notes += [f"{names[tower]} was run by itself, on inputs of its own" for tower in seen if tower not in joint]
    notes += [
        f"{names[tower]} was not run: its order is that of its definition" for tower in towers if tower not in seen
    ]
    return ("each tower counts its own depths", *notes) if notes else ()


def _ran(drafts: Sequence[Draft], run: Pass) -> bool:
    """Whether the pass of the whole model ran a block of this tower."""
    names = {name for draft in drafts if draft.role == "block" for name in draft.parameters}
    return any(name in run.first and name not in run.alone for name in names)


def _outside(drafts: Sequence[Draft]) -> list[str]:
    """The parameters outside all towers of a model of which only the towers have blocks."""
    own = [draft for draft in drafts if not draft.tower]
    if len(own) == len(drafts) or any(draft.role == "block" for draft in own):
        return []
    return [name for draft in own for name in draft.parameters]


def _unit(name: str, drafts: Sequence[Draft]) -> str:
    """The outermost module around a parameter that holds no tower; the parameter itself where each one does."""
    return next(path for path in prefixes(name) if not any(is_inside(draft.tower, path) for draft in drafts))


def _read(drafts: Sequence[Draft], run: Pass, roles: tuple[str, ...]) -> int:
    """The groups that had a part in what the parameters of these drafts first met."""
    read = 0
    for draft in drafts:
        if draft.role in roles:
            for name in draft.parameters:
                read |= run.reads.get(name, 0)
    return read


def _bits(drafts: Sequence[Draft], run: Pass) -> int:
    """The groups of the parameters of these drafts; those of a head are in none."""
    names = [name for draft in drafts for name in draft.parameters if name in run.groups]
    return sum(1 << group for group in {run.groups[name] for name in names})


def _add_to_stem(drafts: list[Draft], tower: list[Draft], names: list[str]) -> None:
    """Move parameters into the stem of a tower, which is made where it has none; drafts left empty go."""
    moved = set(names)
    for draft in [draft for draft in drafts if not draft.tower]:
        draft.parameters = [name for name in draft.parameters if name not in moved]
        if not draft.parameters:
            drafts.remove(draft)
    stem = next((draft for draft in tower if draft.role == "stem"), None)
    if stem is None:
        stem = Draft("stem", "stem", [], tower[0].source, tower[0].tower)
        drafts.insert(drafts.index(tower[0]), stem)
        tower.insert(0, stem)
    stem.parameters = [*stem.parameters, *names]
