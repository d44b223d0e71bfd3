"""Decisions about a model's layers, as pure data: their learning rates, which are frozen, and when."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import nn

from thermocline.errors import ConfigError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.selectors import select
from thermocline.tuning.named_schedules.by_name import phases_by
from thermocline.tuning.number_checks import not_negative, positive
from thermocline.tuning.plan import checks, hints, optimizer_groups, plan_json, plot, show
from thermocline.tuning.plan.building import PlanRequest, checked_warnings, planned_layers
from thermocline.tuning.plan.decisions import Decisions
from thermocline.tuning.plan.layer_rates import idle_rates, split_base
from thermocline.tuning.plan.lr_choice import canonical_choice
from thermocline.tuning.plan.parameter_rules import ParameterRule, rules_from_data
from thermocline.tuning.schedule.phase_files import phases_text
from thermocline.tuning.schedule.phases import Phase
from thermocline.tuning.verify import Watch

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class LayerPlan(Decisions):
    """Decisions for every layer of a map.

    Attributes:
        layers: In the map's order.
        lr: The base learning rate.
        lr_choice: How the scales were made.
        phases: What trains, for how long, under which schedule.
        parameter_rules: Multiples of the rate, and weight decays, of single parameters.
        warnings: What a user should know.
        confident: False where the order of the layers is a guess; then no phase may depend on it.
        total_steps: Of the run that it was made for, where that is known: for plots, hints and named schedules.
        steps_per_epoch: Likewise.
        estimate: What the run will cost, for display, as `Predictor.explain` finds it; a changed plan has none.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_vit", num_classes=3)
        >>> layers = LayerMap.of(model, head=model.head)
        >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
        >>> print(plan)
        layerwise_decay, base lr 0.001, 251k of 306k weights train (81.8 %)
        ...
        >>> plan.frozen, plan["model/blocks.5"].lr_scale
        (('model/stem',), 0.9)
    """

    @classmethod
    def build(  # noqa: PLR0913 - public API
        cls,
        layer_map: LayerMap,
        *,
        lr: float | Mapping[str | int, float] = 1e-3,
        lr_choice: str = "layerwise_decay",
        lr_decay: float = 0.9,
        lr_min_scale: float = 0.0,
        lr_mult: float = 10.0,
        weight_decay: float = 0.01,
        frozen_layers: Any = None,
        tower_frozen_layers: Mapping[str, Any] | None = None,
        schedule: str | Mapping[str, str] = "cosine",
        warmup: float | Mapping[str, float] = 0.1,
        parameter_rules: Any = None,
    ) -> LayerPlan:
        """Decide.

        Args:
            layer_map: The facts.
            lr: The base rate: that of the head under `layerwise_decay`. Or rates by selector, such as
                `{"backbone": 1e-5, "head": 1e-3}`: of two that name a layer the later one counts, and a rate of 0
                freezes. What none names has the rate that `lr_choice` makes of the base rate, which is that of `"*"`,
                or 1e-3.
            lr_choice: `single_lr`, `two_stage` or `layerwise_decay`.
            lr_decay: The factor per layer, in (0, 1].
            lr_min_scale: The least multiple of the base rate that `layerwise_decay` gives a layer.
            lr_mult: The factor for new layers under `two_stage`.
            weight_decay: For all parameters that take any.
            frozen_layers: A selector (see `thermocline.tuning.layers.selectors.select`) over every tower. Layers that
                an object detector builds frozen are frozen besides.
            tower_frozen_layers: A selector per tower, in addition.
            schedule: `cosine`, `linear`, `constant` or another of `thermocline.tuning.schedule.phases.SCHEDULES`; or
                one per selector, as in `Phase`.
            warmup: The fraction of the run over which the rate rises; or one per selector.
            parameter_rules: `ParameterRule`s, or mappings of their fields, for parameters that learn at a multiple of
                their layer's rate, or have a weight decay of their own.

        Raises:
            ConfigError: A value that is not allowed.
            SelectorError: A selector or a pattern that matches nothing, or nothing left to train.
            LayerMapError: The order of the layers is needed and not known.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> LayerPlan.build(layers, lr=1e-3, lr_choice="two_stage", lr_mult=10)["model/head"].lr_scale
            10.0
            >>> LayerPlan.build(layers, lr={"backbone": 1e-5, "head": 1e-3}, frozen_layers="blocks.[0-1]").frozen
            ('model/blocks.0', 'model/blocks.1')
        """
        base, own = split_base(lr, 1e-3) if isinstance(lr, Mapping) else (lr, {})
        choice = lr_choice, lr_decay, lr_min_scale, lr_mult
        request = PlanRequest(base, own, *choice, weight_decay, frozen_layers, tower_frozen_layers)
        layers = planned_layers(layer_map, request)
        phases = (Phase(schedule=schedule, warmup=warmup),)
        warnings = (*layer_map.warnings, *layer_map.notes, *hints.tied_under_two_rules(layers, layer_map))
        warnings = (*checked_warnings(layers, warnings), *idle_rates(layers, layer_map, own))
        rules = rules_from_data(parameter_rules)
        return cls(layers, float(base), canonical_choice(lr_choice), phases, rules, warnings, layer_map.confident)

    def with_phases(self, phases: Sequence[Phase]) -> LayerPlan:
        """Return the plan with other phases.

        Raises:
            SelectorError: A selector of a phase matches nothing.
            ConfigError: Fractions that do not grow, or two numbers for one layer.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
            >>> from thermocline.tuning.schedule.phases import Phase
            >>> head_first = plan.with_phases([Phase("head", trains="head", epochs=1), Phase("all")])
            >>> [phase.name for phase in head_first.phases]
            ['head', 'all']
        """
        return replace(self, phases=tuple(phases), estimate=None)

    def scheduled(self, request: Any) -> LayerPlan:
        """Return the plan with the phases that a named schedule writes.

        Args:
            request: Such as `"fine_tune"`, `"gradual_unfreeze(every=1)"` or `{"lisa": {"n_layers": 2}}`; see
                `thermocline.tuning.named_schedules.by_name`.

        Raises:
            ConfigError: No such schedule or argument, or a value that is not allowed.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
            >>> [phase.name for phase in plan.scheduled("fine_tune(freeze_epochs=1)").phases]
            ['head', 'all']
        """
        return self.with_phases(phases_by(self, request))

    def phases_yaml(self) -> str:
        """Return the phases as YAML, to be edited and given to `fit(plan=…)` or `optim.phases`.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
            >>> print(plan.scheduled("fine_tune(freeze_epochs=1)").phases_yaml())
            # layerwise_decay, base lr 0.001, 251k of 306k weights train (81.8 %)
            phases:
              - name: head
                trains: [model/head]
            ...
        """
        return phases_text(self.phases, show.headline(self))

    def edit(
        self,
        selector: Any,
        *,
        parameters: str | Sequence[str] | None = None,
        lr_scale: float | None = None,
        frozen: bool | None = None,
        weight_decay: float | None = None,
    ) -> LayerPlan:
        """Return a plan with other decisions for the layers that a selector means.

        Args:
            selector: As for `frozen_layers`; such as `encoder.layer.[0-2]` or `text/encoder`.
            parameters: Globs over the names of parameters (see `ParameterRule`): then the decisions are a rule about
                these parameters of the layers, behind the rules that there are.
            lr_scale: The new scale: of layers a multiple of the base rate, of parameters of their layer's rate. 0
                freezes layers.
            frozen: Whether the layers are frozen throughout.
            weight_decay: The new weight decay.

        Raises:
            SelectorError: It matches nothing, or nothing is left to train.
            ConfigError: A value that is not allowed.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
            >>> plan.edit("blocks.[0-1]", lr_scale=0.1)["model/blocks.1"].lr_scale
            0.1
            >>> plan.edit("blocks.*", frozen=True).frozen[-1]
            'model/blocks.5'
            >>> slow = plan.edit("blocks.*", parameters="*.bias", lr_scale=0.1)
            >>> slow.parameter_rules[0].parameters
            ('*.bias',)
        """
        if frozen is not None and not isinstance(frozen, bool):
            raise ConfigError(f"frozen must be True or False; got {frozen!r}.")
        if parameters is not None:
            if frozen is not None:
                raise ConfigError("Layers are the unit that is frozen: give frozen without parameters.")
            return self._with_rule(selector, parameters, lr_scale, weight_decay)
        chosen = set(select(self.layer_map, selector))
        changes: dict[str, Any] = {"lr_scale": lr_scale, "frozen": frozen, "weight_decay": weight_decay}
        for key in ("lr_scale", "weight_decay"):
            if changes[key] is not None:
                changes[key] = not_negative(key, changes[key])
        given = {key: value for key, value in changes.items() if value is not None}
        layers = tuple(replace(one, **given) if one.label in chosen else one for one in self.layers)
        return replace(self, layers=layers, estimate=None, warnings=checked_warnings(layers, self.warnings))

    def _with_rule(
        self, selector: Any, parameters: str | Sequence[str], lr_scale: float | None, weight_decay: float | None
    ) -> LayerPlan:
        """The plan with one more rule about parameters."""
        patterns = parameters if isinstance(parameters, str) else tuple(parameters)
        rule = ParameterRule(patterns, selector, lr_scale, weight_decay)
        return replace(self, parameter_rules=(*self.parameter_rules, rule), estimate=None)

    def check(self, layer_map: LayerMap) -> None:
        """Raise unless the plan is about the layers of a map, and something trains in each of its phases.

        Raises:
            ConfigError: Labels, sizes or parameters differ, or a phase trains nothing.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
            >>> plan.check(layers)
        """
        checks.check(self, layer_map)

    def parameter_groups(
        self, model: nn.Module, *, lr: float | None = None, weight_decay: float | None = None
    ) -> list[dict[str, Any]]:
        """Return groups for a torch optimizer: two per layer (with and without weight decay), more by parameter rules.

        Each has `params`, `lr`, `weight_decay`, `name`, `lr_scale`, `rule_scale` (the multiple of the layer's rate that
        a rule gives) and `layer`. Layers that are frozen throughout have none. Membership never changes afterwards.

        Args:
            model: The model that the map was made of; it may have been wrapped since (torch.compile, DDP).
            lr: The base rate in place of the plan's own.
            weight_decay: Of every layer, in place of the plan's own; that of a rule stays.

        Raises:
            ConfigError: The plan is for another model, or a value is not allowed.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
            >>> groups = plan.parameter_groups(model)
            >>> groups[0]["name"], groups[0]["layer"], len(groups[0]["params"])
            ('model/blocks.0', 'model/blocks.0', 4)
            >>> import torch
            >>> optimizer = torch.optim.AdamW(groups)
        """
        base = self.lr if lr is None else positive("lr", lr)
        if weight_decay is not None:
            not_negative("weight_decay", weight_decay)
        return optimizer_groups.parameter_groups(self, model, base, weight_decay)

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return the plan as JSON text.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
            >>> from pathlib import Path
            >>> Path("plan.json").write_text(plan.to_json()) > 0  # fit(plan="plan.json") reads it
            True
        """
        return json.dumps(plan_json.plain(self), indent=indent, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> LayerPlan:
        """Return the plan that `to_json` wrote.

        Raises:
            ConfigError: Not such text, or of a version that this program does not know.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
            >>> LayerPlan.from_json(plan.to_json()) == plan
            True
        """
        return cls(**plan_json.fields_from_json(text))

    @property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical JSON of its decisions."""
        return plan_json.fingerprint(self)

    def verify(self, model: nn.Module) -> Watch:
        """Hash a model's layers, so that frozen layers can be shown to have stayed as they were.

        Returns:
            A watch: `check()` after training raises if a layer that is frozen throughout has changed; `at(cursor)`
            before every step does so for layers that are frozen for a while.

        Raises:
            ConfigError: The plan is for another model.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
            >>> watch = plan.verify(model)
            >>> watch.changed()
            ()
        """
        return Watch(self, model)

    def hints(self, model: nn.Module | None = None) -> tuple[str, ...]:
        """Return hints about what its author may not have meant; they are shown with the plan.

        Args:
            model: The model that the plan is for: whether a rate can move weights is then told by these weights, and
                not by those of a usual size.

        Raises:
            ConfigError: The plan is for another model.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
            >>> plan.hints()  # nothing to say
            ()
        """
        return hints.hints(self, model)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per layer, with the rate `lr` that it reaches at its highest.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
            >>> plan.to_frame()[["label", "lr", "frozen"]].tail(2)
                         label      lr  frozen
            6  model/blocks.5  0.0009   False
            7      model/head  0.0010   False
        """
        return show.frame(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the rate of every layer over the whole run.

        Example:
            >>> import timm
            >>> model = timm.create_model("test_vit", num_classes=3)
            >>> layers = LayerMap.of(model, head=model.head)
            >>> plan = LayerPlan.build(layers, lr=1e-3, frozen_layers="stem")
            >>> plan.plot().figure.savefig("plan.png")
        """
        return plot.plot(self, ax)

    def __str__(self) -> str:
        return show.text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return show.html(self)
