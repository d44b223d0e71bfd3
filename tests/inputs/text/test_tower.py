"""Text towers: any family that AutoModel builds; a row's features are its own, alone or padded."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from thermocline.backbones.library_settings import quiet_transformers
from thermocline.backbones.pretrained import Source, find_text
from thermocline.errors import CheckpointError
from thermocline.inputs.text.build import build_text, load_config, rebuild_text
from thermocline.inputs.text.tokenizer import load_tokenizer, train_tokenizer
from thermocline.inputs.text.tower import TextTower, depends_on_padding, token_limit

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 100,
}
FAMILIES = {
    "bert": SMALL,
    "roberta": {**SMALL, "max_position_embeddings": 40, "pad_token_id": 1},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "vocab_size": 100},
    "electra": {**SMALL, "embedding_size": 16},
    "mpnet": {**SMALL, "max_position_embeddings": 40},
    "deberta-v2": {**SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    "modernbert": {
        **SMALL,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "cls_token_id": 1,
        "sep_token_id": 2,
        "local_attention": 8,
    },
    "albert": {**SMALL, "embedding_size": 16},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100, "n_positions": 64},
    "llama": {**SMALL, "num_key_value_heads": 2, "max_position_embeddings": 64},
    "qwen2": {**SMALL, "num_key_value_heads": 2, "max_position_embeddings": 64},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 100},
    "bart": {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "vocab_size": 100,
        "max_position_embeddings": 64,
    },
    "xlm": {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "vocab_size": 100, "max_position_embeddings": 64},
    "funnel": {
        "d_model": 32,
        "n_head": 4,
        "d_head": 8,
        "d_inner": 48,
        "block_sizes": [1, 1],
        "num_decoder_layers": 1,
        "vocab_size": 100,
    },
}
DECODERS = {"gpt2", "llama", "qwen2"}


def tower_of(kind, pooling="auto", **changes):
    """Through the same door as a fit: a folder with a configuration, random weights."""
    from transformers import CONFIG_MAPPING, AutoModel

    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**{**FAMILIES[kind], **changes})
    if kind == "funnel":  # transformers has two models for it and needs to be told
        config.architectures = ["FunnelModel"]
    with quiet_transformers():
        backbone = AutoModel.from_config(config)
    if config.is_encoder_decoder:
        backbone = backbone.get_encoder()
    with torch.no_grad():  # far from zero, so that differences show
        for parameter in backbone.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.15)
    if pooling == "auto":
        pooling = "last" if kind in DECODERS else "mean"
    return TextTower(backbone, pooling=pooling, pretrained=False).eval()


def rows(lengths, width=None, seed=0, pad=0):
    generator = torch.Generator().manual_seed(seed)
    width = width or max(lengths)
    ids = torch.randint(5, 100, (len(lengths), width), generator=generator)
    mask = (torch.arange(width)[None] < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": torch.where(mask.bool(), ids, pad), "attention_mask": mask}


def features(tower, batch):
    with torch.no_grad():
        return tower(batch)


@pytest.mark.parametrize("kind", [k for k in FAMILIES if k not in ("funnel", "xlm")])
def test_a_row_alone_or_padded_gives_the_same_features(kind):
    tower = tower_of(kind)
    together = features(tower, rows([9, 3, 20]))
    assert together.shape == (3, tower.width)
    assert together.std(dim=0).max() > 1e-3  # rows do differ
    for i, length in enumerate([9, 3, 20]):
        batch = rows([9, 3, 20])
        alone = {key: value[i : i + 1, :length] for key, value in batch.items()}
        torch.testing.assert_close(features(tower, alone)[0], together[i], atol=1e-5, rtol=1e-4)
    assert not depends_on_padding(tower, 100)


@pytest.mark.parametrize("kind", ["xlm", "funnel"])
def test_families_that_look_at_padding_are_found_out_or_do_not(kind):
    """Whatever the family does, the answer agrees with what a padded row gives."""
    tower = tower_of(kind)
    batch = rows([9, 3, 20])
    together = features(tower, batch)
    same = all(
        torch.allclose(
            features(tower, {key: value[i : i + 1, :length] for key, value in batch.items()})[0], together[i], atol=1e-5
        )
        for i, length in enumerate([9, 3, 20])
    )
    assert depends_on_padding(tower, 100) == (not same)


def test_fnet_is_found_to_look_at_padding():
    from transformers import FNetConfig, FNetModel

    torch.manual_seed(0)
    config = FNetConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, intermediate_size=48, max_position_embeddings=64
    )
    tower = TextTower(FNetModel(config, add_pooling_layer=False), pooling="mean", pretrained=False)
    batch = rows([4, 9])
    try:
        features(tower.eval(), batch)
    except TypeError:
        pytest.fail("a backbone without attention_mask must be fed without one")
    assert depends_on_padding(tower, 100)


@pytest.mark.parametrize("mode", [True, False])
def test_looking_leaves_the_mode_alone(mode):
    tower = tower_of("bert").train(mode)
    depends_on_padding(tower, 100)
    assert all(module.training == mode for module in tower.modules())


# pooling


@pytest.mark.parametrize(("pooling", "place"), [("cls", 0), ("last", 4)])
def test_pooling_takes_the_token_it_says(pooling, place):
    tower = tower_of("bert", pooling)
    batch = rows([5, 8])
    with torch.no_grad():
        states = tower.backbone(**batch)[0]
    torch.testing.assert_close(features(tower, batch)[0], states[0, place])


def test_mean_pooling_is_over_real_tokens_only():
    tower = tower_of("bert", "mean")
    batch = rows([5, 8])
    with torch.no_grad():
        states = tower.backbone(**batch)[0]
    torch.testing.assert_close(features(tower, batch)[0], states[0, :5].mean(dim=0))


def source(folder, pretrained=False):
    return Source("transformers", "folder", str(folder), str(folder), pretrained)


def save(tmp_path, kind, *, weights=True, **changes):
    from transformers import CONFIG_MAPPING, AutoModel

    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**{**FAMILIES[kind], **changes})
    if weights:
        with quiet_transformers():
            AutoModel.from_config(config).save_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", [k for k in FAMILIES if k != "funnel"])
def test_every_family_goes_through_the_whole_door(kind, tmp_path):
    """Saved, loaded with its weights, described, built again: the same features."""
    folder = save(tmp_path, kind)
    tower = build_text(source(folder, True), folder, None, pooling="auto").eval()
    assert tower.pooling == ("last" if kind in DECODERS else "mean")
    assert tower.pretrained
    assert not any("pooler" in name for name, _ in tower.named_parameters())
    again = rebuild_text(folder, pooling=tower.pooling, pretrained=True, trust_remote_code=False)
    again.load_state_dict(tower.state_dict())
    batch = rows([5, 8])
    torch.testing.assert_close(features(again.eval(), batch), features(tower, batch))


def test_all_parameters_of_a_tower_learn(tmp_path):
    """Unused ones (poolers, decoders) would sit in the optimizer for nothing."""
    for kind in ("bert", "roberta", "t5", "gpt2", "electra", "bart"):
        folder = save(tmp_path / kind, kind)
        tower = build_text(source(folder, True), folder, None, pooling="auto")
        tower(rows([5, 8])).square().sum().backward()
        idle = [name for name, p in tower.named_parameters() if p.grad is None]
        assert not idle, (kind, idle)


@pytest.mark.parametrize(
    ("recipe", "pooling"),
    [
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_lasttoken": True}, "last"),
    ],
)
def test_a_sentence_transformers_recipe_is_followed(recipe, pooling, tmp_path):
    folder = save(tmp_path, "bert")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(recipe))
    assert build_text(source(folder, True), folder, None, pooling="auto").pooling == pooling
    assert build_text(source(folder, True), folder, None, pooling="mean").pooling == "mean"


def test_random_weights_fit_the_tokenizer_trained_here(tmp_path):
    folder = save(tmp_path, "bert", weights=False)
    tokenizer = train_tokenizer(["a few words"] * 3, most=300)
    tower = build_text(source(folder), folder, tokenizer, pooling="auto")
    assert tower.backbone.config.vocab_size == len(tokenizer)
    assert not tower.pretrained


# faults


def test_weights_that_do_not_fit_are_told_not_made_up(tmp_path):
    folder = save(tmp_path, "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    with pytest.raises(CheckpointError, match="parameters are missing"):
        build_text(source(folder, True), folder, None, pooling="auto")


def test_weights_of_another_shape_are_told(tmp_path):
    folder = save(tmp_path, "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 64}))
    with pytest.raises(CheckpointError):
        build_text(source(folder, True), folder, None, pooling="auto")


def test_truncated_weights_are_told_in_one_line(tmp_path):
    folder = save(tmp_path, "bert")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:1000])
    with pytest.raises(CheckpointError, match="folder is whole") as caught:
        build_text(source(folder, True), folder, None, pooling="auto")
    assert "\n" not in str(caught.value)


def test_an_unknown_model_type_runs_no_code(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "newest", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}})
    )
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(CheckpointError, match="trust_remote_code"):
        build_text(source(tmp_path), tmp_path, None, pooling="auto")


def test_an_image_model_is_no_text_backbone(tmp_path):
    from transformers import ViTConfig

    ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32).save_pretrained(
        tmp_path
    )
    with pytest.raises(CheckpointError, match="text backbone"):
        build_text(source(tmp_path), tmp_path, None, pooling="auto")


# limits


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("bert", 512), ("roberta", 38), ("mpnet", 38), ("gpt2", 64), ("llama", 64), ("t5", 1000), ("bart", 64)],
)
def test_token_limits_are_what_the_positions_take(kind, limit):
    tower = tower_of(kind)
    tokenizer = train_tokenizer(["a"], most=300)
    tokenizer.model_max_length = 1000
    assert token_limit(tower, tokenizer) == limit
    pad = getattr(tower.backbone.config, "pad_token_id", None) or 0
    width = min(limit, 128) if kind == "t5" else limit
    assert features(tower, rows([width], pad=pad)).isfinite().all()


def test_the_tokenizers_own_limit_counts():
    tokenizer = train_tokenizer(["a"], most=300)
    tokenizer.model_max_length = 20
    assert token_limit(tower_of("bert"), tokenizer) == 20


def test_roberta_at_its_limit_with_real_padding():
    """Position ids count from the padding index on; one token more would be out of range."""
    tower = tower_of("roberta")
    assert features(tower, rows([38, 3], pad=1)).isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):
        features(tower, rows([40], pad=1))


def test_presets_architectures_are_known_without_a_hub():
    for name in ("microsoft/deberta-v3-small", "jhu-clsp/ettin-encoder-17m"):
        config = load_config(find_text(name, pretrained=False), None)
        assert config.hidden_size in (768, 256)


def test_the_offline_checkpoint_is_what_it_says():
    found = find_text("offline:minilm-l6", pretrained=True)
    tower = build_text(found, Path(found.location), None, pooling="auto").eval()
    tokenizer = load_tokenizer(Path(found.location), name=found.name)
    assert (tower.width, tower.pooling) == (384, "mean")
    batch = tokenizer(["a cat sat", "a kitten was sitting", "stock prices fell"], return_tensors="pt", padding=True)
    vectors = torch.nn.functional.normalize(features(tower, batch)).numpy()
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]
    assert np.isfinite(vectors).all()
