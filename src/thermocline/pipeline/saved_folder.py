"""The folder of a saved predictor: whose it is, replaced as a whole, found again after a kill; other files stay."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from thermocline.errors import OutputExistsError
from thermocline.pipeline.folder_lock import locked
from thermocline.pipeline.listed_files import MANIFEST, WEIGHTS, read_manifest
from thermocline.pipeline.path_argument import check_output, writable
from thermocline.training.flushing import flush, flush_tree

UNFINISHED = "thermocline.unfinished"  # in a folder that is being written or removed

#: What every saved predictor may hold besides the folders of its towers.
NAMES = frozenset(
    {"task.json", "columns.json", "layers.json", "history.json", "rates.json", "facts.json", "plan.json"}
    | {"config.yaml", "towers.json", "leaderboard.json", WEIGHTS, UNFINISHED}
)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Hold the lock of a folder, with what a save that was killed left behind put right.

    Raises:
        OutputInUseError: Another fit or save holds it.
        OutputExistsError: Foreign folders have the names that a save needs for a moment.
        ConfigError: Nothing can be written there.
    """
    check_output(path)
    with ExitStack() as stack:
        with writable(path):
            stack.enter_context(locked(path))
            _recover(path)
        yield


def check_free(path: Path, identity: str | None = None, *, overwrite: bool = False) -> None:
    """Check that a folder can be written to.

    Args:
        path: The folder; a missing or an empty one is free.
        identity: The run that `save` writes again: its own folder may be replaced. None for `fit`, which trains anew.
        overwrite: Whether any saved predictor may be replaced. Other files never are.

    Raises:
        OutputExistsError: It holds something else.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / MANIFEST).is_file():
        what = "other files" if path.is_dir() else "a file"
        raise OutputExistsError(
            f"{str(path)!r} already holds {what}. Choose another path, or remove it yourself; nothing there is ever "
            "overwritten."
        )
    if not overwrite and (identity is None or identity_of(path) != identity):
        raise OutputExistsError(
            f"{str(path)!r} already holds another run. Choose another path, or pass overwrite=True, which replaces the "
            "saved predictor."
        )
    for name in sorted(NAMES & {str(one) for one in _foreign(path)}):
        raise _in_the_way(path, name)


def check_fit(path: Path, own: str, *, overwrite: bool) -> None:
    """Check that a fit may save into a folder: it trains from scratch, so it replaces no predictor unasked.

    Args:
        path: The folder.
        own: The identity of the predictor that is fitted again, or `""` for one that was neither loaded nor fitted.
        overwrite: Whether a saved predictor may be replaced.

    Raises:
        OutputExistsError: The folder holds something else, or what this predictor was loaded from or saved.
    """
    if own and not overwrite and identity_of(path) == own:
        raise OutputExistsError(
            f"{str(path)!r} holds this predictor as it was saved. fit makes a new one, from scratch unless start_from "
            f"says otherwise, and would replace it. To go on from it: Predictor(label, path='another_folder').fit(..., "
            f"start_from={str(path)!r}). To train from scratch, choose another path and leave start_from out. Or pass "
            "fit(..., overwrite=True): the saved predictor is replaced once the new one is trained."
        )
    check_free(path, overwrite=overwrite)


def identity_of(path: Path) -> str | None:
    """Return the identity of the run that is saved in a folder, or None where none can be read."""
    try:
        return str(read_manifest(path)["identity"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def was_stopped(path: Path) -> bool:
    """Say whether what is saved in a folder is of a run that Ctrl-C stopped."""
    try:
        return read_manifest(path).get("ended") is False
    except (OSError, ValueError, AttributeError):
        return False


def find(path: Path) -> Path:
    """Return where the predictor saved at a path lies: beside it, where a save was killed while it replaced it."""
    if not path.exists():
        draft, old = _beside(path)
        for other in (draft, old):
            if (other / MANIFEST).is_file() and not (other / UNFINISHED).exists():
                return other
    return path


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give an empty folder to write into, which then takes the place of a saved predictor; the lock must be held.

    Files of the saved predictor's folder that are not its own are in the new one too. At every moment a whole predictor
    can be loaded from the path (`find`). All is on the disk when this returns.

    Raises:
        OutputExistsError: A file that is not the saved predictor's own has the name of a new one.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft, old = _beside(path)
    draft.mkdir()
    try:
        (draft / UNFINISHED).touch()
        yield draft
        _set_modes(draft)
        for name in _foreign(path):
            _take_over(path, name, draft)
        flush_tree(draft)
        (draft / UNFINISHED).unlink()
        flush(draft)
        if path.exists():
            _exchange(path, draft, old)
        else:
            draft.rename(path)
            flush(path.parent)
    except BaseException:
        _remove(draft)
        raise


def _set_modes(draft: Path) -> None:
    """Give every file the mode that the process's umask asks for; safetensors makes files that only the owner reads."""
    mode = stat.S_IMODE((draft / UNFINISHED).stat().st_mode)
    for one in draft.rglob("*"):
        if one.is_file() and stat.S_IMODE(one.stat().st_mode) != mode:
            one.chmod(mode)


