"""Spaces: texts that stand for values of an option that a search chooses from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermocline.config import Drawn, read_preset, read_spaces, resolve, schema_of
from thermocline.config.spaces import Space, read_space
from thermocline.errors import ConfigError

KEYS = schema_of().keys


def space(path: str, text: str) -> Space:
    found = read_space(KEYS[path], text)
    assert found is not None
    return found


def refused(path: str, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_spaces({path: text})
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_the_four_kinds() -> None:
    lr, warmup = space("optim.lr", "loguniform(1e-5, 1e-3)"), space("optim.warmup", " uniform(0, .2) ")
    assert (lr.kind, lr.low, lr.high) == ("loguniform", 1e-5, 1e-3)
    assert (warmup.kind, warmup.low, warmup.high, warmup.step) == ("uniform", 0.0, 0.2, None)
    epochs = space("optim.max_epochs", "int(2, 6, step=2)")
    assert (epochs.kind, epochs.low, epochs.high, epochs.step) == ("int", 2, 6, 2)
    assert space("optim.lr_choice", "choice(two_stage, single_lr)").choices == {
        "two_stage": "two_stage",
        "single_lr": "single_lr",
    }


@pytest.mark.parametrize(
    ("path", "text", "values"),
    [
        ("env.batch_size", "choice(8, 16, null)", [8, 16, None]),
        ("model.text.pretrained", "choice(true, false)", [True, False]),
        ("model.text.checkpoint", "choice(a/b, 'c, d')", ["a/b", "c, d"]),
        (
            "model.text.frozen_layers",
            "choice([embeddings, layer.[0-2]], 3, null)",
            [("embeddings", "layer.[0-2]"), 3, None],
        ),
        ("model.peft", "choice(null, lora)", [None, "lora"]),
        ("optim.schedule_plan", "choice(fine_tune(freeze_epochs=1), lp_ft)", ["fine_tune(freeze_epochs=1)", "lp_ft"]),
        ("optim.threshold", "choice(auto, 0.3)", ["auto", 0.3]),
    ],
)
def test_choices_are_read_as_the_option_reads_them(path: str, text: str, values: list[Any]) -> None:
    found = space(path, text)
    assert list(found.choices.values()) == values
    assert [found.value(found.nearest(value)) for value in values] == values


def test_numbers_of_options_that_take_more_than_numbers() -> None:
    assert space("model.frozen_layers", "int(0, 6)").value(3) == 3
    assert space("optim.threshold", "uniform(0.2, 0.8)").nearest("auto") == 0.5


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("optim.schedule_plan", "fine_tune(freeze_epochs=2)"),
        ("model.text.checkpoint", "models(1)"),
        ("model.frozen_layers", "re:blocks(1|2)"),
        ("optim.lr", "1e-4"),
    ],
)
def test_other_values_are_no_spaces(path: str, text: str) -> None:
    assert read_space(KEYS[path], text) is None


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        ("optim.lr", "loguniform(1e-3, 1e-5)", "reversed: 0.001 is above 1e-05"),
        ("optim.lr", "loguniform(0, 1e-3)", "both bounds of loguniform are above 0, and 0 is not"),
        ("optim.lr", "loguniform(1e-3, 1e-3)", "Give the value itself"),
        ("optim.lr", "loguniform(1e-5)", "it takes two bounds: loguniform(1e-5, 1e-3)"),
        ("optim.lr", "loguniform(1e-5, 1e-3, step=1e-5)", "it takes two bounds: loguniform"),
        ("optim.lr", "loguniform(a, 1e-3)", "'a' is not a number"),
        ("optim.lr", "uniform(0.1, inf)", "'inf' is not finite"),
        ("optim.lr", "loguniforn(1e-5, 1e-3)", "no space that is known. Did you mean 'loguniform'?"),
        ("optim.lr", "randint(1, 3)", "Did you mean 'int'? Spaces are choice(a, b), uniform(0, 0.2)"),
        ("model.text.checkpoint", "choise(a, b)", "Did you mean 'choice'?"),
        (
            "optim.warmup",
            "uniform(0, 1)",
            "optim.warmup: 1.0 is not allowed; it takes a number of at least 0 and below 1",
        ),
        ("optim.warmup", "uniform(0, 0.2, step=0)", "its step is above 0 and no wider than the space, 0.2; got 0"),
        ("optim.max_epochs", "uniform(2, 6)", "Write int(2, 6)"),
        ("optim.max_epochs", "int(2, 6.5)", "'6.5' is not a whole number"),
        ("optim.max_epochs", "int(0, 6)", "optim.max_epochs: 0 is not allowed; it takes a whole number of at least 1"),
        ("optim.lr_choice", "uniform(0, 1)", "the option takes 'single_lr', 'two_stage' or 'layerwise_decay'"),
        ("optim.lr_choice", "choice(two_stage, layer_decay)", "'layer_decay' is not allowed"),
        ("optim.lr_choice", "choice(two_stage)", "two different values or more"),
        ("env.batch_size", "choice(8, 8.0)", "two different values or more"),
        ("env.device", "choice(cpu, cuda)", "this option cannot vary in a search"),
        ("env.cache_folder", "choice(a, b)", "this option cannot vary in a search"),
        ("env.loggers", "choice(csv, tensorboard)", "this option cannot vary in a search"),
        ("data.valid_fraction", "uniform(0.1, 0.3)", "this option cannot vary in a search"),
        ("model.text.trust_remote_code", "choice(true, false)", "this option cannot vary in a search"),
    ],
)
def test_what_is_wrong_with_a_space(path: str, text: str, says: str) -> None:
    assert says in refused(path, text)


def test_faults_of_spaces_are_gathered_with_others() -> None:
    given = {"optim.lr": "loguniform(0, 1)", "optim.lr_choise": "two_stage", "env.device": "choice(cpu, cuda)"}
    with pytest.raises(ConfigError, match="3 faults in hyperparameters"):
        read_spaces(given)


def test_every_form_of_hyperparameters_takes_spaces(tmp_path: Path) -> None:
    text = "loguniform(1e-5, 1e-3)"
    file = tmp_path / "mine.yaml"
    file.write_text(f"optim:\n  lr: {text}\n", encoding="utf-8")
    for form in ({"optim.lr": text}, {"optim": {"lr": text}}, f"optim.lr={text}", [f"optim.lr = {text}"], file):
        assert [str(one) for one in read_spaces(form).values()] == [text]
    assert list(read_spaces([file, "optim.lr=1e-4"])) == []  # what is written by hand goes before a file


def test_a_space_without_a_search_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"optim\.lr='loguniform\(1e-5, 1e-3\)' is a space of values") as caught:
        resolve(None, {"optim.lr": "loguniform(1e-5, 1e-3)"})
    assert "search={'trials': 20}" in str(caught.value)
    with pytest.raises(ConfigError, match="are spaces of values"):
        resolve(None, {"optim.lr": "uniform(1e-5, 1e-3)", "optim.warmup": "uniform(0, 0.1)"})


def test_what_was_drawn_takes_the_place_of_a_space() -> None:
    given = {"optim.lr": "loguniform(1e-5, 1e-3)", "optim.warmup": "uniform(0, 0.2)", "optim.patience": 3}
    config = resolve("medium_quality", given, drawn=Drawn("trial 3", {"optim.lr": 1e-4}))
    assert config.optim.lr == 1e-4
    assert config.provenance["optim.lr"] == "search: trial 3, loguniform(1e-5, 1e-3)"
    assert config.optim.warmup == resolve("medium_quality").optim.warmup  # left out
    assert config.provenance["optim.warmup"] == resolve("medium_quality").provenance["optim.warmup"]
    assert config.provenance["optim.patience"] == "user"
    assert "1 by the user, 1 by a search" in repr(config)
    again = type(config).from_yaml(config.to_yaml())
    assert again.provenance["optim.lr"] == config.provenance["optim.lr"]


def test_presets_hold_values(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("optim:\n  lr: loguniform(1e-5, 1e-3)\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="Spaces are for hyperparameters"):
        read_preset(file)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(
        ["uniform(0.25, 2)", "uniform(0, 1, step=0.3)", "loguniform(0.25, 4)", "int(2, 9)", "int(1, 8, step=3)"]
    ),
    st.floats(-20, 20) | st.none() | st.booleans() | st.integers(-20, 20),
)
def test_the_nearest_value_is_in_the_space(text: str, value: Any) -> None:
    key = KEYS["optim.max_epochs" if text.startswith("int") else "optim.weight_decay"]
    found = read_space(key, text)
    assert found is not None
    nearest = found.nearest(value)
    assert found.low <= nearest <= found.high
    steps = (nearest - found.low) / (found.step or 1)
    assert not found.step or abs(steps - round(steps)) < 1e-9
    if isinstance(value, float | int) and not isinstance(value, bool) and found.low <= value <= found.high:
        assert abs(nearest - value) <= (found.step or (1 if found.kind == "int" else 0))
    assert found.value(nearest) == nearest
