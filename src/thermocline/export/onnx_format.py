"""ONNX: a model as a graph that onnxruntime runs, in 32-bit numbers or with weights of 8 bits."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from thermocline.contracts.exporting import ExportForm
from thermocline.errors import ExportError, MissingDependencyError
from thermocline.export.tracing import Arrays, arrays_of, check, quiet, reason_of, traced

MODEL = "model.onnx"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
QUANTIZED = ("MatMul", "Gemm", "Gather")  # of convolutions onnxruntime has no 8-bit kernel for every CPU
LARGEST = 2**31 - 2**20  # bytes in one file


def require_onnx() -> None:
    """Check that the libraries are there; nothing is imported.

    Raises:
        MissingDependencyError: One is not.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"format='onnx' needs {' and '.join(missing)}. Install the extra: pip install 'thermocline[onnx]'"
        )


def write_onnx(form: ExportForm, folder: Path, quantize: str | None) -> None:
    """Write a model as ONNX, and check that its outputs are those of the model.

    Args:
        form: The model.
        folder: Where to.
        quantize: `int8` for weights of 8 bits; its outputs are not the model's, so they are not compared.

    Raises:
        ExportError: The exporter lacks an operator, or outputs differ.
    """
    import torch

    program, file = traced(form), folder / MODEL
    names = list(arrays_of(form, 1))
    outputs = list(form.model({name: torch.from_numpy(array) for name, array in arrays_of(form, 1).items()}))
    try:
        with torch.no_grad(), quiet(), contextlib.redirect_stdout(io.StringIO()):
            made: Any = torch.onnx.export(program, dynamo=True, input_names=names, output_names=outputs, verbose=False)
            _name_axes(made.model, form)
            made.save(str(file))
    except Exception as error:
        raise ExportError(
            f"The model cannot be written as ONNX ({reason_of(error)}). Try format='torch_export', which needs no "
            "translation, choose another backbone, or save the predictor, predictor.save(path)."
        ) from error
    check(form, Session(file), "The ONNX model")
    if quantize is not None:
        _quantize(file)
        _check_runs(form, file)


def _check_runs(form: ExportForm, file: Path) -> None:
    """Check that onnxruntime has the kernels that a quantised model needs."""
    try:
        Session(file)(arrays_of(form, 1))
    except Exception as error:
        raise ExportError(
            f"onnxruntime does not run this model in 8 bits ({reason_of(error)}). Leave quantize at None."
        ) from error


class Session:
    """An ONNX model that maps arrays to outputs by name.

    Args:
        file: The model.

    Raises:
        ExportError: onnxruntime does not run it.
    """

    def __init__(self, file: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ExportError(
                f"onnxruntime does not load the ONNX model ({reason_of(error)}). Save the predictor instead, "
                "predictor.save(path)."
            ) from error
        self.inputs = [one.name for one in self._session.get_inputs()]
        self.outputs = [one.name for one in self._session.get_outputs()]

    def __call__(self, arrays: Arrays) -> Mapping[str, np.ndarray]:
        """Return the outputs for arrays by name; those that the model does not take are left out."""
        found = self._session.run(self.outputs, {name: np.asarray(arrays[name]) for name in self.inputs})
        return dict(zip(self.outputs, found, strict=True))


def _name_axes(model: Any, form: ExportForm) -> None:
    """Name the axes that may change, in place of the exporter's `s0`."""
    import onnx_ir

    axes = {f"{name}/{key}": one for name, form_ in form.inputs.items() for key, one in form_.axes.items()}
    renamed: dict[str, str] = {}
    for value in model.graph.inputs:
        for at, axis in enumerate(axes[value.name]):
            dim = value.shape[at]
            if axis is not None and isinstance(dim, onnx_ir.SymbolicDim) and dim.value:
                renamed.setdefault(str(dim.value), axis)
    values = [*model.graph.inputs, *(value for node in model.graph.all_nodes() for value in node.outputs)]
    for value in values:
        if value.shape is None:
            continue
        for at, dim in enumerate(value.shape):
            if isinstance(dim, onnx_ir.SymbolicDim) and str(dim.value) in renamed:
                value.shape[at] = renamed[str(dim.value)]


def _quantize(file: Path) -> None:
    """Replace a model by one whose matrices and embeddings have 8 bits; what they are multiplied with follows in use.

    Dynamic quantisation of onnxruntime: weights by channel, activations by tensor.

    Raises:
        ExportError: onnxruntime cannot.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = file.with_name("small.onnx")
    try:
        with quiet():
            quantize_dynamic(
                str(file),
                str(small),
                op_types_to_quantize=list(QUANTIZED),
                nodes_to_exclude=_stacks(file),
                per_channel=True,
                weight_type=QuantType.QInt8,
                use_external_data_format=_size(file) > LARGEST,
            )
    except Exception as error:
        raise ExportError(
            f"onnxruntime cannot quantise this model ({reason_of(error)}). Leave quantize at None."
        ) from error
    data = file.with_name(f"{file.name}.data")
    data.unlink(missing_ok=True)
    small.replace(file)


def _stacks(file: Path) -> list[str]:
    """Return the nodes that multiply by a stack of matrices, one a column: they have no 8-bit kernel by channel."""
    import onnx

    graph = onnx.load(str(file), load_external_data=False).graph
    axes = {one.name: len(one.dims) for one in graph.initializer}
    return [node.name for node in graph.node if any(axes.get(name, 2) > 2 for name in node.input[:2])]


def _size(file: Path) -> int:
    data = file.with_name(f"{file.name}.data")
    return file.stat().st_size + (data.stat().st_size if data.exists() else 0)
