"""Regularised linear models of several outputs, fitted together: one product of matrices an iteration for all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

ROWS_AT_ONCE = 8_192
HISTORY = 10  # of L-BFGS
ITERATIONS_AT_ONCE = 5  # between two looks at the clock and at what the loss has fallen by
TOLERANCE = 1e-5
"""A fit ends when the loss falls by a smaller share of itself in `ITERATIONS_AT_ONCE` iterations."""


class LinearModels:
    """Softmax, sigmoid or least-squares regressions on the same features, each on rows of its own.

    Each minimises the weighted mean of its losses and `|weights|² / (2 C Σ row weights)`, which is scikit-learn's
    penalty; the bias is free. All are minimised together by L-BFGS (Liu and Nocedal 1989), as torch has it.

    Args:
        x: Features float32 `(rows, width)`.
        target: int64 `(rows,)` for `cross_entropy`; float32 `(rows, outputs)` for `bce` and `mse`.
        outputs: Outputs of a model.
        loss: `cross_entropy`, `bce` (the sum over the outputs) or `mse` (half of the sum of the squares).
        weight: Weight of each row in each model, float32 `(models, rows)`.
        seconds_left: Returns the seconds that are left; without any, the fit ends where it is.

    Attributes:
        label_weights: Of `bce`, what an output counts where it is 1, float32 `(outputs,)`; None: 1.
        evaluations: How many times the losses of all rows were computed.
        seconds: What that took.
    """

    def __init__(
        self,
        x: torch.Tensor,
        target: torch.Tensor,
        outputs: int,
        *,
        loss: str,
        weight: torch.Tensor,
        seconds_left: Callable[[], float],
    ) -> None:
        self.x, self.target, self.outputs, self.loss = x, target, outputs, loss
        self.total = weight.sum(dim=1).clamp(min=1e-12)
        self.share = (weight / self.total[:, None]).T.contiguous()  # (rows, models)
        self.seconds_left = seconds_left
        self.label_weights: torch.Tensor | None = None
        self.evaluations, self.seconds = 0, 0.0

    def zeros(self) -> torch.Tensor:
        """Return where a first fit begins, float32 `(models, outputs, width + 1)`; the last column is the bias."""
        return torch.zeros(self.share.shape[1], self.outputs, self.x.shape[1] + 1, device=self.x.device)

    def solve(
        self, strength: float, start: torch.Tensor, *, iterations: int, tolerance: float = TOLERANCE
    ) -> torch.Tensor:
        """Return the weights and biases of all models, float32 `(models, outputs, width + 1)`.

        Args:
            strength: C, the inverse of the penalty.
            start: Where to begin.
            iterations: The most.
            tolerance: See `TOLERANCE`.
        """
        both = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [both],
            max_iter=ITERATIONS_AT_ONCE,
            tolerance_grad=1e-7,
            tolerance_change=1e-12,
            history_size=HISTORY,
            line_search_fn="strong_wolfe",
        )
        penalty = (0.5 / (strength * self.total))[:, None, None]

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            return self._evaluate(both, penalty)

        before = float("inf")
        with torch.enable_grad():
            for _ in range(-(-iterations // ITERATIONS_AT_ONCE)):
                now = float(optimizer.step(closure))  # type: ignore[no-untyped-call]  # before these iterations
                if before - now < tolerance * abs(now) or self.seconds_left() <= 0:
                    break
                before = now
        return both.detach()

    def row_losses(self, both: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row in each model, float32 `(rows, models)`."""
        with torch.no_grad():
            return torch.cat([self._losses(both, part) for part in self._parts()])

    def right(self, both: torch.Tensor) -> torch.Tensor:
        """Return the share of right outputs of each row in each model, float32 `(rows, models)`; not for `mse`."""
        found = []
        with torch.no_grad():
            for part in self._parts():
                logits, target = self._logits(both, part), self.target[part]
                if self.loss == "cross_entropy":
                    found.append((logits.argmax(dim=2) == target[:, None]).float())
                else:
                    found.append(((logits > 0) == (target[:, None] > 0.5)).float().mean(dim=2))
        return torch.cat(found)

    def _evaluate(self, both: torch.Tensor, penalty: torch.Tensor) -> torch.Tensor:
        """Return the sum of what the models minimise; gradients are added to `both`."""
        begin = time.monotonic()
        total = (penalty * both[:, :, :-1].square()).sum()
        total.backward()  # type: ignore[no-untyped-call]
        total = total.detach()
        for part in self._parts():
            losses = (self._losses(both, part) * self.share[part]).sum()
            losses.backward()  # type: ignore[no-untyped-call]
            total += losses.detach()
        self.evaluations += 1
        self.seconds += time.monotonic() - begin
        return total

    def _parts(self) -> list[slice]:
        return [slice(i, i + ROWS_AT_ONCE) for i in range(0, len(self.x), ROWS_AT_ONCE)]

    def _logits(self, both: torch.Tensor, part: slice) -> torch.Tensor:
        flat = both.flatten(0, 1)
        return torch.addmm(flat[:, -1], self.x[part], flat[:, :-1].T).view(-1, len(both), self.outputs)

    def _losses(self, both: torch.Tensor, part: slice) -> torch.Tensor:
        logits, target = self._logits(both, part), self.target[part]
        if self.loss == "cross_entropy":
            own = target[:, None].expand(logits.shape[:2])
            return F.cross_entropy(logits.flatten(0, 1), own.flatten(), reduction="none").view(own.shape)
        wanted = target[:, None].expand(logits.shape)
        if self.loss == "bce":
            options: Any = {"reduction": "none", "pos_weight": self.label_weights}
            return F.binary_cross_entropy_with_logits(logits, wanted, **options).sum(dim=2)
        squares: torch.Tensor = 0.5 * (logits - wanted).square().sum(dim=2)
        return squares
