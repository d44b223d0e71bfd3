"""While a layer is frozen nothing of it moves: on networks with BatchNorm, a transformer, and two towers fused.

The same check of the usual habit, `requires_grad = False` and no more, shows what it misses.
"""

from contextlib import contextmanager
from dataclasses import replace

import pandas as pd
import pytest
import torch
from timm.layers import DropPath
from torch import nn

from support.assemblies import prepared_and_assembled, run_of
from support.tiny import TINY, make_texts, write_images
from thermocline.training.trainer import Trainer
from thermocline.tuning.apply import frozen_modules
from thermocline.tuning.schedule.phases import Phase

PHASES = (
    Phase("head", trains="head", steps=2, schedule="constant"),
    Phase("blocks", trains=("block", "head"), steps=3, schedule="one_cycle"),
    Phase("all but one", steps=3, optimizer_state="reset"),
    Phase("head again", trains="head", schedule="constant"),
)


class Contract:
    """Watches what happens to frozen layers, step by step, and lists what is broken."""

    def __init__(self, model, layer_map):
        self.model, self.layer_map = model, layer_map
        self.modules = dict(model.named_modules())
        self.broken = set()

    @contextmanager
    def step(self, frozen, optimizer):
        """Watch one step, in which these layers are frozen."""
        parameters = {n: self.model.get_parameter(n) for label in frozen for n in self.layer_map[label].parameters}
        names = frozen_modules(self.model, self.layer_map, frozen)
        buffers = {f"{n}.{k}": b for n in names for k, b in self.modules[n].named_buffers(recurse=False)}
        before = {name: tensor.detach().clone() for name, tensor in {**parameters, **buffers}.items()}
        hooks = [self.modules[name].register_forward_pre_hook(self.check_mode) for name in names]
        stepped = optimizer.step

        def step(*args, **kwargs):
            self.broken |= {"a gradient" for p in parameters.values() if p.grad is not None}
            return stepped(*args, **kwargs)

        optimizer.step = step
        yield
        optimizer.step = stepped
        for hook in hooks:
            hook.remove()
        self.broken |= {"a weight moved" for n, p in parameters.items() if not torch.equal(p, before[n])}
        self.broken |= {"a buffer moved" for n, b in buffers.items() if not torch.equal(b, before[n])}
        self.broken |= {"a gradient" for p in parameters.values() if p.grad is not None}

    def check_mode(self, module, _inputs):
        if module.training and isinstance(module, nn.modules.batchnorm._BatchNorm):
            self.broken.add("BatchNorm in train mode")
        if module.training and isinstance(module, nn.Dropout) and module.p:
            self.broken.add("dropout on")
        if module.training and isinstance(module, DropPath):
            self.broken.add("stochastic depth on")


@pytest.fixture(scope="module")
def pictures_and_texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contract")
    frame = write_images(folder, 32)[["img"]].map(lambda name: str(folder / name))
    return pd.concat([frame, make_texts(32)], axis=1)


@pytest.fixture(params=["resnet", "mobilenet", "vit", "bert", "fused"])
def trainer(request, pictures_and_texts, text_folder, image_folder, tmp_path):
    """A trainer of 12 steps on a network of this kind, whose first block (or stem) is pinned."""
    columns = {"bert": ["review", "y"], "fused": ["img", "review", "y"]}.get(request.param, ["img", "y"])
    images = {"mobilenet": "mobilenetv3_small_050", "vit": "test_vit"}
    options = {
        **TINY,
        "model.text.checkpoint": str(text_folder),
        "model.image.checkpoint": images.get(request.param, str(image_folder)),
        "model.image.pretrained": request.param not in images,
        "model.image.batch_norm": "train",
        "model.image.size": 64 if request.param == "mobilenet" else None,
        "model.frozen_layers": "stem",
        "optim.max_epochs": 4,
        "optim.lr": 0.01,
        "optim.weight_decay": 0.5,
        "optim.head_init": "random",
        "env.batch_size": 8,
    }
    prepared, made = prepared_and_assembled(pictures_and_texts[columns], options, tuning_data=None)
    for block in made.model.get_submodule("towers.image.backbone.blocks") if request.param == "vit" else ():
        block.drop_path1, block.mlp.drop1.p = DropPath(0.2), 0.1
    made = replace(made, plan=replace(made.plan, phases=PHASES))
    return Trainer(run_of(prepared, made, tmp_path))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_nothing_of_a_frozen_layer_moves(trainer, optimizer):
    config = trainer.run.assembly.config.choose("optim.optimizer", optimizer, "a case of this test")
    trainer.run = replace(trainer.run, assembly=trainer.run.assembly.with_config(config))
    contract = Contract(trainer.model, trainer.run.layer_map)
    step, members, seen, kept = trainer.step, [], [], []

    def watched(number, batches, made):
        seen.append(trainer.applied.frozen)
        members.append([[id(p) for p in group["params"]] for group in made.param_groups])
        kept[:] = [made]
        with contract.step(trainer.applied.frozen, made):
            step(number, batches, made)
        remembered = {id(p) for p in made.state}
        never = {label for label in trainer.run.plan.labels if all(label in frozen for frozen in seen)}
        assert not remembered & {id(p) for label in never for p in parameters_of(trainer, label)}

    trainer.step = watched
    trainer.fit()
    assert contract.broken == set()
    assert len({frozenset(frozen) for frozen in seen}) >= 2
    assert all(one == members[0] for one in members)
    pinned = {id(p) for label in trainer.run.plan.frozen for p in parameters_of(trainer, label)}
    assert pinned
    assert not pinned & {i for group in members[0] for i in group}


def parameters_of(trainer, label):
    return [trainer.model.get_parameter(name) for name in trainer.run.layer_map[label].parameters]


HABIT = {
    "resnet": {"BatchNorm in train mode", "a buffer moved"},
    "mobilenet": {"BatchNorm in train mode", "a buffer moved"},
    "vit": {"dropout on", "stochastic depth on"},
    "bert": {"dropout on"},
    "fused": {"BatchNorm in train mode", "a buffer moved", "dropout on"},
}


@pytest.mark.parametrize("to_none", [True, False])
def test_the_usual_habit_misses_this(trainer, to_none, request):
    """Everything trains for two steps, then `requires_grad = False` for all but the head, and no more."""
    model, layer_map = trainer.model, trainer.run.layer_map
    frozen = {label for label in layer_map.labels if layer_map[label].role != "head"}
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.5)
    contract = Contract(model, layer_map)
    for number, parts in enumerate(trainer._training_batches(0)):
        if number == 2:
            for label in frozen:
                for parameter in parameters_of(trainer, label):
                    parameter.requires_grad_(False)
        model.train()
        with contract.step(frozen if number > 2 else set(), optimizer):
            optimizer.zero_grad(set_to_none=to_none)
            nn.functional.cross_entropy(model(parts[0]), parts[0]["target"]).backward()
            optimizer.step()
    missed = HABIT[request.node.callspec.params["trainer"]]
    if not to_none:  # as was the default for long: a gradient of zeros, by which momentum and decay go on
        missed = missed | {"a gradient", "a weight moved"}
    assert contract.broken == missed
