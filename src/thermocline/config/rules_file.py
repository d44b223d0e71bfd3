"""Reads and checks a file of rules: `presets/rules.yaml`, whose first lines say what is in it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.registry import problem_types

from .documents import read_yaml
from .joined import Schema, schema_of
from .overrides import raise_faults
from .presets import RULES, presets_folder
from .rules import MEASURED, ROWS, Cell, Family, Rules, Steps
from .schema import HeadInit, Optimizer, Peft
from .values import convert

NEEDED = ("optim.lr", "optim.max_epochs", "env.batch_size")
"""What every family has a value for."""
OPTIONS = (*NEEDED, "optim.lr_choice", "optim.lr_decay", "optim.warmup")
"""What cells may be of."""
IN_STEPS = ("optim.max_epochs", "env.batch_size")
"""What may follow from the number of rows."""
STARTS = (*get_args(HeadInit), *get_args(Peft))

_PARTS = ("value", "source", "n", "spread")
_WHERE = ("rows", "start", "problem_type")
_EXAMPLE = '{value: 1.0e-4, source: "Devlin et al., NAACL 2019", n: 0, spread: null}'
_MEASURED = re.compile(r"benchmarks/(results/\w+\.json|\w+\.py)|commit [0-9a-f]{7,40}")
_PAPER = re.compile(r"\w.*, \w.* (19|20)\d\d")


@lru_cache(maxsize=1)
def load_rules() -> Rules:
    """Return the rules that come with the package.

    Raises:
        ConfigError: See `read_rules`.
    """
    return read_rules(presets_folder() / f"{RULES}.yaml")


def read_rules(path: Path) -> Rules:
    """Return the rules of a file.

    Args:
        path: The file.

    Raises:
        ConfigError: It is not there, or cells are not right; all of them in one error.
    """
    content, faults = read_yaml(path, path.name), list[str]()
    _check_names(content, ("families", "optimizers"), "", faults)
    given = _mapping(content.get("families"), "families", faults)
    families = {name: _family(name, _mapping(one, name, faults), faults) for name, one in given.items()}
    optimizers = {}
    for name, one in _mapping(content.get("optimizers", {}), "optimizers", faults).items():
        _check_names([name], get_args(Optimizer), "optimizers: ", faults)
        if cell := _tried(f"optimizers, {name}", "optim.lr", one, (), faults):
            optimizers[name] = cell
    found = Rules(families, optimizers)
    if not faults:
        faults += _of_lineages(found)
    raise_faults([f"{path.name}: {fault}" for fault in faults], path.name)
    return found


def _family(name: str, given: Mapping[str, Any], faults: list[str]) -> Family:
    _check_names(given, ("when", "like", *OPTIONS), f"{name}: ", faults)
    when, like = given.get("when"), given.get("like")
    if not isinstance(when, str) or not when:
        faults.append(f"{name}: 'when' says what is true of these models, as a text, not {when!r}.")
    cells: list[Cell] = []
    for option in (one for one in OPTIONS if one in given):
        lines = given[option] if isinstance(given[option], list) else [given[option]]
        own = [_tried(f"{name}, {option}, cell {n}", option, one, _WHERE, faults) for n, one in enumerate(lines, 1)]
        places = [(cell.rows, cell.start, cell.problem_type) for cell in own if cell is not None]
        if len(set(places)) < len(places):
            faults.append(f"{name}, {option}: two cells hold for the same rows, start and problem_type. Remove one.")
        cells += filter(None, own)
    return Family(name, str(when), None if like is None else str(like), tuple(cells))


def _of_lineages(found: Rules) -> list[str]:
    """Return what is wrong with families as a whole: which they are like, and options without a value."""
    faults = []
    for name, family in found.families.items():
        seen = [name]
        while (like := found.families.get(family.like or "")) is not None and like.name not in seen:
            family = like
            seen.append(family.name)
        if family.like is not None:
            wrong = "is like itself" if family.like in seen else "is no family"
            hint = did_you_mean(family.like, found.families)
            faults.append(f"{family.name}: like: {family.like!r} {wrong}.{'' if family.like in seen else hint}")
            continue
        has = {cell.option for one in seen for cell in found.families[one].cells if cell.problem_type is None}
        if missing := [option for option in NEEDED if option not in has]:
            faults.append(f"{name}: no cell for {listing(missing)} that holds for every problem_type. Add one.")
    return list(dict.fromkeys(faults))


def _tried(where: str, option: str, given: Any, places: Collection[str], faults: list[str]) -> Cell | None:
    """Return a cell, or None where it is not right, which is added to the faults."""
    try:
        return _cell(option, given, places)
    except ConfigError as error:
        faults.append(f"{where}: {error}")
        return None


def _cell(option: str, given: Any, places: Collection[str]) -> Cell:
    if not isinstance(given, dict):
        raise ConfigError(f"a cell is a mapping, such as {_EXAMPLE}, not {given!r}.")
    faults: list[str] = []
    _check_names(given, (*_PARTS, *places), "", faults)
    if faults:
        raise ConfigError(faults[0])
    if missing := [part for part in _PARTS if part not in given]:
        raise ConfigError(f"{listing(missing)} is missing. A cell is such as {_EXAMPLE}.")
    _check_evidence(given["source"], given["n"], given["spread"])
    for name, allowed in (("rows", ROWS), ("start", STARTS), ("problem_type", problem_types())):
        if given.get(name) not in (None, *allowed):
            raise ConfigError(f"{name}: {given[name]!r} is not one of {', '.join(map(str, allowed))}.")
    return Cell(option, _value(option, given["value"], schema_of()), **{k: v for k, v in given.items() if k != "value"})


def _value(option: str, value: Any, schema: Schema) -> Any:
    """Return a value in the type of its option."""
    if isinstance(value, dict) and option in IN_STEPS:
        key, parts = schema.key(option), ("steps", "least", "most")
        if set(value) != set(parts):
            raise ConfigError(f"a value that follows from the rows has {listing(parts)}, not {listing(value)}.")
        found = Steps(*(convert(key, value[part]) for part in parts))
        if None not in (found.steps, found.least, found.most) and found.least <= found.most:
            return found
        raise ConfigError(f"steps, least and most are whole numbers, least up to most, not {value}.")
    if value is None:
        raise ConfigError("a value of null chooses nothing. Give a value, or remove the cell.")
    return convert(schema.key(option), value)


def _check_evidence(source: Any, n: Any, spread: Any) -> None:
    """Check a cell's source, its number of comparisons and their spread."""
    measured = isinstance(source, str) and source.startswith(MEASURED)
    form = _MEASURED if measured else _PAPER
    if not isinstance(source, str) or not form.fullmatch(source):
        raise ConfigError(
            f"source: {source!r} is neither a paper, such as 'Devlin et al., NAACL 2019', nor a benchmark, such as "
            "benchmarks/rules.py, benchmarks/results/rules.json or 'commit a5267fe'."
        )
    if type(n) is not int or n < 0:
        raise ConfigError(f"n: {n!r} is no number of comparisons: a whole number, 0 for a paper.")
    if n and not measured:
        raise ConfigError(f"n: {n}, but a paper's cell has 0 comparisons of ours. Name the benchmark, or set n to 0.")
    if (n < 2) != (spread is None) or not (spread is None or (type(spread) in (int, float) and spread >= 0)):
        raise ConfigError(
            f"spread: {spread!r} with n: {n}. It is a number of at least 0 from 2 comparisons on, else null."
        )


def _mapping(given: Any, what: str, faults: list[str]) -> dict[str, Any]:
    if isinstance(given, dict):
        return {str(name): one for name, one in given.items()}
    faults.append(f"{what}: has to be a mapping, not {given!r}.")
    return {}


def _check_names(given: Collection[Any], allowed: Collection[str], where: str, faults: list[str]) -> None:
    """Add a fault for each name that is not allowed."""
    faults += [
        f"{where}{name!r} is not one of {', '.join(allowed)}.{did_you_mean(name, allowed)}"
        for name in given
        if name not in allowed
    ]
