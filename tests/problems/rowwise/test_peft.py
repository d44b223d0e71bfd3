"""`model.peft`: what trains in a backbone, what stays as it was to the bit, and what is said where it cannot be."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from support.assemblies import assembled, rows_at_prediction
from support.tiny import TINY, make_table, make_texts, told
from thermocline import LayerMap, LayerPlan, Predictor
from thermocline.backbones.adapters import Adapters, ia3_targets, inject
from thermocline.config import resolve
from thermocline.errors import ConfigError, LayerMapError, MissingDependencyError, SelectorError
from thermocline.inputs.text.tower import TextTower
from thermocline.problems.rowwise import peft
from thermocline.problems.rowwise.model import FusionModel
from thermocline.training.best_states import BestStates, Scored
from thermocline.tuning.apply import AppliedPlan
from thermocline.tuning.layers.adapters import biases, matrices, norms, with_injected
from thermocline.tuning.layers.selectors import select

METHODS = ("lora", "ia3", "bitfit", "norm")
TOWERS = ("text", "image", "vision")


@pytest.fixture(scope="module")
def resnet_folder(tmp_path_factory):
    """timm's `test_resnet`; its blocks end in norms of weight 1, where a fresh one's are 0 and pass no gradient on."""
    import timm
    from timm.models import save_for_hf

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny-resnet"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        save_for_hf(timm.create_model("test_resnet", zero_init_last=False), str(folder), safe_serialization=True)
    return folder


@pytest.fixture
def given(text_folder, resnet_folder, vision_folder, pictures):
    """Frame and options by tower: a BERT, timm's ResNet, a transformers ViT."""
    options = {
        "text": {"model.text.checkpoint": str(text_folder)},
        "image": {"model.image.checkpoint": str(resnet_folder), "model.image.size": 32},
        "vision": {"model.image.checkpoint": str(vision_folder)},
    }
    frames = {"text": make_texts(), "image": pictures, "vision": pictures}
    return {name: (frames[name], {**TINY, **options[name]}) for name in TOWERS}


def assembly_of(frame, options, **more):
    return assembled(frame, {**options, **more}, tuning_data=None)


@pytest.fixture
def last_is_best(monkeypatch):
    """Fits end in their last state, whatever a handful of rows says."""
    offer = BestStates.offer
    monkeypatch.setattr(BestStates, "offer", lambda self, step, _, take: offer(self, step, Scored(step), take))


def adapters_of(assembly):
    return [layer for layer in assembly.layer_map if layer.role == "adapter"]


# what trains


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("method", METHODS)
def test_hosts_stay_to_the_bit_and_the_rest_learns(method, tower, given, make_predictor, tmp_path, last_is_best):
    frame, options = given[tower]
    options = {**options, "model.peft": method, "optim.head_init": "random", "optim.top_k_average": "best"}
    start = assembly_of(frame, options).model.state_dict()
    predictor = make_predictor().fit(frame, hyperparameters=options)
    end = predictor._assembly.model.state_dict()
    plan, layers = predictor.plan, predictor._assembly.layer_map
    trained = {name for layer in layers if layer.label not in plan.frozen for name in layer.parameters}
    assert set(start) == set(end)
    assert all(torch.equal(start[name], end[name]) for name in set(end) - trained)  # buffers included
    assert {"head.weight", "head.bias"} <= trained
    moved = {name for name in trained if not torch.equal(start[name], end[name])}
    assert {"head.weight", "head.bias"} <= moved
    for layer in adapters_of(predictor._assembly):
        assert moved & set(layer.parameters), layer.label
    assert all((layer.role in ("stem", "block", "neck")) == layer.frozen for layer in plan.layers)
    predictor.save(tmp_path / "run")
    loaded = Predictor.load(tmp_path / "run", verbosity=0)
    assert loaded.predict_proba(frame).equals(predictor.predict_proba(frame))
    assert loaded.plan == predictor.plan


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_at_step_0_the_model_is_the_plain_one(method, tower, given):
    frame, options = given[tower]
    plain, adapted = assembly_of(frame, options), assembly_of(frame, options, **{"model.peft": method})
    batch = rows_at_prediction(plain, frame).batch(np.arange(4))
    with torch.no_grad():
        assert torch.equal(plain.model.eval().features(batch), adapted.model.eval().features(batch))
    assert torch.equal(plain.model.head.weight, adapted.model.head.weight)
    hosts = [layer for layer in adapted.layer_map if layer.role != "adapter"]
    assert [(one.label, one.depth, one.n_parameters) for one in hosts] == [
        (one.label, one.depth, one.n_parameters) for one in plain.layer_map
    ]


