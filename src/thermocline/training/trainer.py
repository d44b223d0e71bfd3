"""The training loop: carries out a plan, validates, keeps the best, and stops when told."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from thermocline import metrics
from thermocline.data.batches import Batch, Rows, epoch_order, load
from thermocline.errors import NonFiniteError
from thermocline.training import checkpoints, inference, probe
from thermocline.training.callbacks import Logger
from thermocline.training.deadline import Deadline
from thermocline.training.device import make_accelerator, to_device
from thermocline.training.history import History
from thermocline.training.losses import row_losses
from thermocline.tuning.apply import AppliedPlan, LRSetter, frozen_modules
from thermocline.tuning.layers import LayerMap
from thermocline.tuning.phases import Cursor
from thermocline.tuning.plan import LayerPlan

if TYPE_CHECKING:
    from thermocline.config.schema import EnvConfig, OptimConfig
    from thermocline.models.fusion import FusionModel
    from thermocline.tasks import Task

PATIENCE_NON_FINITE = 10  # steps in a row
PROBE_SHARE = 0.4  # of the time left that a probe may take


@dataclass
class Run:
    """Everything a training run is given.

    Attributes:
        model: The model, on any device.
        layer_map: Its layers.
        plan: What they do.
        task: Labels, loss and metric.
        train: Training rows.
        valid: Validation rows.
        optim: The `optim` section of the configuration, nothing left to choose.
        env: The `env` section, likewise.
        folder: Where the best states lie meanwhile.
        seed: Data order, dropout and augmentation are functions of it and the step.
        norm_eval: Names of modules whose BatchNorm keeps its statistics though it trains.
        deadline: What is left of the time limit.
        loggers: Where numbers go.
        show: Wraps an iterable in a progress bar: `show(iterable, total, title)`.
        say: Tells the user a line.
        notes: What happened before training; it opens the history.
    """

    model: FusionModel
    layer_map: LayerMap
    plan: LayerPlan
    task: Task
    train: Rows
    valid: Rows
    optim: OptimConfig
    env: EnvConfig
    folder: Path
    seed: int = 0
    norm_eval: Sequence[str] = ()
    deadline: Deadline = field(default_factory=lambda: Deadline(None))
    loggers: Sequence[Logger] = ()
    show: Callable[[Any, int, str], Any] = lambda items, _total, _title: items
    say: Callable[[str], None] = lambda _line: None
    notes: Sequence[str] = ()


class Trainer:
    """Trains one run. The methods are named after the moments of training.

    Args:
        run: What to train.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        env = run.env
        assert env.batch_size
        assert env.micro_batch_size
        assert env.eval_batch_size
        self.batch_size, self.eval_batch_size = env.batch_size, env.eval_batch_size
        self.micro = min(env.micro_batch_size, env.batch_size)
        self.accelerator = make_accelerator(env.device, env.precision)
        self.device: torch.device = self.accelerator.device
        self.model = run.model.to(self.device)
        self.applied = AppliedPlan(self.model, run.layer_map, run.plan, batch_norm_eval=run.norm_eval)
        self.steps_per_epoch = len(self._epoch(0))
        self.total_steps = self._total_steps()
        self.best = checkpoints.BestStates(run.folder, run.optim.top_k)
        self.frozen = self._frozen_names()
        self.metric = run.task.eval_metric
        self.rows: list[dict[str, Any]] = []
        self.started = run.deadline.elapsed
        self.validation_seconds = 0.0
        self.worse = 0
        self.bad_steps = 0
        self.losses: list[float] = []
        self.trainable: list[torch.nn.Parameter] = []

    def fit(self) -> History:
        """Probe, train, choose the best state, and leave the model in it, in eval mode.

        Returns:
            The history.

        Raises:
            NonFiniteError: The loss or the gradient norm stayed infinite or NaN.
        """
        with torch.random.fork_rng(devices=self._cuda_devices()):
            torch.manual_seed(self.run.seed)
            for note in self.run.notes:
                self._record(0, {"note": note}, quiet=True)
            try:
                self.probe()
                self.train()
            except KeyboardInterrupt:
                self._note("stopped by Ctrl-C; the best state so far is kept")
            self.finish()
        return History(self.rows)

    # the moments

    def probe(self) -> None:
        """Fit the probe, fold it into the head, and score step 0."""
        run, fixed = self.run, None
        columns = self.model.probe_columns()
        note = "head starts at random"
        if run.optim.head_init == "probe" and bool(columns.any()) and not self._head_is_frozen():
            features, reached = self._infer(run.train, self.model.features, "probe", share=PROBE_SHARE)
            rows = np.flatnonzero(reached)
            if self._enough(rows):
                fixed = self._fixed_columns()[columns.numpy()]
                found = probe.fit_probe(
                    features[rows][:, columns.numpy()],
                    self._target(run.train)[rows],
                    run.task,
                    weight=None if run.train.weight is None else run.train.weight[rows],
                    fixed=fixed,
                    seed=run.seed,
                )
                probe.fold(found, self.model)
                part = "" if len(rows) == len(run.train) else f" on {len(rows)} of {len(run.train)} rows (time limit)"
                note = f"probe: {found.note}{part}"
            else:
                self._note("no time for the probe; the head starts at random")
        self.validate(0, 0.0, note)

    def train(self) -> None:
        """Take all steps, validating on the way, until the end, early stopping, or the time limit."""
        optimizer = self.make_optimizer()
        set_rates = LRSetter(optimizer, self.run.plan)
        marks = self._validation_steps()
        self.applied.train()
        bar = self.run.show(range(1, self.total_steps + 1), self.total_steps, "training")
        batches = self._training_batches()
        for step in bar:
            cursor = self.run.plan.cursor(step - 1, self.total_steps)
            set_rates(cursor)
            self.step(step, batches, optimizer)
            if step % 10 == 1 or step == self.total_steps:
                self._show_loss(bar, step, cursor)
            out_of_time = not self.run.deadline.allows(self._closing_seconds())
            if step in marks or out_of_time:
                if not out_of_time or self.run.deadline.allows(self.validation_seconds) or self.best.best is None:
                    self.validate(step, self.run.plan.lr * self.run.plan.factor_at(cursor), "")
                self.applied.train()
            if out_of_time:
                self._note(f"stopped by the time limit at step {step} of {self.total_steps}")
                break
            if self.worse >= self.run.optim.patience:
                self._note(f"stopped early: no better for {self.worse} validations")
                break
        if hasattr(bar, "close"):
            bar.close()

    def step(self, step: int, batches: Iterator[list[Batch]], optimizer: Any) -> None:
        """Take one optimizer step over the micro-batches of an effective batch."""
        parts = next(batches)  # before the seed: making a batch may draw random numbers, or happen elsewhere
        torch.manual_seed(self._step_seed(step))
        weights = [self._weights(part) for part in parts]
        total = float(sum(float(weight.sum()) for weight in weights))
        loss_sum = 0.0
        for part, weight in zip(parts, weights, strict=True):
            batch = to_device(part, self.device)
            with self.accelerator.autocast():
                outputs = self.model(batch)
            losses = row_losses(
                self.run.task.loss_name, outputs, batch["target"], smoothing=self.run.optim.label_smoothing
            )
            loss = (losses * weight.to(self.device)).sum() / total
            self.accelerator.backward(loss)
            loss_sum += float(loss.detach())
        norm = self._clip()
        if math.isfinite(loss_sum) and math.isfinite(norm):
            optimizer.step()
            self.losses.append(loss_sum)
            self.bad_steps = 0
        else:
            self._non_finite(step, loss_sum, norm, optimizer)
        optimizer.zero_grad(set_to_none=True)

    def validate(self, step: int, lr: float, note: str) -> None:
        """Score the validation rows, keep the state if it is among the best, and write a line of history."""
        begin = self.run.deadline.elapsed
        score, values = self._score()
        self.validation_seconds = self.run.deadline.elapsed - begin
        train_loss = float(np.mean(self.losses)) if self.losses else float("nan")
        self.losses = []
        before = self.best.best
        new_best = self.best.offer(step, score, lambda: checkpoints.tuned_state(self.model, self.frozen))
        self.worse = 0 if new_best or before is None else self.worse + 1
        logged = {"train_loss": train_loss, "lr": lr, **{f"val_{k}": v for k, v in values.items()}}
        self._record(step, {**logged, "note": note})
        self._log(step, {k: v for k, v in logged.items() if math.isfinite(v)})

    def finish(self) -> None:
        """Choose among the best states, restore it, and say which."""
        optim = self.run.optim
        if self.best.best is None:  # interrupted before step 0 was scored
            self.model.eval()
            return

        def evaluate(state: checkpoints.State) -> float:
            checkpoints.restore(self.model, state)
            return self._score()[0]

        def may_go_on() -> bool:
            return self.run.deadline.allows(2 * self.validation_seconds)

        floor = self.best.best.step == 0
        state, score, said = self.best.choose(optim.top_k_average, evaluate, may_go_on)
        checkpoints.restore(self.model, state)
        if floor and len([r for r in self.rows if r["step"] > 0 and r.get("train_loss") == r.get("train_loss")]):
            said = "step 0 (the probe): tuning validated worse, so the probe is kept"
        self._record(
            self.rows[-1]["step"],
            {
                "note": f"kept: {said}",
                f"val_{self.metric}": score if metrics.get_metric(self.metric).greater_is_better else -score,
            },
        )
        self.model.eval()

    def make_optimizer(self) -> Any:
        """AdamW (Loshchilov and Hutter 2019) over the plan's groups; fused where the device has it."""
        groups = self.run.plan.parameter_groups(self.model, self.run.layer_map)
        self.trainable = [p for group in groups for p in group["params"]]
        optimizer = torch.optim.AdamW(groups, lr=self.run.plan.lr, fused=self.device.type in ("cuda", "cpu"))
        return self.accelerator.prepare(optimizer)

    # what the moments are made of

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        train = self.run.train
        return epoch_order(len(train), self.batch_size, seed=self.run.seed, epoch=epoch, lengths=train.lengths)

    def _total_steps(self) -> int:
        steps = self.steps_per_epoch * self.run.optim.max_epochs
        return steps if self.run.optim.max_steps is None else min(steps, self.run.optim.max_steps)

    def _training_batches(self) -> Iterator[list[Batch]]:
        """Yield the micro-batches of every step of the run."""
        plan: list[tuple[np.ndarray, int | None]] = []
        sizes: list[int] = []
        for step in range(self.total_steps):
            epoch, place = divmod(step, self.steps_per_epoch)
            if place == 0:
                order = self._epoch(epoch)
            pieces = [order[place][i : i + self.micro] for i in range(0, len(order[place]), self.micro)]
            plan += [(piece, epoch) for piece in pieces]
            sizes.append(len(pieces))
        stream = load(self.run.train, plan, num_workers=self.run.env.num_workers)
        for size in sizes:
            yield [next(stream) for _ in range(size)]

    def _validation_steps(self) -> frozenset[int]:
        every = max(1, round(self.run.optim.val_check_interval * self.steps_per_epoch))
        return frozenset({*range(every, self.total_steps + 1, every), self.total_steps})

    def _score(self) -> tuple[float, dict[str, float]]:
        outputs, _ = self._infer(self.run.valid, None, "validation")
        values = metrics.score(self.run.task, self.metric, self._target(self.run.valid), outputs, self.run.valid.weight)
        if math.isfinite(values[self.metric]):
            return metrics.signed(self.metric, values[self.metric]), values
        loss = self._validation_loss(outputs)  # the metric is not defined on these rows: the loss decides
        return -loss, {**values, "loss": loss}

    def _validation_loss(self, outputs: np.ndarray) -> float:
        target = torch.from_numpy(self._target(self.run.valid))
        return float(row_losses(self.run.task.loss_name, torch.from_numpy(outputs), target).mean())

    def _infer(
        self, rows: Rows, what: Callable[[Any], torch.Tensor] | None, title: str, *, share: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        until = float("inf") if share is None else self.run.deadline.elapsed + share * self.run.deadline.left
        return inference.run(
            self.model,
            rows,
            batch_size=self.eval_batch_size,
            device=self.device,
            what=what,
            autocast=self.accelerator.autocast,
            num_workers=self.run.env.num_workers,
            go_on=lambda: self.run.deadline.elapsed < until,
            progress=lambda batches, total: self.run.show(batches, total, title),
        )

    def _clip(self) -> float:
        if self.run.optim.gradient_clip is None:
            return 0.0
        norm = self.accelerator.clip_grad_norm_(self.trainable, self.run.optim.gradient_clip)
        return float(norm) if norm is not None else 0.0

    def _non_finite(self, step: int, loss: float, norm: float, optimizer: Any) -> None:
        """Skip the step; fp16's scaler expects some, a run of them is an error."""
        if self.run.env.precision == "fp16":
            optimizer.step()  # the scaler skips it and lowers its scale
        self.bad_steps += 1
        if self.bad_steps == 1 and self.run.env.precision != "fp16":
            self._note(f"step {step} skipped: loss {loss}, gradient norm {norm}")
        if self.bad_steps >= PATIENCE_NON_FINITE:
            raise NonFiniteError(
                f"The loss ({loss}) or the gradient norm ({norm}) was not finite for {self.bad_steps} steps in "
                f"a row, up to step {step}. "
                "Lower optim.lr, raise optim.warmup, or use env.precision=fp32; check numeric columns for "
                "extreme values."
            )

    def _weights(self, batch: Batch) -> torch.Tensor:
        weight = batch.get("weight")
        return torch.ones(len(batch["rows"])) if weight is None else weight

    def _target(self, rows: Rows) -> np.ndarray:
        assert rows.target is not None
        return rows.target

    def _enough(self, rows: np.ndarray) -> bool:
        target = self._target(self.run.train)[rows]
        return len(rows) >= 2 and bool((target != target[0]).any())

    def _fixed_columns(self) -> np.ndarray:
        parts = []
        for name, tower in self.model.towers.items():
            flags = np.zeros(self.model.widths[name], dtype=bool)
            flags[: int(getattr(tower, "fixed", 0))] = True
            parts.append(flags)
        return np.concatenate(parts)

    def _frozen_names(self) -> frozenset[str]:
        """Names of parameters and buffers that the plan never touches."""
        labels = self.run.plan.frozen
        names = {name for label in labels for name in self.run.layer_map[label].parameters}
        modules = dict(self.model.named_modules())
        for module in frozen_modules(self.model, self.run.layer_map, labels):
            names |= {f"{module}.{key}" for key, _ in modules[module].named_buffers(recurse=False)}
        return frozenset(names)

    def _head_is_frozen(self) -> bool:
        return "head.weight" in self.frozen

    def _closing_seconds(self) -> float:
        """What the end of training takes: a validation, and one for each ingredient of a soup."""
        soups = 0 if self.run.optim.top_k_average == "best" else 1
        return 1.3 * self.validation_seconds * (1 + soups) + 0.05

    def _step_seed(self, step: int) -> int:
        return int(np.random.SeedSequence([self.run.seed, step, 0xD0]).generate_state(1, np.uint64)[0] >> 1)

    def _cuda_devices(self) -> list[int]:
        return [self.device.index or 0] if self.device.type == "cuda" else []

    def _show_loss(self, bar: Any, step: int, cursor: Cursor) -> None:
        if self.losses and hasattr(bar, "set_postfix"):
            bar.set_postfix(loss=f"{np.mean(self.losses[-20:]):.4f}", refresh=False)
        if self.run.loggers and self.losses:
            rates = {
                f"lr/{layer.label}": self.run.plan.lr_at(layer.label, cursor) for layer in self.run.layer_map.layers
            }
            self._log(step, {"loss": self.losses[-1], **rates})

    def _record(self, step: int, values: dict[str, Any], *, quiet: bool = False) -> None:
        row = {"epoch": step / self.steps_per_epoch, "step": step, "train_loss": float("nan"), "lr": float("nan")}
        self.rows.append({**row, **values, "seconds": round(self.run.deadline.elapsed - self.started, 3)})
        if not quiet:
            self.run.say(_line(self.rows[-1]))

    def _note(self, text: str) -> None:
        step = self.rows[-1]["step"] if self.rows else 0
        self._record(step, {"note": text})

    def _log(self, step: int, values: dict[str, float]) -> None:
        for logger in self.run.loggers:
            logger.log(step, values)


def _line(row: dict[str, Any]) -> str:
    """One line of text for a row of history."""
    scores = "  ".join(f"{k}={v:.4f}" for k, v in row.items() if k.startswith("val_"))
    loss = f"train_loss={row['train_loss']:.4f}  " if row["train_loss"] == row["train_loss"] else ""
    note = f"  {row['note']}" if row.get("note") else ""
    return f"epoch {row['epoch']:.2f}  step {row['step']}  {loss}{scores}{note}  ({row['seconds']:.0f} s)"
