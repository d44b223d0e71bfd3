"""Names that other trainers have for our options, so that an error can say what theirs is called here.

The names are data: a file for each trainer in `foreign_names/`, printed as `docs/OTHER_NAMES.md` (`foreign_page.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .documents import read_yaml
from .keys import Key

FOLDER = Path(__file__).parent / "foreign_names"
ABSENT = "there is no such option: "
FILES = ("autogluon", "transformers", "others")
"""In the order in which a name is looked up."""


@dataclass(frozen=True)
class ForeignNames:
    """The names of one trainer, or of several.

    Attributes:
        of: Whose they are.
        sections: Their sections → ours.
        same: Options of ours that they have under the same name → how theirs differs, or an empty text.
        called: Their name → ours, and how it differs, or an empty text.
        absent: Their name, or the section of such names → why there is no such option, or what to do instead.
        values: Our option → their value, in small letters → ours, or a sentence (with spaces).
    """

    of: str
    sections: Mapping[str, str]
    same: Mapping[str, str]
    called: Mapping[str, tuple[str, str]]
    absent: Mapping[str, str]
    values: Mapping[str, Mapping[str, str]]

    @classmethod
    def read(cls, path: Path) -> ForeignNames:
        """Read a file of names."""
        content: dict[str, Any] = read_yaml(path, f"the names in {path.name!r}")
        called = {
            name: (ours, "") if isinstance(ours, str) else tuple(ours) for name, ours in content["called"].items()
        }
        values = {
            path: {str(theirs): str(ours) for theirs, ours in words.items()}
            for path, words in content["values"].items()
        }
        same, sections = content.get("same", {}), content.get("sections", {})
        return cls(content["of"], sections, same, called, content["absent"], values)

    def hint(self, name: str, keys: Mapping[str, Key]) -> str:
        """Return a sentence about one of these names, or an empty text where it is none of them.

        Args:
            name: A dotted name that the schema does not have.
            keys: The options of the schema.
        """
        ours = name
        for theirs, section in self.sections.items():
            if name.startswith(f"{theirs}."):
                ours = section + name.removeprefix(theirs)
        for known in (name, ours):
            target, difference = self.called.get(known, (known, ""))
            if target in keys:
                return f"it is called {target!r} here ({keys[target].doc.rstrip('.')}). {difference}".rstrip()
        stems = [stem for known in (name, ours) for stem in _stems(known)]
        return next((f"{ABSENT}{self.absent[stem]}" for stem in stems if stem in self.absent), "")


@lru_cache(maxsize=1)
def foreign_names() -> tuple[ForeignNames, ...]:
    """Return the names of all trainers, in the order in which a name is looked up."""
    return tuple(ForeignNames.read(FOLDER / f"{file}.yaml") for file in FILES)


def foreign_key(name: str, keys: Mapping[str, Key]) -> str:
    """Return a sentence that says what another trainer's option is called here, or an empty text.

    A name is looked up as a whole; then, as others have no sections or other ones, by its last segment, unless options
    of ours end in the same word.

    Args:
        name: A dotted name that the schema does not have.
        keys: The options of the schema.

    Example:
        >>> from thermocline.config import schema_of
        >>> foreign_key("trainer.gradient_clip_val", schema_of().keys)
        "it is called 'optim.gradient_clip' here (Largest gradient norm; null: no clipping)."
    """
    plain = name.lower().replace("-", "_")
    last = plain.rpartition(".")[2]
    for known in [plain] if any(key.name == last for key in keys.values()) else [plain, last]:
        for names in foreign_names():
            if hint := names.hint(known, keys):
                return hint
    return ""


def foreign_value(path: str, value: object) -> str:
    """Return a sentence that says what another trainer's value is called here, or an empty text.

    Args:
        path: The dotted name of our option.
        value: A value it does not take.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return ""
    if path == "env.device" and (number := re.fullmatch(r"(?:(?:cuda|gpu|mps):)?(\d+)", str(value).lower())):
        first = "'cuda' is the first device that the process sees"
        return f" {first}." if number[1] == "0" else f" {first}; start it with CUDA_VISIBLE_DEVICES={number[1]}."
    theirs = str(value).lower().replace("torch.", "")
    ours = next((names.values[path][theirs] for names in foreign_names() if theirs in names.values.get(path, {})), "")
    if " " in ours:
        return f" {value!r} is {ours}"
    return f" What others call {value!r} is {ours} here." if ours else ""


def _stems(name: str) -> Iterator[str]:
    """Yield a dotted name and the sections it is in, the innermost first."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        yield ".".join(parts[:end])
