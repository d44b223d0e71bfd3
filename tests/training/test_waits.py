"""A steady step waits for no GPU; what it leaves unread changes nothing. The CPU stands for the GPU: `waits.py`."""

from __future__ import annotations

import pytest
import torch

from support.shapes import options, save_detector, write_shapes
from support.tiny import TINY, make_table, make_texts, save_text, write_images
from support.toy import Recorder, make_model, make_run, same, state
from support.waits import OnHost, Waits, as_on_a_gpu
from thermocline import Callback, Predictor
from thermocline.data.moving import HOST, moved, on_host
from thermocline.errors import NonFiniteError
from thermocline.training.step_results import READ_EVERY
from thermocline.training.stepping import decides_on_device
from thermocline.training.trainer import Trainer

LONG = {**TINY, "env.batch_size": 8, "optim.max_epochs": 6, "optim.val_check_interval": 6.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("waits")


@pytest.fixture(scope="module")
def text(folder):
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return {"model.text.checkpoint": str(save_text(folder / "bert", "bert", **small))}


@pytest.fixture(scope="module")
def pictures(folder):
    frame = write_images(folder / "images", rows=40)
    return frame.assign(img=[str(folder / "images" / name) for name in frame["img"]])


IMAGE = {"model.image.checkpoint": "test_vit", "model.image.pretrained": False}


def steps(frame, given, label="y", kind=None):
    """What would wait in each step but those that read losses."""
    with as_on_a_gpu() as counted:
        Predictor(label, kind, verbosity=0).fit(frame, hyperparameters=given)
    assert len(counted) > 2 * READ_EVERY
    reading = range(READ_EVERY, len(counted) + 1, READ_EVERY)
    assert all(counted[number].ours["tolist in StepResults.read"] == 1 for number in reading)
    return {number: waits for number, waits in counted.items() if number not in reading}


def waiting(*given, **more):
    return {number: dict(waits.found) for number, waits in steps(*given, **more).items() if waits.found}


def test_the_counter_counts_what_would_wait_and_nothing_else():
    waits, plain, host = Waits(), torch.arange(3.0), torch.arange(3.0).as_subclass(OnHost)
    with waits.counting():
        float(plain.sum()), bool((plain > 0).all()), plain.cpu(), plain.tolist(), plain[plain > 1]
        (plain > 1).nonzero(), plain.numpy()
        float(host.sum()), bool((host > 0).all()), host.cpu(), host.tolist(), host[host > 1], plain[[0, 1]]
    expected = {"_local_scalar_dense": 2, "cpu": 1, "tolist": 1, "index of a mask": 1, "nonzero": 1, "numpy": 1}
    assert waits.found == expected


@pytest.mark.parametrize("more", [{}, {"env.micro_batch_size": 3}, {"optim.ema": 0.9}, {"env.precision": "bf16"}])
def test_a_steady_step_on_a_table_waits_for_nothing(more):
    assert waiting(make_table(), {**LONG, **more}) == {}


@pytest.mark.parametrize("more", [{}, {"optim.gradient_clip": 1e-3, "optim.mixup": 0.2}])
def test_a_steady_step_on_texts_waits_for_nothing(text, more):
    assert waiting(make_texts(), {**LONG, **text, **more}) == {}


@pytest.mark.parametrize("layers", [["re:.*"], ["embeddings", "encoder.layer.0"]], ids=["whole", "prefix"])
def test_a_steady_step_on_stored_outputs_waits_for_nothing(text, layers):
    stored = {"model.text.frozen_layers": layers, "optim.cache_prefix": "memory"}
    found = waiting(make_texts(), {**LONG, **text, **stored})
    assert not found.keys() - {1}  # in which a batch from the store is compared with one that is computed


@pytest.mark.parametrize("missing", [False, True])
def test_a_steady_step_on_images_waits_for_nothing(pictures, missing):
    frame = pictures.copy()
    if missing:
        frame.loc[::5, "img"] = None
    assert waiting(frame, {**LONG, **IMAGE}) == {}


@pytest.mark.filterwarnings("ignore:.* in train_data too")
def test_a_detector_waits_where_the_library_matches_boxes_and_nowhere_else(folder):
    frame = write_shapes(folder / "shapes", rows=12)
    given = options(save_detector(folder / "rt_detr"), folder / "shapes", **{"optim.max_epochs": 8})
    found = steps(frame, {**given, "optim.val_check_interval": 8.0}, "rois", "object_detection")
    assert all(waits.found for waits in found.values())
    assert not any(waits.ours for waits in found.values())


# what is left unread changes nothing


def late(trainer):
    """A trainer that leaves losses unread, as on a GPU."""
    trainer.reads_late = True
    return trainer


def ruined(trainer, bad):
    """Make the gradients of some steps infinite."""
    gradients, step = trainer.stepper.gradients, trainer.step

    def take(number, *more):
        trainer.number = number
        step(number, *more)

    def infinite(*given, **more):
        losses = gradients(*given, **more)
        if trainer.number in bad:
            trainer.trainable[-1].grad.fill_(float("inf"))
        return losses

    trainer.step, trainer.stepper.gradients = take, infinite
    return trainer


def run_of(folder, **options):
    options.setdefault("optim", {})
    options["optim"] = {"max_epochs": 6, "gradient_clip": 0.05, "ema": 0.8, **options["optim"]}
    return make_run(folder, model=make_model(dropout=0.2), **options)


@pytest.mark.parametrize("bad", [(), (1,), (3, 4, 17), (9, 10, 11)])
def test_losses_that_are_read_later_change_no_bit_and_no_line(bad, tmp_path):
    loggers, fits = [Recorder(), Recorder()], []
    for place, logger in enumerate(loggers):
        trainer = ruined(Trainer(run_of(tmp_path / str(place), loggers=[logger])), bad)
        history = late(trainer).fit() if place else trainer.fit()
        fits.append((state(trainer.model), history.drop(columns="seconds"), trainer.ema._average))
    (weights, history, average), (others, other_history, other_average) = fits
    assert history.equals(other_history)
    assert loggers[0].lines == loggers[1].lines
    assert history["note"].str.contains("skipped").any() == bool(bad)
    if not bad:  # else the rate of the average lags until the skipped step is known
        assert same(weights, others)
        assert same(average, other_average)


@pytest.mark.parametrize("bad", [(1,), (3, 4, 17)])
def test_a_skipped_step_moves_no_weight_where_the_device_decides(bad, tmp_path):
    weights = []
    for place in range(2):
        trainer = ruined(Trainer(run_of(tmp_path / str(place), optim={"ema": None, "gradient_clip": None})), bad)
        (late(trainer) if place else trainer).fit()
        weights.append(state(trainer.model))
    assert same(*weights)


def test_steps_that_stay_infinite_end_the_fit_with_the_same_words(tmp_path):
    said = []
    for place in range(2):
        trainer = ruined(Trainer(run_of(tmp_path / str(place))), range(4, 99))
        with pytest.raises(NonFiniteError) as caught:
            (late(trainer) if place else trainer).fit()
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "up to step 13" in said[0]


class Looking(Callback):
    def __init__(self, every):
        self.every, self.seen, self.states = every, {}, []

    def on_step_end(self, state):
        self.states.append(state)
        if state.step % self.every == 0:
            self.seen[state.step] = state.loss


def test_a_callback_reads_a_loss_when_it_looks_and_gets_that_of_its_step(tmp_path):
    each, some = Looking(1), Looking(7)
    Trainer(run_of(tmp_path / "a", callbacks=[each])).fit()
    trainer = late(Trainer(run_of(tmp_path / "b", callbacks=[some])))
    reads = []
    read = trainer.results.read
    trainer.results.read = lambda: (reads.append(len(trainer.results._unread)), read())
    trainer.fit()
    assert some.seen == {step: loss for step, loss in each.seen.items() if step % 7 == 0}
    assert [one.loss for one in some.states] == list(each.seen.values())  # looked at after the fit


def test_an_optimizer_that_cannot_decide_is_asked_at_every_step(tmp_path):
    sgd = late(Trainer(run_of(tmp_path, optim={"optimizer": "sgd", "ema": None})))
    assert not decides_on_device(sgd.make_optimizer())
    assert decides_on_device(Trainer(run_of(tmp_path)).make_optimizer())
    sgd.fit()
    assert not sgd.results._unread


def test_a_moved_batch_has_the_hosts_copy_beside_it():
    batch = {"rows": torch.arange(3), "text": {"ids": torch.ones(2)}}
    gone = moved(batch, torch.device("meta"))
    assert gone["text"]["ids"].device.type == "meta"
    assert on_host(gone, "rows") is batch["rows"]
    assert on_host(gone["text"], "ids") is batch["text"]["ids"]
    assert on_host(batch, "rows") is batch["rows"]
    assert HOST not in moved(batch, torch.device("cpu"))
