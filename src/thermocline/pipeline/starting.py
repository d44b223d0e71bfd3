"""A fit that starts from a fitted predictor: what the request says by default, and what its columns are."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from typing import Any

from thermocline.config import Drawn
from thermocline.contracts.request import Request
from thermocline.contracts.starting import Earlier
from thermocline.data.label_columns import label_columns
from thermocline.errors import ConfigError
from thermocline.pipeline import artifact
from thermocline.pipeline.arguments import shown
from thermocline.pipeline.fitted import Fitted
from thermocline.pipeline.packed import Packed
from thermocline.pipeline.path_argument import folder_argument
from thermocline.pipeline.prepare import problem_of
from thermocline.pipeline.resume import trusts_remote_code
from thermocline.training.run_identity import weights_hash

SELF = "self"


def saved_earlier(given: Any, request: Request) -> Earlier:
    """Return the predictor that is saved at a path, to start from.

    Args:
        given: The path.
        request: What is asked for: it has the caller's own kind of problem, and says whether code that a text backbone
            brought with its pretrained weights may run.

    Raises:
        ConfigError: What was given is no path; options that cannot be resolved.
        ArtifactError: There is no predictor, or it is damaged.
    """
    if not isinstance(given, str | os.PathLike):
        inside = " Of an estimator give its predictor_." if hasattr(given, "predictor_") else ""
        raise ConfigError(
            "start_from is the path of a saved predictor, a fitted Predictor, 'self' for the predictor that is fitted "
            f"again, or None, not {shown(given)}.{inside}"
        )
    folder = folder_argument(given)
    remote_code = trusts_remote_code(replace(request, drawn=Drawn("no trial")))
    return _earlier(artifact.load(folder, artifact.Trust.of(request, remote_code=remote_code)), str(folder))


def fitted_earlier(fitted: Fitted, where: str) -> Earlier:
    """Return a predictor in memory to start from: a copy, so that it stays as it is, with the caller's own objects."""
    copied = Packed.of(fitted).unpacked(fitted.assembly.problem)
    config = replace(copied.assembly.config, objects=fitted.assembly.config.objects)
    built = replace(copied.assembly.built, config=config)
    return _earlier(replace(copied, assembly=replace(copied.assembly, built=built)), where)


def starting(request: Request, earlier: Earlier) -> Request:
    """Return a request that starts from an earlier predictor, with the problem type that follows from it.

    With the same label it is the same type; of classes there may be more or fewer now.

    Raises:
        ConfigError: It is of another kind of problem.
    """
    target, info = earlier.assembly.target, earlier.assembly.problem.info
    given, was = request.problem_type, target.problem_type
    opened = next((name for name, types in info.open_types.items() if was in types), was)
    if given in (None, was) and label_columns(request.label) == target.labels:
        request = replace(request, problem_type=opened)
    elif given is None and was not in problem_of(request).info.problem_types:
        request = replace(request, problem_type=was)
    now = problem_of(request).info
    if now.name != info.name:
        raise ConfigError(
            f"start_from={earlier.where!r} was fitted for {was}, and this is a problem of the kind {now.name}: their "
            "models share nothing. Start from a predictor of the same kind, or leave start_from out."
        )
    return replace(request, earlier=earlier)


def _earlier(fitted: Fitted, where: str) -> Earlier:
    model, target = fitted.assembly.model, fitted.assembly.target
    label = json.dumps(target.to_dict(), sort_keys=True, default=str)
    both = f"{weights_hash(model, model.state_dict())} {label}"
    return Earlier(fitted.assembly, where, hashlib.sha256(both.encode()).hexdigest()[:16])
