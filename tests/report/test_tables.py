"""Tables fit the screen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.report.tables import html_table, table

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
    assert all(part in html for part in ("&lt;b&gt;", "<td class=n>1</td>", "<th class=n>n</th>"))
