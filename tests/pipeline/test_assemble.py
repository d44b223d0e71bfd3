"""From columns and options to a model, its layers and its plan; what is left open is chosen, with the reason."""

import numpy as np
import pandas as pd
import pytest
import torch

from support import assemblies
from support.tiny import make_table, make_texts
from thermocline.backbones import pretrained as checkpoints
from thermocline.contracts.labelled import Labelled
from thermocline.data.columns import Columns
from thermocline.errors import CheckpointError, SelectorError
from thermocline.inputs.building import needed_inputs
from thermocline.pipeline.planning import plan_for

RANDOM = {"model.text.checkpoint": "distilbert", "model.text.pretrained": False, "model.image.pretrained": False}


def assembled(frame, options=None, *, types=None, **more):
    return assemblies.assembled(frame, {"env.device": "cpu", **(options or {})}, column_types=types, **more)


def rows_of(assembly, frame, **how):
    return assembly.problem.rows(Labelled(frame), assembly, labelled=True, **how)


def outputs(assembly, frame):
    rows = assemblies.rows_at_prediction(assembly, frame)
    with torch.no_grad():
        return assembly.model.eval()(rows.batch(np.arange(len(frame))))


@pytest.fixture(scope="module")
def mixed(text_folder, image_folder):
    """All three towers over one frame."""
    rng = np.random.default_rng(0)
    from PIL import Image

    frame = make_texts(24)
    pictures = [Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)) for _ in range(24)]
    frame = frame.assign(x=rng.normal(size=24), kind=rng.choice(["a", "b"], 24), pic=pictures)
    options = {"model.text.checkpoint": str(text_folder), "model.image.checkpoint": str(image_folder)}
    return frame, assembled(frame, options, types={"review": "text", "kind": "categorical"})


# towers


def test_towers_are_those_the_columns_need(mixed):
    frame, assembly = mixed
    assert list(assembly.model.towers) == ["text", "image", "table"]
    assert set(assembly.layer_map.towers) == {"text", "image", "table", "fusion"}
    assert outputs(assembly, frame).shape == (24, 2)
    table_only = assembled(make_table())
    assert list(table_only.model.towers) == ["table"]
    assert table_only.model.fusion is None


def test_every_parameter_is_in_one_layer(mixed):
    _, assembly = mixed
    held = [name for layer in assembly.layer_map for name in layer.parameters]
    assert sorted(held) == sorted(name for name, _ in assembly.model.named_parameters())


def test_layer_names_say_tower_and_place(mixed):
    labels = mixed[1].layer_map.labels
    assert "text/encoder.layer.1" in labels
    assert "table/blocks.0" in labels
    assert {"fusion/mlp", "fusion/head"} <= set(labels)


def test_what_is_pretrained_and_what_is_new(mixed):
    for layer in mixed[1].layer_map:
        assert layer.pretrained == (layer.tower in ("text", "image")), layer.label
    roles = {layer.label: layer.role for layer in mixed[1].layer_map}
    assert roles["fusion/head"] == "head"
    assert roles["fusion/mlp"] == "fusion"


def test_no_column_of_a_kind_no_checkpoint_of_it():
    assert needed_inputs(Columns(())) == []
    frame = make_table()
    assert assembled(frame, {"model.text.checkpoint": "no-such-thing"}).model.widths == {
        "table": assembled(frame).model.widths["table"]
    }


def test_a_checkpoint_that_is_not_there_is_told_before_anything_is_built(no_loading):
    frame = make_texts()
    with pytest.raises(CheckpointError, match="no-such-thing"):
        assembled(frame, {"model.text.checkpoint": "no-such-thing"}, types={"review": "text"})


# randomness


def test_the_seed_decides_the_weights_and_nothing_else_does():
    frame = make_table()
    torch.manual_seed(1)
    one = outputs(assembled(frame, seed=5), frame)
    torch.manual_seed(2)
    assert torch.equal(one, outputs(assembled(frame, seed=5), frame))
    assert not torch.equal(one, outputs(assembled(frame, seed=6), frame))


def test_the_callers_generator_is_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assembled(make_table())
    assert torch.equal(before, torch.get_rng_state())


# choices


def test_rates_and_sizes_are_chosen_with_their_reasons(mixed):
    config = mixed[1].config
    assert config.optim.lr == 1e-4
    assert config.provenance["optim.lr"] == "chosen: a tower is pretrained (Tang et al., AutoML 2024)"
    assert config.env.batch_size == config.env.micro_batch_size == 8
    assert config.provenance["env.batch_size"].startswith("chosen: 24 training rows, a tower is pretrained (")
    table = assembled(make_table()).config
    assert table.optim.lr == 1e-3
    assert table.provenance["optim.lr"] == "chosen: no tower is pretrained (Kingma and Ba, ICLR 2015)"


def test_epochs_are_fewer_where_a_tower_is_pretrained(mixed, text_folder):
    assert mixed[1].config.optim.max_epochs == 3
    assert assembled(make_table()).config.optim.max_epochs == 25
    assert assembled(make_table(), {"model.table.members": 0}).config.optim.max_epochs == 5
    frame = make_texts(24).assign(y=np.linspace(0.5, 9.7, 24))
    number = assembled(frame, {"model.text.checkpoint": str(text_folder)}, types={"review": "text"}).config
    assert number.optim.max_epochs == 4
    assert "regression" in number.provenance["optim.max_epochs"]


