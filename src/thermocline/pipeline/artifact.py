"""A fitted predictor as a folder: safetensors, JSON and YAML; no pickle, and no code that is run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load_model, save_model

import thermocline
from thermocline import registry
from thermocline.backbones.pretrained import file_sha256
from thermocline.backbones.saved_config import no_hub
from thermocline.config import Needed, ResolvedConfig
from thermocline.contracts.baseline import Reference
from thermocline.contracts.problem import Assembly, Built, Problem
from thermocline.contracts.request import Request
from thermocline.contracts.starting import Started
from thermocline.data.columns import Columns
from thermocline.errors import ArtifactError, ConfigError, MissingDependencyError
from thermocline.pipeline.bounded_build import Weights, built_as_saved
from thermocline.pipeline.fitted import Fitted
from thermocline.pipeline.listed_files import MANIFEST, WEIGHTS, ListedFiles, read_manifest
from thermocline.pipeline.places import checkpoint_folder
from thermocline.pipeline.saved_folder import UNFINISHED, check_free, find, replaced
from thermocline.training.checkpoint_store import CheckpointStore
from thermocline.training.history import History
from thermocline.training.writing import size_of, told_unwritable
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.random_numbers import RandomNumbers

FORMAT = 1
LEADERBOARD = "leaderboard.json"
REFERENCE = "reference.json"


def save(fitted: Fitted, path: Path, *, overwrite: bool = False) -> None:
    """Write a predictor into a folder, all or nothing; other files in the folder stay. The lock must be held.

    Args:
        fitted: What to save; its identity tells this run from others: saving a run again replaces its own folder.
        path: The folder.
        overwrite: Whether a saved predictor of another run is replaced.

    Raises:
        OutputExistsError: The folder holds something else.
        OutputWriteError: The disk is full; checkpoints of the run stay.
    """
    check_free(path, fitted.identity, overwrite=overwrite)
    needed = size_of(fitted.assembly.model.state_dict())
    with told_unwritable(path, needed, _way_out(path)), replaced(path) as draft:
        _write(fitted, draft)
        written = sorted(p for p in draft.rglob("*") if p.is_file() and p.name != UNFINISHED)
        manifest = {
            "format": FORMAT,
            "thermocline": thermocline.__version__,
            "identity": fitted.identity,
            "ended": fitted.ended,
            "files": {p.relative_to(draft).as_posix(): file_sha256(p) for p in written},
        }
        _dump(draft / MANIFEST, manifest)


def _way_out(path: Path) -> str:
    """What to do where a predictor cannot be saved."""
    here = "in this program predictor.save('another_path') saves it elsewhere"
    if CheckpointStore(checkpoint_folder(path)).holds_any():
        return (
            f"The checkpoints of the run in {str(checkpoint_folder(path))!r} stay: free space and fit again with "
            f"resume=True (--resume), which goes on from the newest; or {here}."
        )
    return f"Free space and save again, predictor.save(); or {here}."


@dataclass(frozen=True)
class Trust:
    """What of a caller's own a saved predictor may be loaded with.

    Attributes:
        problem: The kind of problem, where it is not an installed one.
        remote_code: Whether code that a text backbone brought with its pretrained weights may run.
        objects: Option → the object whose name was saved for it, and that it is built with.
    """

    problem: Problem | None = None
    remote_code: bool = False
    objects: Mapping[str, Needed] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request, *, remote_code: bool) -> Trust:
        """Return what a request brings of the caller's own."""
        return cls(request.problem, remote_code, request.objects)


def load(path: Path, trust: Trust = Trust()) -> Fitted:
    """Read a saved predictor; no hub, and no code from the folder.

    Args:
        path: The folder.
        trust: The caller's own code.

    Raises:
        ArtifactError: There is none, it is damaged, or a newer version wrote it.
        ConfigError: It is of a kind of problem that is not installed.
        MissingDependencyError: Its backbone has adapters, and peft is not installed.
    """
    with _unreachable(path):
        path = find(path)
        files, identity, ended = _check(path)
    with _damaged(path):
        saved = files.json("task.json")
        problem_type = str(saved["problem_type"])
    problem = _problem_of(path, problem_type, trust.problem)
    offline = nullcontext() if trust.remote_code else no_hub()  # code of a backbone may lie in a hub
    with _damaged(path), offline, RandomNumbers():  # weights are drawn, then loaded over
        assembly = _read(files, problem, saved, trust)
        history = History(pd.DataFrame(files.json("history.json")))
        if "rates.json" in files.digests:
            history.lrs = pd.DataFrame(files.json("rates.json")).set_index("step")
        leaderboard = files.json(LEADERBOARD) if LEADERBOARD in files.digests else None
        reference = Reference.from_dict(files.json(REFERENCE)) if REFERENCE in files.digests else None
    return Fitted(assembly, history, identity, ended, leaderboard, reference=reference)


