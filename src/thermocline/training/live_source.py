"""What the live bytes of a run are counted of: its model, its heaviest batches, its loss."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from thermocline.contracts.learning import Objective
from thermocline.contracts.problem import Assembly
from thermocline.data.batches import Batch, Rows
from thermocline.data.order import epoch_order, micro_batches
from thermocline.efficiency.costs.estimate_plan import StepSetup
from thermocline.efficiency.costs.live_counter import CountedRun, LiveCounter, LiveSource
from thermocline.efficiency.savings import Savings
from thermocline.training.batch_norm import norm_eval_of
from thermocline.training.optimizing import state_bytes


def counted_of(assembly: Assembly, rows: Mapping[str, Rows], savings: Savings, objective: Objective) -> CountedRun:
    """Return what counts the live bytes of a run's steps.

    Args:
        assembly: Model, layers, plan, configuration.
        rows: `train` and `valid`.
        savings: Folded convolutions and checkpointed layers of the run, not installed.
        objective: The loss of training.
    """
    env, optim = assembly.config.env, assembly.config.optim
    assert env.eval_batch_size
    names = {id(module): name for name, module in assembly.model.named_modules()}
    source = LiveSource(
        model=assembly.model,
        layer_map=assembly.layer_map,
        objective=objective,
        train=lambda count: heaviest(rows["train"], count, epoch=0),
        valid=lambda count: heaviest(rows["valid"].unlabelled(), count, epoch=None),
        device=torch.device(env.device),
        norm_eval=norm_eval_of(assembly.model),
        folds={names[id(one.model)]: one.pairs for one in savings.folded.values()},
        averaged=optim.ema is not None,
        state=state_bytes(assembly),
    )
    largest, several = largest_part(assembly, rows["train"])
    lengths, tokens = rows["train"].lengths, env.micro_batch_tokens
    if (
        tokens is not None and lengths is not None
    ):  # so many of the longest rows; of shorter ones more, and as many tokens
        largest = max(1, min(largest, tokens // int(lengths.max())))
    setup = StepSetup(
        rows=largest,
        checkpointed=savings.checkpoints.labels if savings.checkpoints else (),
        folded_norms=tuple(savings.folded_norms),
        precision=env.precision,
        accumulates=several,
    )
    return CountedRun(LiveCounter(source), setup, min(env.eval_batch_size, max(len(rows["valid"]), 1)))


def heaviest(rows: Rows, count: int, *, epoch: int | None) -> Batch:
    """Return the batch of so many rows that takes the most memory: the longest, where rows have lengths.

    Args:
        rows: To choose from; they are repeated where there are fewer.
        count: Rows.
        epoch: Of training; None for rows without augmentation.
    """
    lengths = rows.lengths
    order = np.arange(len(rows)) if lengths is None else np.argsort(-lengths, kind="stable")
    return rows.batch(np.resize(order, count), epoch)


def largest_part(assembly: Assembly, train: Rows) -> tuple[int, bool]:
    """Return the most rows that go through the model at once in an epoch, and whether a step has several batches."""
    env = assembly.config.env
    assert env.batch_size
    assert env.micro_batch_size
    lengths = train.lengths
    largest, several = 1, False
    for batch in epoch_order(len(train), env.batch_size, seed=0, epoch=0, lengths=None):
        parts = micro_batches(
            batch, most_rows=env.micro_batch_size, most_tokens=env.micro_batch_tokens, lengths=lengths
        )
        largest = max(largest, *(len(part) for part in parts))
        several |= len(parts) > 1
    return largest, several
