"""Presets: YAML files with a purpose, parents and reasons, found by name or by path, and composed."""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from thermocline.errors import ConfigError, OutputExistsError, did_you_mean

from .documents import read_yaml
from .joined import Schema, schema_of
from .overrides import check_values, raise_faults

if typing.TYPE_CHECKING:
    import pandas as pd

Presets: TypeAlias = str | os.PathLike[str] | Sequence[Any] | None
"""A name, a path to a YAML file, or several of these (names also as one text with commas), composed left to right."""

BASE = "default"
"""The preset that is composed before every other."""
RULES = "rules"
NO_PRESETS = (RULES, "portfolio")
"""Files in the folder of the presets that are none."""

SCHEMA = "thermocline_schema.json"
"""The JSON schema of presets beside one that is copied with it."""

_TEXT, _IMAGE = "model.text.checkpoint", "model.image.checkpoint"


@dataclass(frozen=True)
class Preset:
    """One preset file, read and checked.

    Attributes:
        name: Its name, or the name of its file.
        path: Where the file is.
        purpose: One sentence on what it is for.
        extends: The presets it builds on, in their order.
        why: A reason for each choice that needs one.
        values: The options it sets itself, by dotted name.
    """

    name: str
    path: Path
    purpose: str
    extends: tuple[str, ...] = ()
    why: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def presets_folder() -> Path:
    """Return the folder of the presets: in the package (a wheel), or in the repository (an editable install).

    Raises:
        ConfigError: There is neither.
    """
    here = Path(__file__).resolve()
    candidates = [here.parents[1] / "presets", here.parents[3] / "presets"]
    for folder in candidates:
        if (folder / f"{BASE}.yaml").is_file():
            return folder
    places = " nor in ".join(repr(str(folder)) for folder in candidates)
    raise ConfigError(f"The presets are neither in {places}; the installation is damaged, install it anew.")


def preset_names() -> list[str]:
    """Return the names of the presets that come with the package: the qualities first, then the others."""
    first = [BASE, "medium_quality", "high_quality", "best_quality"]
    found = {path.stem for path in presets_folder().glob("*.yaml")}.difference(NO_PRESETS)
    return [name for name in first if name in found] + sorted(found.difference(first))


