"""The frozen prefix of a tower is contiguous, from the input on."""

from __future__ import annotations

import pytest
from torch import nn

from thermocline.efficiency.prefix_cache.prefix import prefix_of
from thermocline.tuning.layers.layer_map import LayerMap


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = nn.Embedding(9, 4)
        self.layer = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x):
        x = self.embeddings(x)
        for layer in self.layer:
            x = layer(x)
        return x


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.towers = nn.ModuleDict({"text": Backbone()})
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.towers["text"](x))


@pytest.fixture(scope="module")
def layers():
    model = Model()
    return LayerMap.of(model, head=[model.head])


def labels_of(layers):
    return [one.label for one in layers if any(name.startswith("towers.text.") for name in one.parameters)]


def test_contiguous_from_the_input(layers):
    labels = labels_of(layers)
    for count in range(len(labels) + 1):
        found = prefix_of(layers, "text", labels[:count])
        assert found.labels == tuple(labels[:count])
        assert found.whole == (count == len(labels))


def test_behind_what_trains_nothing_counts(layers):
    labels = labels_of(layers)
    assert prefix_of(layers, "text", labels[1:]).labels == ()
    assert prefix_of(layers, "text", [labels[0], labels[2]]).labels == (labels[0],)
    assert not prefix_of(layers, "image", labels).whole
