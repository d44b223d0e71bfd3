"""The command line, in process, on a small table."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from thermocline.cli import main

FAST = ["--set", "optim.max_epochs=2", "model.table.width=16", "model.table.blocks=1", "env.device=cpu"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty rows: a number and a category that decide, a number that does not."""
    draw = np.random.default_rng(0)
    size, colour = draw.normal(size=80), draw.choice(["red", "green", "blue"], 80)
    frame = pd.DataFrame({"size": size.round(4), "colour": colour, "code": draw.integers(1, 5, 80)})
    frame["y"] = np.where(size + (colour == "red") > 0.3, "yes", "no")
    path = tmp_path_factory.mktemp("data") / "rows.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "model"
    assert main(["fit", str(table), "--label", "y", "--out", str(out), "--quiet", *FAST]) == 0
    return out


def test_fit_says_what_it_chose(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model"
    command = ["fit", str(table), "--label", "y", "--out", str(out), "--column-type", "code=categorical", *FAST]
    command = [*command, "--verbosity", "2"]
    assert main([*command, "--set", "optim.lr=0.002", "--eval-metric", "accuracy"]) == 0
    said = capsys.readouterr().out
    assert "binary on 'y'" in said
    assert "validated by accuracy" in said
    code, lr = (next(line for line in said.splitlines() if line.startswith(name)) for name in ("code", "optim.lr "))
    assert code.split()[1] == "categorical"
    assert lr.split()[1:] == ["0.002", "user"]
    assert f"saved to {out}" in said
    assert not list(out.rglob("*.pkl")) + list(out.rglob("*.pt")) + list(out.rglob("*.bin"))


def test_quiet_fit_prints_only_the_result(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model"
    assert main(["fit", str(table), "--label", "y", "--out", str(out), "--quiet", *FAST]) == 0
    assert capsys.readouterr() == (f"saved to {out}\n", "")


def test_a_search_prints_its_trials(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, study = tmp_path / "model", tmp_path / "study.log"
    command = ["fit", str(table), "--label", "y", *FAST, "optim.lr=loguniform(1e-4, 1e-1)"]
    searched = ["--search-trials", "2", "--search-storage", str(study), "--search-study", "mine"]
    assert main([*command, "--out", str(out), *searched]) == 0
    said = capsys.readouterr().out
    assert "trial 2 of 2: optim.lr=" in said
    head, *rows, last = said.splitlines()[-4:]
    assert head.split() == ["name", "optim.lr", "score", "seconds", "state", "why"]
    assert all("complete" in row for row in rows)
    assert last == f"saved to {out}"
    assert study.is_file()
    assert main([*command, "--out", str(tmp_path / "other")]) == 1
    assert "--search-trials 20" in capsys.readouterr().err
    assert main([*command, "--out", str(tmp_path / "other"), "--search-study", "mine"]) == 1
    assert "--search-study is for a search, which --search-trials asks for" in capsys.readouterr().err


def test_explain_writes_a_plan_that_fit_follows(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out = tmp_path / "plan.json", tmp_path / "model"
    assert main(["explain", str(table), "--label", "y", "--out", str(plan), *FAST, "optim.lr_choice=two_stage"]) == 0
    said = capsys.readouterr().out
    assert "two_stage, base lr" in said
    assert "table" in said
    assert "validation" not in said  # nothing was trained
    content = json.loads(plan.read_text())
    content["lr"] = 0.004
    plan.write_text(json.dumps(content))
    assert main(["fit", str(table), "--label", "y", "--plan", str(plan), "--out", str(out), *FAST]) == 0
    assert "base lr 0.004" in capsys.readouterr().out


def test_explain_tells_how_long_a_fit_takes_when_asked(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(table), "--label", "y", *FAST]) == 0
    assert "Time: " not in capsys.readouterr().out
    assert main(["explain", str(table), "--label", "y", "--timed", *FAST]) == 0
    said = capsys.readouterr().out
    assert "live" in said
    assert "s on this cpu" in said


def test_predict_to_the_screen_and_to_a_file(
    model: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(model), str(table)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "y"
    assert len(lines) == 81
    assert set(lines[1:]) <= {"yes", "no"}
    target = tmp_path / "answers.csv"
    assert main(["predict", str(model), str(table), "--proba", "--out", str(target)]) == 0
    out, err = capsys.readouterr()
    assert (out, "80 predictions written to" in err) == ("", True)
    proba = pd.read_csv(target)
    assert list(proba.columns) == ["y", "p_no", "p_yes"]
    assert np.allclose(proba[["p_no", "p_yes"]].sum(axis=1), 1, atol=1e-5)


def test_an_interval_of_classes_is_an_error(model: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(model), str(table), "--interval", "0.9"]) != 0
    assert "Use predict_proba" in capsys.readouterr().err


def test_evaluate_prints_a_line_per_metric(model: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(model), str(table), "--metrics", "accuracy", "roc_auc"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    scores = {name: float(score) for name, score in (line for line in lines if len(line) == 2)}
    assert set(scores) == {"accuracy", "roc_auc"}
    assert scores["accuracy"] > 0.6


def test_report_prints_text_or_json_and_writes_html(
    model: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "report.html"
    assert main(["report", str(model), str(table), "--out", str(page)]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("Report on ")
    assert "report written to" in shown.err
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["report", str(model), str(table), "--json", "--metrics", "accuracy"]) == 0
    assert list(json.loads(capsys.readouterr().out)["scores"]) == ["accuracy"]
    assert main(["report", str(model), "no.csv", "--out", "report.txt"]) == 1
    assert "has to end in .html" in capsys.readouterr().err


def test_presets_ls_show_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "ls"]) == 0
    assert "medium_quality: " in capsys.readouterr().out
    assert main(["presets", "show", "layerwise_decay"]) == 0
    shown = capsys.readouterr().out
    assert "lr_choice: layerwise_decay" in shown
    mine = tmp_path / "mine.yaml"
    assert main(["presets", "copy", "layerwise_decay", str(mine)]) == 0
    assert mine.read_text() == shown
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
    assert main(["presets", "copy", "layerwise_decay", str(mine)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_a_copied_preset_and_a_file_of_overrides_can_be_used(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, overrides = tmp_path / "mine.yaml", tmp_path / "overrides.yaml"
    mine.write_text("purpose: mine\nextends: medium_quality\noptim:\n  weight_decay: 0.05\n")
    overrides.write_text("optim:\n  warmup: 0.3\n")
    command = ["explain", str(table), "--label", "y", "--presets", str(mine), "--config", str(overrides), *FAST]
    assert main([*command, "--verbosity", "2"]) == 0
    said = capsys.readouterr().out
    assert "preset:mine.yaml" in said
    assert "warm-up over the first 30 %" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "{table}", "--label", "why", "--out", "{out}"], ["'why'", "size"]),
        (["fit", "{table}", "--label", "y", "--out", "{out}", "--set", "optim.lr_choise=x"], ["optim.lr_choice"]),
        (["fit", "{table}", "--label", "y", "--out", "{out}", "--presets", "medium"], ["medium_quality"]),
        (["fit", "{table}", "--label", "y", "--out", "{out}", "--column-type", "code"], ["COLUMN=TYPE"]),
        (["fit", "{table}", "--label", "y", "--out", "{out}", "--column-type", "code=word"], ["'word'", "categorical"]),
        (["fit", "absent.csv", "--label", "y", "--out", "{out}"], ["absent.csv"]),
        (["predict", "{out}", "{table}"], ["{out}"]),
        (["presets", "show", "offlin"], ["offline"]),
    ],
)
def test_an_error_is_one_paragraph_and_exit_status_one(
    arguments: list[str], words: list[str], table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"table": str(table), "out": str(tmp_path / "model")}
    assert main([part.format(**places) for part in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("thermocline: ")
    assert "Traceback" not in err
    assert "\n\n" not in err
    for word in words:
        assert word.format(**places) in err


def test_a_folder_that_holds_another_run_is_not_overwritten(
    model: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(table), "--label", "y", "--out", str(model), "--quiet", *FAST]) == 1
    assert str(model) in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["fit", "--label", "y"], ["presets"], ["fits"]])
def test_a_command_line_that_cannot_be_read_exits_with_two(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: thermocline" in capsys.readouterr().err


def test_the_way_warnings_look_is_put_back() -> None:
    before = warnings.formatwarning
    main(["presets", "ls"])
    assert warnings.formatwarning is before


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("thermocline 0.")
