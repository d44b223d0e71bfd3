"""Image columns as an input: tower, rows, and their part of a saved predictor."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from thermocline.backbones.pretrained import Source, find_image, folder_of
from thermocline.config import ResolvedConfig, is_recorded
from thermocline.contracts.exporting import ROWS, InputForm
from thermocline.contracts.inputs import BuiltInput, InputKind, RowSource
from thermocline.contracts.showing import Differentiable, Parts, View
from thermocline.data.columns import Column, Columns
from thermocline.data.row_part import RowPart
from thermocline.errors import ConfigError, ImageReadError, listing
from thermocline.inputs.image.build import build_image, check_description, describe_image, model_size, rebuild_image
from thermocline.inputs.image.cells import is_missing
from thermocline.inputs.image.files import open_image
from thermocline.inputs.image.grey_range import grey_range
from thermocline.inputs.image.info import INFO
from thermocline.inputs.image.own_build import build_own_image, describe_own_image, own_image, rebuild_own_image
from thermocline.inputs.image.own_transform import check_transform
from thermocline.inputs.image.preprocessor import write_preprocessor
from thermocline.inputs.image.processor import ImageProcessor
from thermocline.inputs.image.reading import readable_rows
from thermocline.inputs.image.transforms import MOST_PIXELS, TIMES_CROP
from thermocline.inputs.image.views import image_differentiable, image_parts, image_views
from thermocline.inputs.own_layers import layers_of_own
from thermocline.tuning.layers.layer_map import LayerMap

if TYPE_CHECKING:
    import torch

    from thermocline.inputs.image.tower import ImageTower

AUGMENT = "model.image.augment"
SMALL_IMAGES = 4  # images are enlarged at most this much, where the backbone takes smaller sizes than its own
SAMPLE = 200  # rows whose images are looked at for their size
SAMPLE_IMAGES = 50  # images of them that are opened


class ImageInput(InputKind):
    """Image columns; each has its place in the features of a row."""

    info = INFO

    def check(self, columns: Columns, config: ResolvedConfig) -> None:
        """Check that the pretrained weights can be found, and a transform of the caller's own; nothing is loaded."""
        del columns
        _check_augment(config)
        if own_image(config) is None:
            _source(config)

    def usable_rows(
        self, source: RowSource, columns: Columns, config: ResolvedConfig, *, what: str
    ) -> tuple[np.ndarray | None, list[str]]:
        """Decode every image once: rows whose images cannot be read are left out where they are few."""
        for column in columns:
            if column.kind == "image" and column.missing == len(source.frame):
                raise ImageReadError(
                    f"Column {column.name!r} was given as image, but all {len(source.frame)} values are missing. Fill "
                    f"it, or leave the column out: column_types={{{column.name!r}: 'null'}}."
                )
        most = config.data.max_unreadable_images
        return readable_rows(source.frame, columns, source.folder, most, what=what)

    def build(self, source: RowSource, columns: Columns, config: ResolvedConfig) -> BuiltInput:
        """Build the tower; choose the size of images where it is left open."""
        own = [column for column in columns if column.kind in INFO.column_types]
        tower, config = _built(source, own, config)
        tower.norm_eval = _norm_eval(config, pretrained=tower.pretrained)
        if config.model.image.size is None:
            config = config.choose("model.image.size", tower.spec.size[0], "the model's own")
        ranges = [grey_range(source.frame[column.name].astype(object).tolist(), source.folder) for column in own]
        return BuiltInput(self, ImageProcessor(own, tower.spec, ranges), tower, config)

    def continued(self, before: BuiltInput, source: RowSource, columns: Columns, config: ResolvedConfig) -> BuiltInput:
        """Return the tower with its preprocessing, for these columns; each has its place in the features."""
        _check_augment(config)
        old: ImageProcessor = before.processor
        own = [column for column in columns if column.kind in INFO.column_types]
        tower: Any = copy.deepcopy(before.tower)
        tower.pretrained, tower.notes = True, ()
        tower.norm_eval = _norm_eval(config, pretrained=True)
        ranges = dict(zip((column.name for column in old.columns), old.ranges, strict=True))
        if [column.name for column in own] != list(ranges):
            tower.notes = (f"reads {listing(column.name for column in own)}, and read {listing(ranges)}",)
            tower.take_columns(len(own))
        new = {one.name: grey_range(source.frame[one.name].astype(object).tolist(), source.folder) for one in own}
        processor = ImageProcessor(own, old.spec, [(new | ranges)[column.name] for column in own])
        return BuiltInput(self, processor, tower, config)

    def rows(self, built: BuiltInput, source: RowSource) -> RowPart:
        """Collect the cells of the image columns; nothing is decoded yet."""
        options = built.config.model.image
        processor: ImageProcessor = built.processor
        rows = processor.rows(
            source.frame,
            source.folder,
            augment=options.augment if source.training else None,
            seed=source.seed,
            views=options.augment_views,
        )
        if source.training:
            optim = built.config.optim
            own = built.config.objects.get(AUGMENT)
            if own is None:
                _check_augment(built.config)
            mixed = bool(optim.mixup or optim.cutmix)
            rows = replace(rows, erasing=options.random_erasing, mixed=mixed, transform=own)
        if not source.training:
            processor.compare(source.frame, source.folder)
        return rows

    def views(
        self, built: BuiltInput, frame: pd.DataFrame, part: Any, rows: np.ndarray, epoch: int | None
    ) -> list[list[View]]:
        """Return the images, varied where they are read in training."""
        del built, frame
        return image_views(part, rows, epoch)

    def parts(self, built: BuiltInput, column: Column, cell: object, folder: Path | None, grid: int) -> Parts:
        """Return the fields of an image."""
        processor: ImageProcessor = built.processor
        names = [one.name for one in processor.columns]
        return image_parts(column, cell, folder, processor.ranges[names.index(column.name)], grid)

    def differentiable(self, built: BuiltInput, inputs: Mapping[str, torch.Tensor]) -> Differentiable:
        """Return the pixels."""
        return image_differentiable(built.processor, cast("ImageTower", built.tower), inputs)

    def layers(self, tower: Any) -> Mapping[str, LayerMap]:
        """Return the layers of the backbone."""
        if tower.own is not None:
            example = tower.layer_example
            return {"backbone": layers_of_own(tower.backbone, example, tower=INFO.name, pretrained=tower.pretrained)}
        return {"backbone": LayerMap.of(tower.backbone, tower=INFO.name, pretrained=tower.pretrained)}

    def describe(self, built: BuiltInput, folder: Path) -> dict[str, Any]:
        """Return processor and tower; no files are written."""
        del folder
        tower: Any = built.tower
        described = describe_image(tower) if tower.own is None else describe_own_image(tower)
        return {"processor": built.processor.to_dict(), "tower": described}

    def rebuild(
        self, described: Mapping[str, Any], folder: Path, config: ResolvedConfig, *, trust_remote_code: bool
    ) -> BuiltInput:
        """Build the tower from its description, with random weights."""
        del folder, trust_remote_code  # image backbones never run code of a checkpoint
        if described["tower"]["library"] == "own":
            tower = rebuild_own_image(described["tower"], config)
        else:
            tower = rebuild_image(check_description(described["tower"]))
        tower.norm_eval = _norm_eval(config, pretrained=tower.pretrained)
        return BuiltInput(self, ImageProcessor.from_dict(described["processor"]), tower, config)

    def write_preprocessing(self, built: BuiltInput, folder: Path) -> None:
        """Write the image processor of transformers; timm has its own in its configuration."""
        if getattr(built.tower.library_module, "config", None) is not None:
            write_preprocessor(built.processor.spec, folder)

    def export_form(self, built: BuiltInput, folder: Path) -> InputForm:
        """Return size, resampling, crop and ranges of grey; the model itself takes mean and deviation off."""
        del folder
        processor: ImageProcessor = built.processor
        spec, shape = processor.spec, (len(processor.columns), 3, *processor.spec.size)
        settings = {
            "columns": [column.name for column in processor.columns],
            "ranges": processor.to_dict()["ranges"],
            "most_pixels": max(MOST_PIXELS, TIMES_CROP * spec.size[0] * spec.size[1]),
            **spec.to_dict(),
        }
        axes = {"pixels": (ROWS, *(None for _ in shape)), "present": (ROWS, None)}
        sources = ("thermocline.data.standalone_cells", "thermocline.inputs.image.standalone")
        return InputForm(axes, partial(_example, shape), settings, "ImageReader", sources)


