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
        ("0:3", ["embeddings", "blocks.0", "blocks.1"]),
        ("1:3", ["blocks.0", "blocks.1"]),
        ("-2:", ["blocks.10", "blocks.11"]),
        ("::6", ["embeddings", "blocks.5", "blocks.11"]),
        ("text/0:1", ["embeddings"]),
        (["head", "-1:"], ["blocks.11", "head"]),
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
        ([0, 1, 2], "'0:3'"),
        ([5, "head", 2], "several integers"),
        ("0:14", "further than the layers: text has 13"),
        ("-14:", "from -13 to 13"),
        ("3:3", "of no layer"),
        ("5:2", "of no layer"),
        ("0:3:0", "of no layer"),
        ("image/0:2", "matches no layer"),
        ("0:1:2:3", "matches no layer"),
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
    assert select(both, "0:5") == select(both, 5)
    assert select(both, "3:5") == ("image/stages.2", "image/stages.3")
    assert select(both, "table/0:1") == select(both, "0:1", tower="table") == ("table/embeddings",)
    assert select(both, "table/blocks.0") == ("table/blocks.0",)
    assert select(both, "image") == both.labels[4:10]
    assert select(both, "table/backbone") == both.labels[10:14]
    assert select(both, "image/head") == ("image/head",)
    with pytest.raises(SelectorError, match="Did you mean 'image'"):
        select(both, "imagee")
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


@given(st.integers(1, 12))
def test_slices_from_the_start_are_counts(n):
    assert picked(f"0:{n}") == picked(f":{n}") == picked(n)
    assert picked(f":-{n}") == picked(-n)


@given(st.integers(-13, 13) | st.none(), st.integers(-13, 13) | st.none(), st.integers(1, 4))
def test_slices_are_those_of_a_list(start, stop, step):
    names = ["embeddings", *(f"blocks.{i}" for i in range(12))]
    text = f"{'' if start is None else start}:{'' if stop is None else stop}:{step}"
    if names[start:stop:step]:
        assert picked(text) == names[start:stop:step]
    else:
        with pytest.raises(SelectorError, match="of no layer"):
            picked(text)


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
    if sum(isinstance(one, int) for one in selectors) > 1:
        return
    union = {label for one in selectors for label in select(ONE, one)}
    assert select(ONE, selectors) == tuple(label for label in ONE.labels if label in union)
