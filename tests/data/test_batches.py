"""Order, batches and the split: functions of (seed, epoch) that keep every row."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thermocline.data.batches import BUCKET, Rows, epoch_order, inference_order, load, split_rows
from thermocline.data.table import TableRows
from thermocline.data.text import TextRows
from thermocline.tasks import Task


def table_rows(n):
    return TableRows(np.arange(n, dtype=np.float32)[:, None], np.zeros((n, 1), np.float32), np.zeros((n, 0), np.int64))


def text_rows(lengths):
    return TextRows(tuple(np.full(n, 7, dtype=np.int32) for n in lengths), 0)


# the order of an epoch


@given(
    st.integers(1, 400), st.integers(1, 40), st.integers(0, 2**31), st.integers(0, 20), st.booleans(), st.integers(0, 9)
)
def test_every_row_once_and_never_one_alone(n, size, seed, epoch, bucketed, skew):
    lengths = np.random.default_rng(skew).integers(1, 200, n) if bucketed else None
    batches = epoch_order(n, size, seed=seed, epoch=epoch, lengths=lengths)
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))
    assert max(len(b) for b in batches) <= size + 1
    if n > 1 and size > 1:
        assert min(len(b) for b in batches) > 1
    again = epoch_order(n, size, seed=seed, epoch=epoch, lengths=lengths)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


def test_epochs_and_seeds_differ():
    def order(seed, epoch):
        return np.concatenate(epoch_order(200, 8, seed=seed, epoch=epoch, lengths=None)).tolist()

    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    assert order(0, 1) != order(1, 0)  # seed and epoch are not added up


def test_the_order_leaves_numpys_global_generator_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    epoch_order(100, 8, seed=0, epoch=0, lengths=None)
    assert (np.random.get_state()[1] == before).all()


def test_buckets_hold_like_lengths():
    lengths = np.random.default_rng(0).integers(1, 200, 4000)
    bucketed = epoch_order(4000, 16, seed=0, epoch=0, lengths=lengths)
    plain = epoch_order(4000, 16, seed=0, epoch=0, lengths=None)

    def padding(batches):
        return sum(len(b) * lengths[b].max() for b in batches) / lengths.sum() - 1

    assert padding(bucketed) < 0.1
    assert padding(plain) > 0.5
    shown = [lengths[b].mean() for b in bucketed]
    assert abs(np.corrcoef(shown[:-1], shown[1:])[0, 1]) < 0.2  # the batches themselves are shuffled


def test_a_bucket_is_not_the_whole_epoch():
    """Otherwise the same rows would meet in every epoch."""
    lengths = np.arange(BUCKET * 4 * 3)
    meet = [
        {frozenset(b.tolist()) for b in epoch_order(len(lengths), 4, seed=0, epoch=e, lengths=lengths)} for e in (0, 1)
    ]
    assert len(meet[0] & meet[1]) < len(meet[0]) / 4


def test_inference_goes_from_long_to_short_and_covers_all():
    rows = Rows({"text": text_rows([3, 9, 1, 9, 5])})
    batches = inference_order(rows, 2)
    assert [b.tolist() for b in batches] == [[1, 3], [4, 0], [2]]
    assert [b.tolist() for b in inference_order(Rows({"table": table_rows(3)}), 2)] == [[0, 1], [2]]


# batches


def test_a_batch_has_what_there_is():
    target, weight = np.arange(4), np.arange(4, dtype=np.float32)
    rows = Rows({"table": table_rows(4), "text": text_rows([1, 2, 3, 4])}, target, weight)
    batch = rows.batch(np.array([3, 1]))
    assert batch["rows"].tolist() == [3, 1]
    assert batch["target"].tolist() == [3, 1]
    assert batch["weight"].tolist() == [3, 1]
    assert batch["table"]["numbers"][:, 0].tolist() == [3, 1]
    assert batch["text"]["input_ids"].shape == (2, 4)
    assert rows.lengths.tolist() == [1, 2, 3, 4]
    bare = Rows({"table": table_rows(4)})
    assert set(bare.batch(np.array([0]))) == {"rows", "table"}
    assert bare.lengths is None


def test_loading_draws_nothing_from_the_callers_generator():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    plan = [(np.array([0, 1]), 0), (np.array([2]), 0)]
    for workers in (0, 1):
        got = [b["rows"].tolist() for b in load(Rows({"table": table_rows(3)}), plan, num_workers=workers)]
        assert got == [[0, 1], [2]]
    assert torch.equal(before, torch.get_rng_state())


# the split


def task(labels, problem_type=None):
    frame = pd.DataFrame({"y": labels})
    made = Task.of(frame, "y", problem_type)
    return made, made.encode(frame)


def test_classes_keep_their_proportions():
    labels = ["a"] * 800 + ["b"] * 150 + ["c"] * 50
    made, target = task(labels)
    train, held, why = split_rows(made, target, None, seed=0)
    assert sorted([*train, *held]) == list(range(1000))
    shares = np.bincount(target[held]) / len(held)
    np.testing.assert_allclose(shares, [0.8, 0.15, 0.05], atol=0.01)
    assert "1000 rows" in why


def test_the_split_is_a_function_of_the_seed():
    made, target = task(["a", "b"] * 200)
    one, two, other = (split_rows(made, target, 0.2, seed=s)[1].tolist() for s in (3, 3, 4))
    assert one == two != other
    assert len(one) == 80


def test_a_class_with_one_row_stays_in_training():
    made, target = task(["a"] * 40 + ["b"] * 40 + ["rare"])
    for seed in range(10):
        train, held, _ = split_rows(made, target, 0.3, seed=seed)
        assert 80 in train
        assert 80 not in held


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=2, max_size=12),
    st.one_of(st.none(), st.floats(0.01, 0.95)),
    st.integers(0, 1000),
)
def test_every_class_is_in_training_whatever_the_sizes(sizes, fraction, seed):
    labels = [f"c{k}" for k, size in enumerate(sizes) for _ in range(size)]
    if len(labels) < 3:
        return
    made, target = task(labels, "multiclass" if len(sizes) > 2 else None)
    train, held, _ = split_rows(made, target, fraction, seed=seed)
    assert len(train)
    assert len(held)
    assert sorted([*train, *held]) == list(range(len(labels)))
    if max(sizes) > 1 and len(labels) > len(sizes) + 1:  # else one of the few rows must be held out
        assert set(target[train]) == set(target)


@pytest.mark.parametrize("n", [2, 3, 5, 100, 100_000])
def test_numbers_are_split_at_random(n):
    made, target = task(np.linspace(0, 1, n), "regression")
    train, held, _ = split_rows(made, target, None, seed=0)
    assert len(train) + len(held) == n
    assert len(held) >= 1
    assert len(train) >= 1
    assert len(held) <= max(1, 0.2 * n + 1)
    assert not set(train) & set(held)
