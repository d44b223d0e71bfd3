"""The service of `examples/serve` answers a request as the predictor does."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

APP = Path(__file__).parents[2] / "examples" / "serve" / "app.py"


@pytest.fixture
def client(text_export: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from fastapi.testclient import TestClient

    monkeypatch.setenv("MODEL", str(text_export))
    spec = importlib.util.spec_from_file_location("served_app", APP)
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "served_app", app)
    spec.loader.exec_module(app)
    return TestClient(app.app)


def test_a_request_is_answered_as_the_predictor_does(client: Any, reader_of_text: Any) -> None:
    predictor, frame = reader_of_text
    rows = frame[["review"]].head(3).to_dict(orient="records")
    found = client.post("/predict", json=rows)
    assert found.status_code == 200
    assert [one["prediction"] for one in found.json()] == predictor.predict(frame.head(3)).tolist()
    wanted = predictor.predict_proba(frame.head(3)).to_dict(orient="records")
    for one, other in zip(found.json(), wanted, strict=True):
        assert one["probabilities"] == pytest.approx(other, abs=1e-4)


def test_a_wrong_request_is_told(client: Any) -> None:
    assert client.get("/health").json() == {"status": "ready"}
    found = client.post("/predict", json=[{"text": "no such column"}])
    assert found.status_code == 422
    assert "no column 'review'" in found.json()["detail"]
    assert client.post("/predict", json=[{}] * 1001).status_code == 413
