"""Layers outside the blocks stand where they run, towers say how they stand to each other, mixtures are followed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from thermocline.tuning.layers.dry_run import forward_pass
from thermocline.tuning.layers.layer_map import LayerMap


def _map(kind: str) -> LayerMap:
    return LayerMap.of(zoo.transformers_model("base", kind, small=True))


def test_a_prompt_encoder_stands_before_the_mask_decoder_that_it_feeds() -> None:
    layers = _map("sam")
    first = layers.of_tower("mask_decoder")[0]
    assert (first.role, first.depth) == ("stem", 0)
    assert {name.split(".")[0] for name in first.parameters} >= {"prompt_encoder", "shared_image_embedding"}
    assert "mask_decoder reads what vision_encoder made" in layers.notes


def test_a_table_that_several_blocks_add_to_their_inputs_is_in_the_stem() -> None:
    layers = _map("yolos")
    assert layers.layer_of("encoder.interpolation.mid_position_embeddings").role == "stem"
    assert {len(layer.parameters) for layer in layers if layer.role == "block"} == {16, 18}  # the last with the norm


def test_parameters_after_the_first_stack_of_a_tower_stand_after_it() -> None:
    layers = _map("mllama")
    assert layers.order == "forward pass"
    local = [layer.depth for layer in layers.of_tower("vision_model") if layer.name.startswith("transformer")]
    between = {
        layers.layer_of(f"vision_model.{name}").depth for name in ("layernorm_post.weight", "layernorm_post.bias")
    }
    assert between == {max(local)}


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("git", "model reads what image_encoder made"),
        ("owlvit", "text_model and vision_model run side by side: neither reads the other"),
    ],
)
def test_towers_say_how_they_stand_to_each_other(kind: str, note: str) -> None:
    assert _map(kind).notes == ("each tower counts its own depths", note)


def test_a_tower_that_other_inputs_would_run_is_run_by_itself() -> None:
    layers = _map("mistral_large4")
    assert layers.order == "forward pass"
    assert "vision_tower was run by itself, on inputs of its own" in layers.notes
    assert layers.layer_of("language_model.rotary_emb.alpha").role == "stem"


def test_a_head_above_several_towers_changes_no_notes() -> None:
    layers = LayerMap.of(zoo.transformers_model("sequence", "t5gemma2", small=True))
    assert "model reads what encoder.text_model made" in layers.notes


def test_one_tower_has_no_notes_on_towers() -> None:
    assert _map("bert").notes == ()


CALLS: list[int] = []


class _Experts(nn.Module):
    """All experts in one parameter, or each in its own, called one after another where the router chose them."""

    def __init__(self, *, joined: bool) -> None:
        super().__init__()
        self.default_cfg = {"input_size": (3, 8, 8)}  # of which the example is made
        self.router = nn.Linear(3, 8)
        self.joined = nn.Parameter(torch.zeros(8, 3, 3)) if joined else None
        self.single = nn.ModuleList() if joined else nn.ModuleList(nn.Linear(3, 3) for _ in range(8))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.mean((2, 3))
        out = x
        for place in (self.router(x).sum(0) > 0).nonzero():
            expert = int(place[0])
            CALLS.append(expert)
            out = out + (x @ self.joined[expert] if self.joined is not None else self.single[expert](x))
        return out


@pytest.mark.parametrize(("joined", "calls"), [(True, [0]), (False, [0, *range(8)])])
def test_a_mixture_calls_as_many_experts_as_show_all_parameters(joined: bool, calls: list[int]) -> None:
    model = _Experts(joined=joined)
    CALLS.clear()
    seen = forward_pass(model)
    assert seen is not None
    assert set(seen.first) == {name for name, _ in model.named_parameters()}
    assert calls == CALLS
