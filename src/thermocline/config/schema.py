"""Every option there is: its name, type, default, choices, range and one line of what it does.

The classes are frozen and are the structured config that OmegaConf merges over. What a type cannot say
(a range, a line of documentation) is in the field's metadata, and `keys.py` reads both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

FrozenLayers: TypeAlias = int | str | tuple[int | str, ...] | None
"""A selector or several: a role, a number of layers, a segment glob, `re:…`. Read by `tuning.selectors`."""

Pooling: TypeAlias = Literal["auto", "cls", "mean", "last"]
Join: TypeAlias = Literal["names", "separator"]
Augment: TypeAlias = Literal["none", "light", "standard"]
BatchNorm: TypeAlias = Literal["auto", "eval", "train"]
HeadPart: TypeAlias = Literal["neck", "encoder", "decoder", "head"]
NumericEmbedding: TypeAlias = Literal["piecewise", "periodic", "none"]
Optimizer: TypeAlias = Literal["adamw", "sgd"]
Peft: TypeAlias = Literal["lora", "ia3", "bitfit", "norm"]
LrChoice: TypeAlias = Literal["single_lr", "two_stage", "layerwise_decay"]
LrSchedule: TypeAlias = Literal["cosine", "linear", "constant", "one_cycle"]
Phases: TypeAlias = Any
"""A list of mappings, a field of `tuning.phases.Phase` each. Read by `tuning.phase_data`."""
SchedulePlan: TypeAlias = Any
"""A generator by name with its arguments. Read by `tuning.generators`."""
HeadInit: TypeAlias = Literal["probe", "random"]
TopKAverage: TypeAlias = Literal["best", "uniform_soup", "greedy_soup"]
Precision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16"]
Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
Logger: TypeAlias = Literal["tensorboard", "csv"]
CachePrefix: TypeAlias = Literal["auto", "off", "memory", "disk"]
CacheImages: TypeAlias = Literal["auto", "off", "memory", "disk"]
BoxFormat: TypeAlias = Literal["xyxy", "xywh"]
BadBoxes: TypeAlias = Literal["error", "drop"]
ConvBN: TypeAlias = Literal["auto", "on", "off"]
Checkpointing: TypeAlias = int | str | tuple[int | str, ...] | None
"""`auto`, `all`, or selectors as in `FrozenLayers`. Read by `efficiency.checkpointing`."""


def _about(
    doc: str,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> dict[str, Any]:
    """Return a field's metadata: its line of documentation and its range."""
    return {"doc": doc, "above": above, "at_least": at_least, "below": below, "at_most": at_most}


_TOWER_FREEZE = "Layers of this tower that never train; joins what `model.frozen_layers` freezes."


@dataclass(frozen=True)
class TextConfig:
    """The text tower."""

    checkpoint: str = field(
        default="jhu-clsp/ettin-encoder-68m",
        metadata=_about("A hub name, a local folder, or `offline:minilm-l6`."),
    )
    pretrained: bool = field(
        default=True, metadata=_about("Start from the checkpoint's weights; false keeps its shape only.")
    )
    pooling: Pooling = field(
        default="auto", metadata=_about("How tokens become one vector; auto fits the model family.")
    )
    max_length: int | None = field(
        default=None, metadata=_about("Most tokens per row; null: from the data and the model.", at_least=4)
    )
    join: Join = field(
        default="names",
        metadata=_about("Several text columns: as `column: value`, or parted by the separator token."),
    )
    frozen_layers: FrozenLayers = field(default=None, metadata=_about(_TOWER_FREEZE))
    trust_remote_code: bool = field(
        default=False, metadata=_about("Let the checkpoint's own Python code run on this machine.")
    )


@dataclass(frozen=True)
class ImageConfig:
    """The image tower."""

    checkpoint: str = field(
        default="mobilenetv4_conv_medium.e500_r256_in1k",
        metadata=_about("A timm name, a transformers vision model, or a local folder."),
    )
    pretrained: bool = field(
        default=True, metadata=_about("Start from the checkpoint's weights; false keeps its shape only.")
    )
    size: int | None = field(
        default=None, metadata=_about("Side of the input in pixels; null: the model's own.", at_least=16)
    )
    augment: Augment = field(
        default="light", metadata=_about("How strongly training images are varied; none: not at all.")
    )
    augment_views: int | None = field(
        default=None,
        metadata=_about(
            "Variants of each training image, chosen by seed and epoch; null: a new one every epoch.", at_least=1
        ),
    )
    batch_norm: BatchNorm = field(
        default="auto",
        metadata=_about("BatchNorm statistics while training; auto: eval when pretrained, else train."),
    )
    frozen_layers: FrozenLayers = field(default=None, metadata=_about(_TOWER_FREEZE))


