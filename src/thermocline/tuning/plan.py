"""Decisions about a model's layers, as pure data: who learns how fast, who is frozen, and when."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import nn

from thermocline.errors import ConfigError, SelectorError, did_you_mean, listing
from thermocline.tuning import groups, plan_show
from thermocline.tuning.choices import canonical_choice, scales_for
from thermocline.tuning.layers import Layer, LayerMap
from thermocline.tuning.phases import Cursor, Phase, phase_at, span
from thermocline.tuning.selectors import select
from thermocline.tuning.values import not_negative, positive

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_VERSION = 1


@dataclass(frozen=True)
class PlanLayer:
    """What is decided about one layer."""

    label: str
    tower: str
    role: str
    depth: int
    lr_scale: float
    weight_decay: float
    frozen: bool
    n_parameters: int
    pretrained: bool
    parameters: tuple[str, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """The name within the tower."""
        return self.label.removeprefix(f"{self.tower}/")


@dataclass(frozen=True)
class LayerPlan:
    """Decisions for every layer of a map.

    Attributes:
        layers: In the map's order.
        lr: The base learning rate.
        lr_choice: How the scales were made.
        phases: What trains, for how long, under which schedule.
        warnings: What a user should know.
    """

    layers: tuple[PlanLayer, ...]
    lr: float
    lr_choice: str = "layerwise_decay"
    phases: tuple[Phase, ...] = (Phase(),)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        positive("lr", self.lr)
        for layer in self.layers:
            not_negative("lr_scale", layer.lr_scale, layer.label)
            not_negative("weight_decay", layer.weight_decay, layer.label)
        if not self.phases:
            raise ConfigError("A plan needs at least one phase.")

    @classmethod
    def build(
        cls,
        layer_map: LayerMap,
        *,
        lr: float = 1e-3,
        lr_choice: str = "layerwise_decay",
        lr_decay: float = 0.9,
        lr_mult: float = 10.0,
        weight_decay: float = 0.01,
        frozen_layers: Any = None,
        tower_frozen_layers: Mapping[str, Any] | None = None,
        schedule: str = "cosine",
        warmup: float = 0.1,
    ) -> LayerPlan:
        """Decide.

        Args:
            layer_map: The facts.
            lr: The base rate: that of the head under `layerwise_decay`.
            lr_choice: `single_lr`, `two_stage` or `layerwise_decay`.
            lr_decay: The factor per layer, in (0, 1].
            lr_mult: The factor for new layers under `two_stage`.
            weight_decay: For all parameters that take any.
            frozen_layers: A selector (see `thermocline.tuning.selectors.select`) over every tower.
            tower_frozen_layers: A selector per tower, in addition.
            schedule: `cosine`, `linear` or `constant`.
            warmup: The fraction of the run over which the rate rises.

        Raises:
            ConfigError: A value that is not allowed.
            SelectorError: A selector that matches nothing, or nothing left to train.
            LayerMapError: The order of the layers is needed and not known.
        """
        positive("lr", lr)
        if positive("lr_decay", lr_decay) > 1:
            raise ConfigError(f"lr_decay must lie in (0, 1]; got {lr_decay!r}. 1 is no decay, 0.9 a common value.")
        positive("lr_mult", lr_mult)
        not_negative("weight_decay", weight_decay)
        choice = canonical_choice(lr_choice)
        scales = scales_for(layer_map, choice, lr_decay=lr_decay, lr_mult=lr_mult)
        frozen = frozen_labels(layer_map, frozen_layers, tower_frozen_layers)
        layers = tuple(
            _entry(layer, scales[layer.label], float(weight_decay), layer.label in frozen) for layer in layer_map
        )
        plan = cls(layers, float(lr), choice, (Phase(schedule=schedule, warmup=warmup),), layer_map.warnings)
        return plan._checked()

    def _checked(self) -> LayerPlan:
        """The plan with the warnings that its frozen layers call for."""
        trained = [layer for layer in self.layers if not layer.frozen and layer.n_parameters]
        if not trained:
            raise SelectorError(
                "Every layer is frozen: nothing is left to train. Leave out 'head', or use "
                "frozen_layers='backbone' for a linear probe."
            )
        warnings = [text for text in self.warnings if not text.startswith(_FROZEN_NEW)]
        new = [layer.label for layer in self.layers if layer.frozen and not layer.pretrained and layer.n_parameters]
        if new:
            warnings.append(f"{_FROZEN_NEW} {listing(new)}: random weights that will never be trained")
        return replace(self, warnings=tuple(warnings))

    @cached_property
    def _index(self) -> dict[str, PlanLayer]:
        return {layer.label: layer for layer in self.layers}

    def __getitem__(self, label: str) -> PlanLayer:
        try:
            return self._index[label]
        except KeyError:
            raise KeyError(f"no layer {label!r} in this plan.{did_you_mean(label, self._index)}") from None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all layers, in order."""
        return tuple(layer.label for layer in self.layers)

    @property
    def frozen(self) -> tuple[str, ...]:
        """The labels of the layers that are frozen throughout."""
        return tuple(layer.label for layer in self.layers if layer.frozen)

    def cursor(self, step: int, total_steps: int) -> Cursor:
        """Return the cursor of an optimizer step (0-based)."""
        return Cursor(step, total_steps, phase_at(self.phases, step, total_steps))

    def factor_at(self, cursor: Cursor) -> float:
        """Return the schedule's multiple, the same for all layers."""
        start, stop = span(self.phases, cursor.phase, cursor.total_steps)
        return self.phases[cursor.phase].factor(cursor.step - start, stop - start)

    def trainable_at(self, label: str, cursor: Cursor) -> bool:
        """Whether a layer trains at a moment: not pinned frozen, and of its phase."""
        return not self[label].frozen and self.phases[cursor.phase].trains_layer(label)

    def lr_at(self, label: str, cursor: Cursor) -> float:
        """Return a layer's learning rate at a moment; 0 where it is frozen."""
        if not self.trainable_at(label, cursor):
            return 0.0
        return self.lr * self[label].lr_scale * self.factor_at(cursor)

    def edit(
        self,
        selector: Any,
        *,
        lr_scale: float | None = None,
        frozen: bool | None = None,
        weight_decay: float | None = None,
    ) -> LayerPlan:
        """Return a plan in which the layers that a selector means are decided otherwise.

        Args:
            selector: As for `frozen_layers`; such as `encoder.layer.[0-2]` or `text/encoder`.
            lr_scale: The new scale.
            frozen: Whether they are frozen throughout.
            weight_decay: The new weight decay.

        Raises:
            SelectorError: It matches nothing, or nothing is left to train.
            ConfigError: A value that is not allowed.
        """
        chosen = set(select(self._as_map(), selector))
        changes: dict[str, Any] = {"lr_scale": lr_scale, "frozen": frozen, "weight_decay": weight_decay}
        if frozen is not None and not isinstance(frozen, bool):
            raise ConfigError(f"frozen must be True or False; got {frozen!r}.")
        for key in ("lr_scale", "weight_decay"):
            if changes[key] is not None:
                changes[key] = not_negative(key, changes[key])
        given = {key: value for key, value in changes.items() if value is not None}
        layers = tuple(replace(one, **given) if one.label in chosen else one for one in self.layers)
        return replace(self, layers=layers)._checked()

    def _as_map(self) -> LayerMap:
        """The plan's layers as a map without modules, for selectors."""
        return LayerMap(
            tuple(
                Layer(
                    one.name,
                    one.tower,
                    one.role,
                    one.depth,
                    one.parameters,
                    (),
                    one.pretrained,
                    "plan",
                    one.n_parameters,
                )
                for one in self.layers
            )
        )

    def check(self, layer_map: LayerMap) -> None:
        """Raise unless the plan is about the layers of a map.

        Raises:
            ConfigError: Labels or sizes differ.
        """
        mine, theirs = set(self.labels), set(layer_map.labels)
        if mine != theirs:
            parts = [f"the plan lacks {listing(sorted(theirs - mine), limit=4)}"] if theirs - mine else []
            parts += [f"the model has no {listing(sorted(mine - theirs), limit=4)}"] if mine - theirs else []
            raise ConfigError(
                f"This plan was made for another model: {'; '.join(parts)}. Build it with "
                "LayerPlan.build(layer_map, …) from this model's map."
            )
        for layer in layer_map:
            if layer.n_parameters != self[layer.label].n_parameters:
                raise ConfigError(
                    f"This plan was made for another model: its layer {layer.label!r} has "
                    f"{self[layer.label].n_parameters} weights, the model's {layer.n_parameters}."
                )

    def parameter_groups(
        self, model: nn.Module, *, lr: float | None = None, weight_decay: float | None = None
    ) -> list[dict[str, Any]]:
        """Return groups for a torch optimizer: at most two per layer (with and without weight decay).

        Each has `params`, `lr`, `weight_decay`, `name`, `lr_scale` and `layer`. Layers that are frozen
        throughout have none. Membership never changes afterwards.

        Args:
            model: The model that the map was made of; it may have been wrapped since (torch.compile, DDP).
            lr: The base rate in place of the plan's own.
            weight_decay: Of every layer, in place of the plan's own.

        Raises:
            ConfigError: The plan is for another model, or a value is not allowed.
        """
        base = self.lr if lr is None else positive("lr", lr)
        if weight_decay is not None:
            not_negative("weight_decay", weight_decay)
        return groups.parameter_groups(self, model, base, weight_decay)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per layer, with the rate `lr` that it reaches at its highest."""
        import pandas as pd

        rows = [{**asdict(one), "lr": 0.0 if one.frozen else self.lr * one.lr_scale} for one in self.layers]
        columns = [
            "label",
            "tower",
            "role",
            "depth",
            "lr",
            "lr_scale",
            "weight_decay",
            "frozen",
            "n_parameters",
            "pretrained",
        ]
        return pd.DataFrame(rows, columns=columns)

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return the plan as JSON text."""
        return json.dumps(self._plain(), indent=indent, sort_keys=True, ensure_ascii=False)

    def _plain(self) -> dict[str, Any]:
        return {
            "version": _VERSION,
            "lr": self.lr,
            "lr_choice": self.lr_choice,
            "layers": [asdict(one) for one in self.layers],
            "phases": [asdict(one) for one in self.phases],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_json(cls, text: str) -> LayerPlan:
        """Return the plan that `to_json` wrote.

        Raises:
            ConfigError: Not such text, or of a version that this program does not know.
        """
        from thermocline.tuning.plan_json import plan_from_json

        return plan_from_json(text)

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical JSON, warnings left out."""
        plain = {key: value for key, value in self._plain().items() if key != "warnings"}
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the rate of every layer over the whole run."""
        return plan_show.plot(self, ax)

    def __str__(self) -> str:
        return plan_show.text(self)

    def _repr_html_(self) -> str:
        return plan_show.html(self)


_FROZEN_NEW = "frozen although newly initialised:"


def frozen_labels(layer_map: LayerMap, everywhere: Any, per_tower: Mapping[str, Any] | None) -> set[str]:
    """Return the labels that `frozen_layers` and its per-tower forms mean together."""
    frozen = set(select(layer_map, everywhere))
    for tower, selector in (per_tower or {}).items():
        frozen |= set(select(layer_map, selector, tower=tower))
    return frozen


def _entry(layer: Layer, scale: float, weight_decay: float, frozen: bool) -> PlanLayer:
    return PlanLayer(
        layer.label,
        layer.tower,
        layer.role,
        layer.depth,
        scale,
        weight_decay,
        frozen,
        layer.n_parameters,
        layer.pretrained,
        layer.parameters,
    )


__all__: Sequence[str] = ("LayerPlan", "PlanLayer", "frozen_labels")
