"""What is stored by row comes back as it was, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thermocline.efficiency.prefix_cache.row_store import FormMismatch, RowStore, form_of

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool]


def values(shape, dtype, seed=0):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 4).to(dtype)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=2, max_size=12),
    dtype=st.sampled_from(DTYPES),
    on_disk=st.booleans(),
    seed=st.integers(0, 99),
)
def test_tokens_come_back_with_zeros_behind_them(lengths, dtype, on_disk, seed, tmp_path_factory):
    lengths = np.array(lengths)
    folder = tmp_path_factory.mktemp("store") if on_disk else None
    store = RowStore(len(lengths), lengths, folder=folder)
    items = np.random.default_rng(seed).permutation(len(lengths))
    width = int(lengths.max()) + 2
    value = values((len(items), width, 3), dtype, seed)
    store.open("x", form_of(value, len(items), width))
    store.write("x", items[:-1], value[:-1])
    assert store.has("x", items[:-1])
    assert not store.has("x", items)
    assert store.missing("x").tolist() == [items[-1]]
    store.write("x", items[-1:], value[-1:])
    mask = torch.from_numpy(np.arange(width)[None] < lengths[items][:, None])[..., None]
    found = store.read("x", items, width, CPU)
    assert found.dtype == dtype
    assert torch.equal(found, torch.where(mask, value, torch.zeros_like(value)))


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_strides_come_back(tmp_path, dtype, on_disk):
    value = values((4, 3, 5, 2), dtype).contiguous(memory_format=torch.channels_last)
    store = RowStore(6, folder=tmp_path if on_disk else None)
    store.open("x", form_of(value, 4, None))
    items = np.array([5, 0, 3, 2])
    store.write("x", items, value)
    found = store.read("x", items, None, CPU)
    assert torch.equal(found, value)
    assert found.stride() == value.stride()
    assert store.bytes == 6 * 30 * dtype.itemsize


def reopened(folder, value, **more):
    store = RowStore(**{"items": 4, "folder": folder, "facts": {"weights": "a"}, **more})
    store.open("x", form_of(value, len(value), None))
    return store


def test_another_store_maps_the_files(tmp_path):
    value, items = values((4, 6), torch.float32), np.arange(4)
    store = reopened(tmp_path, value)
    store.write("x", items, value)
    store.close()
    again = reopened(tmp_path, value)
    assert torch.equal(again.read("x", items, None, CPU), value)
    assert again.damaged == 0
    assert not reopened(tmp_path, value, facts={"weights": "b"}).has("x", items[:1])


def test_damaged_bytes_are_missing(tmp_path):
    value, items = values((4, 6), torch.float32), np.arange(4)
    store = reopened(tmp_path, value)
    store.write("x", items, value)
    store.close()
    file = tmp_path / "x.values"
    content = bytearray(file.read_bytes())
    content[2 * 24 + 5] ^= 1
    file.write_bytes(content)
    again = reopened(tmp_path, value)
    assert again.read("x", items, None, CPU) is None
    assert again.damaged == 1
    assert again.missing("x").tolist() == [2]
    assert torch.equal(again.read("x", items[:2], None, CPU), value[:2])
    again.write("x", items[2:3], value[2:3])
    assert torch.equal(again.read("x", items, None, CPU), value)


def test_a_file_of_another_size_is_replaced(tmp_path):
    value, items = values((4, 6), torch.float32), np.arange(4)
    store = reopened(tmp_path, value)
    store.write("x", items, value)
    store.close()
    (tmp_path / "x.values").write_bytes(b"short")
    assert not reopened(tmp_path, value).has("x", items[:1])


def test_remove_leaves_nothing(tmp_path):
    folder = tmp_path / "deep" / "store"
    store = reopened(folder, values((4, 6), torch.float32))
    store.close(remove=True)
    assert not folder.exists()


@pytest.mark.parametrize("shape", [(), (3, 4)])
def test_values_that_are_not_of_rows(shape):
    with pytest.raises(FormMismatch):
        form_of(torch.zeros(shape), 4, None)


def test_another_form_of_the_same_name():
    store = RowStore(4)
    store.open("x", form_of(torch.zeros(4, 6), 4, None))
    with pytest.raises(FormMismatch):
        store.open("x", form_of(torch.zeros(4, 5), 4, None))
