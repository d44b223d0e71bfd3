"""The demo, small: scores of the model and of both baselines, and a new process that agrees."""

from __future__ import annotations

import pytest

from thermocline.cli import demo


@pytest.mark.parametrize("sample", ["digits", "mixed"])
def test_the_other_samples(sample, capsys, monkeypatch):
    options = {"optim.max_steps": 1, "model.image.size": 64, "model.image.augment": "none"}
    monkeypatch.setattr(demo, "_options", lambda _sample: options)
    scores = demo.run(sample, rows=60, out=None)
    assert {"majority class", "thermocline"} <= set(scores)
    assert "predictions as before saving: True" in capsys.readouterr().out


def test_the_demo_scores_saves_and_predicts_again(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(demo, "_options", lambda _sample: {"optim.max_steps": 2})
    scores = demo.run("docstrings", rows=120, out=None)
    said = capsys.readouterr().out
    assert set(scores) == {"majority class", "TF-IDF + logistic regression", "thermocline"}
    assert all(0 <= score <= 1 for score in scores.values())
    assert scores["thermocline"] > scores["majority class"]
    assert "layerwise_decay, base lr" in said
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80
    progress = [i for i, line in enumerate(lines) if line.startswith("epoch ")]
    assert len(lines) - (progress[-1] - progress[0] + 1) <= 40
    assert "majority class " in said
    assert "The demo, without downloads: from a piece of documentation, tell the library." in said
    assert "predictions as before saving: True" in said
