from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from thermocline.config import Key, ResolvedConfig, preset_names, read_preset, resolve, schema_of
from thermocline.errors import ConfigError

KEYS, SECTIONS = schema_of().keys, schema_of().sections

few = settings(max_examples=60, deadline=None)

WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789_.-", min_size=1, max_size=12).filter(
    lambda word: word not in ("null", "none") and word[0].isalpha()
)


def values_of(key: Key) -> st.SearchStrategy[Any]:
    """Values that a key takes, in the form in which the config holds them."""
    if key.choices:
        one: st.SearchStrategy[Any] = st.sampled_from(key.choices)
        many = st.lists(one, unique=True, min_size=1).map(tuple)
        return many if key.many else one
    if key.many:
        one = WORDS | st.integers(-9, 9) if int in key.types else WORDS
        several = st.lists(one, min_size=1, max_size=3).map(tuple)
        return one | several if int in key.types else several
    if key.path.endswith("_args"):
        return st.dictionaries(WORDS, st.floats(0, 1) | st.integers(-9, 9), min_size=1, max_size=3)
    if key.structured:
        return st.sampled_from(["fine_tune", "lp_ft(probe_epochs=1)"])
    if bool in key.types:
        return st.booleans()
    if str in key.types:
        return WORDS
    low = key.at_least if key.at_least is not None else key.above
    high = key.at_most if key.at_most is not None else key.below
    if float in key.types:
        numbers = st.floats(low, high if high is not None else 1e6, allow_nan=False)
    else:
        numbers = st.integers(int(low or 0), 10_000)
    return numbers.filter(key.holds)


@st.composite
def overrides(draw: st.DrawFn) -> tuple[str, Any]:
    path = draw(st.sampled_from(sorted(KEYS.keys() - {"optim.phases"})))  # a text there is a file
    return path, draw(values_of(KEYS[path]))


def differing(config: ResolvedConfig, other: ResolvedConfig) -> set[str]:
    return {path for path, value in config.items() if value != other[path]}


def nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return dict(value)


