"""From presets and hyperparameters to a config in which every value is settled and says where it is from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from thermocline.errors import ConfigError
from thermocline.registry import ProblemInfo

from .companions import laid_over
from .inherited import inherited
from .joined import schema_of
from .overrides import Hyperparameters, Overrides, raise_faults, read_overrides
from .own import Own
from .presets import Preset, Presets, asked_for, lineages, replacements
from .resolved import PRESET, Origins, ResolvedConfig
from .spaces import SEARCH, Drawn, Space


def resolve(
    presets: Presets = None,
    hyperparameters: Hyperparameters = None,
    *,
    problem: ProblemInfo | None = None,
    drawn: Drawn | None = None,
    earlier: ResolvedConfig | None = None,
) -> ResolvedConfig:
    """Settle every option: the user's value before a preset's, a later preset's before an earlier one's.

    Args:
        presets: A name, a path to a YAML file, or several of these, composed left to right over `default`.
        hyperparameters: A mapping with dotted or nested names, `"key=value"` texts, a path to a YAML file,
            or a list of such.
        problem: The kind of problem: its options are taken, installed or not, and its preset where none is named.
        drawn: What a search has chosen in place of the spaces among the hyperparameters.
        earlier: The configuration of the fit that this one starts from; what was set there holds where nothing else is
            set here.

    Returns:
        The settled config. What is null there and said to be chosen is for the program to `choose`.

    Raises:
        ConfigError: A preset or an option that does not exist, a value that does not fit, an option given
            twice, a space where nothing is searched; every fault in one error.

    Example:
        >>> config = resolve("medium_quality", {"optim.lr": 3e-4})
        >>> config.optim.lr, config.provenance["optim.lr"]
        (0.0003, 'user')
    """
    schema, named = schema_of(problem), presets is not None
    if presets is None and problem is not None and earlier is None:
        presets = problem.preset
    read = read_overrides(hyperparameters, schema)
    _settle_spaces(read, drawn)
    objects = _named_objects(read)
    found: list[list[Preset]] = []
    try:
        found = lineages(presets, schema) if named or earlier is None else []
    except ConfigError as error:
        read.faults.insert(0, str(error))
    raise_faults(read.faults, "presets and hyperparameters" if named else "hyperparameters")

    values: dict[str, Any] = {}
    provenance: dict[str, str] = {}
    for preset in (preset for lineage in found for preset in lineage):
        values = laid_over(values, preset.values)
        provenance |= dict.fromkeys(preset.values, f"{PRESET}{preset.name}")
    if earlier is not None:
        before, were_set_by = inherited(earlier, values | read.values)
        left = before.keys() - values.keys() - read.values.keys()
        objects |= {path: one for path, one in earlier.objects.items() if path in left}
        values, provenance = laid_over(before, values), were_set_by | provenance
    names = tuple(Path(name).name for name in asked_for(presets))
    names = earlier.presets if earlier is not None and not named else names
    settled = laid_over(values, read.values)
    replaced = {path: value for path, value in values.items() if path in read.values}
    set_by = {path: origin for path, origin in (provenance | read.origins).items() if path in settled}
    origins = Origins(set_by, names, replaced, replacements(found, without=read.values))
    return replace(ResolvedConfig.build(schema, settled, origins), objects=objects)


def read_spaces(hyperparameters: Hyperparameters, *, problem: ProblemInfo | None = None) -> dict[str, Space]:
    """Return the spaces among hyperparameters, by dotted name in their order.

    Args:
        hyperparameters: As of `resolve`.
        problem: As of `resolve`.

    Raises:
        ConfigError: Faults in any of the hyperparameters; every fault in one error.

    Example:
        >>> read_spaces({"optim.lr": "loguniform(1e-5, 1e-3)"})["optim.lr"].high
        0.001
    """
    read = read_overrides(hyperparameters, schema_of(problem))
    raise_faults(read.faults, "hyperparameters")
    return {path: value for path, value in read.values.items() if isinstance(value, Space)}


def _named_objects(read: Overrides) -> dict[str, Any]:
    """Put the names of objects in their place, and return the objects by dotted name."""
    own = {path: value for path, value in read.values.items() if isinstance(value, Own)}
    read.values.update({path: value.name for path, value in own.items()})
    return {path: value.value for path, value in own.items()}


def _settle_spaces(read: Overrides, drawn: Drawn | None) -> None:
    """Put what was drawn in place of the spaces; without it they are faults."""
    spaces = {path: value for path, value in read.values.items() if isinstance(value, Space)}
    if spaces and drawn is None:
        several = len(spaces) > 1
        read.faults.append(
            f"{', '.join(f'{path}={str(space)!r}' for path, space in spaces.items())} "
            f"{'are spaces' if several else 'is a space'} of values, and nothing searches: give "
            f"fit(…, search={{'trials': 20}}) (--search-trials 20), or {'values' if several else 'a value'}."
        )
    for path, space in spaces.items():
        del read.values[path], read.origins[path]
        if drawn is not None and path in drawn.values:
            read.values[path] = drawn.values[path]
            read.origins[path] = f"{SEARCH}{drawn.name}, {space}"
