from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from thermocline.config import schema_of
from thermocline.config.values import convert, parse
from thermocline.errors import ConfigError

SCHEMA = schema_of()
KEYS = SCHEMA.keys


def sections(section: Any) -> Iterator[Any]:
    yield section
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        if dataclasses.is_dataclass(value):
            yield from sections(value)


@pytest.mark.parametrize("section", list(sections(SCHEMA.root())), ids=lambda section: type(section).__name__)
def test_every_section_is_frozen_and_hashable(section: Any) -> None:
    name = dataclasses.fields(section)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(section, name, None)
    assert isinstance(hash(section), int)


@pytest.mark.parametrize("path", KEYS)
def test_every_key_has_one_line_of_documentation(path: str) -> None:
    doc = KEYS[path].doc
    assert doc.endswith(".")
    assert "\n" not in doc
    assert len(doc) < 100


@pytest.mark.parametrize("path", KEYS)
def test_every_default_is_a_value_its_key_takes(path: str) -> None:
    assert convert(KEYS[path], KEYS[path].default) == KEYS[path].default


def test_the_keys_are_those_that_are_read_elsewhere() -> None:
    for path in (
        "model.frozen_layers",
        "model.text.checkpoint",
        "optim.top_k_average",
        "env.micro_batch_size",
    ):
        assert path in KEYS
    assert {"model", "optim", "data", "env"} | {
        f"model.{tower}"
        for tower in ("text", "image", "detector", "entities", "segmenter", "similarity", "table", "fusion")
    } == SCHEMA.sections
    assert KEYS["optim.lr_choice"].choices == ("single_lr", "two_stage", "layerwise_decay")


@pytest.mark.parametrize(
    ("path", "given", "expected"),
    [
        ("optim.lr", "1e-4", 1e-4),
        ("optim.lr", 1, 1.0),
        ("optim.lr", None, None),
        ("optim.max_epochs", 5.0, 5),
        ("optim.max_epochs", "7", 7),
        ("optim.lr_choice", "two_stages", "two_stage"),
        ("env.loggers", "csv", ("csv",)),
        ("env.loggers", ["csv", "tensorboard"], ("csv", "tensorboard")),
        ("env.loggers", None, ()),
        ("model.frozen_layers", [], None),
        ("model.frozen_layers", -2, -2),
        ("model.frozen_layers", "3", "3"),
        ("model.text.frozen_layers", ["embeddings", 2], ("embeddings", 2)),
        ("model.text.checkpoint", "no", "no"),
        ("data.image_folder", "1e-4", "1e-4"),
    ],
)
def test_a_value_that_loses_nothing_is_taken(path: str, given: object, expected: object) -> None:
    value = convert(KEYS[path], given)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("path", ["optim.lr", "optim.max_epochs", "model.frozen_layers", "optim.lr_choice"])
def test_a_bool_is_no_number_no_selector_and_no_choice(path: str) -> None:
    with pytest.raises(ConfigError, match=f"{path}: True is not allowed; it takes"):
        convert(KEYS[path], True)


@pytest.mark.parametrize("given", [0, -1e-4, float("nan"), float("inf"), "nan", "-inf", "fast", [1e-4], 10**400])
def test_a_learning_rate_is_a_number_above_zero(given: object) -> None:
    with pytest.raises(ConfigError, match="it takes a number above 0 and of at most 1,000,000, or null"):
        convert(KEYS["optim.lr"], given)


@pytest.mark.parametrize(
    ("path", "given", "says"),
    [
        ("optim.warmup", 1, "a number of at least 0 and below 1"),
        ("optim.lr_decay", 1.01, "a number above 0 and of at most 1"),
        ("optim.max_epochs", 2.5, "a whole number of at least 1"),
        (
            "optim.lr_choice",
            "two_staged",
            "'single_lr', 'two_stage' or 'layerwise_decay'. Did you mean 'two_stage'",
        ),
        ("model.text.pretrained", "no", "true or false"),
        ("model.text.pretrained", 1, "true or false"),
        ("model.text.checkpoint", " ", "a text that is not empty"),
        ("model.text.checkpoint", 3, "a text that is not empty"),
        ("model.text.checkpoint", None, "a text that is not empty"),
        ("env.loggers", ["csv", "comet"], "a list of any of 'tensorboard', 'csv', 'mlflow' or 'wandb'"),
        ("model.frozen_layers", 1.5, "a layer selector, a whole number, or a list of these, or null"),
        ("model.frozen_layers", [["a"]], "a layer selector"),
        ("data.image_folder", "${HOME}/images", "not looked up here"),
        ("model.text.checkpoint", "???", "not looked up here"),
    ],
)
def test_a_refusal_says_what_is_allowed(path: str, given: object, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        convert(KEYS[path], given)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_numpy_scalars_and_arrays_are_numbers_and_lists() -> None:
    numpy = pytest.importorskip("numpy")
    assert convert(KEYS["optim.lr"], numpy.float64(1e-4)) == 1e-4
    assert convert(KEYS["optim.lr"], numpy.float32(0.5)) == 0.5
    assert type(convert(KEYS["optim.max_epochs"], numpy.int32(3))) is int
    assert convert(KEYS["model.text.pretrained"], numpy.bool_(False)) is False
    assert convert(KEYS["model.frozen_layers"], numpy.array([0, 1])) == (0, 1)
    with pytest.raises(ConfigError, match="a number above 0"):
        convert(KEYS["optim.lr"], numpy.bool_(True))
    with pytest.raises(ConfigError, match="a number above 0"):
        convert(KEYS["optim.lr"], numpy.float32("nan"))


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("optim.lr", "1e-4", 1e-4),
        ("optim.lr", " null ", None),
        ("optim.gradient_clip", "None", None),
        ("model.image.augment", "none", "none"),
        ("model.text.pretrained", "False", False),
        ("model.text.checkpoint", "no", "no"),
        ("model.text.checkpoint", "'null'", "null"),
        ("model.text.frozen_layers", "encoder.layer.[0-2]", "encoder.layer.[0-2]"),
        ("model.text.frozen_layers", "-3", -3),
        (
            "model.text.frozen_layers",
            "[embeddings, layer.[0,2], 're:a,b']",
            ("embeddings", "layer.[0,2]", "re:a,b"),
        ),
        ("model.text.frozen_layers", "[]", None),
        ("env.loggers", "[csv,tensorboard]", ("csv", "tensorboard")),
        ("env.loggers", "csv", ("csv",)),
    ],
)
def test_the_right_side_of_an_assignment_is_read_by_its_key(path: str, text: str, expected: object) -> None:
    assert parse(KEYS[path], text) == expected


def test_the_nearest_keys_are_found_by_their_last_segment_too() -> None:
    assert SCHEMA.nearest("lr_decy")[0] == "optim.lr_decay"
    assert SCHEMA.nearest("training.optimizer.lr_decay")[0] == "optim.lr_decay"
    assert SCHEMA.nearest("model.txt.frozen_layers")[0] == "model.text.frozen_layers"
    assert SCHEMA.nearest("zzzzzz") == []


def test_importing_config_and_reading_the_kinds_stays_light() -> None:
    heavy = ("torch", "transformers", "timm", "pandas", "numpy", "sklearn", "omegaconf")
    code = f"import sys, thermocline.config as c; c.schema_of(); print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