@dataclass(frozen=True)
class DetectorConfig:
    """The detector, where objects are to be found."""

    checkpoint: str = field(
        default="ustc-community/dfine-small-coco",
        metadata=_about("A hub name, a local folder, or a detector type of transformers such as `rt_detr`."),
    )
    pretrained: bool = field(
        default=True, metadata=_about("Start from the checkpoint's weights; false keeps its shape only.")
    )
    backbone: str | None = field(
        default=None,
        metadata=_about("An image backbone under a fresh detector: a local folder or a timm name; null: its own."),
    )
    backbone_pretrained: bool = field(
        default=True, metadata=_about("Start that backbone from its weights; false keeps its shape only.")
    )
    size: int | None = field(
        default=None, metadata=_about("Side of the input in pixels; null: the checkpoint's own.", at_least=32)
    )
    queries: int | None = field(
        default=None, metadata=_about("Most boxes predicted an image; null: the checkpoint's own.", at_least=1)
    )
    augment: Augment = field(
        default="standard", metadata=_about("How strongly training images and boxes are varied; none: not at all.")
    )
    head_includes: tuple[HeadPart, ...] = field(
        default=("neck", "head"),
        metadata=_about("Parts that count as newly initialised, so that they take the head's rate."),
    )
    thaw: bool = field(
        default=False, metadata=_about("Let train what the detector builds frozen, such as DETR's BatchNorm.")
    )
    score_threshold: float = field(
        default=0.05, metadata=_about("Least score of a box that `predict` returns.", at_least=0, below=1)
    )
    max_boxes: int = field(default=100, metadata=_about("Most boxes an image that `predict` returns.", at_least=1))
    frozen_layers: FrozenLayers = field(default=None, metadata=_about(_TOWER_FREEZE))


@dataclass(frozen=True)
class TableConfig:
    """The tower for numeric and categorical columns."""

    width: int = field(default=192, metadata=_about("Units per block.", at_least=1))
    blocks: int = field(default=2, metadata=_about("Number of blocks.", at_least=1))
    dropout: float = field(default=0.1, metadata=_about("Share of units dropped in a block.", at_least=0, below=1))
    embedding: NumericEmbedding = field(
        default="piecewise", metadata=_about("How a number becomes a vector before the first block.")
    )
    bins: int = field(default=48, metadata=_about("Most quantile bins per number (piecewise).", at_least=2))
    frozen_layers: FrozenLayers = field(default=None, metadata=_about(_TOWER_FREEZE))


@dataclass(frozen=True)
class FusionConfig:
    """The layers that join several towers."""

    width: int = field(default=256, metadata=_about("Units of the fusion layer.", at_least=1))
    dropout: float = field(default=0.1, metadata=_about("Share of units dropped in fusion.", at_least=0, below=1))


