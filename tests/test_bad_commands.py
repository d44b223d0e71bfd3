"""Bad input on the command line: one paragraph on stderr, status 1, no traceback, and nothing half done."""

from __future__ import annotations

import json

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
    assert "Did you mean 'colour'" in fails(capsys, "predict", model, rows, "--keep", "color")
    assert "more than one column named 'y'" in fails(capsys, "predict", model, rows, "--keep", "y")
    assert "is a folder" in fails(capsys, "predict", model, str(tmp_path), "--keep", "y")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"")
    assert "is damaged: model.safetensors" in fails(capsys, "evaluate", model, rows)


def test_explain_and_demo(capsys, rows, tmp_path):
    out = str(tmp_path / "no" / "plan.json")
    assert "cannot be written" in fails(capsys, "explain", rows, "--label", "y", "--out", out)
    assert "at least 50 rows" in fails(capsys, "demo", "--rows", "1")
    assert "There is no preset 'zzz'" in fails(capsys, "presets", "show", "zzz")


def test_options_and_presets(capsys, tmp_path):
    assert "Did you mean 'optim.lr_decay'" in fails(capsys, "options", "optim.lr_decy")
    assert "there is no such option" in fails(capsys, "options", "num_gpus")
    assert "a text that is not empty" in fails(capsys, "options", "")
    assert "`thermocline options` lists all" in fails(capsys, "options", "[")
    assert "ends in .yaml" in fails(capsys, "presets", "copy", "offline", str(tmp_path / "mine.txt"), "--schema")
    (tmp_path / "mine.yaml").touch()
    assert "exists already" in fails(capsys, "presets", "copy", "offline", str(tmp_path / "mine.yaml"), "--schema")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_an_error_as_json_is_one_line_on_stderr(capsys, rows, tmp_path):
    for command in (
        ["options", "optim.lr_decy"],
        ["evaluate", str(tmp_path / "none"), rows],
        ["predict", str(tmp_path / "none"), rows],
        ["export", str(tmp_path / "none"), str(tmp_path / "out")],
        ["explain", rows, "--label", "why"],
        ["recommend", rows, "--label", "why"],
        ["fit", rows, "--label", "why", "--out", str(tmp_path / "model")],
    ):
        assert main([*command, "--json"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert set(json.loads(err)["error"]) == {"type", "message"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["options", "--names", "--json"],
        ["predict", "model", "rows.csv", "--proba", "--proba-only"],
        ["predict", "model", "rows.csv", "--keep"],
        ["completion", "cmd"],
        ["presets", "ls", "offline"],
    ],
    ids=" ".join,
)
def test_a_command_line_that_cannot_be_read(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: thermocline" in err
    assert "Traceback" not in err
