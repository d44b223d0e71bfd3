"""Counts the bytes that are live at the peak of a training step, on fake tensors, before anything has run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from thermocline.contracts.learning import Objective
from thermocline.data.batches import Batch
from thermocline.efficiency.costs.estimate_plan import StepSetup
from thermocline.efficiency.costs.fake_run import FakeModel
from thermocline.efficiency.costs.live_bytes import LiveBytes
from thermocline.efficiency.costs.storage_count import StorageCount, Storages
from thermocline.efficiency.memory.checkpointing import LayerCheckpoints
from thermocline.efficiency.memory.conv_bn import ConvBN, Pair
from thermocline.tuning.apply import frozen_modules
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.meta_dispatch import tensors_in
from thermocline.tuning.random_numbers import RandomNumbers

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class LiveSource:
    """What steps are counted of.

    Attributes:
        model: The model, without patches of its modules' `forward`; it is not touched.
        layer_map: Its layers.
        objective: What training minimises.
        train: Rows of a micro-batch → the heaviest training batch of so many rows.
        valid: Rows of a batch → the heaviest one of validation.
        device: Where the run computes.
        norm_eval: Names of towers whose BatchNorms are in eval mode while they train.
        folds: By the name of a module, the pairs of convolution and BatchNorm in it that may be folded.
        averaged: Whether there is a moving average of the weights.
        state: The bytes that the optimizer keeps of each parameter, by name; nothing of those that are left out.
    """

    model: nn.Module
    layer_map: LayerMap
    objective: Objective
    train: Callable[[int], Batch]
    valid: Callable[[int], Batch]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    norm_eval: Collection[str] = ()
    folds: Mapping[str, Sequence[Pair]] = field(default_factory=dict)
    averaged: bool = False
    state: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Traced:
    """A step, or a pass, of so many rows that was traced."""

    rows: int
    storages: Storages

    def line_to(self, other: _Traced, rows: int) -> Storages | None:
        """Return the storages for another number of rows: all sizes are linear in it; None where the course differs."""
        if not self.storages.same_course(other.storages):
            return None
        a, b = self.storages.sizes, other.storages.sizes
        return replace(self.storages, sizes=a + (b - a) * ((rows - self.rows) / (other.rows - self.rows)))


@dataclass(frozen=True)
class CountedRun:
    """A counter of live bytes, and the steps of a run.

    Attributes:
        counter: Counts a step.
        setup: The run's own step.
        valid_rows: Rows of a batch of validation.
    """

    counter: LiveCounter
    setup: StepSetup
    valid_rows: int

    def live(self, trains: Collection[str], setup: StepSetup | None = None, **more: Any) -> LiveBytes | None:
        """Return the live bytes of the run's own step, or of another; see `LiveCounter.live`."""
        return self.counter.live(trains, setup or self.setup, valid_rows=self.valid_rows, **more)


