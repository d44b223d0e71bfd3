"""The order of rows: every row once, like lengths together, and otherwise as random as padding allows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thermocline.data.order import BEYOND, PADDED, epoch_order, inference_order, micro_batches


def lognormal(n, seed=0, mean=46, cap=128, spread=0.65):
    """Lengths as texts have them."""
    rng = np.random.default_rng(seed)
    return np.clip(np.exp(rng.normal(np.log(mean) - spread**2 / 2, spread, n)).round(), 3, cap).astype(np.int64)


def padded(batches, lengths, least=1):
    return sum(len(b) * max(least, lengths[b].max()) for b in batches) / lengths.sum()


def numbers(batches, n):
    """The batch of each row."""
    of = np.empty(n, dtype=np.int64)
    for i, batch in enumerate(batches):
        of[batch] = i
    return of


def meet_again(one, two, n):
    """The share of pairs of one order's batches that are in one batch in the other as well."""
    a, b = numbers(one, n), numbers(two, n)
    pairs = same = 0
    for i in range(len(one)):
        counts = np.unique(b[a == i], return_counts=True)[1]
        pairs += counts.sum() * (counts.sum() - 1)
        same += (counts * (counts - 1)).sum()
    return same / pairs


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
    assert len(batches) == len(epoch_order(n, size, seed=0, epoch=0, lengths=None))  # plans count on that
    again = epoch_order(n, size, seed=seed, epoch=epoch, lengths=lengths)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


@pytest.mark.parametrize("lengths", [None, lognormal(200)], ids=["plain", "bucketed"])
def test_epochs_and_seeds_differ(lengths):
    def order(seed, epoch):
        return np.concatenate(epoch_order(200, 8, seed=seed, epoch=epoch, lengths=lengths)).tolist()

    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
    assert order(0, 1) != order(1, 0)  # seed and epoch are not added up


def test_the_order_leaves_numpys_global_generator_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    epoch_order(100, 8, seed=0, epoch=0, lengths=lognormal(100))
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("n", [1000, 5000, 20_000])
def test_a_twentieth_of_padding_and_no_more(n):
    lengths = lognormal(n, seed=1)
    widths = np.maximum(lengths, 16)
    assert padded(epoch_order(n, 32, seed=0, epoch=0, lengths=None), lengths) > 2.4
    for epoch in range(3):
        batches = epoch_order(n, 32, seed=0, epoch=epoch, lengths=widths)
        assert padded(batches, lengths, 16) <= 1.05
        assert padded(batches, widths) <= PADDED
        assert padded(batches, widths) > PADDED - 0.01  # what it allows is used to shuffle


@settings(max_examples=30, deadline=None)
@given(st.integers(40, 400), st.integers(4, 16), st.integers(0, 99), st.floats(0.1, 1.5))
def test_small_frames_cost_little_more_than_sorted_ones(n, size, seed, spread):
    lengths = lognormal(n, seed, spread=spread)
    batches = epoch_order(n, size, seed=seed, epoch=0, lengths=lengths)
    order = np.argsort(lengths)
    sizes = np.array([len(b) for b in batches])
    places = [np.cumsum(np.roll(sizes, i))[:-1] for i in range(len(sizes))]
    worst = max(padded(np.split(order, place), lengths) for place in places)  # wherever the short batch lies
    assert padded(batches, lengths) <= PADDED + BEYOND * max(0, worst - PADDED)


@pytest.mark.parametrize(("n", "most"), [(300, 0.8), (1000, 0.7), (5000, 0.15), (20_000, 0.04)])
def test_rows_meet_others_in_every_epoch(n, most):
    widths = np.maximum(lognormal(n), 16)
    one, two = (epoch_order(n, 32, seed=0, epoch=e, lengths=widths) for e in (0, 1))
    assert meet_again(one, two, n) < most


def test_even_where_all_lengths_differ():
    """Sorted, the same rows would meet in every epoch."""
    lengths = np.arange(100, 1124)
    one, two = (epoch_order(1024, 8, seed=0, epoch=e, lengths=lengths) for e in (0, 1))
    assert not {frozenset(b.tolist()) for b in one} & {frozenset(b.tolist()) for b in two}
    assert meet_again(one, two, 1024) < 0.2


