"""The program beside an exported model, put together from the `standalone` modules that its kinds name."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

from thermocline.contracts.exporting import ExportForm

MAIN = "thermocline.export.standalone"
PROGRAM = "run.py"
OWN_IMPORT = re.compile(r"^from thermocline\.\S+ import (\([^)]*\)|[^\n(]+)\n", re.MULTILINE)
FUTURE = "from __future__ import annotations\n"

#: Package that a module imports → how it is installed, with the oldest version that the tests run with.
PACKAGES = {"onnxruntime": "onnxruntime>=1.23", "numpy": "numpy>=2.0", "tokenizers": "tokenizers>=0.21"}
IMAGES = "pillow>=11.0"

HEADER = '''"""Predicts with the model in this folder; written by Thermocline {version}.

    python run.py rows.csv

It needs Python 3.11 or newer and the packages in requirements.txt.
"""

from __future__ import annotations
'''


def write_program(form: ExportForm, folder: Path, version: str) -> None:
    """Write `run.py`, and `requirements.txt` with the packages that it imports.

    Args:
        form: Names the modules.
        folder: Where the model lies.
        version: This package's.
    """
    names = [name for one in form.inputs.values() for name in one.sources] + list(form.sources)
    sources = [_source(name) for name in dict.fromkeys([*names, MAIN])]
    text = HEADER.format(version=version) + "".join(map(_body, sources))
    (folder / PROGRAM).write_text(text, encoding="utf-8")
    (folder / "requirements.txt").write_text("\n".join(_packages(text)) + "\n", encoding="utf-8")


def _source(name: str) -> str:
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).read_text(encoding="utf-8")


def _body(source: str) -> str:
    """Return a module without its docstring and without what the file has once."""
    after_docstring = source.split('"""', 2)[2]
    return OWN_IMPORT.sub("", after_docstring.replace(FUTURE, ""))


def _packages(text: str) -> Iterable[str]:
    for name, wanted in PACKAGES.items():
        if re.search(rf"^\s*(import|from) {name}\b", text, re.MULTILINE):
            yield wanted
    if "from PIL import" in text:
        yield IMAGES
