"""Docstrings: every public name has one, and an example that `test_doctests.py` runs.

A name is public where it stands in `thermocline.__all__` or on a page of the reference (`::: name`), and so are the
methods and properties of such a class; where a page shows some members only (`members: […]`), it is these. The rule for
examples:

- a class and a function have one of their own;
- a method has one of its own, or an example of its class or of another of its methods calls it (`.name(`);
- the hooks of a class that one derives from are called by the package: the example of the class is that of all of them;
- properties and fields share the example of their class;
- errors share that of `ThermoclineError`.
"""

from __future__ import annotations

import pytest

import thermocline
from support.documented import documented, found, is_method, members, text_of

NAMES = documented()
KINDS = [name for name in NAMES if isinstance(found(name), type)]
DERIVED_FROM = {  # whose methods the package calls
    "thermocline.Callback",
    "thermocline.Logger",
    "thermocline.CSV",
    "thermocline.TensorBoard",
    "thermocline.MLflow",
    "thermocline.WandB",
    "thermocline.contracts.problem.Problem",
    "thermocline.problems.rowwise.problem.Rowwise",
    "thermocline.contracts.tower.Tower",
}


def test_the_reference_documents_what_the_package_exports() -> None:
    documented = {name.rpartition(".")[2] for name in NAMES}
    elsewhere = {"ThermoclineError", "Options"}  # on the pages of errors and of options: a class, and a type of dicts
    assert set(thermocline.__all__) - documented - elsewhere == {"__version__"}


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_docstring_and_an_example(name: str) -> None:
    text = text_of(found(name))
    assert text, f"{name} has no docstring"
    assert ">>> " in text, f"{name} has no example: add one with >>> to its docstring"


@pytest.mark.parametrize("name", KINDS)
def test_each_method_and_property_has_a_docstring(name: str) -> None:
    bare = [member for member, value in members(name, NAMES[name]) if not text_of(value)]
    assert not bare, f"{name}: no docstring of {', '.join(bare)}"


@pytest.mark.parametrize("name", sorted(set(KINDS) - DERIVED_FROM))
def test_each_method_has_an_example(name: str) -> None:
    own = list(members(name, NAMES[name]))
    texts = [text_of(found(name)), *(text_of(value) for _, value in own)]
    lines = [line for text in texts for line in text.splitlines() if line.lstrip().startswith((">>> ", "... "))]
    called = [f".{member}(" for member, value in own if is_method(value) and ">>> " not in text_of(value)]
    without = [call[1:-1] for call in called if not any(call in line for line in lines)]
    assert not without, f"{name}: no example calls {', '.join(without)}"


def test_every_error_says_when_it_is_raised_and_what_to_do() -> None:
    from thermocline import errors

    kinds = [one for one in vars(errors).values() if isinstance(one, type) and one.__module__ == errors.__name__]
    short = [kind.__name__ for kind in kinds if "\n\n" not in text_of(kind)]
    assert not short, f"errors.py: what to do is not said of {', '.join(short)}"
    assert ">>> " in text_of(errors.ThermoclineError)
