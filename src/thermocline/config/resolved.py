"""The options as they were settled, each with where its value came from."""

from __future__ import annotations

import dataclasses
import html
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from thermocline.errors import ConfigError

from .documents import parse_yaml
from .keys import KEYS, Key, nearest_keys
from .overrides import check_values
from .schema import Config, DataConfig, EnvConfig, ModelConfig, OptimConfig
from .values import convert

if typing.TYPE_CHECKING:
    import pandas as pd

DEFAULT = "default"
"""The origin of a value that nobody set: it is the schema's."""


@dataclass(frozen=True, repr=False)
class ResolvedConfig:
    """All options, settled: `config.optim.lr`, `config.model.text.checkpoint`, …

    Attributes:
        model: What the model is made of.
        optim: How it learns.
        data: How rows are read.
        env: Where and in what portions the work is done.
        provenance: For each dotted name `default`, `preset:NAME`, `user`, or `chosen: why`.
        presets: The presets that were asked for, in that order.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    data: DataConfig = field(default_factory=DataConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    provenance: dict[str, str] = field(default_factory=dict)
    presets: tuple[str, ...] = ()

    @classmethod
    def build(
        cls, values: Mapping[str, Any], provenance: Mapping[str, str], presets: tuple[str, ...] = ()
    ) -> ResolvedConfig:
        """Return a config from checked values by dotted name; the schema's defaults fill the rest.

        Args:
            values: What `read_overrides` or a preset gave.
            provenance: Where those values came from.
            presets: The names of the presets.
        """
        config = _merged(values)
        origins = {path: provenance.get(path, DEFAULT) for path in KEYS}
        return cls(config.model, config.optim, config.data, config.env, origins, presets)

    @classmethod
    def from_yaml(cls, text: str) -> ResolvedConfig:
        """Return the config that `to_yaml` wrote, checked like any other.

        Args:
            text: The YAML.

        Raises:
            ConfigError: The text is damaged, or holds what is no option or no value of one.
        """
        content = parse_yaml(text, "the saved configuration")
        presets, provenance = content.pop("presets", None) or [], content.pop("provenance", None) or {}
        if not isinstance(presets, list) or not isinstance(provenance, dict):
            raise ConfigError("the saved configuration is damaged: 'presets' is a list, 'provenance' a mapping.")
        values = check_values(content, "the saved configuration")
        origins = {str(path): str(origin) for path, origin in provenance.items()}
        return cls.build(values, origins, tuple(map(str, presets)))

    def __getitem__(self, path: str) -> Any:
        """Return the value of a dotted name."""
        return _follow(self, _known(path).path.split("."))

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield each dotted name with its value, in the order of the schema."""
        for path in KEYS:
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
        changed = convert(_known(path), value)
        parts = path.split(".")
        for depth in range(len(parts) - 1, 0, -1):
            changed = dataclasses.replace(_follow(self, parts[:depth]), **{parts[depth]: changed})
        provenance = self.provenance | {path: f"chosen: {why}"}
        return dataclasses.replace(self, **{parts[0]: changed}, provenance=provenance)

    def diff(self, other: ResolvedConfig) -> dict[str, tuple[Any, Any]]:
        """Return the options in which two configs differ: by dotted name, the value here and the one there.

        Args:
            other: The config to compare with.
        """
        return {path: (value, other[path]) for path, value in self.items() if value != other[path]}

    def to_yaml(self) -> str:
        """Return all values as YAML, with the presets and the origin of what is not a default."""
        import yaml

        tree: dict[str, Any] = {"presets": list(self.presets)}
        tree |= _nested({path: _as_list(value) for path, value in self.items()})
        tree["provenance"] = {path: origin for path, origin in self.provenance.items() if origin != DEFAULT}
        return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=110)

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each option: key, value, from, doc."""
        import pandas as pd

        rows = [(path, value, self.provenance[path], KEYS[path].doc) for path, value in self.items()]
        return pd.DataFrame(rows, columns=["key", "value", "from", "doc"])

    def _lines(self) -> list[tuple[str, str, str]]:
        """Return key, value and origin as texts, what is not a default first."""
        lines = [(path, _shown(value), self.provenance[path]) for path, value in self.items()]
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
        lines = [("key", "value", "from"), *rows]
        widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
        return "\n".join(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for key, value, origin in lines)

    def __repr__(self) -> str:
        origins = list(self.provenance.values())
        chosen = sum(origin.startswith("chosen") for origin in origins)
        names = ", ".join(self.presets)
        return f"<ResolvedConfig presets=[{names}], {origins.count('user')} by the user, {chosen} chosen>"

    def _repr_html_(self) -> str:
        head = "<tr><th>key</th><th>value</th><th>from</th><th></th></tr>"
        rows = []
        for path, value, origin in self._lines():
            cells = (path, value, origin, KEYS[path].doc)
            rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
        left = "<style>.tcc th,.tcc td{text-align:left!important;padding:2px 12px 2px 0}</style>"
        return f"{left}<table class=tcc><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _known(path: str) -> Key:
    if path in KEYS:
        return KEYS[path]
    raise ConfigError(f"{path} is not an option; the nearest are {', '.join(nearest_keys(path))}.")


def _follow(value: Any, parts: list[str]) -> Any:
    for part in parts:
        value = getattr(value, part)
    return value


def _merged(values: Mapping[str, Any]) -> Config:
    """Lay values over the schema with OmegaConf, which checks every type once more."""
    from omegaconf import OmegaConf

    merged = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.create(_nested(values)))
    config = OmegaConf.to_object(merged)
    assert isinstance(config, Config)
    return config


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *sections, name = path.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[name] = value
    return tree


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    """Return a value as it would be written in YAML or behind `key=`."""
    if isinstance(value, (tuple, list)):
        text = f"[{', '.join(map(_shown, value))}]"
        return text if len(text) <= 60 else f"{text[:57]}..."
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_shown(one)}' for key, one in value.items())}}}"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)
