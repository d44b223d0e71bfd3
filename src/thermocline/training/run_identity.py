"""Whether a run is the one that a checkpoint is of: the facts of both, and what differs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from thermocline.contracts.problem import Assembly
from thermocline.data.batches import Rows
from thermocline.errors import ResumeError
from thermocline.training.file_facts import FILES, file_facts
from thermocline.tuning.verify import tensors_hash

Facts = dict[str, Any]

LENGTH = ("optim.max_epochs", "optim.max_steps")
"""Options that say when a run ends: more of them continue it."""

HARMLESS = (
    "optim.arms",
    "optim.patience",
    "optim.min_delta",
    "optim.top_k_average",
    "optim.calibrate",
    "optim.refit",
    "data.image_folder",
    "model.trees",
    "model.tfidf",
    "optim.cache_prefix",
    "model.conv_bn",
    "model.checkpointing",
    "env.micro_batch_size",
    "env.micro_batch_tokens",
    "env.eval_batch_size",
    "env.num_workers",
    "env.precision",
    "env.device",
    "env.compile",
    "env.kernels",
    "env.cache_images",
    "env.cache_memory",
    "env.cache_folder",
    "env.checkpoint_every",
    "env.checkpoints_kept",
    "env.loggers",
    "torch",
    "threads",
    "cpu",
)
"""What may change besides: where the work is done, and what is decided at its end."""

ROUNDING = (
    "torch",
    "threads",
    "cpu",
    "env.device",
    "env.precision",
    "env.kernels",
    "env.micro_batch_size",
    "env.micro_batch_tokens",
)
"""Those of them that the rounding of sums depends on: a run that goes on with others has other bits."""

WORDING = ("task: reason",)
"""Facts that are sentences for a person."""

OPTIONS = ("model.", "optim.", "data.", "env.")
"""Where names of options begin. One that only a newer version has stands at its default, and makes no other run."""

PLAN = "plan: "
START = "start_from"
TRAINING_ROWS, VALIDATION_ROWS = "training rows", "validation rows"
SHOWN = 12  # differences in a message


def facts_of(assembly: Assembly, train: Rows, valid: Rows, *, seed: int) -> Facts:
    """Return what makes a run this run, flat and as JSON has it: name → value.

    Args:
        assembly: Options, plan, columns and target.
        train: Training rows, as the model gets them.
        valid: Validation rows.
        seed: The run's seed.
    """
    facts: Facts = dict(assembly.config.items())
    facts |= {f"{PLAN}{name}": value for name, value in _flat(_named(json.loads(assembly.plan.to_json())))}
    facts |= {f"column {column.name!r}": column.kind for column in assembly.columns.columns}
    facts |= {f"task: {name}": value for name, value in _flat(assembly.target.to_dict())}
    facts |= {TRAINING_ROWS: _rows(train), VALIDATION_ROWS: _rows(valid), "seed": int(seed)}
    facts |= {**file_facts(train, "training"), **file_facts(valid, "validation")}
    facts |= {} if assembly.built.started is None else {START: assembly.built.started.fingerprint}
    facts |= machine()
    flat: Facts = json.loads(json.dumps(facts, default=str))
    return flat


def machine() -> Facts:
    """Return what of the machine, and of how torch uses it, the rounding of sums depends on."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def weights_hash(model: nn.Module, names: Iterable[str]) -> str:
    """Return a hash over the bits of a model's parameters and buffers of these names."""
    tensors = model.state_dict()
    return tensors_hash([(name, tensors[name]) for name in sorted(set(names) & tensors.keys())])[:16]


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the facts that differ: name → the value before and the one now; `None` where there is none.

    Sentences do not count, nor do options and facts of files and of the machine that only one of the versions has.
    """
    names = [name for name in [*before, *(name for name in now if name not in before)] if name not in WORDING]
    either = (*OPTIONS, FILES, *ROUNDING)
    names = [name for name in names if not (name.startswith(either) and (name in before) != (name in now))]
    pairs = {name: (before.get(name), now.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if json.dumps(pair[0]) != json.dumps(pair[1])}  # NaN is NaN


def check(
    before: Mapping[str, Any], now: Mapping[str, Any], where: str, *, allowed: Iterable[str], advice: str
) -> list[str]:
    """Check that a run may continue another.

    Args:
        before: The facts of the run that was begun.
        now: The facts of this one.
        where: What holds the former, for the message.
        allowed: Names of facts that may differ.
        advice: What to do besides undoing the change, for the message.

    Returns:
        A line for each that differs and may.

    Raises:
        ResumeError: Others differ; the message lists them.
    """
    differing = changes(before, now)
    allowed = set(allowed)
    lines = {name: f"{name}: {_shown(then)} then, {_shown(value)} now" for name, (then, value) in differing.items()}
    named = {name: line for name, line in lines.items() if name not in allowed}
    # what differs in the plan follows from the options, and in the files from the rows, where these differ
    follows = (PLAN, FILES) if named.keys() & {TRAINING_ROWS, VALIDATION_ROWS} else (PLAN,)
    refused = [line for name, line in named.items() if not name.startswith(follows)] or list(named.values())
    if refused:
        more = f"\n  and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise ResumeError(
            f"{where} is of another run, and resume=True only continues the same one. What changed:\n  "
            + "\n  ".join(refused[:SHOWN])
            + more
            + f"\nUndo this, {advice}."
        )
    return list(lines.values())


def _rows(rows: Rows) -> str:
    return f"{len(rows)} rows {rows.fingerprint()}"


def _named(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan as JSON has it: its decisions alone, layers by label."""
    layers = {one["label"]: {k: one[k] for k in ("lr_scale", "weight_decay", "frozen")} for one in plan["layers"]}
    rules = {"parameter_rules": plan["parameter_rules"]} if "parameter_rules" in plan else {}
    return {key: plan[key] for key in ("lr", "lr_choice")} | {"layers": layers, "phases": plan["phases"], **rules}


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Take nested mappings and lists of mappings apart: `phases.0.until`."""
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        value = {str(i): one for i, one in enumerate(value)}
    if not isinstance(value, dict):
        return [(prefix, value)]
    return [pair for key, one in value.items() for pair in _flat(one, f"{prefix}.{key}" if prefix else str(key))]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return "nothing" if value is None else text if len(text) <= 100 else f"{text[:97]}…"
