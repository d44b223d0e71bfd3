"""Names of other trainers: every one has an answer, and the answers are right by the schema."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from thermocline import Predictor
from thermocline.config import resolve, schema_of
from thermocline.config.foreign import FILES, FOLDER, foreign_key, foreign_names
from thermocline.config.foreign_calls import METHODS, foreign_methods
from thermocline.config.foreign_page import page
from thermocline.config.overrides import read_overrides
from thermocline.config.values import convert, parse
from thermocline.errors import ConfigError

SCHEMA = schema_of()
KEYS = SCHEMA.keys
LISTS = Path(__file__).parent / "names_of_others"
ROOT = Path(__file__).parents[2]

SENTENCES = [
    sentence
    for names in foreign_names()
    for sentence in [
        *names.same.values(),
        *(note for _, note in names.called.values()),
        *names.absent.values(),
        *(word for words in names.values.values() for word in words.values()),
    ]
] + list(foreign_methods().values())


def names_in(file: str) -> list[str]:
    return [line for line in (LISTS / file).read_text().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(("file", "count"), [("autogluon.txt", 315), ("transformers.txt", 114)])
def test_every_name_of_a_trainer_is_answered(file, count):
    given = names_in(file)
    names = foreign_names()[FILES.index(file.removesuffix(".txt"))]
    assert len(given) == count
    for name in given:
        if name in KEYS:
            assert name in names.same, name
        else:
            hint = names.hint(name, KEYS)
            assert hint, name
            assert [hint in fault for fault in read_overrides({name: 1}, SCHEMA).faults] == [True]


def test_the_fields_of_the_installed_transformers_are_answered():
    import dataclasses

    from transformers import TrainingArguments, __version__

    if int(__version__.split(".")[0]) < 5:
        pytest.skip("fields that version 5 took away are not answered")
    names = foreign_names()[FILES.index("transformers")]
    assert [item.name for item in dataclasses.fields(TrainingArguments) if not names.hint(item.name, KEYS)] == []


def test_all_files_are_read():
    assert {path.stem for path in FOLDER.iterdir()} == {*FILES, METHODS}


def test_answers_name_options_that_exist():
    for names in foreign_names():
        assert {ours for ours, _ in names.called.values()} <= set(KEYS)
        assert set(names.same) <= set(KEYS)
        assert set(names.sections.values()) <= SCHEMA.sections
    named = {name for text in SENTENCES for name in re.findall(r"\b(?:optim|model|env|data)\.[\w.]*\w", text)}
    assert len(named) > 20
    assert named <= set(KEYS)


def test_answers_name_arguments_that_exist():
    calls = {"Predictor": Predictor.__init__, "fit": Predictor.fit, "evaluate": Predictor.evaluate}
    found = [match for text in SENTENCES for match in re.findall(r"`(\w+)\(([^`]*)\)`", text)]
    assert len(found) > 20
    for name, arguments in found:
        if name in calls:
            given = set(re.findall(r"(\w+)=", re.sub(r"'[^']*'", "", arguments)))
            assert given <= {*inspect.signature(calls[name]).parameters}, (name, arguments)


def test_no_name_is_one_of_ours():
    for names in foreign_names():
        assert not {*names.called, *names.absent} & set(KEYS)
        assert not {*names.called, *names.absent} & SCHEMA.sections - {"optim", "model"}
        assert not set(names.called) & set(names.absent)


def test_values_of_others_are_refused_with_ours():
    for names in foreign_names():
        for path, words in names.values.items():
            for theirs, ours in words.items():
                assert theirs == theirs.lower()
                if " " not in ours:
                    parse(KEYS[path], ours)
                with pytest.raises(ConfigError) as error:
                    convert(KEYS[path], theirs)
                assert ours in str(error.value)


def test_the_page_is_made_from_the_files():
    assert (ROOT / "docs" / "OTHER_NAMES.md").read_text(encoding="utf-8") == page(), (
        "run: python -m thermocline.config.foreign_page docs/OTHER_NAMES.md"
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"trainer.max_epochs": 3}, "'optim.max_epochs'"),
        ({"optim.num-train-epochs": 3}, "it is called 'optim.max_epochs' here"),
        ({"Learning_Rate": 1e-4}, "it is called 'optim.lr' here"),
        ({"env": {"compile": {"mode": "max-autotune"}}}, "`env.compile=true` turns it on"),
        ({"optim": "adamw_torch"}, "it is called 'optim.optimizer' here"),
        ({"model": "bert-base-uncased"}, "it is called 'model.text.checkpoint' here"),
        ({"optim.lr_schedule": "OneCycleLR"}, "What others call 'OneCycleLR' is one_cycle here"),
        ({"optim.lr_schedule": "warmup_stable_decay"}, "What others call 'warmup_stable_decay' is wsd here"),
        ({"optim.optimizer": "rmsprop"}, "give torch's class: {'optim.optimizer': RMSprop}"),
        ({"env.precision": 16}, "What others call 16 is fp16 here"),
        ({"env.loggers": ["all"]}, "name those that you want: csv, tensorboard, mlflow, wandb"),
        ({"model.sam.num_mask_tokens": 1}, "semantic segmentation is not there yet"),
        (["per_device_train_batch_size=8"], "'env.batch_size'"),
    ],
)
def test_names_where_users_put_them(given, words):
    with pytest.raises(ConfigError) as error:
        resolve(None, given)
    assert words in str(error.value)


def test_a_misspelling_of_ours_is_no_foreign_name():
    for name in ("optim.lr_decy", "model.text.poling", "env.batchsize", "data.valid_fractin"):
        assert foreign_key(name, KEYS) == ""
