"""Losses of pairs, by name: of grades, of matches and others, of matches alone.

As in sentence-transformers (Reimers and Gurevych, EMNLP 2019; `losses/CoSENTLoss.py` and others), where they have the
same scale and margin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from thermocline.contracts.learning import Objective
from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.problems.similarity.info import BINARY, GRADED, POSITIVES

Compute = Callable[["Pairs", float], torch.Tensor]


@dataclass(frozen=True)
class Pairs:
    """A batch of pairs.

    Attributes:
        embeddings: Float `(rows, sides, width)`, each of length 1: query, response, and a response that does not match
            where there is one.
        value: How much each pair matches, from 0 to 1, `(rows,)`.
        content: Numbers of the contents of the sides, `(rows, sides)`: equal where they are the same text or image.
        weight: What each row counts, `(rows,)`.
    """

    embeddings: torch.Tensor
    value: torch.Tensor
    content: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def of(cls, outputs: torch.Tensor, batch: Mapping[str, Any]) -> Pairs:
        """Return the pairs of a batch.

        Args:
            outputs: The model's, `(rows, sides * width)`.
            batch: Has `target` `(rows, 1 + sides)`, as `target.encode` gives it, and perhaps `weight`.
        """
        encoded = batch["target"]
        embeddings = outputs.float().reshape(len(outputs), encoded.shape[1] - 1, -1)
        weight = batch.get("weight")
        weight = torch.ones(len(outputs), device=outputs.device) if weight is None else weight
        return cls(embeddings, encoded[:, 0].float(), encoded[:, 1:], weight.float())

    @property
    def cosine(self) -> torch.Tensor:
        """The cosine of query and response, `(rows,)`."""
        return (self.embeddings[:, 0] * self.embeddings[:, 1]).sum(dim=1)


@dataclass(frozen=True)
class PairLoss:
    """A loss by name.

    Attributes:
        name: Its name.
        number: Its scale, or margin.
    """

    name: str
    number: float

    def __str__(self) -> str:
        return f"{self.name}:{self.number:g}" if KNOWN[self.name].number is not None else self.name

    def objective(self) -> Objective:
        """Return what training minimises; the loss of a batch is the mean over its rows."""
        kind = KNOWN[self.name]

        def total(outputs: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
            return kind.total(Pairs.of(outputs, batch), self.number)

        def weight(batch: Mapping[str, Any]) -> float:
            given = batch.get("weight")
            matches = batch["target"][:, 0] > 0 if kind.of_matches else batch["target"][:, 0] > float("-inf")
            return float(matches.sum() if given is None else (given * matches).sum())

        return Objective(total, weight, whole_batch=kind.whole_batch)


def cosent(pairs: Pairs, scale: float) -> torch.Tensor:
    """Return the sum over rows of CoSENT (Su 2022): any two pairs of which one matches less are to be in this order.

    It is log(1 + Σ exp(scale · (cosine of the one that matches less − cosine of the other))), over pairs of rows.
    """
    cosine, value, weight = pairs.cosine, pairs.value, pairs.weight
    behind = scale * (cosine[None, :] - cosine[:, None]) + (weight[None, :] * weight[:, None]).clamp(min=1e-30).log()
    behind = behind.masked_fill(value[:, None] <= value[None, :], float("-inf"))
    loss = torch.cat([behind.new_zeros(1), behind.flatten()]).logsumexp(dim=0)
    return loss * weight.sum()


def cosine_regression(pairs: Pairs, _: float) -> torch.Tensor:
    """Return the sum of squared differences of cosine and value (SBERT: Reimers and Gurevych 2019)."""
    return ((pairs.cosine - pairs.value) ** 2 * pairs.weight).sum()


def contrastive(pairs: Pairs, margin: float) -> torch.Tensor:
    """Return the contrastive loss (Hadsell et al. 2006) of the distances 1 − cosine, summed over rows."""
    distance = 1 - pairs.cosine
    apart = F.relu(margin - distance) ** 2
    each = 0.5 * (pairs.value * distance**2 + (1 - pairs.value) * apart)
    return (each * pairs.weight).sum()


def ranking(pairs: Pairs, scale: float) -> torch.Tensor:
    """Return the multiple-negatives ranking loss, summed over rows that match (Henderson et al. 2017; InfoNCE).

    All other responses of the batch are wrong answers to a query, but those that are the same text or image as its
    own response or as the query, and those of the same query. Responses that do not match (triplets, and rows with the
    label 0) are wrong answers to all queries.
    """
    return (F.cross_entropy(*_forward(pairs, scale), reduction="none") * pairs.weight * (pairs.value > 0)).sum()


def symmetric_ranking(pairs: Pairs, scale: float) -> torch.Tensor:
    """Return the mean of `ranking` and of the same with queries as answers to responses (CLIP: Radford et al. 2021)."""
    logits = scale * pairs.embeddings[:, 1] @ pairs.embeddings[:, 0].T
    logits = logits.masked_fill(_not_wrong(pairs, pairs.content[:, 1], pairs.content[:, 0], other=0), float("-inf"))
    own = torch.arange(len(logits), device=logits.device)
    back = F.cross_entropy(logits, own, reduction="none") * pairs.weight * (pairs.value > 0)
    return (ranking(pairs, scale) + back.sum()) / 2


def _forward(pairs: Pairs, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits of all responses for each query, `(rows, responses)`, and the position of the right one."""
    query, content = pairs.embeddings[:, 0], pairs.content
    masks = [_not_wrong(pairs, content[:, 0], content[:, 1], other=1)]
    if content.shape[1] > 2:
        same = (content[:, None, 1] == content[None, :, 2]) | (content[:, None, 0] == content[None, :, 2])
        masks.append(same)
    candidates = pairs.embeddings[:, 1:].transpose(0, 1).flatten(0, 1)
    logits = (scale * query @ candidates.T).masked_fill(torch.cat(masks, dim=1), float("-inf"))
    return logits, torch.arange(len(query), device=query.device)


