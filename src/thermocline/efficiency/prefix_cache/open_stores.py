"""Opens the stores of a cached tower: on its GPU where they are small, in memory within the budget, else in files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from thermocline.data.memory_budget import GIGABYTE
from thermocline.efficiency.prefix_cache.cached_tower import CachedTower
from thermocline.efficiency.prefix_cache.options import CacheOptions
from thermocline.efficiency.prefix_cache.prefix_identity import store_name
from thermocline.efficiency.prefix_cache.row_store import Form, RowStore
from thermocline.errors import first_line
from thermocline.tuning.layers.layer_map import LayerMap

DISK_SHARE = 0.5
"""Share of the free disk space that files may take."""
GPU_SHARE = 0.1
"""Share of a GPU's free memory that stored values may take; what they replace took more, while it ran."""


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
    if options.mode != "disk" and size <= room_on(tower.device):
        tower.where = "on the GPU"
        stores = {split: _store(tower, split, options, None, tower.device) for split in stores}
    elif options.mode != "disk" and options.budget.take(size):
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
    tower.stores, tower.names = stores, tuple(forms)
    try:
        for store in stores.values():
            for name, form in forms.items():
                store.open(name, form)
    except OSError as error:  # the disk filled meanwhile, or takes no more of this user
        return f"its files cannot be written to {str(options.folder)!r} ({first_line(error)})"
    return None


def room_on(device: torch.device) -> int:
    """Return the bytes that stored values may take on a device; 0 where it is the host."""
    return int(GPU_SHARE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0


def _store(
    tower: CachedTower, split: str, options: CacheOptions, folder: Path | None, device: torch.device | None = None
) -> RowStore:
    rows = tower.rows[split]
    return RowStore(rows.item_count, rows.lengths, folder=folder, device=device, facts=options.facts)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
