"""The floors of the house: imports go downward only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "thermocline"

HEAVY = {"torch", "torchvision", "transformers", "timm", "sklearn", "matplotlib"}
LIGHT = (
    "__init__ predictor cli config problems.rowwise.task metrics problems.object_detection.metrics "
    "problems.rowwise.labels errors "
    "data.columns data.frames data.column_rules data.samples"
)

FILES = sorted(ROOT.rglob("*.py"))


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _imports(path: Path, *, inside_functions: bool = True) -> Iterator[str]:
    """Yield the full names of modules that a file imports when it runs; imports for type checkers are none."""
    package = _module(path) if path.stem == "__init__" else _module(path).rpartition(".")[0]
    left: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while left:
        node = left.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            # `from thermocline import fitting` is about the room, not about the package
            yield from ([f"{module}.{alias.name}" for alias in node.names] if module == "thermocline" else [module])
        if _for_types_only(node) or (isinstance(node, ast.FunctionDef) and not inside_functions):
            continue
        left.extend(ast.iter_child_nodes(node))


def _room(module: str) -> str | None:
    """The room that a module of ours stands in; None for other packages, and for the package's own version."""
    package, _, rest = module.partition(".")
    return rest.split(".")[0] if package == "thermocline" and rest not in ("", "__version__") else None


@pytest.mark.parametrize("path", sorted(ROOT.glob("tuning/**/*.py")), ids=_module)
def test_tuning_knows_only_errors(path: Path) -> None:
    assert {_room(name) for name in _imports(path)} <= {None, "tuning", "errors"}


@pytest.mark.parametrize("path", FILES, ids=_module)
def test_only_config_knows_omegaconf(path: Path) -> None:
    if _room(_module(path)) != "config":
        assert "omegaconf" not in {name.split(".")[0] for name in _imports(path)}


@pytest.mark.parametrize("name", LIGHT.split())
def test_light_modules_stay_light(name: str) -> None:
    place = ROOT / name.replace(".", "/")
    for path in sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]:
        heavy = HEAVY & {module.split(".")[0] for module in _imports(path, inside_functions=False)}
        assert not heavy, f"{_module(path)} imports {sorted(heavy)} at module level"
