"""Says before training whether a run fits into the memory of its device, and what would make it fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from torch import nn

from thermocline.contracts.learning import Objective
from thermocline.contracts.problem import Assembly
from thermocline.data.batches import Rows
from thermocline.efficiency.costs.estimate import size
from thermocline.efficiency.costs.estimate_plan import StepSetup
from thermocline.efficiency.costs.layer_costs import Costs
from thermocline.efficiency.costs.live_bytes import LiveBytes, beyond_base
from thermocline.efficiency.costs.live_counter import CountedRun, bytes_of
from thermocline.efficiency.memory.checkpointing import chosen_layers, free_on
from thermocline.efficiency.savings import Savings
from thermocline.errors import LayerMapError, SelectorError
from thermocline.training.batch_norm import norms_in_train_mode
from thermocline.training.live_source import counted_of, heaviest, largest_part
from thermocline.training.run import Run
from thermocline.tuning.layers.meta_dispatch import tensors_in
from thermocline.tuning.layers.selectors import select

COPIES = 4
"""Weight, gradient and two moments of AdamW."""

FAR_BELOW = 0.25
"""Share of the free memory under which a bound that is several times too high ends the check."""

NEAR_BELOW = 0.5
"""The same for one from the costs of the layers, which leaves temporaries out."""

LEAST_ROWS = 16
"""Rows of a micro-batch that BatchNorms in train mode need for their statistics."""

_WIDEST = 8192  # rows of a table of embeddings are no width


@dataclass(frozen=True)
class Change:
    """A change of options under which a run fits.

    Attributes:
        options: Option → value.
        needed: Bytes that the run then takes at most.
    """

    options: Mapping[str, object]
    needed: int

    def __str__(self) -> str:
        return " with ".join(f"{key}={value}" for key, value in self.options.items())


def memory_warning(run: Run, savings: Savings, objective: Objective, *, free: int | None = None) -> str:
    """Return a warning where a run may not fit into the memory that is free, with the smallest change that would fit.

    The model is traced only where two cheap bounds do not already say that it fits.

    Args:
        run: The run, its model on its device.
        savings: What makes it cheaper, not installed.
        objective: The loss of training.
        free: Bytes that are free; None: what the device has now.

    Returns:
        A message; empty where the run fits, or where its bytes are not known.
    """
    assembly, device = run.assembly, savings.setup.device
    free = free_on(device) if free is None else free
    most = largest_part(assembly, run.train)[0]
    if _crude_bytes(run.model, run.train, most) < FAR_BELOW * free:
        return ""
    costs = savings.setup.costs
    if costs is not None and _bytes_by_costs(costs, assembly, most) < NEAR_BELOW * free:
        return ""
    there = bytes_of(run.model)  # is allocated already
    counted = counted_of(assembly, savings.setup.rows, savings, objective)
    search = _Search(assembly, counted, device.type, free + there)
    live = search.live(counted.setup)
    if live is None or search.fits(live):
        return ""
    change = search.smallest_change(whole_batch=objective.whole_batch)
    if change is not None:
        change = replace(change, needed=max(0, change.needed - there))
    return _message(max(0, beyond_base(live, device.type) - there), free, device.type, change)


def _message(needed: int, free: int, device: str, change: Change | None) -> str:
    start = (
        f"This run may not fit into memory: it takes up to {size(needed)}, and {size(free)} are free on this {device}."
    )
    if change is None:
        return (
            f"{start} Smaller micro-batches, checkpointing, bf16 and a frozen backbone together would not change that; "
            "take a smaller backbone, image side (model.image.size) or text length (model.text.max_length)."
        )
    return f"{start} It would fit with {change} (up to {size(change.needed)})."


@dataclass(frozen=True)
class _Search:
    """Tries changes of a run, those that cost no accuracy first.

    Attributes:
        assembly: The run's model, layers, plan, configuration.
        counted: Counts the bytes of its steps.
        device: The kind of its device.
        free: Bytes that it may take there.
    """

    assembly: Assembly
    counted: CountedRun
    device: str
    free: int
    frozen: frozenset[str] = field(default_factory=frozenset)

    def live(self, setup: StepSetup) -> LiveBytes | None:
        """Return the live bytes of the heaviest phase under a setup."""
        plan = self.assembly.plan
        sizes = {layer.label: layer.n_parameters for layer in plan.layers}
        sets = [trains - self.frozen for trains in plan.timeline.always]
        heaviest_set = max(sets, key=lambda trains: sum(sizes[label] for label in trains))
        return self.counted.live(heaviest_set, setup, stateful=plan.timeline.ever - self.frozen)

    def fits(self, live: LiveBytes) -> bool:
        """Whether a step fits."""
        return beyond_base(live, self.device) <= self.free

    def smallest_change(self, *, whole_batch: bool) -> Change | None:
        """Return the first change under which the run fits, or None.

        Args:
            whole_batch: Whether a step must not be cut into micro-batches.
        """
        most = self.counted.setup.rows
        sizes = [most] if whole_batch else list(_halves(most, self._least()))
        for search, setup, options in self._ladder():
            if search.needed(setup, sizes[-1], most) is None:  # not even with the smallest micro-batches
                continue
            for rows in sizes:
                needed = search.needed(setup, rows, most)
                if needed is not None:
                    own = {"env.micro_batch_size": rows} if rows < most else {}
                    return Change({**own, **options}, needed)
        return None

    def needed(self, setup: StepSetup, rows: int, most: int) -> int | None:
        """Return what a step takes at most with so many rows at once, or None where that does not fit."""
        live = self.live(replace(setup, rows=rows, accumulates=setup.accumulates or rows < most))
        return beyond_base(live, self.device) if live is not None and self.fits(live) else None

    def _least(self) -> int:
        return LEAST_ROWS if norms_in_train_mode(self.assembly) else 1

    def _ladder(self) -> Iterator[tuple[_Search, StepSetup, dict[str, object]]]:
        """Yield searches, setups and the options that they stand for; each has the changes of those before it too."""
        setup, options = self.counted.setup, dict[str, object]()
        yield self, setup, options
        blocks = self._blocks()
        if blocks and set(blocks) - set(setup.checkpointed):
            setup, options = replace(setup, checkpointed=blocks), {**options, "model.checkpointing": "all"}
            yield self, setup, options
        if setup.precision == "fp32" and self.device in ("cpu", "cuda"):
            setup, options = replace(setup, precision="bf16"), {**options, "env.precision": "bf16"}
            yield self, setup, options
        for value, frozen in self._frozen_sets():
            yield replace(self, frozen=frozen), setup, {**options, "model.frozen_layers": value}

    def _blocks(self) -> tuple[str, ...]:
        try:
            return chosen_layers(self.assembly.layer_map, "all")
        except SelectorError:
            return ()

    def _frozen_sets(self) -> Iterator[tuple[object, frozenset[str]]]:
        """Yield half of the layers of the deepest backbone, and all of it, as `model.frozen_layers` takes them."""
        layer_map = self.assembly.layer_map
        depths = Counter(layer.tower for layer in layer_map if layer.role in ("stem", "block"))
        for value in (max(depths.values(), default=0) // 2, "backbone"):
            try:
                frozen = frozenset(select(layer_map, value)) if value else frozenset()
            except (SelectorError, LayerMapError):  # no such layers, or in no known order
                continue
            if frozen and self.assembly.plan.timeline.ever - frozen:
                yield value, frozen


def _halves(rows: int, least: int) -> Iterator[int]:
    """Yield a number of rows, its half, and so on down to the least."""
    while True:
        yield rows
        if rows <= least or rows == 1:
            return
        rows = max(rows // 2, min(least, rows))


def _crude_bytes(model: nn.Module, rows: Rows, most: int) -> float:
    """Return a bound from sizes of tensors alone, which is several times too high.

    Every parameter's output, as large as its widest side, is taken to be kept four times for each element of a row.
    """
    batch = heaviest(rows, 1, epoch=None)
    elements = max((one.numel() for one in tensors_in(batch)), default=1)
    parameters = list(model.parameters())
    width = sum(min(max(one.shape[:2], default=1), _WIDEST) for one in parameters)
    return 4.0 * COPIES * (sum(one.numel() for one in parameters) + most * elements * width)


def _bytes_by_costs(costs: Costs, assembly: Assembly, most: int) -> float:
    """Return weights, gradients, optimizer and twice the activations where everything that ever trains does."""
    ever = assembly.plan.timeline.ever
    return COPIES * bytes_of(assembly.model) + 2.0 * most * sum(costs.saved(ever).values())
