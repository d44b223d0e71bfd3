"""Sample frames that need no network: docstrings (text and table), digits (images), and a mixed one.

    from thermocline.data.samples import load_sample
    frame = load_sample("mixed", rows=500)

Each is the same frame for the same seed and the same installed packages.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from thermocline.errors import ConfigError, DataError, did_you_mean, listing

SIDE = 32  # pixels; the digits are 8 x 8 and most image models need more
DIGITS = 1797

_SAMPLES: dict[str, tuple[int, str, str]] = {  # name: (default rows, label, what it is)
    "docstrings": (
        2500,
        "library",
        "first paragraphs of docstrings, with kind and two counts; which library is it?",
    ),
    "digits": (DIGITS, "label", "scikit-learn's handwritten digits as PNG files; which digit is it?"),
    "mixed": (1500, "priority", "parcels: image, note, depot and weight each carry part of the priority"),
}

_URGENT = (
    "needed for surgery tomorrow",
    "the customer is waiting at the door",
    "contents spoil within hours",
    "must arrive before the court hearing",
    "replacement for a broken pump, production stands still",
    "promised for tonight",
    "medicine, do not delay",
    "the flight leaves in the morning",
)
_NEUTRAL = (
    "ordered last week",
    "second half of a split order",
    "leave with the neighbour if nobody opens",
    "contents as listed on the invoice",
    "return label enclosed",
    "gift wrapping requested",
    "ring twice at the side entrance",
    "signature on delivery",
)
_RELAXED = (
    "no rush at all",
    "any day this month will do",
    "hold until the recipient is back from holiday",
    "spare parts for the shelf",
    "for the archive, whenever there is room",
    "may travel by slow freight",
    "deliver together with the next order",
    "stock for next season",
)
_OPENINGS = (
    "Note from the sender:",
    "Remark:",
    "Driver, please read:",
    "Desk says",
    "As agreed by phone,",
    "Customer wrote:",
    "Standing instruction:",
    "Heads-up:",
)
_WARES = (
    "glassware",
    "books",
    "garden tools",
    "printed forms",
    "ceramic tiles",
    "winter coats",
    "cables",
    "toner",
    "coffee beans",
    "bicycle parts",
    "lamps",
    "seed packets",
)
_DEPOTS = {"harbour": 0.9, "airport": 1.1, "central": 0.2, "north": -0.2, "village": -0.9, "island": -1.1}


def list_samples() -> pd.DataFrame:
    """Return the samples as a table: name, rows, label, what.

    Example:
        >>> from thermocline.data.samples import list_samples
        >>> "mixed" in list_samples()["name"].tolist()
        True
    """
    rows = [(name, *values) for name, values in _SAMPLES.items()]
    return pd.DataFrame(rows, columns=["name", "rows", "label", "what"])


def load_sample(name: str, *, rows: int | None = None, seed: int = 0, folder: str | Path | None = None) -> pd.DataFrame:
    """Return a sample frame by name.

    Args:
        name: `docstrings`, `digits` or `mixed`.
        rows: At most this many; None is the sample's own number.
        seed: Which rows, and in which order.
        folder: Where image files are written; None is a folder of the user's below the temporary one.

    Raises:
        ConfigError: No such sample, or `rows` is not a positive whole number.

    Example:
        >>> load_sample("mixed", rows=20).columns.tolist()
        ['image', 'note', 'depot', 'weight_kg', 'priority']
    """
    if name not in _SAMPLES:
        raise ConfigError(f"No sample {name!r}; choose from {listing(_SAMPLES)}.{did_you_mean(name, _SAMPLES)}")
    makers: dict[str, Callable[..., pd.DataFrame]] = {"digits": digits, "mixed": mixed}
    if name == "docstrings":
        return docstrings(rows=rows, seed=seed)
    return makers[name](rows=rows, seed=seed, folder=folder)


def docstrings(*, rows: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Return docstrings of numpy, pandas, scipy, scikit-learn and torch, as evenly many of each as there are.

    Columns: `text`, `kind` (function, class, method), `n_parameters` (NaN without a signature), `n_lines`,
    and the label `library`. The first call imports the libraries (about ten seconds).

    Raises:
        ConfigError: `rows` is not a positive whole number.
        DataError: None of the libraries could be imported.
    """
    from thermocline.data.docstrings import collect

    wanted = _rows("docstrings", rows)
    found = collect()
    if not found:
        raise DataError("No docstrings were found: is Python running with -OO, which strips them?")
    names = ["text", "kind", "n_parameters", "n_lines", "library"]
    frame = pd.DataFrame(found, columns=names)
    generator = np.random.default_rng(seed)
    shuffled = frame.iloc[generator.permutation(len(frame))]
    turn = shuffled.groupby("library").cumcount()  # the first of each library, the second of each, ...
    taken = shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")[:wanted]]
    return taken.iloc[generator.permutation(len(taken))].reset_index(drop=True)


