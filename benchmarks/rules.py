"""The evidence for rules: which learning rate and how many epochs, by family, rows and start.

    OMP_NUM_THREADS=1 python benchmarks/rules.py --data ../shared/data --cache /tmp/rules [--rows 50 200] [--seeds 0 1]

A cell is a family of backbones (MiniLM; MobileNetV2; both), a number of rows, and a start of the head (`probe`,
`random`). In it one option at a time takes other values than the default, on each data set and seed, on the same rows;
what counts is the loss on the test rows in nats a row (log-loss; half the logarithm of the mean squared error), without
the models beside the network. The table has the mean of the paired differences to the default, its standard error, and
in how many pairs the value is better. What was fitted is kept under `--cache`. Writes `benchmarks/results/rules.json`.

Then it prints the cells of `presets/rules.yaml` that these figures contradict: over at least two data sets, another
value is better by more than two standard errors. `--check` does only this, with the figures that were written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quality import predicted, truth_of
from quality_scores import log_loss
from quality_sets import CASES, Loaded, load
from thermocline import Predictor
from thermocline.config import Case, load_rules
from thermocline.problems.rowwise.defaults import PRETRAINED

CASES_OF = {
    "text encoder": ("text_sst2", "text_sms_spam", "text_banking77", "textpair_stsb"),
    "image CNN": ("img_cifar10_3k",),
    "text and image": ("mm_emoji",),
}
VALUES: dict[str, tuple[Any, ...]] = {
    "optim.lr": (3e-5, 1e-4, 3e-4),
    "optim.max_epochs": (1, None, 8),
}
DEFAULT = {"optim.lr": 1e-4, "optim.max_epochs": None}
MEASURED_AGAINST = {"optim.lr": (1e-4,), "optim.max_epochs": (3, 4)}
"""What the defaults stood for in the fits under `--cache`: None was 3 epochs, or 4 of a regression."""
ALONE = {"model.trees": "off", "model.tfidf": "off", "optim.refit": "off", "optim.top_k_average": "best"}
FEWEST_PER_CLASS = 2
TEST_ROWS = 1000
FEWEST_SETS, ERRORS = 2, 2
"""Data sets that it takes to contradict a rule, and standard errors that a value is better by."""


@dataclass(frozen=True)
class Trial:
    """One fit: what it is of, and the option that differs from the default."""

    family: str
    case: str
    rows: int
    seed: int
    start: str
    option: str = ""
    value: Any = None

    @property
    def name(self) -> str:
        """The name of its file."""
        parts = (
            self.case,
            self.rows,
            self.seed,
            self.start,
            self.option or "default",
            self.value if self.option else "",
        )
        return "-".join(str(part) for part in parts)


def main() -> None:
    """Fit what is missing, print the table, write the JSON, and print what contradicts the rules."""
    arguments = read_arguments()
    if arguments.check and not arguments.out.is_file():
        print(f"There is no file {arguments.out}: run this without --check first, or name the file with --out.")
        return
    if not arguments.check:
        if not arguments.data.is_dir():
            print(f"There is no folder {arguments.data}: name the data with --data. Nothing was run.")
            return
        measure(arguments)
    cells = json.loads(arguments.out.read_text(encoding="utf-8"))["cells"]
    print(*contradicted(cells) or ["No rule is contradicted."], sep="\n")


def read_arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).parent
    parser.add_argument("--data", type=Path, default=here.parents[1] / "shared" / "data")
    parser.add_argument("--cache", type=Path, help="needed unless --check is given")
    parser.add_argument("--rows", nargs="*", type=int, default=[50, 200, 1000])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--families", nargs="*", default=list(CASES_OF), choices=list(CASES_OF))
    parser.add_argument("--starts", nargs="*", default=["probe"], choices=["probe", "random"])
    parser.add_argument("--report", action="store_true", help="fit nothing: show what is kept")
    parser.add_argument("--check", action="store_true", help="fit nothing: compare the rules with what --out holds")
    parser.add_argument("--out", type=Path, default=here / "results" / "rules.json")
    arguments = parser.parse_args()
    if arguments.cache is None and not arguments.check:
        parser.error("--cache is needed: the folder in which fits are kept")
    return arguments


def measure(arguments: argparse.Namespace) -> None:
    """Fit what is missing, print the table, write the JSON."""
    losses: dict[Trial, float] = {}
    for rows in arguments.rows:
        for seed in arguments.seeds:
            for trial in trials(arguments, rows, seed):
                found = kept(trial, arguments)
                if found is not None:
                    losses[trial] = found
    cells = table(losses)
    for cell in cells:
        print(
            f"{cell['family']:<15}{cell['rows']:>6} {cell['start']:<7}{cell['option']:<18}{cell['value']!s:<8}"
            f"{cell['difference']:>+8.3f} ± {cell['error']:.3f}  better in {cell['better']} of {cell['n']}"
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"default": DEFAULT, "cells": cells}, indent=1) + "\n", encoding="utf-8")


def trials(arguments: argparse.Namespace, rows: int, seed: int) -> list[Trial]:
    """Return the fits of a number of rows and a seed: of each case the default first."""
    found = []
    for family in arguments.families:
        for case in CASES_OF[family]:
            for start in arguments.starts:
                found.append(Trial(family, case, rows, seed, start))
                for option, values in VALUES.items():
                    others = [value for value in values if value != DEFAULT[option]]
                    found += [Trial(family, case, rows, seed, start, option, value) for value in others]
    return found


def kept(trial: Trial, arguments: argparse.Namespace) -> float | None:
    """Return the loss of a fit, from a file where there is one; None where the case has too few rows for it."""
    file = arguments.cache / f"{trial.name}.json"
    if not file.is_file():
        if arguments.report:
            return None
        found = fitted(trial, arguments.data, arguments.cache / "made")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found), encoding="utf-8")
        print(trial.name, found, file=sys.stderr, flush=True)
    found = json.loads(file.read_text(encoding="utf-8"))
    return None if found is None else float(found)


def fitted(trial: Trial, data: Path, made: Path) -> float | None:
    """Fit, and return the loss on the test rows in nats a row."""
    case = next(case for case in CASES if case.name == trial.case)
    loaded = load(case, data, made)
    if trial.rows >= loaded.train or trial.rows < FEWEST_PER_CLASS * len(loaded.classes):
        return None
    overrides = {**ALONE, "optim.head_init": trial.start, **loaded.options(data)}
    if trial.option:
        overrides[trial.option] = trial.value
    train = loaded.frame.iloc[loaded.sampled(str(trial.rows), trial.seed)]
    predictor = Predictor(case.label, eval_metric=case.metric, positive_class=case.positive, verbosity=0).fit(
        train, presets=["medium_quality", "offline"], hyperparameters=overrides, seed=trial.seed
    )
    return loss(predictor, loaded)


def loss(predictor: Predictor, loaded: Loaded) -> float:
    """Return the loss on test rows in nats a row."""
    test = loaded.test
    shown = np.sort(np.random.default_rng(0).permutation(len(test))[:TEST_ROWS])
    said = predicted(predictor, loaded, loaded.frame.iloc[test[shown]].drop(columns=loaded.case.label))
    truth = truth_of(loaded)
    if not loaded.case.regression:
        return float(log_loss(type(truth)(truth.metric, truth.values[shown], truth.classes, truth.positive), said))
    error = np.mean((said.values - truth.values[shown]) ** 2) / np.var(truth.values)
    return float(0.5 * np.log(max(error, 1e-12)))


def table(losses: dict[Trial, float]) -> list[dict[str, Any]]:
    """Return the paired differences to the default by cell, option and value."""
    found: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    cases: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for trial, value in losses.items():
        default = Trial(trial.family, trial.case, trial.rows, trial.seed, trial.start)
        if trial.option and default in losses:
            cell = (trial.family, trial.rows, trial.start, trial.option, trial.value)
            found[cell].append(value - losses[default])
            cases[cell].add(trial.case)
    names = ("family", "rows", "start", "option", "value")
    return [
        dict(zip(names, cell, strict=True))
        | {
            "n": len(values),
            "sets": len(cases[cell]),
            "difference": round(float(np.mean(values)), 4),
            "error": round(float(np.std(values, ddof=1) / np.sqrt(len(values))), 4) if len(values) > 1 else None,
            "better": int(np.sum(np.array(values) < 0)),
        }
        for cell, values in found.items()
        if len(values) > 1
    ]


def contradicted(cells: list[dict[str, Any]]) -> list[str]:
    """Return a line for each cell of the rules that measurements contradict.

    Args:
        cells: As `table` returns them.
    """
    lines = []
    for cell in cells:
        case = Case(cell["family"], PRETRAINED, cell["rows"], cell["start"], "binary")
        rule = load_rules().find(cell["option"], case)
        if rule is None or rule.value not in (cell["value"], *MEASURED_AGAINST[cell["option"]]):
            continue  # no difference to the value of the rules was measured
        if rule.value == cell["value"]:
            better, gain = MEASURED_AGAINST[cell["option"]][0], cell["difference"]
        else:
            better, gain = cell["value"], -cell["difference"]
        if cell["sets"] >= FEWEST_SETS and gain > ERRORS * cell["error"]:
            lines.append(
                f"{cell['family']}, {cell['rows']} rows, {cell['start']}, {cell['option']}: {better} is better than "
                f"{rule.value} by {gain:.3f} ± {cell['error']:.3f} nats a row, in {cell['n']} pairs of {cell['sets']} "
                f"data sets. The rule: {rule.why}"
            )
    return lines


if __name__ == "__main__":
    main()
