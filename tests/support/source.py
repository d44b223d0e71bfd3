"""The package's own source, read without importing it: modules, who imports whom, functions, checks of types."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = "thermocline"
ROOT = Path(__file__).parents[2] / "src" / PACKAGE

Graph = Mapping[str, set[str]]


@dataclass(frozen=True)
class Import:
    """An import of a module, at the top of a file, inside a function or for type checkers alone.

    Attributes:
        source: The module that imports.
        target: The full name of what is imported: a module of ours, or any other name.
        name: The name that is taken from it, empty where the module itself is.
        line: The line of the statement.
        reason: What a comment `circle: …` on its line or the line above says, empty without one.
    """

    source: str
    target: str
    name: str
    line: int
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def module_of(path: Path) -> str:
    """Return the dotted name of a file's module."""
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def unit_of(module: str) -> str:
    """Return the sub-package or top-level module that a module of ours is in; the package itself is a unit too."""
    return ".".join(module.split(".")[:2])


@cache
def modules() -> dict[str, Path]:
    """Return every module of the package by name."""
    return {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


@cache
def tree_of(module: str) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """Return every import of a module, wherever it stands."""
    lines = modules()[module].read_text(encoding="utf-8").splitlines()
    return tuple(
        Import(module, target, name, node.lineno, _reason(lines, node))
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for target, name in _targets(module, node)
    )


def ours(module: str) -> Iterator[Import]:
    """Yield a module's imports of other modules of the package; reading the package's version is none."""
    version_only = {
        node.attr for node in ast.walk(tree_of(module)) if isinstance(node, ast.Attribute) and _is_package(node.value)
    } <= {"__version__"}
    for one in imports_of(module):
        of_version = one.target == PACKAGE and (one.name == "__version__" or (not one.name and version_only))
        if one.target in modules() and one.target != module and not of_version:
            yield one


def _is_package(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == PACKAGE


def _targets(module: str, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """Yield target and name of each import of a statement; `from a import b` is of `a.b` where that is a module."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
        return
    start = node.module or ""
    if node.level:
        is_package = modules()[module].stem == "__init__"
        above = module.split(".")[: len(module.split(".")) - node.level + is_package]
        start = ".".join([*above, *([node.module] if node.module else [])])
    for alias in node.names:
        below = f"{start}.{alias.name}"
        yield (below, "") if below in modules() else (start, alias.name)


def _reason(lines: list[str], node: ast.stmt) -> str:
    last = (node.end_lineno or node.lineno) - 1
    near = [lines[node.lineno - 2] if node.lineno > 1 else "", *lines[node.lineno - 1 : last + 1]]
    found = re.search(r"#.*\bcircle:\s*(.*)", "\n".join(near))
    return found.group(1).strip() if found else ""


def names_of_modules(module: str) -> Iterator[str]:
    """Yield modules of ours that a module names in a string, as for an import by name (`package.module:attribute`)."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = re.fullmatch(rf"({PACKAGE}(?:\.\w+)+)(?::\w+)?", node.value)
            if found:
                yield found.group(1)


def circles(graph: Graph) -> list[list[str]]:
    """Return the nodes of each circle of a graph: its strongly connected components of more than one node."""
    reached = {node: _reachable(graph, node) for node in graph}
    found = {tuple(sorted(other for other in reached[node] if node in reached.get(other, ()))) for node in graph}
    return sorted(list(component) for component in found if component)


def _reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    left = list(graph.get(start, ()))
    while left:
        node = left.pop()
        if node not in seen:
            seen.add(node)
            left.extend(graph.get(node, ()))
    return seen


def levels(graph: Graph) -> dict[str, int]:
    """Return the level of each node: 1 where it imports nothing, else above all that it imports.

    All nodes of a circle are counted as one.
    """
    component = {node: (node,) for node in graph} | {node: tuple(one) for one in circles(graph) for node in one}
    level: dict[tuple[str, ...], int] = {}

    def of(one: tuple[str, ...]) -> int:
        if one not in level:
            below = {component[target] for node in one for target in graph[node]} - {one}
            level[one] = 1 + max(map(of, below), default=0)
        return level[one]

    return {node: of(component[node]) for node in graph}


def functions(module: str) -> Iterator[tuple[str, int]]:
    """Yield each function and method with its lines, from `def` to its last, without decorators and docstring."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first, last = node.body[0], node.end_lineno or node.lineno
            spoken = 0
            if ast.get_docstring(node, clean=False) is not None:
                spoken = (first.end_lineno or first.lineno) - first.lineno + 1
            yield f"{module}.{node.name}", last - node.lineno + 1 - spoken


def checked_types(module: str) -> Iterator[tuple[int, str]]:
    """Yield line and full name of each class that a module checks for, by `isinstance`, `issubclass` or `match`."""
    known = dict(_names(module))
    for node in ast.walk(tree_of(module)):
        types: Iterable[ast.expr] = ()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 2:
            types = (node.args[1],) if node.func.id in ("isinstance", "issubclass") else ()
        elif isinstance(node, ast.MatchClass):
            types = (node.cls,)
        for part in (part for one in types for part in ast.walk(one)):
            if isinstance(part, ast.Name | ast.Attribute):
                first, _, rest = ast.unparse(part).partition(".")
                yield part.lineno, ".".join(filter(None, [known.get(first, f"{module}.{first}"), rest]))


def _names(module: str) -> Iterator[tuple[str, str]]:
    """Yield each name that a module imports, with what it stands for in full."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                yield (alias.asname, alias.name) if alias.asname else (first, first)
        elif isinstance(node, ast.ImportFrom):
            for alias, (target, name) in zip(node.names, _targets(module, node), strict=True):
                yield alias.asname or alias.name, ".".join(filter(None, [target, name]))