def test_the_probe_starts_the_head(given, make_predictor):
    frame, options = given["text"]
    probed = {}
    for method in (None, "lora", "ia3"):
        history = make_predictor().fit(frame, hyperparameters={**options, "model.peft": method}).history.to_frame()
        start = history[history["note"].str.startswith("probe:")].iloc[0]
        probed[method] = start["val_roc_auc"]
    assert probed["lora"] == probed["ia3"] == probed[None]


def test_one_seed_gives_one_result_and_another_another(given, make_predictor):
    frame, options = given["text"]
    options = {**options, "model.peft": "lora"}
    one, same = (make_predictor().fit(frame, hyperparameters=options, seed=3) for _ in range(2))
    assert one.predict_proba(frame).equals(same.predict_proba(frame))
    start, other = (assembled(frame, options, seed=seed, tuning_data=None).model for seed in (3, 4))
    name = next(name for name in start.state_dict() if ".lora_A." in name)
    assert not torch.equal(start.state_dict()[name], other.state_dict()[name])


def test_only_backbones_are_adapted(given, text_folder):
    frame = given["text"][0].assign(x=np.arange(48.0))
    plan = assembly_of(frame, given["text"][1], **{"model.peft": "bitfit"}).plan
    assert not any(layer.frozen for layer in plan.layers if layer.tower in ("table", "fusion"))
    assert {layer.tower for layer in plan.layers if layer.role == "adapter"} == {"text"}


def test_random_weights_that_stay_are_told(given):
    frame, options = given["text"]
    plan = assembly_of(frame, options, **{"model.peft": "lora", "model.text.pretrained": False}).plan
    assert "random weights that will never be trained" in str(plan)


def test_rank_and_alpha_are_loras(given):
    frame, options = given["text"]
    adapted = assembly_of(frame, options, **{"model.peft": "lora", "model.lora_rank": 3, "model.lora_alpha": 6})
    layer = adapted.model.towers["text"].backbone.encoder.layer[1].attention.self.query
    assert layer.lora_A["default"].weight.shape == (3, 32)
    assert layer.scaling == {"default": 2.0}
    assert isinstance(layer.lora_dropout["default"], nn.Identity)


# rates


@pytest.mark.parametrize("method", METHODS)
def test_rates_follow_lr_choice(method, given):
    frame, options = given["text"]
    scale = {}
    for choice in ("single_lr", "two_stage", "layerwise_decay"):
        plan = assembly_of(frame, options, **{"model.peft": method, "optim.lr_choice": choice}).plan
        scale[choice] = {layer.label: layer.lr_scale for layer in plan.layers}
    adapters = [label for label in scale["single_lr"] if label.endswith(".adapter")]
    assert adapters
    for label in adapters:
        assert scale["single_lr"][label] == 1
        assert scale["two_stage"][label] == (10 if method in ("lora", "ia3") else 1)  # what is fresh, what is loaded
        assert scale["layerwise_decay"][label] == scale["layerwise_decay"][label.removesuffix(".adapter")] < 1
    assert scale["two_stage"]["fusion/head"] == 10


def test_little_that_trains_learns_faster(given):
    frame, options = given["text"]
    assert assembly_of(frame, options).config.optim.lr == 1e-4
    for method, lr in {"lora": 1e-3, "ia3": 1e-2, "bitfit": 3e-3, "norm": 3e-3}.items():
        assert assembly_of(frame, options, **{"model.peft": method}).config.optim.lr == lr
    assert assembly_of(frame, options, **{"model.peft": "lora", "optim.lr": 1e-4}).config.optim.lr == 1e-4


