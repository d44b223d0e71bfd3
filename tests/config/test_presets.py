from __future__ import annotations

from pathlib import Path

import pytest

from thermocline.config import (
    compose,
    copy_preset,
    list_presets,
    preset_names,
    preset_text,
    read_preset,
    resolve,
)
from thermocline.errors import ConfigError, OutputExistsError, ThermoclineError

EXPECTED = {
    "auto",
    "default",
    "medium_quality",
    "high_quality",
    "best_quality",
    "linear_probe",
    "two_stage",
    "layerwise_decay",
    "low_memory",
    "offline",
    "detection_medium",
    "detection_high",
    "detection_best",
    "detection_offline",
    "segmentation_medium",
}
BACKBONES = ("model.text.checkpoint", "model.image.checkpoint", "model.detector.checkpoint")


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_presets_are_those_that_are_documented() -> None:
    assert set(preset_names()) == EXPECTED
    assert preset_names()[:4] == ["default", "medium_quality", "high_quality", "best_quality"]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_preset_is_valid_and_says_what_it_is_for(name: str) -> None:
    preset = read_preset(name)
    assert preset_text(name).startswith("purpose: ")
    assert preset.purpose.endswith(".")
    assert preset.name == name
    resolve(name)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_preset_gives_a_reason_with_a_year_for_the_backbones_it_names(name: str) -> None:
    preset = read_preset(name)
    for path, tower in zip(BACKBONES, ("text", "image", "detector"), strict=True):
        if path in preset.values:
            assert any(f"20{year:02d}" in preset.why[tower] for year in range(16, 27)), (name, tower)


@pytest.mark.parametrize("name", ["medium_quality", "high_quality", "best_quality", "offline"])
def test_every_timm_name_exists_and_tells_its_layers(name: str) -> None:
    timm = pytest.importorskip("timm")
    checkpoint = read_preset(name).values["model.image.checkpoint"]
    known = timm.list_models(pretrained=True)
    assert checkpoint in known or any(full.startswith(f"{checkpoint}.") for full in known)
    torch = pytest.importorskip("torch")
    with torch.device("meta"):
        model = timm.create_model(checkpoint, pretrained=False, num_classes=0)
    assert callable(model.group_matcher)


def test_sizes_fit_the_names() -> None:
    qualities = [resolve(name) for name in ("medium_quality", "high_quality", "best_quality")]
    epochs = [config.optim.max_epochs or 3 for config in qualities]  # null: 3 where a tower is pretrained
    assert epochs == sorted(epochs)
    assert len({config.model.text.checkpoint for config in qualities}) == 3
    assert len({config.model.image.checkpoint for config in qualities}) == 3


@pytest.mark.parametrize("name", [name for name in sorted(EXPECTED) if name.startswith("detection_")])
def test_a_detection_preset_is_a_whole_recipe(name: str) -> None:
    config = resolve(name)
    assert (config.optim.gradient_clip, config.optim.ema) == (0.1, 0.9999)
    assert config.optim.lr_choice == "two_stage"
    assert set(config.model.detector.head_includes) == {"neck", "encoder", "decoder", "head"}
    offline = name == "detection_offline"
    assert config.model.detector.pretrained is not offline
    detectors = pytest.importorskip("thermocline.problems.object_detection.detector_source")
    source = detectors.find_detector(config.model.detector.checkpoint, pretrained=config.model.detector.pretrained)
    assert source.kind == ("architecture" if offline else "hub")


def test_detection_presets_grow() -> None:
    configs = [resolve(f"detection_{name}") for name in ("medium", "high", "best")]
    epochs = [config.optim.max_epochs for config in configs]
    assert epochs == sorted(epochs)
    assert len({config.model.detector.checkpoint for config in configs}) == 3


def test_offline_composes_with_any() -> None:
    for name in EXPECTED:
        config = resolve([name, "offline"])
        assert config.model.text.checkpoint == "offline:minilm-l6"
        assert config.model.image.checkpoint == "mobilenetv3_small_100"
        assert config.model.image.pretrained is False
        assert config.model.image.frozen_layers is None
    config = resolve(["best_quality", "offline"])
    assert config.optim.top_k_average == "greedy_soup"
    assert config.provenance["optim.top_k_average"] == "preset:best_quality"
    assert config.provenance["model.text.checkpoint"] == "preset:offline"


def test_a_preset_is_laid_over_its_parents() -> None:
    assert [preset.name for preset in compose("high_quality")][-2:] == ["medium_quality", "high_quality"]
    config = resolve("high_quality")
    assert config.provenance["optim.lr_decay"] == "preset:high_quality"
    assert config.provenance["optim.head_init"] == "preset:medium_quality"
    assert config.presets == ("high_quality",)


def test_the_later_preset_wins_and_is_named() -> None:
    config = resolve(["two_stage", "linear_probe"])
    assert config.optim.lr_choice == "single_lr"
    assert config.provenance["optim.lr_choice"] == "preset:linear_probe"
    assert config.provenance["optim.lr_mult"] == "preset:two_stage"
    assert resolve(["linear_probe", "two_stage"]).optim.lr_choice == "two_stage"


