"""Text columns become token ids: joined, cut fairly, padded on the right."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermocline.data.columns import Column
from thermocline.inputs.text.processor import LONGEST, TextProcessor, choose_max_length
from thermocline.inputs.text.rows import LEAST
from thermocline.inputs.text.standalone import fair_share
from thermocline.inputs.text.tokenizer import train_tokenizer

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "title", "body"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([" ".join(WORDS)] * 5, most=400)


def columns(*names):
    return [Column(name, "text", form="text") for name in names]


def made(tokenizer, names=("title", "body"), **options):
    return TextProcessor(tokenizer, columns(*names), **{"join": "names", "max_length": 64, **options})


def decoded(processor, row):
    return processor.tokenizer.decode(row, skip_special_tokens=False)


def test_one_column_is_just_its_text(tokenizer):
    processor = made(tokenizer, ("title",))
    rows = processor.rows(pd.DataFrame({"title": ["the fox"]}))
    assert rows.ids[0].tolist() == tokenizer("the fox")["input_ids"]


def test_names_tell_columns_apart(tokenizer):
    processor = made(tokenizer)
    row = processor.rows(pd.DataFrame({"title": ["fox"], "body": ["lazy dog"]})).ids[0]
    text = decoded(processor, row)
    assert text.index("title: fox") < text.index("[SEP]") < text.index("body: lazy dog")


def test_a_missing_value_leaves_its_name_out(tokenizer):
    processor = made(tokenizer)
    row = processor.rows(pd.DataFrame({"title": [None], "body": ["dog"]})).ids[0]
    assert "title" not in decoded(processor, row)
    assert "body: dog" in decoded(processor, row)


def test_with_separators_every_column_keeps_its_place(tokenizer):
    processor = made(tokenizer, join="separator")
    frame = pd.DataFrame({"title": ["fox", None, "fox"], "body": ["dog", "dog", None]})
    full, no_title, no_body = [row.tolist() for row in processor.rows(frame).ids]
    sep, fox, dog = tokenizer.sep_token_id, tokenizer("fox").input_ids[1:-1], tokenizer("dog").input_ids[1:-1]
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert full == [first, *fox, sep, *dog, last]
    assert no_title == [first, sep, *dog, last]
    assert no_body == [first, *fox, sep, last]


@pytest.mark.parametrize("join", ["names", "separator"])
def test_all_values_missing_is_still_a_row(tokenizer, join):
    rows = made(tokenizer, join=join).rows(pd.DataFrame({"title": [None, ""], "body": [np.nan, "  "]}))
    assert (rows.lengths > 0).all()
    assert rows.ids[0].tolist() == rows.ids[1].tolist()


def test_the_longest_column_is_cut_first(tokenizer):
    processor = made(tokenizer, join="separator", max_length=16)
    row = processor.rows(pd.DataFrame({"title": ["the fox"], "body": ["lazy dog " * 50]})).ids[0].tolist()
    assert len(row) == 16
    title = tokenizer("the fox").input_ids[1:-1]
    assert row[1 : 1 + len(title)] == title  # whole
    assert row[-1] == tokenizer.sep_token_id  # the end mark survives the cut


def test_two_long_columns_share_the_room(tokenizer):
    processor = made(tokenizer, join="separator", max_length=21)
    row = processor.rows(pd.DataFrame({"title": ["the " * 50], "body": ["dog " * 50]})).ids[0].tolist()
    middle = row.index(tokenizer.sep_token_id)
    assert middle - 1 == len(row) - middle - 2 == 9


@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.integers(6, 80))
def test_fair_share_is_the_level_of_water(lengths, room):
    shares = fair_share(lengths, room)
    assert all(0 <= share <= length for share, length in zip(shares, lengths, strict=True))
    assert sum(shares) <= room
    if sum(lengths) <= room:
        assert shares == lengths
    else:
        assert room - sum(shares) < len(lengths)  # nothing is wasted but a remainder
        cut = [s for s, n in zip(shares, lengths, strict=True) if s < n]
        whole = [s for s, n in zip(shares, lengths, strict=True) if s == n]
        assert max(cut) - min(cut) <= 1
        assert max(whole, default=0) <= max(cut) + 1  # the remainder goes to the longest


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), max_size=40), min_size=3, max_size=3),
    st.integers(8, 40),
    st.sampled_from(["names", "separator"]),
)
def test_no_row_is_longer_than_allowed(tokenizer, words, most, join):
    frame = pd.DataFrame({"a": [" ".join(words[0])], "b": [" ".join(words[1])], "c": [" ".join(words[2])]})
    rows = made(tokenizer, ("a", "b", "c"), join=join, max_length=most).rows(frame)
    assert 1 <= rows.lengths[0] <= most


@pytest.mark.parametrize("long", [4, 30])
def test_batches_are_padded_on_the_right_to_the_longest(tokenizer, long):
    rows = made(tokenizer, ("t",)).rows(pd.DataFrame({"t": ["fox", "the quick brown fox " * long, None]}))
    batch = rows.batch(np.array([1, 0, 2]))
    assert batch["input_ids"].shape == (3, max(LEAST, rows.lengths.max()))
    assert batch["attention_mask"].sum(axis=1).tolist() == rows.lengths[[1, 0, 2]].tolist()
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        assert (np.diff(mask) <= 0).all()
        assert (ids[mask == 0] == tokenizer.pad_token_id).all()


@pytest.mark.parametrize(("most", "width"), [(8, 8), (16, 16), (64, LEAST)])
def test_short_batches_are_as_wide_as_kernels_need_and_the_model_takes(tokenizer, most, width):
    rows = made(tokenizer, ("t",), max_length=most).rows(pd.DataFrame({"t": ["fox", "the dog"]}))
    assert rows.batch(np.array([0]))["input_ids"].shape == (1, width)
    assert rows.widths.tolist() == [width, width]


def test_a_model_that_looks_at_padding_gets_one_width(tokenizer):
    rows = made(tokenizer, ("t",), pad_to_longest=False).rows(pd.DataFrame({"t": ["fox", "the quick fox"]}))
    assert rows.batch(np.array([0]))["input_ids"].shape == rows.batch(np.array([1]))["input_ids"].shape == (1, 64)


def test_no_rows_are_no_rows(tokenizer):
    assert len(made(tokenizer).rows(pd.DataFrame({"title": [], "body": []}))) == 0


def test_numbers_and_categories_can_be_read_as_text(tokenizer):
    processor = made(tokenizer, ("t",))
    rows = processor.rows(pd.DataFrame({"t": [12, 3]}))
    assert "12" in decoded(processor, rows.ids[0])


def test_json_round_trip(tokenizer):
    processor = made(tokenizer, join="separator", max_length=9)
    again = TextProcessor.from_dict(json.loads(json.dumps(processor.to_dict())), tokenizer)
    frame = pd.DataFrame({"title": ["the fox jumps"], "body": ["over a lazy dog"]})
    np.testing.assert_array_equal(processor.rows(frame).ids[0], again.rows(frame).ids[0])


@pytest.mark.parametrize(
    ("lengths", "limit", "chosen"),
    [
        ([5] * 100, 512, 16),
        ([100] * 100, 512, 104),
        ([3000] * 100, 8192, LONGEST),
        ([600] * 10, 128, 128),
        ([], 128, 128),
    ],
)
def test_the_length_is_chosen_from_data_and_model(lengths, limit, chosen):
    length, why = choose_max_length(np.array(lengths, dtype=np.int64), limit)
    assert length == chosen
    assert "%" in why


def test_the_choice_says_how_many_rows_are_cut():
    _, why = choose_max_length(np.array([10] * 999 + [500]), 512)
    assert "1 row" in why


def test_a_loaded_processor_pads_as_the_fitted_one(tokenizer):
    frame = pd.DataFrame({"title": ["the fox", "a dog"]})
    fitted = made(tokenizer, ("title",), max_length=8, most=64)
    loaded = TextProcessor.from_dict(json.loads(json.dumps(fitted.to_dict())), tokenizer)
    widths = [processor.rows(frame).batch(np.array([0, 1]))["input_ids"].shape[1] for processor in (fitted, loaded)]
    assert widths == [LEAST, LEAST]


def test_a_processor_saved_without_the_models_limit_pads_to_max_length(tokenizer):
    saved = made(tokenizer, ("title",), max_length=8, most=64).to_dict()
    saved.pop("most", None)  # the former version wrote none
    rows = TextProcessor.from_dict(saved, tokenizer).rows(pd.DataFrame({"title": ["the fox"]}))
    assert rows.batch(np.array([0]))["input_ids"].shape[1] == 8
