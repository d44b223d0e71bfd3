"""What freezing for an amount of memory costs: the depth that `memory=` chooses against the best one that fits as well.

    OMP_NUM_THREADS=1 python benchmarks/freeze_budget.py --data ../shared/data --cache /tmp/freeze [--seeds 0 1]

Each set is fitted once for every number of frozen first layers, and with its whole backbone frozen. For each of these
depths the budget is what a fit with it needs: the depth that `recommend(memory=…)` chooses there is compared with the
one of least log-loss on the test rows among all that need no more. Everything else that takes memory is fixed
(micro-batches, precision, no adapters), so that freezing alone can help. Regret is the difference of their log-losses;
its standard error is over test rows, paired. Writes `benchmarks/results/freeze_budget.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from auto import PRESETS, new, shown_rows, truth
from quality import predicted
from quality_scores import LEAST, Prediction, Truth
from quality_sets import CASES, Loaded, load
from thermocline.efficiency.costs.live_bytes import beyond_base
from thermocline.training.freezable import deepest

ROWS = {"text_sst2": "500", "text_banking77": "1000", "img_cifar10_3k": "500"}
FIXED = {
    "env.micro_batch_size": 8,
    "env.eval_batch_size": 8,
    "env.precision": "fp32",
    "model.checkpointing": None,
    "model.peft": None,
}
MARGIN = 1_000_000  # bytes, above what a depth needs
MOST_DEPTHS = 8


def main() -> None:
    """Fit what is missing, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).parent
    parser.add_argument("--data", type=Path, default=here.parents[1] / "shared" / "data")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--out", type=Path, default=here / "results" / "freeze_budget.json")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"There is no folder {arguments.data}: name the data with --data. Nothing was run.")
        return
    found = {}
    for name in arguments.sets:
        loaded = load(next(case for case in CASES if case.name == name), arguments.data, arguments.cache / "made")
        found[name] = {str(seed): regrets(loaded, seed, arguments) for seed in arguments.seeds}
        print(json.dumps({name: found[name]}, indent=1), flush=True)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def regrets(loaded: Loaded, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return for each depth what it needs and loses, and for its budget what was chosen and the regret."""
    train = loaded.frame.iloc[loaded.sampled(ROWS[loaded.case.name], seed)]
    options = loaded.options(arguments.data) | FIXED
    depths, start = facts_of(loaded, train, options)
    needs = {depth: needed(loaded, train, options, depth) + start for depth in depths}
    true = truth(loaded)
    losses = {depth: row_losses(true, fitted(loaded, seed, train, options, depth, arguments)) for depth in needs}
    table = []
    for need in needs.values():
        chosen = chosen_depth(loaded, train, options, need + MARGIN)
        if chosen not in losses:  # of a size between the depths that were fitted
            losses[chosen] = row_losses(true, fitted(loaded, seed, train, options, chosen, arguments))
        within = [one for one, other in needs.items() if other <= need + MARGIN]
        best = min(within, key=lambda one: float(losses[one].mean()))
        gap = losses[chosen] - losses[best]
        error = float(gap.std(ddof=1) / np.sqrt(len(gap)))
        table.append(
            {
                "budget, MB": round((need + MARGIN) / 1e6),
                "chosen": chosen,
                "best that fits": best,
                "log-loss": round(float(losses[chosen].mean()), 4),
                "of the best": round(float(losses[best].mean()), 4),
                "regret": round(float(gap.mean()), 4),
                "se": round(error, 4),
                "within one se": bool(gap.mean() <= error),
            }
        )
    return {"by depth": {str(one): round(float(loss.mean()), 4) for one, loss in losses.items()}, "budgets": table}


def facts_of(loaded: Loaded, train: Any, options: dict[str, Any]) -> tuple[list[int | str], int]:
    """Return numbers of frozen first layers, 0 among them, and `backbone`; and the bytes of the probe."""
    from thermocline.pipeline.ready import ready

    found = ready(new(loaded)._request(train, None, PRESETS, options, None, 0))
    most, start = deepest(found.assembly.layer_map), found.learning.start
    every = max(1, round(most / MOST_DEPTHS))
    return [*range(0, most, every), "backbone"], 0 if start is None else start.memory


def frozen(depth: int | str) -> dict[str, Any]:
    """Return the option that freezes up to a depth."""
    return {"model.frozen_layers": depth} if depth else {}


def needed(loaded: Loaded, train: Any, options: dict[str, Any], depth: int | str) -> int:
    """Return the bytes that a fit with frozen layers needs at most."""
    found = new(loaded).recommend(train, presets=PRESETS, hyperparameters=options | frozen(depth))
    live = found.forecast.estimate.live
    assert live is not None
    return int(beyond_base(live, "cpu"))


def chosen_depth(loaded: Loaded, train: Any, options: dict[str, Any], memory: int) -> int | str:
    """Return how much is frozen for an amount of memory."""
    found = new(loaded).recommend(train, presets=PRESETS, hyperparameters=options, memory=memory).to_dict()
    value = found.get("model.frozen_layers") or 0
    value = value[0] if isinstance(value, list | tuple) else value
    return 1 if value == "stem" else value


def fitted(
    loaded: Loaded, seed: int, train: Any, options: dict[str, Any], depth: int | str, arguments: argparse.Namespace
) -> Prediction:
    """Return what a fit with frozen layers predicts for the test rows, from a file where there is one."""
    file = arguments.cache / f"{loaded.case.name}-{seed}-{depth}.npz"
    if not file.is_file():
        predictor = new(loaded)
        predictor.fit(train, presets=PRESETS, hyperparameters=options | frozen(depth), seed=seed)
        test = loaded.frame.iloc[loaded.test[shown_rows(loaded)]].drop(columns=loaded.case.label)
        said = predicted(predictor, loaded, test)
        np.savez_compressed(file, values=said.values, codes=said.codes)
        print(file.stem, file=sys.stderr, flush=True)
    with np.load(file) as stored:
        return Prediction(stored["values"], stored["codes"])


def row_losses(true: Truth, said: Prediction) -> np.ndarray:
    """Return -log of the probability of the right class of each row."""
    chance = said.values[np.arange(len(true.values)), true.values]
    return np.asarray(-np.log(np.clip(chance, LEAST, 1)))


if __name__ == "__main__":
    main()