def written(value: Any) -> str:
    """A value as the right side of `key=value`."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(written, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


@few
@given(overrides())
def test_any_override_arrives_and_is_the_users(override: tuple[str, Any]) -> None:
    path, value = override
    config = resolve(None, {path: value})
    assert config[path] == value
    assert type(config[path]) is type(value)
    assert config.provenance[path] == "user"
    assert differing(config, resolve()) <= {path}
    assert list(config.provenance.values()).count("user") == 1


@few
@given(overrides())
def test_dotted_nested_and_listed_are_the_same(override: tuple[str, Any]) -> None:
    path, value = override
    section, _, name = path.rpartition(".")
    expected = resolve(None, {path: value})
    assert resolve(None, nested(path, value)) == expected
    assert resolve(None, nested(section, {name: value})) == expected
    assert resolve(None, [f"{path}={written(value)}"]) == expected
    assert resolve(None, f" {path} = {written(value)} ") == expected
    assert resolve(None, [{path: value}, nested(path, value)]) == expected


@few
@given(st.lists(overrides(), max_size=6, unique_by=lambda override: override[0]), st.sampled_from(preset_names()))
def test_yaml_gives_back_the_same_config(given_values: list[tuple[str, Any]], preset: str) -> None:
    config = resolve(preset, dict(given_values)).choose("env.batch_size", 32, "a: reason, with 'marks'")
    assert ResolvedConfig.from_yaml(config.to_yaml()) == config
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config


@few
@given(st.sampled_from(sorted(KEYS)), st.data())
def test_an_unknown_key_names_the_nearest(path: str, data: st.DataObject) -> None:
    assume(len(path.rpartition(".")[2]) > 3)
    at = data.draw(st.integers(0, len(path) - 1))
    wrong = path[:at] + path[at + 1 :]
    assume(wrong not in KEYS and wrong not in SECTIONS)
    with pytest.raises(ConfigError) as caught:
        resolve(None, {wrong: 1})
    assert repr(path) in str(caught.value)


@few
@given(overrides(), st.lists(st.sampled_from(preset_names()), max_size=3))
def test_the_user_goes_before_presets_and_presets_before_defaults(override: tuple[str, Any], names: list[str]) -> None:
    path, value = override
    config = resolve(names, {path: value})
    assert config[path] == value
    layers: dict[str, tuple[str, Any]] = {}
    for name in ["medium_quality", *names]:
        lineage = {
            "default": ["medium_quality"],
            "high_quality": ["medium_quality"],
            "best_quality": ["medium_quality", "high_quality"],
            "detection_high": ["detection_medium"],
            "detection_best": ["detection_medium", "detection_high"],
            "detection_offline": ["detection_medium"],
        }.get(name, [])
        for layer in [*lineage, name]:
            layers |= {key: (f"preset:{layer}", item) for key, item in read_preset(layer).values.items()}
    for key in set(KEYS) - {path}:
        assert (config.provenance[key], config[key]) == layers.get(key, ("default", KEYS[key].default))


def test_all_faults_are_in_one_error() -> None:
    wrong: Any = {
        "optim": {"lr": -1, "lr_chioce": "single_lr", "patience": True},
        "env.batch_size": float("nan"),
        "model.text.pooling": "avg",
        "data": 3,
        7: 1,
    }
    with pytest.raises(ConfigError) as caught:
        resolve("hgih_quality", wrong)
    lines = str(caught.value).splitlines()
    assert lines[0] == "8 faults in presets and hyperparameters:"
    assert len(lines) == 9
    for words in (
        "no preset 'hgih_quality'",
        "optim.lr: -1 is not allowed; it takes a number above 0",
        "optim.lr_chioce is not an option. Did you mean 'optim.lr_choice'",
        "optim.patience: True",
        "env.batch_size: nan",
        "'auto', 'cls', 'mean' or 'last'",
        "data is a section",
        "7 is not a text",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("optimization.learning_rate", "optim.lr"),
        ("optim.warmup_steps", "optim.warmup"),
        ("optim.gradient_clip_val", "optim.gradient_clip"),
        ("optim.top_k_average_method", "optim.top_k_average"),
        ("optimization.lr_decay", "optim.lr_decay"),
        ("env.per_gpu_batch_size", "env.micro_batch_size"),
        ("env.num_workers_inference", "env.num_workers"),
        ("env.num_gpus", "env.device"),
        ("model.hf_text.checkpoint_name", "model.text.checkpoint"),
        ("model.hf_text.frozen_layers", "model.text.frozen_layers"),
        ("model.timm_image.checkpoint_name", "model.image.checkpoint"),
        ("optim.peft", "model.peft"),
        ("optimization.efficient_finetune", "model.peft"),
        ("optim.lora.r", "model.lora_rank"),
        ("optim.lora.alpha", "model.lora_alpha"),
        ("optim.lora.filter", "frozen_layers"),
        ("learning_rate", "optim.lr"),
    ],
)
def test_the_name_of_another_trainer_is_translated(theirs: str, ours: str) -> None:
    with pytest.raises(ConfigError, match=ours):
        resolve(None, {theirs: 1})


def test_the_value_of_another_trainer_is_translated() -> None:
    with pytest.raises(ConfigError, match="What others call 'cosine_decay' is cosine here"):
        resolve(None, {"optim.lr_schedule": "cosine_decay"})


@pytest.mark.parametrize(
    "twice",
    [
        {"optim.lr": 1e-4, "optim": {"lr": 1e-3}},
        ["optim.lr=1e-4", "optim.lr=1e-3"],
        [{"optim.lr": 1e-4}, "optim.lr=1e-3"],
    ],
)
def test_one_key_with_two_values_is_a_fault(twice: Any) -> None:
    with pytest.raises(ConfigError, match=r"optim.lr is given twice: 0.0001 and 0.001"):
        resolve(None, twice)


def test_one_key_with_one_value_twice_is_none() -> None:
    assert resolve(None, [{"optim.lr": 1e-4, "optim": {"lr": "1e-4"}}, "optim.lr=0.0001"]).optim.lr == 1e-4


def test_what_is_written_by_hand_goes_before_a_file(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yml"
    first.write_text("purpose: Mine.\noptim: {lr: 1e-5, patience: 2}\n", encoding="utf-8")
    second.write_text("optim.patience: 3\noptim:\n", encoding="utf-8")
    for given_values in ([first, second, "optim.lr=1e-3"], ["optim.lr=1e-3", first, str(second)]):
        config = resolve(None, given_values)
        assert (config.optim.lr, config.optim.patience) == (1e-3, 3)
    assert resolve(None, first).optim.lr == 1e-5
    assert resolve(None, str(first)).provenance["optim.lr"] == "file:first.yaml"
    both = resolve(None, [first, "optim.lr=1e-3"])
    assert (both.provenance["optim.lr"], both.provenance["optim.patience"]) == ("user", "file:first.yaml")
    assert "2 by the user" in repr(both)


@pytest.mark.parametrize("how", ["preset", "file", "earlier"])
def test_what_belongs_to_a_value_ends_with_it(how: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    content = "purpose: Mine.\noptim: {lr: {'*': 1e-3, head: 1e-2}, optimizer: sgd, optimizer_args: {momentum: 0.5}}"
    file.write_text(content, encoding="utf-8")

    def over(later: dict[str, Any]) -> ResolvedConfig:
        if how == "preset":
            return resolve(file, later)
        return resolve(None, [file, later]) if how == "file" else resolve(None, later, earlier=resolve(None, file))

    same = over({"optim.patience": 3}).optim
    assert (same.lr, same.layer_lr, same.optimizer_args) == (1e-3, {"head": 1e-2}, {"momentum": 0.5})
    one = over({"optim.lr": 1e-4})
    assert (one.optim.lr, one.optim.layer_lr, one.provenance["optim.layer_lr"]) == (1e-4, None, "default")
    assert one.optim.optimizer_args == {"momentum": 0.5}
    other = over({"optim.optimizer": "nadam"})
    assert (other.optim.optimizer_args, other.optim.layer_lr) == (None, {"head": 1e-2})
    assert over({"optim.optimizer": "sgd"}).optim.optimizer_args == {"momentum": 0.5}
    both = over({"optim.lr": {"*": 1e-4, "stem": 0.0}, "optim.optimizer_args": {"momentum": 0.1}}).optim
    assert (both.lr, both.layer_lr, both.optimizer_args) == (1e-4, {"stem": 0.0}, {"momentum": 0.1})


def test_a_file_is_named_in_its_faults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("optim: {lr: -1}\nenv: {}\noptim.lr: -2\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine.yaml: optim.lr: -1 is not allowed"):
        resolve(None, path)
    path.write_text("extends: default\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="is a preset; pass it as presets="):
        resolve(None, path)
    with pytest.raises(ConfigError, match="is not there"):
        resolve(None, tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("given_values", "says"),
    [
        ("optim.lr", "neither 'key=value' nor a path"),
        (["optim.lr 3"], "neither 'key=value' nor a path"),
        (3, "hyperparameters cannot be a int"),
        ({"optim": {"lr_mult": {"value": 1}}}, "optim.lr_mult.value is not an option"),
        ("optim.lr=", "optim.lr: '' is not allowed"),
        ("optim=3", "optim is a section"),
        ({"optim.lr": None, "zzzz.zzzz": 1}, "The sections are model, optim, data and env"),
    ],
)
def test_what_cannot_be_read_says_so(given_values: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(None, given_values)
    assert says in str(caught.value)


def test_a_choice_of_the_program_says_why() -> None:
    config = resolve(None, {"optim.lr": 3e-4})
    chosen = config.choose("env.batch_size", 64, "2,000 rows").choose("model.text.max_length", 128, "95 % of texts")
    assert (chosen.env.batch_size, chosen.model.text.max_length) == (64, 128)
    assert chosen.provenance["env.batch_size"] == "chosen: 2,000 rows"
    assert chosen.optim is config.optim
    assert (config.env.batch_size, config.provenance["env.batch_size"]) == (None, "default")
    assert differing(chosen, config) == {"env.batch_size", "model.text.max_length"}
    with pytest.raises(ConfigError, match="a whole number of at least 1"):
        config.choose("env.batch_size", 0, "a slip")
    with pytest.raises(ConfigError, match=r"the nearest are env\.batch_size"):
        config.choose("env.batchsize", 1, "a slip")


def test_it_shows_what_is_not_a_default_first() -> None:
    config = resolve("low_memory", {"env.loggers": ["csv"], "data.image_folder": "<here>"})
    lines = str(config).splitlines()
    origins = [line.split()[-1] for line in lines[1:]]
    assert len(lines) == len(KEYS) + 1
    assert origins.index("default") == len(origins) - origins.count("default")
    assert next(line for line in lines if line.startswith("env.loggers")).split() == [
        "env.loggers",
        "[csv]",
        "user",
    ]
    assert repr(config) == "<ResolvedConfig presets=[low_memory], 2 by the user, 0 chosen>"
    assert "&lt;here&gt;" in config._repr_html_()


def test_the_frame_has_a_row_for_each_option() -> None:
    frame = resolve(None, {"optim.lr": 1e-3}).to_frame()
    assert list(frame.columns) == ["key", "value", "from", "doc"]
    assert list(frame["key"]) == list(KEYS)
    row = frame.set_index("key").loc["optim.lr"]
    assert (row["value"], row["from"]) == (1e-3, "user")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("optim: {lr: -1}\n", "the saved configuration: optim.lr: -1"),
        ("optim: {new_option: 1}\n", "optim.new_option is not an option"),
        ("optim: {lr: [\n", "cannot be read as YAML"),
        ("presets: 3\n", "is damaged"),
        ("provenance: [a]\n", "is damaged"),
        ("optim: {lr: !!python/object/apply:os.getcwd []}\n", "cannot be read as YAML"),
    ],
)
def test_a_damaged_yaml_says_so(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ResolvedConfig.from_yaml(text)
    assert says in str(caught.value)


def test_a_yaml_that_lacks_an_option_takes_its_default() -> None:
    config = ResolvedConfig.from_yaml("optim: {lr: 1e-4}\nprovenance: {optim.lr: user, gone.key: user}\n")
    assert config.optim.lr == 1e-4
    assert config.provenance["optim.lr"] == "user"
    assert set(config.provenance) == set(KEYS)
