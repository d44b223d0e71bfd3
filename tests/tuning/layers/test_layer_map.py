import pytest
import timm
import torch
import transformers as tf
from torch import nn

from thermocline.errors import LayerMapError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan


def meta(build, *args, **kwargs):
    with torch.device("meta"):
        return build(*args, **kwargs)


def bert(layers=3, kind=tf.BertModel, **extra):
    config = tf.BertConfig(
        vocab_size=50,
        hidden_size=8,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=16,
        **extra,
    )
    return meta(kind, config)


def names(layer_map, role=None):
    return [layer.name for layer in layer_map if role in (None, layer.role)]


def assert_total(model, layer_map):
    found = [name for layer in layer_map for name in layer.parameters]
    assert sorted(found) == sorted(name for name, _ in model.named_parameters())
    modules = [name for layer in layer_map for name in layer.modules]
    assert len(modules) == len(set(modules))
    assert set(modules) <= {name for name, _ in model.named_modules()}
    for tower in layer_map.towers:
        own = [layer for layer in layer_map.of_tower(tower) if layer.role != "adapter"]
        assert [layer.depth for layer in own] == list(range(len(own)))


def test_bert_is_embeddings_blocks_pooler():
    model = bert(12)
    layer_map = LayerMap.of(model, tower="text")
    assert names(layer_map) == ["embeddings", *(f"encoder.layer.{i}" for i in range(12)), "pooler"]
    assert layer_map.confident
    assert layer_map.labels[0] == "text/embeddings"
    assert_total(model, layer_map)
    # the norms of block 3 belong to block 3
    assert layer_map.layer_of("encoder.layer.3.attention.output.LayerNorm.weight").name == "encoder.layer.3"


def test_head_by_base_model_prefix_and_by_identity():
    model = bert(2, tf.BertForSequenceClassification)
    layer_map = LayerMap.of(model)
    assert names(layer_map, "head") == ["classifier"]
    assert "dropout" in layer_map["model/classifier"].modules
    assert layer_map["model/classifier"].pretrained
    given = LayerMap.of(model, head=model.classifier)
    assert not given["model/classifier"].pretrained
    assert given["model/encoder.layer.1"].pretrained


def test_head_must_stand_in_the_model():
    with pytest.raises(LayerMapError, match="not a submodule"):
        LayerMap.of(bert(), head=nn.Linear(2, 2))


def test_label_dependent_head_without_base_model_prefix():
    config = tf.WhisperConfig(
        d_model=8, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=8, decoder_layers=2,
        decoder_attention_heads=2, decoder_ffn_dim=8, vocab_size=60000, num_labels=4, classifier_proj_size=4,
    )  # fmt: skip
    layer_map = LayerMap.of(meta(tf.WhisperForAudioClassification, config))
    assert names(layer_map, "head") == ["classifier"]
    assert names(layer_map, "block") == ["encoder.layers.0", "encoder.layers.1"]


def test_vit_by_group_matcher():
    model = meta(timm.create_model, "vit_tiny_patch16_224", num_classes=0)
    layer_map = LayerMap.of(model, tower="image")
    assert names(layer_map) == ["stem", *(f"blocks.{i}" for i in range(12))]
    assert {layer.source for layer in layer_map} == {"group_matcher"}
    assert "pos_drop" in layer_map["image/stem"].modules
    assert "norm.weight" in layer_map["image/blocks.11"].parameters
    assert_total(model, layer_map)


def test_stages_are_split_into_blocks_in_numeric_order():
    model = meta(timm.create_model, "swin_tiny_patch4_window7_224")
    layer_map = LayerMap.of(model)
    depths = [2, 2, 6, 2]
    assert names(layer_map, "block") == [f"layers.{i}.blocks.{j}" for i, n in enumerate(depths) for j in range(n)]
    assert names(layer_map, "head") == ["head"]
    swin = meta(tf.SwinModel, tf.SwinConfig())
    assert len(names(LayerMap.of(swin), "block")) == 12


FAMILIES = [
    "resnet18", "convnext_atto", "efficientnet_b0", "mobilenetv2_100", "mobilevit_xxs", "regnetx_002",
    "densenet121", "poolformer_s12", "pvt_v2_b0", "deit_tiny_distilled_patch16_224", "mixer_s32_224", "dla34",
]  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_timm_families(name):
    model = meta(timm.create_model, name)
    before = [p.requires_grad for p in model.parameters()]
    layer_map = LayerMap.of(model)
    assert layer_map.confident
    assert_total(model, layer_map)
    assert names(layer_map, "head")
    assert len(names(layer_map, "block")) >= 4
    assert before == [p.requires_grad for p in model.parameters()]


