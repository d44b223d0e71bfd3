"""Options looked up: by name, by pattern, by a word of what they do, by the name that another trainer has for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from thermocline.errors import ConfigError, did_you_mean
from thermocline.registry import ProblemInfo, input_infos, problem_infos

from .foreign import foreign_key, foreign_names
from .foreign_calls import foreign_methods
from .joined import Schema, option_names, schema_of
from .keys import Key
from .presets import preset_names, read_preset
from .reads import expanded, read_by_every_fit
from .resolved import shown

if TYPE_CHECKING:
    import pandas as pd

_CALLED = re.compile(r"it is called '([\w.]+)' here")


@dataclass(frozen=True)
class Found:
    """The options that were found.

    Attributes:
        keys: The options, in the order of the schema.
        note: What is to be known of the name that was looked up; empty without such.
        exact: Whether one option was named, not looked for.
    """

    keys: tuple[Key, ...]
    note: str = ""
    exact: bool = False


def find_options(pattern: str | None = None) -> Found:
    """Return the options that a pattern means.

    Args:
        pattern: A dotted name; a section such as `model.text`; a glob such as `*.frozen_layers`; a word or several of
            a name, a value or what an option does, in any case; or the name of an option of another trainer, such as
            `learning_rate`. None: all options.

    Raises:
        ConfigError: Nothing is found; the message has the nearest names.

    Example:
        >>> [key.path for key in find_options("*.max_length").keys]
        ['model.text.max_length']
    """
    keys = schema_of().keys
    if pattern is None:
        return Found(tuple(keys.values()))
    if not isinstance(pattern, str) or not (wanted := pattern.strip().rstrip("=").removesuffix(".").lower()):
        raise ConfigError(f"A pattern of options is a text that is not empty, such as 'optim.*', not {pattern!r}.")
    if wanted in keys:
        return Found((keys[wanted],), exact=True)
    inside = tuple(key for path, key in keys.items() if path.startswith(f"{wanted}.") or key.name == wanted)
    if inside:
        return Found(inside, exact=len(inside) == 1)
    hint, found = _foreign(wanted, keys), tuple(_matching(wanted, keys))
    if called := _CALLED.match(hint):
        named = keys[called[1]]
        others = [key for key in found if key != named]
        short = hint.replace(f" ({named.doc.rstrip('.')})", "")
        return Found((named, *others), f"{pattern!r}: {short}", exact=not others)
    if found:
        return Found(found, f"{pattern!r}: {hint}" if hint else "")
    raise ConfigError(f"{pattern}: {hint}" if hint else _nothing(pattern, wanted))


def list_options(pattern: str | None = None) -> pd.DataFrame:
    """Return a row for each option: name, default, allowed values, what it does, which fits read it.

    Args:
        pattern: A name, a section, a glob such as `optim.lr*`, a word of what an option does, or another trainer's name
            of an option; all options by default.

    Raises:
        ConfigError: Nothing is found; the message has the nearest names.

    Example:
        >>> list_options("optim.lr_decay")[["name", "default", "allowed"]].values.tolist()
        [['optim.lr_decay', 0.9, 'a number above 0 and of at most 1']]
    """
    import pandas as pd

    rows = [(key.path, key.default, key.allowed, key.doc, read_by(key)) for key in find_options(pattern).keys]
    frame = pd.DataFrame(rows, columns=["name", "default", "allowed", "doc", "read_by"], dtype=object)
    return frame.astype(dict.fromkeys(("name", "allowed", "doc", "read_by"), "str"))


def read_by(key: Key) -> str:
    """Return which fits read an option, in words.

    Example:
        >>> read_by(schema_of().keys["model.text.max_length"])
        'fits with text columns'
    """
    return _readers()[key.path]


def conditions(key: Key) -> str:
    """Return with which values of other options an option is read; empty where it always is.

    Example:
        >>> conditions(schema_of().keys["model.lora_rank"])
        'only with model.peft=lora'
    """
    only = [f"only with {_values(name, values)}" for name, values in key.only_with]
    return "; ".join([*only, *(f"not with {_values(name, values)}" for name, values in key.not_with)])


def set_by_presets(key: Key) -> dict[str, Any]:
    """Return the presets that set an option themselves to another value than the default, each with its value."""
    own = {name: values.get(key.path) for name, values in _preset_values().items()}
    return {name: value for name, value in own.items() if value not in (None, key.default)}


def called_elsewhere(path: str) -> dict[str, list[str]]:
    """Return what other trainers call an option: whose name it is → the names."""
    found = {one.of: [theirs for theirs, (ours, _) in one.called.items() if ours == path] for one in foreign_names()}
    return {of: theirs for of, theirs in found.items() if theirs}


def example(key: Key) -> tuple[str, str]:
    """Return how an option is set on the command line, and in Python; two empty texts where nothing shows it.

    Example:
        >>> example(schema_of().keys["optim.lr_decay"])
        ('--set optim.lr_decay=0.9', 'hyperparameters={"optim.lr_decay": 0.9}')
    """
    value = key.default if key.example is None else key.example
    if value is None or value == ():
        return "", ""
    text = f"{key.path}={shown(value)}"
    quoted = f'"{text}"' if re.search(r"[\s\[{*(]", text) else text
    return f"--set {quoted}", f'hyperparameters={{"{key.path}": {_python(value)}}}'


def _values(name: str, values: Sequence[Any]) -> str:
    return " or ".join(f"{name}={shown(value)}" for value in values)


def _matching(wanted: str, keys: Mapping[str, Key]) -> Iterator[Key]:
    """Yield the options of a glob, or those whose name, values or documentation have all the words."""
    if any(letter in wanted for letter in "*?["):
        yield from (key for path, key in keys.items() if fnmatchcase(path, wanted) or fnmatchcase(key.name, wanted))
        return
    words = wanted.split()
    for path, key in keys.items():
        texts = " ".join([path, key.doc, *key.choices]).lower()
        if all(re.search(rf"(?<![a-z]){re.escape(word)}", texts) for word in words):
            yield key


def _foreign(wanted: str, keys: Mapping[str, Key]) -> str:
    """Return what another trainer's option, method or attribute is here; empty where it is none."""
    method = foreign_methods().get(wanted.rpartition(".")[2].removesuffix("()"))
    return foreign_key(wanted, keys) or (f"as a method or attribute elsewhere, here: {method}." if method else "")