def find_preset(name: str | os.PathLike[str], *, beside: Path | None = None) -> Path:
    """Return the file of a preset.

    Args:
        name: A name, or a path that ends in `.yaml` or `.yml`.
        beside: The folder that a relative path starts from; by default the working folder.

    Raises:
        ConfigError: There is no such preset or no such file.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise ConfigError(f"A preset is a name or a path, not {name!r}. Presets: {', '.join(preset_names())}.")
    given = Path(name)
    if given.suffix in (".yaml", ".yml"):
        path = (beside or Path()) / given.expanduser()
        if path.is_file():
            return path
        raise ConfigError(f"There is no preset file {str(path)!r}.")
    names = preset_names()
    if isinstance(name, str) and name in names:
        return presets_folder() / f"{name}.yaml"
    raise ConfigError(
        f"There is no preset {str(name)!r}.{_meant(str(name), names)} Presets: {', '.join(names)}; or a path that ends "
        "in .yaml."
    )


def _meant(given: str, names: Sequence[str]) -> str:
    """Return what may have been meant by a name that is no preset."""
    lowered = given.strip().lower()
    several = [part for part in re.split(r"[\s+;|&/]+", lowered) if part]
    if len(several) > 1 and set(several) <= set(names):
        return f" Several are a list: presets={several}."
    if "=" in given:
        return f" Options go to hyperparameters={given!r}."
    begun = [name for name in names if name.startswith(f"{lowered}_") and lowered]
    return f" Did you mean {' or '.join(map(repr, begun))}?" if begun else did_you_mean(given, names)


def preset_text(name: str | os.PathLike[str]) -> str:
    """Return the text of a preset as it stands in its file.

    Args:
        name: A name, or a path that ends in `.yaml`.
    """
    return find_preset(name).read_text(encoding="utf-8")


def read_preset(name: str | os.PathLike[str], *, beside: Path | None = None, schema: Schema | None = None) -> Preset:
    """Return a preset, its own values checked; its parents are not read.

    Args:
        name: A name, or a path that ends in `.yaml`.
        beside: The folder that a relative path starts from.
        schema: The options there are; by default those of all installed kinds.

    Raises:
        ConfigError: It is not there, is no YAML, or holds what is no option or no value of one.
    """
    path = find_preset(name, beside=beside)
    label = path.stem if path.parent == presets_folder() else path.name
    where = f"preset {label!r}"
    content = read_yaml(path, where)
    purpose, extends, why = (content.pop(part, None) for part in ("purpose", "extends", "why"))
    parents = [] if extends is None else [extends] if isinstance(extends, str) else extends
    if not isinstance(parents, list) or not all(isinstance(parent, str) for parent in parents):
        raise ConfigError(f"{where}: 'extends' takes a preset's name or a list of names, not {extends!r}.")
    if why is not None and not isinstance(why, dict):
        raise ConfigError(f"{where}: 'why' takes a mapping from what was chosen to the reason, not {why!r}.")
    reasons = {str(subject): str(reason) for subject, reason in (why or {}).items()}
    values = check_values(content, where, schema or schema_of())
    return Preset(label, path, str(purpose or ""), tuple(parents), reasons, values)


def asked_for(presets: Presets) -> list[str | os.PathLike[str]]:
    """Return the names and paths that were asked for; `default` where there are none.

    Args:
        presets: A name, several with commas between them, a path, a list of these, or `None`.

    Raises:
        ConfigError: It is something else.
    """
    return list(_each(presets)) or [BASE]


def _each(presets: Any) -> Iterator[Any]:
    if type(presets).__module__.partition(".")[0] in ("numpy", "pandas") and hasattr(presets, "tolist"):
        presets = presets.tolist()
    if presets is None:
        return
    if isinstance(presets, str) and "," in presets and not Path(presets).is_file():
        yield from (part for part in map(str.strip, presets.split(",")) if part)
    elif isinstance(presets, (str, os.PathLike)):
        yield presets
    elif isinstance(presets, Sequence) and not isinstance(presets, (bytes, bytearray)):
        for part in presets:
            if part is None:
                yield part  # an error: one of several that is nothing is a mistake
            else:
                yield from _each(part)
    else:
        hint = " Options go to hyperparameters." if isinstance(presets, Mapping) else ""
        raise ConfigError(f"presets takes a name, a path or a list of these, not {presets!r}.{hint}")


def lineages(presets: Presets, schema: Schema | None = None) -> list[list[Preset]]:
    """Return, for each preset that was asked for, itself after all that it extends, in the order of composition.

    `default` comes first whatever is asked for, so a preset has to say only what differs from it.

    Args:
        presets: A name, a path, or several of these; `None` and an empty list mean `default` alone.
        schema: The options there are; by default those of all installed kinds.

    Raises:
        ConfigError: A preset is not there or not right, or extends itself in the end.
    """
    names = asked_for(presets)
    found: list[list[Preset]] = []
    faults: list[str] = []
    for name in names if names[0] == BASE else [BASE, *names]:
        try:
            found.append(_lineage(name, None, (), schema or schema_of()))
        except ConfigError as error:
            faults.append(str(error))
    raise_faults(faults, "presets")
    return found


def compose(presets: Presets, schema: Schema | None = None) -> list[Preset]:
    """Return the presets in the order in which they are composed, parents before children; see `lineages`.

    Args:
        presets: A name, a path, or several of these.
        schema: The options there are.

    Raises:
        ConfigError: As `lineages`.
    """
    return [preset for lineage in lineages(presets, schema) for preset in lineage]


def replacements(found: Sequence[Sequence[Preset]], without: Iterable[str] = ()) -> tuple[str, ...]:
    """Return a note for each preset that replaces values of one that was asked for before it.

    Args:
        found: From `lineages`: the first one is that of `default`.
        without: Options to leave out: those that are set by hand.
    """
    values: dict[str, tuple[str, Any]] = {}  # the preset that was asked for and the value, by option
    notes = []
    for lineage in found[1:]:
        name, replaced = lineage[-1].name, dict[str, list[str]]()
        own: dict[str, Any] = {}
        for preset in lineage:
            own |= preset.values
        for path in own.keys() & values.keys() - set(without):
            if values[path][1] != own[path]:
                replaced.setdefault(values[path][0], []).append(path)
        for before, paths in replaced.items():
            notes.append(
                f"preset {name!r} comes after {before!r} and replaces what that sets: {', '.join(sorted(paths))}"
            )
        values |= {path: (name, value) for path, value in own.items()}
    return tuple(notes)


def _lineage(
    name: str | os.PathLike[str], beside: Path | None, below: tuple[Path, ...], schema: Schema
) -> list[Preset]:
    """Return a preset after all that it extends; `below` are the files that led here."""
    preset = read_preset(name, beside=beside, schema=schema)
    path = preset.path.resolve()
    if path in below:
        circle = [*below[below.index(path) :], path]
        raise ConfigError(f"A preset extends itself: {' → '.join(file.name for file in circle)}.")
    parents: list[Preset] = []
    for parent in preset.extends:
        parents += _lineage(parent, preset.path.parent, (*below, path), schema)
    return [*parents, preset]


def list_presets() -> pd.DataFrame:
    """Return a row for each preset: name, purpose, text and image backbone, what it extends.

    A backbone is empty where the preset leaves it as it is.

    Example:
        >>> presets = list_presets()
        >>> presets.columns.tolist(), "offline" in presets["name"].tolist()
        (['name', 'purpose', 'text', 'image', 'extends'], True)
    """
    from thermocline.report.frames import TextFrame

    rows = []
    for name in preset_names():
        lineage = _lineage(name, None, (), schema_of())
        values: dict[str, Any] = {}
        for preset in lineage:
            values |= preset.values
        own = lineage[-1]
        texts = (name, own.purpose, values.get(_TEXT, ""), values.get(_IMAGE, ""), ", ".join(own.extends))
        rows.append(texts)
    return TextFrame(rows, columns=["name", "purpose", "text", "image", "extends"])


def copy_preset(name: str | os.PathLike[str], destination: str | os.PathLike[str], *, schema: bool = False) -> Path:
    """Write a preset to a new file, to be edited and passed as `presets="mine.yaml"`.

    Args:
        name: A name, or a path that ends in `.yaml`.
        destination: The new file, ending in `.yaml`, or a folder for one of the preset's name.
        schema: Also write the JSON schema of presets beside it, `thermocline_schema.json`, and name it in the first
            line: editors with yaml-language-server complete and check by it.

    Returns:
        The file that was written.

    Raises:
        ConfigError: There is no such preset, or the destination does not end in `.yaml`.
        OutputExistsError: The destination exists; nothing is written.
    """
    source = find_preset(name)
    target = Path(destination)
    if target.is_dir():
        target = target / source.name
    if target.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"A preset's file ends in .yaml, so that it is found again; {str(target)!r} does not.")
    target.parent.mkdir(parents=True, exist_ok=True)
    first = f"# yaml-language-server: $schema={SCHEMA}\n" if schema else ""
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(first + source.read_text(encoding="utf-8"))
    except FileExistsError:
        raise OutputExistsError(f"{str(target)!r} exists already; name another file, or remove it.") from None
    if schema:
        from . import json_schema

        (target.parent / SCHEMA).write_text(json_schema.text(), encoding="utf-8")
    return target
