"""One small member of every timm and transformers family gets a map that the order oracle finds right.

`families.json` names the member. A family that a newer release of either library brings is judged too: it passes where
its map is right, and is reported as skipped where it is not, so that a release turns no test red.
`benchmarks/layer_census.py` lists new and missing families.
"""

from __future__ import annotations

import pytest

import layer_census
import zoo

FAMILIES = layer_census.listed_families()
NEW = [(source, family) for source in FAMILIES for family in layer_census.new_families(source)]

#: Families whose map is not right in every part, and says so.
LOUD = {
    "apertus1p5",
    "lightglue",
    "pe_audio",
    "pe_audio_video",
    "pe_video",
    "vibevoice_acoustic_tokenizer",
    "vits",
    "xcodec",
}


@pytest.mark.parametrize("family", FAMILIES["timm"])
def test_timm(family: str) -> None:
    assert _judged("timm", family, FAMILIES["timm"][family]) == "right"


@pytest.mark.parametrize("family", FAMILIES["transformers"])
def test_transformers(family: str) -> None:
    task, _, kind = FAMILIES["transformers"][family].partition("/")
    verdict = _judged("transformers", task, kind)
    assert verdict in (("loud",) if family in LOUD else ("right", "right (order unchecked)"))


@pytest.mark.parametrize(("source", "family"), NEW)
def test_a_family_that_is_not_listed_yet(source: str, family: str) -> None:
    group, name = layer_census.small_member(source, family)
    row = layer_census.examined((source, group, name, False, 5))
    if not row.verdict.startswith("right"):
        pytest.skip(f"new in this {source}, its map of {group}/{name} is {row.verdict}: {'; '.join(row.faults)[:200]}")


def _judged(source: str, group: str, name: str) -> str:
    known = name in zoo.timm_names() if source == "timm" else (group, name) in zoo.transformers_types()
    if not known:
        pytest.skip(f"this {source} has no {group}/{name}")
    row = layer_census.examined((source, group, name, False, 60))
    if row.verdict == "unbuildable" or row.timed_out:
        pytest.skip(row.faults[0])
    assert row.verdict not in ("silent", "failed"), row.faults
    return row.verdict