def _example(shape: tuple[int, ...], rows: int) -> dict[str, np.ndarray]:
    """Return arrays of made-up images, one of which is missing where there are several rows."""
    rng = np.random.default_rng(rows)
    present = np.ones((rows, shape[0]), dtype=bool)
    present[-1] = rows == 1
    pixels = rng.integers(0, 256, (rows, *shape), dtype=np.uint8)
    return {"pixels": pixels * present[..., None, None, None].astype(np.uint8), "present": present}


def _built(source: RowSource, columns: list[Column], config: ResolvedConfig) -> tuple[ImageTower, ResolvedConfig]:
    """Return the tower, with a size of images that is chosen where it is left open."""
    given = own_image(config)
    if given is not None:
        return build_own_image(given, config, columns=len(columns)), config
    pretrained = _source(config)
    folder = folder_of(pretrained, "model.image")
    size = config.model.image.size
    if size is None:
        size, why = _choose_size(source, columns, pretrained, folder)
        if size is not None:
            config = config.choose("model.image.size", size, why)
    drop_path = config.model.image.drop_path
    return build_image(pretrained, folder, size=size, columns=len(columns), drop_path=drop_path), config


def _source(config: ResolvedConfig) -> Source:
    options = config.model.image
    return find_image(options.checkpoint, pretrained=options.pretrained)


