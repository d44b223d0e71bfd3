"""Probe first: a linear model of the features of some tokens, written into the head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from thermocline.contracts.problem import Assembly
from thermocline.data.batches import Rows
from thermocline.errors import counted
from thermocline.problems.rowwise.probe import Probe, fit_probe, tells_apart
from thermocline.problems.rowwise.target import RowTarget
from thermocline.problems.token_classification.model import TOWER, TokenModel
from thermocline.problems.token_classification.rows import IGNORED, TokenRows
from thermocline.problems.token_classification.target import EntityTarget

A_WINDOW = 8
"""Tokens of a window that a probe is fitted to: at most half of them of entities where it has others."""
MOST_TOKENS = 24_000
MOST_BYTES = 400_000_000
STREAM = 0x70B3


@dataclass(frozen=True)
class TokenStart:
    """The start of a head at a probe of the features of tokens.

    What a window has more of than `A_WINDOW` is drawn, and those that are drawn weigh for the others, so that the probe
    sees the tags in their proportions.

    Attributes:
        model: The model.
        target: The classes.
        rows: Positions of the windows, sorted.
        places: Of every window the ids that are used, int64 `(windows, A_WINDOW)`, -1 for none.
        tags: Their tags, alike.
        weights: What each counts, float64, alike.
        seed: The run's.
    """

    model: TokenModel
    target: EntityTarget
    rows: np.ndarray
    places: np.ndarray
    tags: np.ndarray
    weights: np.ndarray
    seed: int
    name: str = "the probe"

    @property
    def width(self) -> int:
        """Features of a token."""
        return int(self.model.head.in_features)

    @property
    def memory(self) -> int:
        """About how many bytes it takes."""
        return len(self.rows) * A_WINDOW * (9 * self.width + 40 * self.target.width)

    def features(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the features of a window's tokens one after the other, float `(windows, A_WINDOW * width)`."""
        states = self.model.features(batch)
        places = torch.from_numpy(self.places)[batch["rows"].cpu()].clamp(min=0).to(states.device)
        some = states.gather(1, places.unsqueeze(2).expand(-1, -1, states.shape[2]))
        return some.flatten(1)

    def apply(self, features: np.ndarray, reached: np.ndarray, seconds_left: Callable[[], float]) -> str:
        """Fit a probe to the tokens of the windows that were reached, and write it into the head.

        Args:
            features: float32 `(windows, A_WINDOW * width)` of `rows`.
            reached: Which of these have them, bool `(windows,)`.
            seconds_left: Returns the seconds that it may still take.
        """
        rows = self.rows[reached]
        used = self.places[rows] >= 0
        encoded, weight = self.tags[rows][used], self.weights[rows][used]
        if not tells_apart(encoded) or seconds_left() <= 0:
            return ""
        tokens = features[reached].reshape(len(rows), A_WINDOW, -1)[used]
        names = self.target.tags
        target = RowTarget("multiclass", self.target.label, classes=names, eval_metric="log_loss")
        probe = fit_probe(
            tokens,
            encoded,
            target,
            weight=weight,
            seed=self.seed,
            device=self.model.head.weight.device,
            seconds_left=seconds_left,
            overwrite=True,
            to_tune=False,
        )
        self._write(probe)
        return f"probe: {probe.note}, on {counted(len(encoded), 'token')} of {counted(len(rows), 'window')}"

    @torch.no_grad()
    def _write(self, probe: Probe) -> None:
        head = self.model.head
        head.weight.copy_(torch.as_tensor(probe.weight))
        head.bias.copy_(torch.as_tensor(probe.bias))


def start_of(assembly: Assembly, train: Rows, *, seed: int) -> TokenStart | None:
    """Return the probe that a run starts from, or None: not asked for, no pretrained tower, or a frozen head.

    Args:
        assembly: The model and its plan.
        train: The training windows.
        seed: The run's seed.
    """
    model: TokenModel = assembly.model
    frozen = {name for label in assembly.plan.frozen for name in assembly.layer_map[label].parameters}
    tower: Any = model.towers[TOWER]
    started = assembly.built.started
    known = started is not None and started.has_head and not started.new
    if assembly.config.optim.head_init != "probe" or "head.weight" in frozen or not tower.pretrained or known:
        return None
    part = train.parts[TOWER]
    assert isinstance(part, TokenRows)
    places, tags, weights = _drawn(part, seed)
    weights *= train.weights[:, None]
    width = int(model.head.in_features)
    most = max(1, min(MOST_TOKENS // A_WINDOW, MOST_BYTES // (4 * width * A_WINDOW)))
    rows = np.flatnonzero((places >= 0).any(axis=1))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng([seed, STREAM]).permutation(rows)[:most])
    return TokenStart(model, assembly.target, rows, places, tags, weights, seed)


def _drawn(part: TokenRows, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return places, tags and weights of the tokens that are used; see `TokenStart`."""
    assert part.tags is not None
    places = np.full((len(part), A_WINDOW), -1, dtype=np.int64)
    tags, weights = np.zeros_like(places), np.zeros(places.shape)
    random = np.random.default_rng([seed, STREAM, 1])
    for window, own in enumerate(part.tags):
        inside, outside = np.flatnonzero(own > 0), np.flatnonzero(own == 0)
        most = max(A_WINDOW // 2, A_WINDOW - len(outside))
        some, at = [], 0
        for group, limit in ((inside, most), (outside, A_WINDOW - min(len(inside), most))):
            drawn = group if len(group) <= limit else random.permutation(group)[:limit]
            some.append(drawn)
            weights[window, at : at + len(drawn)] = len(group) / max(len(drawn), 1)
            at += len(drawn)
        every = np.concatenate(some)
        places[window, :at], tags[window, :at] = every, own[every]
    assert (tags != IGNORED).all()
    return places, tags, weights
