"""`presets="auto"` against the default and against single fixed ways to train, within three times the default's time.

    OMP_NUM_THREADS=1 python benchmarks/auto.py --data ../shared/data --cache /tmp/auto [--seeds 0 1 2] [--fixed ARM …]

For each set and seed the race gets `--times` the seconds that a plain fit took (the first one of the set, which is
fitted again for that). The fit as it was asked for is one of the race's, so the difference to it is on the same
training, validation and test rows. Fixed ways (names of `presets/portfolio.yaml`, or `probe`) are plain fits with their
options; ranks are over these, the default and auto. What was predicted is kept under `--cache`. Writes
`benchmarks/results/auto.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from quality import predicted, truth_of
from quality_scores import Difference, Prediction, Truth, difference, log_loss, score
from quality_sets import CASES, Loaded, load
from thermocline import Predictor

ROWS = {
    "text_sst2": "500",
    "text_banking77": "1000",
    "img_cifar10_3k": "500",
    "mm_emoji": "500",
    "tabtext_employee_salaries": "1000",
}
PRESETS = ["medium_quality", "offline"]
DEFAULT, AUTO, PROBE, WHOLE = "default", "auto", "probe", "whole-trial-"
TEST_ROWS = 1500
COLUMNS = ("name", "score", "seconds", "state", "why")


def main() -> None:
    """Fit what is missing, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).parent
    parser.add_argument("--data", type=Path, default=here.parents[1] / "shared" / "data")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--fixed", nargs="*", default=[])
    parser.add_argument("--times", type=float, default=3.0)
    parser.add_argument("--report", action="store_true", help="fit nothing: show what is kept")
    parser.add_argument("--out", type=Path, default=here / "results" / "auto.json")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"There is no folder {arguments.data}: name the data with --data. Nothing was run.")
        return
    found: dict[str, Any] = {}
    for name in arguments.sets:
        loaded = load(next(case for case in CASES if case.name == name), arguments.data, arguments.cache / "made")
        parts = {seed: parts_of(loaded, seed, arguments) for seed in arguments.seeds}
        found[name] = summary(loaded, {seed: one for seed, one in parts.items() if AUTO in one})
        print(json.dumps({name: found[name]}, indent=1), flush=True)
    found["average rank"] = ranks([one for one in found.values() if one])
    print(json.dumps(found["average rank"], indent=1))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def parts_of(loaded: Loaded, seed: int, arguments: argparse.Namespace) -> dict[str, tuple[Prediction, dict[str, Any]]]:
    """Return, by name, what was predicted for the test rows, and facts of the fits."""
    stem = f"{loaded.case.name}-{seed}"
    if not arguments.report and not (arguments.cache / f"{stem}-{AUTO}.npz").is_file():
        raced(loaded, seed, arguments)
    found = {}
    others = sorted(file.stem.removeprefix(f"{stem}-") for file in arguments.cache.glob(f"{stem}-{WHOLE}*.npz"))
    for part in (DEFAULT, AUTO, *arguments.fixed, *others):
        file = arguments.cache / f"{stem}-{part}.npz"
        if not file.is_file() and not arguments.report:
            fixed(loaded, seed, part, arguments)
        if file.is_file():
            with np.load(file) as stored:
                found[part] = Prediction(stored["values"], stored["codes"]), json.loads(str(stored["facts"]))
    return found


def raced(loaded: Loaded, seed: int, arguments: argparse.Namespace) -> None:
    """Carry out a race, and keep what the fit as it was asked for and the kept one predict."""
    from thermocline.choose.race_run import race
    from thermocline.pipeline.saved_folder import writing_to

    limit = arguments.times * plain_seconds(loaded, arguments)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model"
        predictor = new(loaded, path=path)
        train = loaded.frame.iloc[loaded.sampled(ROWS[loaded.case.name], seed)]
        begin = time.monotonic()
        given = train, None, [*PRESETS, "auto"], loaded.options(arguments.data), None, seed
        request = predictor._request(*given, time_limit=limit)
        with writing_to(path):
            found = race(request, "", overwrite=False)
        seconds = time.monotonic() - begin
        assert found.folder is not None
        predictor._take(found.fitted)
        board = predictor.leaderboard()
        asked = Predictor.load(found.folder.trial(1), verbosity=0)
        columns = [name for name in (*COLUMNS, "gain", "gain_error") if name in board]
        facts = {"seconds": seconds, "limit": limit, "board": json.loads(board[columns].to_json(orient="records"))}
        keep(loaded, seed, DEFAULT, asked, {}, arguments)
        for folder in sorted(found.folder.root.glob("trial-????")):
            if folder != found.folder.trial(1):  # whole fits that were not kept: what leaving them has cost
                keep(loaded, seed, f"whole-{folder.name}", Predictor.load(folder, verbosity=0), {}, arguments)
        keep(loaded, seed, AUTO, predictor, facts, arguments)


