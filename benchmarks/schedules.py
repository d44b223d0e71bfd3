"""Do schedules that freeze and thaw pay? Test scores at equal CPU time, beside plain layerwise decay.

    OMP_NUM_THREADS=1 python benchmarks/schedules.py --data ../shared/data [--only text_sst2] [--jobs 2]

Plain layerwise decay at the preset's own number of epochs sets the budget of a data set. A step in which only the top
of the network trains costs less, so a schedule with such steps is given more of them: what a step costs with so many
layers training, and what a validation costs, is measured first, and the longest run whose costs add up to the budget is
taken. Every method has its default arguments and the presets' own rate. A seed decides which rows train, which
validate, and their order, and is the same for all methods: differences are taken seed by seed.

All start from the linear probe, as the presets do, whose own test score is told for comparison. Prints the table and
writes `benchmarks/results/schedules.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from sklearn.isotonic import IsotonicRegression

from thermocline import Predictor
from thermocline.pipeline import fit as fitting
from thermocline.training.trainer import Trainer
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.cursor import Cursor

PROBE, PLAIN = "probe", "layerwise_decay"
METHODS: dict[str, str | None] = {  # → optim.schedule_plan
    PROBE: None,
    PLAIN: None,
    "lp_ft": "lp_ft",
    "fine_tune": "fine_tune",
    "gradual_unfreeze": "gradual_unfreeze",
}
Trains = frozenset[str]


@dataclass(frozen=True)
class Case:
    """A data set, how many of its rows train and test, and options beyond the presets."""

    folder: str
    rows: int
    test_rows: int
    image: bool = False
    options: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("text_sst2", 400, 1000, options={"env.batch_size": 16, "model.text.max_length": 32}),
    Case("text_banking77", 400, 1000, options={"env.batch_size": 16}),
    Case("img_cifar10_3k", 600, 1000, image=True, options={"env.batch_size": 16, "model.image.size": 96}),
]


@dataclass(frozen=True)
class Costs:
    """CPU seconds of a step, by what trains in it, and of a validation."""

    steps: dict[Trains, float]
    validation: float


class Stopwatch(Trainer):
    """A trainer that notes the CPU seconds of its steps, by what trains in them, and of its validations."""

    steps: dict[Trains, list[float]]
    validations: list[float]
    cpu: float

    def train(self) -> None:
        Stopwatch.steps, Stopwatch.validations = defaultdict(list), []
        begin = time.process_time()
        super().train()
        Stopwatch.cpu = time.process_time() - begin

    def take_step(self, *arguments: Any) -> None:
        trains = trains_at(self.run.plan, self.cursor)
        begin = time.process_time()
        super().take_step(*arguments)
        Stopwatch.steps[trains].append(time.process_time() - begin)

    def validate(self, step: int, note: str = "") -> float:
        begin = time.process_time()
        score = super().validate(step, note)
        if step:
            Stopwatch.validations.append(time.process_time() - begin)
        return score


def main() -> None:
    """Measure costs, run everything, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--only", nargs="*", help="folders of cases")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--set", nargs="*", default=[], help="overrides for all methods: key=value, such as optim.lr=3e-4"
    )
    parser.add_argument("--presets", nargs="*", default=["medium_quality", "offline"])
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "schedules.json")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        raise SystemExit(f"There is no folder {arguments.data}: name the data with --data.")
    cases = [case for case in CASES if not arguments.only or case.folder in arguments.only]
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn"), initializer=make_ready) as pool:
        steps = {case.folder: pool.submit(lengths, case, arguments) for case in cases}
        work = [
            pool.submit(run, case, method, seed, steps[case.folder].result()[method], arguments)
            for seed, case, method in product(range(arguments.seeds), cases, METHODS)
        ]
        runs = []
        for one in work:
            runs.append(one.result())
            print(json.dumps(runs[-1]), flush=True)
    results = {
        "cases": [asdict(case) for case in cases],
        "presets": arguments.presets,
        "set": arguments.set,
    }
    for name, table in (("summary", summary(pd.DataFrame(runs))), ("minus_plain", over_all(pd.DataFrame(runs)))):
        print(table.to_string(), end="\n\n")
        results[name] = json.loads(table.reset_index().to_json(orient="records"))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results | {"runs": runs}, indent=1) + "\n", encoding="utf-8")


# the runs


def make_ready() -> None:
    """Let a process compute on one thread and train under the stopwatch."""
    torch.set_num_threads(1)
    fitting.Trainer = Stopwatch  # type: ignore[attr-defined]


def lengths(case: Case, arguments: argparse.Namespace) -> dict[str, int]:
    """Return for each method how many steps fit into what the plain run is expected to take.

    Costs are measured in a run that thaws layer after layer; that more layers cost more is taken for granted, which
    evens out that some batches have longer rows.
    """
    thawing = {"optim.schedule_plan": METHODS["gradual_unfreeze"], "optim.max_epochs": 4}
    predictor().fit(**asked(case, arguments, 0, thawing))
    kinds = sorted(Stopwatch.steps, key=len)
    means, counts = zip(
        *((statistics.mean(Stopwatch.steps[one]), len(Stopwatch.steps[one])) for one in kinds), strict=True
    )
    smooth = IsotonicRegression().fit_transform(range(len(kinds)), means, sample_weight=counts)
    costs = Costs(dict(zip(kinds, smooth, strict=True)), statistics.mean(Stopwatch.validations))
    plans = {
        method: predictor().explain(**asked(case, arguments, 0, {"optim.schedule_plan": schedule}))
        for method, schedule in METHODS.items()
    }
    budget = cost(plans[PLAIN], plans[PLAIN].total_steps or 0, costs)
    return {method: most_steps(plan, budget, costs) for method, plan in plans.items()} | {PROBE: 1}


