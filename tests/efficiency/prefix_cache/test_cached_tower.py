"""A tower that runs in the middle of a step has no side effects."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from thermocline.data.batches import Rows
from thermocline.efficiency.prefix_cache.cached_tower import CachedTower
from thermocline.efficiency.prefix_cache.prefix import Prefix
from thermocline.efficiency.prefix_cache.tower_rows import TowerRows
from thermocline.inputs.text.rows import TextRows

CPU = torch.device("cpu")


def rows_of(count):
    ids = tuple(np.arange(1, 2 + (7 * i) % 11, dtype=np.int32) for i in range(count))
    return TowerRows(Rows({"text": TextRows(ids, 0)}), "text", whole=False)


@pytest.mark.parametrize("training", [False, True])
def test_isolated(training):
    tower = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    tower[2].eval()
    before = [buffer.clone() for buffer in tower.buffers()]
    whole = Prefix("text", ("a",), True)
    cached = CachedTower(tower, whole, None, {"train": rows_of(4)}, usual=2, device=CPU)
    state = torch.get_rng_state()
    with cached.isolated(training=training):
        assert {module.training for module in tower.modules()} == {training}
        assert not tower(torch.randn(3, 4)).requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in tower] == [True, True, False]
    assert all(map(torch.equal, before, tower.buffers()))


@pytest.mark.parametrize(("count", "size"), [(4, 8), (9, 8), (40, 8)])
def test_compositions_share_rows(count, size):
    batches = rows_of(count).compositions(size)
    for batch in batches:
        assert len(batch) == min(count, size)
        assert len(set(batch.tolist())) == len(batch)
        assert set(batch.tolist()) & set(batches[-1].tolist()) or count == 40
    assert all(set(one.tolist()) & set(batches[0].tolist()) for one in batches)
    assert len({tuple(batch.tolist()) for batch in batches}) == len(batches)
