"""A cache folder that fits share never gives a model the values of another one."""

from __future__ import annotations

import errno
import json
import os
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModel

from support.cached_fits import check_same, fit, notes
from support.tiny import make_texts
from thermocline.contracts.tower import Tower
from thermocline.data.batches import Rows
from thermocline.data.memory_budget import Budget
from thermocline.data.order import inference_order
from thermocline.data.row_part import RowPart
from thermocline.efficiency.prefix_cache import row_store
from thermocline.efficiency.prefix_cache.cache import PrefixCache
from thermocline.efficiency.prefix_cache.options import CacheOptions
from thermocline.efficiency.prefix_cache.prefix_identity import machine, prefix_state, settings_hash, versions
from thermocline.errors import ThermoclineWarning
from thermocline.inputs.image.spec import ImageSpec
from thermocline.inputs.image.tower import ImageTower
from thermocline.inputs.text.tower import TextTower
from thermocline.tuning.layers.layer_map import LayerMap

SMALL = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48},
    "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 2},
    "distilbert": {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 48},
    "modernbert": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "pad_token_id": 0},
}


def text_tower(kind: str = "bert", pooling: str = "mean", **changes: object) -> TextTower:
    config = CONFIG_MAPPING[kind](**{"vocab_size": 50, **SMALL[kind], **changes})
    return TextTower(AutoModel.from_config(config), pooling=pooling, pretrained=True)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("bert", {"layer_norm_eps": 1e-6}),
        ("bert", {"hidden_act": "relu"}),
        ("bert", {"num_attention_heads": 4}),
        ("bert", {"pooling": "cls"}),
        ("bert", {"attn_implementation": "eager"}),
        ("bert", {"is_decoder": True}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("gpt2", {"activation_function": "relu"}),
        ("distilbert", {"activation": "relu"}),
        ("modernbert", {"norm_eps": 1e-4}),
        ("modernbert", {"local_attention": 4}),
    ],
)
def test_settings_that_no_weight_shows_are_part_of_the_name(kind, changes):
    assert settings_hash(text_tower(kind, **changes)) != settings_hash(text_tower(kind))
    assert settings_hash(text_tower(kind)) == settings_hash(text_tower(kind))


def image_tower(name: str = "test_vit", mean: float = 0.5, **arguments: object) -> ImageTower:
    import timm

    spec = ImageSpec((160, 160), (mean,) * 3, (0.5,) * 3, "bicubic", 1.0)
    return ImageTower(timm.create_model(name, num_classes=0, **arguments), spec, columns=1, pretrained=True)


def test_settings_of_timm_are_part_of_the_name():
    from functools import partial

    plain = settings_hash(image_tower())
    others = [
        image_tower(mean=0.4),
        image_tower(act_layer=nn.ReLU),
        image_tower(norm_layer=partial(nn.LayerNorm, eps=1e-3)),
        image_tower(global_pool="avg", fc_norm=False),
        image_tower(num_heads=1),
    ]
    assert plain not in [settings_hash(one) for one in others]
    assert plain == settings_hash(image_tower())


def test_modes_hooks_and_forward_passes_are_no_settings():
    tower = text_tower()
    before = settings_hash(tower)
    tower.eval().backbone.register_forward_hook(lambda *_: None)
    tower({"input_ids": torch.ones(1, 3, dtype=torch.long), "attention_mask": torch.ones(1, 3, dtype=torch.long)})
    assert settings_hash(tower) == before


def test_versions_and_machine_are_part_of_the_name(monkeypatch):
    assert {"thermocline", "torch", "timm", "transformers"} <= set(versions())
    here = machine(torch.device("cpu"))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    assert machine(torch.device("cpu")) != here
    monkeypatch.undo()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert machine(torch.device("cpu")) != here


@pytest.fixture
def folder(text_folder, tmp_path):
    return Path(shutil.copytree(text_folder, tmp_path / "checkpoint"))


