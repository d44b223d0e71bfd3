"""One small member of every timm and transformers family gets a map that the order oracle finds right.

`families.json` names the member. A release of either library that brings a family fails here until it is listed, and
its map is right or says that it is not.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import CONFIG_MAPPING

import layer_census
import zoo

FAMILIES: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "families.json").read_text())


#: Families whose map is not right in every part, and says so.
LOUD = {"lightglue", "pe_audio", "pe_audio_video", "pe_video", "vibevoice_acoustic_tokenizer", "vits", "xcodec"}


def _known(source: str) -> set[str]:
    if source == "timm":
        return {zoo.timm_family(name) for name in zoo.timm_names()}
    return {CONFIG_MAPPING[kind].__module__.split(".")[2] for _, kind in zoo.transformers_types()}


@pytest.mark.parametrize("source", FAMILIES)
def test_every_family_is_listed(source: str) -> None:
    new = sorted(_known(source) - set(FAMILIES[source]))
    assert not new, f"{source} has families that no test looks at; add a small member of each to families.json: {new}"


@pytest.mark.parametrize("family", FAMILIES["timm"])
def test_timm(family: str) -> None:
    assert _verdict("timm", family, FAMILIES["timm"][family]) == "right"


@pytest.mark.parametrize("family", FAMILIES["transformers"])
def test_transformers(family: str) -> None:
    verdict = _verdict("transformers", *FAMILIES["transformers"][family].split("/"))
    assert verdict in (("loud",) if family in LOUD else ("right", "right (order unchecked)"))


def _verdict(source: str, group: str, name: str) -> str:
    if source == "timm" and name not in zoo.timm_names():
        pytest.skip(f"this timm has no {name}")
    row = layer_census.examined((source, group, name, False, 60))
    if row.verdict == "unbuildable":
        pytest.skip(row.faults[0])
    assert row.verdict not in ("silent", "failed"), row.faults
    return row.verdict
