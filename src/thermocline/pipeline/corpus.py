"""Responses with their embeddings: to be searched again and again, saved and loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from thermocline.errors import ArtifactError, OutputExistsError, counted

FACTS, EMBEDDINGS = "corpus.json", "embeddings.safetensors"
FORMAT = 1


@dataclass(frozen=True, eq=False, repr=False)
class Corpus:
    """Responses with their embeddings, as `Predictor.corpus` returns them.

    Attributes:
        names: What each is called in results: its text or path, else its index.
        embeddings: float32 `(rows, width)`, each of length 1.
        fingerprint: Of the weights that made them; a search by other weights is an error.

    Example:
        >>> shop = matcher.corpus(["a red chair", "a blue lamp"])
        >>> len(Corpus.load(shop.save("shop"))), shop.embeddings.dtype
        (2, dtype('float32'))
    """

    names: tuple[Any, ...]
    embeddings: np.ndarray
    fingerprint: str

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Corpus({counted(len(self), 'row')}, {self.embeddings.shape[1]} numbers each)"

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write it into a folder, as safetensors and JSON, and return the folder.

        Args:
            path: The folder; it is made.
            overwrite: Replace a corpus that is saved there.

        Raises:
            OutputExistsError: There is a corpus, or other files.
        """
        folder = Path(path).expanduser()
        known = {FACTS, EMBEDDINGS}
        there = {one.name for one in folder.iterdir()} if folder.is_dir() else set()
        if folder.exists() and (not folder.is_dir() or there - known or (there and not overwrite)):
            raise OutputExistsError(
                f"{str(folder)!r} holds {'a corpus' if there == known else 'other files'}. Choose another folder"
                f"{', or save(path, overwrite=True)' if there == known else ''}."
            )
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"embeddings": np.ascontiguousarray(self.embeddings)}, str(folder / EMBEDDINGS))
        facts = {"format": FORMAT, "fingerprint": self.fingerprint, "names": list(self.names)}
        (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")
        return folder

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Corpus:
        """Load what `save` wrote.

        Raises:
            ArtifactError: There is none, or it is damaged.
        """
        folder = Path(path).expanduser()
        try:
            facts: Mapping[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            embeddings = load_file(str(folder / EMBEDDINGS))["embeddings"]
            names, fingerprint, version = tuple(facts["names"]), str(facts["fingerprint"]), int(facts["format"])
        except FileNotFoundError as error:
            raise ArtifactError(f"There is no corpus in {str(folder)!r}: {error.filename} is not there.") from None
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ArtifactError(f"The corpus in {str(folder)!r} is damaged: {error}. Make it again.") from error
        if version > FORMAT:
            raise ArtifactError(f"A newer version of Thermocline wrote the corpus in {str(folder)!r}. Make it again.")
        if embeddings.ndim != 2 or embeddings.dtype != np.float32 or len(embeddings) != len(names):
            raise ArtifactError(
                f"The corpus in {str(folder)!r} is damaged: {len(names)} names, and embeddings {embeddings.dtype} "
                f"{embeddings.shape}. Make it again."
            )
        return cls(names, embeddings, fingerprint)