def _write(fitted: Fitted, folder: Path) -> None:
    assembly, history = fitted.assembly, fitted.history
    _dump(folder / "task.json", assembly.target.to_dict())
    _dump(folder / "columns.json", assembly.columns.to_dict())
    _dump(folder / "layers.json", assembly.layer_map.to_dict())
    _dump(folder / "history.json", history.to_frame().to_dict(orient="list"))
    if history.lrs is not None:
        _dump(folder / "rates.json", history.lrs.reset_index().to_dict(orient="list"))
    if fitted.leaderboard is not None:
        _dump(folder / LEADERBOARD, dict(fitted.leaderboard))
    if fitted.reference is not None:
        _dump(folder / REFERENCE, fitted.reference.to_dict())
    if assembly.facts:
        _dump(folder / "facts.json", dict(assembly.facts))
    (folder / "plan.json").write_text(assembly.plan.to_json(), encoding="utf-8")
    (folder / "config.yaml").write_text(assembly.config.to_yaml(), encoding="utf-8")
    described = assembly.problem.describe(assembly, folder)
    built = assembly.built
    more = {} if built.started is None else {"started": built.started.to_dict()}
    _dump(folder / "towers.json", {"weight": assembly.weight, "notes": list(built.notes)} | more | described)
    save_model(assembly.model, str(folder / WEIGHTS))


def _read(files: ListedFiles, problem: Problem, saved: dict[str, Any], trust: Trust) -> Assembly:
    target = problem.read_target(saved)
    columns = Columns.from_dict(files.json("columns.json"))
    config = ResolvedConfig.from_yaml(files.text("config.yaml"), problem=problem.info)
    config = config.with_objects(trust.objects)
    described = files.json("towers.json")
    layer_map = LayerMap.from_dict(files.json("layers.json"))
    plan = LayerPlan.from_json(files.text("plan.json"))
    facts = files.json("facts.json") if "facts.json" in files.digests else {}
    folder = files.folder()
    model, inputs = built_as_saved(
        lambda: problem.rebuild(described, folder, target, config, trust_remote_code=trust.remote_code),
        Weights.of(files.file(WEIGHTS)),
    )
    load_model(model, str(files.file(WEIGHTS)))
    started = Started.from_dict(described["started"]) if "started" in described else None
    built = Built(model.eval(), inputs, layer_map, config, tuple(described["notes"]), started)
    return Assembly(problem, target, columns, built, plan, described["weight"], facts)


def _problem_of(path: Path, problem_type: str, own: Problem | None) -> Problem:
    """Return the kind of problem that a saved predictor is of: the caller's own, or an installed one.

    Raises:
        ConfigError: It is of another kind, or of one that is not installed.
    """
    if own is not None:
        if problem_type not in registry.own_info(own).problem_types:
            raise ConfigError(
                f"{str(path)!r} was saved for a {problem_type!r} problem, and the problem that was given is for "
                f"{' and '.join(own.info.problem_types)}. Give the one it was fitted with, or none for a built-in kind."
            )
        return own
    if problem_type not in registry.problem_types():
        raise ConfigError(
            f"{str(path)!r} was saved for a {problem_type!r} problem, which is none of the installed kinds. If it is "
            "your own: Predictor.load(path, problem=MyProblem())."
        )
    found: Problem = registry.load(registry.find_problem(problem_type))
    return found


@contextmanager
def _unreachable(path: Path) -> Iterator[None]:
    try:
        yield
    except ArtifactError:
        raise
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise ArtifactError(
            f"There is no saved predictor at {str(path)[:200]!r} that can be read ({error.strerror or error})."
        ) from error


def _check(path: Path) -> tuple[ListedFiles, str, bool]:
    """Read the manifest, compare every file with it, and return the files, and identity and end of the run."""
    if not path.is_dir():
        raise ArtifactError(f"There is no saved predictor at {str(path)!r}: no such folder.")
    if not os.path.lexists(path / MANIFEST):
        raise ArtifactError(
            f"{str(path)!r} is not a saved predictor: it holds no {MANIFEST}. Name the folder that `save` or "
            f"`fit` wrote."
        )
    try:
        manifest = read_manifest(path)
        if "export" in manifest:
            raise ArtifactError(
                f"{str(path)!r} is an export ({manifest['export']}), not a saved predictor; its README.md says how it "
                "is used. Name the folder that `save` or `fit` wrote."
            )
        number = int(manifest["format"])
        files = {str(name): str(digest) for name, digest in dict(manifest["files"]).items()}
        identity, ended = str(manifest["identity"]), manifest.get("ended") is not False
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path / MANIFEST} is damaged ({type(error).__name__}: {error}). Restore it from a copy."
        ) from None
    if number > FORMAT:
        raise ArtifactError(
            f"{str(path)!r} has format {number}, written by Thermocline {manifest.get('thermocline', '?')}; this "
            f"version ({thermocline.__version__}) reads up to {FORMAT}. Upgrade: pip install -U thermocline"
        )
    listed = ListedFiles(path, files)
    listed.check()
    return listed, identity, ended


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (ArtifactError, MissingDependencyError, MemoryError):
        raise
    except Exception as error:
        raise ArtifactError(
            f"The saved predictor {str(path)!r} cannot be read ({type(error).__name__}: {str(error)[:300]}). Its files "
            "have the digests that its manifest names: it was made with other versions, or somebody manipulated it. "
            "Install the versions of timm and transformers that it was made with, or load a copy that you trust."
        ) from error


def facts(path: Path) -> dict[str, Any] | None:
    """Return what made the run that was saved in a folder (see `training.run_identity`), or `None` where none was.

    Raises:
        ArtifactError: A saved predictor that is damaged.
    """
    if not (path / MANIFEST).is_file():
        return None
    files, _, _ = _check(path)
    with _damaged(path):
        return dict(files.json("facts.json")) if "facts.json" in files.digests else None


def _dump(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=True) + "\n", encoding="utf-8")
