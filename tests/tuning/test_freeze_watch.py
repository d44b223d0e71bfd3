"""The freeze contract, on real architectures under every named schedule: frozen layers stay as they are, at no cost."""

import pytest
import timm
import torch
import transformers as tf
from torch import nn

from support.layer_maps import MILESTONES
from thermocline.errors import FrozenError
from thermocline.tuning.apply import AppliedPlan, LRSetter, frozen_modules
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.named_schedules.by_name import NAMED_SCHEDULES
from thermocline.tuning.plan.layer_plan import LayerPlan

STEPS, PER_EPOCH = 16, 2
DROPS = (nn.Dropout, timm.layers.DropPath)


def bert():
    config = tf.BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        hidden_dropout_prob=0.3,
    )
    return tf.BertModel(config, add_pooling_layer=False)


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.head = bert(), nn.Linear(16, 3)

    def forward(self, words, images):
        return self.head(self.backbone(words).last_hidden_state.mean(1))


class Image(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.backbone = timm.create_model(name, num_classes=0, drop_path_rate=0.2, drop_rate=0.2)
        self.head = nn.Linear(
            self.backbone.num_features if name == "test_resnet" else self.backbone.head_hidden_size, 3
        )

    def forward(self, words, images):
        return self.head(self.backbone(images))


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.text, self.image = bert(), timm.create_model("test_resnet", num_classes=0, drop_path_rate=0.2)
        self.fusion = nn.Sequential(nn.Linear(16 + self.image.num_features, 8), nn.BatchNorm1d(8), nn.Dropout(0.3))
        self.head = nn.Linear(8, 3)

    def forward(self, words, images):
        towers = [self.text(words).last_hidden_state.mean(1), self.image(images)]
        return self.head(self.fusion(torch.cat(towers, dim=1)))


def single(model):
    backbone = LayerMap.of(model.backbone, tower="tower")
    head = LayerMap.single(model.head, name="head", tower="fusion", role="head", depth=1)
    return LayerMap.join({"backbone": backbone, "head": head})


def both(model):
    return LayerMap.join(
        {
            "text": LayerMap.of(model.text, tower="text"),
            "image": LayerMap.of(model.image, tower="image"),
            "fusion": LayerMap.single(model.fusion, name="mlp", tower="fusion", role="fusion"),
            "head": LayerMap.single(model.head, name="head", tower="fusion", role="head", depth=1),
        }
    )


MODELS = {
    "resnet": (lambda: Image("test_resnet"), single),
    "mobilenet": (lambda: Image("mobilenetv3_small_050"), single),
    "bert": (Text, single),
    "two towers": (Both, both),
}


def build(kind):
    torch.manual_seed(0)
    make, layers = MODELS[kind]
    model = make()
    return model, layers(model)


def batch(step):
    rng = torch.Generator().manual_seed(step)
    return torch.randint(0, 40, (4, 7), generator=rng), torch.randn(4, 3, 32, 32, generator=rng)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", NAMED_SCHEDULES)
def test_frozen_layers_stay_as_they_are_and_cost_nothing(kind, name):
    model, layer_map = build(kind)
    request = {"milestones": {"milestones": MILESTONES}, "lisa": {"lisa": {"every": 3, "n_layers": 1}}}.get(name, name)
    plan = LayerPlan.build(layer_map, lr=1e-2, weight_decay=0.5, lr_choice="two_stage", schedule="constant", warmup=0.0)
    plan = plan.scheduled(request if name != "progressive_freeze" else "progressive_freeze(start=0.1)")
    applied = AppliedPlan(model, layer_map, plan)
    optimizer = torch.optim.AdamW(plan.parameter_groups(model))
    set_rates, watch, whole = LRSetter(optimizer, plan), plan.verify(model), plan.verify(model)
    named = dict(model.named_parameters())
    cursor = plan.start(STEPS, steps_per_epoch=PER_EPOCH)
    moved = set()
    for step in range(STEPS):
        applied.at(cursor)
        applied.train()
        set_rates(cursor)
        watch.at(cursor)
        trains = plan.timeline.trains(cursor)
        loss = nn.functional.cross_entropy(model(*batch(step)), torch.tensor([0, 1, 2, 0]))
        loss.backward()
        frozen = [layer for layer in layer_map if layer.label not in trains]
        for parameter in (named[one] for layer in frozen for one in layer.parameters):
            assert parameter.grad is None
            assert not parameter.requires_grad
        modules = dict(model.named_modules())
        for module in (modules[one] for one in frozen_modules(model, layer_map, [layer.label for layer in frozen])):
            assert not module.training
        assert all(
            m.training for one, m in modules.items() if isinstance(m, DROPS) and layer_of(layer_map, one) in trains
        )
        optimizer.step()
        optimizer.zero_grad()
        moved |= {label for label in watch.changed() if label in trains}
        cursor = plan.next(cursor)
    watch.at(cursor)
    whole.check()
    assert moved == {label for label in plan.timeline.ever if plan[label].n_parameters} or name == "lisa"
    assert set(whole.changed()) == moved
    never = {id(named[one]) for label in plan.frozen for one in layer_map[label].parameters}
    assert not never & {id(parameter) for parameter in optimizer.state}
    assert len(optimizer.state) < len(named) or not never


def layer_of(layer_map, module):
    return next((layer.label for layer in layer_map if module in layer.modules), None)


def test_the_usual_habit_would_fail_the_watch():
    """`requires_grad = False` alone: BatchNorm's statistics change, dropout stays on, trained weights decay."""
    model, layer_map = build("resnet")
    plan = LayerPlan.build(layer_map, lr=1e-2, lr_choice="two_stage", frozen_layers="backbone")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9, weight_decay=0.1)
    model.train()
    nn.functional.cross_entropy(model(*batch(0)), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()  # a step with everything, so that there is momentum
    optimizer.zero_grad(set_to_none=False)
    for parameter in model.backbone.parameters():
        parameter.requires_grad = False
    watch = plan.verify(model)
    model.train()
    model(*batch(1))
    statistics = watch.changed()
    assert statistics
    assert set(statistics) <= set(plan.frozen)
    assert any(m.training for m in model.backbone.modules() if isinstance(m, DROPS))
    optimizer.step()  # momentum and weight decay still change weights, for the gradients are zero and not None
    assert set(watch.changed()) >= set(plan.frozen)
    with pytest.raises(FrozenError, match="frozen throughout"):
        watch.check()


def test_a_watch_names_what_changed_and_when():
    model, layer_map = build("bert")
    plan = LayerPlan.build(layer_map, lr=1e-2).scheduled("lp_ft(probe_epochs=1)")
    watch = plan.verify(model)
    watch.at(plan.start(10, steps_per_epoch=3))
    with torch.no_grad():
        model.backbone.encoder.layer[1].output.dense.bias[0] += 1e-6
    watch.at(plan.cursor(2, 10, steps_per_epoch=3))
    with pytest.raises(FrozenError, match=r"'tower/encoder.layer.1' changed although frozen up to step 3"):
        watch.at(plan.cursor(3, 10, steps_per_epoch=3))
