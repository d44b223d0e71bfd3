"""A tied parameter under its second name: the layer of its first name is named, and what trains is not said frozen."""

from __future__ import annotations

import pytest
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from support.tiny import told
from thermocline.errors import SelectorError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan


@pytest.fixture(scope="module")
def gpt():
    return LayerMap.of(
        GPT2LMHeadModel(GPT2Config(vocab_size=60, n_layer=2, n_embd=16, n_head=2, bos_token_id=0, eos_token_id=1))
    )


@pytest.fixture(scope="module")
def bert():
    shape = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}
    return LayerMap.of(BertForMaskedLM(BertConfig(vocab_size=60, num_hidden_layers=2, **shape)))


def refused(layer_map, selector) -> str:
    return told(SelectorError, ValueError, lambda: LayerPlan.build(layer_map, lr=1e-3, frozen_layers=selector))


@pytest.mark.parametrize(
    "selector", ["lm_head", "lm_head.weight", "lm*", ["transformer.h.0", "lm_head"], "model/lm_head"]
)
def test_an_output_layer_that_is_the_embedding(gpt, selector):
    message = refused(gpt, selector)
    assert "is another name of 'transformer.wte.weight'" in message
    assert message.endswith("select 'stem'.")


@pytest.mark.parametrize("selector", ["cls.predictions.decoder", "predictions.decoder.weight", "decoder"])
def test_a_tied_part_of_a_head(bert, selector):
    assert refused(bert, selector).endswith("select 'embeddings'.")


def test_a_frozen_head_whose_tied_weight_trains(bert):
    plan = LayerPlan.build(bert, lr=1e-3, frozen_layers="cls")
    (said,) = [line for line in plan.warnings if "tied" in line]
    assert said.startswith("'cls.predictions.decoder.weight' in the frozen 'model/cls' is not frozen: it is tied to ")
    assert said.endswith("which trains. Freeze 'embeddings' too")
    both = LayerPlan.build(bert, lr=1e-3, frozen_layers=["cls", "embeddings"])
    assert not any("is not frozen" in line for line in both.warnings)


def test_names_that_are_their_own_stay(bert, gpt):
    assert LayerPlan.build(gpt, lr=1e-3, frozen_layers=["stem", "transformer.h.0"]).frozen
    assert LayerPlan.build(bert, lr=1e-3, frozen_layers="cls.predictions").frozen == ("model/cls",)
