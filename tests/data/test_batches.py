"""Batches: the tensors of some rows, with what there is and without what is not wanted."""

import numpy as np

from thermocline.data.batches import Rows
from thermocline.inputs.table.rows import TableRows
from thermocline.inputs.text.rows import TextRows


def table_rows(n):
    return TableRows(np.arange(n, dtype=np.float32)[:, None], np.zeros((n, 1), np.float32), np.zeros((n, 0), np.int64))


def text_rows(lengths, **options):
    return TextRows(tuple(np.full(n, 7, dtype=np.int32) for n in lengths), 0, **options)


def test_a_batch_has_what_there_is():
    target, weight = np.arange(4), np.arange(4, dtype=np.float32)
    rows = Rows({"table": table_rows(4), "text": text_rows([1, 2, 3, 20])}, target, weight)
    batch = rows.batch(np.array([3, 1]))
    assert batch["rows"].tolist() == [3, 1]
    assert batch["target"].tolist() == [3, 1]
    assert batch["weight"].tolist() == [3, 1]
    assert batch["table"]["numbers"][:, 0].tolist() == [3, 1]
    assert batch["text"]["input_ids"].shape == (2, 20)
    bare = Rows({"table": table_rows(4)})
    assert set(bare.batch(np.array([0]))) == {"rows", "table"}


def test_a_tower_can_be_left_out():
    rows = Rows({"table": table_rows(4), "text": text_rows([1, 2, 3, 4])}, np.arange(4))
    assert set(rows.batch(np.array([0]), without=frozenset({"text"}))) == {"rows", "table", "target"}
    assert set(rows.batch(np.array([0]), without=frozenset({"text", "table"}))) == {"rows", "target"}


def test_lengths_are_what_a_row_takes_up():
    assert Rows({"text": text_rows([1, 16, 17])}).lengths.tolist() == [16, 16, 17]
    assert Rows({"text": text_rows([1, 7], least=8)}).lengths.tolist() == [8, 8]
    assert Rows({"text": text_rows([1, 7], pad_to=64)}).lengths.tolist() == [64, 64]
    assert Rows({"table": table_rows(4)}).lengths is None
