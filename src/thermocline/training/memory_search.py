"""Changes of a run that take less memory, those that cost no accuracy first, and the bytes of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from thermocline.contracts.problem import Assembly
from thermocline.efficiency.costs.estimate_plan import StepSetup
from thermocline.efficiency.costs.forecast import trained_most
from thermocline.efficiency.costs.live_bytes import LiveBytes, beyond_base
from thermocline.efficiency.costs.live_counter import CountedRun
from thermocline.efficiency.memory.checkpointing import chosen_layers
from thermocline.errors import SelectorError
from thermocline.training.batch_norm import norms_in_train_mode
from thermocline.training.freezable import Selector, deepest, freezable, rates_given

LEAST_ROWS = 16
"""Rows of a micro-batch that BatchNorms in train mode need for their statistics."""
DEPTHS = 8
"""So many numbers of frozen layers are tried at most. With quarters more was frozen than was needed, which cost .008 to
.019 nats on the test rows of SST-2 (`benchmarks/freeze_budget.py`)."""
ADAPTERS = {"model.peft": "lora"}


@dataclass(frozen=True)
class Change:
    """Options of a run, and the bytes that it then takes.

    Attributes:
        options: Option → value; empty for the run as it is.
        needed: Bytes that the run takes at most, beyond what the process takes without it.
    """

    options: Mapping[str, object]
    needed: int

    def __str__(self) -> str:
        return " with ".join(f"{key}={value}" for key, value in self.options.items())


@dataclass(frozen=True)
class MemorySearch:
    """Tries changes of a run.

    Attributes:
        assembly: The run's model, layers, plan, configuration.
        counted: Counts the bytes of its steps.
        device: The kind of its device.
        most: Bytes that it may take there.
        freezes: Whether layers may be frozen; not where a plan was given.
        frozen: The labels of the layers that are frozen besides.
        adapted: Returns the search of the same run with `ADAPTERS`, or None where it cannot have them; None: it is not
            tried.
    """

    assembly: Assembly
    counted: CountedRun
    device: str
    most: int
    freezes: bool = True
    frozen: frozenset[str] = field(default_factory=frozenset)
    adapted: Callable[[], MemorySearch | None] | None = None

    def fits(self, change: Change) -> bool:
        """Whether a run with a change fits."""
        return change.needed <= self.most

    def as_it_is(self) -> Change | None:
        """Return the run without a change; None where its bytes are not known."""
        return self._change(self.counted.setup, {})

    def changes(self, *, whole_batch: bool) -> Iterator[Change]:
        """Yield the run as it is, then with changes, each with those before it; options that the user set stay.

        Args:
            whole_batch: Whether a step must not be cut into micro-batches.
        """
        own = self.counted.setup.rows
        whole = whole_batch or not self._is_open("env.micro_batch_size")
        smaller = [own] if whole else [*_halves(own, self._least())]
        for search, setup, options in self._ladder():
            least = search._in_parts(setup, options, smaller[-1])
            if least is None or not self.fits(least):  # larger micro-batches do not either
                yield from [least] if least is not None else []
                continue
            for rows in smaller:
                change = search._in_parts(setup, options, rows)
                if change is not None:
                    yield change

    def _in_parts(self, setup: StepSetup, options: Mapping[str, object], rows: int) -> Change | None:
        """Return a change with so many rows through the model at once."""
        cut = rows < self.counted.setup.rows
        parts = {"env.micro_batch_size": rows} if cut else {}
        tried = replace(setup, rows=rows, accumulates=setup.accumulates or cut)
        return self._change(tried, {**parts, **options})

    def _change(self, setup: StepSetup, options: Mapping[str, object]) -> Change | None:
        """Return a change, with smaller batches of validation where these are what does not fit."""
        rows = self.counted.valid_rows
        live = self._live(setup, rows)
        if live is None:
            return None
        trained = beyond_base(replace(live, validation=0), self.device)
        while live.peak > live.training and trained <= self.most < beyond_base(live, self.device) and rows > 1:
            if not self._is_open("env.eval_batch_size"):
                break
            rows //= 2
            live = self._live(setup, rows) or live
        own = {"env.eval_batch_size": rows} if rows < self.counted.valid_rows else {}
        return Change({**options, **own}, beyond_base(live, self.device))

    def _live(self, setup: StepSetup, valid_rows: int) -> LiveBytes | None:
        """Return the live bytes of the heaviest phase under a setup."""
        plan = self.assembly.plan
        sizes = {layer.label: layer.n_parameters for layer in plan.layers}
        sets = [trained_most(plan, phase) - self.frozen for phase in range(len(plan.phases))]
        heaviest = max(sets, key=lambda trains: sum(sizes[label] for label in trains))
        counted = replace(self.counted, valid_rows=valid_rows)
        return counted.live(heaviest, setup, stateful=plan.timeline.ever - self.frozen)

    def _is_open(self, option: str) -> bool:
        return bool(self.assembly.config.is_open(option))

    def _least(self) -> int:
        return LEAST_ROWS if norms_in_train_mode(self.assembly) else 1

    def _ladder(self) -> Iterator[tuple[MemorySearch, StepSetup, dict[str, object]]]:
        """Yield searches, setups and the options that they stand for; each has the changes of those before it too."""
        setup, options = self.counted.setup, dict[str, object]()
        yield self, setup, options
        blocks = self._blocks()
        if set(blocks) - set(setup.checkpointed) and self._is_open("model.checkpointing"):
            setup, options = replace(setup, checkpointed=blocks), {**options, "model.checkpointing": "all"}
            yield self, setup, options
        precise = setup.precision == "fp32" and self.device in ("cpu", "cuda")
        if precise and self._is_open("env.precision"):
            setup, options = replace(setup, precision="bf16"), {**options, "env.precision": "bf16"}
            yield self, setup, options
        stem = list(self._with_frozen(["stem"], setup, options))
        yield from stem
        adapted = None if self.adapted is None else self.adapted()
        if adapted is not None:
            checkpointed = adapted._blocks() if "model.checkpointing" in options else setup.checkpointed
            own = replace(adapted.counted.setup, checkpointed=checkpointed, precision=setup.precision)
            yield adapted, own, {**options, **ADAPTERS}
        most = deepest(self.assembly.layer_map)
        depths = dict.fromkeys(round(most * number / DEPTHS) for number in range(1, DEPTHS))
        deeper = self._with_frozen([*(depth for depth in depths if depth), "backbone"], setup, options)
        tried = {search.frozen for search, _, _ in stem}
        yield from (one for one in deeper if one[0].frozen not in tried)

    def _with_frozen(
        self, selectors: Sequence[Selector], setup: StepSetup, options: Mapping[str, object]
    ) -> Iterator[tuple[MemorySearch, StepSetup, dict[str, object]]]:
        """Yield searches in which layers are frozen, where they may be, as `model.frozen_layers` takes them.

        A layer that the user gave a rate trains.
        """
        trains = {label for label, rate in rates_given(self.assembly).items() if rate}
        if self.freezes and self._is_open("model.frozen_layers"):
            for value, frozen in freezable(self.assembly.plan, self.assembly.layer_map, selectors):
                if not frozen & trains:
                    yield replace(self, frozen=frozen), setup, {**options, "model.frozen_layers": value}

    def _blocks(self) -> tuple[str, ...]:
        try:
            return chosen_layers(self.assembly.layer_map, "all")
        except SelectorError:
            return ()


def _halves(rows: int, least: int) -> Iterator[int]:
    """Yield a number of rows, its half, and so on down to the least."""
    while True:
        yield rows
        if rows <= least or rows == 1:
            return
        rows = max(rows // 2, min(least, rows))
