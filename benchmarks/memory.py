"""What memory costs: the bytes that a training step keeps for its backward pass, and what it takes to keep fewer.

    python benchmarks/memory.py [--only saved pairs time] [--rounds 10]

Sections (each a function that prints a table and returns what goes into the JSON):

- saved: bytes kept for the backward pass of resnet50, all of it training with its norms in eval mode, with pairs of
  convolution and norm folded and not, at 224 px, counted by storage, without parameters (takes 4 GB);
- pairs: how many pairs are found in models of many families, beside those that the autograd graph shows, and the
  worst difference of a gradient in float64, as a share of the tensor's largest;
- time: CPU seconds of a training step folded over plain, taken in turn in one process.

Writes `benchmarks/results/memory.json`; sections that are not run keep what they said before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import timm
import torch
from torch import nn

from thermocline.efficiency.memory.conv_bn import NORM, ConvBN, Pair
from thermocline.efficiency.memory.conv_bn_pairs import pairs_of

BATCHES = (2, 8, 32)
SIDE = 224
FAMILIES = {
    "resnet50": 64,
    "resnext50_32x4d": 64,
    "seresnet50": 64,
    "regnetx_002": 64,
    "regnety_002": 64,
    "efficientnet_b0": 64,
    "tf_efficientnet_b0": 64,
    "mobilenetv2_100": 64,
    "mobilenetv3_large_100": 64,
    "hrnet_w18_small": 64,
    "vgg11_bn": 32,
    "densenet121": 64,
    "inception_v3": 128,
    "inception_resnet_v2": 128,
    "darknet53": 64,
    "cspdarknet53": 64,
    "dla34": 64,
    "ghostnet_100": 64,
    "mixnet_s": 64,
    "repvgg_a0": 64,
}


def main() -> None:
    """Run the sections, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=10, help="pairs of timed steps")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "memory.json")
    arguments = parser.parse_args()
    results: dict[str, Any] = json.loads(arguments.out.read_text("utf-8")) if arguments.out.exists() else {}
    for name in arguments.only:
        print(f"\n{name}: {SECTIONS[name].__doc__}")
        results[name] = {"torch": torch.__version__, **SECTIONS[name](arguments)}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def show(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Print rows as a table; return them for the JSON."""
    print(pd.DataFrame(rows).to_string(index=False))
    return {"rows": rows}


# saved bytes


def saved_bytes(model: nn.Module, x: torch.Tensor) -> int:
    """Return the bytes of the storages that one forward pass keeps, without those of parameters."""
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model(x)
    del out
    return sum(storage.nbytes() for storage in kept.values())


def conv_bn_saved(_: argparse.Namespace) -> dict[str, Any]:
    """Bytes kept for the backward pass, resnet50 at 224 px, norms in eval mode, everything trains."""
    model = timm.create_model("resnet50").eval()
    pairs = pairs_of(model, torch.rand(1, 3, 64, 64))
    rows = []
    for batch in BATCHES:
        x = torch.rand(batch, 3, SIDE, SIDE)
        plain = saved_bytes(model, x)
        with ConvBN(model, pairs).installed():
            ours = saved_bytes(model, x)
        rows.append({"batch": batch, "plain": plain, "folded": ours, "folded / plain": round(ours / plain, 4)})
    return show(rows) | {"model": "resnet50", "side": SIDE}


# pairs


def lively(model: nn.Module, side: int) -> nn.Module:
    """Give norms statistics of a batch and scales that are neither one nor nought; return it in eval mode."""
    for module in model.modules():
        if isinstance(module, NORM):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    with torch.no_grad():
        model.train()(torch.randn(4, 3, side, side, dtype=torch.float64))
    return model.eval()


def pairs_by_graph(model: nn.Module, x: torch.Tensor) -> set[tuple[str, str]]:
    """Find the pairs in an autograd graph: a norm's node fed by a convolution's that feeds no other node.

    The model runs in train mode with its norms in eval, so that branches of training are in the graph.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, NORM):
            module.eval()
    out = model(x)
    outs = out if isinstance(out, (tuple, list)) else [out]
    left, nodes = [o.grad_fn for o in outs], set()
    readers: Counter[Any] = Counter()
    while left:
        node = left.pop()
        if node in nodes:
            continue
        nodes.add(node)
        for source, _ in node.next_functions:
            if source is not None:
                readers[source] += 1
                left.append(source)
    model.eval()
    owners = {id(p): name.rpartition(".")[0] for name, p in model.named_parameters()}

    def owner(node: Any) -> str:
        return owners[id(node.next_functions[1][0].variable)]

    found = set()
    for node in nodes:
        if "BatchNormBackward" in node.name():
            source = node.next_functions[0][0]
            if source is not None and "ConvolutionBackward" in source.name() and readers[source] == 1:
                found.add((owner(source), owner(node)))
    return found


