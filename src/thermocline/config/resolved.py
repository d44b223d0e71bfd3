"""The options as they were settled, each with where its value came from."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from thermocline.errors import ArtifactError, ConfigError
from thermocline.registry import ProblemInfo
from thermocline.report.tables import html_block, html_table, table

from .documents import parse_yaml
from .joined import Schema, nested, schema_of
from .overrides import BY_HAND, FILE, check_values
from .own import Own, is_recorded
from .saved import without_absent_kinds
from .schema import EnvConfig, OptimConfig
from .spaces import SEARCH
from .values import convert

if typing.TYPE_CHECKING:
    import pandas as pd

Section = TypeVar("Section")

DEFAULT, PRESET, CHOSEN = "default", "preset:", "chosen: "
"""The origin of a value that nobody set, and what those of one from a preset and of one that was chosen start with."""

STARTED = "start_from: "
"""What the origin of a value begins with that an earlier fit has set (`inherited`)."""


@dataclass(frozen=True)
class Origins:
    """Where values come from.

    Attributes:
        provenance: Dotted name → `preset:NAME`, `user`, `file:NAME`, `search: TRIAL, SPACE` or `chosen: why`; `default`
            may be left out.
        presets: The presets that were asked for, in that order.
        replaced: Dotted name → the preset's value in place of which the user set another.
        notes: Which presets replace values of others that were asked for.
    """

    provenance: Mapping[str, str] = field(default_factory=dict)
    presets: tuple[str, ...] = ()
    replaced: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class ResolvedConfig:
    """All options, settled: `config.optim.lr`, `config.model.text.checkpoint`, …

    Attributes:
        schema: The options there are.
        root: The values: an instance of `schema.root`.
        provenance: For each dotted name `default`, `preset:NAME`, `user` (written by hand), `file:NAME` (from a file
            of hyperparameters), `search: TRIAL, SPACE` (chosen by a search), or `chosen: why`.
        presets: The presets that were asked for, in that order.
        replaced: Dotted name → the preset's value in place of which the user set another; not saved.
        notes: Which presets replace values of others that were asked for; not saved.
        objects: Dotted name → the object of the caller's own whose name is the value; not saved.

    Example:
        >>> config = predictor.config
        >>> config["optim.lr_decay"], config.provenance["optim.lr_decay"]
        (0.9, 'preset:medium_quality')
        >>> config.provenance["optim.max_epochs"], config.is_open("optim.max_epochs")
        ('user', False)
        >>> dict(config.items())["env.batch_size"]
        16
        >>> config.to_frame().columns.tolist()
        ['key', 'value', 'from', 'doc']
        >>> print(config.summary())
        key ...
        >>> print(config.to_yaml())
        presets:
        ...
    """

    schema: Schema
    root: Any
    provenance: Mapping[str, str]
    presets: tuple[str, ...] = ()
    replaced: Mapping[str, Any] = field(default_factory=dict, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    objects: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def build(cls, schema: Schema, values: Mapping[str, Any], origins: Origins = Origins()) -> ResolvedConfig:
        """Return a config from checked values by dotted name; the schema's defaults fill the rest.

        Args:
            schema: The options there are.
            values: What `read_overrides` or a preset gave.
            origins: Where those values came from.
        """
        provenance = {path: origins.provenance.get(path, DEFAULT) for path in schema.keys}
        return cls(schema, schema.filled(values), provenance, origins.presets, origins.replaced, origins.notes)

    @classmethod
    def from_yaml(cls, text: str, *, problem: ProblemInfo | None = None) -> ResolvedConfig:
        """Return the config that `to_yaml` wrote, checked like any other.

        Sections of a kind that is not installed are left out where all their options have the default.

        Args:
            text: The YAML.
            problem: A kind of problem that is not installed, whose options are taken too.

        Raises:
            ConfigError: The text is damaged, or holds what is no option or no value of one.
        """
        where = "the saved configuration"
        schema, content = schema_of(problem), parse_yaml(text, where)
        presets, provenance = content.pop("presets", None) or [], content.pop("provenance", None) or {}
        if not isinstance(presets, list) or not isinstance(provenance, dict):
            raise ConfigError(f"{where} is damaged: 'presets' is a list, 'provenance' a mapping.")
        values = check_values(without_absent_kinds(content, provenance, schema), where, schema)
        origins = {str(path): str(origin) for path, origin in provenance.items()}
        return cls.build(schema, values, Origins(origins, tuple(map(str, presets))))

    def __reduce__(self) -> tuple[Any, ...]:
        origins = Origins(self.provenance, self.presets, self.replaced, self.notes)
        return ResolvedConfig.build, (self.schema, dict(self.items()), origins)

    @property
    def model(self) -> Any:
        """What the model is made of."""
        return self.root.model

    @property
    def optim(self) -> OptimConfig:
        """How the model is trained."""
        optim: OptimConfig = self.root.optim
        return optim

    @property
    def data(self) -> Any:
        """How rows are read."""
        return self.root.data

    @property
    def env(self) -> EnvConfig:
        """Device, batch sizes, caches and files."""
        env: EnvConfig = self.root.env
        return env

    def section(self, path: str, kind: type[Section]) -> Section:
        """Return a section as the dataclass of options that a kind declares for it.

        Args:
            path: Its dotted name, such as `model.text`.
            kind: The dataclass, such as `TextOptions`.

        Raises:
            ConfigError: There is no such section, or it does not have these options.
        """
        found = _follow(self.root, path.split(".")) if path in self.schema.sections else None
        if not isinstance(found, kind):
            raise ConfigError(
                f"The configuration has no section {path!r} with the options of {kind.__name__}. It was made without "
                "the kind of problem or input that has them: install it, or give it as problem=..."
            )
        return found

    def __getitem__(self, path: str) -> Any:
        """Return the value of a dotted name."""
        return _follow(self.root, self.schema.key(path).path.split("."))

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield each dotted name with its value, in the order of the schema."""
        for path in self.schema.keys:
            yield path, self[path]

    def choose(self, path: str, value: object, why: str) -> ResolvedConfig:
        """Return a config in which the program has settled one value.

        Args:
            path: The dotted name.
            value: The value, checked like any other.
            why: The reason, as it is shown to the user.

        Raises:
            ConfigError: There is no such option, or it does not take the value.
        """
        changed = convert(self.schema.key(path), value)
        parts = path.split(".")
        for depth in range(len(parts) - 1, -1, -1):
            changed = dataclasses.replace(_follow(self.root, parts[:depth]), **{parts[depth]: changed})
        provenance = {**self.provenance, path: f"{CHOSEN}{why}"}
        kept = {name: one for name, one in self.objects.items() if name != path or self[path] == value}
        return dataclasses.replace(self, root=changed, provenance=provenance, objects=kept)

    def given(self, objects: Mapping[str, Own], argument: str) -> ResolvedConfig:
        """Return a config with objects that an argument other than the hyperparameters gives for options.

        Args:
            objects: Dotted name → object, whose name becomes the value.
            argument: The argument, for the message.

        Raises:
            ConfigError: The hyperparameters give another value for one of them.
        """
        changed = self
        for path, one in objects.items():
            origin = self.provenance[path]
            if origin.startswith((BY_HAND, SEARCH)) and self[path] != one.name:
                raise ConfigError(
                    f"{path} is set to {shown(self[path])} among the hyperparameters, and {argument} gives {one.name} "
                    "for it. Leave one of them out."
                )
            replaced = self.replaced if origin == BY_HAND else {**self.replaced, path: self[path]}
            changed = changed.choose(path, one.name, argument)
            provenance = {**changed.provenance, path: BY_HAND}
            changed = dataclasses.replace(changed, provenance=provenance, replaced=replaced)
        return dataclasses.replace(changed, objects={**changed.objects, **objects})

    def with_objects(self, objects: Mapping[str, Any]) -> ResolvedConfig:
        """Return a saved config with objects whose names it has.

        Raises:
            ArtifactError: One is for an option that has no name of an object as its value.
        """
        for path in objects:
            if not is_recorded(str(self[path])):
                raise ArtifactError(
                    f"The predictor was fitted with {path}={shown(self[path])}, which is no object of yours. Leave "
                    "out what is given for it."
                )
        return dataclasses.replace(self, objects={**self.objects, **objects})

    def is_open(self, path: str) -> bool:
        """Say whether the program may settle a value: neither the user nor a search did."""
        origin = self.provenance[path].removeprefix(STARTED)
        return origin == DEFAULT or origin.startswith((PRESET, CHOSEN))

    def to_yaml(self) -> str:
        """Return all values as YAML, with the presets and the origin of what is not a default."""
        import yaml

        tree: dict[str, Any] = {"presets": list(self.presets)}
        tree |= nested({path: _as_list(value) for path, value in self.items()})
        tree["provenance"] = {path: origin for path, origin in self.provenance.items() if origin != DEFAULT}
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=110)

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each option: key, value, from, doc."""
        import pandas as pd

        rows = [(path, value, self.provenance[path], self.schema.keys[path].doc) for path, value in self.items()]
        return pd.DataFrame(rows, columns=["key", "value", "from", "doc"])

    def _lines(self) -> list[tuple[str, str, str]]:
        """Return key, value and origin as texts, what is not a default first."""
        lines = [(path, shown(value), self.provenance[path]) for path, value in self.items()]
        return sorted(lines, key=lambda line: line[2] == DEFAULT)

    def __str__(self) -> str:
        return self._table(self._lines())

    def summary(self, without: Iterable[str] = ()) -> str:
        """Return what is not a default, as an aligned table.

        Args:
            without: Sections to leave out, such as `model.image`.
        """
        left_out = tuple(f"{section}." for section in without)
        lines = self._lines()
        return self._table([line for line in lines if line[2] != DEFAULT and not line[0].startswith(left_out)])

    def _table(self, rows: list[tuple[str, str, str]]) -> str:
        return table(rows, ["key", "value", "from"])

    def __repr__(self) -> str:
        origins = list(self.provenance.values())
        chosen = sum(origin.startswith("chosen") for origin in origins)
        names = ", ".join(self.presets)
        given = sum(origin == BY_HAND or origin.startswith(FILE) for origin in origins)
        searched = sum(origin.startswith(SEARCH) for origin in origins)
        found = f", {searched} by a search" if searched else ""
        return f"<ResolvedConfig presets=[{names}], {given} by the user{found}, {chosen} chosen>"

    def _repr_html_(self) -> str:
        lines = self._lines()
        rows = [[*line, self.schema.keys[line[0]].doc] for line in lines]
        unset = [place for place, line in enumerate(lines) if line[2] == DEFAULT]
        return html_block(html_table(rows, ["key", "value", "from", ""], faint=unset))


def _follow(value: Any, parts: list[str]) -> Any:
    for part in parts:
        value = getattr(value, part)
    return value


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def shown(value: Any) -> str:
    """Return a value as it would be written in YAML or behind `key=`."""
    if isinstance(value, (tuple, list)):
        text = f"[{', '.join(map(shown, value))}]"
        return text if len(text) <= 60 else f"{text[:57]}..."
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {shown(one)}' for key, one in value.items())}}}"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)
