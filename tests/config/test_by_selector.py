"""Rates by selector in every form of hyperparameters, and lists and mappings behind `key=`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.config import resolve
from thermocline.config.flow_text import parse_flow
from thermocline.config.resolved import ResolvedConfig
from thermocline.errors import ConfigError

RATES = {"backbone": 1e-5, "blocks.[0-2,7]": 2e-5, "0:3": 3e-5, "re:a.*": 0.0}


def settled(given_options):
    config = resolve(None, given_options)
    return config.optim.lr, config.optim.layer_lr


@pytest.mark.parametrize(
    "form",
    [
        {"optim.lr": {**RATES, "*": 1e-3}},
        {"optim": {"lr": {**RATES, "*": 1e-3}}},
        {"optim.lr": 1e-3, "optim.layer_lr": RATES},
        "optim.lr={backbone: 1e-5, blocks.[0-2,7]: 2e-5, 0:3: 3e-5, re:a.*: 0.0, *: 1e-3}",
        "optim.lr={backbone:1e-5,blocks.[0-2,7]:2e-5,0:3:3e-5,re:a.*:0.0,'*':1e-3}",
        ["optim.layer_lr={backbone:1e-5,blocks.[0-2,7]:2e-5,0:3:3e-5,'re:a.*':0.0}", "optim.lr=1e-3"],
    ],
)
def test_forms(form, tmp_path):
    assert settled(form) == (1e-3, RATES)
    assert list(settled(form)[1]) == list(RATES)  # the order counts
    config = resolve(None, form)
    assert config.provenance["optim.layer_lr"] == "user"
    again = ResolvedConfig.from_yaml(config.to_yaml())
    assert again == config
    assert list(again.optim.layer_lr) == list(RATES)


def test_a_file(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("optim:\n  lr: {backbone: 1e-5, head: 1e-3}\nmodel:\n  frozen_layers: '1:3'\n")
    config = resolve(None, str(path))
    assert config.optim.layer_lr == {"backbone": 1e-5, "head": 1e-3}
    assert config.optim.lr is None
    assert config.model.frozen_layers == "1:3"
    path.write_text("model: {frozen_layers: [head, 1:3]}")
    with pytest.raises(ConfigError, match="write it in quotes: '1:3'"):
        resolve(None, str(path))


def test_counts_as_keys():
    for form in ({"optim.lr": {3: 1e-5, "4": 2e-5}}, "optim.lr={3: 1e-5, '4': 2e-5}"):
        assert settled(form) == (None, {3: 1e-5, "4": 2e-5})  # a count, and a layer of that name


def test_faults():
    for form, message in (
        ({"optim.lr": {}}, "is empty"),
        ("optim.lr={}", "is empty"),
        ("optim.lr={backbone}", "'backbone' has no value"),
        ("optim.lr={backbone: 1, backbone: 2}", "has 'backbone' twice"),
        ({"optim.lr": {"*": "x"}}, "optim.lr: 'x' is not allowed"),
        ({"optim.lr": {"*": 0, "head": 1e-3}}, "Give 0 to the layers that are to be frozen"),
        ([{"optim.lr": {"*": 1e-3}}, {"optim.lr": 1e-4}], "given twice"),
        ({"optim.lr_decay": {"backbone": 0.9}}, "optim.lr_decay.backbone is not an option"),
    ):
        with pytest.raises(ConfigError, match=message):
            settled(form)


def test_rules_behind_an_equals_sign():
    text = "optim.parameter_rules=[{parameters: '*.bias', lr_scale: 2}, {parameters:[a,\"b,c\"],weight_decay:0}]"
    assert resolve(None, text).optim.parameter_rules == [
        {"parameters": "*.bias", "lr_scale": 2},
        {"parameters": ["a", "b,c"], "weight_decay": 0},
    ]
    nested = "optim.phases=[{trains: head, epochs: 1}, {schedule: {head: constant, '*': cosine}, warmup: null}]"
    assert resolve(None, nested).optim.phases == [
        {"trains": "head", "epochs": 1},
        {"schedule": {"head": "constant", "*": "cosine"}, "warmup": None},
    ]


_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-99, 99)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["a", "*.bias", "re:a.b"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y.z", "0:3"]), inner, max_size=3)
    ),
    max_leaves=8,
).filter(lambda value: isinstance(value, (list, dict)))


def written(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@given(_plain)
def test_what_is_written_is_read(value):
    assert parse_flow(written(value)) == value


@given(st.text("{}[]:,'\" ab1", max_size=16))
def test_any_text_is_read_or_refused(text):
    try:
        parse_flow(f"[{text}]")
    except ConfigError:
        return
