"""The schema: the options that kinds share, joined with those of all installed kinds of problem and input.

A kind says which dataclass of options it has in which section (`ProblemInfo.options`, `InputInfo.options`). A section
that exists is extended; one that does not is made. Nothing but the light info modules of the kinds is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, make_dataclass
from difflib import SequenceMatcher
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

from thermocline.errors import ConfigError
from thermocline.registry import InputInfo, ProblemInfo, input_infos, problem_infos

from .keys import Key, keys_of
from .schema import Config

Joined: TypeAlias = tuple[tuple[str, type], ...]
"""Sections of the kinds, in order: dotted name → dataclass of options."""


@dataclass(frozen=True)
class Schema:
    """All options there are. Equal where the same sections were joined; pickles and copies as these.

    Attributes:
        joined: The sections of the kinds.
        root: The dataclass of all options, with nested dataclasses for the sections.
        keys: Every option by its dotted name, in order.
        sections: The dotted names that hold options and are none themselves.
    """

    joined: Joined
    root: type = field(compare=False, repr=False)
    keys: Mapping[str, Key] = field(compare=False, repr=False)
    sections: frozenset[str] = field(compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return _join, (self.joined,)

    @property
    def top(self) -> list[str]:
        """The names of the top sections: model, optim, data, env, and those that kinds add."""
        return list(dict.fromkeys(path.partition(".")[0] for path in self.keys))

    def key(self, path: str) -> Key:
        """Return the option of a dotted name.

        Raises:
            ConfigError: There is none; the message has the nearest names.
        """
        if path in self.keys:
            return self.keys[path]
        raise ConfigError(f"{path} is not an option; the nearest are {', '.join(self.nearest(path))}.")

    def nearest(self, name: str, *, limit: int = 3) -> list[str]:
        """Return the dotted names closest to one that does not exist, best first.

        A name is compared as a whole and by its last segment, so `optim.learning_decay`, `lr_decy` and
        `training.lr_decay` all find `optim.lr_decay`.

        Args:
            name: What was given.
            limit: The most names to return.
        """
        lowered = name.lower()
        last = lowered.rpartition(".")[2]
        scored = []
        for path, key in self.keys.items():
            whole = SequenceMatcher(None, lowered, path).ratio()
            tail = SequenceMatcher(None, last, key.name).ratio()
            scored.append((max(whole, tail), whole, path))
        best = sorted((score for score in scored if score[0] >= 0.6), reverse=True)
        return [path for _, _, path in best[:limit]]

    def filled(self, values: Mapping[str, Any]) -> Any:
        """Return an instance of `root` with checked values by dotted name, defaults for the rest.

        OmegaConf merges them, which checks every type once more.
        """
        from omegaconf import OmegaConf

        return OmegaConf.to_object(OmegaConf.merge(self._structured, OmegaConf.create(nested(values))))

    @cached_property
    def _structured(self) -> Any:
        """The structured config, built once: merging copies it."""
        from omegaconf import OmegaConf

        return OmegaConf.structured(self.root)


def schema_of(problem: ProblemInfo | None = None) -> Schema:
    """Return the schema with the options of all installed kinds.

    Args:
        problem: A kind of problem that need not be installed: the caller's own.

    Raises:
        ConfigError: Options of a kind that are no frozen dataclass of options, or whose names are taken.
    """
    kinds: list[ProblemInfo | InputInfo] = [*input_infos(), *problem_infos()]
    if problem is not None and problem not in kinds:
        kinds.append(problem)
    return _join(tuple(dict.fromkeys(pair for kind in kinds for pair in kind.options.items())))


def shared_options() -> frozenset[str]:
    """Return the dotted names of the options that are of no kind of problem or input."""
    return frozenset(key.path for key in keys_of(Config()))


def option_names(options: Mapping[str, type]) -> frozenset[str]:
    """Return the dotted names of the options that a kind has: section → dataclass."""
    return frozenset(f"{section}.{item.name}" for section, kind in options.items() for item in fields(kind))


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted name as nested mappings."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *sections, name = path.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[name] = value
    return tree


@lru_cache(maxsize=16)
def _join(joined: Joined) -> Schema:
    added: dict[str, list[type]] = {}
    for section, options in joined:
        _check_options(section, options)
        added.setdefault(section, []).append(options)
    root = _section("", Config, added)
    keys = {key.path: key for key in keys_of(root())}
    for key in keys.values():
        for name, _ in (*key.only_with, *key.not_with):
            if name not in keys:
                raise ConfigError(f"{key.path} depends on {name}, which is not an option. Correct its `option(...)`.")
    parts = [path.split(".") for path in keys]
    sections = frozenset(".".join(part[:end]) for part in parts for end in range(1, len(part)))
    return Schema(joined, root, keys, sections)


def _section(path: str, base: type | None, added: Mapping[str, list[type]]) -> type:
    """Return the dataclass of a section: what there is, what kinds add to it, and the sections below it."""
    own = [*([] if base is None else [base]), *added.get(path, [])]
    present = {} if base is None else {item.name: type(getattr(base(), item.name)) for item in fields(base)}
    here = f"{path}." if path else ""
    names = [name for name, kind in present.items() if is_dataclass(kind)]
    names += [name.removeprefix(here).partition(".")[0] for name in added if name.startswith(here) and name != path]
    below = {}
    for name in dict.fromkeys(names):
        before = present.get(name)
        made = _section(here + name, before if is_dataclass(before) else None, added)
        if made is not before:
            below[name] = made
    _check_names(path, own, below)
    if len(own) == 1 and not below:
        return own[0]
    label = base.__name__ if base is not None else "".join(part.title() for part in path.split("."))
    extra = [(name, kind, field(default_factory=kind)) for name, kind in below.items()]
    made = make_dataclass(label, extra, bases=tuple(reversed(own)), frozen=True)
    made.__module__ = __name__
    return made


def _check_names(path: str, own: Iterable[type], below: Mapping[str, type]) -> None:
    """Check that no two kinds use one name, as an option or as a section."""
    taken: dict[str, type] = {}
    for kind in own:
        for item in fields(kind):
            is_section = item.default is MISSING
            if item.name in taken or (item.name in below and not is_section):
                first = taken.get(item.name, below.get(item.name, kind))
                raise ConfigError(
                    f"The option {item.name!r} of section {path!r} is in {first.__name__} and in {kind.__name__}: two "
                    "kinds cannot have an option of one name. Rename one of them, or use another section."
                )
            taken[item.name] = kind


def _check_options(section: str, options: type) -> None:
    """Check that a kind's options are a frozen dataclass with a default and documentation for each."""
    where = f"The options of section {section!r}, {getattr(options, '__name__', options)!r},"
    if not all(part.isidentifier() for part in section.split(".")):
        raise ConfigError(f"{where} need a section with a dotted name, such as 'model.mine'.")
    if not (isinstance(options, type) and is_dataclass(options) and options.__dataclass_params__.frozen):  # type: ignore[attr-defined]
        raise ConfigError(f"{where} have to be a frozen dataclass: @dataclass(frozen=True).")
    bare = [item.name for item in fields(options) if item.default is MISSING or "doc" not in item.metadata]
    if bare:
        raise ConfigError(
            f"{where} lack a default or documentation: {', '.join(bare)}. Make each with "
            "thermocline.config.option.option(default, doc)."
        )