def run(case: Case, method: str, seed: int, steps: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fit by a method for so many steps, and score on rows that no fit saw."""
    options: dict[str, Any] = {
        "optim.schedule_plan": METHODS[method],
        "optim.max_steps": steps,
        "optim.max_epochs": steps,  # the steps come first
    }
    if method == PROBE:
        options["optim.lr"] = 1e-12  # its one step moves nothing, and the probe is what is left
    fitted = predictor().fit(**asked(case, arguments, seed, options))
    test = pd.read_csv(arguments.data / case.folder / "test.csv").sample(case.test_rows, random_state=0)
    images = arguments.data / case.folder if case.image else None
    scores = fitted.evaluate(test, ["accuracy", "log_loss"], image_folder=images)
    return {
        "case": case.folder,
        "method": method,
        "seed": seed,
        "steps": steps,
        "epochs": round(steps / (fitted.plan.steps_per_epoch or 1), 2),
        "cpu_seconds": round(Stopwatch.cpu, 2),
        "valid": round(float(fitted.history["val_accuracy"].dropna().iloc[-1]), 4),
        "accuracy": round(float(scores["accuracy"]), 4),
        "log_loss": round(float(scores["log_loss"]), 4),
        "kept": str(fitted.history["note"].iloc[-1]).removeprefix("kept: "),
    }


def predictor() -> Predictor:
    """Return a predictor that is not fitted; every case has its classes in `label`."""
    return Predictor("label", eval_metric="accuracy", verbosity=0)


def asked(case: Case, arguments: argparse.Namespace, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `fit` and `explain`."""
    folder = arguments.data / case.folder
    overrides = dict(case.options)
    if case.image:
        overrides["model.image.checkpoint"] = str(arguments.data / "weights" / "timm_mobilenetv2_100")
        overrides["model.image.pretrained"] = True
        overrides["data.image_folder"] = str(folder)
    everything = [overrides, *arguments.set, options]
    rows = drawn(pd.read_csv(folder / "train.csv"), case.rows, seed)
    return {"train_data": rows, "presets": arguments.presets, "hyperparameters": everything, "seed": seed}


def drawn(frame: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Draw rows, again and again until every class is among them."""
    for again in range(1000):
        rows = frame.sample(count, random_state=seed + 1000 * again)
        if rows["label"].nunique() == frame["label"].nunique():
            return rows
    raise SystemExit(f"{count} rows are too few for {frame['label'].nunique()} classes.")


# what runs cost


def trains_at(plan: LayerPlan, cursor: Cursor) -> Trains:
    """Return the layers that train at a step."""
    return frozenset(label for label in plan.labels if plan.trainable_at(label, cursor))


def cost(plan: LayerPlan, steps: int, costs: Costs) -> float:
    """Return the CPU seconds that a run of so many steps is expected to take."""
    per_epoch = plan.steps_per_epoch or 1
    cursor, seconds = plan.start(steps, steps_per_epoch=per_epoch), 0.0
    for _ in range(steps):
        seconds += costs.steps[trains_at(plan, cursor)]
        cursor = plan.next(cursor)
    return seconds + math.ceil(steps / per_epoch) * costs.validation


def most_steps(plan: LayerPlan, budget: float, costs: Costs) -> int:
    """Return the most steps that stay within a budget in CPU seconds, to half a step."""
    dearest = max(costs.steps.values())
    steps = math.floor(budget / (dearest + costs.validation))
    while cost(plan, steps + 1, costs) <= budget + dearest / 2:
        steps += 1
    return steps


# what they came to


def against_plain(runs: pd.DataFrame, score: str) -> pd.DataFrame:
    """Return what each method scores above the plain run of the same case and seed: a row per case and seed."""
    wide = runs.pivot(index=["case", "seed"], columns="method", values=score)
    return wide.sub(wide[PLAIN], axis=0).drop(columns=PLAIN)


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row per case and method: what it took, and its test scores, mean and spread over the seeds."""
    grouped = runs.groupby(["case", "method"])
    table = grouped[["epochs", "cpu_seconds", "valid", "accuracy", "log_loss"]].mean()
    table.insert(4, "accuracy_sd", grouped["accuracy"].std())
    above: Any = against_plain(runs, "accuracy").groupby("case").mean().stack()
    table.insert(5, "minus_plain", above)
    order = [(case, method) for case in runs["case"].unique() for method in METHODS]
    return table.loc[order].round({"epochs": 1, "cpu_seconds": 1}).round(4)


def over_all(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a row per method: its mean difference to the plain run, the standard error, and where it wins.

    A method beats the plain run by more than noise if its mean is more than two standard errors the better.
    """
    rows = {}
    for score in ("accuracy", "log_loss"):
        found = against_plain(runs, score)
        rows[score] = pd.DataFrame(
            {
                "mean": found.mean(),
                "standard_error": found.std() / math.sqrt(len(found)),
                "higher_in": (found > 0).sum(),
                "of": len(found),
            }
        )
    return pd.concat(rows, names=["score"]).round(4)


if __name__ == "__main__":
    main()
