"""Small real data sets that installed packages ship: the same rows everywhere, checked by a digest.

Files are read from the package's folder; the package itself is not imported. scikit-learn, which Thermocline needs
anyway, ships some; the rest are what the extra `samples` installs.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from thermocline.data.sample_facts import EXTRA, SAMPLES, SampleFacts
from thermocline.data.sample_images import write_images
from thermocline.errors import DataError, MissingDependencyError

PIECE = 64  # pixels of a side of a piece of a texture
TEXTURES = ("brick", "grass", "gravel")
TOPICS = ("ai", "coding", "emotion", "literature", "movies", "psychology", "science", "sports", "trivia")
"""The topics of the English corpus with more than twenty different questions; tech_support repeats ten."""


def all_rows(name: str, *, folder: str | Path | None = None) -> pd.DataFrame:
    """Return all rows of a packaged sample in the order of its file, the label last.

    Raises:
        MissingDependencyError: The package that ships it is not installed; the message says how to install it.
        DataError: The installed version has other rows than the one this version of Thermocline knows.
    """
    facts = SAMPLES[name]
    if name == "textures":
        pieces, materials = _textures(facts)
        frame = pd.DataFrame({"image": [hashlib.sha256(piece.tobytes()).hexdigest() for piece in pieces]})
        frame[facts.label] = materials
        _check(name, frame)
        frame["image"] = write_images(pieces, np.arange(len(pieces)), PIECE, name=name, folder=folder)
        return frame
    frame = READERS[name](facts)
    frame = frame[[*frame.columns.drop(facts.label), facts.label]]
    _check(name, frame)
    return frame


def digest_of(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of a frame's rows as CSV, the same under all versions of pandas."""
    return hashlib.sha256(frame.to_csv(index=False, lineterminator="\n").encode()).hexdigest()


def _check(name: str, frame: pd.DataFrame) -> None:
    facts = SAMPLES[name]
    if digest_of(frame) == facts.digest:
        return
    package = facts.package or "scikit-learn"
    known = (
        f" Install the version whose rows it knows: pip install '{package}=={facts.version}'" if facts.version else ""
    )
    raise DataError(
        f"The sample {name!r} of {package} {metadata.version(package)} has other rows than this version of Thermocline "
        f"knows, so figures made with it would not be comparable.{known}"
    )


def _folder(facts: SampleFacts) -> Path:
    spec = importlib.util.find_spec(facts.module)
    if spec is None or not spec.submodule_search_locations:
        name = next(name for name, others in SAMPLES.items() if others is facts)
        raise MissingDependencyError(
            f"The sample {name!r} is in the package {facts.package}, which is not installed. Install all samples: "
            f"pip install 'thermocline[{EXTRA}]'"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _penguins(facts: SampleFacts) -> pd.DataFrame:
    return pd.read_csv(_folder(facts) / "data" / "penguins.csv")


def _weather(facts: SampleFacts) -> pd.DataFrame:
    return pd.read_csv(_folder(facts) / "_data" / "seattle-weather.csv")


def _questions(facts: SampleFacts) -> pd.DataFrame:
    """Return each question once: of equal ones, but for case and marks at the end, the first."""
    rows, seen = [], set()
    for topic in TOPICS:
        text = (_folder(facts) / "data" / "english" / f"{topic}.yml").read_text(encoding="utf-8")
        for question, reply, *_ in yaml.safe_load(text)["conversations"]:
            key = str(question).strip().lower().strip(" ?.!")
            if key not in seen:
                seen.add(key)
                rows.append((str(question).strip(), str(reply).strip(), topic))
    return pd.DataFrame(rows, columns=["question", "reply", facts.label])


def _textures(facts: SampleFacts) -> tuple[np.ndarray, list[str]]:
    """Return pieces as uint8 `(192, 64, 64)`, row by row of each photograph, and what they show."""
    from PIL import Image

    pieces, materials = [], []
    for material in TEXTURES:
        with Image.open(_folder(facts) / "data" / f"{material}.png") as picture:
            pixels = np.asarray(picture.convert("L"))
        rows, columns = (length // PIECE for length in pixels.shape)
        blocks = pixels[: rows * PIECE, : columns * PIECE].reshape(rows, PIECE, columns, PIECE)
        pieces.append(blocks.transpose(0, 2, 1, 3).reshape(-1, PIECE, PIECE))
        materials += [material] * (rows * columns)
    return np.concatenate(pieces), materials


def _wine(facts: SampleFacts) -> pd.DataFrame:
    from sklearn.datasets import load_wine

    frame: pd.DataFrame = load_wine(as_frame=True).frame
    return frame.rename(columns={"target": facts.label})


def _breast_cancer(facts: SampleFacts) -> pd.DataFrame:
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer(as_frame=True)
    names = np.asarray(bunch.target_names, dtype=object)
    frame: pd.DataFrame = bunch.frame.drop(columns="target")
    frame.columns = [str(name).replace(" ", "_") for name in frame.columns]
    return frame.assign(**{facts.label: names[bunch.target]})


def _diabetes(facts: SampleFacts) -> pd.DataFrame:
    from sklearn.datasets import load_diabetes

    frame: pd.DataFrame = load_diabetes(as_frame=True, scaled=False).frame.round(4)  # 1.6 has 4.803999…
    return frame.rename(columns={"target": facts.label})


READERS: dict[str, Callable[[SampleFacts], pd.DataFrame]] = {
    "penguins": _penguins,
    "weather": _weather,
    "questions": _questions,
    "wine": _wine,
    "breast_cancer": _breast_cancer,
    "diabetes": _diabetes,
}
PACKAGED = (*READERS, "textures")
