"""Mixup and CutMix: what a batch becomes, and fits that are stopped, resumed, and without them the same as before."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support.stopping import killed_before
from support.tiny import TINY, make_table, make_texts, told, write_images
from thermocline import Predictor
from thermocline.contracts.mixing import Mixing
from thermocline.errors import ConfigError, ResumeError
from thermocline.inputs.image.tower import ImageTower
from thermocline.problems.rowwise.mixing import MIXING, drawn, of_both_labels, varying
from thermocline.problems.rowwise.objective import by_row

IMAGE = {"model.image.checkpoint": "resnet10t", "model.image.pretrained": False, "model.image.size": 32}
BOTH = {"optim.mixup": 0.4, "optim.cutmix": 1.0}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    alpha=st.sampled_from([0.05, 0.4, 1.0, 5.0]),
    cuts=st.booleans(),
    side=st.integers(1, 64),
)
def test_what_is_drawn_is_a_function_of_the_seed_and_the_share_is_that_of_the_pixels(seed, alpha, cuts, side):
    def one():
        torch.manual_seed(seed)
        return drawn(0.0 if cuts else alpha, alpha if cuts else 0.0)

    mixing = one()
    assert mixing == one()
    assert 0 <= mixing.share <= 1
    assert (mixing.box is not None) == cuts
    pixels = torch.stack([torch.zeros(1, 3, side, side), torch.full((1, 3, side, side), 200)]).to(torch.uint8)
    out = mixing.mixed_pixels(pixels).float() / 200
    own = 1 - float(out[0].mean())
    assert own == pytest.approx(mixing.share, abs=2.1 / side if cuts else 0.003)
    assert float(out[1].mean()) == pytest.approx(own, abs=0.006)


def test_where_both_are_asked_for_each_is_drawn_about_as_often():
    torch.manual_seed(0)
    cuts = sum(drawn(0.3, 1.0).box is not None for _ in range(400))
    assert 150 < cuts < 250


@pytest.mark.parametrize(("loss", "width"), [("cross_entropy", 3), ("bce", 3), ("mse", 1)])
def test_the_loss_is_that_of_both_labels_in_proportion(loss, width):
    torch.manual_seed(0)
    outputs = torch.randn(4, width)
    target = torch.tensor([0, 2, 1, 1]) if loss == "cross_entropy" else torch.rand(4, width).round()
    batch = {"rows": torch.arange(4), "target": target, "weight": torch.tensor([1.0, 2.0, 0.5, 1.0])}
    plain, mixed = by_row(loss), of_both_labels(by_row(loss))
    assert torch.equal(mixed.total(outputs, batch), plain.total(outputs, batch))
    found = mixed.total(outputs, {**batch, MIXING: Mixing(0.7)})
    rolled = {**batch, "target": target.roll(1, 0), "weight": batch["weight"].roll(1)}
    assert found.item() == pytest.approx(
        0.7 * plain.total(outputs, batch).item() + 0.3 * plain.total(outputs, rolled).item()
    )


def test_a_squared_error_has_the_gradient_of_the_mixed_label():
    outputs = torch.randn(6, 1, requires_grad=True)
    target, mixing = torch.randn(6, 1), Mixing(0.3)
    of_both_labels(by_row("mse")).total(outputs, {"rows": torch.arange(6), "target": target, MIXING: mixing}).backward()
    expected = 2 * (outputs - mixing.mixed(target)).detach()
    assert torch.allclose(outputs.grad, expected, atol=1e-6)


def test_images_that_are_missing_in_either_row_stay():
    pixels = torch.arange(4).view(4, 1, 1, 1, 1).expand(4, 1, 3, 8, 8).to(torch.uint8) * 40
    present = torch.tensor([[True], [False], [True], [True]])
    out = ImageTower.mixed(None, {"pixels": pixels, "present": present}, Mixing(0.5))["pixels"]
    assert out[:, 0, 0, 0, 0].tolist() == [60, 40, 80, 100]  # rows 0 and 3 are mixed with 3 and 2


def test_nothing_is_drawn_where_nothing_is_asked_for():
    class Off:
        mixup = cutmix = 0.0

    assert varying(Off()) is None


@pytest.fixture(scope="module")
def mixed_frame(tmp_path_factory):
    """Images, texts and a table."""
    folder = tmp_path_factory.mktemp("mixed")
    frame = write_images(folder, 24).drop(columns="y")
    frame["img"] = [str(folder / name) for name in frame["img"]]
    table = make_table(24)
    return pd.concat([frame, make_texts(24)[["review"]], table], axis=1)


def options(text_folder, **more):
    return {**TINY, **IMAGE, "model.text.checkpoint": str(text_folder), "model.text.pretrained": False, **more}


def test_a_fit_that_was_stopped_ends_as_one_that_was_not(mixed_frame, text_folder, tmp_path):
    given = options(text_folder, **BOTH, **{"env.checkpoint_every": 1, "env.micro_batch_size": 5})
    whole = Predictor("y", path=tmp_path / "whole", verbosity=0).fit(mixed_frame, hyperparameters=given)
    with killed_before(3):
        Predictor("y", path=tmp_path / "again", verbosity=0).fit(mixed_frame, hyperparameters=given)
    again = Predictor("y", path=tmp_path / "again", verbosity=0)
    again.fit(mixed_frame, hyperparameters=given, resume=True)
    assert whole.predict_proba(mixed_frame).equals(again.predict_proba(mixed_frame))
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "again"))
    assert one == two


def test_a_run_is_not_resumed_with_another_mixture(mixed_frame, text_folder, tmp_path):
    given = options(text_folder, **BOTH, **{"env.checkpoint_every": 1})
    with killed_before(3):
        Predictor("y", path=tmp_path / "run", verbosity=0).fit(mixed_frame, hyperparameters=given)
    other = {**given, "optim.mixup": 0.5}
    run = Predictor("y", path=tmp_path / "run", verbosity=0)
    assert "optim.mixup" in told(
        ResumeError, ValueError, lambda: run.fit(mixed_frame, hyperparameters=other, resume=True)
    )


@pytest.mark.parametrize("key", ["optim.mixup", "optim.cutmix"])
def test_each_changes_what_is_learnt_of_images(mixed_frame, key):
    frame = mixed_frame[["img", "y"]]
    given = {**TINY, **IMAGE, "optim.head_init": "random", "optim.lr": 0.01}
    plain = Predictor("y", verbosity=0).fit(frame, hyperparameters=given)
    varied = Predictor("y", verbosity=0).fit(frame, hyperparameters={**given, key: 1.0})
    assert not np.allclose(plain.history["train_loss"].dropna(), varied.history["train_loss"].dropna())


def test_features_of_texts_that_are_kept_are_mixed_too(text_folder):
    """With a frozen backbone the features come from the cache; mixing changes the loss, and not the cached bits."""
    frame = make_texts(40)
    given = {**TINY, "model.text.checkpoint": str(text_folder), "optim.mixup": 1.0, "model.tfidf": "off"}
    given |= {"model.frozen_layers": "backbone", "optim.lr": 0.1}
    fits = [
        Predictor("y", verbosity=0).fit(
            frame, hyperparameters={**given, "optim.cache_prefix": cache, "optim.mixup": mixup}
        )
        for cache, mixup in (("memory", 1.0), ("off", 1.0), ("memory", 0.0))
    ]
    losses = [fit.history["train_loss"].dropna().tolist() for fit in fits]
    assert losses[0] == losses[1] != losses[2]


def test_numbers_are_learnt_of_mixed_rows():
    table = make_table(200)
    frame = pd.DataFrame({"x": table["x"], "z": table["z"], "y": 3 * table["x"] - table["z"]})
    given = {**TINY, "optim.mixup": 0.2, "optim.max_epochs": 20, "model.trees": "off"}
    assert Predictor("y", verbosity=0).fit(frame, hyperparameters=given).evaluate(frame)["r2"] > 0.8


def test_cutmix_without_images_and_values_that_are_none():
    frame = make_table(40)
    said = Predictor("y", verbosity=0).fit(frame, hyperparameters={**TINY, "optim.cutmix": 1.0}).history["note"]
    assert said.str.contains("optim.cutmix").any()
    for value in (-1, "much", float("nan")):
        message = told(
            ConfigError,
            ValueError,
            lambda value=value: Predictor("y", verbosity=0).fit(frame, hyperparameters={"optim.mixup": value}),
        )
        assert "optim.mixup" in message
