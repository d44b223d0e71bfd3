"""From a frame and a configuration to processors, model, layers and plan: everything before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from thermocline.backbones import pretrained as checkpoints
from thermocline.config import ResolvedConfig
from thermocline.data.batches import Rows
from thermocline.data.columns import Columns
from thermocline.data.row_part import RowPart
from thermocline.errors import SelectorError, listing
from thermocline.inputs.image.processor import ImageProcessor
from thermocline.inputs.image.tower import ImageTower, build_image, model_size
from thermocline.inputs.table.rows import TableProcessor
from thermocline.inputs.table.tower import TableTower, number_bins
from thermocline.inputs.text.rows import TextProcessor, choose_max_length
from thermocline.inputs.text.tokenizer import load_tokenizer, train_tokenizer
from thermocline.inputs.text.tower import TextTower, build_text, load_config, looks_at_padding, token_limit
from thermocline.pipeline.run_length import fitted_to_run, read_phases, with_phases
from thermocline.problems.object_detection.model import DetectionModel
from thermocline.problems.rowwise import peft as adaptation
from thermocline.problems.rowwise.defaults import choose_rates
from thermocline.problems.rowwise.fusion import FusionModel
from thermocline.problems.rowwise.task import Task
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SMALL_IMAGES = 4  # images are enlarged at most this much, where the backbone takes smaller sizes than its own


@dataclass
class Processors:
    """What turns a frame into rows, one for each tower."""

    text: TextProcessor | None = None
    image: ImageProcessor | None = None
    table: TableProcessor | None = None

    def rows(
        self,
        frame: pd.DataFrame,
        folder: Path | None,
        *,
        augment: str | None = None,
        seed: int = 0,
        views: int | None = None,
    ) -> dict[str, RowPart]:
        """Turn a frame into rows, tower by tower.

        Raises:
            DataError: A cell that does not fit its column; an image that is not there.
        """
        parts: dict[str, RowPart] = {}
        if self.image is not None:
            parts["image"] = self.image.rows(frame, folder, augment=augment, seed=seed, views=views)
        if self.text is not None:
            parts["text"] = self.text.rows(frame)
        if self.table is not None:
            parts["table"] = self.table.rows(frame)
        return parts


@dataclass
class Assembly:
    """A model ready to train or to predict, with all it takes to use it."""

    task: Task
    columns: Columns
    config: ResolvedConfig
    processors: Processors
    model: FusionModel
    layer_map: LayerMap
    plan: LayerPlan
    notes: tuple[str, ...] = ()
    weight: str | None = None
    table_options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def rows(self, frame: pd.DataFrame, folder: Path | None, *, training: bool = False, seed: int = 0) -> Rows:
        """Turn a labelled frame into rows with targets and weights.

        Args:
            frame: The frame, labels included.
            folder: Where relative image paths start.
            training: Whether images are augmented.
            seed: The run's seed.
        """
        image = self.config.model.image
        augment = image.augment if training else None
        parts = self.processors.rows(frame, folder, augment=augment, seed=seed, views=image.augment_views)
        weight = None if self.weight is None else frame[self.weight].to_numpy(dtype=np.float32)
        return Rows(parts, self.task.encode(frame), weight)


def find_sources(columns: Columns, config: ResolvedConfig) -> dict[str, checkpoints.Source]:
    """Find the checkpoints that these columns need; nothing is loaded.

    Raises:
        CheckpointError: One of them does not exist.
        ConfigError: `model.peft` is set, and there is no backbone to adapt.
        MissingDependencyError: peft is needed and not installed.
    """
    found = {}
    if columns.of("text"):
        text = config.model.text
        found["text"] = checkpoints.find_text(text.checkpoint, pretrained=text.pretrained)
    if columns.of("image"):
        image = config.model.image
        found["image"] = checkpoints.find_image(image.checkpoint, pretrained=image.pretrained)
    if config.model.peft is not None:
        adaptation.check(config.model.peft, list(found))
    return found


def assemble(
    frame: pd.DataFrame,
    columns: Columns,
    task: Task,
    config: ResolvedConfig,
    folder: Path | None,
    *,
    seed: int,
    weight: str | None = None,
) -> Assembly:
    """Build processors, towers, layer map and plan from training rows.

    Args:
        frame: The training rows.
        columns: Their types.
        task: The task.
        config: The configuration; what is left open in it is chosen here, with the reason.
        folder: Where relative image paths start.
        seed: Of the random weights.
        weight: The column of row weights.

    Raises:
        CheckpointError: A checkpoint cannot be loaded.
        SelectorError: `frozen_layers` matches nothing, or everything.
        ConfigError: `model.peft` finds nothing in a backbone that it could train.
        LayerMapError: The layers of a backbone are needed and cannot be found.
    """
    phases = read_phases(config)  # faults in them show before anything is loaded
    sources = find_sources(columns, config)
    processors = Processors()
    towers: dict[str, torch.nn.Module] = {}
    options: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if "text" in sources:
            towers["text"], processors.text, config = _text(frame, columns, config, sources["text"])
        if "image" in sources:
            towers["image"], processors.image, config = _image(frame, columns, config, sources["image"], folder)
        if columns.of("numeric") or columns.of("categorical"):
            towers["table"], processors.table, options = _table(frame, columns, config)
        fusion = config.model.fusion
        model = FusionModel(towers, task.width, width=fusion.width, dropout=fusion.dropout)
        adapted = adaptation.adapt(model, config.model)  # last: the other random weights are as without adapters
    config = choose_rates(config, model, task, len(frame))
    layer_map = layers_of(model, adapted)
    plan = with_phases(make_plan(layer_map, config), config, phases, len(frame))
    plan, config = fitted_to_run(plan, config, len(frame))
    notes = tuple(f"{name}: {line}" for name, tower in towers.items() for line in getattr(tower, "notes", ()))
    return Assembly(task, columns, config, processors, model, layer_map, plan, notes, weight, options)


def layers_of(model: FusionModel, adapted: Mapping[str, LayerMap] | None = None) -> LayerMap:
    """Return the layers of all towers, of the fusion MLP and of the head.

    Args:
        model: The model.
        adapted: The maps of backbones that `adaptation.adapt` has adapted, by tower.
    """
    maps = {}
    for name, tower in model.towers.items():
        pretrained = bool(getattr(tower, "pretrained", False))
        if isinstance(tower, TableTower):
            # our own net: its layers are known, whatever their share of the parameters
            order = ["stem", "blocks.*", "out"]
            maps[f"towers.{name}"] = LayerMap.from_patterns(tower, order, tower=name, pretrained=False)
        else:
            backbone = tower.get_submodule("backbone")
            own = (adapted or {}).get(name)
            maps[f"towers.{name}.backbone"] = own or LayerMap.of(backbone, tower=name, pretrained=pretrained)
    if model.fusion is not None:
        maps["fusion"] = LayerMap.single(model.fusion, name="mlp", tower="fusion", role="fusion", depth=0)
    maps["head"] = LayerMap.single(model.head, name="head", tower="fusion", role="head", depth=1)
    return LayerMap.join(maps)


def make_plan(layer_map: LayerMap, config: ResolvedConfig) -> LayerPlan:
    """Return the plan that a configuration asks for."""
    optim, model = config.optim, config.model
    assert optim.lr is not None
    own = {name: getattr(model, name).frozen_layers for name in ("text", "image", "table", "detector")}
    for name, selector in own.items():
        key = f"model.{name}.frozen_layers"
        if selector is not None and name not in layer_map.towers and config.provenance.get(key) == "user":
            raise SelectorError(
                f"{key}={selector!r} matches nothing: this problem has no {name} tower. Towers: "
                f"{listing(layer_map.towers)}. Leave it out, or see the columns' types (column_types)."
            )
    selectors: dict[str, Any] = {k: v for k, v in own.items() if v is not None and k in layer_map.towers}
    if model.peft is not None:
        selectors = adaptation.hosts_frozen(layer_map, selectors)
    return LayerPlan.build(
        layer_map,
        lr=optim.lr,
        lr_choice=optim.lr_choice,
        lr_decay=optim.lr_decay,
        lr_mult=optim.lr_mult,
        weight_decay=optim.weight_decay,
        frozen_layers=model.frozen_layers,
        tower_frozen_layers=selectors,
        schedule=optim.lr_schedule,
        warmup=optim.warmup,
    )


def norm_eval_names(model: FusionModel | DetectionModel, config: ResolvedConfig) -> list[str]:
    """Return the towers whose BatchNorm keeps its statistics: pretrained ones, unless the user says otherwise."""
    choice = config.model.image.batch_norm
    if "image" not in model.towers:
        return []
    pretrained = bool(getattr(model.towers["image"], "pretrained", False))
    return ["towers.image"] if choice == "eval" or (choice == "auto" and pretrained) else []


def _text(
    frame: pd.DataFrame, columns: Columns, config: ResolvedConfig, source: checkpoints.Source
) -> tuple[TextTower, TextProcessor, ResolvedConfig]:
    options = config.model.text
    folder = checkpoints.folder_of(source, "model.text")
    wanted = tuple(c for c in columns.columns if c.kind == "text")
    tokenizer, trained = _tokenizer(frame, [c.name for c in wanted], source, folder, options.trust_remote_code)
    tower = build_text(
        source,
        folder,
        tokenizer if trained else None,
        pooling=options.pooling,
        trust_remote_code=options.trust_remote_code,
    )
    if trained:
        tower.notes += (f"tokenizer of {len(tokenizer)} pieces trained on the training texts",)
    config = (
        config.choose("model.text.pooling", tower.pooling, "fits the model") if options.pooling == "auto" else config
    )
    limit = token_limit(tower, tokenizer)
    exact = not looks_at_padding(tower, len(tokenizer))
    length = min(options.max_length or limit, limit)
    processor = TextProcessor(tokenizer, wanted, join=options.join, max_length=length, pad_to_longest=exact)
    if options.max_length is None:
        length, why = choose_max_length(processor.rows(frame).token_counts, limit)
        config = config.choose("model.text.max_length", length, why)
    elif options.max_length > limit:
        config = config.choose(
            "model.text.max_length", limit, f"the model takes no more ({options.max_length} was asked for)"
        )
    processor = TextProcessor(tokenizer, wanted, join=options.join, max_length=length, pad_to_longest=exact, most=limit)
    return tower, processor, config


def _tokenizer(
    frame: pd.DataFrame, names: list[str], source: checkpoints.Source, folder: Path | None, trust: bool
) -> tuple[PreTrainedTokenizerBase, bool]:
    """Return the checkpoint's tokenizer, or (random weights only) one trained on the texts, and whether it was
    trained."""
    if folder is not None and (source.pretrained or checkpoints.has_tokenizer(folder)):
        return load_tokenizer(folder, name=source.name, trust_remote_code=trust), False
    values = [str(v) for name in names for v in frame[name].dropna()]
    most = getattr(load_config(source, folder, trust_remote_code=trust), "vocab_size", None)
    return train_tokenizer([*names, *values], most=min(8_000, int(most or 8_000))), True


def _image(
    frame: pd.DataFrame, columns: Columns, config: ResolvedConfig, source: checkpoints.Source, root: Path | None
) -> tuple[ImageTower, ImageProcessor, ResolvedConfig]:
    wanted = tuple(c for c in columns.columns if c.kind == "image")
    folder = checkpoints.folder_of(source, "model.image")
    size = config.model.image.size
    if size is None:
        size, why = _image_size(frame, [c.name for c in wanted], source, folder, root)
        if size is not None:
            config = config.choose("model.image.size", size, why)
    tower = build_image(source, folder, size=size, columns=len(wanted))
    if size is None:
        config = config.choose("model.image.size", tower.spec.size[0], "the model's own")
    return tower, ImageProcessor(wanted, tower.spec), config


def _image_size(
    frame: pd.DataFrame, names: list[str], source: checkpoints.Source, folder: Path | None, root: Path | None
) -> tuple[int | None, str]:
    """Choose a size below the model's own where the images are small: nothing is won by enlarging them further."""
    from thermocline.inputs.image.files import is_missing, open_image

    own, flexible = model_size(source, folder)
    cells = [v for name in names for v in frame[name].iloc[:200] if not is_missing(v)]
    sides = [min(open_image(v, root).size) for v in cells[:50]]
    if not sides or not flexible:
        return None, ""
    typical = int(np.median(sides))
    chosen = max(64, -(-SMALL_IMAGES * typical // 32) * 32)
    if chosen >= own:
        return None, ""
    return chosen, f"images are about {typical} pixels a side; {SMALL_IMAGES} times that, not the model's {own}"


def _table(
    frame: pd.DataFrame, columns: Columns, config: ResolvedConfig
) -> tuple[TableTower, TableProcessor, dict[str, Any]]:
    options = config.model.table
    processor = TableProcessor.fit(frame, columns, max_categories=config.data.max_categories)
    arguments: dict[str, Any] = {
        "width": options.width,
        "blocks": options.blocks,
        "dropout": options.dropout,
        "embedding": options.embedding,
    }
    bins = number_bins(processor.rows(frame), options.bins)
    return TableTower(bins, processor.cardinalities, **arguments), processor, arguments
