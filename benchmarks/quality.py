"""Scores on real data sets with preset settings, beside the strongest simple baseline of each.

    python benchmarks/quality.py --data ../shared/data [--only text_sst2 tab_adult] [--seed 0]

Text uses `offline:minilm-l6`, images the weights in the data folder; nothing is tuned per data set. Prints a table
and writes `benchmarks/results/quality.json`.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from thermocline import Predictor


@dataclass(frozen=True)
class Case:
    """A data set, its label, its metric, what is asked of it, and the baselines of its README to beat."""

    folder: str
    label: str
    metric: str
    at_least: float
    baselines: tuple[str, ...]
    rows: int | None = None
    image: bool = False
    positive: str | None = None

    @property
    def name(self) -> str:
        return self.folder if self.rows is None else f"{self.folder}[{self.rows}]"


CASES = [
    Case("text_sst2", "label", "accuracy", 0.88, ("tfidf_lr_acc", "minilm_frozen_lr_acc")),
    Case("text_banking77", "label", "accuracy", 0.91, ("tfidf_lr_acc", "minilm_frozen_lr_acc")),
    Case("text_banking77", "label", "accuracy", 0.88, (), rows=1500),
    Case("text_sms_spam", "label", "f1", 0.95, ("f1_spam",)),
    Case("textpair_stsb", "score", "spearman", 0.82, ("tfidf_cosine_spearman", "minilm_cosine_spearman")),
    Case("tab_adult", "income", "roc_auc", 0.905, ("hgb_roc_auc",)),
    Case("tab_penguins", "species", "accuracy", 0.97, ("hgb_acc",)),
    Case("tabtext_employee_salaries", "current_annual_salary", "r2", 0.90, ("hgb_r2",)),
    Case("mm_emoji", "category", "accuracy", 0.94, ("category_tfidf", "category_avg_probs"), image=True),
    Case("img_cifar10_3k", "label", "accuracy", 0.73, ("mnv2_frozen_lr_acc",), image=True),
]


def main() -> None:
    """Run the cases, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--only", nargs="*", help="names of cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--presets", nargs="*", default=["medium_quality", "offline"])
    parser.add_argument("--set", nargs="*", default=[], help="overrides for all cases: key=value")
    parser.add_argument("--verbosity", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "quality.json")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        raise SystemExit(f"There is no folder {arguments.data}: name the data with --data.")
    chosen = [c for c in CASES if not arguments.only or c.name in arguments.only]
    results = []
    for case in chosen:
        results.append(run(case, arguments))
        print(json.dumps(results[-1]), flush=True)
    table = pd.DataFrame(results)
    print(table.to_string(index=False))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def run(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fit on train.csv, score on test.csv."""
    folder = arguments.data / case.folder
    train = pd.read_csv(folder / "train.csv")
    if case.rows is not None:
        train = train.sample(case.rows, random_state=arguments.seed)
    overrides: dict[str, Any] = {}
    if case.image:
        overrides["model.image.checkpoint"] = str(arguments.data / "weights" / "timm_mobilenetv2_100")
        overrides["model.image.pretrained"] = True
        overrides["data.image_folder"] = str(folder)
    begin, cpu = time.monotonic(), cpu_seconds()
    predictor = Predictor(case.label, eval_metric=case.metric, verbosity=arguments.verbosity).fit(
        train, presets=arguments.presets, hyperparameters=[overrides, *arguments.set], seed=arguments.seed
    )
    score = predictor.evaluate(folder / "test.csv", [case.metric])[case.metric]
    history = predictor.history
    scored = history.dropna(subset=[f"val_{case.metric}"])
    known = baselines(folder)
    return {
        "case": case.name,
        "metric": case.metric,
        "score": round(score, 4),
        "asked": case.at_least,
        "met": bool(score >= case.at_least),
        "baseline": max((known[key] for key in case.baselines), default=None),
        "val_probe": round(float(scored[f"val_{case.metric}"].iloc[0]), 4),
        "val_kept": round(float(scored[f"val_{case.metric}"].iloc[-1]), 4),
        "kept": str(history["note"].iloc[-1]),
        "cpu_seconds": round(cpu_seconds() - cpu),
        "wall_seconds": round(time.monotonic() - begin),
    }


def baselines(folder: Path) -> dict[str, Any]:
    """Read the baselines that the data set's README tells."""
    found = re.search(r"- baselines.*?: (\{.*\})", (folder / "README.md").read_text(encoding="utf-8"))
    return dict(ast.literal_eval(found.group(1))) if found else {}


def cpu_seconds() -> float:
    """User and system time of this process and of those it waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    main()
