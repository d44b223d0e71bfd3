"""Probe first: a linear model of the frozen features, folded into the head.

A fresh head on a pretrained tower starts from it (LP-FT: Kumar et al., ICLR 2022), and it is the score below which
no tuned model is handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from thermocline.contracts.problem import Assembly
from thermocline.data.batches import Rows
from thermocline.errors import NonFiniteError, counted
from thermocline.problems.rowwise.model import FusionModel
from thermocline.problems.rowwise.probe_blocks import block_scales
from thermocline.problems.rowwise.probe_levels import for_loss
from thermocline.problems.rowwise.probe_rows import drawn_rows, most_rows, row_bytes
from thermocline.problems.rowwise.probe_solvers import Asked, solve, unlimited
from thermocline.problems.rowwise.target import RowTarget

SMALLEST_SPREAD = 1e-3  # of the median spread: dead features would otherwise be blown up
ROWS_AT_ONCE, COLUMNS_AT_ONCE = 512, 32  # that are turned into float64 at a time


@dataclass(frozen=True)
class Probe:
    """A linear model of raw features: `features @ weight.T + bias`.

    Attributes:
        weight: float64 `(outputs, features)`.
        bias: float64 `(outputs,)`.
        note: What was chosen.
    """

    weight: np.ndarray
    bias: np.ndarray
    note: str


def fit_probe(  # noqa: PLR0913
    features: np.ndarray,
    encoded: np.ndarray,
    target: RowTarget,
    *,
    weight: np.ndarray | None = None,
    fixed: np.ndarray | None = None,
    blocks: np.ndarray | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    seconds_left: Callable[[], float] = unlimited,
    overwrite: bool = False,
    to_tune: bool = False,
) -> Probe:
    """Fit a logistic (classes) or ridge (numbers) regression on standardised features.

    Blocks of features are scaled to equal norm and by a factor each (`probe_blocks`), so that many features of one
    tower do not outweigh few of another.

    Args:
        features: float32 `(rows, width)`.
        encoded: Encoded labels.
        target: Tells which regression.
        weight: Row weights, or `None`.
        fixed: bool `(width,)`: features that are encodings between 0 and 1; they share one spread, or rare
            categories would weigh most.
        blocks: int `(width,)`: the block of each feature, from 0 on; None: one block.
        seed: For the folds.
        device: Where it is computed; None: on the CPU.
        seconds_left: Returns the seconds that it may still take; where they are short, fewer rows are used.
        overwrite: Whether `features` may be standardised in place, which takes half the memory.
        to_tune: Whether the layers below are tuned from it; see `probe_solvers.most_regular`.

    Raises:
        NonFiniteError: Features that are infinite or NaN.
    """
    from threadpoolctl import threadpool_limits

    _check_finite(features)
    # proportions count, as in the loss; the penalty is set against the sum
    each = np.ones(len(features)) if weight is None else np.asarray(weight / weight.mean(), dtype=np.float64)
    mean = features.mean(axis=0, dtype=np.float64)
    spread = _spread(features, fixed)
    scaled = _standardised(features, mean, spread, overwrite=overwrite)
    asked = Asked.of(target, encoded, device or torch.device("cpu"))
    if blocks is not None and blocks.max(initial=0) > 0:
        with threadpool_limits(torch.get_num_threads()):
            scales = block_scales(scaled, blocks, asked, each, seed=seed, seconds_left=seconds_left)
        scaled *= scales.astype(np.float32)
        spread = spread / np.where(scales > 0, scales, 1.0)
    limits: Any = {"seed": seed, "seconds_left": seconds_left, "to_tune": to_tune}
    coef, intercept, note = solve(scaled, encoded, target, asked, each, **limits)
    if target.problem_type == "regression" and target.loss is not None:
        coef, intercept = for_loss(target, scaled, encoded, (coef, intercept), each)
    folded = coef / spread
    return Probe(folded, intercept - folded @ mean, note)


def _check_finite(features: np.ndarray) -> None:
    starts = range(0, len(features), ROWS_AT_ONCE)
    bad = sum(int((~np.isfinite(features[i : i + ROWS_AT_ONCE]).all(axis=1)).sum()) for i in starts)
    if bad:
        raise NonFiniteError(
            f"The features of {bad} of {counted(len(features), 'training row')} are not finite before any "
            "training. Set "
            "env.precision=fp32, and check that the checkpoint is whole."
        )


def _spread(features: np.ndarray, fixed: np.ndarray | None) -> np.ndarray:
    """Return the standard deviations float64 `(width,)`, those of dead features raised."""
    width = features.shape[1]
    # even blocks: numpy would add up a last one of a single column in another order
    columns = np.array_split(np.arange(width), max(1, -(-width // COLUMNS_AT_ONCE)))
    spread = np.concatenate([features[:, one[0] : one[-1] + 1].std(axis=0, dtype=np.float64) for one in columns])
    if fixed is not None and fixed.any():
        spread[fixed] = max(float(np.sqrt((spread[fixed] ** 2).mean())), 1e-12)
    median = float(np.median(spread)) or 1.0
    raised: np.ndarray = np.maximum(spread, SMALLEST_SPREAD * median)
    return raised


def _standardised(features: np.ndarray, mean: np.ndarray, spread: np.ndarray, *, overwrite: bool) -> np.ndarray:
    out = features if overwrite and features.dtype == np.float32 else np.empty(features.shape, dtype=np.float32)
    for i in range(0, len(features), ROWS_AT_ONCE):
        out[i : i + ROWS_AT_ONCE] = (features[i : i + ROWS_AT_ONCE] - mean) / spread
    return out


def fold(probe: Probe, model: FusionModel) -> None:
    """Write a probe into a model's head."""
    model.set_head(torch.as_tensor(probe.weight), torch.as_tensor(probe.bias), model.probe_columns())


