"""A tuned backbone as a folder that transformers or timm loads, with the same features."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thermocline.backbones.library_settings import quiet_transformers
from thermocline.contracts.problem import Assembly
from thermocline.errors import ConfigError, ExportError, first_line, listing

TOLERANCE = 1e-5
TOKENS = 8


def tower_of(assembly: Assembly, library: str, tower: str | None) -> str:
    """Return the name of the tower whose backbone is written.

    Args:
        assembly: The model.
        library: `transformers` or `timm`.
        tower: The one that was asked for, or None for the only one.

    Raises:
        ConfigError: There is no such tower, none of this library, or several.
    """
    backbones = {name: one.library_module for name, one in assembly.model.towers.items()}
    fitting = [name for name, one in backbones.items() if one is not None and _library(one) == library]
    if tower is not None and tower not in backbones:
        raise ConfigError(f"There is no tower {tower!r}. This predictor has {listing(backbones)}.")
    if not fitting or (tower is not None and tower not in fitting):
        of = {name: "no backbone" if one is None else _library(one) for name, one in backbones.items()}
        said = ", ".join(f"{name}: {what}" for name, what in of.items())
        raise ConfigError(
            f"format={library!r} takes a backbone of {library}"
            + (f", and the tower {tower!r} has none" if tower else "")
            + f". This predictor's towers have: {said}."
        )
    if tower is None and len(fitting) > 1:
        raise ConfigError(f"Several towers have a backbone of {library}. Name one by tower=: {listing(fitting)}.")
    return tower or fitting[0]


def write_backbone(assembly: Assembly, library: str, tower: str, folder: Path) -> str:
    """Write a backbone and its preprocessing; return the line of Python that loads it.

    Args:
        assembly: A copy on the CPU, in eval mode and without adapters.
        library: `transformers` or `timm`.
        tower: Whose backbone.
        folder: Where to.

    Raises:
        ExportError: What the library loads from the folder has other features.
    """
    module = assembly.model.towers[tower].library_module
    if library == "timm":
        use = _write_timm(module, assembly.model.towers[tower], folder)
    else:
        with quiet_transformers():
            use = _write_transformers(module, folder)
    assembly.problem.write_preprocessing(assembly, tower, folder)
    return use


def _library(module: nn.Module) -> str:
    from transformers import PreTrainedModel

    if hasattr(module, "thermocline_timm"):
        return "timm"
    return "transformers" if isinstance(module, PreTrainedModel) else type(module).__module__.split(".")[0]


# -- timm ----------------------------------------------------------------------------------------------------------


def _write_timm(module: Any, tower: Any, folder: Path) -> str:
    import timm

    module = module.to(memory_format=torch.contiguous_format)  # what safetensors takes
    arguments = {key: value for key, value in module.thermocline_timm.items() if key != "architecture"}
    spec = tower.spec
    config = {
        **{key: value for key, value in dict(module.pretrained_cfg).items() if key not in ("file", "url", "hf_hub_id")},
        "input_size": [3, *spec.size],
        "mean": list(spec.mean),
        "std": list(spec.std),
        "interpolation": spec.interpolation,
        "crop_pct": spec.crop_fraction,
        "crop_mode": "squash" if spec.squash else "center",
        "num_classes": 0,
    }
    model_config = {"num_classes": 0, "pretrained_cfg": config}
    timm.models.save_for_hf(module, str(folder), model_config, arguments or None, safe_serialization=True)
    with _told("timm"):
        loaded = timm.create_model(f"local-dir:{folder}", pretrained=True)
        pixels = torch.randn(2, 3, *spec.size, generator=torch.Generator().manual_seed(0))
        _compare(module(pixels), loaded.eval()(pixels), "timm")
    return "timm.create_model('local-dir:{path}', pretrained=True)"


# -- transformers --------------------------------------------------------------------------------------------------


def _write_transformers(module: Any, folder: Path) -> str:
    import transformers

    if type(module).__module__.split(".")[0] != "transformers":
        raise ExportError(
            f"{type(module).__name__} is code that its checkpoint brought, which a folder written here does not hold. "
            "Save the predictor instead, predictor.save(path)."
        )
    module, name = _loadable(module)
    module.save_pretrained(str(folder))
    with _told("transformers"):
        loaded = getattr(transformers, name).from_pretrained(str(folder), dtype=torch.float32).eval()
        _compare(_features(module), _features(loaded), "transformers")
    return f"transformers.{name}.from_pretrained('{{path}}')"


def _loadable(module: Any) -> tuple[Any, str]:
    """Return the module that transformers builds for its configuration, and the class that does."""
    import transformers

    for name in ("AutoModel", "AutoModelForObjectDetection", "AutoModelForTextEncoding"):
        known = getattr(transformers, name)._model_mapping
        kind = known.get(type(module.config), None)
        if kind is not None and type(module) in (kind if isinstance(kind, tuple) else (kind,)):
            return module, name
    whole = transformers.AutoModelForTextEncoding
    if type(module.config) not in whole._model_mapping:
        raise ExportError(
            f"transformers loads no {type(module).__name__} by itself: it is a part of a larger model. Save the "
            "predictor instead, predictor.save(path)."
        )
    config = copy.deepcopy(module.config)
    config.is_encoder_decoder = False
    outer = whole.from_config(config)  # the encoder of a model that also has a decoder
    outer.set_input_embeddings(module.get_input_embeddings())
    outer.encoder = module
    return outer.eval(), "AutoModelForTextEncoding"


def _features(module: Any) -> torch.Tensor:
    """Return what a model gives for made-up tokens or pixels."""
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        if module.main_input_name == "pixel_values":
            side: Any = getattr(module.config, "image_size", None) or 128
            height, width = side if isinstance(side, (list, tuple)) else (side, side)
            out = module(torch.randn(1, 3, height, width, generator=numbers))
        else:
            ids = torch.randint(0, module.config.vocab_size, (2, TOKENS), generator=numbers)
            out = module(input_ids=ids, attention_mask=torch.ones_like(ids))
    found: torch.Tensor = out.logits if hasattr(out, "logits") else out[0]
    return found


def _compare(own: torch.Tensor, loaded: torch.Tensor, library: str) -> None:
    off = float((own - loaded).abs().max()) if own.shape == loaded.shape else float("inf")
    if not off <= TOLERANCE * max(1.0, float(own.abs().max())):
        raise ExportError(
            f"What {library} loads from the folder has other features than the tuned backbone (they differ by "
            f"{off:.2g}). Nothing was written; save the predictor instead, predictor.save(path)."
        )


@contextmanager
def _told(library: str) -> Iterator[None]:
    """Say in one line what a library could not load."""
    try:
        with torch.no_grad():
            yield
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"{library} does not load the folder that it wrote ({type(error).__name__}: {first_line(error)}). Nothing "
            "was written; save the predictor instead, predictor.save(path)."
        ) from error