def test_the_optimizer_holds_what_trains_and_nothing_else(given):
    frame, options = given["vision"]
    adapted = assembly_of(frame, options, **{"model.peft": "lora"})
    groups = adapted.plan.parameter_groups(adapted.model)
    held = {id(p) for group in groups for p in group["params"]}
    names = {name for name, p in adapted.model.named_parameters() if id(p) in held}
    assert {name.split(".")[0] for name in names} == {"towers", "head"}
    assert all("lora_" in name for name in names if name.startswith("towers."))


# frozen layers


@pytest.mark.parametrize(
    ("selector", "frozen"),
    [
        ("encoder.layer.0", ["encoder.layer.0"]),
        ("encoder.layer.[0-1]", ["encoder.layer.0", "encoder.layer.1"]),
        (2, ["encoder.layer.0"]),
        (-1, ["encoder.layer.0"]),
        (["stem", "re:encoder.layer.1.adapter"], ["encoder.layer.1"]),
        ("adapter", ["encoder.layer.0", "encoder.layer.1"]),
        ("backbone", []),
    ],
)
@pytest.mark.parametrize("key", ["model.frozen_layers", "model.text.frozen_layers"])
def test_frozen_layers_take_their_adapters_along(selector, frozen, key, given):
    frame, options = given["text"]
    plan = assembly_of(frame, options, **{"model.peft": "lora", key: selector}).plan
    adapters = {layer.label: layer.frozen for layer in plan.layers if layer.role == "adapter"}
    assert adapters == {f"text/encoder.layer.{i}.adapter": f"encoder.layer.{i}" in frozen for i in range(2)}
    assert not plan["fusion/head"].frozen


def test_a_count_takes_adapters_along_in_the_map_too(given):
    frame, options = given["text"]
    adapted = assembly_of(frame, options, **{"model.peft": "bitfit"})
    assert select(adapted.layer_map, 2, tower="text") == (
        "text/embeddings",
        "text/embeddings.adapter",
        "text/encoder.layer.0",
        "text/encoder.layer.0.adapter",
    )


def test_everything_frozen_is_told(given):
    frame, options = given["text"]
    with pytest.raises(SelectorError, match="nothing is left to train"):
        assembly_of(frame, options, **{"model.peft": "norm", "model.frozen_layers": ["adapter", "head"]})


def test_a_plan_of_explain_is_followed(given, make_predictor):
    frame, options = given["text"]
    options = {**options, "model.peft": "lora"}
    plan = make_predictor().explain(frame, hyperparameters=options)
    assert "adapter" in str(plan)
    assert "weights train (" in str(plan)
    plan = plan.edit("encoder.layer.0.adapter", frozen=True)
    assert make_predictor().fit(frame, hyperparameters=options, plan=plan).plan == plan


# modes


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("method", METHODS)
def test_frozen_hosts_are_in_eval_mode(method, tower, given):
    frame, options = given[tower]
    adapted = assembly_of(frame, options, **{"model.peft": method})
    model = AppliedPlan(adapted.model, adapted.layer_map, adapted.plan).train()
    backbone = next(iter(model.towers.values())).backbone
    for name, module in backbone.named_modules():
        kind = type(module).__name__
        if isinstance(module, nn.Dropout) or "Attention" in kind or isinstance(module, nn.modules.conv._ConvNd):
            assert not module.training or ".lora_" in name, name
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert module.training == (method == "norm"), name
    modules = [name for layer in adapted.layer_map for name in layer.modules]
    assert len(modules) == len(set(modules))


@pytest.mark.parametrize(("policy", "moves"), [("auto", False), ("train", True)])
def test_statistics_of_tuned_norms_follow_the_policy(policy, moves, given, make_predictor, last_is_best):
    frame, options = given["image"]
    options = {**options, "model.peft": "norm", "model.image.batch_norm": policy, "optim.head_init": "random"}
    start = assembly_of(frame, options).model.state_dict()
    end = make_predictor().fit(frame, hyperparameters=options)._assembly.model.state_dict()
    names = [name for name in end if name.endswith("running_mean")]
    assert [torch.equal(start[name], end[name]) for name in names] == [not moves] * len(names)


# what is chosen


