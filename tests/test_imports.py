"""The shape of the package, computed from its source: who may import whom, how large things are, what is named where.

Imports inside functions and for type checkers count like all others. A unit is a sub-package or a module at the top of
the package.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable

import pytest

from support.source import (
    ROOT,
    Import,
    checked_types,
    circles,
    functions,
    imports_of,
    levels,
    module_of,
    modules,
    names_of_modules,
    ours,
    unit_of,
)

MOST_LEVELS = 10
MOST_TOP_MODULES = 9
MOST_LINES = 40
HEAVY = ["torch", "torchvision", "transformers", "timm", "sklearn", "matplotlib", "accelerate"]

#: What only the folders of kinds may know: what a row, a tower or a problem is.
OF_KINDS = ("thermocline.inputs.", "thermocline.problems.", "thermocline.contracts.", "thermocline.data.row_part.")

#: Folders that name no kind of problem.
COMMON = ("pipeline", "training", "data", "efficiency", "predictor")


def _of_unit(*names: str) -> list[str]:
    return [module for module in modules() if unit_of(module) in {f"thermocline.{name}" for name in names}]


def _listed(lines: Iterable[object]) -> str:
    return "\n" + "\n".join(dict.fromkeys(map(str, lines)))


def _unit_graph() -> dict[str, set[str]]:
    graph: dict[str, set[str]] = {unit_of(module): set() for module in modules()}
    for module in modules():
        graph[unit_of(module)] |= {unit_of(one.target) for one in ours(module)} - {unit_of(module)}
    return graph


# -- circles and levels --------------------------------------------------------------------------------------------


def test_units_import_downward_only() -> None:
    for circle in circles(_unit_graph()):
        between: dict[tuple[str, str], list[Import]] = {}
        for one in (one for module in modules() for one in ours(module)):
            pair = unit_of(one.source), unit_of(one.target)
            if set(pair) <= set(circle) and pair[0] != pair[1]:
                between.setdefault(pair, []).append(one)
        lines = (f"{len(found)} from {a} to {b}: {found[0]}" for (a, b), found in sorted(between.items()))
        pytest.fail(f"{', '.join(circle)} import each other in a circle:{_listed(lines)}")


def test_there_are_few_levels() -> None:
    level = levels(_unit_graph())
    by_level = [f"{n}: {', '.join(u for u in level if level[u] == n)}" for n in sorted(set(level.values()))]
    assert max(level.values()) <= MOST_LEVELS, f"more than {MOST_LEVELS} import levels:{_listed(by_level)}"


def test_no_modules_import_each_other_in_a_circle_without_a_reason() -> None:
    """A comment `circle: <reason>` on the line of an import, or above it, is the reason."""
    graph = {module: {one.target for one in ours(module) if not one.reason} for module in modules()}
    found = circles(graph)
    between = [
        one for circle in found for module in circle for one in ours(module) if one.target in circle and not one.reason
    ]
    assert not found, f"{len(found)} circles of modules:{_listed(between)}"


def test_the_package_has_few_modules_at_the_top() -> None:
    top = sorted(path.stem for path in ROOT.glob("*.py") if path.stem != "__init__")
    assert len(top) <= MOST_TOP_MODULES, top


# -- who may import whom -------------------------------------------------------------------------------------------


def _wrong(importers: Iterable[str], forbidden: str) -> list[Import | str]:
    """Imports of a unit by modules, in statements or by name."""
    unit = f"thermocline.{forbidden}"
    by_name = [
        f"{module} names {name}" for module in importers for name in names_of_modules(module) if unit_of(name) == unit
    ]
    return [*(one for module in importers for one in ours(module) if unit_of(one.target) == unit), *by_name]


def test_tuning_imports_nothing_of_ours_but_errors_and_tables() -> None:
    allowed = {"thermocline.tuning", "thermocline.errors", "thermocline.report"}
    wrong = [one for module in _of_unit("tuning") for one in ours(module) if unit_of(one.target) not in allowed]
    assert not wrong, _listed(wrong)


def test_only_config_imports_omegaconf() -> None:
    outside = [module for module in modules() if unit_of(module) != "thermocline.config"]
    wrong = [one for module in outside for one in imports_of(module) if one.target.split(".")[0] == "omegaconf"]
    assert not wrong, _listed(wrong)


def test_the_pipeline_knows_no_problem() -> None:
    assert not (wrong := _wrong(_of_unit("pipeline"), "problems")), _listed(wrong)


def test_no_problem_knows_the_pipeline() -> None:
    assert not (wrong := _wrong(_of_unit("problems"), "pipeline")), _listed(wrong)


def test_the_common_road_names_no_kind_of_problem() -> None:
    wrong = [
        f"{module}:{number}: {line.strip()}"
        for module in _of_unit(*COMMON)
        for number, line in enumerate(modules()[module].read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"object_detection|detector", line)
    ]
    assert not wrong, _listed(wrong)


def test_only_kinds_check_for_types_of_rows_towers_and_problems() -> None:
    wrong = [
        f"{module}:{line} checks for {name}"
        for module in modules()
        if unit_of(module) not in ("thermocline.inputs", "thermocline.problems")
        for line, name in checked_types(module)
        if name.startswith(OF_KINDS)
    ]
    assert not wrong, _listed(wrong)


# -- sizes ---------------------------------------------------------------------------------------------------------


def test_functions_are_short() -> None:
    """Lines from `def` to the last one, the signature counted, decorators and docstring not."""
    long = sorted(
        (one for module in modules() for one in functions(module) if one[1] > MOST_LINES), key=lambda one: -one[1]
    )
    assert not long, f"functions of more than {MOST_LINES} lines:" + _listed(f"{lines} {name}" for name, lines in long)


# -- what an import costs ------------------------------------------------------------------------------------------


def _loaded_after(statement: str, names: list[str]) -> str:
    code = f"import sys\n{statement}\nprint(*sorted(set({names!r}) & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    "statement",
    [
        "import thermocline",
        "from thermocline import Predictor",
        "from thermocline import Predictor; Predictor('label', 'binary', 'roc_auc')",
        "from thermocline import load_sample, list_presets, ThermoclineError",
        "import thermocline.cli",
        "import thermocline.registry",
    ],
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert _loaded_after(statement, HEAVY) == ""


def test_importing_the_package_does_not_even_load_pandas() -> None:
    assert _loaded_after("import thermocline", ["pandas", "numpy", "omegaconf"]) == ""


# -- the checks themselves -----------------------------------------------------------------------------------------


def test_circles_and_levels_of_a_known_graph() -> None:
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"b"}, "d": set(), "e": {"d"}}
    assert circles(graph) == [["b", "c"]]
    assert levels(graph) == {"d": 1, "b": 2, "c": 2, "e": 2, "a": 3}


def test_the_source_is_read_as_it_is() -> None:
    assert module_of(ROOT / "config" / "__init__.py") == "thermocline.config"
    found = {(one.target, one.name) for one in imports_of("thermocline")}
    assert ("thermocline.predictor", "Predictor") in found  # for type checkers alone
    assert any(one.target == "thermocline.cli.demo" for one in ours("thermocline.cli"))  # inside a function
