"""Options that a fit does not read: an error where they were set by hand, else a note."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thermocline.config import ResolvedConfig, check_read, reads_of, resolve, schema_of
from thermocline.errors import ConfigError
from thermocline.registry import find_problem, input_infos, problem_infos

INPUTS = {one.name: one for one in input_infos()}


def checked(problem_type: str, inputs: str, config: ResolvedConfig) -> tuple[str, ...]:
    kinds = [INPUTS[name] for name in inputs.split()]
    return check_read(config, reads_of(find_problem(problem_type), kinds, problem_type))


def names_read(problem_type: str, inputs: str) -> frozenset[str]:
    return reads_of(find_problem(problem_type), [INPUTS[name] for name in inputs.split()], problem_type).names


def test_every_option_is_read_by_a_kind() -> None:
    read: set[str] = set()
    for problem in problem_infos():
        read |= reads_of(problem, [INPUTS[name] for name in problem.inputs]).names
    assert read == set(schema_of().keys)


def test_what_a_kind_reads_outside_its_own_options() -> None:
    table, text, image = (names_read("binary", name) for name in ("table", "text", "image"))
    boxes, several = names_read("object_detection", ""), names_read("binary", "text table")
    for name, read in {
        "optim.lr": "table text image boxes several",
        "optim.head_init": "table text image several",
        "model.peft": "table text image several",
        "model.fusion.width": "several",
        "model.conv_bn": "image",
        "env.compile": "text image several",
        "env.cache_images": "image boxes",
        "env.micro_batch_tokens": "text several",
        "data.image_folder": "image boxes",
        "data.max_unreadable_images": "image boxes",
        "data.max_categories": "table several",
        "data.box_format": "boxes",
        "model.detector.size": "boxes",
        "model.image.size": "image",
    }.items():
        kinds = {"table": table, "text": text, "image": image, "boxes": boxes, "several": several}
        assert {kind for kind, names in kinds.items() if name in names} == set(read.split()), name


@pytest.mark.parametrize(
    ("problem_type", "inputs", "given", "says"),
    [
        (
            "regression",
            "table",
            {"optim.label_smoothing": 0.1},
            "optim.label_smoothing is set to 0.1 and has no effect: regression does not read it, but binary, "
            "multiclass or multilabel does. Leave it out.",
        ),
        ("binary", "image", {"model.detector.size": 64}, "binary does not read it, but object_detection does. Leave"),
        ("object_detection", "", {"model.image.size": 64}, "Leave it out, or set model.detector.size."),
        ("object_detection", "", {"model.peft": "lora"}, "for text and image backbones, not for detectors"),
        ("object_detection", "", {"env.compile": True}, "their losses match boxes outside of torch"),
        ("object_detection", "", {"optim.label_smoothing": 0.1}, "which bring a loss of their own"),
        ("object_detection", "", {"env.micro_batch_tokens": 64}, "object_detection does not read it. Leave it out."),
        ("object_detection", "", "model.conv_bn=on", "object_detection does not read it. Leave it out."),
    ],
)
def test_what_was_set_by_hand_and_is_not_read_is_an_error(
    problem_type: str, inputs: str, given: Any, says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(problem_type, inputs, resolve(None, given))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "given", "says"),
    [
        ("text", {"model.image.size": 64}, "there is no column of type image. Leave it out, or see the"),
        ("table", {"env.compile": True}, "there is no column of type text or image."),
        ("table", {"model.fusion.width": 8}, "all columns are of one kind of input, and nothing is joined"),
        ("text", {"data.max_categories": 8}, "there is no column of type numeric or categorical."),
    ],
)
def test_what_other_columns_would_read_is_a_note(inputs: str, given: dict[str, Any], says: str) -> None:
    (note,) = checked("binary", inputs, resolve(None, given))
    assert note.startswith(f"{next(iter(given))} is set to ")
    assert says in note


def test_all_of_it_is_in_one_error() -> None:
    given = {"model": {"detector": {"size": 64}}, "optim.lr_mult": 3, "optim.label_smoothing": 0.1, "optim.lr": 1e-3}
    with pytest.raises(ConfigError, match="2 faults in hyperparameters") as caught:
        checked("regression", "table", resolve(None, given))
    assert all(f"- {name} is set to" in str(caught.value) for name in ("model.detector.size", "optim.label_smoothing"))
    assert "optim.lr is" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"optim.lr_mult": 3},
            "optim.lr_mult is set to 3.0 and has no effect: it is read with optim.lr_choice=two_stage only, and "
            "optim.lr_choice is layerwise_decay. Leave it out, or set optim.lr_choice=two_stage.",
        ),
        ({"optim.lr_decay": 0.5, "optim.lr_choice": "single_lr"}, "with optim.lr_choice=layerwise_decay only"),
        ({"model.lora_rank": 4}, "it is read with model.peft=lora only, and model.peft is null"),
        ({"model.lora_alpha": 4, "model.peft": "ia3"}, "model.peft is ia3"),
        ({"optim.warmup": 0.2, "optim.lr_schedule": "one_cycle"}, "not read with optim.lr_schedule=one_cycle. Leave"),
        ({"env.checkpoints_kept": 5, "env.checkpoint_every": 0}, "not read with env.checkpoint_every=0"),
        ({"optim.top_k": 1, "optim.top_k_average": "uniform_soup"}, "not read with optim.top_k=1. Leave it out, or ch"),
        ({"model.image.augment": "none", "model.image.augment_views": 2}, "not read with model.image.augment=none"),
    ],
)
def test_what_another_option_keeps_from_being_read_is_a_note(given: dict[str, Any], says: str) -> None:
    (note,) = checked("binary", "text image", resolve(None, given))
    assert says in note


@pytest.mark.parametrize(
    "given",
    [
        {"optim.lr_mult": 3, "optim.lr_choice": "two_stage"},
        {"model.lora_rank": 4, "model.peft": "lora"},
        {"optim.lr_schedule": "linear", "optim.schedule_plan": "fine_tune"},
        {"optim.top_k": 1, "optim.top_k_average": "best"},  # the same with and without the other
        {"optim.label_smoothing": 0.0, "model.detector.size": None, "env.compile": False},
        {"optim.label_smoothing": 0.1, "optim.head_init": "random"},
    ],
)
def test_what_has_an_effect_or_changes_nothing_is_allowed(given: dict[str, Any]) -> None:
    assert checked("binary", "text image", resolve(None, given)) == ()


def test_a_value_is_compared_with_what_it_would_be_otherwise() -> None:
    checked("object_detection", "", resolve("detection_medium", {"optim.head_init": "random"}))
    with pytest.raises(ConfigError, match=r"optim\.head_init is set to probe .* no linear probe"):
        checked("object_detection", "", resolve("detection_medium", {"optim.head_init": "probe"}))
    assert checked("binary", "table", resolve("high_quality", {"model.image.augment": "standard"})) == ()
    (note,) = checked("binary", "table", resolve("high_quality", {"model.image.augment": "light"}))
    assert note.startswith("model.image.augment is set to light and has no effect: there is no column of type image")


def test_presets_and_files_are_shared_so_they_get_a_note(tmp_path: Path) -> None:
    for name in ("default", "two_stage"):
        assert checked("binary", "table", resolve(name)) == ()
    assert checked("object_detection", "", resolve("detection_high")) == ()
    assert checked("binary", "table", resolve("offline")) == ()  # other columns read them
    (note,) = checked("object_detection", "", resolve("offline"))
    assert note.startswith("preset offline sets options that have no effect here: model.text.checkpoint, ")
    path = tmp_path / "mine.yaml"
    path.write_text("optim: {label_smoothing: 0.1, lr: 1e-3}\nmodel.image.size: 64\n", encoding="utf-8")
    assert checked("regression", "image", resolve(None, path)) == (
        "file mine.yaml sets options that have no effect here: optim.label_smoothing",
    )
    with pytest.raises(ConfigError, match=r"label_smoothing is set to 0\.2"):
        checked("regression", "image", resolve(None, [path, "optim.label_smoothing=0.2"]))


def test_what_the_program_chose_is_not_checked() -> None:
    config = resolve(None, {"model.image.size": 64}).choose("model.image.size", 32, "small images")
    assert checked("binary", "table", config) == ()