def test_encoder_decoder_runs_through_the_encoder_first_and_ties_are_aliases():
    config = tf.T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=16, num_layers=3, num_heads=2)
    model = meta(tf.T5ForConditionalGeneration, config)
    layer_map = LayerMap.of(model)
    assert names(layer_map, "block") == [f"{side}.block.{i}" for side in ("encoder", "decoder") for i in range(3)]
    assert layer_map.aliases["encoder.embed_tokens.weight"] == "shared.weight"
    assert layer_map.layer_of("decoder.embed_tokens.weight").role == "stem"
    assert_total(model, layer_map)


def test_bert_tied_to_its_language_head():
    model = bert(2, tf.BertForMaskedLM)
    layer_map = LayerMap.of(model)
    assert layer_map.aliases["cls.predictions.decoder.weight"] == "bert.embeddings.word_embeddings.weight"
    assert layer_map.layer_of("cls.predictions.decoder.weight").role == "stem"
    assert_total(model, layer_map)


def test_shared_blocks_count_once():
    config = tf.AlbertConfig(vocab_size=50, hidden_size=8, num_attention_heads=2, intermediate_size=8, embedding_size=4)
    model = meta(tf.AlbertModel, config)
    layer_map = LayerMap.of(model)
    assert len(names(layer_map, "block")) == 1
    assert layer_map.confident
    assert_total(model, layer_map)


def test_zipped_lists():
    config = tf.XLMConfig(vocab_size=50, emb_dim=8, n_layers=3, n_heads=2)
    model = meta(tf.XLMModel, config)
    layer_map = LayerMap.of(model)
    assert len(names(layer_map, "block")) == 3
    second = layer_map.layer_of("attentions.1.q_lin.weight")
    assert second is layer_map.layer_of("layer_norm2.1.weight") is layer_map.layer_of("ffns.1.lin1.weight")
    assert_total(model, layer_map)


def test_towers_are_kept_apart():
    model = meta(tf.CLIPModel, tf.CLIPConfig())
    layer_map = LayerMap.of(model)
    assert set(layer_map.towers) == {"text_model", "vision_model", "model"}
    assert_total(model, layer_map)


def test_wrappers_are_seen_through():
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    inner = bert(2)
    layer_map = LayerMap.of(Wrapper(inner))
    assert names(layer_map) == names(LayerMap.of(inner))
    assert all(name.startswith("module.") for layer in layer_map for name in layer.parameters)
    assert_total(Wrapper(inner), layer_map)


def test_adapters_take_the_depth_of_their_host():
    peft = pytest.importorskip("peft")
    model = bert(2)
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=["query", "pooler.dense"]), model)
    layer_map = LayerMap.of(model)
    assert all("lora_" in name for layer in layer_map if layer.role == "adapter" for name in layer.parameters)
    assert names(layer_map, "adapter") == [
        f"{n}.adapter" for n in ("encoder.layer.0", "encoder.layer.1", "pooler.dense")
    ]
    assert layer_map["model/encoder.layer.1.adapter"].depth == layer_map["model/encoder.layer.1"].depth
    assert not layer_map["model/encoder.layer.1.adapter"].pretrained


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.late = nn.Linear(3, 3)
        self.early = nn.Linear(3, 3)
        self.cell = nn.GRU(3, 3)


def test_unknown_structure_is_loud():
    layer_map = LayerMap.of(Odd())
    assert not layer_map.confident
    assert "COULD NOT BE FOUND" in str(layer_map).splitlines()[0]
    assert len(layer_map) > 1
    with pytest.raises(LayerMapError, match="from_patterns") as caught:
        layer_map.require_confident("this")
    assert "cell" in str(caught.value)


def test_from_patterns():
    model = Odd()
    layer_map = LayerMap.from_patterns(model, ["early", "cell", "late"])
    assert names(layer_map) == ["early", "cell", "late"]
    assert layer_map.confident
    blocks = nn.ModuleDict({"b": nn.ModuleList(nn.Linear(2, 2) for _ in range(11)), "s": nn.Linear(2, 2)})
    assert names(LayerMap.from_patterns(blocks, ["s", "b.*"])) == ["s", *(f"b.{i}" for i in range(11))]
    grouped = LayerMap.from_patterns(blocks, ["s", ("b.[0-4]", 1), ("b.[5-10]", 2)])
    assert names(grouped) == ["s", "group.1", "group.2"]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["early", "cell"], "No pattern matches"),
        (["early", "cell", "lat"], "matches no parameter.* 'late'"),
        (["early", "cell", "late", "*"], "both match"),
        ("early", "must be a list"),
        (["re:("], "no regular expression"),
    ],
)
def test_from_patterns_faults(patterns, message):
    with pytest.raises(LayerMapError, match=message):
        LayerMap.from_patterns(Odd(), patterns)


