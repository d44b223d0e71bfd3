"""Rates of layer groups, as fastai spreads them, and as a list gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thermocline.errors import ConfigError
from thermocline.tuning.named_schedules import layer_groups
from thermocline.tuning.number_checks import not_negative, positive
from thermocline.tuning.plan.decisions import Decisions


def even_multiples(low: float, high: float, n: int) -> list[float]:
    """Return n numbers from low to high, each the same multiple of the one before (fastai's `even_mults`)."""
    return [high] if n == 1 else [low * (high / low) ** (i / (n - 1)) for i in range(n)]


def first_group(n: Any, count: int) -> int:
    """Return the index of the first group that trains under `freeze_to(n)`.

    Raises:
        ConfigError: Not a whole number that names one of `count` groups.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not -count <= n < count:
        raise ConfigError(f"freeze_to takes a whole number from {-count} to {count - 1} for {count} groups; got {n!r}.")
    return n % count


def spread_rates(plan: Decisions, split: Sequence[layer_groups.Labels], lr: Any, start: int) -> dict[str, float]:
    """Return scales of the groups from `start` on, for one rate, `[low, high]` or `[null, high]`.

    Raises:
        ConfigError: None of these.
    """
    if lr is None:
        return {}
    count = len(split)
    if not isinstance(lr, (list, tuple)):
        rates = [positive("lr", lr)] * count
    elif len(lr) != 2:
        raise ConfigError(f"lr takes one number, [low, high] or [null, high]; got {lr!r}.")
    elif lr[0] is None:
        rates = [positive("lr", lr[1]) / 10] * (count - 1) + [positive("lr", lr[1])]
    else:
        rates = even_multiples(positive("lr", lr[0]), positive("lr", lr[1]), count)
    return _scales(plan, split, rates, start)


def listed_rates(
    plan: Decisions, split: Sequence[layer_groups.Labels], rates: Any, start: int, epoch: int
) -> dict[str, float]:
    """Return scales of the groups from `start` on, for the `lrs` of the milestone of an epoch.

    Raises:
        ConfigError: Not one rate for each group.
    """
    if rates is None:
        return {}
    if not isinstance(rates, (list, tuple)) or len(rates) != len(split):
        raise ConfigError(f"lrs of milestone {epoch} has one rate for each of the {len(split)} groups; got {rates!r}.")
    return _scales(plan, split, [not_negative("lrs", rate) for rate in rates], start)


def _scales(
    plan: Decisions, split: Sequence[layer_groups.Labels], rates: Sequence[float], start: int
) -> dict[str, float]:
    return layer_groups.scales(
        plan, [(own, rate / plan.lr) for own, rate in list(zip(split, rates, strict=True))[start:]]
    )