def _nothing(pattern: str, wanted: str) -> str:
    """Return what to say where no option is found."""
    schema = schema_of()
    near = schema.nearest(wanted, limit=5)
    meant = f" Did you mean {' or '.join(map(repr, near))}?" if near else did_you_mean(wanted, schema.sections)
    return f"No option has {pattern!r} in its name, its values or what it does.{meant} `thermocline options` lists all."


@lru_cache(maxsize=1)
def _preset_values() -> dict[str, dict[str, Any]]:
    """Return what each preset sets itself."""
    return {name: read_preset(name).values for name in preset_names()}


@lru_cache(maxsize=1)
def _readers() -> dict[str, str]:
    """Return by which fits each option is read."""
    schema = schema_of()
    every = read_by_every_fit(schema)
    found: dict[str, list[str]] = {path: [] for path in schema.keys}
    by_type: dict[str, list[str]] = {}
    for info in problem_infos():
        for path, types in _by_type(info, schema).items():
            by_type.setdefault(path, []).extend(types)
    for path, types in by_type.items():
        found[path].append(f"{_listed(types)} problems")
    for one in input_infos():
        for path in option_names(one.options) | expanded(one.reads, schema):
            found[path].append(f"fits with {_listed(one.column_types)} columns")
    joined = {path for info in problem_infos() for path in expanded(info.reads_joined, schema)}
    texts = {path: "; ".join(dict.fromkeys(words)) for path, words in found.items()}
    texts |= dict.fromkeys(joined, "fits with several kinds of columns")
    texts |= {path: _but_not(path, "every fit") for path in every}
    return texts


def _by_type(info: ProblemInfo, schema: Schema) -> dict[str, list[str]]:
    """Return the options that a kind of problem itself asks for, each with the problem types that read it."""
    types: dict[str, list[str]] = {}
    whole = option_names(info.options) | expanded(info.reads, schema)
    for one in info.problem_types:
        for path in whole | expanded(info.reads_by_type.get(one, frozenset()), schema):
            types.setdefault(path, []).append(one)
    return {path: kinds for path, kinds in types.items() if path not in info.unread}


def _but_not(path: str, words: str) -> str:
    without = [one for info in problem_infos() if path in info.unread for one in info.problem_types]
    return f"{words} but {_listed(without)}" if without else words


def _listed(names: Sequence[str]) -> str:
    *front, last = names
    return f"{', '.join(front)} or {last}" if front else last


def _python(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value).replace("'", '"')
