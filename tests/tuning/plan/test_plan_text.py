"""Plans print within the screen, whatever their layers and phases are called and however many there are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.layer_maps import tower
from thermocline.report.screen import columns_of
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.plan.ribbon import numbers
from thermocline.tuning.schedule.phases import Phase

NAMES = st.text("abcdefgh_é日", min_size=1, max_size=40)


def plan_of(blocks: int, prefix: str = "blocks", phases: tuple[Phase, ...] = (Phase(),)) -> LayerPlan:
    layer_map = LayerMap(tower(blocks=blocks, prefix=prefix))
    return LayerPlan.build(layer_map, lr_choice="layerwise_decay").with_phases(phases)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 30),
    NAMES,
    st.lists(st.tuples(NAMES, st.integers(1, 30)), min_size=1, max_size=30),
    st.integers(60, 130),
)
def test_no_line_of_a_plan_is_wider_than_the_screen(
    blocks: int, prefix: str, ends: list[tuple[str, int]], columns: int
) -> None:
    phases = tuple(
        Phase(name, ("head", f"{prefix}.{number % blocks}"), steps=steps, schedule=("linear", "constant")[number % 2])
        for number, (name, steps) in enumerate(ends)
    )
    plan = plan_of(blocks, prefix, (*phases, Phase("rest")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        texts = str(plan), str(plan.layer_map), repr(plan)
    assert all(columns_of(line) <= columns for text in texts for line in text.splitlines())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40))
def test_a_number_stands_whole_where_its_phase_begins_or_not_at_all(lengths: list[int]) -> None:
    line = numbers(list(enumerate(lengths)))
    begins = {sum(lengths[:place]): place + 1 for place in range(len(lengths))}
    shown = [(place, word) for place, word in _words(line)]
    assert all(begins[place] == int(word) for place, word in shown)
    assert shown[0] == (0, "1")
    assert len(line) <= sum(lengths)


def _words(line: str) -> list[tuple[int, str]]:
    return [(i, line[i:].split()[0]) for i in range(len(line)) if line[i] != " " and (not i or line[i - 1] == " ")]


def test_thirteen_phases_are_numbered_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    plan = plan_of(11).scheduled("gradual_unfreeze(every=0.1)")
    assert len(plan.phases) == 13
    marks = str(plan).splitlines()[2].split()
    assert marks == sorted(marks, key=int)
    assert set(marks) <= set(map(str, range(1, 14)))


def test_phases_that_are_alike_stand_once() -> None:
    plan = plan_of(24).scheduled("gradual_unfreeze(every=0.04)")
    lines = [line for line in str(plan).splitlines() if "the whole run" in line]
    assert len(plan.phases) == 26
    assert [line.split()[0] for line in lines] == ["1–25", "26"]
    assert "0.04 epochs each" in lines[0]


def test_a_wide_screen_has_a_longer_ribbon(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = {}
    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        text = str(plan_of(4).scheduled("fine_tune"))
        lengths[columns] = max(
            line.count("█") + line.count("·") for line in text.splitlines() if "trainable" not in line
        )
    assert lengths[80] == 60
    assert 90 < lengths[120] < 120


def test_reprs_are_short() -> None:
    plan = plan_of(24)
    assert repr(plan) == str(plan)
    assert repr(plan.layer_map) == str(plan.layer_map)
    assert repr(plan.phases[0]) == "Phase(name='train')"
    assert eval(repr(Phase("a", "head", steps=3))) == Phase("a", "head", steps=3)
    assert repr(plan.layers[0]).startswith("<PlanLayer text/embeddings: stem, lr × ")
    assert "\n" not in repr(plan.layer_map.layers[0])
