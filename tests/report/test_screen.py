"""Text fits the screen: lines are folded between words, and colours are for terminals that show them."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.report.headed import Headed, Section
from thermocline.report.screen import columns_of, end_cut, folded, middle_cut, painted, paragraph, shows_colours

ANY = st.text("ab é×./_日本", max_size=80)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@given(ANY, st.integers(4, 40))
def test_folded_lines_are_narrow_and_lose_nothing(text: str, width: int) -> None:
    lines = folded(text, width)
    assert max(map(columns_of, lines)) <= width
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(ANY, st.integers(8, 40))
def test_cut_texts_are_narrow_and_say_so(text: str, width: int) -> None:
    for made in (end_cut(text, width), middle_cut(text, width)):
        assert columns_of(made) <= width
        assert made == text or "…" in made


def test_words_stay_whole_and_names_break_after_a_sign() -> None:
    assert folded("the end of the story", 8) == ["the end", "of the", "story"]
    assert folded("encoder.layer.[0-11]", 17) == ["encoder.layer.", "[0-11]"]


def test_a_paragraph_is_folded_where_the_width_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "word " * 30
    assert paragraph(text) == text
    monkeypatch.setenv("COLUMNS", "70")
    lines = paragraph(text).splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 70
    assert all(line.startswith("  word") for line in lines[1:])


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_are_for_terminals_that_want_them(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert shows_colours(Terminal())
    assert not shows_colours(io.StringIO())
    assert not shows_colours(None)
    monkeypatch.setenv(name, value)
    assert not shows_colours(Terminal())


def test_sections_are_folded_beside_their_headings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    long = "word " * 40
    made = Headed("a title", (Section("Data", [long], 2, "elsewhere"), Section("No", []), Section("Options", ["one"])))
    lines = str(made).splitlines()
    assert lines[0] == "a title"
    assert [line[:9].strip() for line in lines[1:]] == ["Data", "", "Options"]
    assert lines[2] == "         … and more: elsewhere"
    assert max(map(len, lines)) <= 60
    assert "\x1b" not in str(made)
    assert made.in_colours().startswith(painted("a title", "bold"))
    assert "Options" in made.html()
