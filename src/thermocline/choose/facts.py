"""What makes a comparison of fits this one, so that only the same one is continued."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from thermocline.config import Space
from thermocline.pipeline.prepare import Prepared


def facts_of(prepared: Prepared, spaces: Mapping[str, Space]) -> dict[str, Any]:
    """Return what makes a search or a race this one: what two processes have to agree on to share a study.

    Args:
        prepared: The data and options.
        spaces: The options that differ between its fits, where they are spaces.
    """
    config, target = prepared.config, prepared.target
    options = {
        path: value
        for path, value in config.items()
        if path not in spaces and (config.schema.keys[path].varies or path == "data.valid_fraction")
    }
    options.pop("env.precision", None)  # of the machine
    facts = {
        "label": target.label,
        "problem type": target.problem_type,
        "metric": target.eval_metric,
        "seed": int(prepared.request.seed),
        "training rows": len(prepared.train),
        "validation rows": len(prepared.valid),
        "validation labels": _hash_of_labels(prepared),
        **{f"space of {path}": str(space) for path, space in spaces.items()},
        **options,
        **({} if prepared.request.earlier is None else {"start_from": prepared.request.earlier.fingerprint}),
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts, default=str))
    return plain


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each fact of a comparison that differs."""
    names = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]
    return [f"{name}: {before.get(name)!r} then, {now.get(name)!r} now" for name in names]


def _hash_of_labels(prepared: Prepared) -> str:
    frame = prepared.valid.frame
    labels = frame[[name for name in prepared.target.labels if name in frame.columns]].astype(str)
    rows = pd.util.hash_pandas_object(labels, index=False).to_numpy()
    return hashlib.sha256(rows.tobytes()).hexdigest()[:16]
