"""The ribbon as a picture: names where phases begin, never a wrong number, colours by the logarithm of the rate."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from itertools import pairwise

import pytest

from support.plans import NAMES, plan_of
from support.toy import layers_of, make_model
from thermocline.report.svg import text_width
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.plan.ribbon_picture import picture, shade_of
from thermocline.tuning.schedule.phases import Phase

WORDS = re.compile(r'<text x="([\d.]+)" y="14" [^>]*>([^<]*)</text>')
EDGES = re.compile(r'<path d="M([\d.]+) 4L')


@pytest.fixture(scope="module")
def toy() -> LayerPlan:
    return replace(plan_of("fine_tune", layers_of(make_model())), total_steps=200, steps_per_epoch=20)


@pytest.mark.parametrize("name", NAMES)
def test_every_schedule_has_one_that_is_well_formed(name: str) -> None:
    from xml.etree import ElementTree

    plan = replace(plan_of(name, layers_of(make_model())), total_steps=200, steps_per_epoch=20)
    drawing, width, height = picture(plan)
    root = ElementTree.fromstring(drawing)
    assert (float(root.attrib["width"]), float(root.attrib["height"])) == (width, height)
    for part in root:
        assert float(part.get("x", 0)) + float(part.get("width", 0)) <= width + 0.01
        if part.tag.endswith("text"):
            end = float(part.attrib["x"]) + text_width(part.text or "") * (part.get("text-anchor") == "start")
            assert end <= width


@pytest.mark.parametrize("count", [2, 12, 26, 120])
def test_what_stands_above_a_phase_is_its_name_or_its_whole_number(toy: LayerPlan, count: int) -> None:
    phases = [Phase(f"number {i + 1}", trains="head" if i % 2 else "*", steps=200 // count) for i in range(count - 1)]
    plan = replace(toy, phases=(*phases, Phase("the last one")))
    drawing, _, _ = picture(plan)
    starts = [float(x) for x in EDGES.findall(drawing)]
    named = {min(range(count), key=lambda i: abs(starts[i] + 4 - float(x))): text for x, text in WORDS.findall(drawing)}
    assert all(text in {plan.phases[i].name, str(i + 1)} for i, text in named.items())
    assert all(abs(starts[i] + 4 - float(x)) <= 1 for (x, _), i in zip(WORDS.findall(drawing), named, strict=True))
    assert len(named) == count or (count > 12 and len(named) >= 10)
    places = [(starts[i] + 4, starts[i] + 4 + text_width(text)) for i, text in sorted(named.items())]
    assert all(end <= start for (_, end), (start, _) in pairwise(places))


def test_shades_go_by_the_logarithm_of_the_rate() -> None:
    assert [shade_of(rate) for rate in (1.0, 0.1, 0.01, 0.001, 1e-9)] == [12, 8, 4, 0, 0]
    assert shade_of(0.0) is None


def test_html_needs_no_style(toy: LayerPlan) -> None:
    html = toy._repr_html_()
    bare = re.sub(r"<style>.*?</style>", "", html)
    assert "style=" not in bare
    images = [b64decode(one).decode() for one in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', bare)]
    assert len(images) == 1 + len(re.findall(r"<img class=bar", bare))
    assert ">head</text>" in images[0]
    assert 'alt="Layers by time: head from 0 %, all from 10 % of the run"' in bare
