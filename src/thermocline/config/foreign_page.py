"""The names of other trainers as a page: `python -m thermocline.config.foreign_page docs/OTHER_NAMES.md` writes it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .foreign import ForeignNames, foreign_names
from .foreign_calls import foreign_methods

_INTRODUCTION = """\
# What other trainers call it

Options of other trainers and what they are here. An error says the same: `fit(hyperparameters={"learning_rate": 1e-4})`
answers that it is called `optim.lr`. A name stands for all names below it, too (`optim.lora` for `optim.lora.filter`).

This page is made from the files in `src/thermocline/config/foreign_names` by
`python -m thermocline.config.foreign_page docs/OTHER_NAMES.md`.
"""


def page() -> str:
    """Return the page, as Markdown."""
    lines = [_INTRODUCTION, *(line for names in foreign_names() for line in _chapter(names))]
    methods = ((f"`{name}`", ours) for name, ours in foreign_methods().items())
    return "\n".join([*lines, "## Methods and attributes\n", *_table(("elsewhere", "here"), methods)])


def _chapter(names: ForeignNames) -> Iterator[str]:
    yield f"## {names.of[0].upper()}{names.of[1:]}\n"
    if names.sections:
        sections = ((f"`{theirs}`", f"`{ours}`") for theirs, ours in names.sections.items())
        yield from _table(("its section", "here"), sections)
    options = {name: f"the same name. {note}".rstrip(". ") for name, note in names.same.items()}
    options |= {name: f"`{ours}`. {note}".rstrip(". ") for name, (ours, note) in names.called.items()}
    options |= {name: f"– {words}".rstrip(".") for name, words in names.absent.items()}
    yield from _table(("its option", "here"), ((f"`{name}`", words) for name, words in sorted(options.items())))
    yield from _table(("option", "its value", "here"), _values(names.values))


def _values(values: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str, str]]:
    for path, words in values.items():
        for theirs, ours in words.items():
            yield f"`{path}`", f"`{theirs}`", ours.rstrip(".") if " " in ours else f"`{ours}`"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for row in (header, ("---",) * len(header), *rows):
        yield f"| {' | '.join(row)} |"
    yield ""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