def test_biases_and_norms_go_by_what_they_are():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.normal = nn.Linear(4, 4)  # no norm, whatever its name says
            self.scale = nn.LayerNorm((4, 4))
            self.batch = nn.BatchNorm2d(4)
            self.q_bias = nn.Parameter(torch.zeros(4))
            self.position_bias = nn.Parameter(torch.zeros(4, 4))

    model = Odd()
    assert norms(model) == ("scale.weight", "scale.bias", "batch.weight", "batch.bias")
    assert set(biases(model)) == {"normal.bias", "scale.bias", "batch.bias", "q_bias"}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # asked by peft's wrapper
def test_ia3_scales_what_peft_does_by_default(text_folder):
    from peft import IA3Config, TaskType, get_peft_model
    from transformers import AutoModel

    theirs = get_peft_model(
        AutoModel.from_pretrained(text_folder, add_pooling_layer=False),
        IA3Config(task_type=TaskType.FEATURE_EXTRACTION),
    )
    ours = AutoModel.from_pretrained(text_folder, add_pooling_layer=False)
    inject(ours, Adapters("ia3", *ia3_targets(ours, matrices(ours, LayerMap.of(ours)))))
    expected = {name.removeprefix("base_model.model."): p.shape for name, p in theirs.named_parameters()}
    assert {name: p.shape for name, p in ours.named_parameters()} == expected


def test_the_transposed_layers_of_gpt2_are_adapted(gpt_folder):
    adapted = assembly_of(make_texts(), TINY, **{"model.text.checkpoint": str(gpt_folder), "model.peft": "lora"})
    assert [layer.name for layer in adapters_of(adapted)] == ["h.0.adapter", "h.1.adapter"]


def test_blocks_without_linear_layers_have_convolutions_adapted(given):
    frame, options = given["image"]
    adapted = assembly_of(frame, options, **{"model.peft": "lora"})
    backbone = adapted.model.towers["image"].backbone
    targets = adapted.model.towers["image"].adapters.targets
    assert targets
    assert all(isinstance(backbone.get_submodule(name).base_layer, nn.Conv2d) for name in targets)
    assert not any(name.startswith("conv1") for name in targets)  # the stem's


def test_code_that_looks_at_a_replaced_module_finds_its_constants(pictures):
    options = {"model.image.checkpoint": "mobilenet_v2", "model.image.pretrained": False, "model.image.size": 32}
    adapted = assembly_of(pictures, TINY, **options, **{"model.peft": "ia3"})  # its padding asks for the stride
    assert len(adapters_of(adapted)) == 16


class ByWeight(nn.Module):
    """A block whose first matrix is used, but never called."""

    def __init__(self):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return x + self.out(nn.functional.linear(self.norm(x), self.qkv.weight))