def test_a_table_alone_has_no_more_steps_than_it_needs():
    options = {"env.batch_size": 4, "model.table.width": 8}
    chosen = [assembled(make_table(rows), options).config for rows in (60, 1600, 6000)]
    assert [config.optim.max_epochs for config in chosen] == [25, 15, 5]
    assert "400 steps an epoch" in chosen[1].provenance["optim.max_epochs"]


def test_members_beside_other_columns_are_noted_where_they_were_asked_for(text_folder):
    frame = make_texts(24).assign(x=np.arange(24.0))
    options = {"model.text.checkpoint": str(text_folder), "model.table.members": 4}
    beside = assembled(frame, options, types={"review": "text"})
    assert any("model.table.members has no effect" in note for note in beside.built.notes)
    assert not beside.model.members
    assert assembled(make_table(), {"model.table.members": 4}).model.members == 4
    assert not assembled(make_table(), {"model.table.members": 4}).built.notes


def test_what_the_user_says_is_not_chosen_again():
    options = {
        "optim.lr": 0.5,
        "optim.max_epochs": 7,
        "env.batch_size": 5,
        "env.micro_batch_size": 2,
        "env.eval_batch_size": 3,
    }
    config = assembled(make_table(), options).config
    assert (config.optim.lr, config.optim.max_epochs, config.env.batch_size) == (0.5, 7, 5)
    assert all(config.provenance[key] == "user" for key in options)


@pytest.mark.parametrize("rows", [6, 100, 2000])
def test_batch_sizes_grow_with_the_rows_within_bounds(rows):
    config = assembled(make_table(rows)).config
    assert 8 <= config.env.batch_size <= 256
    assert config.env.batch_size & (config.env.batch_size - 1) == 0


def test_the_text_length_is_chosen_or_cut_to_what_the_model_takes(text_folder):
    frame = make_texts()
    base = {"model.text.checkpoint": str(text_folder)}
    chosen = assembled(frame, base, types={"review": "text"})
    assert chosen.config.model.text.max_length <= 64
    assert "99.5 %" in chosen.config.provenance["model.text.max_length"]
    given = assembled(frame, {**base, "model.text.max_length": 12}, types={"review": "text"})
    assert given.config.model.text.max_length == given.built.inputs["text"].processor.max_length == 12
    cut = assembled(frame, {**base, "model.text.max_length": 4000}, types={"review": "text"})
    assert cut.config.model.text.max_length == cut.built.inputs["text"].processor.max_length == 64
    assert "4000 was asked for" in cut.config.provenance["model.text.max_length"]


def test_the_pooling_is_chosen(text_folder, gpt_folder):
    frame = make_texts()
    for folder, pooling in ((text_folder, "mean"), (gpt_folder, "last")):
        config = assembled(frame, {"model.text.checkpoint": str(folder)}, types={"review": "text"}).config
        assert config.model.text.pooling == pooling


def test_small_images_are_not_enlarged_beyond_use(pictures, image_folder):
    small = assembled(pictures, {"model.image.checkpoint": str(image_folder)})
    assert small.model.towers["image"].spec.size == (96, 96)  # 20 pixels, four times, on a multiple of 32
    assert small.config.model.image.size == 96
    assert "20 pixels" in small.config.provenance["model.image.size"]
    given = assembled(pictures, {"model.image.checkpoint": str(image_folder), "model.image.size": 64})
    assert given.model.towers["image"].spec.size == (64, 64)


def test_a_model_of_one_size_keeps_it(pictures, vision_folder):
    assembly = assembled(pictures, {"model.image.checkpoint": str(vision_folder)})
    assert assembly.model.towers["image"].spec.size == (32, 32)
    assert assembly.config.provenance["model.image.size"] == "chosen: the model's own"


def test_random_text_weights_get_a_tokenizer_of_their_own():
    frame = make_texts()
    with pytest.MonkeyPatch.context() as patch:
        small = {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
        patch.setitem(checkpoints.ARCHITECTURES, "distilbert", ("distilbert", small))
        assembly = assembled(frame, RANDOM, types={"review": "text"})
    assert any("tokenizer of" in note for note in assembly.built.notes)
    assert assembly.model.towers["text"].backbone.config.vocab_size == len(
        assembly.built.inputs["text"].processor.tokenizer
    )
    assert not assembly.model.probe_columns().any()
    assert assembly.config.optim.lr == 1e-3


def test_a_model_that_looks_at_padding_is_padded_to_one_width(tmp_path):
    from support.tiny import save_text

    folder = save_text(
        tmp_path, "fnet", hidden_size=32, num_hidden_layers=1, intermediate_size=32, max_position_embeddings=64
    )
    frame = make_texts(12)
    assembly = assembled(frame, {"model.text.checkpoint": str(folder)}, types={"review": "text"})
    assert not assembly.built.inputs["text"].processor.pad_to_longest
    together = outputs(assembly, frame)
    alone = torch.cat([outputs(assembly, frame.iloc[i : i + 1]) for i in range(12)])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["text_folder", "gpt_folder", "t5_folder"])
