"""What towers name for it is compiled, and plain again afterwards."""

from __future__ import annotations

from torch import nn

from thermocline.contracts.tower import Tower
from thermocline.efficiency.savings import _compiled


class Compiled(Tower):
    def __init__(self, *, varying: bool) -> None:
        super().__init__()
        self.backbone, self._varying = nn.Linear(2, 2), varying

    @property
    def backbone_module(self):
        return self.backbone

    @property
    def varying_shapes(self):
        return self._varying


def test_backbones_are_compiled_for_a_while(monkeypatch):
    calls = []

    def compile_(module, **options):
        calls.append((module, options))
        module._compiled_call_impl = lambda *args: "compiled"

    monkeypatch.setattr(nn.Module, "compile", compile_)
    towers = {"text": Compiled(varying=True), "image": Compiled(varying=False), "table": Tower()}
    with _compiled(towers):
        assert towers["text"].backbone(1) == "compiled"
    assert calls == [(towers["text"].backbone, {"dynamic": True}), (towers["image"].backbone, {"dynamic": None})]
    assert all(tower.backbone._compiled_call_impl is None for tower in list(towers.values())[:2])
