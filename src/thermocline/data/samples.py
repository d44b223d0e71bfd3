"""Sample frames that need no network: small real sets that packages ship, docstrings, digits, and a mixed one.

    from thermocline import list_samples, load_sample
    frame = load_sample("penguins")

Each is the same frame for the same seed, on every machine. The docstrings alone depend on what is installed.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from thermocline.data.packaged_samples import PACKAGED, all_rows
from thermocline.data.sample_facts import SAMPLES
from thermocline.data.sample_images import write_images
from thermocline.data.sample_shapes import write_shapes
from thermocline.errors import ConfigError, DataError, did_you_mean

SIDE = 32  # pixels; the digits are 8 x 8 and most image models need more
_NEEDED = {"docstrings": "numpy pandas scipy scikit-learn torch", "shapes": "numpy"}  # packages that rows come from
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
    """Return the samples as a table: name, rows, label, what, licence, source, extra, fixed.

    `extra` is what has to be installed (`pip install 'thermocline[samples]'`), or an empty string. `fixed` says whether
    the rows are the same on every machine.

    Example:
        >>> from thermocline import list_samples
        >>> list_samples().set_index("name").loc["penguins", ["label", "licence", "extra"]].tolist()
        ['species', 'CC0', 'samples']
    """
    names = ["rows", "label", "what", "licence", "source", "extra", "fixed"]
    rows = [(name, *(getattr(facts, part) for part in names)) for name, facts in SAMPLES.items()]
    return pd.DataFrame(rows, columns=["name", *names])


def load_sample(name: str, *, rows: int | None = None, seed: int = 0, folder: str | Path | None = None) -> pd.DataFrame:
    """Return a sample frame by name; `list_samples` has the names. The last column is the label.

    `frame.attrs` says what it is: `sample`, `licence`, `source`, and `versions`, the packages its rows come from.

    Args:
        name: Of the sample.
        rows: At most this many; None is the sample's own number.
        seed: Which rows, and in which order.
        folder: Where image files are written; None is a folder of the user's below the temporary one.

    Raises:
        ConfigError: No such sample, or `rows` is not a positive whole number.
        MissingDependencyError: The package that ships the rows is not installed.
        DataError: That package has other rows than those this version of Thermocline knows.

    Example:
        >>> from thermocline import load_sample
        >>> frame = load_sample("wine", rows=100)
        >>> frame.shape, sorted(frame["cultivar"].unique().tolist())
        ((100, 14), [0, 1, 2])
    """
    if name not in SAMPLES:
        raise ConfigError(f"No sample {name!r}.{did_you_mean(name, SAMPLES)} There is:\n{_overview()}")
    if name == "docstrings":
        frame = docstrings(rows=rows, seed=seed)
    elif name in PACKAGED:
        wanted = _rows(name, rows)
        whole = all_rows(name, folder=folder)
        frame = whole.iloc[np.random.default_rng(seed).permutation(len(whole))[:wanted]].reset_index(drop=True)
    else:
        frame = {"digits": digits, "mixed": mixed, "shapes": shapes}[name](rows=rows, seed=seed, folder=folder)
    facts = SAMPLES[name]
    packages = facts.package or _NEEDED.get(name, "scikit-learn")
    versions = {package: metadata.version(package) for package in packages.split()}
    frame.attrs |= {"sample": name, "licence": facts.licence, "source": facts.source, "versions": versions}
    return frame


def _overview() -> str:
    """Return the samples as lines: name, rows, label, licence, and the extra where one is needed."""
    return "\n".join(
        f"  {name}: {facts.rows} rows, label {facts.label!r}, {facts.licence}"
        + (f"; extra {facts.extra!r}" if facts.extra else "")
        for name, facts in SAMPLES.items()
    )


def docstrings(*, rows: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Return docstrings of numpy, pandas, scipy, scikit-learn and torch, as evenly many of each as there are.

    Columns: `text`, `kind` (function, class, method), `n_parameters` (NaN without a signature), `n_lines`,
    and the label `library`. The first call imports the libraries (about ten seconds). Other versions of these
    libraries have other docstrings: `load_sample("docstrings").attrs["versions"]` says which there were.

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
    images, target = _pixels()
    order = np.random.default_rng(seed).permutation(len(target))[:wanted]
    paths = write_images(images, order, SIDE, name="digits", folder=folder)
    return pd.DataFrame({"image": paths, "label": target[order]})


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
    images, target = _pixels()
    order = generator.integers(len(target), size=wanted)
    tone = generator.integers(3, size=wanted)
    depots = np.array(list(_DEPOTS))
    depot = generator.integers(len(depots), size=wanted)
    weight = np.round(np.exp(generator.normal(1.0, 0.9, size=wanted)), 2).clip(0.05)
    urgency = (target[order] - 4.5) / 2.9 + (1.0 - tone) * 1.2
    urgency += np.array(list(_DEPOTS.values()))[depot] - (np.log(weight) - 1.0) / 0.9
    urgency += generator.normal(0.0, 0.2, size=wanted)
    notes = np.array([_note(generator, kind) for kind in tone], dtype=object)
    paths = write_images(images, order, SIDE, name="digits", folder=folder)
    frame = pd.DataFrame({"image": paths, "note": notes, "depot": depots[depot], "weight_kg": weight})
    for name in ("note", "depot", "weight_kg"):
        frame[name] = frame[name].mask(generator.random(wanted) < 0.03)
    # one cut for all sizes would need the exact distribution; tertiles keep the classes even
    place = np.argsort(np.argsort(urgency, kind="stable"), kind="stable")
    frame["priority"] = np.array(["low", "medium", "high"])[place * 3 // wanted]
    return frame


def shapes(*, rows: int | None = None, seed: int = 0, folder: str | Path | None = None) -> pd.DataFrame:
    """Return pictures of shapes: `image` and `mask`, absolute paths of PNG files of 96 x 72 pixels.

    A mask holds the class of each pixel: 0 background, 1 circle, 2 square, 3 triangle
    (`data.sample_shapes.SHAPES`). There are 360; asking for more returns these.

    Raises:
        ConfigError: `rows` is not a positive whole number.
    """
    wanted = _rows("shapes", rows)
    order = np.random.default_rng(seed).permutation(SAMPLES["shapes"].rows)[:wanted]
    images, masks = write_shapes(order.tolist(), folder)
    return pd.DataFrame({"image": images, "mask": masks})


def _rows(name: str, rows: int | None) -> int:
    if rows is None:
        return SAMPLES[name].rows
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


@lru_cache(maxsize=1)
def _pixels() -> tuple[np.ndarray, np.ndarray]:
    """Return the digits as uint8 `(1797, 8, 8)` and what they are, int64 `(1797,)`."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.round(bunch.images * 255 / 16).astype(np.uint8), bunch.target.astype(np.int64)
