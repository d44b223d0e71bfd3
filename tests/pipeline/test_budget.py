"""Tests of fits within an amount of memory."""

import re

import pandas as pd
import pytest

from support.tiny import TINY, make_table, save_text
from thermocline import Predictor
from thermocline.efficiency.costs.live_bytes import beyond_base
from thermocline.errors import ConfigError, NotEnoughMemoryError
from thermocline.pipeline.arguments import memory_of


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A BERT whose activations outweigh its weights."""
    return save_text(
        tmp_path_factory.mktemp("checkpoints") / "wide",
        "bert",
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=512,
        max_position_embeddings=512,
    )


@pytest.fixture(scope="module")
def long_texts():
    words = ["red", "green", "blue", "stone", "river", "cloud", "tree", "house"]
    texts = [" ".join(words[(row * 7 + at * (row % 3 + 1)) % 8] for at in range(200)) for row in range(48)]
    return pd.DataFrame({"text": texts, "y": [row % 2 for row in range(48)]})


def options(folder, **more):
    return {**TINY, "model.text.checkpoint": str(folder), "env.batch_size": 32, "model.text.max_length": 60, **more}


RECOMMENDED = {}


def recommended(frame, folder, memory, **more):
    """A recommendation for the one frame there is, made once; one that is not possible raises each time."""
    given = options(folder, **more)
    key = memory, repr(sorted(given.items()))
    if key not in RECOMMENDED:
        RECOMMENDED[key] = Predictor("y", verbosity=0).recommend(frame, hyperparameters=given, memory=memory)
    return RECOMMENDED[key]


NEEDED = {}


def needed(frame, folder, **more):
    """What a fit takes at the least; found once."""
    key = repr(sorted(options(folder, **more).items()))
    if key not in NEEDED:
        with pytest.raises(NotEnoughMemoryError) as raised:
            recommended(frame, folder, "1MB", **more)
        assert "memory=1 MB is too little" in str(raised.value)
        NEEDED[key] = int(re.search(r"it takes up to (\d+) MB", str(raised.value))[1])
    return NEEDED[key]


def test_what_costs_no_accuracy_is_changed_first(long_texts, wide):
    free = recommended(long_texts, wide, "8GB")
    assert free["env.micro_batch_size"].value == 32
    assert free["env.micro_batch_size"].source == "rule"
    least = needed(long_texts, wide)
    whole = int(re.search(r"up to (\d+) MB", free.headline)[1])
    assert least < whole
    tight = recommended(long_texts, wide, f"{(whole + least) // 2}MB")
    assert 1 <= tight["env.micro_batch_size"].value < 32
    assert tight["env.micro_batch_size"].source == "measured"
    assert tight["env.micro_batch_size"].alternatives[0].options == {"model.checkpointing": "all"}
    assert "env.precision" not in tight.to_dict() or tight["env.precision"].value == "fp32"
    tighter = recommended(long_texts, wide, f"{least + 1}MB")
    assert "model.checkpointing" in tighter.options
    assert {"model.peft", "model.frozen_layers"} & set(tighter.options)


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    """A BERT whose weights outweigh its activations."""
    return save_text(
        tmp_path_factory.mktemp("checkpoints") / "heavy",
        "bert",
        hidden_size=384,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=1536,
        max_position_embeddings=64,
    )


ONLY_WEIGHTS = {"env.micro_batch_size": 4, "env.eval_batch_size": 4, "env.precision": "fp32"}
ONLY_WEIGHTS |= {"model.checkpointing": None}


def test_adapters_come_before_frozen_blocks(long_texts, heavy):
    given = {**ONLY_WEIGHTS, "model.text.max_length": 16}
    whole = recommended(long_texts, heavy, "8GB", **given)
    full = int(re.search(r"up to (\d+) MB", whole.headline)[1])
    found = recommended(long_texts, heavy, f"{int(0.9 * full)}MB", **given)
    assert found["model.peft"].value == "lora"
    assert found["model.peft"].source == "measured"
    assert "model.frozen_layers" not in found.to_dict()
    assert found["optim.lr"].value > whole["optim.lr"].value  # that of adapters
    assert any("model.frozen_layers" in one.options for one in found["model.peft"].alternatives)
    least = recommended(long_texts, heavy, f"{needed(long_texts, heavy, **given) + 1}MB", **given)
    assert least["model.frozen_layers"].value in ("backbone", ("backbone",))
    assert "model.peft" not in least.to_dict()


@pytest.mark.parametrize("stays", [{"model.peft": None}, {"model.peft": "bitfit"}, {"model.text.pretrained": False}])
def test_adapters_are_not_taken_where(long_texts, heavy, stays):
    given = {**ONLY_WEIGHTS, "model.text.max_length": 16, **stays}
    whole = int(re.search(r"up to (\d+) MB", recommended(long_texts, heavy, "8GB", **given).headline)[1])
    try:
        found = recommended(long_texts, heavy, f"{int(0.9 * whole)}MB", **given).to_dict()
    except NotEnoughMemoryError:
        found = {}
    assert found.get("model.peft") != "lora"


def test_a_fit_with_adapters_for_the_memory_trains_them(long_texts, heavy):
    given = options(heavy, **ONLY_WEIGHTS, **{"model.text.max_length": 16, "optim.max_steps": 2})
    whole = int(re.search(r"up to (\d+) MB", recommended(long_texts, heavy, "8GB", **given).headline)[1])
    predictor = Predictor("y", verbosity=0).fit(long_texts, hyperparameters=given, memory=f"{int(0.9 * whole)}MB")
    assert predictor.config.provenance["model.peft"].startswith("chosen: memory=")
    assert {layer.role for layer in predictor.plan.layers if not layer.frozen} == {"adapter", "head"}


def test_a_fit_uses_the_options_and_says_why(long_texts, wide):
    free = recommended(long_texts, wide, "8GB")
    whole = int(re.search(r"up to (\d+) MB", free.headline)[1])
    predictor = Predictor("y", verbosity=0).fit(long_texts, hyperparameters=options(wide), memory=f"{whole - 20}MB")
    assert predictor.config["env.micro_batch_size"] < 32
    assert predictor.config.provenance["env.micro_batch_size"].startswith("chosen: memory=")
    assert predictor.config["env.cache_memory"] < 0.1
    assert len(predictor.predict(long_texts)) == 48


def test_what_the_user_set_stays(long_texts, wide):
    with pytest.raises(NotEnoughMemoryError, match="too little"):
        recommended(
            long_texts,
            wide,
            f"{needed(long_texts, wide) + 1}MB",
            **{"env.micro_batch_size": 32, "env.precision": "fp32", "model.frozen_layers": "embeddings"},
        )


def test_layers_that_the_user_gave_rates_train_themselves(long_texts, wide):
    memory = f"{needed(long_texts, wide) + 1}MB"
    assert recommended(long_texts, wide, memory).to_dict().keys() & {"model.frozen_layers", "model.peft"}
    with pytest.raises(NotEnoughMemoryError, match="too little"):
        recommended(long_texts, wide, memory, **{"optim.lr": {"backbone": 1e-4}})
    head = recommended(long_texts, wide, memory, **{"optim.lr": {"head": 1e-3}}).to_dict()
    assert head.keys() & {"model.frozen_layers", "model.peft"}


def test_layers_of_a_plan_that_was_given_are_not_frozen(long_texts, wide):
    plan = Predictor("y", verbosity=0).explain(long_texts, hyperparameters=options(wide))
    least = needed(long_texts, wide)
    with pytest.raises(NotEnoughMemoryError, match="too little"):
        Predictor("y", verbosity=0).fit(long_texts, hyperparameters=options(wide), plan=plan, memory=f"{least + 1}MB")


def test_layers_that_are_drawn_count(long_texts, wide):
    drawn = {"optim.schedule_plan": "lisa(n_layers=2, every=2)", "env.micro_batch_size": 32, "env.precision": "fp32"}
    drawn |= {"model.checkpointing": None, "model.frozen_layers": [], "env.eval_batch_size": 8}
    live = recommended(long_texts, wide, "8GB", **drawn).forecast.estimate.live
    whole = beyond_base(live, "cpu") / 1e6
    recommended(long_texts, wide, f"{int(1.03 * whole)}MB", **drawn)  # the forecast and the search count alike
    with pytest.raises(NotEnoughMemoryError):
        recommended(long_texts, wide, f"{int(0.98 * whole)}MB", **drawn)


def test_the_probe_keeps_its_rows(long_texts, wide):
    free = recommended(long_texts, wide, "8GB")
    whole = int(re.search(r"up to (\d+) MB", free.headline)[1])
    tight = recommended(long_texts, wide, f"{whole + 1}MB")
    assert "the probe: of" in free.forecast.start
    assert tight.forecast.start == free.forecast.start


def test_a_limit_that_is_far_away_changes_no_bit():
    frame = make_table(80)
    plain = Predictor("y", verbosity=0).fit(frame, hyperparameters=TINY)
    limited = Predictor("y", verbosity=0).fit(frame, hyperparameters=TINY, memory="8GB")
    assert plain.predict_proba(frame).equals(limited.predict_proba(frame))


@pytest.mark.parametrize("value", ["8 gigs", "8TB", "8", "GB", "-1GB", 0, -5, 1.5, True, "1e9B", float("nan"), 10**40])
def test_amounts_that_are_none(value):
    with pytest.raises(ConfigError, match=r"memory is a number with a unit \(B, KB, MB, GB, GiB\)"):
        memory_of(value)


def test_amounts():
    assert memory_of(None) is None
    assert [memory_of(value) for value in ("8GB", "1.5GiB", " 500 MB", "2KB", "7B", 123)] == [
        8_000_000_000,
        1_610_612_736,
        500_000_000,
        2000,
        7,
        123,
    ]


def test_shorter_texts_are_the_last_resort(long_texts, wide):
    given = {"model.text.max_length": None, "env.micro_batch_size": 32, "env.precision": "fp32"}
    given |= {"model.checkpointing": None, "model.frozen_layers": "embeddings"}
    free = recommended(long_texts, wide, "8GB", **given)
    found = recommended(long_texts, wide, f"{needed(long_texts, wide, **given) + 2}MB", **given)
    assert found["model.text.max_length"].value < free["model.text.max_length"].value
    assert found["model.text.max_length"].source == "measured"
