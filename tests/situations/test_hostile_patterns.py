"""Patterns, YAML and JSON of somebody else: what would run for ever or end the program is an error."""

from __future__ import annotations

import json

import pytest
from torch import nn

from support.tiny import told
from thermocline.config.documents import parse_yaml
from thermocline.errors import ConfigError, LayerMapError, SelectorError
from thermocline.tuning.layers.expressions import Expression
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.layers.selectors import select
from thermocline.tuning.plan.layer_plan import LayerPlan

NAME = "a" * 60


def layer_map() -> LayerMap:
    model = nn.ModuleDict({NAME: nn.Linear(2, 2), "other": nn.Linear(2, 2)})
    return LayerMap.from_patterns(model, [NAME, "other"], tower="x")


@pytest.mark.parametrize("expression", ["(a|aa)+b", "(a|a?)+b", "(?:a{1,9}){1,99}b", "(.|a)*b", "(a*)*[^a]b"])
def test_repetitions_within_repetitions(expression):
    """Those that the matching takes too long for are an error, and the others match nothing."""
    message = told(SelectorError, ValueError, lambda: select(layer_map(), f"re:{expression}"))
    if "takes too long" in message:
        assert f"Matching 're:{expression}' with '{NAME}' takes too long" in message
        assert "name the layers in a list" in message
    else:
        assert "matches no layer" in message


def test_one_that_takes_too_long_is_told():
    message = told(SelectorError, ValueError, lambda: select(layer_map(), "re:(a|aa)+b"))
    assert "takes too long" in message
    long = "re:" + "a" * 20_000
    message = told(LayerMapError, ValueError, lambda: LayerMap.from_patterns(nn.Linear(2, 2), [long], tower="x"))
    assert "at most 10,000" in message


def test_one_of_nearly_no_time_each_is_counted_over_all_names():
    expression = Expression("(a|aa)+b", "re:(a|aa)+b")
    with pytest.raises(SelectorError, match="takes too long"):
        [expression.fullmatch(f"{'a' * 26}{number}") for number in range(2000)]


def test_expressions_are_those_of_re():
    assert select(layer_map(), "re:a+") == (f"x/{NAME}",)
    assert select(layer_map(), "re:(?i)OTH[\\[e]r") == ("x/other",)
    assert "no regular expression" in told(SelectorError, ValueError, lambda: select(layer_map(), "re:a++*"))
    assert "no regular expression" in told(SelectorError, ValueError, lambda: select(layer_map(), "re:" + "(" * 5000))


def test_nested_too_deeply():
    deep = "[" * 200_000
    assert "must be JSON text" in told(ConfigError, ValueError, lambda: LayerPlan.from_json(deep))
    assert "the file cannot be read as YAML" in told(ConfigError, ValueError, lambda: parse_yaml(deep, "the file"))


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]),
        "a: &a {b: *a}",
    ],
    ids=["many", "endless"],
)
def test_aliases_that_stand_for_millions_of_values(text):
    message = told(ConfigError, ValueError, lambda: parse_yaml(text, "the file"))
    assert "the file cannot be read as YAML: written out, its aliases" in message


def test_a_few_aliases_are_read():
    assert parse_yaml("a: &x {b: 1}\nc: *x", "the file") == {"a": {"b": 1}, "c": {"b": 1}}


def test_names_without_an_end():
    data = json.loads(json.dumps(layer_map().to_dict()))
    data["layers"][0]["modules"] = [".".join("a" * 5000)]
    assert "more than 1000 characters" in told(LayerMapError, ValueError, lambda: LayerMap.from_dict(data))
