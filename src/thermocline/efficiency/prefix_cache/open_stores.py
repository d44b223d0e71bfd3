"""Opens the stores of a cached tower: in memory as far as the budget goes, else in files."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thermocline.data.memory_budget import GIGABYTE
from thermocline.efficiency.prefix_cache.cached_tower import CachedTower
from thermocline.efficiency.prefix_cache.options import CacheOptions
from thermocline.efficiency.prefix_cache.row_store import Form, RowStore
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.verify import tensors_hash

DISK_SHARE = 0.5
"""Share of the free disk space that files may take."""


def open_stores(
    tower: CachedTower, model: nn.Module, layer_map: LayerMap, options: CacheOptions, forms: Mapping[str, Form]
) -> str | None:
    """Open the stores of all splits, and set the tower's `stores`, `names`, `where` and `budget_bytes`.

    Args:
        tower: The tower.
        model: The whole model.
        layer_map: Its layers.
        options: How prefixes are cached.
        forms: How values are stored, by name.

    Returns:
        Why there is no space for them; None where there is.
    """
    stores = {split: _store(tower, split, options, None) for split, rows in tower.rows.items() if len(rows)}
    size = sum(store.bytes_needed(form) for store in stores.values() for form in forms.values())
    if options.mode != "disk" and options.budget.take(size):
        tower.budget_bytes = size
    elif options.mode == "memory":
        left = options.budget.left / GIGABYTE
        return f"it takes {size / GIGABYTE:.3f} GB, and env.cache_memory leaves {left:.3f}"
    else:
        free = shutil.disk_usage(_existing(options.folder)).free
        if size > DISK_SHARE * free:
            return f"it takes {size / GIGABYTE:.2f} GB, and the disk has {free / GIGABYTE:.2f} free"
        tower.where = f"on disk, in {str(options.folder)!r}"
        names = {split: store_name(tower, split, model, layer_map, options) for split in stores}
        stores = {split: _store(tower, split, options, options.folder / name) for split, name in names.items()}
    for store in stores.values():
        for name, form in forms.items():
            store.open(name, form)
    tower.stores, tower.names = stores, tuple(forms)
    return None


def store_name(tower: CachedTower, split: str, model: nn.Module, layer_map: LayerMap, options: CacheOptions) -> str:
    """Return a name with a hash of all that the values depend on: weights, rows with their files, batches, versions."""
    prefix = tower.prefix
    names = [name for label in prefix.labels for name in layer_map[label].parameters]
    facts = {
        **options.facts,
        "weights": tensors_hash(_state(model, names, f"towers.{prefix.tower}.")),
        "rows": tower.rows[split].identity(),
        "batch": options.usual,
        "layers": prefix.labels,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    return f"{prefix.tower}-{split}-{digest[:16]}"


def _store(tower: CachedTower, split: str, options: CacheOptions, folder: Path | None) -> RowStore:
    rows = tower.rows[split]
    facts: Mapping[str, Any] = options.facts
    return RowStore(rows.item_count, rows.lengths, folder=folder, facts=facts)


def _state(model: nn.Module, parameters: Iterable[str], inside: str) -> list[tuple[str, torch.Tensor]]:
    """Return the parameters of these names, and the buffers below a path: all that a frozen prefix depends on."""
    wanted = set(parameters)
    state: list[tuple[str, torch.Tensor]] = [(name, p) for name, p in model.named_parameters() if name in wanted]
    return state + [(name, buffer) for name, buffer in model.named_buffers() if name.startswith(inside)]


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
