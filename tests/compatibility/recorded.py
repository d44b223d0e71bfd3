"""What is recorded of a fit, and of the machine and the packages that it ran on."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FIXTURES = Path(__file__).parent / "fixtures"
RECORD = FIXTURES / "recorded.json"
PACKAGES = (
    "numpy",
    "pandas",
    "peft",
    "pillow",
    "rtdl-num-embeddings",
    "scikit-learn",
    "scipy",
    "timm",
    "tokenizers",
    "torch",
    "torchvision",
    "transformers",
)


def environment() -> dict[str, str]:
    """Return all that the bits of a fit depend on beside the code: packages, and the arithmetic of this machine."""
    import torch

    found = {name: version(name) for name in PACKAGES}
    found |= {"system": f"{platform.system()} {platform.machine()}", "threads": str(torch.get_num_threads())}
    found |= {"cpu": torch.backends.cpu.get_cpu_capability(), "arithmetic": _arithmetic()}
    return found


def _arithmetic() -> str:
    """Hash what numpy and torch compute here: kernels differ between processors, even of one capability.

    The passes are those of the backbones in `backbones`, forward and backward, without a line of this package.
    """
    import timm
    import torch
    from fixture_cases import CANVAS, SIDE, WORDS, scrambled
    from torch import nn
    from transformers import AutoModel, AutoModelForObjectDetection

    def drawn(*shape: int) -> torch.Tensor:
        values = scrambled(math.prod(shape), len(shape)).astype(np.float32) / 128 - 1
        return torch.from_numpy(values.reshape(shape))

    square = drawn(48, 48).double().numpy()
    solved = np.linalg.solve(square @ square.T + np.eye(48), np.exp(square)) + np.linalg.svd(square)[0]
    tokens = torch.from_numpy(scrambled(8 * 21, 5).astype(np.int64) % len(WORDS)).view(8, 21)
    images = drawn(8, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    boxes = [{"class_labels": torch.tensor([0]), "boxes": torch.tensor([[0.5, 0.5, 0.25, 0.25]])}] * 4
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text = AutoModel.from_pretrained("backbones/bert").train()
        image = timm.create_model("local-dir:backbones/resnet", pretrained=True, num_classes=0).train()
        image.to(memory_format=torch.channels_last)
        detector = AutoModelForObjectDetection.from_pretrained("backbones/rt-detr").train()
        head = nn.Sequential(nn.Linear(32, 48), nn.SiLU(), nn.Dropout(0.1), nn.Linear(48, 3))
        parts = nn.ModuleList([text, image, detector, head])
        optimizer = torch.optim.AdamW(parts.parameters(), lr=1e-2, fused=True)
        out = head(torch.cat([text(tokens)[0].mean(dim=1), image(images)], dim=1))
        loss = nn.functional.cross_entropy(out, torch.arange(8) % 3) + out.sigmoid().log().mean()
        loss = loss + detector(drawn(4, 3, CANVAS, CANVAS), labels=boxes).loss
        loss.backward()
        nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimizer.step()
    return _hash_tensors({"solved": torch.from_numpy(solved), "loss": loss, **parts.state_dict()})[:16]


def recorded_in(now: dict[str, str], record: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return what was recorded of fits in an environment, by case; or nothing, and why there is nothing.

    Args:
        now: The environment.
        record: The content of `recorded.json`.
    """
    found = [(differences(one["environment"], now), one["runs"]) for one in record["environments"]]
    least, runs = min(found, key=lambda pair: len(pair[0]))
    return ({}, f"no fits are recorded for this environment: {'; '.join(least)}") if least else (runs, "")


def differences(recorded: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return what differs between two environments, a line each."""
    return [f"{key}: {value} recorded, {now.get(key)} here" for key, value in recorded.items() if value != now.get(key)]


def measure(predictor: Any, rows: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Return the hashes of a fit: its weights as they were saved, its history, and what it predicts.

    Args:
        predictor: The fitted predictor.
        rows: What it is to predict.
        folder: Where it was saved.
    """
    from safetensors.torch import load_file

    history = scores(predictor)
    told = json.dumps([history, predictions(predictor, rows)])
    return {
        "weights": _hash_tensors(load_file(str(folder / "model.safetensors"))),
        "history": history,
        "predictions": hashlib.sha256(told.encode()).hexdigest(),
    }


def scores(predictor: Any) -> list[dict[str, float]]:
    """Return the numbers of a history: of every validation the step, the loss, the rate and the scores."""
    history = pd.DataFrame(predictor.history)
    names = [name for name in history if name in ("step", "train_loss", "lr") or str(name).startswith("val_")]
    scored = history[history[[name for name in names if str(name).startswith("val_")]].notna().any(axis=1)]
    return [{name: _number(row[name]) for name in names} for row in scored.to_dict(orient="records")]


def _number(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)


def where_images_are(predictor: Any) -> str | None:
    """Return the folder of the images that rows name, or None for a predictor without images."""
    return "pictures" if predictor.columns.of("image") else None


def predictions(predictor: Any, rows: pd.DataFrame) -> dict[str, Any]:
    """Return what a predictor says of rows, as JSON has it: predictions, and probabilities where there are any."""
    images = where_images_are(predictor)
    found = predictor.predict(rows, image_folder=images)
    told = {"index": list(found.index), "predictions": json.loads(json.dumps(found.to_numpy().tolist(), default=str))}
    if predictor.problem_type in ("regression", "object_detection"):
        return told
    chances = predictor.predict_proba(rows, image_folder=images)
    return {**told, "columns": list(map(str, chances.columns)), "probabilities": chances.to_numpy().tolist()}


def _hash_tensors(tensors: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
