"""Ours, its own probe, and the strongest simple baseline on the same rows, on real data sets at several sizes.

    OMP_NUM_THREADS=1 python benchmarks/quality.py --data ../shared/data --cache /tmp/quality --tag new
        [--only tab_adult mm_emoji] [--rows 300 1500] [--seeds 0 1 2] [--compare benchmarks/results/quality.json]

Each case (`quality_sets.py`) is fitted on 300, on 1,500 and on all training rows, drawn by the seed (three of them;
one where more than 1,500 rows are fitted), and scored on its test rows. Text uses `offline:minilm-l6`, images the
weights in the data folder; nothing is tuned per data set. The probe is a fit of one step at a rate of 1e-30, so its
kept state is the probe; where step 1 is kept, it is not fitted again to all rows. Baselines (`quality_baselines.py`)
get the same training rows; the strongest is the one with the best mean score on the *test* rows over the seeds, which
is harsh on us. Intervals are 95 % of a paired bootstrap over test rows and seeds. CPU seconds are of `fit`, user and
system, children included.

What was fitted is kept under `--cache`: baselines by case, rows and seed, ours also by `--tag`. `--report` computes
nothing and shows what is kept. Prints a table and writes `benchmarks/results/quality.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from quality_baselines import Frozen, Split, kept_members
from quality_report import compare, show
from quality_scores import Difference, Prediction, Truth, difference, ece, log_loss, score, uncalibrated
from quality_sets import CASES, SIZES, Case, Loaded, load
from thermocline import Predictor
from thermocline.config.joined import schema_of

PARTS = ("baselines", "probe", "ours")
PROBE = {
    "optim.lr": 1e-30,  # too small to change a weight: whichever step is kept, it is the probe
    "optim.max_steps": 1,
    "optim.max_epochs": 1,
    "optim.top_k_average": "best",
    "model.trees": "off",
    "model.tfidf": "off",
}


@dataclass
class Cell:
    """A case at a size: what each seed gave."""

    case: Case
    rows: str
    truth: Truth
    baselines: dict[int, dict[str, Prediction]] = field(default_factory=dict)
    probe: dict[int, tuple[Prediction, dict[str, Any]]] = field(default_factory=dict)
    ours: dict[int, tuple[Prediction, dict[str, Any]]] = field(default_factory=dict)

    @property
    def strongest(self) -> str | None:
        """The baseline with the best mean score over the seeds."""
        seeds = list(self.baselines.values())
        means = {name: np.mean([score(self.truth, one[name]) for one in seeds]) for name in seeds[0]} if seeds else {}
        return max(means, key=lambda name: means[name], default=None)

    def against(self, other: Mapping[int, Prediction]) -> Difference | None:
        """Return how far ours is ahead of another on the seeds that both have."""
        pairs = [(self.ours[seed][0], said) for seed, said in other.items() if seed in self.ours]
        return difference(self.truth, pairs) if pairs else None


def main() -> None:
    """Run the cases, print the table, write the JSON."""
    arguments = parse()
    if not arguments.data.is_dir():
        print(f"There is no folder {arguments.data}: name the data with --data. Nothing was run.")
        return
    names = [case.name for case in CASES]
    if unknown := set(arguments.only or ()).difference(names):
        raise SystemExit(f"There is no case {', '.join(sorted(unknown))}. Cases: {', '.join(names)}.")
    with tempfile.TemporaryDirectory() as folder:
        kept = arguments.cache or Path(folder)
        results = []
        for size in SIZES:
            for case in CASES:
                if size in arguments.rows and (not arguments.only or case.name in arguments.only):
                    results += run(case, size, kept, arguments)
                    write(results, arguments)
    show(results)
    if arguments.compare:
        compare(json.loads(arguments.compare.read_text(encoding="utf-8"))["cases"], results)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).parent
    parser.add_argument("--data", type=Path, default=here.parents[1] / "shared" / "data")
    parser.add_argument("--only", nargs="*", help="names of cases")
    parser.add_argument("--rows", nargs="*", default=list(SIZES), choices=SIZES)
    parser.add_argument("--seeds", nargs="*", type=int, help="by default 0 1 2, of more than 1,500 rows 0")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--presets", nargs="*", default=["medium_quality", "offline"])
    parser.add_argument("--set", nargs="*", default=[], help="overrides for all cases: key=value")
    parser.add_argument("--cache", type=Path, help="a folder for what was fitted; by default nothing is kept")
    parser.add_argument("--tag", default="now", help="the name of what of ours is kept under --cache")
    parser.add_argument("--report", action="store_true", help="compute nothing: show what is kept")
    parser.add_argument("--compare", type=Path, help="a former JSON: differences by seed, and CPU ratios")
    parser.add_argument("--out", type=Path, default=here / "results" / "quality.json")
    return parser.parse_args()


@cache
def loaded_case(case_name: str, data: Path, made: Path) -> Loaded:
    """Read a case once."""
    return load(next(case for case in CASES if case.name == case_name), data, made)


def run(case: Case, rows: str, kept: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the result of a case at a size, in a list; an empty one where it has no such size or nothing is kept."""
    loaded = loaded_case(case.name, arguments.data, kept / "made")
    if not loaded.sizes((rows,)):
        return []
    cell = Cell(case, rows, truth_of(loaded))
    for seed in loaded.seeds(rows, arguments.seeds):
        split = Split(loaded, loaded.sampled(rows, seed), seed)
        stem = f"{case.name}-{rows}-{seed}"
        if "baselines" in arguments.parts and (not arguments.report or (kept / f"baselines/{stem}.npz").is_file()):
            frozen = Frozen(kept / "features", arguments.data / "weights" / "timm_mobilenetv2_100")
            found = kept_members(split, rows, frozen, kept / "baselines")
            cell.baselines[seed] = {name: Prediction.of(values) for name, values in found.items()}
        for part, into in (("probe", cell.probe), ("ours", cell.ours)):
            file = kept / arguments.tag / f"{stem}-{part}.npz"
            if part in arguments.parts and (not arguments.report or file.is_file()):
                into[seed] = kept_fit(file, split, part, arguments)
                value = score(cell.truth, into[seed][0])
                facts = into[seed][1]
                print(f"{stem} {part} {value:.4f} {facts['cpu']:.0f} s {facts['kept']}", file=sys.stderr, flush=True)
    return [result(cell)] if cell.baselines or cell.probe or cell.ours else []


