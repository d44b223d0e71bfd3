"""What a configuration leaves open: the values of the rules, by towers, rows, optimizer, adapters and problem type."""

from __future__ import annotations

import pytest
from torch import nn

from thermocline.config import load_rules, resolve
from thermocline.contracts.tower import Tower
from thermocline.problems.rowwise.defaults import choose_defaults, family_of
from thermocline.problems.rowwise.model import FusionModel
from thermocline.problems.rowwise.target import RowTarget


class Attention(nn.Linear):
    """Attends by its name."""


class AttentionPool(nn.Linear):
    """Pools features."""


class Stub(Tower):
    width = 4

    def __init__(self, backbone=None, *, pretrained=False, members=0):
        super().__init__()
        self.backbone, self.pretrained, self.members = backbone, pretrained, members

    @property
    def backbone_module(self):
        return self.backbone


def bert(pretrained=True):
    return Stub(nn.Sequential(Attention(4, 4)), pretrained=pretrained)


def cnn(pretrained=True):
    return Stub(nn.Sequential(nn.Conv2d(3, 4, 3), AttentionPool(4, 4)), pretrained=pretrained)


TOWERS = {
    "text encoder": {"text": bert()},
    "image CNN": {"image": cnn()},
    "image ViT": {"image": bert()},
    "text and image": {"text": bert(), "image": cnn(), "table": Stub()},
    "text beside fresh images and a table": {"text": bert(), "image": cnn(pretrained=False), "table": Stub(members=8)},
    "audio": {"audio": Stub(nn.Linear(4, 4), pretrained=True)},
    "no pretrained tower": {"image": cnn(pretrained=False), "table": Stub(members=8)},
    "no backbone": {"table": Stub()},
    "table": {"table": Stub(members=8)},
}
LOADED = [name for name in TOWERS if name not in ("no pretrained tower", "no backbone", "table")]


def chosen(name, rows=300, problem_type="binary", **options):
    """What is chosen for towers by name."""
    config = resolve("default", {key.replace("__", "."): value for key, value in options.items()})
    model = FusionModel(TOWERS[name], 2, width=4, dropout=0.0)
    return choose_defaults(config, model, RowTarget(problem_type, "y"), rows)


@pytest.mark.parametrize("name", TOWERS)
def test_the_family_of_a_model_is_that_of_its_towers(name):
    expected = "text encoder" if name.startswith("text beside") else name
    assert family_of(TOWERS[name]) == expected
    assert (expected in load_rules().families) == (name != "audio")


def test_towers_of_other_kinds_have_a_family_of_their_own():
    assert family_of({"text": bert(), "audio": Stub(pretrained=True)}) == "text and audio"


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize(("optimizer", "times"), [("adamw", 1), ("sgd", 100)])
@pytest.mark.parametrize(
    ("peft", "lr"), [(None, 1e-4), ("lora", 1e-3), ("ia3", 1e-2), ("bitfit", 3e-3), ("norm", 3e-3)]
)
def test_rates(name, optimizer, times, peft, lr):
    config = chosen(name, optim__optimizer=optimizer, model__peft=peft)
    assert config.optim.lr == times * (lr if name in LOADED else 1e-3)


@pytest.mark.parametrize("rows", [1, 50, 300, 100_000])
@pytest.mark.parametrize("start", ["probe", "random"])
@pytest.mark.parametrize("name", TOWERS)
def test_rates_and_epochs_do_not_depend_on_rows_and_the_start(name, start, rows):
    config = chosen(name, rows, optim__head_init=start)
    assert config.optim.lr == (1e-4 if name in LOADED else 1e-3)
    if name != "table":
        assert config.optim.max_epochs == (3 if name in LOADED else 5)
        number = chosen(name, rows, "regression", optim__head_init=start)
        assert number.optim.max_epochs == (4 if name in LOADED else 5)


@pytest.mark.parametrize(
    ("rows", "deep", "plain", "table", "epochs"),
    [
        (0, 8, 8, 16, 25),
        (10, 8, 8, 16, 25),
        (300, 8, 8, 16, 25),
        (700, 16, 8, 16, 25),
        (1_500, 32, 16, 32, 25),
        (40_000, 32, 256, 256, 25),
        (100_000, 32, 256, 256, 15),
        (1_000_000, 32, 256, 256, 5),
    ],
)
def test_sizes_of_batches_and_epochs_of_a_table_follow_from_the_rows(rows, deep, plain, table, epochs):
    expected = dict.fromkeys(TOWERS, deep) | {"no backbone": plain, "table": table}
    for name, size in expected.items():
        config = chosen(name, max(rows, name == "table"))
        assert config.env.batch_size == config.env.micro_batch_size == size
        assert config.env.eval_batch_size == (1024 if name in ("no backbone", "table") else 64)
    assert chosen("table", max(rows, 1)).optim.max_epochs == epochs
    assert chosen("table", max(rows, 1), "regression").optim.max_epochs == epochs


def test_a_pretrained_tower_without_a_backbone_has_the_batches_of_one():
    model = FusionModel({"sound": Stub(pretrained=True)}, 2, width=4, dropout=0.0)
    config = choose_defaults(resolve(), model, RowTarget("binary", "y"), 40_000)
    assert (config.optim.lr, config.optim.max_epochs, config.env.batch_size) == (1e-4, 3, 256)


def test_reasons_tell_the_rule_and_its_source():
    config = chosen("table", 40_000)
    assert config.provenance["env.batch_size"] == (
        "chosen: 40,000 training rows, a table alone, which starts at random (benchmark, 18 comparisons)"
    )
    assert config.provenance["optim.max_epochs"] == (
        "chosen: 157 steps an epoch, a table alone, which starts at random (benchmark, 18 comparisons)"
    )
    assert chosen("audio", optim__optimizer="sgd").provenance["optim.lr"] == (
        "chosen: a tower is pretrained (Tang et al., AutoML 2024); no rule for audio: that of pretrained tower, times "
        "100 for sgd (Dosovitskiy et al., ICLR 2021)"
    )


def test_what_is_set_stays_and_what_presets_set_is_not_chosen_again():
    config = chosen("table", optim__lr=0.5, optim__max_epochs=2, env__batch_size=3)
    assert (config.optim.lr, config.optim.max_epochs, config.env.batch_size) == (0.5, 2, 3)
    config = chosen("text encoder")
    assert config.provenance["optim.lr_decay"] == "preset:medium_quality"
    assert config.provenance["optim.warmup"] == "default"


def test_a_rule_for_what_is_at_its_default_is_followed(tmp_path, monkeypatch):
    from thermocline.config import rules_file
    from thermocline.config.presets import presets_folder
    from thermocline.problems.rowwise import defaults

    text = (presets_folder() / "rules.yaml").read_text(encoding="utf-8")
    cell = '{start: random, value: 0.2, source: "Mosbach et al., ICLR 2021", n: 0, spread: null}'
    (tmp_path / "mine.yaml").write_text(text.replace("optim.warmup:\n", f"optim.warmup:\n      - {cell}\n"), "utf-8")
    mine = rules_file.read_rules(tmp_path / "mine.yaml")
    monkeypatch.setattr(defaults, "load_rules", lambda: mine)
    assert chosen("text encoder").optim.warmup == 0.1
    config = chosen("text encoder", optim__head_init="random")
    assert config.optim.warmup == 0.2
    assert config.provenance["optim.warmup"] == "chosen: a tower is pretrained, random (Mosbach et al., ICLR 2021)"
    assert chosen("text encoder", optim__head_init="random", optim__warmup=0.3).optim.warmup == 0.3
