"""`thermocline options`: lists, one page, names, JSON, the schema of presets."""

from __future__ import annotations

import json

import pytest

from thermocline.cli import main
from thermocline.config import schema_of
from thermocline.config.json_schema import text

KEYS = schema_of().keys


@pytest.fixture
def said(capsys, monkeypatch):
    def run(*arguments):
        monkeypatch.setenv("COLUMNS", "80")
        assert main(["options", *arguments]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return run


def test_one_option_shows_all_there_is(said):
    page = said("optim.lr_decay")
    assert page.startswith("optim.lr_decay\n    Rate per layer going down (layerwise_decay).\n")
    for line in (
        "  takes       a number above 0 and of at most 1",
        "  default     0.9",
        "  read by     every fit; only with optim.lr_choice=layerwise_decay",
        "  in a search may vary",
        "  example     --set optim.lr_decay=0.9",
        '              hyperparameters={"optim.lr_decay": 0.9}',
    ):
        assert f"{line}\n" in page
    assert "(fastai, Lightning, Keras and others)" in " ".join(page.split())
    assert "the presets best_quality" in said("optim.lr")


def test_several_are_a_few_lines_each(said):
    listed = said("model.fusion")
    assert listed == (
        "model.fusion.width = 256\n    Units of the fusion layer.\n"
        "    Takes a whole number of at least 1 and of at most 8,192.\n"
        "model.fusion.dropout = 0.1\n    Share of units dropped in fusion.\n"
        "    Takes a number of at least 0 and below 1.\n"
        "\nthermocline options NAME says more of one.\n"
    )


def test_the_name_of_another_trainer_is_answered(said):
    first, empty, second, *_ = said("learning_rate").splitlines()
    assert (first, empty, second) == ("'learning_rate': it is called 'optim.lr' here.", "", "optim.lr")


def test_all_options_fit_eighty_columns(said):
    lines = said().splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split(" = ")[0] for line in lines if " = " in line and not line.startswith(" ")] == list(KEYS)
    for path in KEYS:
        page = said(path).splitlines()
        assert all(len(line) <= 80 or " " not in line.strip() or "hyperparameters=" in line for line in page), path


def test_names_json_and_schema_are_for_machines(said):
    assert said("--names").split() == list(KEYS)
    assert said("optim.warmup", "--names") == "optim.warmup\n"
    (found,) = json.loads(said("optim.warmup", "--json"))
    assert found["name"] == "optim.warmup"
    assert found["default"] == 0.1
    assert found["conditions"] == "not with optim.lr_schedule=one_cycle"
    assert [one["name"] for one in json.loads(said("--json"))] == list(KEYS)
    assert json.loads(said("model.peft", "--json"))[0]["choices"] == ["lora", "ia3", "bitfit", "norm"]
    assert said("--schema") == text()


def test_nothing_found_is_an_error(capsys):
    assert main(["options", "optim.lr_decy"]) == 1
    assert "Did you mean 'optim.lr_decay'" in capsys.readouterr().err
    assert main(["options", "optim.lr_decy", "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    error = json.loads(err)["error"]
    assert error["type"] == "ConfigError"
    assert "Did you mean 'optim.lr_decay'" in error["message"]
