from dataclasses import replace

import pytest
import transformers as tf
from torch import nn

from support.layer_maps import tower
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.phase_files import phases_from_data

ONE = LayerMap(tuple(replace(one, pretrained=one.role != "head") for one in tower(blocks=4)))


def plan(phases=None, **options):
    made = LayerPlan.build(ONE, lr=1e-3, **options)
    return made if phases is None else made.with_phases(phases_from_data(phases))


def test_a_sound_plan_has_no_hints():
    assert plan().hints() == ()
    assert plan(frozen_layers=2).hints() == ()
    for request in ("fine_tune", "gradual_unfreeze", "progressive_freeze", "lp_ft", "lisa", "freeze_to"):
        assert plan().scheduled(request).hints() == (), request


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: plan(frozen_layers="blocks.[0-1]"), "with any position embedding"),
        (
            lambda: plan(frozen_layers=["stem", "blocks.2"]),
            "'text/blocks.2' is frozen behind the trainable 'text/blocks.0'",
        ),
        (
            lambda: plan([{"name": "a", "trains": ["blocks.1", "head"]}]),
            "are frozen behind the trainable 'text/blocks.1'",
        ),
        (lambda: plan(frozen_layers="head"), "the head 'text/head' is frozen: it cannot adapt"),
        (
            lambda: plan([{"name": "a", "trains": "block", "steps": 2}, {}]),
            "the head 'text/head' is frozen in phase 'a'",
        ),
        (lambda: plan(lr_choice="single_lr"), "newly initialised 'text/head' has no higher rate"),
        (lambda: plan([{"name": "a", "trains": "stem", "steps": 2}, {}], frozen_layers="stem"), "'a' trains nothing"),
        (lambda: plan([{"name": "a", "trains": "head"}, {}]), "phase 'a' has no end"),
        (lambda: plan([{"name": "a", "trains": "head", "plateau": {}}, {}]), "may take the whole run"),
        (lambda: plan([{"name": "a", "plateau": {}}]), "of the last phase, 'a', ends nothing"),
    ],
)
def test_hints(made, words):
    found = made()
    assert any(words in line for line in found.hints()), found.hints()
    assert words in str(found)
    assert words.replace("'", "&#x27;") in found._repr_html_()


def test_hints_about_the_length_of_the_run():
    made = replace(plan(), total_steps=30, steps_per_epoch=10)
    assert (
        "'+ blocks.0', '+ embeddings' never begin: the run ends after 3 epochs"
        in made.scheduled("gradual_unfreeze(every=0.75)").hints()[0]
    )
    assert "the phases take 2 epochs and the run 3" in made.scheduled("fine_tune(epochs=1)").hints()[0]
    assert made.scheduled("fine_tune(epochs=2)").hints() == ()


def test_tied_parameters_under_two_rules():
    config = tf.BertConfig(
        vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    layer_map = LayerMap.of(tf.BertForMaskedLM(config))
    assert layer_map.aliases
    free = LayerPlan.build(layer_map, lr=1e-3, lr_choice="single_lr")
    assert not any(line.startswith("tied:") for line in free.warnings)
    apart = LayerPlan.build(layer_map, lr=1e-3, lr_choice="single_lr", frozen_layers="stem")
    assert any(line.startswith("tied:") and "word_embeddings" in line for line in apart.warnings)


def test_untied_models_have_no_such_line():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    layer_map = LayerMap.from_patterns(model, ["0", "2"], head=model[4])
    assert LayerPlan.build(layer_map, lr=1e-3, frozen_layers="stem").warnings == ()