@dataclass(frozen=True)
class ProbeStart:
    """The start of a head at a probe of the features below it.

    Attributes:
        model: The model.
        target: What the label asks for.
        train: The training rows.
        rows: Positions of the rows that it is fitted to, sorted.
        most: How many rows a probe is fitted to at most.
        seed: For the folds.
    """

    model: FusionModel
    target: RowTarget
    train: Rows
    rows: np.ndarray
    most: int
    seed: int
    name: str = "the probe"
    says: str = "probe"

    def features(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the features of a batch that a probe may use."""
        features = self.model.features(batch)
        return features[:, self.model.probe_columns().to(features.device)]

    @property
    def memory(self) -> int:
        """About how many bytes it takes."""
        return len(self.rows) * row_bytes(self.target, int(self.model.probe_columns().sum()))

    def fit(
        self,
        features: np.ndarray,
        encoded: np.ndarray,
        weight: np.ndarray | None,
        seconds_left: Callable[[], float],
        *,
        to_tune: bool,
    ) -> Probe:
        """Return a probe of these features, which are overwritten; see `fit_probe`."""
        columns = self.model.probe_columns().numpy()
        return fit_probe(
            features,
            encoded,
            self.target,
            weight=weight,
            fixed=self.model.fixed_columns().numpy()[columns],
            blocks=np.unique(self.model.blocks().numpy()[columns], return_inverse=True)[1],
            seed=self.seed,
            device=self.model.head.weight.device,
            seconds_left=seconds_left,
            overwrite=True,
            to_tune=to_tune,
        )

    def apply(self, features: np.ndarray, reached: np.ndarray, seconds_left: Callable[[], float] = unlimited) -> str:
        """Fit a probe on the rows that were reached, and write it into the head.

        Args:
            features: float32 `(rows, width)` of `rows`; overwritten.
            reached: Which of these have them, bool `(rows,)`.
            seconds_left: Returns the seconds that it may still take.

        Returns:
            What was done, or nothing where the rows show no two targets, or no time is left.
        """
        train, rows = self.train, self.rows[reached]
        assert train.target is not None
        encoded = train.target[rows]
        if not tells_apart(encoded) or seconds_left() <= 0:
            return ""
        weight = None if train.fit_weight is None else train.fit_weight[rows]
        features = features if reached.all() else features[reached]
        found = self.fit(features, encoded, weight, seconds_left, to_tune=True)
        self.write(found)
        of_all = f"on {len(rows):,} of {counted(len(train), 'row')}"
        cut = f", {of_all} (time limit)" if not reached.all() else f", {of_all}" if len(rows) < len(train) else ""
        return f"{self.says}: {found.note}{cut}"

    def write(self, probe: Probe) -> None:
        """Write a probe into the head."""
        fold(probe, self.model)


def tells_apart(encoded: np.ndarray) -> bool:
    """Whether rows show two targets."""
    return len(encoded) > 1 and bool((encoded != encoded[0]).any())


def start_of(assembly: Assembly, train: Rows, *, seed: int) -> ProbeStart | None:
    """Return the probe that a run starts from, or None: not asked for, no features for it, or a frozen head.

    Args:
        assembly: The model and its plan.
        train: The training rows.
        seed: The run's seed.
    """
    model: FusionModel = assembly.model
    config, target = assembly.config, assembly.target
    frozen = {name for label in assembly.plan.frozen for name in assembly.layer_map[label].parameters}
    width = int(model.probe_columns().sum())
    if config.optim.head_init != "probe" or "head.weight" in frozen or not width:
        return None
    assert train.target is not None
    there = np.arange(len(train)) if train.weight is None else np.flatnonzero(train.weight > 0)
    most = most_rows(target, width, config.env.cache_memory)
    given = model, target, train, drawn_rows(target, train.target, there, most, seed), most, seed
    started = assembly.built.started
    if started is None or not started.has_head:
        return ProbeStart(*given)
    return NewOutputs(*given, new=started.new) if started.new else None


@dataclass(frozen=True)
class NewOutputs(ProbeStart):
    """The start of a head that has most outputs from an earlier one: the new ones are those of a probe.

    Softmax sees outputs up to what is added to all of them. So a probe's outputs are shifted such that those of the
    known classes have the same mean as in the head.

    Attributes:
        new: Positions of the new outputs.
    """

    new: tuple[int, ...] = ()
    name: str = "the earlier head"
    says: str = "new classes from a probe"

    @torch.no_grad()
    def write(self, probe: Probe) -> None:
        """Write the new outputs of a probe into the head."""
        head, columns = self.model.head, self.model.probe_columns().to(self.model.head.weight.device)
        weight, bias = (torch.as_tensor(one).to(head.weight) for one in (probe.weight, probe.bias))
        known = [place for place in range(len(bias)) if place not in self.new]
        if self.target.loss_name == "cross_entropy":
            weight = weight + head.weight[known][:, columns].mean(dim=0) - weight[known].mean(dim=0)
            bias = bias + head.bias[known].mean() - bias[known].mean()
        for place in self.new:
            head.weight[place, columns] = weight[place]
            head.bias[place] = bias[place]