def plain_seconds(loaded: Loaded, arguments: argparse.Namespace) -> float:
    """Return what a plain fit takes, from a file where there is one."""
    file = arguments.cache / f"{loaded.case.name}-seconds.json"
    if not file.is_file():
        begin = time.monotonic()
        train = loaded.frame.iloc[loaded.sampled(ROWS[loaded.case.name], 0)]
        new(loaded).fit(train, presets=PRESETS, hyperparameters=loaded.options(arguments.data))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(time.monotonic() - begin), encoding="utf-8")
    return float(json.loads(file.read_text(encoding="utf-8")))


def fixed(loaded: Loaded, seed: int, part: str, arguments: argparse.Namespace) -> None:
    """Fit one fixed way to train, where it applies to the data."""
    from thermocline.choose.portfolio import entrants
    from thermocline.pipeline.ready import ready

    train = loaded.frame.iloc[loaded.sampled(ROWS[loaded.case.name], seed)]
    options, predictor = loaded.options(arguments.data), new(loaded)
    if part == PROBE:
        options["optim.max_steps"] = 1
        options["optim.lr"] = 1e-12
    else:
        request = predictor._request(train, None, PRESETS, options, None, seed)
        options |= next((one.options for one in entrants(ready(request).assembly) if one.name == part), {})
    predictor.fit(train, presets=PRESETS, hyperparameters=options, seed=seed)
    keep(loaded, seed, part, predictor, {}, arguments)


def new(loaded: Loaded, path: Path | None = None) -> Predictor:
    """Return a predictor for a set."""
    case = loaded.case
    return Predictor(case.label, eval_metric=case.metric, positive_class=case.positive, path=path, verbosity=0)


def shown_rows(loaded: Loaded) -> np.ndarray:
    """Return which of the test rows are predicted, the same for all fits."""
    return np.sort(np.random.default_rng(0).permutation(len(loaded.test))[:TEST_ROWS])


def keep(
    loaded: Loaded,
    seed: int,
    part: str,
    predictor: Predictor,
    facts: Mapping[str, Any],
    arguments: argparse.Namespace,
) -> None:
    """Predict the test rows, and keep that."""
    test = loaded.frame.iloc[loaded.test[shown_rows(loaded)]].drop(columns=loaded.case.label)
    said = predicted(predictor, loaded, test)
    file = arguments.cache / f"{loaded.case.name}-{seed}-{part}.npz"
    np.savez_compressed(file, values=said.values, codes=said.codes, facts=np.array(json.dumps(dict(facts))))
    value = score(truth(loaded), said)
    print(f"{file.stem} {value:.4f} {json.dumps(facts)}", file=sys.stderr, flush=True)


def truth(loaded: Loaded) -> Truth:
    """Return the labels of the test rows that are predicted."""
    whole = truth_of(loaded)
    return Truth(whole.metric, whole.values[shown_rows(loaded)], whole.classes, whole.positive)


def summary(loaded: Loaded, parts: Mapping[int, Mapping[str, tuple[Prediction, dict[str, Any]]]]) -> dict[str, Any]:
    """Return mean scores, the paired difference of auto to the default, and ranks by seed."""
    if not parts:
        return {}
    true = truth(loaded)
    first = next(iter(parts.values()))
    names = [one for one in first if not one.startswith(WHOLE) and all(one in each for each in parts.values())]
    scores = {name: [score(true, one[name][0]) for one in parts.values()] for name in names}
    gap: Difference = difference(true, [(one[AUTO][0], one[DEFAULT][0]) for one in parts.values()])
    facts = [one[AUTO][1] for one in parts.values()]
    return {
        "metric": true.metric,
        "seeds": list(parts),
        "test rows": len(true.values),
        "scores": {name: round(float(np.mean(values)), 4) for name, values in scores.items()},
        "log_loss": {name: mean([log_loss(true, one[name][0]) for one in parts.values()]) for name in names},
        "auto - default": {name: round(value, 4) for name, value in vars(gap).items()} | {"verdict": gap.verdict},
        "whole fits of others, by number": [
            {name.removeprefix(WHOLE).lstrip("0"): round(score(true, one[name][0]), 4) for name in one if WHOLE in name}
            for one in parts.values()
        ],
        "kept": [next(line["name"] for line in one["board"] if line["why"] == "kept") for one in facts],
        "seconds of the limit": mean([one["seconds"] / one["limit"] for one in facts]),
        "ranks": [
            dict(zip(names, rankdata([-scores[name][place] for name in names]).tolist(), strict=True))
            for place in range(len(parts))
        ],
    }


def ranks(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the average rank of each way over sets and seeds that have all of them; 1 is the best."""
    rows = [row for one in found for row in one["ranks"]]
    names = [name for name in (rows[0] if rows else {}) if all(name in row for row in rows)]
    return {name: round(float(np.mean([row[name] for row in rows])), 3) for name in names}


def mean(values: Sequence[float]) -> float | None:
    """Return the mean of numbers, to four digits; None where there is none."""
    found = float(np.mean(values))
    return round(found, 4) if np.isfinite(found) else None


if __name__ == "__main__":
    main()