def test_a_row_is_the_same_alone_or_in_a_batch(kind, request):
    frame = make_texts(12)
    folder = request.getfixturevalue(kind)
    assembly = assembled(frame, {"model.text.checkpoint": str(folder)}, types={"review": "text"})
    together = outputs(assembly, frame)
    alone = torch.cat([outputs(assembly, frame.iloc[i : i + 1]) for i in range(12)])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


# rows


def test_rows_have_targets_and_weights():
    frame = make_table().assign(w=np.arange(60) + 1)
    assembly = assembled(frame, weight="w")
    rows = rows_of(assembly, frame)
    assert rows.weight.dtype == np.float32
    assert rows.weight[:3].tolist() == [1, 2, 3]
    assert rows.target.tolist() == (frame["y"] == "yes").astype(int).tolist()


def test_only_training_rows_are_augmented(pictures, image_folder):
    assembly = assembled(pictures, {"model.image.checkpoint": str(image_folder)})
    plain = rows_of(assembly, pictures).parts["image"]
    varied = rows_of(assembly, pictures, training=True, seed=4).parts["image"]
    assert plain.augment is None
    assert (varied.augment, varied.seed) == (assembly.config.model.image.augment, 4)


# plan


def test_the_plan_is_the_configurations(mixed):
    _, assembly = mixed
    config = assembly.config
    plan = assembly.plan
    assert (plan.lr, plan.lr_choice) == (config.optim.lr, "layerwise_decay")
    assert plan["fusion/head"].lr_scale == 1
    assert plan["table/stem"].lr_scale == 1  # not pretrained: at the head's rate
    assert plan["text/embeddings"].lr_scale < plan["text/encoder.layer.1"].lr_scale < 1


def test_frozen_layers_of_one_tower_and_of_all(text_folder):
    frame = make_texts().assign(x=np.random.default_rng(0).normal(size=48))
    base = {"model.text.checkpoint": str(text_folder)}
    one = assembled(frame, {**base, "model.text.frozen_layers": "backbone"}, types={"review": "text"}).plan
    assert set(one.frozen) == {"text/embeddings", "text/encoder.layer.0", "text/encoder.layer.1"}
    every = assembled(frame, {**base, "model.frozen_layers": "stem"}, types={"review": "text"}).plan
    assert every.frozen == ("text/embeddings",)  # of towers that are pretrained, unless one is named
    table = assembled(frame, {**base, "model.table.frozen_layers": "stem"}, types={"review": "text"}).plan
    assert table.frozen == ("table/stem",)


def test_a_selector_that_matches_nothing_is_told(text_folder):
    frame = make_texts()
    options = {"model.text.checkpoint": str(text_folder), "model.text.frozen_layers": "encoder.layers.0"}
    with pytest.raises(SelectorError, match=r"encoder\.layers\.0"):
        assembled(frame, options, types={"review": "text"})


def test_freezing_a_tower_that_is_not_there_is_told():
    with pytest.raises(SelectorError, match=r"model\.image\.frozen_layers.*no image tower"):
        assembled(make_table(), {"model.image.frozen_layers": "stem"})


def test_everything_frozen_is_told():
    with pytest.raises(SelectorError, match="nothing is left to train"):
        assembled(make_table(), {"model.frozen_layers": ["stem", "blocks.*", "head"]})


def test_the_same_model_has_the_same_plan(mixed):
    _, assembly = mixed
    again, _ = plan_for(assembly.problem, assembly.built, None, None, 24)
    assert again == assembly.plan


@pytest.mark.parametrize(
    ("choice", "pretrained", "kept"),
    [("auto", True, True), ("auto", False, False), ("eval", False, True), ("train", True, False)],
)
def test_whose_batch_norm_keeps_its_statistics(choice, pretrained, kept, pictures, image_folder):
    options = {
        "model.image.checkpoint": str(image_folder),
        "model.image.batch_norm": choice,
        "model.image.pretrained": pretrained,
    }
    assembly = assembled(pictures, options)
    assert assembly.model.towers["image"].norm_eval == kept


def test_notes_of_towers_come_with_their_name(pictures):
    config = {"model.image.checkpoint": "mobilenet_v2", "model.image.pretrained": False, "model.image.size": 32}
    notes = assembled(pictures, config).built.notes
    assert any(note.startswith("image: BatchNorm momentum") for note in notes)


def test_columns_of_every_odd_kind_go_through():
    frame = pd.DataFrame(
        {
            "when": pd.date_range("2020-01-01", periods=40),
            "flag": [True, False] * 20,
            "count": pd.array([1, None, 3, 4] * 10, dtype="Int64"),
            "kind": pd.Categorical(["a", "b"] * 20),
            "empty": [None] * 40,
            "y": ["p", "q"] * 20,
        }
    )
    assembly = assembled(frame)
    assert torch.isfinite(outputs(assembly, frame)).all()
