"""Options are found by name, section, pattern, word and by the names of others; what is said of each is true."""

from __future__ import annotations

import pytest

import thermocline
from thermocline.config import reads_of, schema_of
from thermocline.config.lookup import conditions, example, find_options, list_options, read_by, set_by_presets
from thermocline.config.overrides import read_overrides
from thermocline.config.values import convert, parse
from thermocline.errors import ConfigError
from thermocline.registry import input_infos, problem_infos

SCHEMA = schema_of()
KEYS = SCHEMA.keys


def paths(pattern: str) -> list[str]:
    return [key.path for key in find_options(pattern).keys]


def test_all_options_are_listed_in_their_order():
    assert [key.path for key in find_options().keys] == list(KEYS)


@pytest.mark.parametrize("pattern", ["optim.lr_decay", "OPTIM.LR_DECAY", " optim.lr_decay= ", "lr_decay"])
def test_a_name_is_found_in_any_case_and_without_its_section(pattern):
    found = find_options(pattern)
    assert [key.path for key in found.keys] == ["optim.lr_decay"]
    assert found.exact
    assert not found.note


def test_sections_patterns_and_words():
    assert paths("model.text") == paths("model.text.") == [path for path in KEYS if path.startswith("model.text.")]
    assert (
        paths("*.frozen_layers") == paths("frozen_layers") == [path for path in KEYS if path.endswith("frozen_layers")]
    )
    assert paths("lr_[dm]*") == ["optim.lr_decay", "optim.lr_min_scale", "optim.lr_mult"]
    assert paths("lora") == ["model.peft", "model.lora_rank", "model.lora_alpha"]  # a value, and names
    assert paths("Weight DECAY") == ["optim.weight_decay", "optim.parameter_rules"]  # all words, anywhere
    assert "model.text.max_length" in paths("tokens")
    assert not find_options("size").exact


def test_a_name_of_another_trainer_finds_ours_and_says_so():
    found = find_options("per_device_train_batch_size")
    assert [key.path for key in found.keys] == ["env.batch_size"]
    assert found.exact
    assert found.note.startswith("'per_device_train_batch_size': it is called 'env.batch_size' here. That is rows per")
    found = find_options("epochs")  # of others, and a word
    assert found.keys[0].path == "optim.max_epochs"
    assert len(found.keys) > 1
    assert not found.exact
    assert "fit(train_data" in find_options("unfreeze").note  # a method of fastai


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("optim.lr_decy", "Did you mean 'optim.lr_decay'"),
        ("zzz", "`thermocline options` lists all"),
        ("optim.zzz*", "No option has 'optim.zzz*'"),
        ("num_gpus", "there is no such option: one device is used"),
        ("lr_find", "here: `fit(train_data)` chooses"),
        ("", "a text that is not empty"),
        (3, "not 3"),
    ],
)
def test_nothing_found_is_an_error_that_helps(pattern, words):
    with pytest.raises(ConfigError) as caught:
        find_options(pattern)
    assert words in str(caught.value)


def test_the_frame_has_a_row_for_each():
    frame = thermocline.list_options()
    assert list(frame.columns) == ["name", "default", "allowed", "doc", "read_by"]
    assert list(frame["name"]) == list(KEYS)
    row = list_options("optim.lr_decay").iloc[0]
    assert row["default"] == 0.9
    assert row["allowed"] == KEYS["optim.lr_decay"].allowed
    assert frame.set_index("name")["default"]["model.frozen_layers"] is None


def test_who_reads_an_option_is_what_fits_go_by():
    for info in problem_infos():
        for problem_type in info.problem_types:
            with_all = [one for one in input_infos() if one.name in info.inputs]
            alone = reads_of(info, [], problem_type).names
            for path, key in KEYS.items():
                words = read_by(key)
                read = path in alone
                by_type = words.startswith("every fit") or problem_type in words.split("problems")[0]
                assert by_type == read, (problem_type, path, words)
            for one in with_all:
                for path in reads_of(info, [one], problem_type).names - alone:
                    assert f"fits with {' or '.join(one.column_types)} columns" in read_by(KEYS[path]), path
            if len(with_all) > 1:
                joined = reads_of(info, with_all, problem_type).names
                apart = frozenset().union(*(reads_of(info, [one], problem_type).names for one in with_all))
                assert {read_by(KEYS[path]) for path in joined - apart} <= {"fits with several kinds of columns"}
    assert read_by(KEYS["model.fusion.width"]) == "fits with several kinds of columns"
    assert all(read_by(key) for key in KEYS.values())


def test_conditions_are_in_words():
    assert conditions(KEYS["model.lora_rank"]) == "only with model.peft=lora"
    assert conditions(KEYS["optim.warmup"]) == "not with optim.lr_schedule=one_cycle"
    assert conditions(KEYS["optim.lr"]) == ""


@pytest.mark.parametrize("path", [path for path in KEYS if path != "optim.phases"])
def test_the_example_of_an_option_can_be_written(path):
    key = KEYS[path]
    line, python = example(key)
    assert line, "its default is null: give it an example, option(None, …, example=…)"
    written = line.removeprefix("--set ").strip('"')
    given = eval(python.removeprefix("hyperparameters="))
    assert parse(key, written.partition("=")[2]) == convert(key, given[path])
    assert not read_overrides(given, SCHEMA).faults
    assert not read_overrides([written], SCHEMA).faults


def test_presets_that_set_an_option_are_named():
    found = {"detection_medium": "two_stage", "linear_probe": "single_lr", "segmentation_medium": "two_stage"}
    found["two_stage"] = "two_stage"
    assert set_by_presets(KEYS["optim.lr_choice"]) == found
