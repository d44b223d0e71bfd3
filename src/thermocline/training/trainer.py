"""The training loop: carries out a plan, validates, keeps the best, and stops when told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from thermocline.data.batches import Batch
from thermocline.data.loading import Wanted, load_steps
from thermocline.data.order import epoch_order, micro_batches
from thermocline.efficiency.costs.forecast import passes
from thermocline.errors import NonFiniteError
from thermocline.problems.rowwise import probe
from thermocline.problems.rowwise.fusion import FusionModel
from thermocline.training import best_states as checkpoints
from thermocline.training import checkpoint_content as snapshot
from thermocline.training.device import make_accelerator
from thermocline.training.ema import Ema
from thermocline.training.history import History
from thermocline.training.optimizers import forget, make_optimizer, rates_of
from thermocline.training.rates import Rates
from thermocline.training.recorder import Recorder
from thermocline.training.run import Run
from thermocline.training.run_savings import in_step, make_savings, news
from thermocline.training.scoring import Scorer
from thermocline.training.stepping import Stepper
from thermocline.tuning.apply import AppliedPlan, LRSetter

PATIENCE_NON_FINITE = 10  # steps in a row
PROBE_SHARE = 0.4  # of the time left that a probe's pass over the training rows may take
SHOW_EVERY = 10  # steps


class Trainer:
    """Trains one run. The methods are named after the moments of training.

    All that a step depends on is the model, the optimizer, the cursor, and what `snapshot` lists; so a run goes on
    from a checkpoint as if it had never stopped.

    Args:
        run: What to train.
    """

    def __init__(self, run: Run) -> None:
        run = replace(run, train=in_step(run.train, run.layer_map, run.plan))
        assert run.env.batch_size
        assert run.env.micro_batch_size
        self.run = run
        self.batch_size, self.micro = run.env.batch_size, run.env.micro_batch_size
        self.accelerator = make_accelerator(run.env.device, run.env.precision)
        self.device: torch.device = self.accelerator.device
        self.model = run.model.to(self.device)
        self.applied = AppliedPlan(self.model, run.layer_map, run.plan, batch_norm_eval=run.norm_eval)
        self.frozen = checkpoints.still_names(self.model, run.layer_map, run.plan.frozen)
        self.still: str | None = None  # a hash of what is frozen throughout, once a checkpoint needs it
        self.steps_per_epoch = len(self._epoch(0))
        self.total_steps = run.total_steps(self.steps_per_epoch)
        self.cursor = run.plan.start(self.total_steps, steps_per_epoch=self.steps_per_epoch)
        self.best = checkpoints.BestStates(run.folder, run.optim.top_k)
        self.autocast = nullcontext if run.env.precision == "fp32" else self.accelerator.autocast
        self.savings = make_savings(run, self.autocast)
        self.scorer = (run.scorer or Scorer)(run, self.device, self.autocast, self.savings.cache)
        self.ema = None if run.optim.ema is None else Ema(self.model, run.optim.ema)
        scaler = self.accelerator.scaler
        self.stepper = Stepper(run, self.device, self.autocast, scaler, self.savings.cache, self.total_steps)
        begin = run.deadline.elapsed
        rates = Rates(run.plan.labels, self.total_steps)
        self.record = Recorder(lambda: run.deadline.elapsed - begin, self.steps_per_epoch, run.say, run.loggers, rates)
        self.cadence = snapshot.Cadence(run.env.checkpoint_every if run.store else 0)
        self.start = "the untrained head"  # what step 0 is
        self.lr = 0.0  # the base rate of the step before, whatever single layers have
        self.trainable: list[torch.nn.Parameter] = []
        self.saves = False  # whether the savings were fitted to a moment yet
        self.losses: list[float] = []
        self.worse = 0
        self.bad_steps = 0

    def fit(self) -> History:
        """Probe, train, choose the best state, and leave the model in it, in eval mode.

        Returns:
            The history.

        Raises:
            NonFiniteError: The loss or the gradient norm stayed infinite or NaN.
            ResumeError: The checkpoint to resume is further than this run goes.
        """
        with torch.random.fork_rng(devices=[self.device.index or 0] if self.device.type == "cuda" else []):
            torch.manual_seed(self.run.seed)
            with self.savings.installed():
                try:
                    self.begin()
                    self.train()
                except KeyboardInterrupt:
                    self.record.note("stopped by Ctrl-C; the best state so far is kept")
                self.finish()
        return self.record.history()

    # the moments

    def begin(self) -> None:
        """Go on where a checkpoint was taken, or start with the notes and the probe."""
        checkpoint = self.run.resume
        if checkpoint is not None:
            snapshot.put_back(self, checkpoint)
        for note in self.run.notes if checkpoint is None else self.run.changes:
            self.record.note(note, quiet=True)
        if checkpoint is None:
            self.save_work()
            self.probe()
            self.save(None)

    def probe(self) -> None:
        """Fit the probe, fold it into the head, and score step 0. A detector has none."""
        if isinstance(self.model, FusionModel):
            self.validate(0, self._probed(self.model) or "the head starts at random")
        else:
            self.validate(0, "as built, before any step")

    def _probed(self, model: FusionModel) -> str:
        """Fold a probe into the head, where one is wanted and can be, and say what it is."""
        run, columns = self.run, model.probe_columns().numpy()
        if run.optim.head_init != "probe" or not columns.any() or "head.weight" in self.frozen:
            return ""
        note = probe.fold_in(run, model, *self.scorer.features(share=PROBE_SHARE))
        if note:
            self.start = "the probe"
            self.follow()
        return note

    def train(self) -> None:
        """Take all steps, validating on the way, until the end, early stopping, or the time limit."""
        optimizer = self.make_optimizer()
        if self.run.resume is not None:
            snapshot.put_back_optimizer(self, optimizer, self.run.resume)
        set_rates = LRSetter(optimizer, self.run.plan)
        marks = self.run.validation_steps(self.steps_per_epoch)
        first = self.cursor.step + 1
        batches = self._training_batches(first - 1)
        bar = self.run.show(range(first, self.total_steps + 1), self.total_steps - first + 1, "training")
        self.applied.train()
        for step in bar:
            if self._must_stop(step):
                break
            self.advance(step, batches, optimizer, set_rates)
            if step % SHOW_EVERY == 1 or step == self.total_steps:
                self._show(bar, step, optimizer)
            if step in marks:
                self._validate_if_due(step)
                self.applied.train()
            self.save(optimizer)
        if hasattr(bar, "close"):
            bar.close()

    def advance(self, step: int, batches: Iterator[list[Batch]], optimizer: Any, set_rates: LRSetter) -> None:
        """Take one step as the plan has it, and move the cursor on."""
        self.enter(optimizer)
        set_rates(self.cursor)
        self.lr = self.run.plan.lr * set_rates.factor
        self.step(step, batches, optimizer)
        begins = self.run.plan.timeline.stretch(self.cursor).start == self.cursor.step
        if begins or step % self.record.rates.every == 0:
            self.record.rates.take(step, rates_of(optimizer))
        self.cursor = self.run.plan.next(self.cursor)

    def enter(self, optimizer: Any) -> None:
        """Freeze and thaw for the step to be taken, and do what the plan asks for where a phase begins."""
        entry = self.run.plan.entry_actions(self.cursor)
        best = self.best.best if entry is not None and entry.restore_best else None
        if best is not None:
            checkpoints.restore(self.model, self.best.load(best))
            self.follow()
        if entry is not None:
            forget(optimizer, entry.reset)
        if self.applied.at(self.cursor) or best is not None or not self.saves:
            self.save_work(fresh=best is not None)

    def save_work(self, *, fresh: bool = False) -> None:
        """Fit caches and checkpointed layers to what trains now, and note what they are.

        Args:
            fresh: Whether weights were replaced since.
        """
        self.saves = True
        # the average of a layer that rests for a while is not the layer, so that only what always rests is kept
        trains = self.run.plan.timeline.trains(self.cursor) if self.ema is None else self.run.plan.timeline.ever
        uses = passes(self.run.plan, self.cursor, probed=self.run.optim.head_init == "probe")
        for line in news(self.savings.update(trains, uses, fresh=fresh), self.record.rows):
            self.record.note(line)

    def save(self, optimizer: Any) -> None:
        """Write a checkpoint, where one is due."""
        if self.cadence.due(self.cursor.step):
            begin = self.record.clock()
            snapshot.write(self, optimizer)
            self.cadence.wrote(self.record.clock() - begin)

    def step(self, step: int, batches: Iterator[list[Batch]], optimizer: Any) -> None:
        """Take one optimizer step over the micro-batches of an effective batch."""
        parts = next(batches)  # before the seed: making a batch may draw random numbers, here or in a worker
        self.stepper.seed(step)
        loss = self.stepper.gradients(parts, (step - 1) // self.steps_per_epoch)
        norm = self.stepper.clip(optimizer, self.trainable)
        if math.isfinite(loss) and math.isfinite(norm):
            self.stepper.update(optimizer)
            if self.ema is not None:
                self.ema.update()
            self.losses.append(loss)
            self.bad_steps = 0
        else:
            self._skip(step, loss, norm, optimizer)
        optimizer.zero_grad(set_to_none=True)

    def validate(self, step: int, note: str = "") -> float:
        """Score the validation rows, keep the state if it is among the best, and write a line of history.

        Returns:
            The score; more is better.
        """
        with self.averaged():
            return self._validated(step, note)

    def _validated(self, step: int, note: str) -> float:
        score, values = self.scorer.score()
        train_loss = float(np.mean(self.losses)) if self.losses else math.nan
        self.losses = []
        first = self.best.best is None
        is_best = self.best.offer(step, score, lambda: checkpoints.tuned_state(self.model, self.frozen))
        self.worse = 0 if is_best or first else self.worse + 1
        row = {"train_loss": train_loss, "lr": self.lr, **{f"val_{name}": value for name, value in values.items()}}
        self.record.add(step, {**row, "note": note})
        self.record.log(step, row)
        return score

    def averaged(self) -> AbstractContextManager[Any]:
        """Have the model be its moving average for a while, where there is one."""
        return nullcontext() if self.ema is None else self.ema.swapped()

    def follow(self) -> None:
        """Tell the moving average that weights were replaced."""
        if self.ema is not None:
            self.ema.follow()

    def finish(self) -> None:
        """Choose among the best states, restore it, and say which."""
        self.model.eval()
        self.savings.cache.keep_only(self.run.plan.frozen)  # other layers may now get other weights
        if self.best.best is None:  # interrupted before step 0 was scored
            return

        def evaluate(state: checkpoints.State) -> float:
            checkpoints.restore(self.model, state)
            return self.scorer.score()[0]

        def in_time() -> bool:
            return self.run.deadline.allows(2 * self.scorer.seconds)

        try:
            state, score, said = self.best.choose(self.run.optim.top_k_average, evaluate, in_time)
        except KeyboardInterrupt:
            state, score, said = self.best.choose("best", evaluate, in_time)
        checkpoints.restore(self.model, state)
        if self.best.best.step == 0:
            tuned = any(row["step"] > 0 and not math.isnan(row["train_loss"]) for row in self.record.rows)
            said = f"step 0, {self.start}" + (": tuning validated worse" if tuned else "")
        self.record.add(self.record.step, {"note": f"kept: {said}", **self.scorer.named(score)})

    def make_optimizer(self) -> Any:
        """Make the optimizer over the plan's groups, which never change afterwards."""
        groups = self.run.plan.parameter_groups(self.model)
        self.trainable = [parameter for group in groups for parameter in group["params"]]
        return make_optimizer(self.run.optim.optimizer, groups, self.run.plan.lr, self.device)

    # what the moments are made of

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        train = self.run.train
        return epoch_order(len(train), self.batch_size, seed=self.run.seed, epoch=epoch, lengths=train.lengths)

    def _training_batches(self, start: int) -> Iterator[list[Batch]]:
        """Yield the micro-batches of every step of the run from a step on (0-based)."""
        steps, pin = self._micro_batches(start), self.device.type == "cuda"
        return load_steps(self.run.train, steps, num_workers=self.run.env.num_workers, pin_memory=pin)

    def _micro_batches(self, start: int) -> Iterator[list[Wanted]]:
        """Yield which rows the micro-batches of every step hold, from a step on."""
        order: list[np.ndarray] = []
        lengths, tokens = self.run.train.lengths, self.run.env.micro_batch_tokens
        for step in range(start, self.total_steps):
            epoch, place = divmod(step, self.steps_per_epoch)
            if place == 0 or not order:
                order = self._epoch(epoch)
            parts = micro_batches(order[place], most_rows=self.micro, most_tokens=tokens, lengths=lengths)
            yield [Wanted(part, epoch, self.savings.cache.ready("train", part, epoch)) for part in parts]

    def _must_stop(self, step: int) -> bool:
        """Say whether to end before this step: early, or because the time is nearly up."""
        if self.worse >= self.run.optim.patience:
            self.record.note(f"stopped early: no better for {self.worse} validations")
            return True
        if not self.run.deadline.allows(self._closing_seconds()):
            self.record.note(f"stopped by the time limit at step {step - 1} of {self.total_steps}")
            self._validate_if_due(step - 1)
            return True
        return False

    def _validate_if_due(self, step: int) -> None:
        """Validate, unless nothing was learnt since, or the time is up and there is a state to fall back on."""
        if self.losses and (self.best.best is None or self.run.deadline.allows(self.scorer.seconds)):
            self.cursor = self.run.plan.observe(self.cursor, self.validate(step))

    def _closing_seconds(self) -> float:
        """What the end of training takes: a validation, and one more where a soup is tried."""
        soups = 0 if self.run.optim.top_k_average == "best" else 1
        return 1.3 * self.scorer.seconds * (1 + soups)

    def _skip(self, step: int, loss: float, norm: float, optimizer: Any) -> None:
        """Skip a step that is not finite; fp16's scaler expects some, a run of them is an error."""
        if self.run.env.precision == "fp16":
            self.stepper.update(optimizer)  # the scaler skips it and lowers its scale
        self.bad_steps += 1
        if self.bad_steps == 1 and self.run.env.precision != "fp16":
            self.record.note(f"step {step} skipped: loss {loss}, gradient norm {norm}")
        if self.bad_steps >= PATIENCE_NON_FINITE:
            raise NonFiniteError(
                f"The loss ({loss}) or the gradient norm ({norm}) was not finite for {self.bad_steps} steps in "
                f"a row, up "
                f"to step {step}. Lower optim.lr, raise optim.warmup, or set env.precision=fp32; check numeric columns "
                "for extreme values."
            )

    def _show(self, bar: Any, step: int, optimizer: Any) -> None:
        if self.losses and hasattr(bar, "set_postfix"):
            bar.set_postfix(loss=f"{np.mean(self.losses[-20:]):.4f}", refresh=False)
        if self.run.loggers and self.losses:
            rates = dict.fromkeys(self.run.layer_map.labels, 0.0) | rates_of(optimizer)
            self.record.log(step, {"loss": self.losses[-1], **{f"lr/{label}": rate for label, rate in rates.items()}})