class LiveCounter:
    """Counts the live bytes of steps of one model; what was traced once is not traced again.

    Two traces at different numbers of rows give all others, since every storage is linear in the rows. So micro-batches
    cost nothing to try; another set of trainable layers, other checkpointed layers or another precision cost a trace or
    two (a third of a second for a small backbone, a few for the largest models).

    Args:
        source: The model, its batches, its loss.

    Example:
        `LiveCounter(source).live(frozenset(layer_map.labels), StepSetup(8), valid_rows=32).peak`
    """

    def __init__(self, source: LiveSource) -> None:
        self.source = source
        self._steps: dict[Any, list[_Traced]] = {}
        self._passes: dict[Any, list[_Traced]] = {}
        self._graded: dict[frozenset[str], tuple[str, ...]] = {}  # parameters that get a gradient, by what trains
        self._batches: dict[tuple[str, int], Batch] = {}

    def live(
        self,
        trains: Collection[str],
        setup: StepSetup,
        *,
        valid_rows: int | None = None,
        stateful: Collection[str] = (),
    ) -> LiveBytes | None:
        """Return the live bytes of a step, or None where the model does not run on fake tensors.

        Args:
            trains: Labels of the layers that train.
            setup: Rows, checkpointed layers, folded norms, optimizer, precision, micro-batches.
            valid_rows: Rows of a batch of validation; None: as many as train.
            stateful: Labels of other layers for which the optimizer has a state.
        """
        try:
            step = self._step(frozenset(trains), setup)
            passed = self._pass(valid_rows or setup.rows, setup.precision)
        except Exception:  # a foreign forward pass may raise anything: then its bytes are not known
            return None
        layers = [self.source.layer_map[label] for label in stateful if label not in trains]
        earlier = [name for layer in layers for name in layer.parameters]
        optimizer = sum(self.source.state.get(name, 0) for name in (*self._graded[frozenset(trains)], *earlier))
        return self._composed(step, passed, setup, optimizer)

    @cached_property
    def _fake(self) -> FakeModel:
        return FakeModel(self.source.model, self.source.device)

    def _step(self, trains: frozenset[str], setup: StepSetup) -> Storages:
        key = (trains, tuple(setup.checkpointed), tuple(setup.folded_norms), setup.precision)
        known = self._steps.setdefault(key, [])
        return _for_rows(known, setup.rows, lambda: self._traced_step(trains, setup))

    def _pass(self, rows: int, precision: str) -> Storages:
        return _for_rows(self._passes.setdefault(precision, []), rows, lambda: self._traced_pass(rows, precision))

    def _traced_step(self, trains: frozenset[str], setup: StepSetup) -> Storages:
        model, objective = self._fake.model, self.source.objective
        self._set(trains)
        batch = self._batch("train", setup.rows)
        with ExitStack() as stack:
            self._install(stack, trains, setup)
            stack.enter_context(RandomNumbers())
            stack.enter_context(torch.enable_grad())
            count = stack.enter_context(self._fake.counting())
            self._begin(count, batch)
            with self._autocast(setup.precision):
                outputs = model(batch)
            loss = objective.total(outputs, batch) / objective.weight(batch)
            count.end_forward()
            loss.backward()  # type: ignore[no-untyped-call]
        gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
        self._graded[trains] = tuple(gradients)
        return count.storages(list(gradients.values()))

    def _traced_pass(self, rows: int, precision: str) -> Storages:
        model = self._fake.model.eval()
        batch = self._batch("valid", rows)
        with RandomNumbers(), torch.inference_mode(), self._fake.counting() as count:
            self._begin(count, batch)
            with self._autocast(precision):
                outputs = model(batch)
            count.end_forward()
        del outputs
        return count.storages()

    def _begin(self, count: StorageCount, batch: Batch) -> None:
        count.ignore([*self._fake.model.parameters(), *self._fake.model.buffers()])
        count.hold(tensors_in(batch))

    def _batch(self, split: str, rows: int) -> Batch:
        if (split, rows) not in self._batches:
            made = (self.source.train if split == "train" else self.source.valid)(rows)
            self._batches[split, rows] = self._fake.batch(made)
        return self._batches[split, rows]

    def _set(self, trains: frozenset[str]) -> None:
        """Put the copy into the state of training with these layers."""
        model, layer_map = self._fake.model, self.source.layer_map
        names = {name for layer in layer_map if layer.label in trains for name in layer.parameters}
        for parameter in model.parameters():
            parameter.requires_grad, parameter.grad = False, None
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name in names
        model.train()
        for name in frozen_modules(model, layer_map, frozenset(layer_map.labels) - trains):
            model.get_submodule(name).training = False
        for tower in self.source.norm_eval:
            for module in model.get_submodule(tower).modules():
                if isinstance(module, _BatchNorm):
                    module.training = False

    def _install(self, stack: ExitStack, trains: frozenset[str], setup: StepSetup) -> None:
        """Fold and checkpoint as the run will."""
        model, norms = self._fake.model, frozenset(setup.folded_norms)
        for prefix, pairs in self.source.folds.items():
            start = f"{prefix}." if prefix else ""
            chosen = [pair for pair in pairs if f"{start}{pair.norm}" in norms]
            if chosen:
                stack.enter_context(ConvBN(model.get_submodule(prefix), chosen).installed())
        if setup.checkpointed:
            checkpoints = LayerCheckpoints(model, self.source.layer_map, setup.checkpointed)
            checkpoints.update(trains)
            stack.enter_context(checkpoints.installed())

    def _autocast(self, precision: str) -> AbstractContextManager[Any]:
        dtype = _DTYPES.get(precision)
        return nullcontext() if dtype is None else torch.autocast(self.source.device.type, dtype)

    def _composed(self, step: Storages, passed: Storages, setup: StepSetup, optimizer: int) -> LiveBytes:
        model = self.source.model
        gradients = float(step.sizes[step.gradients].sum())
        averages = _bytes_of(model.state_dict(keep_vars=True).values()) if self.source.averaged else 0
        parts = _at_peak(step, accumulates=setup.accumulates)
        if gradients + averages > sum(parts):  # the average is moved while the gradients exist
            parts = (gradients, 0.0, float(averages))
        validation = float(passed.curve().max()) + averages  # the weights, while the average is in their place
        buffers = _bytes_of(model.buffers())
        rest = (optimizer, averages, *parts, validation)
        return LiveBytes(_bytes_of(model.parameters()), buffers, *(round(one) for one in rest))


def _for_rows(known: list[_Traced], rows: int, trace: Callable[[], Storages]) -> Storages:
    """Return a step of so many rows: one that was traced, a line through two that were, or a new trace."""
    for one in known:
        if one.rows == rows:
            return one.storages
    if len(known) > 1:
        found = known[0].line_to(known[1], rows)
        if found is not None:
            return found
    known.append(_Traced(rows, trace()))
    return known[-1].storages


def _at_peak(step: Storages, *, accumulates: bool) -> tuple[float, float, float]:
    """Return gradients, activations and temporaries in bytes, at the moment when they are most together."""
    before = 0.0
    if accumulates:  # the gradients of earlier micro-batches exist all along; new ones until they are added
        before = float(step.sizes[step.gradients].sum())
        step = replace(
            step,
            died=np.where(step.gradients, np.minimum(step.born + 1, step.died), step.died),
            gradients=np.zeros_like(step.gradients),
        )
    moment = int(step.curve().argmax())
    there = (step.born <= moment) & (step.died >= moment)
    saved = (step.born <= step.forward) & (step.died > step.forward) & ~step.gradients
    gradients, activations = step.sizes[there & step.gradients].sum(), step.sizes[there & saved].sum()
    temporaries = step.sizes[there].sum() - gradients - activations
    return before + float(gradients), float(activations), float(temporaries)


def bytes_of(model: nn.Module) -> int:
    """Return the bytes of a model's parameters and buffers, each counted once."""
    return _bytes_of([*model.parameters(), *model.buffers()])


def _bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    """Return the bytes of tensors, each counted once."""
    return sum(one.numel() * one.element_size() for one in {id(one): one for one in tensors}.values())
