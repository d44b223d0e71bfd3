"""Under which licence pretrained weights are, where they say so themselves; nothing is guessed, nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from thermocline.backbones.pretrained import find_text
from thermocline.errors import ThermoclineError


def licence_of(checkpoint: str) -> str | None:
    """Return the licence that the weights of a checkpoint state, or None where they state none here.

    A folder, and a model in the cache of the hub, state it at the top of their README.md; timm states it for its own.

    Args:
        checkpoint: A folder, `offline:…`, a timm name or a hub id, as options name it.
    """
    folder = _folder(checkpoint)
    if folder is not None:
        return _of_readme(folder / "README.md")
    import timm

    config: Any = timm.models.get_pretrained_cfg(checkpoint) if timm.is_model(checkpoint.split(".")[0]) else None
    if config is not None:
        return str(config.license) if config.license else None
    return _of_hub(checkpoint)


def _folder(checkpoint: str) -> Path | None:
    if checkpoint.startswith("offline:"):
        try:
            return Path(find_text(checkpoint, pretrained=True).location)
        except ThermoclineError:
            return None
    folder = Path(checkpoint).expanduser()
    return folder if folder.is_dir() else None


def _of_hub(checkpoint: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(checkpoint, "README.md")
    except ValueError:  # no name of a model there
        return None
    return _of_readme(Path(found)) if isinstance(found, str) else None


def _of_readme(file: Path) -> str | None:
    """Return `license` of the YAML at the top of a model card."""
    if not file.is_file():
        return None
    parts = file.read_text(encoding="utf-8", errors="replace").split("---", 2)
    if len(parts) < 3 or parts[0].strip():
        return None
    try:
        said = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return None
    named = said.get("license_name") or said.get("license") if isinstance(said, dict) else None
    return str(named) if isinstance(named, str) else None
