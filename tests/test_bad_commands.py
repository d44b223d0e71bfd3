"""Bad input on the command line: one paragraph on stderr, status 1, no traceback, and nothing half done."""

from __future__ import annotations

import pytest

from support.tiny import make_table
from thermocline.cli import main


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    make_table().to_csv(path, index=False)
    return str(path)


def fails(capsys, *arguments) -> str:
    assert main(list(arguments)) == 1
    out, err = capsys.readouterr()
    assert err.startswith("thermocline: ")
    assert "Traceback" not in err + out
    return err


def test_fit(capsys, rows, tmp_path):
    out = str(tmp_path / "model")
    fit = ("fit", rows, "--out", out, "--quiet")
    assert "Did you mean 'colour'" in fails(capsys, *fit, "--label", "color")
    assert "Did you mean 'optim.lr'" in fails(capsys, *fit, "--label", "y", "--set", "optim.rl=1")
    assert "optim.lr: 'fast' is not allowed" in fails(capsys, *fit, "--label", "y", "--set", "optim.lr=fast")
    assert "Did you mean 'offline'" in fails(capsys, *fit, "--label", "y", "--presets", "ofline")
    assert "Did you mean 'binary'" in fails(capsys, *fit, "--label", "y", "--problem-type", "binry")
    assert "takes COLUMN=TYPE" in fails(capsys, *fit, "--label", "y", "--column-type", "x")
    assert "time_limit" in fails(capsys, *fit, "--label", "y", "--time-limit", "-1")
    assert "There is no plan" in fails(capsys, *fit, "--label", "y", "--plan", "nowhere.json")
    assert "already holds other files" in fails(capsys, "fit", rows, "--label", "y", "--out", str(tmp_path))
    assert not (tmp_path / "model").exists()


def test_use(capsys, rows, tmp_path, fitted_table):
    model = str(fitted_table.save(tmp_path / "model"))
    assert "does not exist. Did you mean 'rows.csv'" in fails(capsys, "predict", model, str(tmp_path / "row.csv"))
    assert "There is no saved predictor" in fails(capsys, "predict", str(tmp_path / "modl"), rows)
    assert "is a folder, or lies in one that is not there" in fails(
        capsys, "predict", model, rows, "--out", str(tmp_path / "no" / "x.csv")
    )
    assert "Unknown metric 'acuracy'" in fails(capsys, "evaluate", model, rows, "--metrics", "acuracy")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"")
    assert "is damaged: model.safetensors" in fails(capsys, "evaluate", model, rows)


def test_explain_and_demo(capsys, rows, tmp_path):
    out = str(tmp_path / "no" / "plan.json")
    assert "cannot be written" in fails(capsys, "explain", rows, "--label", "y", "--out", out)
    assert "at least 50 rows" in fails(capsys, "demo", "--rows", "1")
    assert "There is no preset 'zzz'" in fails(capsys, "presets", "show", "zzz")
