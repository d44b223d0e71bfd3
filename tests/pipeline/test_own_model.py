"""A module of the caller's own takes the whole road as an image or text tower; the caller's stays as it is."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
import torch
from sklearn.base import clone
from torch import nn

from support.cached_fits import history
from support.own_modules import IMAGES, TEXTS, Net, Words, digits, tokenizer_of
from support.tiny import make_texts, told, write_images
from thermocline import Callback, Predictor, ThermoclineClassifier
from thermocline.errors import ArtifactError, ConfigError, ResumeError

NAME = "support.own_modules:Net"


def fit(module: Any, frame: Any, path: Any = None, *, label: str = "label", **options: Any) -> Predictor:
    more = {name: options.pop(name) for name in ("resume", "callbacks", "start_from", "plan") if name in options}
    base = IMAGES if label == "label" else TEXTS
    predictor = Predictor(label, model=module, path=path, verbosity=0)
    return predictor.fit(frame, hyperparameters={**base, **options}, **more)


def state(predictor: Predictor) -> dict[str, torch.Tensor]:
    return dict(predictor.model.state_dict())


def same(one: Predictor, other: Predictor) -> bool:
    left, right = state(one), state(other)
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.fixture(scope="module")
def frame() -> Any:
    return digits()


@pytest.fixture(scope="module")
def fitted(frame, tmp_path_factory):
    options = {"optim.lr_choice": "layerwise_decay", "optim.lr": 1e-3}
    return fit(Net(), frame, tmp_path_factory.mktemp("own") / "model", **options)


@pytest.fixture(scope="module")
def reviews() -> Any:
    return make_texts(40)


# -- a fit ---------------------------------------------------------------------------------------------------------


def test_layers_are_found_and_learn_at_rates_of_their_own(fitted):
    layers = {layer.label: layer for layer in fitted.plan.layers}
    assert list(layers) == ["image/stem", "image/blocks.0", "image/blocks.1", "image/blocks.2", "fusion/head"]
    rates = [layer.lr_scale for layer in layers.values()]
    assert rates == sorted(set(rates))
    assert fitted.config.provenance["model.image.checkpoint"] == "user"


def test_the_callers_module_stays_as_it_is(frame):
    module = Net().eval()
    module.stem.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    predictor = fit(module, frame, **{"optim.head_init": "random", "optim.lr": 0.1})
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not module.training
    assert not module.stem.weight.requires_grad
    assert next(module.blocks.parameters()).requires_grad
    assert not torch.equal(predictor.model.towers["image"].backbone.stem.weight, before["stem.weight"])
    assert any("requires_grad=False; the plan decides" in note for note in predictor._fitted().built.notes)


def test_notes_say_what_was_assumed(fitted, frame):
    notes = "\n".join(fitted._fitted().built.notes)
    assert "count as pretrained (model.image.pretrained=false: as new)" in notes
    assert "mean (0.485, 0.456, 0.406)" in notes
    assert "pretrained_cfg" in notes
    said = Net()
    said.pretrained_cfg = {"input_size": (3, 24, 24), "mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    predictor = fit(said, frame, **{"model.image.size": None, "model.image.pretrained": False})
    assert predictor.config.model.image.size == 24
    assert not any("does not say" in note for note in predictor._fitted().built.notes)
    assert any("count as new" in note for note in predictor._fitted().built.notes)
    assert predictor.model.towers["image"].spec.std == (0.2, 0.2, 0.2)
    assert predictor.plan.layers[0].pretrained is False


def test_layers_by_patterns_of_its_own(frame):
    module = Net()
    module.layer_patterns = ["stem", ("blocks.[0-1]", 1), "blocks.2"]
    plan = Predictor("label", model=module, verbosity=0).explain(frame, hyperparameters=IMAGES)
    assert [layer.name for layer in plan.layers] == ["stem", "group.1", "blocks.2", "head"]
    module.layer_patterns = lambda: ["stem"]
    message = told(ConfigError, ValueError, lambda: fit(module, frame))
    assert "layer_patterns of Net" in message
    assert "No pattern matches" in message
    assert "the module has 'stem', 'blocks'" in message


@pytest.mark.parametrize("mode", ["single_lr", "two_stage", "layerwise_decay"])
def test_a_frozen_prefix_is_cached_to_the_same_bits(frame, mode):
    options = {
        "optim.lr_choice": mode,
        "model.image.frozen_layers": ["stem", "blocks.0"],
        "model.image.augment": "none",
    }
    off, on = (fit(Net(), frame, **options, **{"optim.cache_prefix": one}) for one in ("off", "memory"))
    assert same(off, on)
    assert history(off).drop(columns="note").equals(history(on).drop(columns="note"))
    stem = Net().stem.weight
    assert torch.equal(on.model.towers["image"].backbone.stem.weight, stem)


def test_phases_ema_and_adapters(frame):
    more = {"optim.schedule_plan": "fine_tune(freeze_epochs=1)", "optim.ema": 0.9, "optim.max_epochs": 3}
    staged = fit(Net(), frame, **more)
    assert len(staged.plan.phases) > 1
    adapted = fit(Net(), frame, **{"model.peft": "bitfit"})
    assert any(layer.role == "adapter" for layer in adapted.plan.layers)
    assert torch.equal(adapted.model.towers["image"].backbone.stem.weight, Net().stem.weight)


# -- saved ---------------------------------------------------------------------------------------------------------


def test_load_asks_for_the_module_and_never_imports_it(fitted, frame):
    message = told(ArtifactError, OSError, lambda: Predictor.load(fitted.path))
    assert NAME in message
    assert "Predictor.load(path, model=module)" in message
    loaded = Predictor.load(fitted.path, model=Net(seed=5), verbosity=0)
    assert loaded.predict(frame).equals(fitted.predict(frame))
    assert same(loaded, fitted)
    assert json.loads((fitted.path / "towers.json").read_text())["image"]["tower"]["own"]["class"] == NAME


def test_load_says_what_differs(fitted, frame):
    message = told(ArtifactError, OSError, lambda: Predictor.load(fitted.path, model=Net(width=4, depth=4)))
    assert "stem.weight: [8, 3, 4, 4] saved, [4, 3, 4, 4] given" in message
    deeper = told(ArtifactError, OSError, lambda: Predictor.load(fitted.path, model=Net(depth=4)))
    assert "blocks.3.conv.weight: none saved, [8, 8, 3, 3] given" in deeper
    shallower = told(ArtifactError, OSError, lambda: Predictor.load(fitted.path, model=Net(depth=2)))
    assert "blocks.2.conv.weight: [8, 8, 3, 3] saved, none given" in shallower


def test_load_with_a_module_where_there_was_none(frame, tmp_path):
    options = {**IMAGES, "model.image.checkpoint": "test_resnet", "model.image.pretrained": False}
    Predictor("label", path=tmp_path / "named", verbosity=0).fit(frame, hyperparameters=options)
    message = told(ArtifactError, OSError, lambda: Predictor.load(tmp_path / "named", model=Net()))
    assert "model.image.checkpoint=test_resnet, which is no object of yours" in message


def test_pickles_and_copies(fitted, frame):
    again = pickle.loads(pickle.dumps(fitted))
    assert again.predict(frame).equals(fitted.predict(frame))
    assert pickle.loads(pickle.dumps(Predictor.load(fitted.path, model=Net(), verbosity=0))).path == fitted.path
    assert clone(fitted).get_params()["model"] is not fitted.get_params()["model"]
    assert fitted.get_params()["model"] is fitted.set_params(verbosity=0).get_params()["model"]


def test_an_estimator_takes_it(frame):
    estimator = ThermoclineClassifier(model=Net(), hyperparameters=IMAGES)
    copied = clone(estimator).fit(frame[["image"]], frame["label"])
    assert copied.predictor_.config["model.image.checkpoint"].startswith(NAME)
    assert copied.predict(frame[["image"]]).shape == (len(frame),)


# -- resumed, and started from -------------------------------------------------------------------------------------


class Stop(Callback):
    """Stops as a crash would, at a step."""

    def on_step_end(self, state):
        if state.step == 5:
            raise RuntimeError("stopped here")


def test_a_resumed_run_has_the_same_bits_and_the_same_weights_to_begin_with(frame, tmp_path):
    every = {"env.checkpoint_every": 2}
    whole = fit(Net(), frame, tmp_path / "whole", **every)
    with pytest.raises(RuntimeError, match="stopped here"):
        fit(Net(), frame, tmp_path / "stopped", callbacks=Stop(), **every)
    other = told(ResumeError, ValueError, lambda: fit(Net(seed=1), frame, tmp_path / "stopped", resume=True, **every))
    assert "model.image.checkpoint" in other
    resumed = fit(Net(), frame, tmp_path / "stopped", resume=True, **every)
    assert same(whole, resumed)
    assert same(fit(Net(), frame, tmp_path / "stopped", resume=True, **every), resumed)


def test_a_fit_starts_from_one(fitted, frame):
    from_path = fit(Net(), frame, start_from=fitted.path)
    assert from_path.started_from["towers"] == ("image",)
    inherited = Predictor("label", verbosity=0).fit(frame, hyperparameters={"optim.max_epochs": 1}, start_from=fitted)
    assert inherited.config["model.image.checkpoint"] == fitted.config["model.image.checkpoint"]
    missing = Predictor("label", verbosity=0)
    assert "model=module" in told(ArtifactError, OSError, lambda: missing.fit(frame, start_from=fitted.path))
    other = told(ConfigError, ValueError, lambda: fit(Net(seed=3), frame, start_from=fitted.path))
    assert "start_from takes the image tower as it is" in other


def test_a_search_and_a_race_begin_each_fit_with_the_same_weights(frame, tmp_path):
    spaces = {**IMAGES, "optim.max_epochs": 1, "optim.lr": "choice(1e-3, 1e-2)"}
    predictor = Predictor("label", model=Net(), path=tmp_path / "searched", verbosity=0)
    predictor.fit(frame, hyperparameters=spaces, search={"trials": 2})
    assert len(predictor.leaderboard()) == 2
    assert (
        Predictor.load(tmp_path / "searched", model=Net(), verbosity=0).predict(frame).equals(predictor.predict(frame))
    )


# -- texts ---------------------------------------------------------------------------------------------------------


def test_texts_with_a_tokenizer(reviews, tmp_path):
    tokenizer = tokenizer_of(reviews)
    given = (Words(len(tokenizer)), tokenizer)
    predictor = fit(given, reviews, tmp_path / "texts", label="y", **{"optim.lr_choice": "layerwise_decay"})
    assert [layer.name for layer in predictor.plan.layers] == ["embed", "blocks.0", "blocks.1", "head"]
    assert predictor.config.model.text.pooling == "mean"
    asked = told(ArtifactError, OSError, lambda: Predictor.load(tmp_path / "texts"))
    assert "Predictor.load(path, model=(module, tokenizer))" in asked
    loaded = Predictor.load(tmp_path / "texts", model=given, verbosity=0)
    assert loaded.predict(reviews).equals(predictor.predict(reviews))
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    by_path = fit((Words(len(tokenizer)), tmp_path / "tokenizer"), reviews, label="y", **{"optim.max_epochs": 1})
    assert by_path.predict(reviews).shape == (len(reviews),)


class Rows(Words):
    """One vector a row, in an object such as transformers gives."""

    def forward(self, input_ids, attention_mask):
        states = super().forward(input_ids, attention_mask)
        return {"pooler_output": (states.sum(1) / attention_mask.sum(1, keepdim=True)).tanh()}


def test_a_module_that_gives_a_vector_a_row(reviews):
    tokenizer = tokenizer_of(reviews)
    predictor = fit((Rows(len(tokenizer)), tokenizer), reviews, label="y")
    assert sorted(predictor.model.towers["text"].grains) == ["row"]
    pooled = {"model.text.pooling": "cls"}
    message = told(
        ConfigError, ValueError, lambda: fit((Rows(len(tokenizer)), tokenizer), reviews, label="y", **pooled)
    )
    assert "gives one a row by itself" in message


def test_both_towers_at_once(frame, reviews):
    tokenizer = tokenizer_of(reviews)
    both = frame.head(40).reset_index(drop=True).assign(review=list(reviews["review"]))
    predictor = fit({"image": Net(), "text": (Words(len(tokenizer)), tokenizer)}, both, **TEXTS)
    assert sorted(predictor.model.towers) == ["image", "text"]


# -- bad input -----------------------------------------------------------------------------------------------------


class Wrong(Net):
    """Gives whatever it was told to."""

    def __init__(self, gives: Any) -> None:
        super().__init__()
        self.gives = gives

    def forward(self, x):
        return self.gives(x)


class Uncopied(Net):
    def __deepcopy__(self, memo):
        raise TypeError("it holds a lock")


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(4))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Net, "the class Net for image: make an object, Net(…)"),
        ({}, "model is an empty dict"),
        ({"pictures": Net()}, "model has the key 'pictures'; its keys are 'text', 'image'"),
        ({"text": Net()}, "model holds Net for text with no tokenizer"),
        ((Net(), "words", 1), "for text. It takes model=module"),
        ((Net(), 3), "model holds Net for text with 3 as its tokenizer"),
        ({"image": (Net(), "words")}, "for image. It takes model=module"),
        (nn.Flatten(), "has no parameters"),
        (lazy(), "has parameters without a shape"),
        (Net().to("meta"), "on the meta device, without values"),
    ],
)
def test_what_is_no_backbone_is_refused_at_once(given, says):
    assert says in told(ConfigError, ValueError, lambda: Predictor("label", model=given))
    assert says in told(ConfigError, ValueError, lambda: Predictor.load("nowhere", model=given))


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (Wrong(lambda x: x.mean()), "gives a float32 tensor of shape () for 2 rows"),
        (Wrong(lambda x: x.flatten()), "of shape (1536,) for 2 rows"),
        (Wrong(lambda x: x.flatten(1).long()), "gives a int64 tensor"),
        (Wrong(lambda x: x[:1].flatten(1)), "for 2 rows"),
        (Wrong(lambda x: {"a": 1}), "it gives a dict"),
        (Wrong(lambda x: "text"), "it gives a str"),
        (Wrong(lambda x: x.flatten(1) / 0 - x.flatten(1) / 0), "not finite"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()), "module(pixels), pixels float32 (2, 3, 16, 16)"),
        (Uncopied(), "copy.deepcopy of it fails (TypeError: it holds a lock)"),
    ],
)
def test_modules_that_give_no_features(frame, module, says):
    message = told(ConfigError, ValueError, lambda: fit(module, frame))
    assert says in message
    assert "model=" in message


def test_other_bad_input(frame, reviews):
    tokenizer = tokenizer_of(reviews)
    cases = [
        (lambda: fit(Net(), frame, **{"model.image.checkpoint": "resnet18"}), "Leave one of them out"),
        (lambda: fit(None, frame, **{"model.image.checkpoint": f"{NAME}(weights 0)"}), "no name is imported"),
        (lambda: fit(Net(), frame, **{"model.image.drop_path": 0.1}), "Set it in the module"),
        (lambda: fit(Net(), reviews, label="y"), "was given as model= for image columns, and there are none"),
        (lambda: fit((Words(5), tokenizer), reviews, label="y"), "the tokenizer's last"),
        (lambda: fit((Words(400), "nowhere"), reviews, label="y"), "there is no such folder"),
        (lambda: fit(with_settings(mean=(1, 2)), frame), "pretrained_cfg holds mean=(1, 2)"),
        (lambda: fit(with_settings(std=(1, 0, 1)), frame), "pretrained_cfg holds std=(1, 0, 1)"),
    ]
    for call, says in cases:
        assert says in told(ConfigError, ValueError, call)


def with_settings(**settings: Any) -> nn.Module:
    module = Net()
    module.pretrained_cfg = settings
    return module


def test_problems_without_such_a_tower_say_so(frame, tmp_path):
    found = write_images(tmp_path, rows=8)
    images = [str(tmp_path / name) for name in found["img"]]
    boxes = [[{"label": "red", "box": [1, 1, 9, 9]}] for _ in images]
    predictor = Predictor("boxes", "object_detection", model=Net(), verbosity=0)
    message = told(ConfigError, ValueError, lambda: predictor.fit({"image": images, "boxes": boxes}))
    assert "model.image.checkpoint" in message
    assert "object_detection does not read it" in message


def test_a_short_position_embedding_is_found_before_training(reviews):
    class Short(Words):
        def __init__(self, vocabulary):
            super().__init__(vocabulary)
            self.places = nn.Embedding(6, 16)

        def forward(self, input_ids, attention_mask):
            places = self.places(torch.arange(input_ids.shape[1]))
            return super().forward(input_ids, attention_mask) + places

    tokenizer = tokenizer_of(reviews)
    message = told(ConfigError, ValueError, lambda: fit((Short(len(tokenizer)), tokenizer), reviews, label="y"))
    assert "model.text.max_length" in message
    fitted = fit((Short(len(tokenizer)), tokenizer), reviews, label="y", **{"model.text.max_length": 6})
    assert fitted.predict(reviews).shape == (len(reviews),)
