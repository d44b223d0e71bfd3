"""Does a step cost what the estimate says? Every frozen depth of five models, forecast and measured.

    python benchmarks/cost_law.py [--pairs 3] [--models bert12 resnet50] [--balance 0 12]

For each depth n a plan with `frozen_layers=n` takes training steps (forward, backward, fused AdamW) in turn with full
tuning of the same model, in one process on one thread. Measured is the median over pairs of the ratio of their CPU
times; forecast is the cost of `estimate`. Prints both and the relative error and writes
`benchmarks/results/cost_law.json`.
With `--balance` the errors are shown for other constants as well: this is how `costs.BALANCE["cpu"]` was found.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from transformers import BertConfig, BertModel

from thermocline.efficiency.costs import layer_costs as costs_module
from thermocline.efficiency.costs.estimate_plan import StepSetup, estimate
from thermocline.efficiency.costs.layer_costs import Costs, layer_costs
from thermocline.tuning.apply import AppliedPlan
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.plan.layer_plan import LayerPlan

WIDTH = 384
TOKENS = 64
PIXELS = 96
NAMES = ("bert12", "bert6", "vit12", "resnet18", "resnet50")


class Classifier(nn.Module):
    """A text backbone under a linear head."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        shape = {"hidden_size": WIDTH, "num_attention_heads": 6, "intermediate_size": 4 * WIDTH}
        config = BertConfig(vocab_size=2000, num_hidden_layers=blocks, max_position_embeddings=TOKENS, **shape)
        self.backbone = BertModel(config, add_pooling_layer=False)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Map ids `(rows, tokens)` to logits."""
        logits: torch.Tensor = self.head(self.backbone(input_ids=ids)[0][:, 0])
        return logits


def setting(name: str) -> tuple[nn.Module, LayerMap, torch.Tensor]:
    """A model, its layers, and a batch."""
    if name.startswith("bert"):
        blocks = int(name.removeprefix("bert"))
        classifier = Classifier(blocks)
        return classifier, LayerMap.of(classifier, head=classifier.head), torch.randint(5, 2000, (48 // blocks, TOKENS))
    timm_name = {"vit12": "vit_small_patch16_224"}.get(name, name)
    size = {"img_size": PIXELS} if name == "vit12" else {}
    model = timm.create_model(timm_name, num_classes=10, **size)
    return model, LayerMap.of(model), torch.randn(8, 3, PIXELS, PIXELS)


def stepper(model: nn.Module, layer_map: LayerMap, plan: LayerPlan, batch: torch.Tensor) -> Callable[[], float]:
    """Return what takes a training step and gives its CPU seconds."""
    target = torch.randint(0, 10, (len(batch),))
    optimizer = torch.optim.AdamW(plan.parameter_groups(model), fused=True)

    def step() -> float:
        AppliedPlan(model, layer_map, plan).train()
        begin = time.process_time()
        nn.functional.cross_entropy(model(batch), target).backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.process_time() - begin

    step()  # the optimizer makes its memory
    step()
    return step


def measured(name: str, pairs: int) -> Iterator[dict[str, Any]]:
    """Yield a row per frozen depth."""
    model, layer_map, batch = setting(name)
    costs = layer_costs(model, layer_map, lambda shadow: shadow(batch), len(batch))
    assert costs is not None
    full = stepper(model, layer_map, LayerPlan.build(layer_map, lr=1e-6), batch)
    depths = len(layer_map) - sum(layer.role == "head" for layer in layer_map)
    for depth in range(1, depths + 1):
        plan = LayerPlan.build(layer_map, lr=1e-6, frozen_layers=depth)
        frozen = stepper(model, layer_map, plan, batch)
        ratios = []
        for _ in range(pairs):
            whole = full()
            ratios.append(frozen() / whole)
        forecast = estimate(plan, layer_map, costs, StepSetup(len(batch))).phases[0].cost or 0.0
        measured = statistics.median(ratios)
        yield {
            "model": name,
            "frozen": depth,
            "of": depths,
            "forecast": forecast,
            "measured": measured,
            "error": forecast / measured - 1,
            "others": others(costs, plan, layer_map, len(batch)),
        }


def others(costs: Costs, plan: LayerPlan, layer_map: LayerMap, rows: int) -> dict[str, float]:
    """The forecast with other constants."""
    usual = dict(costs_module.BALANCE)
    out = {}
    for balance in BALANCES:
        costs_module.BALANCE["cpu"] = balance
        out[f"{balance:g}"] = estimate(plan, layer_map, costs, StepSetup(rows)).phases[0].cost or 0.0
    costs_module.BALANCE.update(usual)
    return out


BALANCES: list[float] = []


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3, help="steps of either kind per depth")
    parser.add_argument("--models", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--balance", nargs="+", type=float, default=[], help="other operations per byte to compare")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cost_law.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    BALANCES.extend(arguments.balance)
    rows = []
    for name in arguments.models:
        for row in measured(name, arguments.pairs):
            rows.append(row)
            place = f"{row['model']:<10}{row['frozen']:>3} of {row['of']:<3}"
            print(f"{place} forecast {row['forecast']:.3f}  measured {row['measured']:.3f}  error {row['error']:+.1%}")
    worst = max(rows, key=lambda row: abs(row["error"]))
    within = sum(abs(row["error"]) <= 0.1 for row in rows)
    print(
        f"{within} of {len(rows)} within 10 %; worst {worst['model']}, {worst['frozen']} frozen: {worst['error']:+.1%}"
    )
    for key in rows[0]["others"]:
        errors = [row["others"][key] / row["measured"] - 1 for row in rows]
        print(f"balance {key}: worst {max(map(abs, errors)):.1%}, mean {statistics.fmean(map(abs, errors)):.1%}")
    result = {
        "torch": torch.__version__,
        "pairs": arguments.pairs,
        "worst": worst["error"],
        "within": within,
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