class Words(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        self.embeddings, self.blocks = nn.Embedding(20, 8), nn.ModuleList(blocks)
        self.config = SimpleNamespace(hidden_size=8, model_type="words")

    def forward(self, input_ids, attention_mask):
        x = self.embeddings(input_ids)
        for block in self.blocks:
            x = block(x)
        return (x,)


def test_matrices_that_are_not_called_are_left_out_and_told():
    tower = TextTower(Words(ByWeight(), ByWeight()), pooling="mean", pretrained=True)
    peft.adapt(FusionModel({"text": tower}, 2, width=4, dropout=0.0), resolve(None, {"model.peft": "lora"}))
    assert tower.adapters.targets == ("blocks.0.out", "blocks.1.out")
    assert "no adapter in 'blocks.0.qkv', 'blocks.1.qkv'" in tower.notes[0]


def test_a_map_keeps_its_layers_when_adapters_come_in():
    model = Words(ByWeight(), ByWeight())
    plain = LayerMap.of(model)
    before = dict(model.named_parameters())
    inject(model, Adapters("lora", matrices(model, plain), rank=2))
    adapted = with_injected(plain, before, model)
    assert [layer.name for layer in adapted] == [
        "embeddings",
        "blocks.0",
        "blocks.0.adapter",
        "blocks.1",
        "blocks.1.adapter",
    ]
    assert [layer.depth for layer in adapted] == [0, 1, 1, 2, 2]
    assert {name for layer in adapted for name in layer.parameters} == dict(model.named_parameters()).keys()
    assert LayerPlan.build(adapted).parameter_groups(model)


# saved and loaded


def test_a_new_process_predicts_the_same(given, tmp_path, make_predictor):
    frame, options = given["text"]
    predictor = make_predictor(path=tmp_path / "run").fit(frame, hyperparameters={**options, "model.peft": "lora"})
    frame.to_csv(tmp_path / "frame.csv", index=False)
    code = (
        "import json, torch; torch.set_num_threads(1)\n"
        "from thermocline import Predictor\n"
        "print(json.dumps(Predictor.load('run', verbosity=0).predict_proba('frame.csv').to_numpy().tolist()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == predictor.predict_proba(frame).to_numpy().tolist()


def test_without_peft_fit_and_load_say_how_to_get_it(given, tmp_path, make_predictor, monkeypatch):
    frame, options = given["text"]
    predictor = make_predictor(path=tmp_path / "run").fit(frame, hyperparameters={**options, "model.peft": "lora"})
    assert predictor.problem_type == "binary"
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "peft" else find(name, *rest))
    for call in (
        lambda: Predictor.load(tmp_path / "run"),
        lambda: make_predictor().fit(frame, hyperparameters={**options, "model.peft": "ia3"}),
    ):
        assert "pip install 'thermocline[peft]'" in told(MissingDependencyError, ImportError, call)
    make_predictor().explain(frame, hyperparameters={**options, "model.peft": "bitfit"})  # needs no library


# errors


@pytest.mark.parametrize("method", METHODS)
def test_a_table_has_nothing_to_adapt(method, make_predictor, no_loading):
    call = lambda: make_predictor().explain(make_table(), hyperparameters={"model.peft": method})  # noqa: E731
    said = told(ConfigError, ValueError, call)
    assert f"model.peft={method!r} adapts the backbone of a text or image tower" in said
    assert "Set model.peft to null" in said


def test_a_backbone_without_biases_is_told(t5_folder, make_predictor):
    options = {**TINY, "model.text.checkpoint": str(t5_folder), "model.peft": "bitfit"}
    with pytest.raises(ConfigError, match="'bitfit' finds nothing to train in the text backbone") as caught:
        make_predictor().explain(make_texts(), hyperparameters=options)
    assert "'lora', 'ia3', 'bitfit' or 'norm'" in str(caught.value)


def test_a_backbone_that_does_not_run_with_adapters_is_told():
    class Typed(ByWeight):
        def forward(self, x):
            if type(self.out) is not nn.Linear:
                raise TypeError("out must be Linear")
            return super().forward(x)

    tower = TextTower(Words(Typed(), Typed()), pooling="mean", pretrained=True)
    model = FusionModel({"text": tower}, 2, width=4, dropout=0.0)
    with pytest.raises(ConfigError, match=r"does not run with adapters.*out must be Linear.*'bitfit' or 'norm'"):
        peft.adapt(model, resolve(None, {"model.peft": "lora"}))


@pytest.mark.parametrize("method", METHODS)
def test_a_backbone_of_unknown_layers_is_told(method):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.late, self.early, self.norm = nn.Linear(3, 3), nn.Linear(3, 3), nn.LayerNorm(3)
            self.cell = nn.GRU(3, 3)
            self.config = SimpleNamespace(hidden_size=3)

    tower = TextTower(Mixed(), pooling="mean", pretrained=True)
    model = FusionModel({"text": tower}, 2, width=4, dropout=0.0)
    with pytest.raises(LayerMapError, match=rf"model.peft='{method}' needs the layers of the text backbone \(Mixed\)"):
        peft.adapt(model, resolve(None, {"model.peft": method}))


def test_other_names_are_translated(make_predictor):
    for theirs, ours in (("lorra", "'lora'"), ("bit_fit", "bitfit")):
        call = lambda theirs=theirs: make_predictor().explain(make_table(), hyperparameters={"model.peft": theirs})  # noqa: E731
        assert ours in told(ConfigError, ValueError, call)
    with pytest.raises(ConfigError, match=r"model\.lora_rank: 0"):
        make_predictor().explain(make_table(), hyperparameters={"model.lora_rank": 0})
