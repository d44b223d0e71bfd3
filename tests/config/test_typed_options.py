"""The types of hyperparameters: they have every option, are as the options are, and type checkers go by them."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import thermocline
from thermocline import Predictor, ThermoclineClassifier
from thermocline.config import schema_of, typed_options
from thermocline.config.typed_options_file import FILE, hint, text

SOURCE = Path(thermocline.__file__).parents[1]

OF_PREDICTOR = """\
from typing import Any

from thermocline import Options, Predictor

predictor = Predictor("y")
fit, explain, recommend = predictor.fit, predictor.explain, predictor.recommend
"""

OF_TYPES = """\
from typing import Any

from thermocline.config.typed_options import Hyperparameters, Options


def fit(data: str, *, hyperparameters: Hyperparameters = None, search: object = None) -> None: ...


explain = recommend = fit
"""

LINES = """

class Mine: ...


def loss(outputs: Any, targets: Any, weights: Any) -> Any: ...


mine: Options = {"optim.lr": 1e-4, "optim.optimizer": "adamw", "model.text": {"max_length": 64}}
read: dict[str, Any] = {}
fit("rows.csv", hyperparameters=mine)
fit("rows.csv", hyperparameters=read)
fit("rows.csv", hyperparameters="mine.yaml")
fit("rows.csv", hyperparameters=["mine.yaml", "optim.lr=1e-4", {"optim.lr": 1e-4}])
fit("rows.csv", hyperparameters={"optim.lr": "loguniform(1e-5, 1e-3)"}, search={"trials": 3})
fit("rows.csv", hyperparameters={"optim": {"lr": 1e-4, "max_epochs": 3}, "model": {"text.max_length": 3}})
fit("rows.csv", hyperparameters={"optim.optimizer": Mine, "optim.loss": loss, "optim.lr": {"backbone": 1e-5}})
explain("rows.csv", hyperparameters={"model.frozen_layers": ["embeddings", 2], "model.trees": False})
recommend("rows.csv", hyperparameters={"env.loggers": ["csv"], "optim.class_weights": {"yes": 2.0}})
fit("rows.csv", hyperparameters={"optim.rl": 1e-4})  # wrong
fit("rows.csv", hyperparameters={"optim": {"rl": 1e-4}})  # wrong
fit("rows.csv", hyperparameters={"optim.lr": [1e-4]})  # wrong
explain("rows.csv", hyperparameters={"optim.optimizer": "adamww"})  # wrong
recommend("rows.csv", hyperparameters={"model.text.pretrained": "yes"})  # wrong
other: Options = {"optim.max_epoch": 3}  # wrong
"""


def _wrong(user: str) -> set[int]:
    return {number for number, line in enumerate(user.splitlines(), 1) if line.endswith("# wrong")}


def _run(tmp_path: Path, *command: str) -> str:
    env = os.environ | {"PYTHONPATH": str(SOURCE), "MYPYPATH": str(SOURCE), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    run = [sys.executable, "-m", *command]
    return subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=300).stdout


def test_the_file_is_what_the_options_give() -> None:
    wanted = "python -m thermocline.config.typed_options_file"
    assert FILE.read_text(encoding="utf-8") == text(), f"it is stale: run `{wanted}`"
    assert wanted in text()


def test_every_option_is_there_dotted_and_nested() -> None:
    schema = schema_of()
    whole = typing.get_type_hints(typed_options.Options)
    assert set(whole) == {*schema.keys, *schema.sections}
    for path, key in schema.keys.items():
        section, _, name = path.rpartition(".")
        part = whole[section]
        assert typing.get_type_hints(part)[name] == whole[path] == eval(hint(key), vars(typed_options)), path
    assert typed_options.Options.__total__ is False


def test_public_methods_are_typed_by_it() -> None:
    for function in (Predictor.fit, Predictor.explain, Predictor.recommend, Predictor.rank_backbones):
        assert inspect.signature(function).parameters["hyperparameters"].annotation == "Hyperparameters"
    given = inspect.signature(ThermoclineClassifier.__init__).parameters["hyperparameters"]
    assert given.annotation == "Hyperparameters"
    assert thermocline.Options is typed_options.Options


def test_mypy_reports_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    user = tmp_path / "user.py"
    user.write_text(OF_TYPES + LINES, encoding="utf-8")
    how = ["--strict", "--follow-imports=skip", "--explicit-package-bases", "--config-file=", "--cache-dir=cache"]
    said = _run(tmp_path, "mypy", *how, "user.py", str(FILE))
    found = {int(number) for number in re.findall(r"^user\.py:(\d+): error:", said, flags=re.MULTILINE)}
    assert found == _wrong(OF_TYPES + LINES), said
    assert f"Found {len(found)} errors in 1 file" in said


def test_pyright_reports_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    user = tmp_path / "user.py"
    user.write_text(OF_PREDICTOR + LINES, encoding="utf-8")
    said = _run(tmp_path, "pyright", "--outputjson", "--pythonpath", sys.executable, "user.py")
    if not said.lstrip().startswith("{"):
        pytest.skip("pyright is not installed, or cannot fetch node")
    found = {one["range"]["start"]["line"] + 1 for one in json.loads(said)["generalDiagnostics"]}
    assert found == _wrong(OF_PREDICTOR + LINES), said
