"""The data of a plan, and what follows from it at a moment of the run."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from thermocline.errors import ConfigError, did_you_mean
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.number_checks import not_negative, positive
from thermocline.tuning.plan.parameter_rules import ParameterRule, Setting, settings
from thermocline.tuning.plan.plan_layer import PlanLayer
from thermocline.tuning.schedule.cursor import Cursor
from thermocline.tuning.schedule.phases import Phase
from thermocline.tuning.schedule.timeline import Entry, Timeline


@dataclass(frozen=True)
class Decisions:
    """The data of a `LayerPlan`; attributes are described there."""

    layers: tuple[PlanLayer, ...]
    lr: float
    lr_choice: str = "layerwise_decay"
    phases: tuple[Phase, ...] = (Phase(),)
    parameter_rules: tuple[ParameterRule, ...] = ()
    warnings: tuple[str, ...] = ()
    confident: bool = True
    total_steps: int | None = field(default=None, compare=False)
    steps_per_epoch: int | None = field(default=None, compare=False)
    estimate: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        positive("lr", self.lr)
        for layer in self.layers:
            not_negative("lr_scale", layer.lr_scale, layer.label)
            not_negative("weight_decay", layer.weight_decay, layer.label)
        if not self.phases:
            raise ConfigError("A plan needs at least one phase.")
        _check_parameters(self.layers)
        self.timeline, self.settings  # noqa: B018  selectors are read now, so that a fault shows here

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what is derived from them is computed again."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def __getitem__(self, label: str) -> PlanLayer:
        try:
            return self._index[label]
        except KeyError:
            raise KeyError(f"no layer {label!r} in this plan.{did_you_mean(label, self._index)}") from None

    @cached_property
    def _index(self) -> dict[str, PlanLayer]:
        return {layer.label: layer for layer in self.layers}

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of all layers, in order."""
        return tuple(layer.label for layer in self.layers)

    @cached_property
    def frozen(self) -> tuple[str, ...]:
        """The labels of the layers that are frozen throughout: named as frozen, in no phase, or at a rate of 0."""
        return tuple(layer.label for layer in self.layers if layer.label not in self.timeline.ever)

    @cached_property
    def layer_map(self) -> LayerMap:
        """The plan's layers as a map without modules, for selectors."""
        return LayerMap(tuple(one.as_layer() for one in self.layers), confident=self.confident)

    @property
    def epochs(self) -> float | None:
        """The epochs that the phases take together, where all of them end by epochs."""
        own = [phase.epochs for phase in self.phases]
        return sum(one for one in own if one is not None) if None not in own else None

    @cached_property
    def timeline(self) -> Timeline:
        """Which layers train, and at what multiple of the base rate, at each moment of the run."""
        scales = {layer.label: layer.lr_scale for layer in self.layers}
        pinned = frozenset(layer.label for layer in self.layers if layer.pinned)
        return Timeline.of(self.phases, self.layer_map, scales, pinned)

    @cached_property
    def settings(self) -> dict[str, Setting]:
        """What the parameter rules give, by name of the parameter."""
        return settings(self.parameter_rules, self.layer_map) if self.parameter_rules else {}

    @cached_property
    def peaks(self) -> dict[str, float]:
        """Per label the highest scale that any phase gives the layer; 0 where it is frozen throughout."""
        phases = self.timeline.layers
        return {
            label: max((own.scales[label] for own in phases if label in own.always or label in own.pool), default=0.0)
            for label in self.labels
        }

    def start(self, total_steps: int, *, steps_per_epoch: int = 0) -> Cursor:
        """Return the cursor of the first step of a run.

        Args:
            total_steps: The optimizer steps that the run takes at most.
            steps_per_epoch: Needed where a phase ends by epochs.

        Example:
            >>> plan = predictor.plan
            >>> cursor = plan.start(total_steps=100)
            >>> cursor.step, cursor.total_steps, cursor.phase
            (0, 100, 0)
        """
        return self.timeline.cursor(0, total_steps, steps_per_epoch)

    def cursor(self, step: int, total_steps: int, *, steps_per_epoch: int = 0) -> Cursor:
        """Return the cursor of an optimizer step (0-based), for plans whose phases need no score to end.

        Example:
            >>> predictor.plan.cursor(50, 100).step
            50
        """
        return self.timeline.cursor(step, total_steps, steps_per_epoch)

    def next(self, cursor: Cursor) -> Cursor:
        """Return the cursor after one more optimizer step.

        Example:
            >>> plan = predictor.plan
            >>> cursor = plan.start(total_steps=100)
            >>> plan.next(cursor).step
            1
        """
        return self.timeline.next(cursor)

    def observe(self, cursor: Cursor, score: float) -> Cursor:
        """Return the cursor after a validation (higher is better), which may end a phase that waits for a plateau.

        Example:
            >>> plan = predictor.plan
            >>> cursor = plan.start(total_steps=100)
            >>> plan.observe(cursor, 0.8) == cursor  # no phase waits for a score
            True
        """
        return self.timeline.observe(cursor, score)

    def stretch_end(self, cursor: Cursor) -> int:
        """Return the step up to which the layers that train now stay the same: the end of the phase or of the draw.

        Args:
            cursor: Of any step of the stretch; all give the same end.

        Raises:
            ConfigError: The phase ends by epochs, and the cursor has no `steps_per_epoch`.

        Example:
            >>> plan = predictor.plan
            >>> cursor = plan.start(total_steps=100)
            >>> plan.stretch_end(cursor)
            100
        """
        return self.timeline.stretch_end(cursor)

    def entry_actions(self, cursor: Cursor) -> Entry | None:
        """Return what is to be done before this step because a phase (or a draw) begins with it; mostly None.

        Example:
            >>> plan = predictor.plan
            >>> cursor = plan.start(total_steps=100)
            >>> plan.entry_actions(plan.next(cursor)) is None
            True
        """
        return self.timeline.entry(cursor)

    def factor_at(self, cursor: Cursor, label: str | None = None) -> float:
        """Return the schedule's multiple: of a layer, or the highest where layers have schedules of their own.

        Example:
            >>> plan = predictor.plan
            >>> [round(plan.factor_at(plan.cursor(step, 100)), 2) for step in (0, 10, 55, 99)]
            [0.09, 1.0, 0.5, 0.0]
        """
        return self.timeline.factor(cursor, None if label is None else self[label].label)

    def momentum_at(self, cursor: Cursor, label: str | None = None) -> float | None:
        """Return the optimizer's momentum (Adam: its first beta), of a layer or of the first schedule that changes it;
        None where it is the optimizer's own.

        Example:
            >>> plan = predictor.plan
            >>> cursor = plan.start(total_steps=100)
            >>> plan.momentum_at(cursor) is None  # that of the optimizer
            True
        """
        return self.timeline.momentum(cursor, None if label is None else self[label].label)

    def trainable_at(self, label: str, cursor: Cursor) -> bool:
        """Whether a layer trains at a moment: not frozen throughout, in its phase, and not at a rate of 0 in it.

        Example:
            >>> plan = predictor.plan
            >>> cursor = plan.start(total_steps=100)
            >>> plan.trainable_at("text/embeddings", cursor)
            True
        """
        return self[label].label in self.timeline.trains(cursor)

    def lr_at(self, label: str, cursor: Cursor) -> float:
        """Return a layer's learning rate at a moment; 0 where it is frozen.

        Example:
            >>> plan = predictor.plan
            >>> cursor = plan.cursor(10, 100)
            >>> plan.lr_at("text/embeddings", cursor) < plan.lr_at("fusion/head", cursor) == plan.lr
            True
        """
        return self.lr * self.timeline.multiple(self[label].label, cursor)


def _check_parameters(layers: tuple[PlanLayer, ...]) -> None:
    """Raise unless labels are unique and no parameter is in two layers."""
    if len({layer.label for layer in layers}) != len(layers):
        raise ConfigError("The plan names a layer twice.")
    holder: dict[str, str] = {}
    for layer in layers:
        for name in layer.parameters:
            if name in holder:
                raise ConfigError(
                    f"The plan has the parameter {name!r} in two layers, {holder[name]!r} and {layer.label!r}."
                )
            holder[name] = layer.label
