"""The demo, small: scores of the model and of both baselines, and a new process that agrees."""

from __future__ import annotations

from thermocline import demo


def test_the_demo_scores_saves_and_predicts_again(capsys, monkeypatch):
    monkeypatch.setattr(demo, "_options", lambda _sample: {"optim.max_steps": 2})
    scores = demo.run("docstrings", rows=120, out=None)
    said = capsys.readouterr().out
    assert set(scores) == {"majority class", "TF-IDF + logistic regression", "thermocline"}
    assert all(0 <= score <= 1 for score in scores.values())
    assert scores["thermocline"] > scores["majority class"]
    assert "layerwise_decay, base lr" in said
    assert "predictions as before saving: True" in said