def truth_of(loaded: Loaded) -> Truth:
    """Return the labels of the test rows, as codes or numbers."""
    case, labels, classes = loaded.case, loaded.labels[loaded.test], loaded.classes
    if case.regression:
        return Truth(case.metric, labels)
    positive = classes.index(case.positive) if case.positive else min(1, len(classes) - 1)
    return Truth(case.metric, np.searchsorted(classes, labels), tuple(classes), positive)


def kept_fit(file: Path, split: Split, part: str, arguments: argparse.Namespace) -> tuple[Prediction, dict[str, Any]]:
    """Return what a fit said and cost, from a file where there is one."""
    if not file.is_file():
        said, facts = fit(split, part, arguments)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.with_suffix(".part").open("wb") as part_file:
            np.savez_compressed(part_file, values=said.values, codes=said.codes, facts=np.array(json.dumps(facts)))
        file.with_suffix(".part").replace(file)
    with np.load(file) as stored:
        return Prediction(stored["values"], stored["codes"]), json.loads(str(stored["facts"]))


def fit(split: Split, part: str, arguments: argparse.Namespace) -> tuple[Prediction, dict[str, Any]]:
    """Fit ours, or its probe, on the training rows, and predict the test rows."""
    loaded, case = split.loaded, split.loaded.case
    overrides = loaded.options(arguments.data)
    probe = {key: value for key, value in PROBE.items() if part == "probe" and key in schema_of().keys}
    train, test = loaded.frame.iloc[split.train], loaded.frame.iloc[loaded.test]
    begin, cpu = time.monotonic(), cpu_seconds()
    predictor = Predictor(case.label, eval_metric=case.metric, positive_class=case.positive, verbosity=0).fit(
        train,
        presets=arguments.presets,
        hyperparameters=[overrides, *arguments.set, probe],
        seed=split.seed,
    )
    facts = {
        "cpu": cpu_seconds() - cpu,
        "wall": time.monotonic() - begin,
        "kept": str(predictor.history["note"].iloc[-1]),
        "temperature": float(getattr(predictor._fitted().target, "temperature", 1.0)),
    }
    scored = predictor.history.dropna(subset=[f"val_{case.metric}"])[f"val_{case.metric}"]
    facts |= {"val_probe": float(scored.iloc[0]), "val_kept": float(scored.iloc[-1])} if len(scored) else {}
    cpu = cpu_seconds()
    said = predicted(predictor, loaded, test.drop(columns=case.label))
    return said, facts | {"predict_cpu": cpu_seconds() - cpu}


