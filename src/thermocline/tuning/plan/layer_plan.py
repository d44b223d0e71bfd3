"""Decisions about a model's layers, as pure data: who learns how fast, who is frozen, and when."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import nn

from thermocline.errors import ConfigError, SelectorError, did_you_mean, listing
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.selectors import select
from thermocline.tuning.plan import checks as plan_check
from thermocline.tuning.plan import hints as lint
from thermocline.tuning.plan import optimizer_groups as groups
from thermocline.tuning.plan import plan_json
from thermocline.tuning.plan import plot as plan_plot
from thermocline.tuning.plan import show as plan_show
from thermocline.tuning.plan.lr_choice import canonical_choice, scales_for
from thermocline.tuning.plan.plan_layer import PlanLayer, as_layer, entry
from thermocline.tuning.schedule.phase_files import phases_text
from thermocline.tuning.schedule.phases import Cursor, Phase
from thermocline.tuning.schedule.timeline import Entry, Timeline
from thermocline.tuning.values import not_negative, positive
from thermocline.tuning.verify import Watch

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class LayerPlan:
    """Decisions for every layer of a map.

    Attributes:
        layers: In the map's order.
        lr: The base learning rate.
        lr_choice: How the scales were made.
        phases: What trains, for how long, under which schedule.
        warnings: What a user should know.
        confident: False where the order of the layers is a guess; then no phase may go by it.
        total_steps: Of the run that it was made for, where that is known: for pictures, hints and generators.
        steps_per_epoch: Likewise.
        estimate: What the run will cost, for display, as `Predictor.explain` finds it; a changed plan has none.
    """

    layers: tuple[PlanLayer, ...]
    lr: float
    lr_choice: str = "layerwise_decay"
    phases: tuple[Phase, ...] = (Phase(),)
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
        plan_check.check_parameters(self)
        self.timeline  # noqa: B018  selectors of phases are read now, so that a fault shows here

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
            frozen_layers: A selector (see `thermocline.tuning.layers.selectors.select`) over every tower. Layers that a
                detector builds frozen are frozen besides.
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
        frozen |= {layer.label for layer in layer_map if layer.resting}
        layers = tuple(
            entry(layer, scales[layer.label], float(weight_decay), layer.label in frozen) for layer in layer_map
        )
        phases = (Phase(schedule=schedule, warmup=warmup),)
        warnings = (*layer_map.warnings, *layer_map.notes)
        plan = cls(layers, float(lr), choice, phases, warnings, layer_map.confident)
        warnings = (*plan.warnings, *lint.tied_under_two_rules(plan, layer_map))
        return replace(plan, warnings=warnings)._checked()

    def _checked(self) -> LayerPlan:
        """The plan with the warnings that its frozen layers call for."""
        if all(layer.frozen for layer in self.layers if layer.n_parameters):
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

    @cached_property
    def frozen(self) -> tuple[str, ...]:
        """The labels of the layers that are frozen throughout: pinned, or never of a phase."""
        return tuple(layer.label for layer in self.layers if layer.label not in self.timeline.ever)

    @cached_property
    def timeline(self) -> Timeline:
        """The phases on the clock."""
        return Timeline(self)

    def start(self, total_steps: int, *, steps_per_epoch: int = 0) -> Cursor:
        """Return the cursor of the first step of a run.

        Args:
            total_steps: The optimizer steps that the run takes at most.
            steps_per_epoch: Needed where a phase ends by epochs.
        """
        return self.timeline.start(total_steps, steps_per_epoch)

    def next(self, cursor: Cursor) -> Cursor:
        """Return the cursor after one more optimizer step."""
        return self.timeline.next(cursor)

    def observe(self, cursor: Cursor, score: float) -> Cursor:
        """Return the cursor after a validation (higher is better), which may end a phase that waits for a plateau."""
        return self.timeline.observe(cursor, score)

    def cursor(self, step: int, total_steps: int, *, steps_per_epoch: int = 0) -> Cursor:
        """Return the cursor of an optimizer step (0-based), for plans whose phases need no score to end."""
        return self.timeline.cursor(step, total_steps, steps_per_epoch)

    def entry_actions(self, cursor: Cursor) -> Entry | None:
        """Return what is to be done before this step because a phase (or a draw) begins with it; mostly None."""
        return self.timeline.entry(cursor)

    def factor_at(self, cursor: Cursor) -> float:
        """Return the schedule's multiple, the same for all layers."""
        return self.timeline.factor(cursor)

    def momentum_at(self, cursor: Cursor) -> float | None:
        """Return the optimizer's momentum (Adam: its first beta); None where it is the optimizer's own."""
        return self.timeline.momentum(cursor)

    def trainable_at(self, label: str, cursor: Cursor) -> bool:
        """Whether a layer trains at a moment: not pinned frozen, and of its phase."""
        return self[label].label in self.timeline.trains(cursor)

    def lr_at(self, label: str, cursor: Cursor) -> float:
        """Return a layer's learning rate at a moment; 0 where it is frozen."""
        return self.lr * self.timeline.multiple(self[label].label, cursor)

    def with_phases(self, phases: Sequence[Phase]) -> LayerPlan:
        """Return the plan with other phases.

        Raises:
            SelectorError: A selector of a phase matches nothing.
            ConfigError: Fractions that do not grow, or two numbers for one layer.
        """
        return replace(self, phases=tuple(phases), estimate=None)

    def scheduled(self, request: Any) -> LayerPlan:
        """Return the plan with the phases that a generator writes.

        Args:
            request: Such as `"fine_tune"`, `"gradual_unfreeze(every=1)"` or `{"lisa": {"n_layers": 2}}`; see
                `thermocline.tuning.named_schedules.by_name`.

        Raises:
            ConfigError: No such generator or argument, or a value that is not allowed.
        """
        from thermocline.tuning.named_schedules.by_name import phases_by

        return self.with_phases(phases_by(self, request))

    def phases_yaml(self) -> str:
        """Return the phases as YAML, to be edited and given to `fit(plan=…)` or `optim.phases`."""
        return phases_text(self.phases, plan_show.headline(self))

    @property
    def epochs(self) -> float | None:
        """The epochs that the phases take together, where all of them end by epochs."""
        own = [phase.epochs for phase in self.phases]
        return sum(one for one in own if one is not None) if None not in own else None

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
        chosen = set(select(self.layer_map, selector))
        changes: dict[str, Any] = {"lr_scale": lr_scale, "frozen": frozen, "weight_decay": weight_decay}
        if frozen is not None and not isinstance(frozen, bool):
            raise ConfigError(f"frozen must be True or False; got {frozen!r}.")
        for key in ("lr_scale", "weight_decay"):
            if changes[key] is not None:
                changes[key] = not_negative(key, changes[key])
        given = {key: value for key, value in changes.items() if value is not None}
        layers = tuple(replace(one, **given) if one.label in chosen else one for one in self.layers)
        return replace(self, layers=layers, estimate=None)._checked()

    @cached_property
    def layer_map(self) -> LayerMap:
        """The plan's layers as a map without modules, for selectors."""
        return LayerMap(tuple(as_layer(one) for one in self.layers), confident=self.confident)

    def check(self, layer_map: LayerMap) -> None:
        """Raise unless the plan is about the layers of a map, and something trains in each of its phases.

        Raises:
            ConfigError: Labels, sizes or parameters differ, or a phase trains nothing.
        """
        plan_check.check(self, layer_map)

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
        return plan_show.frame(self)

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return the plan as JSON text."""
        return json.dumps(plan_json.plain(self), indent=indent, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> LayerPlan:
        """Return the plan that `to_json` wrote.

        Raises:
            ConfigError: Not such text, or of a version that this program does not know.
        """
        return plan_json.plan_from_json(text)

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical JSON of its decisions."""
        return plan_json.fingerprint(self)

    def lint(self) -> tuple[str, ...]:
        """Return hints about what its maker may not have meant; they are shown with the plan."""
        return lint.lint(self)

    def verify(self, model: nn.Module) -> Watch:
        """Hash a model's layers, so that what is frozen can be shown to have stayed as it is.

        Returns:
            A watch: `check()` after training raises if a layer that is frozen throughout has changed; `at(cursor)`
            before every step does so for layers that are frozen for a while.

        Raises:
            ConfigError: The plan is for another model.
        """
        return Watch(self, model)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the rate of every layer over the whole run."""
        return plan_plot.plot(self, ax)

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


__all__: Sequence[str] = ("LayerPlan", "PlanLayer", "frozen_labels")
