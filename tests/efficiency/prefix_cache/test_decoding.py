"""Any rows that tell which inputs are decoded: they are decoded only when something reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from thermocline.contracts.tower import Tower
from thermocline.data.batches import Rows
from thermocline.data.memory_budget import Budget
from thermocline.data.row_part import RowPart
from thermocline.efficiency.prefix_cache.cache import PrefixCache
from thermocline.efficiency.prefix_cache.options import CacheOptions
from thermocline.tuning.layers.layer_map import LayerMap

SIZE = 4


@dataclass(frozen=True)
class Signals(RowPart):
    """Signals that are decoded, and a factor and an offset for each that are not."""

    count: int
    decoded: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return self.count

    def batch(self, rows: np.ndarray, epoch: int | None = None) -> dict[str, np.ndarray]:
        self.decoded.extend(rows.tolist())
        values = {row: np.random.default_rng(int(row)).standard_normal(6).astype(np.float32) for row in rows}
        own = np.stack([values[row] for row in rows])
        return {**self.undecoded(rows), "signal": own, "energy": (own**2).sum(1, keepdims=True)}

    def undecoded(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"factor": (rows[:, None] + 1).astype(np.float32), "offset": rows[:, None].astype(np.float32)}

    def decoded_shapes(self, rows: int) -> Mapping[str, tuple[tuple[int, ...], torch.dtype]]:
        return {"signal": ((rows, 6), torch.float32), "energy": ((rows, 1), torch.float32)}

    def identity(self, *, files: bool) -> Iterator[bytes]:
        yield str(self.count).encode()


class SignalTower(Tower):
    width = 4

    def __init__(self, *, reads_energy: bool) -> None:
        super().__init__()
        self.stem, self.block = nn.Linear(6, 6), nn.Linear(6, 4)
        self._reads_energy = reads_energy

    def forward(self, inputs, *, grain="row"):
        states = self.stem(inputs["signal"]) * inputs["factor"]
        out = self.block(states) + inputs["offset"]
        return out * inputs["energy"] if self._reads_energy else out


class Model(nn.Module):
    def __init__(self, *, reads_energy: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.towers = nn.ModuleDict({"signal": SignalTower(reads_energy=reads_energy)})
        self.head = nn.Linear(4, 1)

    def forward(self, batch):
        return self.head(self.features(batch))

    def features(self, batch):
        own = batch["signal"]
        return own["features"] if "features" in own else self.towers["signal"](own)


@pytest.mark.parametrize("reads_energy", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_only_what_is_read_is_decoded(whole, reads_energy, tmp_path):
    model = Model(reads_energy=reads_energy)
    layer_map = LayerMap.join(
        {
            "towers.signal": LayerMap.from_patterns(model.towers["signal"], ["stem", "block"], tower="signal"),
            "head": LayerMap.single(model.head, name="head", tower="head", role="head"),
        }
    )
    frozen = layer_map.labels[: 2 if whole else 1]
    for label in frozen:
        for name in layer_map[label].parameters:
            model.get_parameter(name).requires_grad_(False)
    part = Signals(3 * SIZE)
    rows = Rows({"signal": part})
    options = CacheOptions("memory", SIZE, Budget(10**6), Path(tmp_path) / "prefixes")
    cache = PrefixCache(model, layer_map, {"train": rows, "valid": rows}, options, nullcontext)
    cache.update(frozen, uses=5.0)
    assert "run once a row" in cache.lines["signal"], cache.lines
    for epoch in range(3):
        part.decoded.clear()
        for start in range(0, len(part), SIZE):
            positions = np.arange(start, start + SIZE)
            batch = rows.batch(positions, epoch, without=cache.ready("train", positions, epoch))
            with cache.serving("train", batch, epoch) as given:
                out = model(given)
            kept = list(part.decoded)
            assert torch.equal(out, model(rows.batch(positions, epoch)))
            part.decoded[:] = kept
        # a whole tower's features need no input; a layer that trains may read decoded inputs in every epoch
        expected = 0 if epoch and (whole or not reads_energy) else len(part)
        assert len(part.decoded) == expected
    cache.close()
    assert not any("forward" in vars(module) for module in model.modules())