def _norm_eval(config: ResolvedConfig, *, pretrained: bool) -> bool:
    """Whether BatchNorm keeps its statistics: `auto` keeps those of pretrained weights."""
    choice = config.model.image.batch_norm
    return choice == "eval" or (choice == "auto" and pretrained)


def _choose_size(
    source: RowSource, columns: list[Column], pretrained: Source, folder: Path | None
) -> tuple[int | None, str]:
    """Choose a size below the model's own where images are small: nothing is gained by enlarging them further.

    Returns:
        Pixels a side, or None for the model's own; and why.
    """
    own, flexible = model_size(pretrained, folder)
    cells = [value for column in columns for value in source.frame[column.name].iloc[:SAMPLE] if not is_missing(value)]
    sides = [min(open_image(value, source.folder).size) for value in cells[:SAMPLE_IMAGES]]
    if not sides or not flexible:
        return None, ""
    typical = int(np.median(sides))
    chosen = max(64, -(-SMALL_IMAGES * typical // 32) * 32)
    if chosen >= own:
        return None, ""
    return chosen, f"images are about {typical} pixels a side; {SMALL_IMAGES} times that, not the model's {own}"


def _check_augment(config: ResolvedConfig) -> None:
    """Check a transform of the caller's own, and that it was handed in where its name is the value."""
    transform, named = config.objects.get(AUGMENT), config.model.image.augment
    if transform is not None:
        check_transform(transform)
    elif is_recorded(named):
        raise ConfigError(
            f"{AUGMENT}={named!r} is the name of a transform, and no name is imported. Hand the transform "
            f"itself in, in Python: hyperparameters={{{AUGMENT!r}: transform}}, or set it to light."
        )
