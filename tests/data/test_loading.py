"""Loading: what is wanted, in order, read lazily, the same with workers and without."""

import itertools
import os

import numpy as np
import pandas as pd
import pytest
import torch

from thermocline.data import loading, worker_processes
from thermocline.data.batches import Rows
from thermocline.data.columns import Column
from thermocline.data.loading import KeptWorkers, Wanted, load, load_steps
from thermocline.data.row_part import RowPart
from thermocline.errors import ImageReadError
from thermocline.inputs.image.processor import ImageProcessor
from thermocline.inputs.image.spec import ImageSpec
from thermocline.inputs.table.rows import TableRows
from thermocline.inputs.text.rows import TextRows


def rows_of(n):
    table = TableRows(np.arange(n, dtype=np.float32)[:, None], np.zeros((n, 1), np.float32), np.zeros((n, 0), np.int64))
    return Rows({"table": table, "text": TextRows(tuple(np.full(3, i, dtype=np.int32) for i in range(n)), 0)})


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_draws_nothing_from_the_callers_generator(workers):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    got = [
        b["rows"].tolist() for b in load(rows_of(3), [(np.array([0, 1]), 0), (np.array([2]), 0)], num_workers=workers)
    ]
    assert got == [[0, 1], [2]]
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_plan_without_end_is_read_as_it_is_needed(workers):
    read = []

    def plan():
        for i in itertools.count():
            read.append(i)
            yield Wanted(np.array([i % 5, (i + 1) % 5]), i)

    stream = load(rows_of(5), plan(), num_workers=workers)
    got = [next(stream)["rows"].tolist() for _ in range(7)]
    assert got == [[i % 5, (i + 1) % 5] for i in range(7)]
    assert len(read) <= 7 + 2 * workers
    stream.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_each_batch_leaves_out_what_it_says(workers):
    plan = [
        Wanted(np.array([0]), 0),
        Wanted(np.array([1]), 0, frozenset({"text"})),
        Wanted(np.array([2]), 0, frozenset({"text", "table"})),
    ]
    keys = [set(batch) for batch in load(rows_of(3), plan, num_workers=workers)]
    assert keys == [{"rows", "table", "text"}, {"rows", "table"}, {"rows"}]


@pytest.mark.parametrize("workers", [0, 2])
def test_steps_of_several_batches(workers):
    steps = [[Wanted(np.array([0, 1])), Wanted(np.array([2]))], [Wanted(np.array([3]))], [Wanted(np.array([4]))] * 3]
    got = [[b["rows"].tolist() for b in step] for step in load_steps(rows_of(5), iter(steps), num_workers=workers)]
    assert got == [[[0, 1], [2]], [[3]], [[4], [4], [4]]]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_is_raised_where_its_batch_is_due(workers, tmp_path):
    """And as it is, not as a worker's traceback; the batches before it come whole."""
    from PIL import Image

    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    processor = ImageProcessor([Column("pic", "image", form="path")], ImageSpec((8, 8), (0.5,) * 3, (0.5,) * 3))
    rows = Rows({"image": processor.rows(pd.DataFrame({"pic": ["a.png", "b.png"]}), tmp_path)})
    (tmp_path / "b.png").write_bytes(b"broken")
    stream = load(rows, [Wanted(np.array([0])), Wanted(np.array([1]))], num_workers=workers)
    assert next(stream)["rows"].tolist() == [0]
    with pytest.raises(ImageReadError, match=r"^The image in row 1"):
        next(stream)


def test_pinning_reaches_every_tensor(monkeypatch):
    """Here without a GPU: that each tensor is asked, and none where pinning is not."""
    asked = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: asked.append(self.shape) or self)
    batch = next(load(rows_of(3), [Wanted(np.array([0, 1]))], pin_memory=True))
    assert len(asked) == 1 + len(batch["table"]) + len(batch["text"])
    asked.clear()
    next(load(rows_of(3), [Wanted(np.array([0, 1]))]))
    assert not asked


def test_workers_pin_too(monkeypatch):
    made = {}

    class Loader(loading.DataLoader):
        def __init__(self, *args, **options):
            made.update(options)
            super().__init__(*args, **{**options, "pin_memory": False})

    monkeypatch.setattr(loading, "DataLoader", Loader)
    list(load(rows_of(2), [Wanted(np.array([0]))], num_workers=1, pin_memory=True))
    assert made["pin_memory"] is True
    list(load(rows_of(2), [Wanted(np.array([0]))], num_workers=1))
    assert made["pin_memory"] is False


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("workers", [0, 1])
def test_pinned_memory_on_a_gpu(workers):
    batch = next(load(rows_of(3), [Wanted(np.array([0, 1]))], num_workers=workers, pin_memory=True))
    assert batch["text"]["input_ids"].is_pinned()


class Telling(RowPart):
    """Rows that tell in which process they were made."""

    decodes = True

    def __len__(self):
        return 9

    def batch(self, rows, epoch=None):
        return {"made": np.full(len(rows), os.getpid())}


def test_worker_processes_stay_for_the_next_pass_over_the_same_rows():
    rows, kept = Rows({"telling": Telling()}), KeptWorkers()

    def passed(most):
        plan = [Wanted(np.array([i]), None) for i in range(9)]
        batches = itertools.islice(load(rows, plan, num_workers=1, kept=kept), most)
        return [(batch["rows"].item(), batch["telling"]["made"].item()) for batch in batches]

    first, cut, again = passed(9), passed(2), passed(9)  # one that is left in the middle changes nothing
    assert first == again == [(row, first[0][1]) for row in range(9)]
    assert cut == first[:2]
    assert first[0][1] != os.getpid()
    assert passed(1) == first[:1]
    kept.close()
    assert [row for row, _ in passed(9)] == list(range(9))
    assert passed(1)[0][1] != first[0][1]
    kept.close()


def test_worker_processes_are_started_unasked_where_a_gpu_would_wait_for_images(monkeypatch):
    images, method = Rows({"telling": Telling()}), ["fork"]
    monkeypatch.setattr(worker_processes, "_method", lambda: method[0])
    monkeypatch.setattr(worker_processes.os, "sched_getaffinity", lambda _: set(range(6)))
    chosen = worker_processes.chosen_number
    assert chosen(None, images, "cuda") == 5
    assert chosen(None, images, "cpu") == chosen(None, rows_of(3), "cuda") == 0
    assert chosen(0, images, "cuda") == 0
    assert chosen(3, rows_of(3), "cpu") == 3
    monkeypatch.setattr(worker_processes.os, "sched_getaffinity", lambda _: set(range(64)))
    assert chosen(None, images, "cuda") == worker_processes.MOST_CHOSEN
    method[0] = "spawn"  # the caller's script would run again
    assert chosen(None, images, "cuda") == 0