def _exchange(path: Path, draft: Path, old: Path) -> None:
    path.rename(old)
    try:
        draft.rename(path)
    except BaseException:
        old.rename(path)
        raise
    flush(path.parent)
    _remove(old)


def _recover(path: Path) -> None:
    """Finish or undo what a save that was killed had begun."""
    path = Path(os.path.realpath(path))
    draft, old = _beside(path)
    for folder in (draft, old):
        if folder.exists() and not _is_ours(folder):
            raise OutputExistsError(
                f"{str(folder)!r} is not of Thermocline, and a save into {str(path)!r} needs this name for a moment. "
                "Move it away, or choose another path."
            )
    if (found := find(path)) != path:
        found.rename(path)
        flush(path.parent)
    for folder in (draft, old):
        if folder.exists():
            _remove(folder)


def _beside(path: Path) -> tuple[Path, Path]:
    """Return the names that a new and the old folder have while one takes the place of the other."""
    real = Path(os.path.realpath(path))
    return real.with_name(f".{real.name}-writing"), real.with_name(f".{real.name}-old")


def _is_ours(folder: Path) -> bool:
    marked = any((folder / name).is_file() for name in (MANIFEST, UNFINISHED))
    return marked or (folder.is_dir() and not any(folder.iterdir()))


def _remove(folder: Path) -> None:
    """Remove a folder of ours such that half of it is known as such."""
    if not folder.exists():
        return
    with suppress(OSError):  # a full disk takes no new name; what is removed here makes space
        (folder / UNFINISHED).touch()
    for one in folder.iterdir():
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        elif one.name != UNFINISHED:
            one.unlink()
    (folder / UNFINISHED).unlink(missing_ok=True)
    folder.rmdir()


def _foreign(path: Path) -> list[Path]:
    """Return what lies in the folder of a saved predictor and is not of it: files, links and empty folders.

    Raises:
        OutputExistsError: Its manifest cannot be read, so nothing tells what is its own.
    """
    if not (path / MANIFEST).is_file():
        return []
    try:
        manifest: dict[str, Any] = read_manifest(path)
        own = {Path(MANIFEST), *(Path(name) for name in dict(manifest["files"]))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputExistsError(
            f"{str(path)!r} holds a saved predictor whose {MANIFEST} is damaged ({type(error).__name__}), so nothing "
            "tells its files from others. Choose another path, or remove it yourself."
        ) from None
    found = []
    for at, folders, names in os.walk(path):
        links = [name for name in folders if (Path(at) / name).is_symlink()]
        found += [Path(at) / name for name in (*names, *links)]
        if not folders and not names and at != str(path):
            found.append(Path(at))
    return sorted(one.relative_to(path) for one in found if one.relative_to(path) not in own)


def _take_over(path: Path, name: Path, draft: Path) -> None:
    source, target = path / name, draft / name
    if target.is_dir() and source.is_dir():
        return
    if os.path.lexists(target) or any(above.is_file() for above in target.parents):
        raise _in_the_way(path, str(name))
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir()
    else:
        try:
            os.link(source, target)
        except OSError:  # a file system without hard links
            shutil.copy2(source, target)


def _in_the_way(path: Path, name: str) -> OutputExistsError:
    return OutputExistsError(
        f"{str(path / name)!r} is not of the predictor that is saved there, and a file of this name is to be written. "
        "Move it away, or choose another path."
    )
