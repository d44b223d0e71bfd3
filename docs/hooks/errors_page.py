"""The page of the errors, from their classes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from thermocline import errors
from thermocline.errors import ThermoclineError, ThermoclineWarning

_INTRODUCTION = """\
---
hide: [toc]
---

# Errors

Every error that Thermocline raises on purpose is a `ThermoclineError` and also the builtin it specialises, so that
`except ValueError` catches what it should. A message says what was given, what is allowed and what to do next:

1. What was given is quoted as it was written, with the option, column, row or file that it stands in.
2. What is allowed is listed, or given as a range. Of a long list those names come first that are closest.
3. What to do next is a line to write, an option to set or a package to install.
4. All faults that options alone show are told in one error, before anything is loaded.
5. What data show is told before anything is trained.

```python
from thermocline import Predictor, ThermoclineError

try:
    Predictor("label", eval_metric="accurracy")
except ThermoclineError as error:
    print(error)
```
"""


def errors_markdown() -> str:
    """Return the page, as Markdown."""
    kinds = list(_below(ThermoclineError))
    lines = [_INTRODUCTION, "| error | also a | when it is raised | what to do |", "|---|---|---|---|"]
    lines += [_row(kind) for kind in kinds]
    lines += ["", "## Warnings", "", "| warning | also a | when it is given | what to do |", "|---|---|---|---|"]
    lines += [_row(kind) for kind in _below(ThermoclineWarning)]
    return "\n".join([*lines, ""])


def _below(root: type) -> Iterator[type]:
    """Yield a class and all public ones that derive from it, in the order of the file."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, root):
            yield kind


def _row(kind: type) -> str:
    when, what, *_ = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    above = [f"[`{base.__name__}`](#{base.__name__})" for base in kind.__bases__ if _is_kind(base)]
    above += [f"`{base.__name__}`" for base in kind.__mro__ if _is_builtin(base)]
    anchor = f"[](){{#thermocline.errors.{kind.__name__}}}"  # for links from docstrings
    cells = (f"{anchor}`{kind.__name__}`{{#{kind.__name__}}}", ", ".join(above), when, what)
    return f"| {' | '.join(' '.join(cell.split()) for cell in cells)} |"


def _is_kind(kind: type) -> bool:
    """Whether a class is one of ours, and not the root that all have."""
    return kind.__module__.startswith("thermocline") and kind not in (ThermoclineError, ThermoclineWarning)


def _is_builtin(kind: type) -> bool:
    """Whether a class is what one would name in an `except`: no root of all errors."""
    return kind.__module__ == "builtins" and kind not in (Exception, BaseException, object)
