import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from support.layer_maps import tower
from thermocline.errors import ConfigError, LayerMapError, SelectorError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.selectors import select

ONE = LayerMap(tower())


def picked(selector, layer_map=ONE, **kwargs):
    return [label.partition("/")[2] for label in select(layer_map, selector, **kwargs)]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (None, []),
        ([], []),
        (0, []),
        ("stem", ["embeddings"]),
        ("blocks.1", ["blocks.1"]),
        ("blocks.[0-2]", ["blocks.0", "blocks.1", "blocks.2"]),
        ("blocks.[9-11]", ["blocks.9", "blocks.10", "blocks.11"]),
        ("blocks.[0,10]", ["blocks.0", "blocks.10"]),
        ("blocks.1?", ["blocks.10", "blocks.11"]),
        ("blocks.*", [f"blocks.{i}" for i in range(12)]),
        ("blocks", [f"blocks.{i}" for i in range(12)]),
        ("blocks.3.*", ["blocks.3"]),
        ("text/blocks.3", ["blocks.3"]),
        ("**.3", ["blocks.3"]),
        (r"re:blocks\.1", ["blocks.1"]),
        (r"re:blocks\.1\d?", ["blocks.1", "blocks.10", "blocks.11"]),
        (2, ["embeddings", "blocks.0"]),
        (-11, ["embeddings", "blocks.0"]),
        (["head", "stem"], ["embeddings", "head"]),
        (["blocks.0", 1], ["embeddings", "blocks.0"]),
        ("backbone", ["embeddings", *(f"blocks.{i}" for i in range(12))]),
    ],
)
def test_selectors(selector, expected):
    assert picked(selector) == expected


def test_backbone_is_all_below_the_head():
    assert picked("backbone", LayerMap(tower(blocks=1, neck=True))) == ["embeddings", "blocks.0", "pooler"]


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("block.1", "Did you mean"),
        ("blocks.12", "matches no layer"),
        ("blocks.[0-", "bracket"),
        ("blocks.[a-c]", "Brackets hold numbers"),
        ("blocks.[3-1]", "smaller to a larger"),
        ("blocks..1", "empty segment"),
        ("", "empty text"),
        (True, "Cannot read True"),
        (1.5, "Cannot read"),
        ({"a": 1}, "Cannot read"),
        ([["blocks.1"]], "Cannot read"),
        ("re:(", "no regular expression"),
        (14, "first 14"),
        (-13, "all but the last 13"),
        ("embeddings.inner", "inside the layer 'text/embeddings'"),
        ("neck", "matches no layer"),
    ],
)
def test_faults(selector, message):
    with pytest.raises(SelectorError, match=message.replace("(", r"\(")):
        select(ONE, selector)


def test_nothing_matched_lists_the_layers_folded():
    with pytest.raises(SelectorError, match=r"text/blocks\.\[0-11\]"):
        select(ONE, "layer.1")


def test_several_towers():
    both = LayerMap((*tower("text", 2), *tower("image", 4, prefix="stages"), *tower("table", 3, pretrained=False)))
    assert select(both, "stages.0") == ("image/stages.0",)
    assert select(both, 1) == ("text/embeddings", "image/embeddings")
    assert select(both, 1, tower="table") == ("table/embeddings",)
    # one tower may be shorter than the count
    assert len(select(both, 5)) == 3 + 5
    assert select(both, "table/blocks.0") == ("table/blocks.0",)
    with pytest.raises(ConfigError, match="Did you mean 'image'"):
        select(both, "stem", tower="imag")
    with pytest.raises(SelectorError):
        select(both, "stages.0", tower="text")


def test_not_confident():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.GRU(3, 3)

    layer_map = LayerMap.of(Odd())
    for selector in ("a", 1, "stem"):
        with pytest.raises(LayerMapError, match="from_patterns"):
            select(layer_map, selector)


@given(st.integers(0, 11), st.integers(0, 11))
def test_ranges_are_numeric(a, b):
    low, high = sorted((a, b))
    assert picked(f"blocks.[{low}-{high}]") == [f"blocks.{i}" for i in range(low, high + 1)]


@given(st.integers(0, 11))
def test_a_name_selects_itself_alone(i):
    assert picked(f"blocks.{i}") == [f"blocks.{i}"]


@given(st.integers(1, 12))
def test_first_n_and_all_but_the_last_are_complements(n):
    assert len(picked(n)) == n
    assert picked(n) == picked(n - 13)


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text):
    try:
        chosen = select(ONE, text)
    except SelectorError:
        return
    assert chosen
    assert set(chosen) <= set(ONE.labels)


@given(st.lists(st.sampled_from(["stem", "head", "blocks.1", "blocks.[3-5]", 2, -3]), max_size=5))
def test_a_list_is_the_union_in_map_order(selectors):
    union = {label for one in selectors for label in select(ONE, one)}
    assert select(ONE, selectors) == tuple(label for label in ONE.labels if label in union)