def gradients(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Return the gradients of all parameters and of the input."""
    loss = model(x).square().sum()
    return list(torch.autograd.grad(loss, [x, *model.parameters()], allow_unused=True, materialize_grads=True))


def worst_error(model: nn.Module, pairs: tuple[Pair, ...], side: int) -> float:
    """Return the worst difference of a gradient, as a share of the largest of its tensor."""
    x = torch.randn(2, 3, side, side, dtype=torch.float64).requires_grad_()
    plain = gradients(model, x)
    with ConvBN(model, pairs).installed():
        ours = gradients(model, x)
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)) for a, b in zip(ours, plain, strict=True))


def conv_bn_pairs(_: argparse.Namespace) -> dict[str, Any]:
    """Pairs found beside those in the autograd graph, and the worst error of a gradient in float64."""
    rows = []
    for name, side in FAMILIES.items():
        torch.manual_seed(0)
        model = lively(timm.create_model(name, num_classes=10).double(), side)
        pairs = pairs_of(model, torch.randn(1, 3, side, side, dtype=torch.float64))
        found = {(pair.conv, pair.norm) for pair in pairs if not pair.note}
        true = pairs_by_graph(model, torch.randn(2, 3, side, side, dtype=torch.float64))
        rows.append(
            {
                "model": name,
                "norms": sum(isinstance(m, NORM) for m in model.modules()),
                "true": len(true),
                "found": len(found & true),
                "wrong": len(found - true),
                "worst error": float(f"{worst_error(model, pairs, side):.1e}"),
            }
        )
    return show(rows)


# time


def conv_bn_time(arguments: argparse.Namespace) -> dict[str, Any]:
    """CPU seconds of a training step (forward, backward, SGD) of resnet50 at 96 px, folded and plain in turn."""
    torch.manual_seed(0)
    model = timm.create_model("resnet50", num_classes=10).eval()
    folding = ConvBN(model, pairs_of(model, torch.rand(1, 3, 96, 96)))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    rows = []
    for batch in (2, 8, 16):
        x, y = torch.randn(batch, 3, 96, 96), torch.arange(batch) % 10

        def step(x: torch.Tensor = x, y: torch.Tensor = y) -> float:
            start = time.process_time()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
            return time.process_time() - start

        def folded(step: Callable[[], float] = step) -> float:
            with folding.installed():
                return step()

        step(), folded()
        times = [(step(), folded()) if turn % 2 else (folded(), step())[::-1] for turn in range(arguments.rounds)]
        plain, ours = (statistics.median(side) for side in zip(*times, strict=True))
        ratio = statistics.median(b / a for a, b in times)
        rows.append({"batch": batch, "plain (s)": plain, "folded (s)": ours, "folded / plain": round(ratio, 3)})
    return show(rows) | {"threads": torch.get_num_threads(), "rounds": arguments.rounds}


SECTIONS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "saved": conv_bn_saved,
    "pairs": conv_bn_pairs,
    "time": conv_bn_time,
}


if __name__ == "__main__":
    main()
