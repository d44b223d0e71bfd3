"""The options that several kinds share, by section: name, type, default, choices, range and one line of what each does.

The classes are frozen. With the sections of the kinds (`joined.py`) they are the structured config that OmegaConf
merges over. What a type cannot say (range, documentation, which option another depends on) is in a field's metadata.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from .option import FrozenLayers, option

AutoOnOff: TypeAlias = Literal["auto", "on", "off"]
Optimizer: TypeAlias = Literal["adamw", "adam", "sgd", "nadam", "radam", "adafactor", "lion", "muon", "adamw8bit"]
Peft: TypeAlias = Literal["lora", "ia3", "bitfit", "norm"]
LrChoice: TypeAlias = Literal["single_lr", "two_stage", "layerwise_decay"]
LrSchedule: TypeAlias = Literal[
    "cosine", "linear", "constant", "one_cycle", "polynomial", "inverse_sqrt", "wsd", "cosine_restarts"
]
Arguments: TypeAlias = Any
"""A mapping of names to values, or such a text as `power=2, final=0.1`. `structures.py` reads it."""
Phases: TypeAlias = Any
"""A list of mappings, a field of `tuning.schedule.phases.Phase` each. `tuning.schedule.phase_files` reads it."""
SchedulePlan: TypeAlias = Any
"""A schedule by name with its arguments. `tuning.named_schedules.by_name` reads it."""
LayerLr: TypeAlias = Any
"""A mapping from layer selectors to rates. `tuning.plan.layer_rates` reads it."""
ParameterRules: TypeAlias = Any
"""A list of mappings, a field of `tuning.plan.parameter_rules.ParameterRule` each, which reads it."""
Calibrate: TypeAlias = Literal["auto", "off"]
TargetTransform: TypeAlias = Literal["auto", "none", "log", "quantile"]
Threshold: TypeAlias = float | Literal["auto"]
Refit: TypeAlias = Literal["auto", "off"]
ClassWeights: TypeAlias = Any
"""`balanced`, or a mapping of classes to weights. `problems.rowwise.target_options` reads it."""
HeadInit: TypeAlias = Literal["probe", "random"]
TopKAverage: TypeAlias = Literal["best", "uniform_soup", "greedy_soup"]
Precision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16"]
Device: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]
Logger: TypeAlias = Literal["tensorboard", "csv", "mlflow", "wandb"]
CachePrefix: TypeAlias = Literal["auto", "off", "memory", "disk"]
CacheImages: TypeAlias = Literal["auto", "off", "memory", "disk"]
Kernels: TypeAlias = Literal["exact", "fast"]
Checkpointing: TypeAlias = int | str | tuple[int | str, ...] | None
"""`auto`, `all`, or selectors as in `FrozenLayers`. `efficiency.memory.checkpointing` reads it."""


MOST = 1_000_000_000
"""The largest whole number that any option takes."""
MOST_STEPS = 100_000_000
"""Optimizer steps that a run may take: numbers are kept for each of them."""


@dataclass(frozen=True)
class FusionConfig:
    """The layers that join several towers."""

    width: int = option(256, "Units of the fusion layer.", at_least=1, at_most=8192)
    dropout: float = option(0.1, "Share of units dropped in fusion.", at_least=0, below=1)


@dataclass(frozen=True)
class ModelConfig:
    """What the model is made of."""

    frozen_layers: FrozenLayers = option(None, "Layers that never train, in every tower.", example="backbone")
    peft: Peft | None = option(
        None, "What trains in text and image backbones in place of all their weights.", example="lora"
    )
    lora_rank: int = option(
        8, "Rank of the updates (lora).", at_least=1, at_most=4096, only_with={"model.peft": "lora"}
    )
    lora_alpha: float = option(
        16.0, "Updates count alpha / rank times (lora).", above=0, at_most=1e6, only_with={"model.peft": "lora"}
    )
    conv_bn: AutoOnOff = option(
        "auto", "Keep one tensor, not two, of a convolution and the BatchNorm in eval mode behind it.", varies=False
    )
    checkpointing: Checkpointing = option(
        None,
        "Layers computed again in the backward pass to save memory: all, auto, or selectors.",
        varies=False,
        example="auto",
    )
    trees: AutoOnOff = option(
        "auto", "Boosted trees on the table's columns, blended with the network; auto: where there are 100 rows."
    )
    tfidf: AutoOnOff = option(
        "auto", "A linear model of words and cells, blended with the network; auto: where there are 100 rows."
    )
    fusion: FusionConfig = field(default_factory=FusionConfig)


@dataclass(frozen=True)
class OptimConfig:
    """How the model is trained."""

    optimizer: Optimizer | str = option(
        "adamw", "Which optimizer, by name or as a class.", own="a class derived from torch.optim.Optimizer"
    )
    optimizer_args: Arguments = option(
        None,
        "Arguments of the optimizer by name, such as `betas`; null: its defaults, SGD with momentum=0.9.",
        example={"betas": [0.9, 0.98]},
    )
    lr: float | None = option(
        None,
        "Base learning rate, or rates by selector; null: from optimizer, model.peft, what is pretrained.",
        above=0,
        at_most=1e6,
        by_selector="optim.layer_lr",
        example=1e-4,
    )
    layer_lr: LayerLr = option(
        None,
        "Rates by layer selector, as optim.lr={backbone: 1e-5} gives them; the later counts, 0 freezes.",
        example={"backbone": 1e-5},
    )
    lr_choice: LrChoice = option("layerwise_decay", "How the base rate is spread over the layers.")
    lr_decay: float = option(
        0.9,
        "Rate per layer going down (layerwise_decay).",
        above=0,
        at_most=1,
        only_with={"optim.lr_choice": "layerwise_decay"},
    )
    lr_min_scale: float = option(
        0.0,
        "Least share of the base rate that a layer has (layerwise_decay).",
        at_least=0,
        at_most=1,
        only_with={"optim.lr_choice": "layerwise_decay"},
    )
    lr_mult: float = option(
        10.0,
        "Times the base rate for what starts fresh (two_stage).",
        above=0,
        at_most=1e6,
        only_with={"optim.lr_choice": "two_stage"},
    )
    weight_decay: float = option(
        0.01, "Weight decay: of the gradient in SGD, Adam, NAdam, RAdam, else decoupled.", at_least=0, at_most=1e6
    )
    parameter_rules: ParameterRules = option(
        None,
        "Multiples of the layer's rate, and weight decays, of parameters by name: a list of rules.",
        example=[{"parameters": "*.bias", "weight_decay": 0}],
    )
    lr_schedule: LrSchedule = option(
        "cosine", "Shape of the rate after warm-up, in phases too that set no schedule of their own."
    )
    lr_schedule_args: Arguments = option(
        None,
        "What the schedule takes: `final`, `power`, `decay`, `cycles` and others; null: its defaults.",
        example={"final": 0.1},
    )
    warmup: float = option(
        0.1,
        "Share of all steps that warm up, or of the steps of a phase that sets no warm-up of its own.",
        at_least=0,
        below=1,
        not_with={"optim.lr_schedule": "one_cycle"},
    )
    schedule_plan: SchedulePlan = option(
        None,
        "What trains when, by name, such as `fine_tune(freeze_epochs=2)`; null: everything.",
        example="fine_tune(freeze_epochs=2)",
    )
    phases: Phases = option(
        None, "What trains when, written out: a list of phases, or a YAML or JSON file of one.", example="phases.yaml"
    )
    max_epochs: int | None = option(
        None,
        "Most passes over the training rows; null: 3 or 4 where a tower is pretrained, else 5 to 25.",
        at_least=1,
        at_most=1_000_000,
        example=5,
    )
    max_steps: int | None = option(
        None, "Most optimizer steps; null: no such limit.", at_least=1, at_most=MOST_STEPS, example=1000
    )
    gradient_clip: float | None = option(1.0, "Largest gradient norm; null: no clipping.", above=0)
    ema: float | None = option(
        None,
        "Share of a moving average of the weights that stays at a step; null: none.",
        above=0,
        below=1,
        example=0.999,
    )
    cache_prefix: CachePrefix = option(
        "auto", "Where the outputs of frozen first layers are kept, so that they run once a row.", varies=False
    )
    head_init: HeadInit = option("probe", "Where a fresh head starts: at a linear probe, or at random.")
    arms: int = option(
        1,
        "Ways to train that are compared on the validation rows, these options among them; 1: these alone.",
        at_least=1,
        at_most=64,
        varies=False,
        example=4,
    )
    patience: int = option(10, "Validations without a better score before training ends.", at_least=1, at_most=MOST)
    val_check_interval: float = option(1.0, "Epochs between validations; 0.5 is twice an epoch.", above=0)
    top_k: int = option(3, "How many of the best checkpoints are kept.", at_least=1, at_most=1000)
    top_k_average: TopKAverage = option(
        "best", "What the kept checkpoints become: the best one, or a soup.", not_with={"optim.top_k": 1}
    )
    mixup: float = option(
        0.0,
        "Rows of a batch are mixed in training, images as pixels, others as features: alpha; 0: not.",
        at_least=0,
        at_most=1000,
        example=0.2,
    )
    cutmix: float = option(
        0.0,
        "A box of each training image is replaced by that of another row: alpha; 0: not.",
        at_least=0,
        at_most=1000,
        example=1.0,
    )
    min_delta: float = option(
        0.0, "How much better a score has to be, in units of the metric, to count for patience.", at_least=0
    )
    loss: str | None = option(
        None,
        "What is learnt, such as `focal:2`, `mae` or `quantile:0.9`; null: by problem type.",
        own="a function (outputs, targets, weights) -> loss of each row",
        example="focal:2",
    )
    class_weights: ClassWeights = option(
        None,
        "What each class counts in the fit: `balanced`, or a mapping of classes to numbers; null: alike.",
        example="balanced",
    )
    label_smoothing: float = option(
        0.0, "Share of a class label spread over the others.", at_least=0, below=1, example=0.1
    )
    calibrate: Calibrate = option(
        "auto", "Whether probabilities get a temperature that validation rows ask for; predicted classes stay."
    )
    refit: Refit = option(
        "auto", "What is kept learns from the validation rows too, at the end: a probe; a model of few rows a class."
    )
    threshold: Threshold = option(
        "auto",
        "Probability above which the answer is the positive class; auto: tuned where the metric needs it.",
        above=0,
        below=1,
    )


@dataclass(frozen=True)
class DataConfig:
    """How rows are read."""

    valid_fraction: float | None = option(
        None, "Share of rows held out; null: from their number.", above=0, below=1, varies=False, example=0.2
    )
    max_unreadable_images: float = option(
        0.05, "Share of image files that may fail before it is an error.", at_least=0, at_most=1, varies=False
    )
    image_folder: str | None = option(
        None,
        "Where relative image paths of training data begin; null: the table's or the working folder.",
        varies=False,
        example="photos",
    )
    target_transform: TargetTransform = option(
        "auto",
        "Scale on which numbers are learnt; quantile: normal scores of ranks; auto: log or none.",
    )


@dataclass(frozen=True)
class EnvConfig:
    """Device, batch sizes, caches and files."""

    batch_size: int | None = option(
        None, "Rows per optimizer step; null: from the number of rows.", at_least=1, at_most=MOST, example=32
    )
    micro_batch_size: int | None = option(
        None, "Rows through the model at once, gradients added up; null: all.", at_least=1, at_most=MOST, example=8
    )
    micro_batch_tokens: int | None = option(
        None,
        "Most padded tokens through the model at once; null: no such limit.",
        at_least=16,
        at_most=MOST,
        example=4096,
    )
    eval_batch_size: int | None = option(
        None,
        "Rows at once in prediction; null: chosen for inference.",
        at_least=1,
        at_most=MOST,
        varies=False,
        example=64,
    )
    num_workers: int | None = option(
        None,
        "Processes that load batches; null: none, or up to 8 where a CUDA GPU is given images.",
        at_least=0,
        at_most=1024,
        varies=False,
        example=4,
    )
    precision: Precision = option("auto", "Number format of the forward pass; auto fits the device.")
    device: Device = option("auto", "Where the model runs; auto: the fastest present.", varies=False)
    compile: bool = option(False, "Compile backbones with torch.compile; pays on long runs.", varies=False)
    kernels: Kernels = option(
        "exact",
        "How a CUDA GPU computes in a fit; fast: TF32 for float32 products, convolutions tried first.",
        varies=False,
        example="fast",
    )
    cache_images: CacheImages = option(
        "auto", "Where decoded and resized images are kept from epoch to epoch.", varies=False
    )
    cache_memory: float | None = option(
        None,
        "Most gigabytes that caches take, or the probe; null: a quarter of what is free, 0.512.",
        above=0,
        at_most=1e6,
        varies=False,
        example=2.0,
    )
    cache_folder: str | None = option(
        None,
        "Where caches on disk lie, for other fits as well; null: a folder that goes with the fit.",
        varies=False,
        example="caches",
    )
    checkpoint_every: int | None = option(
        None,
        "Steps between checkpoints to resume from; null: as often as costs little, 0: none.",
        at_least=0,
        at_most=MOST,
        varies=False,
        example=200,
    )
    checkpoints_kept: int = option(
        2,
        "How many checkpoints to resume from are kept.",
        at_least=1,
        at_most=1000,
        not_with={"env.checkpoint_every": 0},
        varies=False,
    )
    loggers: tuple[Logger, ...] = option(
        (),
        "Where loss, rates and scores are logged; `fit(loggers=…)` takes loggers with settings.",
        varies=False,
        example=("csv",),
    )


@dataclass(frozen=True)
class Config:
    """All sections; those of the kinds are joined in."""

    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    data: DataConfig = field(default_factory=DataConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