@dataclass(frozen=True)
class ModelConfig:
    """What the model is made of."""

    frozen_layers: FrozenLayers = field(default=None, metadata=_about("Layers that never train, in every tower."))
    peft: Peft | None = field(
        default=None,
        metadata=_about("What trains in text and image backbones in place of all their weights."),
    )
    lora_rank: int = field(default=8, metadata=_about("Rank of the updates (lora).", at_least=1))
    lora_alpha: float = field(default=16.0, metadata=_about("Updates count alpha / rank times (lora).", above=0))
    conv_bn: ConvBN = field(
        default="auto",
        metadata=_about("Keep one tensor, not two, of a convolution and the BatchNorm in eval mode behind it."),
    )
    checkpointing: Checkpointing = field(
        default=None,
        metadata=_about("Layers computed again in the backward pass to save memory: all, auto, or selectors."),
    )
    text: TextConfig = field(default_factory=TextConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    table: TableConfig = field(default_factory=TableConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)


@dataclass(frozen=True)
class OptimConfig:
    """How the model learns."""

    optimizer: Optimizer = field(default="adamw", metadata=_about("AdamW, or SGD with a momentum of 0.9."))
    lr: float | None = field(
        default=None,
        metadata=_about(
            "Base learning rate; null: from the optimizer, model.peft, and whether a tower is pretrained.", above=0
        ),
    )
    lr_choice: LrChoice = field(
        default="layerwise_decay", metadata=_about("How the base rate is spread over the layers.")
    )
    lr_decay: float = field(
        default=0.9, metadata=_about("Rate per layer going down (layerwise_decay).", above=0, at_most=1)
    )
    lr_mult: float = field(
        default=10.0, metadata=_about("Times the base rate for what starts fresh (two_stage).", above=0)
    )
    weight_decay: float = field(
        default=0.01, metadata=_about("Weight decay: decoupled in AdamW, of the gradient in SGD.", at_least=0)
    )
    lr_schedule: LrSchedule = field(default="cosine", metadata=_about("Shape of the rate after warm-up."))
    warmup: float = field(default=0.1, metadata=_about("Share of all steps that warm up.", at_least=0, below=1))
    schedule_plan: SchedulePlan = field(
        default=None,
        metadata=_about("What trains when, by name, such as `fine_tune(freeze_epochs=2)`; null: everything."),
    )
    phases: Phases = field(
        default=None,
        metadata=_about("What trains when, written out: a list of phases, or a YAML or JSON file of one."),
    )
    max_epochs: int | None = field(
        default=None,
        metadata=_about(
            "Most passes over the training rows; null: 3 (4 for numbers) where a tower is pretrained, else 5.",
            at_least=1,
        ),
    )
    max_steps: int | None = field(
        default=None, metadata=_about("Most optimizer steps; null: no such limit.", at_least=1)
    )
    gradient_clip: float | None = field(
        default=1.0, metadata=_about("Largest gradient norm; null: no clipping.", above=0)
    )
    ema: float | None = field(
        default=None,
        metadata=_about("Share of a moving average of the weights that stays at a step; null: none.", above=0, below=1),
    )
    cache_prefix: CachePrefix = field(
        default="auto",
        metadata=_about("Where the outputs of frozen first layers are kept, so that they run once a row."),
    )
    head_init: HeadInit = field(
        default="probe", metadata=_about("Where a fresh head starts: at a linear probe, or at random.")
    )
    patience: int = field(
        default=10, metadata=_about("Validations without a better score before training ends.", at_least=1)
    )
    val_check_interval: float = field(
        default=1.0, metadata=_about("Epochs between validations; 0.5 is twice an epoch.", above=0)
    )
    top_k: int = field(default=3, metadata=_about("How many of the best checkpoints are kept.", at_least=1))
    top_k_average: TopKAverage = field(
        default="best", metadata=_about("What the kept checkpoints become: the best one, or a soup.")
    )
    label_smoothing: float = field(
        default=0.0, metadata=_about("Share of a class label spread over the others.", at_least=0, below=1)
    )


@dataclass(frozen=True)
class DataConfig:
    """How rows are read."""

    valid_fraction: float | None = field(
        default=None, metadata=_about("Share of rows held out; null: from their number.", above=0, below=1)
    )
    max_unreadable_images: float = field(
        default=0.05,
        metadata=_about("Share of image files that may fail before it is an error.", at_least=0, at_most=1),
    )
    image_folder: str | None = field(
        default=None, metadata=_about("Where relative image paths begin; null: the working folder.")
    )
    max_categories: int = field(
        default=512, metadata=_about("Most categories per column; rarer ones share a place.", at_least=2)
    )
    box_format: BoxFormat = field(
        default="xyxy",
        metadata=_about("What the numbers of a box are: its four edges, or left, upper, width, height (xywh)."),
    )
    bad_boxes: BadBoxes = field(
        default="error",
        metadata=_about("Boxes that are inverted, empty, not finite or outside their image: an error, or left out."),
    )


@dataclass(frozen=True)
class EnvConfig:
    """Where and in what portions the work is done."""

    batch_size: int | None = field(
        default=None, metadata=_about("Rows per optimizer step; null: from the number of rows.", at_least=1)
    )
    micro_batch_size: int | None = field(
        default=None,
        metadata=_about("Rows through the model at once, gradients added up; null: all.", at_least=1),
    )
    micro_batch_tokens: int | None = field(
        default=None,
        metadata=_about("Most padded tokens through the model at once; null: no such limit.", at_least=16),
    )
    eval_batch_size: int | None = field(
        default=None, metadata=_about("Rows at once in prediction; null: chosen for inference.", at_least=1)
    )
    num_workers: int = field(default=0, metadata=_about("Processes that load batches.", at_least=0))
    precision: Precision = field(
        default="auto", metadata=_about("Number format of the forward pass; auto fits the device.")
    )
    device: Device = field(default="auto", metadata=_about("Where the model runs; auto: the fastest present."))
    compile: bool = field(default=False, metadata=_about("Compile backbones with torch.compile; pays on long runs."))
    cache_images: CacheImages = field(
        default="auto", metadata=_about("Where decoded and resized images are kept from epoch to epoch.")
    )
    cache_memory: float | None = field(
        default=None,
        metadata=_about("Most gigabytes of memory that caches take; null: a quarter of what is free.", above=0),
    )
    cache_folder: str | None = field(
        default=None,
        metadata=_about("Where caches on disk lie, for other fits as well; null: a folder that goes with the fit."),
    )
    checkpoint_every: int | None = field(
        default=None,
        metadata=_about(
            "Steps between checkpoints to resume from; null: as often as costs little, 0: none.", at_least=0
        ),
    )
    checkpoints_kept: int = field(
        default=2, metadata=_about("How many checkpoints to resume from are kept.", at_least=1)
    )
    loggers: tuple[Logger, ...] = field(default=(), metadata=_about("Training logs to write beside the progress bar."))


@dataclass(frozen=True)
class Config:
    """All options, by section."""

    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    data: DataConfig = field(default_factory=DataConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