def digits(*, rows: int | None = None, seed: int = 0, folder: str | Path | None = None) -> pd.DataFrame:
    """Return handwritten digits: `image` (absolute path of a 32 x 32 grey PNG) and `label` (0 to 9).

    There are 1,797; asking for more returns these. Calling it again, or at the same time, is safe.

    Raises:
        ConfigError: `rows` is not a positive whole number.
    """
    wanted = _rows("digits", rows)
    _, target = _pixels()
    order = np.random.default_rng(seed).permutation(len(target))[:wanted]
    return pd.DataFrame({"image": _write(order, folder), "label": target[order]})


def mixed(*, rows: int | None = None, seed: int = 0, folder: str | Path | None = None) -> pd.DataFrame:
    """Return made-up parcels: `image`, `note`, `depot`, `weight_kg`, label `priority` (low, medium, high).

    Each parcel has an urgency that is the sum of four parts and a little noise; the label is its tertile. The
    image is a handwritten digit, a greater one being more urgent; the note is an urgent, neutral or relaxed
    sentence; the depot has an effect of its own; the weight counts by its logarithm, light parcels being more
    urgent. So each column alone does better than chance, and all four are needed to do well. About 3 % of the
    notes, depots and weights are missing.

    Raises:
        ConfigError: `rows` is not a positive whole number.
    """
    wanted = _rows("mixed", rows)
    generator = np.random.default_rng(seed)
    _, target = _pixels()
    order = generator.integers(len(target), size=wanted)
    tone = generator.integers(3, size=wanted)
    depots = np.array(list(_DEPOTS))
    depot = generator.integers(len(depots), size=wanted)
    weight = np.round(np.exp(generator.normal(1.0, 0.9, size=wanted)), 2).clip(0.05)
    urgency = (target[order] - 4.5) / 2.9 + (1.0 - tone) * 1.2
    urgency += np.array(list(_DEPOTS.values()))[depot] - (np.log(weight) - 1.0) / 0.9
    urgency += generator.normal(0.0, 0.2, size=wanted)
    notes = np.array([_note(generator, kind) for kind in tone], dtype=object)
    frame = pd.DataFrame({"image": _write(order, folder), "note": notes, "depot": depots[depot], "weight_kg": weight})
    for name in ("note", "depot", "weight_kg"):
        frame[name] = frame[name].mask(generator.random(wanted) < 0.03)
    # one cut for all sizes would need the exact distribution; tertiles keep the classes even
    place = np.argsort(np.argsort(urgency, kind="stable"), kind="stable")
    frame["priority"] = np.array(["low", "medium", "high"])[place * 3 // wanted]
    return frame


def _rows(name: str, rows: int | None) -> int:
    if rows is None:
        return _SAMPLES[name][0]
    if isinstance(rows, bool) or not isinstance(rows, (int, np.integer)) or rows < 1:
        raise ConfigError(f"rows={rows!r} is not a positive whole number.")
    return int(rows)


def _note(generator: np.random.Generator, tone: int) -> str:
    phrases = (_URGENT, _NEUTRAL, _RELAXED)[tone]
    opening, ware, phrase = (generator.choice(words) for words in (_OPENINGS, _WARES, phrases))
    filler = generator.choice(_NEUTRAL)
    parts = (
        [f"{opening} {ware};", f"{phrase};", f"{filler}."]
        if generator.random() < 0.5
        else [f"{opening} {ware};", f"{filler};", f"{phrase}."]
    )
    return " ".join(parts)


# -- image files ----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _pixels() -> tuple[np.ndarray, np.ndarray]:
    """Return the digits as uint8 `(1797, 8, 8)` and what they are, int64 `(1797,)`."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.round(bunch.images * 255 / 16).astype(np.uint8), bunch.target.astype(np.int64)


def _write(order: np.ndarray, folder: str | Path | None) -> list[str]:
    """Write the digits of these numbers as PNG files, each once, and return their paths."""
    from PIL import Image

    images, _ = _pixels()
    place = _own_folder() if folder is None else Path(folder).expanduser().resolve()
    place.mkdir(parents=True, exist_ok=True)
    paths: dict[int, str] = {}
    for number in map(int, np.unique(order)):
        digest = hashlib.sha256(images[number].tobytes() + bytes([SIDE])).hexdigest()[:12]
        path = place / f"{number:04d}_{digest}.png"
        if not path.exists():
            handle, unfinished = tempfile.mkstemp(suffix=".part", dir=place)
            with os.fdopen(handle, "wb") as file:
                Image.fromarray(images[number]).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "PNG")
            Path(unfinished).replace(path)  # at once or not at all, whoever else is writing
        paths[number] = str(path)
    return [paths[int(number)] for number in order]


def _own_folder() -> Path:
    """Return a folder of this user's below the temporary one; another's folder of that name is not used."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "user"
    folder = Path(tempfile.gettempdir()).resolve() / f"thermocline-{user}" / "digits"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if hasattr(os, "getuid") and folder.parent.stat().st_uid != os.getuid():
        return Path(tempfile.mkdtemp(prefix="thermocline-"))
    return folder
