"""The training loop: carries out a plan, validates, keeps the best states, and stops early or in time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

import numpy as np
import torch

from thermocline.contracts.closing import Settled
from thermocline.data.batches import Batch
from thermocline.data.loading import Wanted, load_steps
from thermocline.data.order import epoch_order, micro_batches
from thermocline.efficiency.costs.forecast import passes
from thermocline.errors import counted
from thermocline.optimizers.state import rates_of, reset_state
from thermocline.training import best_states, checkpoint_content
from thermocline.training.batch_norm import norm_eval_of, single_values_allowed
from thermocline.training.calling import Calling
from thermocline.training.closing import close
from thermocline.training.device import Precision, kernels
from thermocline.training.ema import Ema
from thermocline.training.history import History
from thermocline.training.optimizing import choice_of
from thermocline.training.out_of_memory import gradients_that_fit
from thermocline.training.pacing import Pacing, Reserve
from thermocline.training.rates import Rates
from thermocline.training.recorder import Recorder
from thermocline.training.run import Run
from thermocline.training.run_length import RunLength
from thermocline.training.run_savings import aligned_rows, changed_notes, savings_of
from thermocline.training.scoring import Scorer
from thermocline.training.stages import END, TRAINING
from thermocline.training.step_results import StepResults
from thermocline.training.stepping import Stepper, check_micro_batches, decides_on_device, loss_of
from thermocline.tuning.apply import AppliedPlan, LRSetter
from thermocline.tuning.random_numbers import RandomNumbers

SHOW_EVERY = 10  # steps


class Trainer:
    """Trains one run. The methods are in the order of training.

    All that a step depends on is the model, the optimizer, the cursor, and what `checkpoint_content` lists; so a run
    resumes from a checkpoint as if it had never stopped.

    Args:
        run: What to train.
    """

    def __init__(self, run: Run) -> None:
        run = run.with_rows(aligned_rows(run.train, run.layer_map, run.plan))
        env, optim = run.env, run.optim
        assert env.batch_size
        assert env.micro_batch_size
        self.run = run
        self.learning = run.assembly.problem.learning(run.assembly, run.train, seed=run.seed)
        self.batch_size, self.micro = env.batch_size, env.micro_batch_size
        check_micro_batches(run, whole_batch=self.learning.objective.whole_batch)
        self.precision = Precision.of(env.device, env.precision)
        self.device = self.precision.device
        self.model = run.model.to(self.device)
        self.numbers = RandomNumbers(run.seed, devices=[self.device.index or 0] if self.device.type == "cuda" else [])
        self.applied = AppliedPlan(self.model, run.layer_map, run.plan, batch_norm_eval=norm_eval_of(self.model))
        self.frozen = best_states.frozen_tensor_names(self.model, run.layer_map, run.plan.frozen)
        self.frozen_hash: str | None = None  # of what is frozen throughout, once a checkpoint needs it
        self.length = RunLength.of(run.assembly.config, len(run.train))
        self.steps_per_epoch, self.total_steps = self.length.steps_per_epoch, self.length.total_steps
        self.cursor = run.plan.start(self.total_steps, steps_per_epoch=self.steps_per_epoch)
        judge = self.learning.judge
        of_valid = None if judge is None else lambda outputs: judge(outputs, run.valid)
        self.best = best_states.BestStates(run.storage.best_states, optim.top_k, of_valid)
        self.savings = savings_of(run, self.precision.autocast)
        self.scorer = Scorer(run, self.learning, self.precision.autocast, self.savings.cache)
        self.ema = None if optim.ema is None else Ema(self.model, optim.ema)
        self.pacing = Pacing.of(run, self.length, self.savings)
        self.stepper = Stepper(run, self.learning, self.precision, self.savings.cache, self.total_steps)
        self.record = self._recorder()
        self.results = StepResults(self.record.note, self.ema, fp16=env.precision == "fp16")
        self.record.before = self.results.read  # what is said of earlier steps is said first
        self.reads_late = self.device.type == "cuda"  # whether losses stay on the device; on the CPU reading is free
        self.calling = Calling(run.callbacks)
        self.cadence = checkpoint_content.Cadence(env.checkpoint_every if run.storage.store else 0)
        self.start = self.learning.untrained  # what step 0 is
        self.lr, self.worse = 0.0, 0  # the base rate of the step before; validations that were no better, in a row
        self.trainable: list[torch.nn.Parameter] = []
        self.efficiency_set = False  # whether caches and checkpointed layers were set for a phase yet
        self.to_beat = -math.inf  # the score that the next one is compared with for patience
        self.interrupted = False  # by Ctrl-C
        self.settled = Settled(run.assembly.target)  # by the end of the fit

    def fit(self) -> History:
        """Compute the start of the head, train, choose the best state, and leave the model in it, in eval mode.

        Returns:
            The history.

        Raises:
            NonFiniteError: The loss or the gradient norm stayed infinite or NaN.
            ResumeError: The checkpoint to resume is further than this run goes.
        """
        one_value = single_values_allowed(self.run.assembly, self.record)
        fast, workers = kernels(self.run.env.kernels, self.device), closing(self.scorer.workers)
        with self.scorer.stages.of(TRAINING), self.numbers, fast, workers, self.savings.installed(), one_value:
            try:
                self.begin()
                if not self.run.states:
                    self.train()
            except KeyboardInterrupt:
                self.interrupted = True
                self.record.note("stopped by Ctrl-C; the best state so far is kept")
            self.calling.parts_end(self, training=True)
            self.savings.cache.keep_only(self.run.plan.frozen)  # other layers may now have other weights
            with self.scorer.stages.of(END):
                self.settled = close(self)
            self.calling.fit_ends(self)
        return self.record.history()

    # in the order of training

    def begin(self) -> None:
        """Resume where a checkpoint was taken, or start with the notes and the start of the head."""
        checkpoint = self.run.resume
        if checkpoint is not None:
            checkpoint_content.restore(self, checkpoint)
        self.calling.fit_begins(self)
        for note in self.run.notes if checkpoint is None else self.run.changes:
            self.record.note(note, quiet=True)
        if checkpoint is None:
            self.update_efficiency()
            if self.run.states:
                self.take_average()
            else:
                self.start_head()
                self.save_checkpoint(None)

    def take_average(self) -> None:
        """Give the model the average of what other runs trained, and score it as the last step."""
        best_states.restore(self.model, best_states.average_over(self.model, self.run.states))
        self.reset_average()
        self.validate(self.total_steps, f"average of {counted(len(self.run.states), 'fit')}")

    def start_head(self) -> None:
        """Compute the start of the head, where there is one, and score step 0."""
        start, note = self.learning.start, ""
        if start is not None:
            note = self.scorer.apply(start)
        if note and start is not None:
            self.start = start.name
            self.reset_average()
        self.validate(0, note or self.learning.start_note + self.scorer.not_started)

    def train(self) -> None:
        """Take all steps, validating on the way, until the end, early stopping, or the time limit."""
        optimizer = self.make_optimizer()
        if self.run.resume is not None:
            checkpoint_content.restore_optimizer(self, optimizer, self.run.resume)
        set_rates = LRSetter(optimizer, self.run.plan)
        first = self.cursor.step + 1
        batches = self._training_batches(first - 1)
        bar = self.run.reporting.show(self._steps(), self.cursor.total_steps - first + 1, "training")
        self.applied.train()
        for step in bar:
            if self._must_stop(step):
                break
            self.numbers.let_others()
            self.take_step(step, batches, optimizer, set_rates)
            self._pace(bar)
            last = self.cursor.total_steps
            if step % SHOW_EVERY == 1 or step == last:
                self.record.show(bar, self.results)
            if self.length.validates(step, last, self.run.optim.val_check_interval):
                self._validate_if_due(step)
                self.applied.train()
            self.calling.parts_end(self)
            self.save_checkpoint(optimizer)
        self.results.read()
        if hasattr(bar, "close"):
            bar.close()

    def take_step(self, step: int, batches: Iterator[list[Batch]], optimizer: Any, set_rates: LRSetter) -> None:
        """Take one step as the plan has it, and advance the cursor."""
        self.apply_phase(optimizer)
        set_rates(self.cursor)
        self.lr = self.run.plan.lr * set_rates.factor
        self.calling.step_begins(self)
        begin = self.run.time_limit.elapsed
        self.step(step, batches, optimizer)
        self.pacing.took(self.cursor.phase, self.run.time_limit.elapsed - begin)
        taken = self.cursor
        if self.run.plan.timeline.stretch(taken).start == taken.step or step % self.record.rates.every == 0:
            self.record.take(step, self.results, rates_of(optimizer), self.applied.frozen)
        self.cursor = self.run.plan.next(taken)
        self.calling.step_ends(self, taken)

    def apply_phase(self, optimizer: Any) -> None:
        """Freeze and unfreeze for the step to be taken, and do what the plan asks for where a phase begins."""
        entry = self.run.plan.entry_actions(self.cursor)
        best = self.best.best if entry is not None and entry.restore_best else None
        if best is not None:
            best_states.restore(self.model, self.best.load(best))
            self.reset_average()
        if entry is not None:
            reset_state(optimizer, entry.reset)
        if self.applied.at(self.cursor) or best is not None or not self.efficiency_set:
            self.update_efficiency(fresh=best is not None)

    def update_efficiency(self, *, fresh: bool = False) -> None:
        """Set caches and checkpointed layers for what is trainable now, and note what they are.

        Args:
            fresh: Whether weights were replaced since.
        """
        self.efficiency_set = True
        # the average of a layer that is frozen for a while is not the layer: only what is always frozen is cached
        trains = self.run.plan.timeline.trains(self.cursor) if self.ema is None else self.run.plan.timeline.ever
        uses = passes(self.run.plan, self.cursor, probed=self.learning.start is not None)
        for line in changed_notes(self.savings.update(trains, uses, fresh=fresh), self.record.rows):
            self.record.detail(line)

    def save_checkpoint(self, optimizer: Any) -> None:
        """Write a checkpoint, where one is due."""
        if self.cadence.due(self.cursor.step):
            self.cadence.write(self, optimizer)

    def step(self, step: int, batches: Iterator[list[Batch]], optimizer: Any) -> None:
        """Take one optimizer step over the micro-batches of an effective batch."""
        parts = next(batches)  # before the seed: making a batch may draw random numbers, here or in a worker
        losses = gradients_that_fit(self, step, parts)
        if self.reads_late and decides_on_device(optimizer):
            self._update_unread(step, losses, optimizer)
        else:
            self._update(step, loss_of(losses), optimizer)
        optimizer.zero_grad(set_to_none=True)

    def _update(self, step: int, loss: float, optimizer: Any) -> None:
        """Clip and move the weights, unless something is not finite."""
        norm = self.stepper.clip(optimizer, self.trainable)
        if math.isfinite(loss) and math.isfinite(norm):
            self.stepper.update(optimizer)
            if self.ema is not None:
                self.ema.update()
        elif self.precision.scaler is not None:
            self.stepper.update(optimizer)  # the scaler skips it and lowers its scale
        self.results.took(step, loss, norm)

    def _update_unread(self, step: int, losses: Sequence[torch.Tensor], optimizer: Any) -> None:
        """Do the same without waiting for the device: it decides, and is asked later."""
        norm = self.stepper.clip_unread(optimizer, self.trainable)
        moved = self.stepper.update_if_finite(optimizer, losses, norm)
        if self.ema is not None:
            self.ema.update(moved)
        self.results.left(step, losses, norm)

    def validate(self, step: int, note: str = "") -> float:
        """Score the validation rows, keep the state if it is among the best, and write a line of history.

        Returns:
            The score; more is better.
        """
        self.results.read()
        self.calling.validation_begins(self)
        with self.average():
            score = self._validated(step, note)
        self.calling.validation_ends(self)
        return score

    def _validated(self, step: int, note: str) -> float:
        score, values = self.scorer.score()
        if self.scorer.cut:
            note = "; ".join(part for part in (note, f"validated on {self.scorer.cut}") if part)
        losses, self.results.losses = self.results.losses, []
        train_loss = float(np.mean(losses)) if losses else math.nan
        first = self.best.best is None
        scored = best_states.Scored(score, self.scorer.outputs)
        is_best = self.best.offer(step, scored, lambda: best_states.tuned_state(self.model, self.frozen))
        better = score > self.to_beat + self.run.optim.min_delta if self.run.optim.min_delta else is_best
        self.worse = 0 if better or first else self.worse + 1
        self.to_beat = max(score, self.to_beat) if not self.worse else self.to_beat
        row = {"train_loss": train_loss, "lr": self.lr, **{f"val_{name}": value for name, value in values.items()}}
        self.record.add(step, {**row, "note": note})
        self.record.log(step, row)
        return score

    def average(self) -> AbstractContextManager[Any]:
        """Return a context in which the model has the weights of its moving average, where there is one."""
        return nullcontext() if self.ema is None else self.ema.swapped()

    def reset_average(self) -> None:
        """Set the moving average to the model: its weights were replaced."""
        if self.ema is not None:
            self.ema.reset_to_model()

    def make_optimizer(self) -> Any:
        """Make the optimizer over the plan's groups, which never change afterwards."""
        optimizer = choice_of(self.run.assembly.config).make(self.run.plan, self.model, self.device)
        self.trainable = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        return optimizer

    # parts of these

    def _recorder(self) -> Recorder:
        run, begin = self.run, self.run.time_limit.elapsed
        rates, reporting = Rates(run.plan.labels, self.total_steps), run.reporting
        sizes = {layer.label: layer.n_parameters for layer in run.plan.layers}
        return Recorder(lambda: run.time_limit.elapsed - begin, self.steps_per_epoch, reporting, rates, sizes)

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        train = self.run.train
        return epoch_order(len(train), self.batch_size, seed=self.run.seed, epoch=epoch, lengths=train.lengths)

    def _steps(self) -> Iterator[int]:
        """Yield the number of each step that is left; a time limit may change how many there are."""
        while self.cursor.step < self.cursor.total_steps:
            yield self.cursor.step + 1

    def _pace(self, bar: Any) -> None:
        """Shorten the run, or lengthen it again, to the steps that fit into the time limit."""
        before = self.cursor
        self.cursor = self.pacing.paced(before, self._reserve)
        if self.cursor == before:
            return
        if self.cursor.total_steps == self.total_steps:
            self.record.note("time_limit: steps got faster, and the whole schedule fits")
        if before.total_steps == self.total_steps:
            self.record.note(
                f"time_limit: the schedule is made for {self.cursor.total_steps:,} of {self.total_steps:,} steps, "
                f"{self.pacing.step_seconds:.2g} s each"
            )
        if hasattr(bar, "total"):
            bar.total = self.cursor.total_steps - (before.step - bar.n)

    def _reserve(self) -> Reserve:
        """Return what the run needs besides its steps."""
        one = self.scorer.seconds
        end = self._closing_seconds() - one
        return Reserve(one, self.run.optim.val_check_interval, end, self.learning.end_share)

    def _training_batches(self, start: int) -> Iterator[list[Batch]]:
        """Yield the micro-batches of every step of the run from a step on (0-based)."""
        steps, pin = self._micro_batches(start), self.device.type == "cuda"
        return load_steps(self.run.train, steps, num_workers=self.run.workers, pin_memory=pin)

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
        if self.calling.stopped:
            self.record.note(self.calling.stopped)
            self._validate_if_due(step - 1)
            return True
        if not self.run.time_limit.allows(self._closing_seconds()):
            self.record.note(f"stopped by the time limit at step {step - 1} of {self.cursor.total_steps}")
            self._validate_if_due(step - 1)
            return True
        return False

    def _validate_if_due(self, step: int) -> None:
        """Validate, unless no step was taken since, or the time is up and there is an earlier state to keep."""
        if self.results.losses and (self.best.best is None or self.run.time_limit.allows(self.scorer.seconds)):
            self.cursor = self.run.plan.observe(self.cursor, self.validate(step))

    def _closing_seconds(self) -> float:
        """What the end of training takes: a validation, and one more where a soup is tried."""
        soups = 0 if self.run.optim.top_k_average == "best" else 1
        return 1.3 * self.scorer.seconds * (1 + soups)
