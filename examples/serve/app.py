"""A service in front of an exported model: `uvicorn app:app`, with the folder of the export in `MODEL`.

It needs neither torch nor Thermocline: `run.py` of the export does the work.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException

MOST_ROWS = 1_000


def load_model(folder: str | Path) -> Any:
    """Return the model in the folder of an export."""
    spec = importlib.util.spec_from_file_location("exported_run", Path(folder) / "run.py")
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{folder!s} holds no run.py: export with predictor.export(folder).")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Model(folder)


model = load_model(os.environ.get("MODEL", "model"))
app = FastAPI(title="An exported model")


@app.get("/health")
def health() -> dict[str, str]:
    """Say that the model is loaded."""
    return {"status": "ready"}


@app.post("/predict")
def predict(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return an answer for each row; an image is base64 text or a data URL."""
    if len(rows) > MOST_ROWS:
        raise HTTPException(413, f"{len(rows)} rows; at most {MOST_ROWS} at once.")
    try:
        answers: list[dict[str, Any]] = model.predict([_without_files(row) for row in rows])
    except (ValueError, OSError) as error:
        raise HTTPException(422, str(error)) from None
    return answers


def _without_files(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row in which no column of images names a file of this machine."""
    for column in _image_columns():
        value = row.get(column)
        if value is not None and not (isinstance(value, str) and _is_encoded(value)):
            raise ValueError(f"Column {column!r} takes an image as base64 text or as a data URL.")
    return row


def _image_columns() -> list[str]:
    inputs = [one["settings"] for one in model.settings["inputs"].values()]
    several = [name for one in inputs if "ranges" in one for name in one["columns"]]
    return several + [one["column"] for one in inputs if "column" in one]


def _is_encoded(text: str) -> bool:
    return text[:5].lower() == "data:" or (len(text) > 40 and "." not in text and not text.startswith("/"))
