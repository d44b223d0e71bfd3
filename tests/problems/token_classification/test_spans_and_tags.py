"""Spans, tags and CoNLL files become the same entities."""

import pandas as pd
import pytest

from thermocline.errors import DataError, LabelError
from thermocline.problems.token_classification.conll import read_conll
from thermocline.problems.token_classification.span_cells import read_spans
from thermocline.problems.token_classification.spans import Span, settled
from thermocline.problems.token_classification.tags import joined, tag_spans

ONE = pd.RangeIndex(1)
TOKENS = ["Ada", "Byron", "saw", "Oslo", "Lima"]  # at 0, 4, 10, 14, 19
WHOLE = [Span(0, 9, "per"), Span(14, 18, "loc"), Span(19, 23, "loc")]


@pytest.mark.parametrize(
    "tags",
    [
        "B-per I-per O B-loc B-loc",
        "I-per I-per O I-loc B-loc",  # IOB1
        "B-per E-per O S-loc S-loc",
        "B-per L-per O U-loc U-loc",
        '["B-per", "I-per", "O", "B-loc", "B-loc"]',
        ["B-per", "I-per", "O", "B-loc", "B-loc"],
    ],
)
def test_every_scheme_of_tags(tags):
    assert tag_spans([TOKENS], [tags], "Label", ONE) == [WHOLE]


def test_tags_without_prefixes_are_runs():
    assert tag_spans([TOKENS], ["per per O loc loc"], "Label", ONE) == [[Span(0, 9, "per"), Span(14, 23, "loc")]]


def test_tokens_are_joined_by_spaces_in_python_characters():
    text, offsets = joined(["é", "👩‍🚀", "x"])
    assert [text[a:b] for a, b in offsets] == ["é", "👩‍🚀", "x"]


@pytest.mark.parametrize(
    ("tokens", "tags", "said"),
    [
        (TOKENS, "O O", r"row 0: 2 tags for 5 tokens"),
        (TOKENS, [0, 1, 0, 0, 0], "numbers in the place of tags"),
        (TOKENS, {"a": 1}, "no list of tags"),
        (TOKENS, "B-per person O O O", "'person' is none of O, B-"),
    ],
)
def test_tags_that_cannot_be_read(tokens, tags, said):
    with pytest.raises(LabelError, match=said):
        tag_spans([tokens], [tags], "Label 'tags' of train_data", ONE)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (None, "has no label. Put \\[\\]"),
        (float("nan"), "has no label"),
        ("person", "no list of spans"),
        ([3], "no span"),
        ([{"start": 0, "label": "a"}], "has no 'end'"),
        ([{"start": 0, "end": 2}], "has no 'label'"),
        ([{"start": 0, "end": 2, "label": " "}], "label ' '"),
        ([{"start": 0, "end": 2, "label": ["a"]}], "A label is a text or a number"),
        ([{"start": 0.5, "end": 2, "label": "a"}], "0.5, not a whole number"),
        ([{"start": True, "end": 2, "label": "a"}], "not a whole number"),
        ([{"start": 3, "end": 3, "label": "a"}], "not inside of its text"),
        ([{"start": 0, "end": 99, "label": "a"}], "which has 8 characters"),
        ([{"start": -1, "end": 2, "label": "a"}], "not inside of its text"),
        ([{"start": 0, "end": 3, "label": "a", "text": "Bob"}], "Count characters as Python does, not bytes"),
    ],
)
def test_spans_that_cannot_be_read(cell, said):
    with pytest.raises(LabelError, match=said) as caught:
        read_spans([cell], ["Ada saw."], "Label 'entities' of train_data", pd.Index(["x"]))
    assert "row 0 (index 'x')" in str(caught.value)


def test_json_and_the_other_name_of_the_label():
    cells = ['[{"start": 0, "end": 3, "entity_group": "per", "score": 0.9}]', "[]"]
    assert read_spans(cells, ["Ada saw.", ""], "Label", pd.RangeIndex(2)) == [[Span(0, 3, "per")], []]


def test_overlapping_spans_are_an_error_or_the_longest_is_kept():
    text, own = "the Bank of Norway", [Span(4, 18, "org"), Span(12, 18, "loc"), Span(0, 3, "x")]
    with pytest.raises(LabelError, match=r"\[4, 18\) 'Bank of Norway' as 'org' and \[12, 18\) 'Norway' as 'loc'"):
        settled([own], [text], "Label 'e'", ONE, longest=False)
    kept = settled([own], [text], "Label 'e'", ONE, longest=True)
    assert kept.rows == ((Span(0, 3, "x"), Span(4, 18, "org")),)
    assert "1 span left out" in kept.notes[0]


def test_white_space_at_the_ends_is_no_part_of_an_entity():
    found = settled([[Span(0, 6, "a")]], [" Ada \r\n"], "Label", ONE, longest=False)
    assert found.rows == ((Span(1, 4, "a"),),)
    assert "white space" in found.notes[0]
    with pytest.raises(LabelError, match="white space alone"):
        settled([[Span(4, 6, "a")]], [" Ada \r\n"], "Label", ONE, longest=False)


def test_a_conll_file(tmp_path):
    file = tmp_path / "a.conll"
    file.write_bytes("﻿-DOCSTART- -X- O\n\n# id 7\nAda NNP B-per\r\n# NN O\n\n\nNA\tO\nOslo\tB-loc".encode())
    tokens, tags = read_conll(file)
    assert tokens == [["Ada", "#"], ["NA", "Oslo"]]
    assert tags == [["B-per", "O"], ["O", "B-loc"]]
    file.write_text("Ada B-per\nOslo\n")
    with pytest.raises(LabelError, match="line 2: 'Oslo' has a token and no tag"):
        read_conll(file)
    file.write_text("\n\n")
    with pytest.raises(DataError, match="no sentence"):
        read_conll(file)
    with pytest.raises(DataError, match="does not exist"):
        read_conll(tmp_path / "b.conll")
