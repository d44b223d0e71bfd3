"""The road of an export: checks, a copy of the model, one format, scores, the card, and a folder that is whole."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import thermocline
from thermocline.backbones.adapters import merge
from thermocline.backbones.pretrained import file_sha256
from thermocline.contracts.exporting import ExportForm
from thermocline.contracts.problem import Assembly
from thermocline.errors import ConfigError, OutputExistsError, did_you_mean, listing
from thermocline.export.backbone_folder import tower_of, write_backbone
from thermocline.export.exported import Exported
from thermocline.export.model_card import card
from thermocline.export.onnx_format import MODEL, Session, require_onnx, write_onnx
from thermocline.export.program import PROGRAM as PYTHON
from thermocline.export.program import write_program
from thermocline.export.torch_format import PROGRAM, LoadedProgram, write_torch
from thermocline.pipeline.fitted import Fitted
from thermocline.pipeline.listed_files import MANIFEST, read_manifest
from thermocline.pipeline.predict import evaluate
from thermocline.pipeline.saved_folder import UNFINISHED, check_free, replaced, writing_to
from thermocline.training.writing import size_of, told_unwritable

ONNX, TORCH_EXPORT, TRANSFORMERS, TIMM = "onnx", "torch_export", "transformers", "timm"
Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
FORMATS = (ONNX, TORCH_EXPORT, TRANSFORMERS, TIMM)
BACKBONES = (TRANSFORMERS, TIMM)
INT8 = "int8"
ROWS_AT_ONCE = 32
VERSION = 1
"""Of `preprocessing.json` and of the manifest."""


@dataclass(frozen=True)
class Wish:
    """What was asked for; see `Predictor.export`."""

    format: str = ONNX
    quantize: str | None = None
    tower: str | None = None
    data: Any = None
    overwrite: bool = False

    def check(self) -> None:
        """Check what shows without a model.

        Raises:
            ConfigError: A format or quantisation that does not exist, or arguments that do not go together.
            MissingDependencyError: A library is not installed.
        """
        if self.format not in FORMATS:
            hint = did_you_mean(self.format, FORMATS)
            raise ConfigError(f"format is one of {listing(FORMATS)}, not {self.format!r}.{hint}")
        if self.quantize not in (None, INT8):
            raise ConfigError(f"quantize is None or {INT8!r}, not {self.quantize!r}.")
        if self.quantize is not None and self.format != ONNX:
            raise ConfigError(f"quantize={self.quantize!r} is for format='onnx', not {self.format!r}.")
        if self.tower is not None and self.format not in BACKBONES:
            raise ConfigError(f"tower is for {listing(BACKBONES)}; {self.format!r} holds the whole model.")
        if self.data is not None and self.format in BACKBONES:
            raise ConfigError(f"data is scored by a whole model; format={self.format!r} holds a backbone.")
        if self.format == ONNX:
            require_onnx()


def export(fitted: Fitted, path: Path, wish: Wish) -> Exported:
    """Write a fitted model into a folder in another format, all or nothing.

    Args:
        fitted: The model.
        path: The folder.
        wish: What was asked for.

    Raises:
        ConfigError: Arguments that do not fit.
        ExportError: The model cannot be exported so.
        OutputExistsError: The folder holds something else.
    """
    wish.check()
    tower = tower_of(fitted.assembly, wish.format, wish.tower) if wish.format in BACKBONES else None
    identity = f"{wish.format} of {fitted.identity}"
    with writing_to(path):
        _check_replaceable(path, identity, overwrite=wish.overwrite)
        way_out = "Free space and export again, or export elsewhere."
        needed = size_of(fitted.assembly.model.state_dict())
        with told_unwritable(path, needed, way_out), replaced(path) as draft:
            use, scores = _write(fitted.assembly, draft, wish, tower)
            shown = use.format(path=path)
            (draft / "README.md").write_text(card(fitted, wish.format, shown, scores), encoding="utf-8")
            written = sorted(one for one in draft.rglob("*") if one.is_file() and one.name != UNFINISHED)
            files = {one.relative_to(draft).as_posix(): one for one in written}
            sizes = {name: one.stat().st_size for name, one in files.items()}
            manifest = {
                "format": VERSION,
                "export": wish.format,
                "thermocline": thermocline.__version__,
                "identity": identity,
                "files": {name: file_sha256(one) for name, one in files.items()},
            }
            _dump(draft / MANIFEST, manifest)
    return Exported(path, wish.format, dict(sorted(sizes.items(), key=lambda one: -one[1])), shown, scores)


def _check_replaceable(path: Path, identity: str, *, overwrite: bool) -> None:
    """Check that an export may take the place of what is at a path; a saved predictor is never replaced by one."""
    if (path / MANIFEST).is_file():
        try:
            held = read_manifest(path).get("export")
        except (OSError, ValueError, AttributeError):
            held = None
        if held is None:
            raise OutputExistsError(
                f"{str(path)!r} holds a saved predictor, which an export never replaces. Choose another path."
            )
    check_free(path, identity, overwrite=overwrite)


def _write(assembly: Assembly, folder: Path, wish: Wish, tower: str | None) -> tuple[str, pd.DataFrame | None]:
    """Write all but card and manifest; return how it is loaded, and the scores of the data that were given."""
    plain = _plain_copy(assembly)
    if tower is not None:
        return write_backbone(plain, wish.format, tower, folder), None
    form = assembly.problem.export_form(plain, folder)
    run: Callable[[Path], Run]
    if wish.format == ONNX:
        write_onnx(form, folder, wish.quantize)
        write_program(form, folder, thermocline.__version__)
        file, use, run = MODEL, f"python {{path}}/{PYTHON} rows.csv", Session
    else:
        write_torch(form, folder)
        file, use, run = PROGRAM, f"torch.export.load('{{path}}/{PROGRAM}').module()", LoadedProgram
    _dump(folder / "preprocessing.json", _preprocessing(form, file))
    return use, None if wish.data is None else _scores(assembly, run(folder / file), wish.data)


def _plain_copy(assembly: Assembly) -> Assembly:
    """Return a copy of a model on the CPU, in eval mode, with what adapters have learnt in its weights."""
    model = copy.deepcopy(assembly.model).cpu().eval().requires_grad_(requires_grad=False)
    for module in model.modules():
        module._compiled_call_impl = None
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.untyped_storage().nbytes() != buffer.nbytes:  # a part is not saved alone
                module._buffers[name] = buffer.clone(memory_format=torch.contiguous_format)
    for tower in model.towers.values():
        if getattr(tower, "adapters", None) is not None:
            merge(tower.backbone_module, tower.adapters)
            tower.adapters = None
    inputs = {
        name: replace(one, tower=model.towers[name]) if name in model.towers else one
        for name, one in assembly.built.inputs.items()
    }
    return replace(assembly, built=replace(assembly.built, model=model, inputs=inputs))


def _preprocessing(form: ExportForm, file: str) -> dict[str, Any]:
    """Return what `preprocessing.json` says."""
    return {
        "version": VERSION,
        "thermocline": thermocline.__version__,
        "model": file,
        "rows_at_once": 1 if form.one_row else ROWS_AT_ONCE,
        "inputs": {
            name: {
                "reader": one.reader,
                "arrays": {f"{name}/{key}": list(axes) for key, axes in one.axes.items()},
                "settings": dict(one.settings),
            }
            for name, one in form.inputs.items()
        },
        "answers": {"maker": form.answers, "settings": dict(form.settings)},
    }


def _scores(assembly: Assembly, run: Run, data: Any) -> pd.DataFrame:
    """Return the scores of labelled data before and after."""

    def computed(batch: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        found = run({name: array.cpu().numpy() for name, array in batch.items()})
        return {name: torch.from_numpy(array) for name, array in found.items()}

    before = evaluate(assembly, data, None)
    after = evaluate(assembly.problem.with_outputs(assembly, computed), data, None)
    table = pd.DataFrame({"before": before, "after": after})
    table["change"] = table["after"] - table["before"]
    return table


def _dump(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
