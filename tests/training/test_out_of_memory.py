"""Tests of steps that do not fit into memory."""

import pytest
import torch

from support.stopping import Killed
from support.toy import make_model, make_run
from thermocline.errors import NotEnoughMemoryError
from thermocline.training.checkpoint_store import CheckpointStore
from thermocline.training.out_of_memory import is_out_of_memory
from thermocline.training.trainer import Trainer

OPTIM = {"head_init": "random", "max_epochs": 3}


FULL = torch.OutOfMemoryError("CUDA out of memory.\nTried")


def trainer_of(folder, most=None, *, error=FULL, stop_at=None, **env):
    """A trainer whose model has memory for so many rows in training; it dies before a step."""
    store = CheckpointStore(folder)
    found = store.newest()
    run = make_run(store.adopt(found), model=make_model(), optim=OPTIM, env=env, store=store, resume=found)
    trainer = Trainer(run)

    def forward(module, given):
        if module.training and most is not None and len(given[0]["rows"]) > most:
            raise error

    trainer.model.register_forward_pre_hook(forward)
    step = trainer.step

    def stepped(number, *rest):
        if number == stop_at:
            raise Killed
        return step(number, *rest)

    trainer.step = stepped
    return trainer


def notes(history):
    return [note for note in history["note"] if "out of memory" in note]


def test_micro_batches_are_halved_until_they_fit(tmp_path):
    trainer = trainer_of(tmp_path / "a", 3)
    history = trainer.fit()
    assert notes(history) == [
        "out of memory at step 1: env.micro_batch_size 8 → 4, and the step is repeated",
        "out of memory at step 1: env.micro_batch_size 4 → 2, and the step is repeated",
    ]
    small = trainer_of(tmp_path / "b", micro_batch_size=2)
    small.fit()
    for one, other in zip(trainer.model.parameters(), small.model.parameters(), strict=True):
        assert one.equal(other)


def test_workers_that_read_ahead_change_nothing(tmp_path):
    trainer = trainer_of(tmp_path / "a", 3, num_workers=1)
    trainer.fit()
    small = trainer_of(tmp_path / "b", micro_batch_size=2)
    small.fit()
    for one, other in zip(trainer.model.parameters(), small.model.parameters(), strict=True):
        assert one.equal(other)


def test_a_resumed_run_begins_with_what_fitted(tmp_path):
    with pytest.raises(Killed):
        trainer_of(tmp_path, 3, checkpoint_every=2, stop_at=6).fit()
    trainer = trainer_of(tmp_path, 3, checkpoint_every=2)
    history = trainer.fit()
    assert trainer.micro == 2
    assert len(notes(history)) == 2  # those of the first process


def test_another_micro_batch_size_is_followed_after_a_stop(tmp_path):
    with pytest.raises(Killed):
        trainer_of(tmp_path, 3, checkpoint_every=2, stop_at=6).fit()
    trainer = trainer_of(tmp_path, checkpoint_every=2, micro_batch_size=4)
    trainer.fit()
    assert trainer.micro == 4


def test_a_row_that_does_not_fit_is_an_error_with_ways_out(tmp_path):
    with pytest.raises(NotEnoughMemoryError, match=r"Step 1: a single row does not fit.*frozen_layers.*out of memory"):
        trainer_of(tmp_path, 0).fit()


def test_other_errors_are_raised_as_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="shapes differ"):
        trainer_of(tmp_path, 3, error=RuntimeError("shapes differ")).fit()


def test_the_allocator_of_the_cpu_is_known():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)
    assert is_out_of_memory(raised.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))
    assert not is_out_of_memory(ValueError("DefaultCPUAllocator"))
