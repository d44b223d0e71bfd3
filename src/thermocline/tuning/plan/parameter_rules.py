"""Rules about single parameters: a multiple of their layer's rate, and a weight decay of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from thermocline.errors import ConfigError, SelectorError, did_you_mean, listing
from thermocline.tuning.layers.expressions import Expression
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.patterns import compile_parameter_glob
from thermocline.tuning.number_checks import not_negative
from thermocline.tuning.schedule.phase_layers import resolved
from thermocline.tuning.schedule.phases import EVERYTHING, selectors


@dataclass(frozen=True)
class ParameterRule:
    """What holds for some parameters of a layer in place of what holds for the layer.

    It is what MMEngine calls `custom_keys`, `bias_lr_mult` and `norm_decay_mult`, and how Deformable DETR gives its
    sampling offsets a tenth of the rate (Zhu et al. 2021). Rules split optimizer groups, never layers: a parameter is
    frozen and unfrozen, scheduled and warmed up with its layer.

    Attributes:
        parameters: Globs over the names of parameters, or `re:…` for a whole name. A glob matches a name of which a
            run of whole segments fits: `bias`, `*.bias`, `*norm*`, `encoder.layer.1`; `*` stands for anything, dots
            included. Each must match.
        layers: Selectors, as for `frozen_layers`, of the layers that the rule is about; None for all.
        lr_scale: A multiple of the layer's own rate at every step, above 0.
        weight_decay: In place of the layer's, also of parameters that otherwise take none (biases, norms).

    Raises:
        ConfigError: A value that is not allowed, or neither a scale nor a weight decay.

    Example:
        >>> from thermocline.tuning.plan.parameter_rules import ParameterRule
        >>> ParameterRule("*sampling_offsets*", lr_scale=0.1).to_dict()
        {'parameters': ['*sampling_offsets*'], 'lr_scale': 0.1}
    """

    parameters: str | tuple[str, ...]
    layers: str | int | tuple[str | int, ...] | None = None
    lr_scale: float | None = None
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        patterns = [self.parameters] if isinstance(self.parameters, str) else self.parameters
        good = isinstance(patterns, Sequence) and bool(patterns)
        if not good or not all(isinstance(one, str) and one.strip() for one in patterns):
            raise ConfigError(
                f"parameters of a rule is a glob such as '*.bias', 're:…', or a list of these; got {self.parameters!r}."
            )
        object.__setattr__(self, "parameters", tuple(one.strip() for one in patterns))
        if self.layers is not None:
            own = selectors("layers", self.layers)
            object.__setattr__(self, "layers", None if own == (EVERYTHING,) else own)
        if self.lr_scale is None and self.weight_decay is None:
            raise ConfigError(f"The rule of {listing(self.parameters)} gives neither lr_scale nor weight_decay.")
        for name in ("lr_scale", "weight_decay"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, not_negative(f"{name} of the rule", getattr(self, name)))
        if self.lr_scale == 0:
            raise ConfigError(
                f"The rule of {listing(self.parameters)} has lr_scale=0, which would freeze a part of a layer. Layers "
                "are the unit that is frozen: name them in frozen_layers, or give a scale above 0."
            )

    @property
    def selectors(self) -> tuple[str | int, ...]:
        """The selectors of the layers that it is about; `"*"` for all."""
        given = EVERYTHING if self.layers is None else self.layers
        return given if isinstance(given, tuple) else (given,)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold: what is set."""
        given = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if value is not None
        }


@dataclass(frozen=True)
class Setting:
    """What rules give one parameter; None where they leave it to the layer.

    Attributes:
        lr_scale: A multiple of the layer's rate.
        weight_decay: Its weight decay.
    """

    lr_scale: float | None = None
    weight_decay: float | None = None


def rules_from_data(data: Any, where: str = "parameter_rules") -> tuple[ParameterRule, ...]:
    """Return the rules that plain data describes: a list of mappings, or one mapping.

    Raises:
        ConfigError: Not such data, an unknown field, or a value that is not allowed.
    """
    if data is None:
        return ()
    items = [data] if isinstance(data, (Mapping, ParameterRule)) else data
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise ConfigError(
            f"{where} is a list of rules, each a mapping such as {{parameters: '*.bias', lr_scale: 2}}; got {data!r}."
        )
    return tuple(_rule(one, f"{where}[{i}]") for i, one in enumerate(items))


def _rule(data: Any, where: str) -> ParameterRule:
    if isinstance(data, ParameterRule):
        return data
    known = [one.name for one in fields(ParameterRule)]
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where} must be a mapping of {listing(known)}; got {data!r}.")
    for key in data:
        if key not in known:
            raise ConfigError(f"{where} has unknown {key!r}; there are {listing(known)}.{did_you_mean(key, known)}")
    if data.get("parameters") is None:
        raise ConfigError(f"{where} lacks 'parameters', such as '*.bias'.")
    try:
        return ParameterRule(**data)
    except ConfigError as error:
        raise type(error)(f"{where}: {error}") from None


def matched(rule: ParameterRule, layer_map: LayerMap) -> tuple[str, ...]:
    """Return the names of the parameters that a rule is about, in the order of the layers.

    Raises:
        SelectorError: One of its selectors or patterns matches nothing.
    """
    labels: Iterable[str] = layer_map.labels
    if rule.layers is not None:
        labels = resolved(layer_map, rule.selectors, f"the rule of {listing(rule.parameters)}, layers")
    names = [name for label in labels for name in layer_map[label].parameters]
    chosen: set[str] = set()
    for pattern in rule.parameters:
        is_expression = pattern.startswith("re:")
        regex = Expression(pattern.removeprefix("re:"), pattern) if is_expression else compile_parameter_glob(pattern)
        found = {name for name in names if regex.fullmatch(name)}
        if not found:
            raise SelectorError(_nothing(pattern, names, rule))
        chosen |= found
    return tuple(name for name in names if name in chosen)


def _nothing(pattern: str, names: Sequence[str], rule: ParameterRule) -> str:
    segments = dict.fromkeys(segment for name in names for segment in name.split(".") if not segment.isdigit())
    close = did_you_mean(pattern.strip("*."), [*segments, *names])
    where = "" if rule.layers is None else f" of the layers {listing(rule.selectors)}"
    return (
        f"The pattern {pattern!r} of a parameter rule matches no parameter{where}.{close} Names are such as "
        f"{listing(names, limit=4)}. '*' stands for anything: '*.bias', '*norm*', 'encoder.layer.[0-2].*'. A tied "
        "parameter has the name under which it comes first."
    )


def settings(rules: Sequence[ParameterRule], layer_map: LayerMap) -> dict[str, Setting]:
    """Return what rules give to parameters, by name: of several that match, the last one that gives a value counts.

    Raises:
        SelectorError: A rule matches nothing.
    """
    out: dict[str, Setting] = {}
    for rule in rules:
        for name in matched(rule, layer_map):
            before = out.get(name, Setting())
            out[name] = Setting(
                before.lr_scale if rule.lr_scale is None else rule.lr_scale,
                before.weight_decay if rule.weight_decay is None else rule.weight_decay,
            )
    return out
