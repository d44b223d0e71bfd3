"""BatchNorm in train mode: what micro-batches change, and what it does where a channel has a single value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from thermocline.contracts.problem import Assembly
from thermocline.errors import counted, listing
from thermocline.tuning.apply import frozen_modules

if TYPE_CHECKING:
    from thermocline.training.recorder import Recorder

ONE_VALUE = "given a single value per channel, of which there are no statistics: running ones are used there"


def norm_eval_of(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the towers whose BatchNorm layers keep their statistics while they train."""
    towers = model.get_submodule("towers").named_children()
    return tuple(f"towers.{name}" for name, tower in towers if getattr(tower, "norm_eval", False))


def norms_in_train_mode(assembly: Assembly) -> dict[str, _BatchNorm]:
    """Return the BatchNorms that are in train mode in some phase of the plan, by name."""
    frozen = frozenset(frozen_modules(assembly.model, assembly.layer_map, assembly.plan.frozen))
    kept = tuple(f"{tower}." for tower in norm_eval_of(assembly.model))
    norms = {name: one for name, one in assembly.model.named_modules() if isinstance(one, _BatchNorm)}
    return {name: norm for name, norm in norms.items() if name not in frozen and not name.startswith(kept)}


def micro_batch_note(assembly: Assembly) -> tuple[str, ...]:
    """Return a line where BatchNorms see micro-batches in place of batches."""
    env = assembly.config.env
    whole, rows, tokens = env.batch_size or 0, env.micro_batch_size or 0, env.micro_batch_tokens
    if tokens is None and rows >= whole:
        return ()
    number = len(norms_in_train_mode(assembly))
    if not number:
        return ()
    parts = f"micro-batches of {counted(rows, 'row')}" if rows < whole else f"micro-batches of {tokens:,} tokens"
    takes = counted(number, "BatchNorm in train mode takes its", "BatchNorms in train mode take their")
    return (
        f"{takes} statistics from {parts}, not from the batch of {counted(whole, 'row')}: the result is not that of "
        "whole batches",
    )


@contextmanager
def single_values_allowed(assembly: Assembly, record: Recorder) -> Iterator[None]:
    """Let BatchNorms in train mode use their running statistics where a channel has a single value.

    A map of one place from one image, or the features of one row: torch refuses to normalise these by themselves. They
    come up with batches or micro-batches of one row, and where the other images of a batch are missing.

    Args:
        assembly: The model and its plan.
        record: Is told the first time.
    """
    norms = norms_in_train_mode(assembly)
    names: dict[nn.Module, str] = {norm: name for name, norm in norms.items()}
    met: dict[nn.Module, None] = {}

    def tell(*_: Any) -> None:
        if met and not any(ONE_VALUE in str(row.get("note")) for row in record.rows):
            record.note(f"BatchNorm {listing([names[norm] for norm in met], limit=1)}: {ONE_VALUE}")
        met.clear()

    with ExitStack() as stack:
        for norm in norms.values():
            before, after = _hooks(met)
            stack.callback(norm.register_forward_pre_hook(before).remove)
            stack.callback(norm.register_forward_hook(after, always_call=True).remove)
        if norms:
            stack.callback(assembly.model.register_forward_hook(tell).remove)
        yield


def _hooks(met: dict[nn.Module, None]) -> tuple[Any, Any]:
    """Return what runs before and after the forward pass of a norm."""
    switched: list[nn.Module] = []

    def before(norm: nn.Module, args: Any) -> None:
        if norm.training and args and args[0].numel() == args[0].shape[1]:
            norm.training = False
            switched.append(norm)
            met[norm] = None

    def after(*_: Any) -> None:
        if switched:
            switched.pop().training = True

    before.harmless = after.harmless = True  # type: ignore[attr-defined] # a norm in eval mode may be folded
    return before, after