def predicted(predictor: Predictor, loaded: Loaded, test: Any) -> Prediction:
    """Return what a predictor says of the test rows."""
    folder = loaded.image_folder
    if loaded.case.regression:
        return Prediction.of(np.asarray(predictor.predict(test, image_folder=folder), dtype=float))
    chances = predictor.predict_proba(test, image_folder=folder)
    values = np.zeros((len(test), len(loaded.classes)), dtype=np.float32)
    values[:, [loaded.classes.index(str(name)) for name in chances.columns]] = chances.to_numpy()
    if predictor.threshold is None:
        return Prediction.of(values)
    positive = loaded.classes.index(str(predictor.positive_class))
    return Prediction.of(values, np.where(values[:, positive] > predictor.threshold, positive, 1 - positive))


def result(cell: Cell) -> dict[str, Any]:
    """Return the figures of a cell, by seed and together."""
    truth, strongest = cell.truth, cell.strongest
    best = {} if strongest is None else {seed: said[strongest] for seed, said in cell.baselines.items()}
    probes = {seed: said for seed, (said, _) in cell.probe.items()}
    seeds = {
        "baselines": {str(s): {name: score(truth, p) for name, p in one.items()} for s, one in cell.baselines.items()},
        "strongest": {str(s): figures(truth, said) for s, said in best.items()},
        "probe": {str(s): figures(truth, said) | facts for s, (said, facts) in cell.probe.items()},
        "ours": {
            str(s): figures(truth, said) | before(truth, said, facts) | facts for s, (said, facts) in cell.ours.items()
        },
    }
    gaps = {"vs_baseline": cell.against(best), "vs_probe": cell.against(probes)}
    return {
        "case": cell.case.name,
        "rows": cell.rows,
        "metric": cell.case.metric,
        "asked": cell.case.asked.get(cell.rows),
        "baseline": strongest,
        "mean": {part: mean_of(seeds[part]) for part in ("strongest", "probe", "ours")},
        **{name: None if gap is None else asdict(gap) | {"verdict": gap.verdict} for name, gap in gaps.items()},
        "seeds": seeds,
    }


def figures(truth: Truth, said: Prediction) -> dict[str, float]:
    """Return metric, log-loss and calibration error of a prediction."""
    return {"score": score(truth, said), "log_loss": log_loss(truth, said), "ece": ece(truth, said)}


def before(truth: Truth, said: Prediction, facts: Mapping[str, Any]) -> dict[str, float]:
    """Return log-loss and calibration error of what was said before it was divided by a temperature."""
    if not truth.classes or "temperature" not in facts:
        return {}
    raw = uncalibrated(said, facts["temperature"])
    return {"log_loss_before": log_loss(truth, raw), "ece_before": ece(truth, raw)}


def mean_of(seeds: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the means over the seeds of what are numbers."""
    first, *others = seeds.values() or [{}]
    names = [name for name, value in first.items() if isinstance(value, float) and all(name in one for one in others)]
    return {name: float(np.mean([one[name] for one in seeds.values()])) for name in names}


def write(results: Sequence[Mapping[str, Any]], arguments: argparse.Namespace) -> None:
    """Write the JSON; what has no value is null."""
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    content = {"presets": arguments.presets, "set": arguments.set, "cases": results}
    rounded = json.loads(
        json.dumps(content), parse_float=lambda text: round(float(text), 5), parse_constant=lambda _: None
    )
    arguments.out.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


def cpu_seconds() -> float:
    """User and system time of this process and of those it waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    main()
