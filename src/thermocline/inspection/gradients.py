"""What words and pixels add to a prediction, by gradients of the network: the methods of captum."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from thermocline.contracts.labelled import Labelled
from thermocline.contracts.problem import Assembly
from thermocline.contracts.showing import CellParts, Differentiable, GradientOutput
from thermocline.data.moving import to_device
from thermocline.errors import ConfigError, MissingDependencyError, listing
from thermocline.inspection.attributed import Attribution
from thermocline.pipeline.predict import how_to_pass
from thermocline.report.console import Console

STEPS = 32
"""Points on the way from the baseline to the row, at which integrated gradients are taken."""

AT_ONCE = 8
"""Of these points, how many are computed together."""

METHODS = {
    "integrated_gradients": "gradients on the way from a baseline, added up (Sundararajan et al. 2017)",
    "input_x_gradient": "gradient times input (Shrikumar et al. 2016)",
    "saliency": "size of the gradient, without a sign (Simonyan et al. 2013)",
}
"""Name → what it is."""


def check_captum(method: str) -> None:
    """Check that captum is there; nothing is imported.

    Raises:
        MissingDependencyError: It is not.
    """
    if importlib.util.find_spec("captum") is None:
        raise MissingDependencyError(
            f"method={method!r} needs the package captum. Install it: pip install 'thermocline[captum]'; or use "
            "method='occlusion', which needs nothing."
        )


def attributed_by_gradients(
    assembly: Assembly, found: Labelled, outputs: Any, method: str, *, columns: Sequence[str] | None, of: Any
) -> Attribution:
    """Return what the words and pixels of one row add to what the model predicts.

    Args:
        assembly: The fitted model.
        found: The row.
        outputs: What the model gives for it, as `Problem.explained` takes it.
        method: One of `METHODS`.
        columns: Columns; None: all that gradients can be taken of.
        of: A class or label; None: what is predicted.

    Raises:
        ConfigError: A column that has no gradient, or none that has one.
    """
    explained = assembly.problem.explained(outputs, assembly.target, of)
    output = assembly.problem.gradient_output(assembly, outputs, of)
    rows = assembly.problem.rows(found, assembly, labelled=False)
    batch: dict[str, Any] = to_device(rows.batch(np.array([0])), assembly.device)
    cells: list[CellParts] = []
    able: list[str] = []
    with _eval(assembly.model), how_to_pass(assembly, Console(0)).autocast():
        for name, one in assembly.built.inputs.items():
            own = [column.name for column in assembly.columns if column.kind in one.kind.info.column_types]
            wanted = columns is None or bool(set(own).intersection(columns))
            given = one.kind.differentiable(one, batch[name]) if wanted else None
            if given is not None:
                able += own
                cells += given.cells(_added(given, _score(name, batch, given, output), method))
    _check_able(able, columns)
    order = {name: place for place, name in enumerate(assembly.columns.used)}
    kept = [cell for cell in cells if columns is None or cell.column in columns]
    kept.sort(key=lambda cell: order[cell.column])
    notes = (output.note,) if output.note else ()
    value = float(explained.values[0])
    name = str(found.frame.index[0])
    return Attribution(
        output.what, value, method, METHODS[method], name, tuple(kept), notes, signed=method != "saliency"
    )


def _check_able(able: Sequence[str], columns: Sequence[str] | None) -> None:
    """Check that gradients can be taken of the columns that were asked for, or of some.

    Raises:
        ConfigError: They cannot.
    """
    wrong = [name for name in columns or () if name not in able]
    if wrong or not able:
        of = f"and {listing(wrong)} {'is' if len(wrong) == 1 else 'are'} none" if wrong else "and the model reads none"
        raise ConfigError(f"Gradients are taken of texts and images, {of}. Use method='occlusion'.")


def _score(
    name: str, batch: Mapping[str, Any], given: Differentiable, output: GradientOutput
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what computes the output from numbers of one tower, `(rows, …)`; the other towers read the same row."""

    def score(values: torch.Tensor) -> torch.Tensor:
        others = {key: _repeated(part, len(values)) for key, part in batch.items() if key != name}
        with given.placed(values) as inputs:
            return output.compute({**others, name: inputs})

    return score


def _repeated(part: Any, rows: int) -> Any:
    if isinstance(part, Mapping):
        return {key: _repeated(one, rows) for key, one in part.items()}
    return part.expand(rows, *part.shape[1:])


def _added(given: Differentiable, score: Callable[[torch.Tensor], torch.Tensor], method: str) -> np.ndarray:
    """Return what each number adds, float64, without the dimension of rows."""
    from captum import attr

    values = given.values.clone().requires_grad_()
    if method == "integrated_gradients":
        found = attr.IntegratedGradients(score).attribute(
            values, baselines=given.baseline, n_steps=STEPS, internal_batch_size=AT_ONCE
        )
    elif method == "input_x_gradient":
        found = attr.InputXGradient(score).attribute(values)
    else:
        found = attr.Saliency(score).attribute(values)
    return np.asarray(found[0].detach().double().cpu().numpy())


@contextmanager
def _eval(model: torch.nn.Module) -> Iterator[None]:
    """Have a model in eval mode, with gradients; modes are put back, and no parameter keeps a gradient."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
