"""Boosted trees fitted beside the network at the end of a fit: whether, on which rows, and what they count."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from thermocline.contracts.closing import Closing
from thermocline.contracts.problem import Assembly
from thermocline.inputs.table.rows import TableRows
from thermocline.problems.rowwise import blend
from thermocline.problems.rowwise.blend import FEWEST_VALID, Blended, best_share, both_classes
from thermocline.problems.rowwise.model import FusionModel
from thermocline.problems.rowwise.table_trees import TableTrees, categorical_columns, tree_cells
from thermocline.problems.rowwise.target import RowTarget
from thermocline.problems.rowwise.tree_conversion import ConversionError, converted
from thermocline.problems.rowwise.tree_growth import Grown, TreeTask, folds_of, grow

COMPARED_ROWS = 2_000  # on which the trees are compared with scikit-learn's
TIME_SHARE = 0.5  # of the time left
END_SHARE = 0.15  # of a time limit, kept for them


def announced(model: FusionModel, target: RowTarget, asked: str, rows: int) -> tuple[bool, str]:
    """Return whether trees are going to be fitted, and a line on it; an empty one where nothing is to be said.

    Args:
        model: The model.
        target: What the label asks for.
        asked: `model.trees`.
        rows: Number of training rows.
    """
    if "table" not in model.towers:
        return False, ""
    why_not = "there are several labels" if target.problem_type == "multilabel" else ""
    planned = "trees are fitted to the table's columns at the end, and blended in (model.trees)"
    loss, of_loss = target.loss, ""
    if loss is not None and (loss.own or (target.problem_type == "regression" and not loss.grows_trees)):
        of_loss = f"they cannot be grown for optim.loss={loss}"
    return blend.announced("trees", planned, asked, rows, why_not=why_not, of_loss=of_loss)


def fit_and_blend(assembly: Assembly, closing: Closing) -> Blended:
    """Fit trees to the table's columns of all rows, and put them into the model with the share that validates best.

    The rows are cut into folds, and each row is predicted by the trees that were grown without it; the mean of the
    folds' trees predicts later.

    Args:
        assembly: The model, in the state that is kept.
        closing: Its outputs on the validation rows, the rows, and the time that is left.
    """
    model: FusionModel = assembly.model
    outputs, valid = closing.valid_outputs, closing.rows["valid"]
    none = Blended(0.0, outputs)
    wanted, _ = announced(model, assembly.target, assembly.config.model.trees, len(closing.rows["train"]))
    if outputs is None or not wanted:
        return none
    known = blend.known_rows(outputs, valid.weights)
    found = _grown(assembly, closing) if known.sum() >= FEWEST_VALID else "too few rows validated"
    if isinstance(found, str):
        return replace(none, notes=(f"trees: none ({found})",))
    trees, held_out = found
    raw = both_classes(torch.from_numpy(held_out).float(), outputs.shape[1]).numpy()
    assert valid.target is not None
    loss = assembly.target.loss
    share, _ = best_share(outputs[known], raw[known], valid.target[known], valid.weights[known], loss=loss)
    said = f"trees: {len(trees.trees.output):,} grown"
    if not share:
        return replace(none, notes=(f"{said}, and left out: the network validates better alone",))
    trees.share.fill_(share)
    model.trees = trees.to(model.head.weight.device)
    mix = blend.mixed_where(known, outputs, raw, share)
    return Blended(share, mix, (f"{said}; blend: trees {share:.2f}, network {1 - share:.2f}, by the validation rows",))


def _grown(assembly: Assembly, closing: Closing) -> tuple[TableTrees, np.ndarray] | str:
    """Return trees, and their outputs on the validation rows, or why there are none."""
    from threadpoolctl import threadpool_limits

    train, cardinalities = len(closing.rows["train"]), assembly.model.towers["table"].cardinalities
    task, used = _task(assembly, closing, cardinalities)
    valid = np.flatnonzero(used >= train)
    left = closing.seconds_left()
    kept = 0.0 if math.isinf(left) else (1 - TIME_SHARE) * left
    with threadpool_limits(torch.get_num_threads(), user_api="openmp"):
        grown = grow(task, folds_of(task, valid), lambda: closing.seconds_left() - kept)
        if isinstance(grown, str):
            return grown
        try:
            trees = _converted(grown, task, cardinalities)
        except ConversionError as error:
            return f"{error}; another version of scikit-learn may help"
    held_out = np.full((len(closing.rows["valid"]), task.outputs), np.nan)
    held_out[used[valid] - train] = grown.held_out[valid]
    return trees, held_out


def _converted(grown: Grown, task: TreeTask, cardinalities: list[int]) -> TableTrees:
    sample = task.x[:: -(-len(task.x) // COMPARED_ROWS)]
    ensemble = converted(grown.models, grown.iterations, sample)
    trees = TableTrees(ensemble.shape, cardinalities)
    trees.trees = ensemble
    return trees


def _task(assembly: Assembly, closing: Closing, cardinalities: list[int]) -> tuple[TreeTask, np.ndarray]:
    """Return all rows with a weight, training rows first, and their positions."""
    rows = [closing.rows[name] for name in ("train", "valid")]
    parts: list[TableRows] = [one.parts["table"] for one in rows]  # type: ignore[misc]
    table = {
        name: torch.from_numpy(np.concatenate([getattr(part, name) for part in parts]))
        for name in ("numbers", "missing", "codes")
    }
    weight = np.concatenate([one.weights for one in rows]).astype(np.float64)
    used = np.flatnonzero(weight > 0)
    target: RowTarget = assembly.target
    encoded = np.concatenate([one.target for one in rows if one.target is not None])[used]
    task = TreeTask(
        x=tree_cells(table, cardinalities).numpy()[used],
        categorical=len(categorical_columns(cardinalities)),
        y=encoded[:, 0] if target.problem_type == "regression" else encoded,
        weight=weight[used] / weight[used].mean(),
        classes=0 if target.problem_type == "regression" else target.width,
        seed=closing.seed,
        loss=target.loss if target.problem_type == "regression" else None,
    )
    return task, used
