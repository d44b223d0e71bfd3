"""What options say of a target: its loss, and what classes count."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from thermocline.config import ResolvedConfig
from thermocline.contracts.request import Request
from thermocline.errors import ConfigError, did_you_mean, first_line, listing
from thermocline.inputs.labelled_frames import row_weights
from thermocline.problems.rowwise.losses import DEFAULTS, Loss, check_fits, read_loss
from thermocline.problems.rowwise.objective import own_losses
from thermocline.problems.rowwise.target import RowTarget

BALANCED = "balanced"
TRIED_ROWS = 8
TRIED_SEED = 0x10_55


def with_options(target: RowTarget, frame: pd.DataFrame, request: Request, config: ResolvedConfig) -> RowTarget:
    """Return the target with its loss, the metric of this, and the weights of its classes.

    Args:
        target: What the labels ask for.
        frame: The training data.
        request: What was asked for.
        config: The configuration.

    Raises:
        ConfigError: A loss that does not fit the problem type, or a function that does not return a loss for each row;
            weights of classes that there are not.
    """
    optim = config.optim
    if optim.loss is not None:
        target = _with_loss(target, frame, request, config, optim.loss)
    if optim.class_weights is not None and target.problem_type != "regression":
        weight = None
        if request.weight is not None and request.weight in frame.columns:
            weight = row_weights(frame, request.weight, "train_data")
        target = replace(target, class_weights=class_weights(target, optim.class_weights, frame, weight))
    return target


def _with_loss(
    target: RowTarget, frame: pd.DataFrame, request: Request, config: ResolvedConfig, text: str
) -> RowTarget:
    optim = config.optim
    loss = read_loss(text, config.objects.get("optim.loss"))
    check_fits(loss, target.problem_type)
    if not loss.numbers and loss.name == DEFAULTS[target.problem_type]:
        return target
    if loss.own and optim.label_smoothing:
        raise ConfigError(
            f"optim.label_smoothing={optim.label_smoothing:g} is for losses by name, and optim.loss is a function. "
            "Smooth the labels in it, or leave optim.label_smoothing out."
        )
    target = replace(target, loss=loss)
    # a search that chooses the loss compares its trials by one metric
    drawn = request.drawn is not None and "optim.loss" in request.drawn.values
    if request.eval_metric is None and loss.metric and not drawn:
        target = replace(target, eval_metric=loss.metric)
    if loss.own:
        try_loss(loss, target, target.encode(frame.iloc[:TRIED_ROWS]))
    return target


# -- a function of the caller's own


def try_loss(loss: Loss, target: RowTarget, encoded: np.ndarray) -> None:
    """Call a function of the caller's own on a few labels and random outputs, before anything is trained.

    Raises:
        ConfigError: It raises; or it returns no tensor `(rows,)` of finite numbers with a gradient.
    """
    generator = torch.Generator().manual_seed(TRIED_SEED)
    outputs = torch.randn(len(encoded), target.width, generator=generator).requires_grad_()
    labels = torch.from_numpy(encoded)
    where = f"optim.loss: {loss.name}"
    called = f"outputs float32 {tuple(outputs.shape)}, targets {_dtype(labels)} {tuple(labels.shape)}, weights float32"
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            losses: Any = own_losses(loss, outputs, labels, None)
    except Exception as error:
        raise ConfigError(
            f"{where} raised {type(error).__name__}: {first_line(error)}. It is called as (outputs, targets, weights) "
            f"with {called} ({len(encoded)},), and returns the loss of each row, ({len(encoded)},)."
        ) from error
    _check_returned(losses, outputs, where, called)


def _check_returned(losses: Any, outputs: torch.Tensor, where: str, called: str) -> None:
    rows = len(outputs)
    wanted = f"It returns the loss of each row, a float tensor ({rows},) for {called} ({rows},)"
    if not isinstance(losses, torch.Tensor):
        raise ConfigError(f"{where} returned {type(losses).__name__}. {wanted}.")
    if tuple(losses.shape) != (rows,) or not losses.is_floating_point():
        hint = " Use reduction='none' and no mean over the rows." if losses.dim() == 0 else ""
        hint = f" End in .{'squeeze(1)' if losses.shape[1] == 1 else 'mean(dim=1)'}." if losses.dim() == 2 else hint
        raise ConfigError(f"{where} returned a tensor {_dtype(losses)} {tuple(losses.shape)}. {wanted}.{hint}")
    if not torch.isfinite(losses).all():
        raise ConfigError(f"{where} returned losses that are not finite: {losses.detach()[:4].tolist()}. {wanted}.")
    gradient = None
    if losses.requires_grad:
        (gradient,) = torch.autograd.grad(losses.sum(), outputs, allow_unused=True)
    if gradient is None:
        raise ConfigError(
            f"{where} gives no gradient of the outputs, so nothing would be learnt. Compute it with torch alone: no "
            "numpy, .item(), .detach(), argmax or torch.no_grad() between outputs and loss."
        )
    if not torch.isfinite(gradient).all():
        raise ConfigError(
            f"{where} has a gradient that is not finite. Add a small number below roots and logarithms, or clamp "
            "what goes into them."
        )


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


# -- weights of classes


def class_weights(target: RowTarget, asked: Any, frame: pd.DataFrame, weight: np.ndarray | None) -> tuple[float, ...]:
    """Return what each class counts, in their order; of several labels what each counts where a row has it.

    `balanced` gives all classes the same sum (King and Zeng 2001, as scikit-learn): rows / (classes · rows of the
    class). A label counts as many times as there are rows without it for each row with it.

    Args:
        target: Classes or labels.
        asked: `balanced`, or a mapping of classes to weights; a class that is not named counts 1.
        frame: The training data.
        weight: Row weights, or None.

    Raises:
        ConfigError: Another text, a class that there is not, or a weight that is no number above 0.
    """
    if isinstance(asked, str) and asked.strip().lower() == BALANCED:
        return _balanced(target, target.encode(frame), weight)
    if not isinstance(asked, Mapping):
        raise ConfigError(
            f"optim.class_weights: {asked!r} is not allowed; it takes 'balanced', a mapping of classes to weights such "
            f"as {{{target.classes[0]!r}: 2.0}}, or null."
        )
    found = dict.fromkeys(range(len(target.classes)), 1.0)
    named: dict[int, Any] = {}
    for key, value in asked.items():
        place = _place(target, key)
        if place in named:
            raise ConfigError(f"optim.class_weights: {named[place]!r} and {key!r} are the same class.")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ConfigError(f"optim.class_weights: the weight of {key!r} is a number above 0, not {value!r}.")
        named[place], found[place] = key, float(value)
    return tuple(found.values())


def _balanced(target: RowTarget, encoded: np.ndarray, weight: np.ndarray | None) -> tuple[float, ...]:
    weight = np.ones(len(encoded)) if weight is None else np.asarray(weight, dtype=np.float64)
    if target.problem_type == "multilabel":
        present = weight @ encoded
        absent = weight.sum() - present
        usable = (present > 0) & (absent > 0)
        return tuple(np.where(usable, absent / np.where(usable, present, 1.0), 1.0).tolist())
    sums = np.bincount(encoded, weights=weight, minlength=target.width)
    there = sums > 0
    return tuple(np.where(there, sums.sum() / (there.sum() * np.where(there, sums, 1.0)), 1.0).tolist())


def _place(target: RowTarget, key: Any) -> int:
    """Return the number of a class that is written as in the data, or as a text of the same letters."""
    ways = (
        [type(one) is type(key) and one == key for one in target.classes],
        [not isinstance(one, bool) and not isinstance(key, bool) and one == key for one in target.classes],
        [str(one) == str(key) for one in target.classes],
        [str(one).lower() == str(key).lower() for one in target.classes],
    )
    for way in ways:
        if sum(way) == 1:
            return way.index(True)
    what = "label" if target.problem_type == "multilabel" else "class"
    raise ConfigError(
        f"optim.class_weights: {key!r} is no {what} of {target.label!r}.{did_you_mean(key, target.classes)} There are "
        f"{listing(target.classes)}."
    )