def change(folder: Path, **values: object) -> None:
    """Write another configuration beside the same weights."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def options(folder: Path, shared: Path, **more: object) -> dict[str, object]:
    named = {"model.text.checkpoint": str(folder), "model.text.frozen_layers": 2, "optim.max_epochs": 2}
    return {**named, "env.cache_folder": str(shared), **more}


def test_the_same_weights_in_another_model_have_values_of_their_own(folder, tmp_path):
    frame, given = make_texts(40), options(folder, tmp_path / "shared")
    fit(frame, "disk", **given)
    change(folder, hidden_act="relu", layer_norm_eps=1e-5)
    cached = fit(frame, "disk", **given)
    assert "on disk" in notes(cached)
    assert "another model" not in notes(cached)
    check_same(fit(frame, "off", **given), cached, frame)


class Scaled(Tower):
    """A frozen stem whose factor is no weight, before a block with a BatchNorm that trains."""

    width = 4

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.stem, self.block = nn.Linear(6, 6), nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
        self._factor = factor  # which no name shows

    def forward(self, inputs, *, grain="row"):
        return self.block(self.stem(inputs["x"]) * self._factor)


class Model(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.towers = nn.ModuleDict({"x": Scaled(factor)})

    def features(self, batch):
        own = batch["x"]
        return own["features"] if "features" in own else self.towers["x"](own)


@dataclass(frozen=True)
class Vectors(RowPart):
    count: int

    def __len__(self) -> int:
        return self.count

    def batch(self, rows, epoch=None):
        values = [np.random.default_rng(int(row)).standard_normal(6) for row in rows]
        return {"x": np.stack(values).astype(np.float32)}

    def identity(self, *, files):
        yield str(self.count).encode()


class Opened:
    """A cache of a model in a shared folder; of `whole` the block is frozen too."""

    def __init__(self, folder: Path, factor: float = 1.0, *, whole: bool = False, validated: int = 3) -> None:
        self.model = Model(factor)
        own = LayerMap.from_patterns(self.model.towers["x"], ["stem", "block"], tower="x")
        self.map = LayerMap.join({"towers.x": own})
        self.frozen = self.map.labels if whole else self.map.labels[:1]
        for label in self.frozen:
            for name in self.map[label].parameters:
                self.model.get_parameter(name).requires_grad_(False)
        self.model.eval()
        self.rows = {"train": Rows({"x": Vectors(12)}), "valid": Rows({"x": Vectors(7)})}
        options = CacheOptions("disk", 4, Budget(0), folder, shared=True, validated=validated)
        self.cache = PrefixCache(self.model, self.map, self.rows, options, nullcontext)
        self.cache.update(self.frozen, uses=5.0)

    def batches(self, split: str):
        size = self.cache.options.batch_size(split)
        return inference_order(len(self.rows[split]), size, None)

    def computed(self, split: str) -> int:
        """Run all batches, compare them with ordinary passes, and return how many were computed and written."""
        store = self.cache._cached["x"].stores[split]
        written, write = [], store.write
        store.write = lambda *args: written.append(args) or write(*args)
        with torch.no_grad():
            for positions in self.batches(split):
                with self.cache.serving(split, self.rows[split].batch(positions)) as given:
                    assert torch.equal(
                        self.model.features(given), self.model.features(self.rows[split].batch(positions))
                    )
        store.write = write
        return len(written)

    def files(self) -> list[str]:
        return sorted(one.name for one in self.cache.options.folder.iterdir())


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("wrote", ["train", "valid"])
def test_values_that_are_found_are_compared_with_an_ordinary_pass(tmp_path, whole, wrote):
    """Whatever a name lacks that tells models apart, and whichever rows have values."""
    first = Opened(tmp_path, whole=whole)
    first.computed(wrote)
    first.cache.close()
    with pytest.warns(ThermoclineWarning, match="another model or machine wrote them. They are computed again"):
        other = Opened(tmp_path, 1.5, whole=whole)
    assert other.files() == first.files()
    assert "values that were found there are of another model: they are computed again" in other.cache.lines["x"]
    assert (other.computed("train"), other.computed("valid")) == (3, 3)
    other.cache.close()
    again = Opened(tmp_path, 1.5, whole=whole)
    assert "another model" not in again.cache.lines["x"]
    assert again.computed("train") == again.computed("valid") == 0


def test_values_that_another_process_has_mapped_stay_as_they_are(tmp_path):
    first = Opened(tmp_path)
    first.computed("train")
    with pytest.warns(ThermoclineWarning, match="another model"):
        Opened(tmp_path, 1.5).computed("train")
    assert first.computed("train") == 0


def test_values_of_another_batch_size_of_validation_are_others(tmp_path):
    names = [Opened(tmp_path, validated=size).files() for size in (3, 5)]
    assert len([name for name in names[1] if name.startswith("x-valid")]) == 2
    assert len([name for name in names[1] if name.startswith("x-train")]) == 1


def test_statistics_that_the_prefix_does_not_read_are_no_part_of_the_name(tmp_path):
    """Those of BatchNorms that train behind the prefix, as in RT-DETR; a stopped run finds its values."""
    first = Opened(tmp_path)
    with torch.no_grad():
        first.model.towers["x"].train()({"x": torch.randn(8, 6)})
    first.model.eval()
    first.cache.close()
    again = Opened.__new__(Opened)
    again.__dict__.update(first.__dict__)
    again.cache = PrefixCache(first.model, first.map, first.rows, first.cache.options, nullcontext)
    again.cache.update(first.frozen, uses=5.0)
    assert len(again.files()) == 2
    whole = Opened(tmp_path / "whole", whole=True)
    tower = whole.cache._cached["x"]
    names = [name for name, _ in prefix_state(tower, whole.model, whole.map)]
    assert "towers.x.block.1.running_mean" in names


def test_a_disk_without_room_for_the_values(tmp_path, monkeypatch):
    """It is found out before the file is mapped: a write into a hole of a mapped file would end the program."""

    def full(number: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(row_store, "reserve", full)
    opened = Opened(tmp_path)
    line = opened.cache.lines["x"]
    assert f"not cached: its files cannot be written to {str(tmp_path)!r} ([Errno 28] No space left on device)" in line
    assert not [one for one in tmp_path.rglob("*") if one.is_file()]
    monkeypatch.undo()
    assert "run once a row" in Opened(tmp_path).cache.lines["x"]


def test_values_have_their_space_on_the_disk(tmp_path):
    store = row_store.RowStore(1000, folder=tmp_path)
    store.open("x", row_store.Form("float32", (100,), (0, 1), by_token=False))
    assert (tmp_path / "x.values").stat().st_blocks * 512 >= 400_000
