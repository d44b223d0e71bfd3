"""Tokens hidden in training: a function of seed, epoch and row; never special ones, never at prediction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.stopping import killed_before
from support.tiny import TINY, make_texts, told
from thermocline import Predictor
from thermocline.errors import ConfigError
from thermocline.inputs.text.rows import Hiding, TextRows
from thermocline.inputs.text.tokenizer import hiding_token

HIDDEN, SPECIAL = 4, (0, 1, 2, 3, 4)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), epoch=st.integers(0, 50), rows=st.lists(st.integers(0, 39), min_size=1, max_size=8))
def test_what_is_hidden_is_a_function_of_seed_epoch_and_row(seed, epoch, rows):
    random = np.random.default_rng(7)
    ids = tuple(random.integers(0, 90, size=random.integers(1, 40), dtype=np.int32) for _ in range(40))
    hiding = Hiding(0.3, HIDDEN, SPECIAL, seed)
    part = TextRows(ids, 0, hiding=hiding)
    together = part.batch(np.array(rows), epoch)["input_ids"]
    for place, row in enumerate(rows):
        alone = part.batch(np.array([row]), epoch)["input_ids"][0]
        assert np.array_equal(alone[: len(ids[row])], together[place, : len(ids[row])])
        special = np.isin(ids[row], SPECIAL)
        assert np.array_equal(alone[: len(ids[row])][special], ids[row][special])
    plain = part.batch(np.array(rows))["input_ids"]
    assert np.array_equal(plain, TextRows(ids, 0).batch(np.array(rows))["input_ids"])


def test_about_the_share_is_hidden_and_other_tokens_every_epoch():
    ids = tuple(np.full(100, 50, dtype=np.int32) for _ in range(50))
    part = TextRows(ids, 0, hiding=Hiding(0.2, HIDDEN, SPECIAL, 1))
    first, second = (part.batch(np.arange(50), epoch)["input_ids"][:, :100] == HIDDEN for epoch in (0, 1))
    assert first.mean() == pytest.approx(0.2, abs=0.02)
    assert 0.02 < (first & second).mean() < 0.06
    assert not np.array_equal(first[0], first[1])


def test_a_fit_that_was_stopped_ends_as_one_that_was_not(text_folder, tmp_path):
    frame = make_texts(40)
    given = {**TINY, "model.text.checkpoint": str(text_folder), "model.text.token_dropout": 0.4, "optim.lr": 0.01}
    given |= {"env.checkpoint_every": 1, "optim.head_init": "random", "model.tfidf": "off"}
    whole = Predictor("y", path=tmp_path / "whole", verbosity=0).fit(frame, hyperparameters=given)
    with killed_before(3):
        Predictor("y", path=tmp_path / "again", verbosity=0).fit(frame, hyperparameters=given)
    Predictor("y", path=tmp_path / "again", verbosity=0).fit(frame, hyperparameters=given, resume=True)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "again"))
    assert one == two
    plain = Predictor("y", verbosity=0).fit(frame, hyperparameters={**given, "model.text.token_dropout": 0})
    losses = [fit.history["train_loss"].dropna().tolist() for fit in (whole, plain)]
    assert losses[0] != losses[1]


def test_frozen_layers_are_not_cached_where_tokens_are_hidden(text_folder):
    given = {
        **TINY,
        "model.text.checkpoint": str(text_folder),
        "model.text.token_dropout": 0.4,
        "optim.cache_prefix": "memory",
    }
    given |= {"model.frozen_layers": "backbone", "model.tfidf": "off"}
    notes = Predictor("y", verbosity=0).fit(make_texts(40), hyperparameters=given).history["note"]
    assert notes.str.contains("other tokens are hidden every epoch").any()


def test_a_tokenizer_without_such_a_token():
    class Bare:
        mask_token_id = unk_token_id = None

    assert "token_dropout" in told(ConfigError, ValueError, lambda: hiding_token(Bare()))
