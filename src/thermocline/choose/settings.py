"""What `fit(search=…)` takes, checked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thermocline.errors import ConfigError, did_you_mean, listing
from thermocline.pipeline.arguments import shown

EXAMPLE = "search={'trials': 20}"
MOST_TRIALS = 1_000_000
STUDY = "thermocline"
_PASSWORD = re.compile(r"(//[^:/@]*:)[^@]*@")


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Attributes:
        trials: Trials of the study, those of all processes that share it.
        storage: Where the study is kept: a file, a URL of a database, or None for memory or the predictor's path.
        study: The name of the study in the storage.
    """

    trials: int
    storage: Path | str | None = None
    study: str = STUDY

    @classmethod
    def of(cls, given: Any) -> SearchSettings:
        """Return the settings that were given.

        Args:
            given: A mapping with `trials`, perhaps `storage` and `study`.

        Raises:
            ConfigError: It is no such mapping.
        """
        if not isinstance(given, Mapping):
            raise ConfigError(f"search is a mapping such as {EXAMPLE}, or None; got {shown(given)}.")
        names = ("trials", "storage", "study")
        for name in given:
            if name not in names:
                hint = " It is an argument of fit." if name == "time_limit" else did_you_mean(name, names)
                raise ConfigError(f"search takes {listing(names)}, not {name!r}.{hint}")
        return cls(_trials(given.get("trials")), _storage(given.get("storage")), _name(given.get("study")))

    @property
    def where(self) -> str:
        """The storage in words, without a password."""
        return "memory" if self.storage is None else repr(_PASSWORD.sub(r"\1***@", str(self.storage)))


def _trials(value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 1 <= int(value) <= MOST_TRIALS:
        given = "it is missing" if value is None else f"got {shown(value)}"
        raise ConfigError(
            f"search={{'trials': …}} is a whole number from 1 to {MOST_TRIALS:,}, the fits to compare; {given}."
        )
    return int(value)


def _storage(value: Any) -> Path | str | None:
    if value is None:
        return None
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ConfigError(
            f"search={{'storage': …}} is the path of a file or the URL of a database, such as 'study.log' or "
            f"'postgresql://user@host/name'; got {shown(value)}."
        )
    if "://" not in text:
        return Path(text).expanduser().absolute()
    if text.startswith(("redis", "http")):
        raise ConfigError(
            f"search={{'storage': {text.partition(':')[0] + '://…'!r}}} is none that a study can be kept in: give the "
            "path of a file, or the URL of an SQL database (sqlite, mysql, postgresql)."
        )
    return text


def _name(value: Any) -> str:
    if value is None:
        return STUDY
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(
            f"search={{'study': …}} is the name of a study, a text that is not empty; got {shown(value)}."
        )
    return value
