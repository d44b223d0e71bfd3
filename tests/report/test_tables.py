"""Tables fit the screen, and are HTML in one style."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.report.frames import html_frame
from thermocline.report.tables import STYLE, html_block, html_lines, html_table, table

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
