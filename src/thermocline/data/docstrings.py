"""Docstrings as a data set: what public functions, classes and methods say of themselves, with names masked.

Every installation has these texts. The label is the library; a model must tell it from the wording, because
the library's own names, qualified references and markup are taken out.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any

# The modules to walk, below each library
MODULES = {
    "numpy": ". linalg fft random ma char strings testing polynomial polynomial.polynomial "
    "polynomial.chebyshev polynomial.legendre polynomial.hermite lib.stride_tricks lib.recfunctions "
    "ctypeslib",
    "pandas": ". api.types api.extensions api.indexers tseries.offsets tseries.frequencies plotting testing "
    "errors api.typing io.formats.style",
    "scipy": "cluster.hierarchy cluster.vq fft integrate interpolate io linalg ndimage optimize signal "
    "signal.windows sparse sparse.linalg sparse.csgraph spatial spatial.distance special stats "
    "stats.qmc",
    "sklearn": "base calibration cluster compose covariance cross_decomposition datasets decomposition "
    "discriminant_analysis dummy ensemble feature_extraction feature_extraction.text "
    "feature_selection gaussian_process gaussian_process.kernels impute inspection isotonic "
    "linear_model manifold metrics metrics.pairwise mixture model_selection multiclass naive_bayes "
    "neighbors neural_network pipeline preprocessing random_projection semi_supervised svm tree "
    "utils utils.validation",
    "torch": ". nn nn.functional nn.init nn.utils optim optim.lr_scheduler distributions linalg fft special "
    "utils.data autograd sparse cuda distributed jit fx profiler func ao.quantization",
}
LATER = frozenset({"IterativeImputer", "HalvingGridSearchCV", "HalvingRandomSearchCV"})
"""What scikit-learn has only once something imported `sklearn.experimental`."""
MASK = "library"
LONGEST = 600  # characters
SHORTEST = 4  # words

_ROLE = re.compile(r":[\w:+-]+:`~?([^`<]*?)(?:\s*<[^>]*>)?`_{0,2}")
_LINK = re.compile(r"`([^`<]+?)\s*<[^>]*>`_{1,2}")
_OWN = (
    re.compile(r"\b\w*(?:numpy|pandas|scipy|sklearn|scikit|torch|numpydoc)\w*(?:[-.]\w+)*", re.IGNORECASE),
    re.compile(r"\b(?:np|pd|sp)\.\w+(?:\.\w+)*"),
    re.compile(r"\b(?:np|pd)\b"),
)
_SIGNATURE = re.compile(r"[\w.]+\s*\(.*", re.DOTALL)


def clean(docstring: str) -> str | None:
    """Return the first paragraph of a docstring as plain text with names masked, or None where there is none.

    Signatures that C functions begin with, headings, directives and doctests are skipped.
    """
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        text = " ".join(paragraph.split())
        rule = re.search(r"^[-=~^]{3,}\s*$", paragraph, re.MULTILINE)
        if not text or rule or text.startswith(("..", ">>>", ":")) or _is_signature(text):
            continue
        text = re.split(r"\s\.\.\s\w+::", text)[0]
        text = _LINK.sub(r"\1", _ROLE.sub(lambda role: role[1].split(".")[-1], text))
        for name in _OWN:
            text = name.sub(MASK, text)
        text = re.sub(r"[`*|]+|\\\w*|[{}$]", "", text)
        text = " ".join(text.split())
        return text[:LONGEST] if len(text.split()) >= SHORTEST else None
    return None


def _is_signature(text: str) -> bool:
    return bool(_SIGNATURE.fullmatch(text)) and (text.endswith((")", "]", "...")) or "->" in text)


@lru_cache(maxsize=1)
def collect() -> tuple[tuple[str, str, float, int, str], ...]:
    """Return all rows in a fixed order: text, kind, number of parameters, lines, library.

    A library or module that cannot be imported is left out. A text that two libraries share is left out too.
    """
    rows: dict[str, tuple[str, str, float, int, str]] = {}
    owners: dict[str, set[str]] = {}
    quiet = io.StringIO()  # some attributes print or warn when they are touched
    with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        warnings.simplefilter("ignore")
        for library, modules in MODULES.items():
            for kind, thing in _members(library, modules.split()):
                docstring = _docstring(thing)
                text = clean(docstring) if docstring else None
                if text is None or docstring is None:
                    continue
                owners.setdefault(text.lower(), set()).add(library)
                lines = len(docstring.strip().splitlines())
                rows.setdefault(text.lower(), (text, kind, _parameters(thing), lines, library))
    return tuple(row for key, row in rows.items() if len(owners[key]) == 1)


def _members(library: str, modules: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield the public members that the library itself defines, as (kind, object), each once."""
    seen: set[int] = set()
    for below in modules:
        module = _import(library if below == "." else f"{library}.{below}")
        if module is None:
            continue
        for name in sorted(getattr(module, "__all__", None) or dir(module)):
            thing = _attribute(module, name)
            if name.startswith("_") or name in LATER or id(thing) in seen or not _owned(thing, library):
                continue
            seen.add(id(thing))
            if not isinstance(thing, type):
                yield "function", thing
                continue
            yield "class", thing
            for method_name in sorted(vars(thing)):
                method = _attribute(thing, method_name)
                if not method_name.startswith("_") and callable(method) and not isinstance(method, type):
                    yield "method", method


def _import(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except Exception:  # an optional part that this machine lacks; what is there is enough
        return None


def _attribute(owner: object, name: str) -> Any:
    try:
        return getattr(owner, name)
    except Exception:  # a lazy or removed attribute
        return None


def _owned(thing: Any, library: str) -> bool:
    """Whether something is a function or class that the library defines (and not one it re-exports)."""
    if thing is None or isinstance(thing, ModuleType) or not callable(thing):
        return False
    module = _attribute(thing, "__module__")
    if isinstance(module, str):
        return module.split(".")[0] == library
    return _attribute(type(thing), "__module__") in {"numpy", "builtins"}  # ufuncs and built-in functions


def _docstring(thing: Any) -> str | None:
    docstring = _attribute(thing, "__doc__")
    return docstring if isinstance(docstring, str) and docstring.strip() else None


def _parameters(thing: Any) -> float:
    """Return the number of parameters without `self`, NaN where there is no signature."""
    try:
        names = list(inspect.signature(thing).parameters)
    except Exception:  # many compiled functions have none
        return float("nan")
    return float(len([name for name in names if name not in {"self", "cls"}]))


def counts() -> dict[str, int]:
    """Return how many texts each library gives."""
    return dict(Counter(row[-1] for row in collect()))
