"""Scoring a detector on the validation images by COCO's average precision, as far as the time allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from thermocline import metrics
from thermocline.problems.object_detection.metrics import coco_scores
from thermocline.problems.object_detection.model import DetectionModel
from thermocline.training import inference

if TYPE_CHECKING:
    from thermocline.efficiency.prefix_cache.cache import PrefixCache
    from thermocline.training.run import Run

MOST_BOXES = 100  # an image: what COCO scores
ALSO = ("map", "map_50")  # shown beside the metric that decides

Boxes = Sequence[Sequence[Mapping[str, Any]]]


class DetectionScorer:
    """Runs a detector over the validation images and scores the boxes it finds.

    Args:
        run: The run.
        device: Where the model is.
        autocast: The precision of training.
        cache: Serves what frozen layers gave before.
        truths: The true boxes of each validation image, those around crowds among them.
    """

    def __init__(
        self, run: Run, device: torch.device, autocast: Callable[[], Any], cache: PrefixCache, *, truths: Boxes
    ) -> None:
        self.run, self.device, self.autocast, self.cache, self.truths = run, device, autocast, cache, truths
        self.metric = run.task.eval_metric
        self.seconds = 0.0  # what the last scoring took
        self.by_loss = False

    def score(self) -> tuple[float, dict[str, float]]:
        """Score the validation images.

        Returns:
            The metric, of which more is better, and scores by name. Images that the time limit cut off are left out.
        """
        begin, left = self.run.deadline.elapsed, self.run.deadline.left
        model = self.run.model
        assert isinstance(model, DetectionModel)
        found: dict[int, list[dict[str, Any]]] = {}
        passes = inference.each(
            model,
            self.run.valid,
            batch_size=self.run.env.eval_batch_size or 8,
            device=self.device,
            what=partial(model.find, threshold=0.0, most=MOST_BOXES),
            autocast=self.autocast,
            num_workers=self.run.env.num_workers,
            go_on=lambda: self.run.deadline.elapsed < begin + left,
            progress=lambda batches, total: self.run.show(batches, total, "validation"),
            serving=lambda batch: self.cache.serving("valid", batch),
            without=lambda rows: self.cache.ready("valid", rows, None),
        )
        for positions, boxes in passes:
            found.update(zip(positions.tolist(), boxes, strict=True))
        rows = sorted(found)
        scores = scored([self.truths[row] for row in rows], [found[row] for row in rows], self.run.task.classes)
        self.seconds = self.run.deadline.elapsed - begin
        values = {name: scores[name] for name in dict.fromkeys((self.metric, *ALSO))}
        return metrics.signed(self.metric, values[self.metric]), values

    def features(self, *, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Never asked for: a detector has no probe."""
        raise NotImplementedError(f"a detector has no features of its rows ({share=})")

    def named(self, score: float) -> dict[str, float]:
        """Return a score as history has it."""
        return {f"val_{self.metric}": score} if math.isfinite(score) else {}


def scored(truths: Boxes, found: Boxes, classes: Sequence[Any]) -> dict[str, Any]:
    """Return COCO's scores; boxes that are not finite numbers, as of a run that diverged, count as not found."""
    finite = [[box for box in boxes if np.isfinite([box["score"], *box["box"]]).all()] for boxes in found]
    return coco_scores(truths, finite, classes)
