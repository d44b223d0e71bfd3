"""Where a run writes: checkpoints and logs next to its path, caches."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from thermocline.config import ResolvedConfig
from thermocline.contracts.request import Request
from thermocline.data.memory_budget import Budget
from thermocline.errors import ConfigError, listing
from thermocline.training.checkpoint_store import Checkpoint, CheckpointStore
from thermocline.training.open_loggers import make_loggers
from thermocline.training.run import Storage


@dataclass(frozen=True)
class Places:
    """Where a run writes.

    Attributes:
        store: The checkpoints, or None where none are written.
        logs: The folder of log files.
        cache: The folder of caches that fits share, or None.
    """

    store: CheckpointStore | None
    logs: Path
    cache: Path | None

    @classmethod
    def of(cls, request: Request, config: ResolvedConfig) -> Places:
        """Return where a run of this request writes.

        Raises:
            ConfigError: Loggers without a path, or a folder of caches that may not be written to.
            OutputExistsError: The folder for checkpoints holds other files.
        """
        check_loggers(request, config)
        path, folder = request.path, config.env.cache_folder
        store = None
        if path is not None and config.env.checkpoint_every != 0:
            store = CheckpointStore(checkpoint_folder(path), keep=config.env.checkpoints_kept)
            store.check_own()
        logs = Path() if path is None else path.with_name(f"{path.name}-logs")
        cache = Path(folder).expanduser() if folder else None
        if cache is not None:
            _check_cache(cache)
        return cls(store, logs, cache)

    def best_states(self, resumed: Checkpoint | None) -> Path:
        """Return the folder of the best states while the run lasts; a new run removes prefixes that no fits share."""
        folder = Path(tempfile.mkdtemp(prefix="thermocline-")) if self.store is None else self.store.adopt(resumed)
        if resumed is None and self.cache is None:
            shutil.rmtree(self.prefixes(folder), ignore_errors=True)
        return folder

    def prefixes(self, best_states: Path) -> Path:
        """Return the folder of cached prefixes: shared, next to the checkpoints, or with the best states."""
        return self.cache or (best_states if self.store is None else self.store.root) / "prefixes"

    def storage(self, best_states: Path, budget: Budget, kept: Path | None) -> Storage:
        """Return where the run keeps files, and how much memory its caches take; see `Storage`."""
        prefixes = self.prefixes(best_states)
        return Storage(best_states, self.store, prefixes, self.cache is not None, budget, kept)

    def identity(self) -> str:
        """Return what names the run: what marks its checkpoints, once the best states have a folder."""
        return (self.store and self.store.identity) or uuid.uuid4().hex

    def tidy(self, best_states: Path) -> None:
        """Remove what only the run itself needed."""
        shutil.rmtree(best_states, ignore_errors=True)
        if self.store is not None:
            self.store.tidy()


def checkpoint_folder(path: Path) -> Path:
    """Return the folder of checkpoints of a run that saves at `path`."""
    return path.with_name(f"{path.name}-checkpoints")


def remove_checkpoints(path: Path, identity: str) -> None:
    """Remove the checkpoints of a run whose end is safe at `path`; those of another run and other files stay."""
    store = CheckpointStore(checkpoint_folder(path))
    if store.is_own() and store.identity in (None, identity):
        store.remove()


def check_loggers(request: Request, config: ResolvedConfig) -> None:
    """Check that loggers have what they need: a package, and a place to write to.

    Raises:
        ConfigError: There is no path.
        MissingDependencyError: A package is not installed.
    """
    loggers = [*make_loggers(config.env.loggers), *request.loggers]
    homeless = [type(one).__name__ for one in loggers if getattr(one, "needs_path", False)]
    if request.path is None and homeless:
        raise ConfigError(
            f"The loggers {listing(homeless)} write files beside the predictor, which needs a path for that: "
            f"Predictor(label, path='my_model'). Or say where: fit(loggers=[{homeless[0]}('a/place')])."
        )


def _check_cache(folder: Path) -> None:
    """Check that a folder may be written to, or made; it is not made here.

    Raises:
        ConfigError: It may not.
    """
    above = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        why = "may not be written to" if above.is_dir() else "is a file"
        raise ConfigError(
            f"env.cache_folder={str(folder)!r} cannot hold caches: {str(above)!r} {why}. Choose another folder, or "
            "leave env.cache_folder out: each fit then has caches of its own."
        )
