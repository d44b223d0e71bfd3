"""The wheel carries the presets and works without the repository; an editable install reads the repository's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import thermocline
from thermocline.config.presets import NO_PRESETS, preset_names, presets_folder
from thermocline.config.rules_file import load_rules
from thermocline.data.sample_facts import EXTRA, SAMPLES

REPOSITORY = Path(__file__).parents[1]
FILES = sorted((REPOSITORY / "presets").glob("*.yaml"))
FIXED = {"chatterbot-corpus"}  # another version has other rows, which `load_sample` refuses
OURS = [path for path in FILES if path.stem not in NO_PRESETS]


def _run(*command: str | Path, **options: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, REPOSITORY)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    _run(*pip, "--disable-pip-version-check", "--target", target, wheel)
    return target


def test_the_wheel_has_presets_types_and_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {f"thermocline/presets/{path.name}" for path in FILES} <= set(names)
    assert "thermocline/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} == {"thermocline", f"thermocline-{thermocline.__version__}.dist-info"}


def test_the_version_is_said_once(wheel: Path) -> None:
    assert wheel.name == f"thermocline-{thermocline.__version__}-py3-none-any.whl"


def test_the_wheel_reads_its_own_presets(installed: Path, tmp_path: Path) -> None:
    code = (
        "import thermocline, thermocline.config.presets as p, thermocline.config.rules_file as r\n"
        "print(thermocline.__file__); print(p.presets_folder()); print(*thermocline.list_presets()['name'])\n"
        "print(len(r.load_rules().families))"
    )
    lines = _run(sys.executable, "-c", code, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)}).splitlines()
    assert Path(lines[0]).parent == installed / "thermocline"
    assert Path(lines[1]) == installed / "thermocline" / "presets"
    assert sorted(lines[2].split()) == [path.stem for path in OURS]
    assert int(lines[3]) == len(load_rules().families)


def test_the_wheel_has_the_command(installed: Path, tmp_path: Path) -> None:
    code = "import sys; from thermocline.cli import main; sys.exit(main(['presets', 'ls']))"
    said = _run(sys.executable, "-c", code, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)})
    assert all(f"{path.stem}: " in said for path in OURS)
    (scripts,) = installed.glob("thermocline-*.dist-info/entry_points.txt")
    assert "thermocline = thermocline.cli:main" in scripts.read_text()


@pytest.mark.skipif(
    Path(thermocline.__file__).parents[1] != REPOSITORY / "src", reason="thermocline is not installed editable"
)
def test_an_editable_install_reads_the_presets_of_the_repository() -> None:
    assert not (Path(thermocline.__file__).parent / "presets").exists()
    assert presets_folder() == REPOSITORY / "presets"
    assert sorted(preset_names()) == [path.stem for path in OURS]


def _project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return found


def test_links_on_the_page_of_pypi_are_absolute(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        page = archive.read(name).decode()
    source = _project()["urls"]["Source"]
    assert f"]({source}/blob/main/docs/" in page
    page = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)|(?:href|src|srcset)=\"([^\"]+)\"", page)
    relative = [link for pair in targets for link in pair if link and not re.match(r"[a-z]+:|#", link)]
    assert relative == []
    assert [url for url in _project()["urls"].values() if not url.startswith(source)] == []


def test_the_citation_names_this_version_and_licence() -> None:
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"]) == (thermocline.__version__, _project()["license"])
    assert [one["name"] for one in cited["authors"]] == [one["name"] for one in _project()["authors"]]


def test_the_page_on_installing_names_every_extra() -> None:
    page = (REPOSITORY / "docs" / "how-to" / "install.md").read_text(encoding="utf-8")
    extras = _project()["optional-dependencies"]
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)) == {*extras} - {"dev"}
    dev = Requirement(next(line for line in extras["dev"] if line.startswith("thermocline[")))
    assert dev.extras == {*extras} - {"dev"}, "dev installs every extra, so that its tests run"


def test_packages_of_the_samples_are_those_of_the_extra() -> None:
    needed = {facts.package: facts.version for facts in SAMPLES.values() if facts.package}
    named = _requirements(_project()["optional-dependencies"][EXTRA])
    assert needed.keys() == named.keys()
    assert all(named[name].specifier.contains(version) for name, version in needed.items())


def _requirements(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


def test_every_dependency_is_bounded_from_above_and_none_is_pinned() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    named = _requirements([*project["dependencies"], *extras])
    named.pop(canonicalize_name(project["name"]))
    lines = (line.strip() for line in (REPOSITORY / "constraints.txt").read_text().splitlines())
    bounds = _requirements([line for line in lines if line and not line.startswith("#")])
    assert set(named) <= set(bounds)
    for name, bound in bounds.items():
        (upper,) = bound.specifier
        assert upper.operator == "<", f"{name} is bounded by {upper}; constraints.txt takes a line such as {name}<2.1"
        for lower in named[name].specifier if name in named else ():
            assert lower.operator == ("==" if name in FIXED else ">=")
            assert bound.specifier.contains(lower.version), f"no version of {name} fits {lower} and {upper}"
