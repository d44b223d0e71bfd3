"""Tokens know their characters; long texts are read by windows, and each token is decided once."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from support.marked_texts import make_marked, save_tiny, tiny
from thermocline import Predictor
from thermocline.data.columns import Column
from thermocline.errors import CheckpointError
from thermocline.inputs.text.tokenizer import load_tokenizer, train_tokenizer
from thermocline.problems.token_classification.input import TokenProcessor
from thermocline.problems.token_classification.rows import IGNORED, off_borders, tags_of
from thermocline.problems.token_classification.spans import Span, Spans
from thermocline.problems.token_classification.windows import check_fast, tokenized, windows_of

COLUMNS = (Column("text", "text", form="text"),)


@pytest.fixture(scope="module")
def bytes_tokenizer():
    return train_tokenizer(make_marked(100)["text"], most=300)


def processor(tokenizer, length) -> TokenProcessor:
    return TokenProcessor(tokenizer, COLUMNS, join="names", max_length=length)


@pytest.mark.parametrize(
    ("count", "room", "stride"), [(0, 5, 2), (5, 5, 2), (6, 5, 2), (100, 7, 3), (50, 10, 0), (9, 4, 3)]
)
def test_windows_cover_a_text_and_each_token_is_decided_once(count, room, stride):
    windows = list(windows_of(count, room, stride))
    assert [token for one in windows for token in range(one.first, one.last)] == list(range(count))
    for one in windows:
        assert one.start <= one.first <= one.last <= one.end <= count
        assert one.end - one.start <= room
    for left, right in itertools.pairwise(windows):
        assert left.end - right.start >= stride
        for token in range(right.start, left.end):  # the window in which it is most inside
            inside = [min(token - one.start, one.end - 1 - token) for one in (left, right)]
            decided = 0 if token < left.last else 1
            assert inside[decided] >= inside[1 - decided] - 1


@pytest.mark.parametrize(
    "text", ["Ada  saw\r\nOslo", " Ada", "👩‍🚀 flew to Zürich", "e\u0301te\u0301 Ada", "x", "北京 Ada\t.", "𝒳 is 𐍈"]
)
def test_offsets_are_python_characters_without_leading_spaces(bytes_tokenizer, text):
    (tokens,) = tokenized(bytes_tokenizer, [text])
    covered = set()
    for start, end in tokens.offsets.tolist():
        piece = text[start:end]
        assert piece == piece.strip()
        covered |= set(range(start, end))
    assert covered == {place for place, char in enumerate(text) if not char.isspace()}


def test_every_token_of_an_entity_is_tagged_and_blanks_are_not(bytes_tokenizer):
    text = "Ada Oslo\r\n\r\nLima x"
    (tokens,) = tokenized(bytes_tokenizer, [text])
    tags = tags_of(tokens, [Span(0, 3, "per"), Span(4, 16, "loc")], {"per": 0, "loc": 1})
    for (start, end), tag in zip(tokens.offsets.tolist(), tags.tolist(), strict=True):
        expected = IGNORED if start == end else {0: 1, 4: 3}.get(start, 2 if start < 3 else 4 if start < 16 else 0)
        assert tag == expected, text[start:end]
    assert tags_of(tokens, [Span(0, 3, "new")], {})[0] == IGNORED  # it has no part in the loss


def test_an_entity_that_begins_inside_a_token_marks_the_whole_token(bytes_tokenizer):
    text = "the house"
    (tokens,) = tokenized(bytes_tokenizer, [text])
    inside = Span(6, 9, "a")  # "use"
    tags = tags_of(tokens, [inside], {"a": 0})
    marked = tokens.offsets[tags > 0]
    assert marked[0, 0] < 6
    assert off_borders([tokens], Spans(((inside,),))) == 1
    assert off_borders([tokens], Spans(((Span(4, 9, "a"),),))) == 0


def test_labels_of_long_texts_are_never_lost(bytes_tokenizer):
    frame = make_marked(3, words=60)
    spans = Spans(tuple(tuple(Span(**one) for one in row) for row in frame["entities"]))
    made = processor(bytes_tokenizer, 16)
    rows = made.rows(frame).with_tags(spans, ["city", "person"])
    assert len(rows) > len(frame)
    tags = np.concatenate([one[one != IGNORED] for one in rows.tags])
    whole = made.rows(frame)
    real = sum(int(one.real.sum()) for one in whole.tokens)
    assert len(tags) == real
    assert (tags % 2 == 1).sum() == sum(map(len, spans.rows))
    batch = rows.batch(np.arange(len(rows)))
    assert batch["tags"].shape == batch["input_ids"].shape
    assert (batch["tags"][batch["attention_mask"] == 0] == IGNORED).all()
    assert rows.unlabelled().batch(np.arange(2)).keys() == {"input_ids", "attention_mask"}
    assert list(rows.identity(files=True)) != list(rows.unlabelled().identity(files=True))


def test_long_documents_from_end_to_end(tmp_path):
    folder = save_tiny(tmp_path / "m", places=40)
    frame = make_marked(24, words=90)
    given = tiny(folder, **{"optim.max_epochs": 4, "model.entities.stride": 6})
    made = Predictor("entities", "ner", verbosity=0).fit(frame, hyperparameters=given)
    assert "read by windows" in str(made.config.provenance["model.text.max_length"])
    assert made.evaluate(frame)["entity_f1"] > 0.8
    found = made.predict(frame)
    assert len(found) == len(frame)
    assert max(one["end"] for row in found for one in row) > 250
    view = str(made.show_batch(frame, n=1))
    assert "windows" in view


def test_a_slow_tokenizer_is_an_error():
    class Slow:
        is_fast = False

    with pytest.raises(CheckpointError, match=r"Slow is a slow tokenizer.*tokenizer\.json"):
        check_fast(Slow())


def test_a_frame_without_rows_and_texts_that_are_missing(bytes_tokenizer):
    made = processor(bytes_tokenizer, 16)
    assert len(made.rows(pd.DataFrame({"text": []}))) == 0
    rows = made.rows(pd.DataFrame({"text": ["", "Ada"]}))
    assert next(len(one) for one in rows.tokens) == 0
    assert len(rows) == 2
    assert load_tokenizer  # the same tokenizer is loaded from a folder in the fits
