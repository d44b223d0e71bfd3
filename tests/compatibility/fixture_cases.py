"""Fits whose artifacts, checkpoints and results are recorded: their frames, backbones and options.

Everything is built here, without a hub and without a random generator, so that it is the same on every machine and
with every version of numpy or torch. Paths are relative: a run is made, and resumed, in a folder that holds `backbones`
and `pictures`. Only the public API is used, so that this file runs against any version of the package.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

BACKBONES, PICTURES = Path("backbones"), Path("pictures")
SIDE = 32  # pixels of an image
CANVAS = 64  # pixels of an image with boxes
STEP = 4  # after which an interrupted run was stopped; an epoch has three steps

FILLER = ("the", "film", "was", "rather", "and", "its", "end", "story", "cast", "music")
TONES = {
    "bad": ("awful", "dull", "poor", "grim"),
    "fair": ("usual", "plain", "mild", "even"),
    "good": ("bright", "lovely", "great", "fine"),
}
WORDS = (*FILLER, *(word for words in TONES.values() for word in words), ".", "note", ":")


def scrambled(count: int, seed: int) -> np.ndarray:
    """Return whole numbers of 0..255, without order and the same everywhere, uint8 `(count,)`."""
    x = (np.arange(count, dtype=np.uint64) + np.uint64(seed * 7919 + 1)) * np.uint64(2654435761)
    x &= np.uint64(0xFFFFFFFF)
    x = ((x ^ (x >> np.uint64(15))) * np.uint64(2246822519)) & np.uint64(0xFFFFFFFF)
    x = ((x ^ (x >> np.uint64(13))) * np.uint64(3266489917)) & np.uint64(0xFFFFFFFF)
    return (x >> np.uint64(24)).astype(np.uint8)


# frames


def table_frame(rows: int = 60, seed: int = 0) -> pd.DataFrame:
    """Numbers and categories with values missing, row weights, and a binary label."""
    x, z, c, w, missing = (scrambled(rows, 10 * seed + k).astype(int) for k in range(5))
    colour = np.array(["red", "green", "blue"], dtype=object)[c % 3]
    label = np.where(x + 60 * (c % 3 == 0) + z // 4 > 165, "yes", "no")
    frame = pd.DataFrame({"x": x / 32, "z": z, "colour": colour, "weight": 1 + w / 256, "y": label})
    frame["x"] = frame["x"].mask(missing < 20)
    frame["colour"] = frame["colour"].mask(missing > 235)
    return frame


def sentences(rows: int, seed: int) -> tuple[list[str], list[str]]:
    """Return sentences, and the tone that some of their words have."""
    tones = [list(TONES)[k % 3] for k in range(rows)]
    texts = []
    for row, tone in enumerate(tones):
        drawn = scrambled(12, 1000 * (seed + 1) + row).astype(int)
        words = [FILLER[k % len(FILLER)] for k in drawn[: 3 + drawn[11] % 7]]
        texts.append(" ".join([*words, TONES[tone][drawn[9] % 4], TONES[tone][drawn[10] % 4]]))
    return texts, tones


def text_frame(rows: int = 30, seed: int = 0) -> pd.DataFrame:
    """Sentences of three tones; one is missing."""
    texts, tones = sentences(rows, seed)
    frame = pd.DataFrame({"review": texts, "tone": tones})
    frame.loc[7, "review"] = None
    return frame


def image_frame(rows: int = 30, seed: int = 0) -> pd.DataFrame:
    """PNG files of a bright square; how far down it lies is the label, a number."""
    return pd.DataFrame(_pictures(rows, seed), columns=["file", "height"])


def mixed_frame(rows: int = 30, seed: int = 0) -> pd.DataFrame:
    """A text, an image, a number and a category, and two labels of 0 and 1."""
    texts, tones = sentences(rows, seed)
    files, heights = zip(*_pictures(rows, seed), strict=True)
    table = table_frame(rows, seed)
    frame = pd.DataFrame({"note": texts, "file": files, "x": table["x"], "colour": table["colour"]})
    return frame.assign(low=[int(one > 5) for one in heights], good=[int(tone == "good") for tone in tones])


def box_frame(rows: int = 14, seed: int = 0) -> pd.DataFrame:
    """PNG files of coloured rectangles of two classes; the last has none."""
    from PIL import Image

    PICTURES.mkdir(exist_ok=True)
    names, cells = [], []
    for row in range(rows):
        x, y, w, h, *_ = scrambled(4, 500 * (seed + 1) + row).astype(int).tolist()
        edges = [x % 24, y % 24, x % 24 + 16 + w % 20, y % 24 + 16 + h % 20]
        label = ("door", "window")[row % 2]
        pixels = np.full((CANVAS, CANVAS, 3), 25, dtype=np.uint8)
        if row < rows - 1:
            pixels[edges[1] : edges[3], edges[0] : edges[2]] = (220, 60, 50) if row % 2 else (60, 90, 220)
        names.append(f"boxes-{seed}-{row}.png")
        Image.fromarray(pixels).save(PICTURES / names[-1])
        cells.append([[*edges, label]] if row < rows - 1 else [])
    return pd.DataFrame({"file": names, "boxes": cells})


def _pictures(rows: int, seed: int) -> list[tuple[str, float]]:
    """Write PNG files of a bright square, and return their names and how far down it lies."""
    from PIL import Image

    PICTURES.mkdir(exist_ok=True)
    top, left = (scrambled(rows, 77 + 2 * seed + k).astype(int) % (SIDE - 12) for k in range(2))
    found = []
    for row in range(rows):
        pixels = (scrambled(SIDE * SIDE * 3, 300 * (seed + 1) + row) // 4).reshape(SIDE, SIDE, 3)
        pixels[top[row] : top[row] + 12, left[row] : left[row] + 12] += 150
        name = f"image-{seed}-{row}.png"
        Image.fromarray(pixels).save(PICTURES / name)
        found.append((name, float(top[row]) / 2 + 0.25))
    return found


# backbones


def write_backbones() -> None:
    """Write a tiny BERT, ResNet and RT-DETR into `backbones`, with weights that no random generator drew."""
    BACKBONES.mkdir()
    _write_text(BACKBONES / "bert")
    _write_image(BACKBONES / "resnet")
    _write_detector(BACKBONES / "rt-detr")


def _fill(model: Any) -> None:
    """Give every matrix and kernel weights that are the same everywhere, of few bits, so that they compress."""
    import torch

    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            if parameter.dim() < 2:
                continue
            fan = parameter[0].numel()
            scale = 2.0 ** -round(float(np.log2(fan)) / 2) / 64
            drawn = (scrambled(parameter.numel(), number).astype(np.float32) - 127.5) * scale
            parameter.copy_(torch.from_numpy(drawn).view(parameter.shape))


def _write_text(folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast

    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    vocabulary = {word: number for number, word in enumerate([*special.values(), *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.normalizer, core.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokens = {f"{name}_token": token for name, token in special.items()}
    PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=32, **tokens).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
    )
    model = AutoModel.from_config(config)
    _fill(model)
    model.save_pretrained(folder)


def _write_image(folder: Path) -> None:
    import timm
    from timm.models import save_for_hf

    arguments = {"channels": [8, 8, 8, 16], "stem_width": 8}
    model = timm.create_model("test_resnet", pretrained=False, num_classes=2, **arguments)
    _fill(model)
    shape = {"input_size": [3, SIDE, SIDE], "crop_pct": 1.0, "interpolation": "bilinear"}
    config = {"num_classes": 2, "pretrained_cfg": {**_plain(model.pretrained_cfg), **shape}}
    save_for_hf(model, str(folder), model_config=config, model_args=arguments, safe_serialization=True)
    written = json.loads((folder / "config.json").read_text())
    written["pretrained_cfg"] |= shape
    (folder / "config.json").write_text(json.dumps(written, indent=1))


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if isinstance(value, str | int | float | list | tuple)}


def _write_detector(folder: Path) -> None:
    from transformers import AutoModelForObjectDetection, RTDetrConfig

    config = RTDetrConfig(
        backbone_config={
            "model_type": "rt_detr_resnet",
            "embedding_size": 8,
            "hidden_sizes": [8, 8, 8, 8],
            "depths": [1, 1, 1, 1],
            "layer_type": "basic",
            "out_indices": [2, 3, 4],
        },
        d_model=8,
        encoder_hidden_dim=8,
        encoder_in_channels=[8, 8, 8],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_in_channels=[8, 8, 8],
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        decoder_layers=2,
        hidden_expansion=0.5,
        num_queries=10,
        num_denoising=0,
    )
    config.num_labels = 2
    model = AutoModelForObjectDetection.from_config(config)
    _fill(model)
    model.save_pretrained(folder)


# cases


@dataclass(frozen=True)
class Case:
    """A fit.

    Attributes:
        frame: Which frame it learns from, a key of `FRAMES`.
        options: Hyperparameters beside those of the frame.
        stored: Whether a saved predictor and a checkpoint of it lie in `fixtures`.
    """

    frame: str
    options: dict[str, Any] = field(default_factory=dict)
    stored: bool = False


#: What came later and is on by default: the fixtures were recorded without it.
LATER_CLASSES = {"optim.calibrate": "off"}

#: For each frame: how it is made, the label, what else the constructor takes, and the options of all its fits.
FRAMES: dict[str, tuple[Any, Any, dict[str, Any], dict[str, Any]]] = {
    "table": (
        table_frame,
        "y",
        {"sample_weight": "weight", "eval_metric": "log_loss"},
        {
            **LATER_CLASSES,
            "model.table.width": 16,
            "model.table.blocks": 2,
            "model.table.bins": 8,
            "model.table.members": 0,
            "model.trees": "off",
            "env.batch_size": 16,
        },
    ),
    "text": (
        text_frame,
        "tone",
        {"eval_metric": "log_loss"},
        {
            **LATER_CLASSES,
            "optim.refit": "off",
            "model.text.checkpoint": "backbones/bert",
            "model.text.max_length": 24,
            "env.batch_size": 8,
        },
    ),
    "image": (
        image_frame,
        "height",
        {},
        {
            "model.image.checkpoint": "backbones/resnet",
            "data.image_folder": "pictures",
            "data.target_transform": "none",
            "env.batch_size": 8,
            "optim.lr": 3e-4,
        },
    ),
    "detection": (
        box_frame,
        "boxes",
        {"problem_type": "object_detection"},
        {
            "model.detector.checkpoint": "backbones/rt-detr",
            "model.detector.size": CANVAS,
            "model.detector.score_threshold": 0.01,
            "data.image_folder": "pictures",
            "env.batch_size": 4,
            "optim.ema": None,
            "optim.max_epochs": 2,
        },
    ),
    "mixed": (
        mixed_frame,
        ["low", "good"],
        {"eval_metric": "log_loss"},
        {
            **LATER_CLASSES,
            "model.text.checkpoint": "backbones/bert",
            "model.text.max_length": 24,
            "model.image.checkpoint": "backbones/resnet",
            "model.trees": "off",
            "model.table.width": 8,
            "model.table.blocks": 1,
            "model.table.bins": 8,
            "model.fusion.width": 16,
            "data.image_folder": "pictures",
            "env.batch_size": 8,
        },
    ),
}

#: Options of every fit: nothing that the machine decides.
COMMON: dict[str, Any] = {
    "optim.lr": 2e-3,
    "optim.max_epochs": 3,
    "optim.top_k": 1,
    "env.device": "cpu",
    "env.precision": "fp32",
    "env.cache_memory": 0.25,
    "env.num_workers": 0,
    "env.checkpoint_every": STEP,
    "env.checkpoints_kept": 1,
}

CASES: dict[str, Case] = {
    "table": Case("table", stored=True),
    "text": Case("text", stored=True),
    "image": Case("image", stored=True),
    "detection": Case("detection", stored=True),
    "mixed with lora": Case("mixed", {"model.peft": "lora", "model.lora_rank": 2}, stored=True),
    "table, unfrozen gradually, sgd, random head": Case(
        "table",
        {
            "optim.optimizer": "sgd",
            "optim.lr": 0.05,
            "optim.head_init": "random",
            "optim.schedule_plan": "gradual_unfreeze",
            "optim.max_epochs": 4,
        },
    ),
    "text, frozen layers, prefix in memory, greedy soup": Case(
        "text",
        {
            "optim.lr_choice": "layerwise_decay",
            "optim.lr_decay": 0.5,
            "model.text.frozen_layers": ["embeddings", "encoder.layer.0"],
            "optim.cache_prefix": "memory",
            "optim.lr": 1e-3,
            "optim.lr_schedule": "constant",
            "optim.top_k": 3,
            "optim.top_k_average": "greedy_soup",
            "optim.val_check_interval": 0.5,
        },
    ),
    "text, fine_tune, average of weights": Case(
        "text", {"optim.schedule_plan": "fine_tune(freeze_epochs=1)", "optim.ema": 0.8}, stored=True
    ),
    "text, two_stage, micro-batches, smoothing": Case(
        "text",
        {
            "optim.lr_choice": "two_stage",
            "optim.lr_mult": 5.0,
            "env.micro_batch_size": 3,
            "optim.label_smoothing": 0.1,
            "optim.lr_schedule": "linear",
        },
    ),
    "text, bitfit, tokens of a micro-batch": Case("text", {"model.peft": "bitfit", "env.micro_batch_tokens": 64}),
    "image, frozen layers, prefix in memory": Case(
        "image",
        {
            "model.image.augment": "none",
            "model.image.frozen_layers": 2,
            "optim.cache_prefix": "memory",
            "env.cache_images": "memory",
        },
        stored=True,
    ),
    "image, views kept, greedy soup": Case(
        "image",
        {
            "model.image.augment": "light",
            "model.image.augment_views": 2,
            "optim.lr_schedule": "constant",
            "optim.head_init": "random",  # the probe would be kept
            "optim.top_k": 3,
            "optim.top_k_average": "greedy_soup",
        },
    ),
    "image, standard augmentation, BatchNorm trained": Case(
        "image",
        {
            "model.image.augment": "standard",
            "model.image.batch_norm": "train",
            "optim.head_init": "random",
            "optim.lr": 2e-3,
            "optim.max_epochs": 4,
            "env.micro_batch_size": 4,
        },
    ),
    "detection, frozen backbone, prefix in memory, average of weights": Case(
        "detection",
        {
            "model.frozen_layers": "backbone",
            "model.detector.augment": "none",
            "optim.cache_prefix": "memory",
            "optim.ema": 0.8,
        },
    ),
    "mixed, fine_tune, checkpointing": Case(
        "mixed", {"optim.schedule_plan": "fine_tune(freeze_epochs=1)", "model.checkpointing": "all"}
    ),
}

STORED = tuple(name for name, case in CASES.items() if case.stored)


def fit_case(name: str, path: Path, *, resume: bool = False, **options: Any) -> Any:
    """Fit a case in the working folder, and return the predictor."""
    from thermocline import Predictor

    case = CASES[name]
    make, label, arguments, own = FRAMES[case.frame]
    predictor = Predictor(label, path=path, verbosity=0, **arguments)
    hyperparameters = {**COMMON, **own, **case.options, **options}
    return predictor.fit(make(), hyperparameters=hyperparameters, resume=resume)


def new_rows(name: str) -> pd.DataFrame:
    """Return rows that a case did not learn from, labels included."""
    make = FRAMES[CASES[name].frame][0]
    frame: pd.DataFrame = make(9, seed=1)
    return frame.set_index(pd.Index([f"row {number}" for number in range(len(frame))]))


def labelled_rows(name: str, told: dict[str, Any]) -> pd.DataFrame:
    """Return rows to evaluate on; a detector that learned little is scored on some of the boxes that it found.

    Args:
        name: The case.
        told: What it was recorded to say of `new_rows`.
    """
    frame = new_rows(name)
    if CASES[name].frame != "detection":
        return frame
    found = [[[*one["box"], one["label"]] for one in cell[1:9:3]] for cell in told["predictions"]]
    return frame.assign(boxes=found)


def file_name(name: str) -> str:
    """Return the name of a case's file in `fixtures`."""
    return name.replace(",", "").replace(" ", "_") + ".zip"
