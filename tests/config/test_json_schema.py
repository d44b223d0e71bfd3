"""The JSON schema of presets: as the options are, every preset fits it, and what is wrong does not."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from thermocline.config import copy_preset, preset_names, preset_text, presets_folder, read_preset, schema_of
from thermocline.config.documents import parse_yaml
from thermocline.config.json_schema import json_schema, text
from thermocline.config.presets import SCHEMA
from thermocline.config.values import convert
from thermocline.errors import ConfigError

MADE = json_schema()
CHECK = jsonschema.Draft202012Validator(MADE)
KEYS = schema_of().keys


def test_the_file_is_what_the_options_give() -> None:
    file = presets_folder() / "schema.json"
    wanted = "python -m thermocline.config.json_schema presets/schema.json"
    assert file.read_text(encoding="utf-8") == text(), f"it is stale: run `{wanted}`"
    assert json.loads(text()) == MADE
    jsonschema.Draft202012Validator.check_schema(MADE)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_fits(name: str) -> None:
    CHECK.validate(parse_yaml(preset_text(name), name))
    CHECK.validate(yaml.safe_load(preset_text(name)))  # as an editor reads it


@pytest.mark.parametrize(
    "content",
    [
        {"optim": {"lr": 1e-4}, "optim.max_epochs": 3, "model": {"text.max_length": 64, "image": None}},
        {"extends": ["medium_quality", "offline"], "purpose": "Mine.", "why": {"lr": "Smith, 2024."}},
        {"optim.lr": {"backbone": 0, "head": 1e-3}, "model": {"frozen_layers": ["embeddings", 2], "trees": False}},
        {"env": {"loggers": "csv"}, "optim": {"optimizer_args": "betas=(0.9, 0.98)", "threshold": 0.3}},
    ],
)
def test_what_is_right_fits(content: dict[str, object]) -> None:
    CHECK.validate(content)


@pytest.mark.parametrize(
    "content",
    [
        {"optim": {"rl": 1e-4}},
        {"optim.rl": 1e-4},
        {"optim": {"lr": 0}},
        {"optim": {"lr_decay": 1.5}},
        {"optim": {"max_epochs": 2.5}},
        {"optim": {"optimizer": "adamww"}},
        {"model": {"text": {"pretrained": "yes"}}},
        {"model": {"fusion": {"width": None}}},
        {"env": {"loggers": ["cvs"]}},
        {"extends": 3},
        {"lr": 1e-4},
    ],
    ids=str,
)
def test_what_is_wrong_does_not(content: dict[str, object], tmp_path: Path) -> None:
    assert not CHECK.is_valid(content)
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ConfigError):
        read_preset(file)


@pytest.mark.parametrize("path", KEYS)
def test_the_schema_of_an_option_takes_what_the_option_takes(path: str) -> None:
    key = KEYS[path]
    check = CHECK.evolve(schema={"$ref": f"#/$defs/{path}", "$defs": MADE["$defs"]})
    values = [key.default, key.example, *key.choices, 0, 1, 0.5, -1, 7, True, "x", None, [], ["x"], {"a": 1}, 10**12]
    for value in values:
        plain = list(value) if isinstance(value, tuple) else value
        try:
            if not (key.by_selector and isinstance(value, dict)) and path != "optim.phases":
                convert(key, value)
        except ConfigError:
            accepted = False
        else:
            accepted = True
        if key.structured or plain == []:  # which of these fit is told where they are used
            continue
        assert check.is_valid(plain) == accepted, (path, value)


def test_a_copy_names_the_schema_that_lies_beside_it(tmp_path: Path) -> None:
    copied = copy_preset("offline", tmp_path / "mine.yaml", schema=True)
    first, rest = copied.read_text(encoding="utf-8").split("\n", 1)
    assert first == f"# yaml-language-server: $schema={SCHEMA}"
    assert rest == preset_text("offline")
    assert (tmp_path / SCHEMA).read_text(encoding="utf-8") == text()
    assert read_preset(copied).values == read_preset("offline").values
