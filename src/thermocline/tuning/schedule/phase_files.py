"""Phases as plain data and back: what JSON and YAML hold, with every fault named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.tuning.schedule.phases import EVERYTHING, Draw, Phase, Plateau, rate_fields

_NESTED: dict[str, type[Plateau] | type[Draw]] = {"plateau": Plateau, "draw": Draw}
_PLAIN = Phase()
_NUMBERS = frozenset({"epochs", "fraction", "final", "power", "pct_start", "div_factor", "final_div_factor"})


def phase_to_dict(phase: Phase) -> dict[str, Any]:
    """Return a phase as plain data: its name, what trains, and whatever is not the default."""
    plain = asdict(phase)
    standard = asdict(Phase())
    out: dict[str, Any] = {"name": plain.pop("name"), "trains": plain.pop("trains")}
    out |= {key: value for key, value in plain.items() if value != standard[key]}
    return {key: _listed(value) for key, value in out.items()}


def _listed(value: Any) -> Any:
    """Tuples as lists, at any depth."""
    if isinstance(value, dict):
        return {key: _listed(one) for key, one in value.items()}
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class WrittenPhases:
    """Phases as plain data that other options may still say something about.

    Attributes:
        data: As `phases_from_data` takes it.
        where: What holds it, for errors.

    Raises:
        ConfigError: See `phases_from_data`.
    """

    data: Any
    where: str

    def __post_init__(self) -> None:
        self.phases()

    def phases(self, like: Phase = _PLAIN) -> tuple[Phase, ...]:
        """Return the phases, with the schedule and warm-up of `like` where one has none of its own."""
        return phases_from_data(self.data, self.where, like)


def phases_from_data(data: Any, where: str = "phases", like: Phase = _PLAIN) -> tuple[Phase, ...]:
    """Return the phases that plain data describes: a list of mappings, or a mapping with such a list as `phases`.

    Args:
        data: As JSON or YAML gives it.
        where: What holds it, for the error.
        like: Where a phase names no schedule, it has that of this one and what it reads; likewise its warm-up.

    Raises:
        ConfigError: Not such data, an unknown field, or a value that is not allowed.
    """
    if isinstance(data, Mapping) and set(data) == {"phases"}:
        data = data["phases"]
    if not isinstance(data, Sequence) or isinstance(data, str) or not data:
        raise ConfigError(
            f"{where} is a list of phases, each a mapping such as {{trains: head, epochs: 1}}; got {data!r}."
        )
    return tuple(_phase(one, f"{where}[{number}]", like) for number, one in enumerate(data))


def _phase(data: Any, where: str, like: Phase) -> Phase:
    if isinstance(data, Phase):
        return data
    values = _checked(data, Phase, where)
    values.setdefault("name", where)
    if like != _PLAIN:
        for name in ("schedule", "warmup"):
            if name in values:
                values[name] = _with_rest(values[name], getattr(like, name))
    own = values.get("schedule", like.schedule)
    alike = like.schedule in (own.values() if isinstance(own, Mapping) else (own,))
    values = {name: one for name, one in rate_fields(like).items() if alike or name == "warmup"} | values
    for key, kind in _NESTED.items():
        if values.get(key) is not None:
            values[key] = _made(kind, _checked(values[key], kind, f"{where}.{key}"), where)
    for key in _NUMBERS & set(values):
        if isinstance(values[key], int) and not isinstance(values[key], bool):
            values[key] = float(values[key])
    made = _made(Phase, values, where)
    assert isinstance(made, Phase)
    return made


def _with_rest(value: Any, rest: Any) -> Any:
    """A value by selector, with what holds for the layers that no selector names."""
    if not isinstance(value, Mapping) or EVERYTHING in value:
        return value
    return {**value, EVERYTHING: rest}


def _checked(data: Any, kind: type[Phase | Plateau | Draw], where: str) -> dict[str, Any]:
    """The fields of a record, none of them unknown."""
    if not isinstance(data, Mapping):
        raise ConfigError(
            f"{where} must be a mapping of {listing([one.name for one in fields(kind)], limit=4)} …; got {data!r}."
        )
    known = [one.name for one in fields(kind)]
    for key in data:
        if key not in known:
            raise ConfigError(
                f"{where} has unknown {key!r}; there are {listing(known, limit=99)}.{did_you_mean(key, known)}"
            )
    return dict(data)


def _made(kind: type[Phase] | type[Plateau] | type[Draw], values: dict[str, Any], where: str) -> Any:
    try:
        return kind(**values)
    except TypeError as error:  # a field that has no default is not given
        lacking = [one.name for one in fields(kind) if one.name not in values and one.name in str(error)]
        raise ConfigError(f"{where} lacks {listing(lacking)}.") from None
    except ConfigError as error:
        raise type(error)(f"{where}: {error}") from None


def phases_text(phases: Sequence[Phase], head: str = "") -> str:
    """Return phases as YAML to be edited, with `phases` at the top.

    Args:
        phases: The phases.
        head: Lines to write above as comments.
    """
    import yaml

    class Writer(yaml.SafeDumper):
        """Writes lists and small mappings on one line, and no references."""

        def ignore_aliases(self, _data: Any) -> bool:
            return True

    Writer.add_representer(
        list, lambda writer, data: writer.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
    )
    comment = "".join(f"# {line}\n" for line in head.splitlines())
    items = []
    for phase in phases:
        plain = phase_to_dict(phase)  # with its schedule, so that it is read alike beside other options
        plain |= {key: _listed(value) for key, value in rate_fields(phase).items()}
        text = yaml.dump(plain, Dumper=Writer, sort_keys=False, allow_unicode=True, width=110)
        items.append("  - " + text.strip().replace("\n", "\n    "))
    return comment + "phases:\n" + "\n".join(items) + "\n"