def _not_wrong(pairs: Pairs, asked: torch.Tensor, answers: torch.Tensor, *, other: int) -> torch.Tensor:
    """Return which answers of other rows are not wrong for a row, bool `(rows, rows)`.

    Args:
        pairs: The pairs.
        asked: Contents of what is asked with, `(rows,)`.
        answers: Contents of what is answered with, `(rows,)`.
        other: The side that answers.
    """
    right = pairs.content[:, other]
    same = (right[:, None] == answers[None, :]) | (asked[:, None] == answers[None, :])
    matches = pairs.value > 0
    same = same | ((asked[:, None] == asked[None, :]) & matches[None, :])
    return same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)


@dataclass(frozen=True)
class _Kind:
    total: Compute
    number: float | None
    forms: tuple[str, ...]
    whole_batch: bool = False
    of_matches: bool = False


KNOWN: Mapping[str, _Kind] = {
    "cosent": _Kind(cosent, 20.0, (GRADED, BINARY), whole_batch=True),
    "cosine": _Kind(cosine_regression, None, (GRADED, BINARY)),
    "contrastive": _Kind(contrastive, 0.5, (BINARY,)),
    "ranking": _Kind(ranking, 20.0, (BINARY, POSITIVES), whole_batch=True, of_matches=True),
    "symmetric_ranking": _Kind(symmetric_ranking, 20.0, (BINARY, POSITIVES), whole_batch=True, of_matches=True),
}
"""Name → loss, with the number that stands behind a colon: a scale of cosines, or a margin."""


def read_loss(asked: str) -> PairLoss:
    """Return the loss of a name, such as `cosent` or `cosent:20`.

    Raises:
        ConfigError: There is no such loss, or it has no such number.
    """
    name, colon, text = asked.strip().lower().partition(":")
    kind = KNOWN.get(name)
    if kind is None:
        raise ConfigError(
            f"optim.loss={asked!r} is no loss of pairs: choose from {listing(KNOWN, limit=9)}; with the scale of "
            f"cosines, or the margin, behind a colon: cosent:20.{did_you_mean(name, list(KNOWN))}"
        )
    if not colon:
        return PairLoss(name, kind.number or 0.0)
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if kind.number is None or not 0 < number < float("inf"):
        needs = "takes no number" if kind.number is None else f"takes a number above 0, such as {kind.number:g}"
        raise ConfigError(f"optim.loss={asked!r}: {name} {needs}.")
    return PairLoss(name, number)


def loss_for(form: str, asked: str | None, *, mixed: bool, label: object) -> PairLoss:
    """Return the loss that fits what a label says.

    Args:
        form: `graded`, `binary` or `positives`.
        asked: `optim.loss`; None: by the form.
        mixed: Whether texts are compared with images.
        label: The label column, for the message.

    Raises:
        ConfigError: The loss that was asked for does not fit.
    """
    if asked is None:
        usual = {GRADED: "cosent", BINARY: "contrastive", POSITIVES: "symmetric_ranking" if mixed else "ranking"}
        return read_loss(usual[form])
    loss = read_loss(asked)
    if form not in KNOWN[loss.name].forms:
        fitting = [name for name, kind in KNOWN.items() if form in kind.forms]
        words = {GRADED: f"{label!r} holds grades", BINARY: f"{label!r} has two classes", POSITIVES: "all pairs match"}
        raise ConfigError(
            f"optim.loss={asked!r} is not for these pairs: {words[form]}. Choose from {listing(fitting)}."
        )
    return loss