def test_rows_of_one_length_do_not_always_meet():
    """Ties are broken at random: within 64 rows of a length each meets any other about as often."""
    lengths = np.repeat([20, 60, 100], 64)
    met = np.zeros((64, 64))
    for epoch in range(200):
        of = numbers(epoch_order(192, 8, seed=0, epoch=epoch, lengths=lengths), 192)[:64]
        met += of[:, None] == of[None, :]
    often = met[np.triu_indices(64, 1)] / 200
    assert abs(often.mean() - 7 / 63) < 0.01
    assert often.max() < 0.25


def test_equal_lengths_are_a_plain_shuffle():
    same = epoch_order(100, 8, seed=3, epoch=1, lengths=np.full(100, 64))
    plain = epoch_order(100, 8, seed=3, epoch=1, lengths=None)
    assert all((a == b).all() for a, b in zip(same, plain, strict=True))


def test_length_tells_nothing_of_the_step():
    n = 2000
    lengths = lognormal(n)
    means = np.zeros(63)
    follow = []
    for epoch in range(60):
        shown = np.array([lengths[b].mean() for b in epoch_order(n, 32, seed=1, epoch=epoch, lengths=lengths)])
        means += shown / 60
        follow.append(np.corrcoef(shown[:-1], shown[1:])[0, 1])
    assert abs(np.corrcoef(means, np.arange(63))[0, 1]) < 0.35  # 2.8 standard errors of nothing
    assert abs(np.mean(follow)) < 0.05  # the batches themselves are shuffled


def test_the_short_batch_holds_any_length():
    """At the end it would always hold the longest rows, and count each of them more."""
    n, lengths = 1000, lognormal(1000)
    short = [lengths[min(epoch_order(n, 32, seed=0, epoch=e, lengths=lengths), key=len)].mean() for e in range(100)]
    assert abs(np.mean(short) - lengths.mean()) < 8
    assert np.std(short) > 15
    assert {len(b) for b in epoch_order(n, 32, seed=0, epoch=0, lengths=lengths)} == {32, 8}


# micro-batches


@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=64),
    st.integers(1, 64),
    st.integers(16, 4000),
    st.integers(0, 50),
)
def test_no_part_is_over_the_budget(own, most_rows, tokens, before):
    lengths = np.array([7] * before + own)  # rows of other steps, to show that positions are of the frame
    rows = np.arange(before, before + len(own))
    parts = micro_batches(rows, most_rows=most_rows, most_tokens=tokens, lengths=lengths)
    assert sorted(np.concatenate(parts).tolist()) == rows.tolist()
    for part in parts:
        assert 1 <= len(part) <= most_rows
        assert len(part) == 1 or len(part) * lengths[part].max() <= tokens
    again = micro_batches(rows, most_rows=most_rows, most_tokens=tokens, lengths=lengths)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(1, 9), st.integers(16, 200))
def test_no_cut_has_fewer_parts(own, most_rows, tokens):
    lengths = np.sort(np.array(own))[::-1]

    def fewest(start):
        if start == len(own):
            return 0
        ends = [
            end
            for end in range(start + 1, len(own) + 1)
            if end - start == 1 or (end - start <= most_rows and (end - start) * lengths[start] <= tokens)
        ]
        return 1 + min(fewest(end) for end in ends)

    parts = micro_batches(np.arange(len(own)), most_rows=most_rows, most_tokens=tokens, lengths=lengths)
    assert len(parts) == fewest(0)


def test_a_last_row_is_not_left_alone_where_it_can_be_helped():
    lengths = np.full(9, 32)
    parts = micro_batches(np.arange(9), most_rows=8, most_tokens=128, lengths=lengths)
    assert [len(p) for p in parts] == [4, 3, 2]
    alone = micro_batches(np.arange(3), most_rows=8, most_tokens=64, lengths=lengths)
    assert [len(p) for p in alone] == [2, 1]


@pytest.mark.parametrize(("tokens", "lengths"), [(None, np.arange(1, 21)), (64, None), (None, None)])
def test_without_tokens_parts_are_of_nearly_equal_size_and_in_order(tokens, lengths):
    rows = np.array([4, 1, 8, 3, 9, 2, 7])
    parts = micro_batches(rows, most_rows=3, most_tokens=tokens, lengths=lengths)
    assert [p.tolist() for p in parts] == [[4, 1, 8], [3, 9], [2, 7]]


# passes without training


def test_inference_goes_from_long_to_short_and_covers_all():
    batches = inference_order(5, 2, np.array([3, 9, 1, 9, 5]))
    assert [b.tolist() for b in batches] == [[1, 3], [4, 0], [2]]
    assert [b.tolist() for b in inference_order(3, 2, None)] == [[0, 1], [2]]
    assert inference_order(0, 2, None) == []