def test_no_preset_is_the_default_preset() -> None:
    assert resolve() == resolve("default") == resolve([]) == resolve(("default",))
    assert dict(resolve().items()) == dict(resolve("medium_quality").items())


def test_an_unknown_preset_names_the_nearest_and_all() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'high_quality'") as caught:
        resolve("hihg_quality")
    assert all(name in str(caught.value) for name in EXPECTED)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ThermoclineError)
    with pytest.raises(ConfigError, match=r"(?s)'nope'.*'nada'"):
        resolve(["nope", "nada"])
    with pytest.raises(ConfigError, match="not 3"):
        resolve(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="not 3"):
        resolve(["default", 3])  # type: ignore[list-item]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.yaml", "extends: high_quality\noptim: {lr: 2e-5}\n")
    for given in (path, str(path), [path]):
        config = resolve(given)
        assert config.optim.lr == 2e-5
        assert config.optim.max_epochs == resolve("high_quality").optim.max_epochs
        assert config.provenance["optim.lr"] == "preset:mine.yaml"
        assert config.presets == ("mine.yaml",)


def test_a_parent_beside_the_file_is_found_from_anywhere(tmp_path: Path) -> None:
    write(tmp_path, "parent.yaml", "optim.max_epochs: 3\n")
    child = write(tmp_path, "child.yaml", "extends: [two_stage, parent.yaml]\n")
    assert [preset.name for preset in compose(child)][-3:] == ["two_stage", "parent.yaml", "child.yaml"]
    assert resolve(child).optim.max_epochs == 3


def test_a_circle_of_parents_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "extends: b.yaml\n")
    write(tmp_path, "b.yaml", "extends: a.yaml\n")
    with pytest.raises(ConfigError, match=r"extends itself: a.yaml → b.yaml → a.yaml"):
        resolve(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("optim: {lr: -1}\n", "preset 'bad.yaml': optim.lr: -1 is not allowed"),
        ("optim: {lr_chioce: single_lr}\n", "Did you mean 'optim.lr_choice'"),
        ("optim: {lr: 1}\noptim: {lr: 2}\n", "cannot be read as YAML"),
        ("optim: {lr: 1\n", "cannot be read as YAML"),
        ("optim: {lr: '${nowhere}'}\n", "preset 'bad.yaml'"),
        ("- optim\n", "has to be a mapping"),
        ("only words\n", "has to be a mapping"),
        ("extends: 3\n", "'extends' takes a preset's name"),
        ("extends: [3]\n", "'extends' takes a preset's name"),
        ("why: because\n", "'why' takes a mapping"),
        ("extends: nothing_such\n", "There is no preset 'nothing_such'"),
        ("extends: nothing.yaml\n", "There is no preset file"),
    ],
)
def test_a_file_that_is_not_right_says_so_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, "bad.yaml", text)
    with pytest.raises(ConfigError) as caught:
        resolve(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        resolve(path)
    with pytest.raises(ConfigError, match="There is no preset file"):
        resolve(tmp_path / "absent.yaml")


def test_list_presets_is_a_frame() -> None:
    frame = list_presets()
    assert list(frame.columns) == ["name", "purpose", "text", "image", "extends"]
    assert set(frame["name"]) == EXPECTED
    by_name = frame.set_index("name")
    assert by_name.loc["default", "text"] == resolve().model.text.checkpoint
    assert by_name.loc["high_quality", "extends"] == "medium_quality"
    assert by_name.loc["low_memory", "text"] == ""


def test_a_copied_preset_is_the_same_preset(tmp_path: Path) -> None:
    path = copy_preset("high_quality", tmp_path / "new" / "mine.yaml")
    assert path.read_text(encoding="utf-8") == preset_text("high_quality")
    assert dict(resolve(path).items()) == dict(resolve("high_quality").items())
    assert copy_preset("offline", tmp_path) == tmp_path / "offline.yaml"


def test_a_copy_never_overwrites(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.yaml", "optim: {}\n")
    with pytest.raises(OutputExistsError, match="exists already"):
        copy_preset("default", path)
    assert path.read_text(encoding="utf-8") == "optim: {}\n"
    with pytest.raises(ConfigError, match=r"ends in \.yaml"):
        copy_preset("default", tmp_path / "mine.txt")
    with pytest.raises(ConfigError, match="There is no preset"):
        copy_preset("defualt", tmp_path / "other.yaml")


def test_an_installation_without_presets_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lonely = tmp_path / "a" / "b" / "c" / "d" / "presets.py"
    monkeypatch.setattr("thermocline.config.presets.__file__", str(lonely))
    with pytest.raises(ConfigError, match="the installation is damaged"):
        resolve()
    inside = tmp_path / "a" / "b" / "c" / "presets"
    inside.mkdir(parents=True)
    write(inside, "default.yaml", "purpose: One.\n")
    for name in ("rules.yaml", "portfolio.yaml"):
        write(inside, name, "{}\n")
    assert preset_names() == ["default"]
