"""Tables fit the screen, and are HTML in one style."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermocline.report.frames import TextFrame, html_frame
from thermocline.report.screen import columns_of
from thermocline.report.tables import STYLE, html_block, html_lines, html_table, ranges, table

WORDS = st.text("abc é×", max_size=60)


def test_a_table_that_fits_is_aligned() -> None:
    text = table([["a", "1"], ["long name", "12"]], ["name", "n"], right=[1])
    assert text.splitlines() == ["name        n", "a           1", "long name  12"]


@given(st.lists(st.tuples(WORDS, st.integers(0, 10**9).map(str), WORDS), max_size=5), st.integers(60, 130))
def test_no_line_is_wider_than_the_screen_and_no_word_is_lost(rows: list[tuple[str, ...]], columns: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        text = table(rows, ["first", "number of things", "last"], right=[1])
    assert max(map(len, text.splitlines())) <= columns
    assert all(row[1] in text for row in rows)
    kept = "".join(text.split())
    assert all(kept.count(sign) >= sum("".join(row).count(sign) for row in rows) for sign in "bé×")


def test_html_is_escaped_and_numbers_are_on_the_right() -> None:
    html = html_table([["<b>", "1"]], ["name", "n"], right=[1])
    parts = "&lt;b&gt;", "<td class=n align=right>1</td>", "<th class=n align=right>n</th>"
    assert all(part in html for part in parts)


def test_html_has_pictures_in_a_last_column_and_faint_rows() -> None:
    html = html_table([["a"], ["b"]], ["name"], pictures=["<img>", ""], faint=[1])
    assert "<td class=s><div align=left>a</div></td><td><img></td></tr><tr class=f>" in html
    assert html.count("<th") - html.count("<thead") == 2


def test_every_block_has_the_style_once() -> None:
    html = html_block(html_lines(["a < b"], strong=True), html_table([], ["name"]))
    assert html.startswith(STYLE)
    assert html.count("<style>") == 1
    assert "<div><b>a &lt; b</b></div>" in html


def test_a_frame_shows_both_ends_and_nothing_where_nothing_is() -> None:
    short = html_frame(pd.DataFrame({"score": [0.123456, np.nan], "why": [None, "kept"], "step": [1, 2]}))
    number, kept = "<td class=n align=right>", "<td class=s><div align=left>kept</div></td>"
    assert f"<tr>{number}0.1235</td><td></td>{number}1</td></tr>" in short
    assert f"<tr>{number}</td>{kept}{number}2</td></tr>" in short
    long = html_frame(pd.DataFrame({"step": range(100)}))
    assert "100 rows" in long
    assert [f">{step}<" in long for step in (0, 29, 30, 69, 70, 99)] == [True, True, False, False, True, True]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(WORDS, min_size=9, max_size=9), min_size=1, max_size=4),
    st.sets(st.integers(0, 8)),
    st.lists(st.integers(0, 8), unique=True, max_size=4),
    st.integers(60, 130),
)
def test_wide_tables_fit_whatever_is_in_them(
    rows: list[list[str]], right: set[int], spare: list[int], columns: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        text = table(rows, [f"column number {i}" for i in range(9)], right=sorted(right), spare=spare)
    assert max(map(columns_of, text.splitlines())) <= columns


def test_spare_columns_go_before_texts_are_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    rows = [["a" * 25, "b" * 25, "9" * 20, "8" * 20]]
    lines = table(rows, ["first", "second", "nine", "eight"], right=[2, 3], spare=[3]).splitlines()
    assert lines[0].split() == ["first", "second", "nine"]
    assert lines[-1] == "(no room for: eight)"


def test_a_table_of_many_columns_becomes_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = table([["a"] + ["1" * 15] * 6], ["name", *(f"number {i}" for i in range(6))], right=range(1, 7))
    assert text.count("name") == 2
    assert all(f"number {i}" in text for i in range(6))


def test_numbers_in_a_row_are_a_range() -> None:
    assert ranges([1, 2, 3, 5, 8, 9]) == "1–3, 5, 8–9"


def test_a_frame_prints_without_dots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    frame = TextFrame({"number": [1.5, float("nan")], "text": ["word " * 40, None]})
    text = repr(frame)
    assert "..." not in text
    assert text.count("word") == 40
    assert max(map(len, text.splitlines())) <= 70
    assert isinstance(frame[frame["number"] > 1], TextFrame)
    assert "nan" not in text
    assert repr(frame.iloc[:0]).endswith("(no rows)")
    assert "of 1,000 rows" in repr(TextFrame({"a": range(1000)}))
    assert repr(pd.concat([frame, frame], axis=1, keys=["a", "b"]))  # as pandas has it
