"""Names that other trainers have for our options, so that an error can say what theirs is called here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .keys import Key

_SECTIONS = {
    "optimization.": "optim.",
    "environment.": "env.",
    "model.hf_text.": "model.text.",
    "model.timm_image.": "model.image.",
    "model.fusion_mlp.": "model.fusion.",
    "model.ft_transformer.": "model.table.",
    "model.numerical_mlp.": "model.table.",
    "model.categorical_mlp.": "model.table.",
}
"""AutoGluon's sections (its older and its present names) by ours."""

_RENAMED = {
    "optim.learning_rate": "optim.lr",
    "optim.optim_type": "optim.optimizer",
    "optim.warmup_steps": "optim.warmup",
    "optim.gradient_clip_val": "optim.gradient_clip",
    "optim.top_k_average_method": "optim.top_k_average",
    "optim.peft": "model.peft",
    "optim.efficient_finetune": "model.peft",
    "optim.lora.r": "model.lora_rank",
    "optim.lora.alpha": "model.lora_alpha",
    "env.per_gpu_batch_size": "env.micro_batch_size",
    "env.per_gpu_batch_size_evaluation": "env.eval_batch_size",
    "env.accelerator": "env.device",
    "env.num_workers_inference": "env.num_workers",
    "env.num_workers_evaluation": "env.num_workers",
    "model.text.checkpoint_name": "model.text.checkpoint",
    "model.text.pooling_mode": "model.text.pooling",
    "model.text.max_text_len": "model.text.max_length",
    "model.text.insert_sep": "model.text.join",
    "model.image.checkpoint_name": "model.image.checkpoint",
    "model.image.image_size": "model.image.size",
    "model.image.train_transforms": "model.image.augment",
    "model.table.hidden_size": "model.table.width",
    "model.table.token_dim": "model.table.width",
    "model.table.num_blocks": "model.table.blocks",
    "model.table.num_layers": "model.table.blocks",
    "model.table.drop_rate": "model.table.dropout",
    "model.table.residual_dropout": "model.table.dropout",
    "model.table.embedding_arch": "model.table.embedding",
    "model.fusion.hidden_sizes": "model.fusion.width",
    "model.fusion.drop_rate": "model.fusion.dropout",
    "data.categorical.maximum_num_cat": "data.max_categories",
    "data.image.missing_value_strategy": "data.max_unreadable_images",
    "learning_rate": "optim.lr",
    "num_train_epochs": "optim.max_epochs",
    "epochs": "optim.max_epochs",
    "warmup_ratio": "optim.warmup",
    "max_grad_norm": "optim.gradient_clip",
    "lr_scheduler_type": "optim.lr_schedule",
    "label_smoothing_factor": "optim.label_smoothing",
    "save_steps": "env.checkpoint_every",
    "save_total_limit": "env.checkpoints_kept",
    "per_device_train_batch_size": "env.micro_batch_size",
    "per_device_eval_batch_size": "env.eval_batch_size",
    "dataloader_num_workers": "env.num_workers",
    "early_stopping_patience": "optim.patience",
}
"""Options of AutoGluon's multimodal predictor and of transformers' `TrainingArguments`, by ours."""

_ABSENT = {
    "env.num_gpus": "one device is used; `env.device` says which.",
    "env.inference_batch_size_ratio": "`env.eval_batch_size` says the number of rows itself.",
    "env.eval_batch_size_ratio": "`env.eval_batch_size` says the number of rows itself.",
    "env.strategy": "one device is used; `env.device` says which.",
    "optim.end_lr": "`optim.lr_schedule` ends at zero, or stays where it is with 'constant'.",
    "optim.check_val_every_n_epoch": "`optim.val_check_interval` counts in epochs, 2.0 is every second one.",
    "optim.gradient_clip_algorithm": "`optim.gradient_clip` is always the largest norm.",
    "optim.lora": "every linear layer of the blocks is adapted; `frozen_layers` leaves some out.",
    "model.names": "the towers follow from the types of the columns.",
}

_VALUES: dict[tuple[str, object], str] = {
    ("optim.lr_schedule", "cosine_decay"): "cosine",
    ("optim.lr_schedule", "linear_decay"): "linear",
    ("optim.max_steps", -1): "null",
    ("env.precision", "16-mixed"): "fp16",
    ("env.precision", "16"): "fp16",
    ("env.precision", 16): "fp16",
    ("env.precision", "bf16-mixed"): "bf16",
    ("env.precision", "32"): "fp32",
    ("env.precision", "32-true"): "fp32",
    ("env.precision", 32): "fp32",
    ("env.device", "gpu"): "cuda",
    ("model.peft", "bit_fit"): "bitfit",
    ("model.peft", "norm_fit"): "norm",
}


def foreign_key(name: str, keys: Mapping[str, Key]) -> str:
    """Return a sentence that says what another trainer's option is called here, or an empty text.

    Args:
        name: A dotted name that the schema does not have.
        keys: The options of the schema.
    """
    ours = name
    for theirs, prefix in _SECTIONS.items():
        if name.startswith(theirs):
            ours = prefix + name.removeprefix(theirs)
    target = _RENAMED.get(ours, ours)
    if target in keys:
        return f"it is called {target!r} here ({keys[target].doc.rstrip('.')})."
    parts = ours.split(".")
    stems = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return next((f"there is no such option: {_ABSENT[stem]}" for stem in stems if stem in _ABSENT), "")


def foreign_value(path: str, value: object) -> str:
    """Return a sentence that says what another trainer's value is called here, or an empty text.

    Args:
        path: The dotted name of our option.
        value: A value it does not take.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return ""
    if path == "env.device" and (number := re.fullmatch(r"(?:(?:cuda|gpu|mps):)?(\d+)", str(value).lower())):
        first = "'cuda' is the first device that the process sees"
        return f" {first}." if number[1] == "0" else f" {first}; start it with CUDA_VISIBLE_DEVICES={number[1]}."
    ours = _VALUES.get((path, value), "")
    return f" What others call {value!r} is {ours} here." if ours else ""