def test_join_prefixes_and_keeps_towers_apart():
    model = nn.ModuleDict({"text": bert(2), "image": meta(timm.create_model, "vit_tiny_patch16_224", num_classes=0)})
    model["head"] = nn.Linear(4, 2)
    whole = LayerMap.join(
        {
            "text": LayerMap.of(model["text"], tower="text"),
            "image": LayerMap.of(model["image"], tower="image"),
            "head": LayerMap.single(model["head"], name="head", tower="fusion", role="head"),
        }
    )
    assert_total(model, whole)
    assert whole.towers == ("text", "image", "fusion")
    assert "head" in whole["fusion/head"].modules
    assert whole["text/encoder.layer.1"].parameters[0].startswith("text.encoder.layer.1.")


def test_one_label_twice_and_unknown_role_are_errors():
    part = LayerMap.single(nn.Linear(1, 1), name="head", tower="x", role="head")
    with pytest.raises(LayerMapError, match="Two layers"):
        LayerMap.join({"a": part, "b": part})
    with pytest.raises(LayerMapError, match="Did you mean 'head'"):
        LayerMap.single(nn.Linear(1, 1), name="h", tower="x", role="heads")


def test_shows_and_round_trip():
    layer_map = LayerMap.of(bert(12), tower="text")
    assert "encoder.layer.[0-11]" in str(layer_map)
    assert len(str(layer_map).splitlines()) == 5
    assert "encoder.layer.[0-11]" in layer_map._repr_html_()
    assert LayerMap.from_dict(layer_map.to_dict()) == layer_map
    assert list(layer_map.to_frame()["depth"]) == list(range(14))
    with pytest.raises(LayerMapError, match="version"):
        LayerMap.from_dict({"version": 9})


class Crossed(nn.Module):
    """Its children run neither in their order nor one after another."""

    def __init__(self, *, side_by_side):
        super().__init__()
        self.side_by_side = side_by_side
        self.last, self.middle, self.first = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        if self.side_by_side:
            return sum(part(x) for part in (self.first, self.middle, self.last))
        return self.last(self.middle(self.first(x)))


def test_an_example_gives_the_order_in_which_children_run():
    model = Crossed(side_by_side=False)
    assert not LayerMap.of(model).confident
    found = LayerMap.of(model, example=torch.zeros(1, 4))
    assert found.confident
    assert names(found) == ["first", "middle", "last"]
    assert names(found, "stem") == ["first"]
    assert {p.device.type for p in model.parameters()} == {"cpu"}


class Twisted(nn.Module):
    """Blocks that all begin before any of them ends."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList([nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4)]) for _ in range(4)
        )

    def forward(self, x):
        for i in range(3):
            for block in self.blocks:
                x = block[i](x)
        return x


def test_an_order_that_a_forward_pass_contradicts_is_loud():
    assert LayerMap.of(Twisted()).confident  # nothing says otherwise
    found = LayerMap.of(Twisted(), example=torch.zeros(1, 4))
    assert not found.confident
    assert any("side by side" in text for text in found.warnings)
    with pytest.raises(LayerMapError, match="from_patterns"):
        LayerPlan.build(found, lr=1e-3, lr_choice="layerwise_decay")
    assert LayerPlan.build(found, lr=1e-3, lr_choice="two_stage").warnings


class Noisy(Crossed):
    """Draws random numbers, counts its calls and keeps what it saw: none of which may reach the model."""

    def forward(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        return super().forward(x + torch.rand(4))


def test_looking_at_a_model_leaves_no_trace():
    model = Noisy(side_by_side=False).train()
    seen = []
    model.register_forward_hook(lambda *_: seen.append(1))
    state = torch.get_rng_state()
    before = {name: p.clone() for name, p in model.named_parameters()}
    assert LayerMap.of(model, example=torch.zeros(1, 4)).order == "forward pass"
    assert torch.equal(torch.get_rng_state(), state)
    assert not seen
    assert not hasattr(model, "calls")
    assert model.training
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize(
    "example",
    [torch.zeros(1, 4), (torch.zeros(1, 4),), {"x": torch.zeros(1, 4)}],
    ids=["tensor", "tuple", "mapping"],
)
def test_forms_of_an_example(example):
    assert names(LayerMap.of(Crossed(side_by_side=False), example=example)) == ["first", "middle", "last"]


def test_an_example_that_does_not_fit_is_an_error():
    with pytest.raises(LayerMapError, match="example"):
        LayerMap.of(Crossed(side_by_side=False), example=torch.zeros(1, 5))


def test_weight_norm_and_compiled_models_are_seen_through():
    net = nn.Sequential(*(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)) for _ in range(3)))
    found = LayerMap.of(net, example=torch.zeros(1, 4))
    assert_total(net, found)
    assert [layer.depth for layer in found] == [0, 1, 2]
    wrapped = torch.compile(bert(2))
    assert [layer.name for layer in LayerMap.of(wrapped)] == [layer.name for layer in LayerMap.of(bert(2))]
