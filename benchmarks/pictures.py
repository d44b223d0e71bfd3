"""The pictures of the README and the docs, of real runs: `docs/pictures/*.png`, each for light and for dark pages.

    make pictures        or        python benchmarks/pictures.py [--runs FOLDER] [--only plan race]

The runs are fits of MiniLM on 400 questions on nine topics (`load_sample("questions")`), with one thread and one
seed; `docs/pictures/made_from.json` says with what versions. They are saved in the folder of `--runs` and used again.
The plan is photographed as a notebook shows it, by a headless Chromium (`--chromium`), the others are drawn by
matplotlib; texts get the colour of the page.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

import thermocline
from thermocline import Predictor, load_sample
from thermocline.report.svg import GREY

ROOT = Path(__file__).parent.parent
TO = ROOT / "docs" / "pictures"
PAGES = {"light": ("#ffffff", "#24292f"), "dark": ("#0d1117", "#c9d1d9")}
"""Colours of GitHub's pages: background and text."""

ROWS = 400
MOST_BYTES = 200_000
SCALE = 2  # pixels of a picture for each pixel that it is shown at
PRESETS = ["medium_quality", "offline"]
SHARED = {"optim.max_epochs": 4, "model.text.max_length": 32}
RACED = SHARED | {"optim.arms": 5}  # short fits of a third of the 160 steps
SCHEDULE = "gradual_unfreeze(factor=1.5)"
VERSIONS = ["torch", "transformers", "numpy", "pandas", "scipy", "scikit-learn", "matplotlib"]


def rows() -> pd.DataFrame:
    """The training rows: questions, and their topics."""
    return load_sample("questions", rows=ROWS)[["question", "topic"]]


def fitted(runs: Path, name: str, **options: Any) -> Predictor:
    """Return a predictor of an earlier call, or fit it now."""
    folder = runs / name
    if folder.exists():
        return Predictor.load(folder)
    predictor = Predictor("topic", eval_metric="accuracy", path=folder, verbosity=1)
    return predictor.fit(rows(), **options)


def unfrozen(runs: Path) -> Predictor:
    """The run whose history is shown: one layer after the other is unfrozen."""
    chosen = SHARED | {"optim.lr": 3e-4, "optim.val_check_interval": 0.5, "optim.schedule_plan": SCHEDULE}
    return fitted(runs, "unfrozen", presets=PRESETS, hyperparameters=chosen)


# -- the pictures: each a matplotlib figure, or HTML with its width and height --------------------------------------


def plan(runs: Path) -> tuple[str, int]:
    """A plan with its ribbon, as a notebook shows it; without the estimate of its costs."""
    return replace(unfrozen(runs).plan, estimate=None)._repr_html_(), 920


def race(runs: Path) -> Any:
    """What `presets="auto"` compared."""
    raced = fitted(runs, "race", presets=[*PRESETS, "auto"], hyperparameters=RACED)
    return raced.leaderboard().plot_race()


def history(runs: Path) -> Any:
    """Scores and losses of a run."""
    return unfrozen(runs).history.plot().figure


def used(runs: Path) -> Any:
    """The rates that layers had in a run."""
    return unfrozen(runs).history.plot_lrs().figure


def rates(runs: Path) -> Any:
    """The rates of a plan, before anything runs."""
    return unfrozen(runs).plan.plot().figure


def probes(_: Path) -> Any:
    """What the layers of the backbone hold."""
    found = Predictor("topic", verbosity=0).recommend(rows(), presets=PRESETS, probes=True).probes
    assert found is not None
    return found.plot()


PICTURES: dict[str, Callable[[Path], Any]] = {
    each.__name__: each for each in (plan, race, history, used, rates, probes)
}


# -- how they are written --------------------------------------------------------------------------------------------


def saved(figure: Any, theme: str, file: Path) -> None:
    """Write a figure on the page's background, its grey texts in the colour of the page's text."""
    from matplotlib.colors import same_color
    from matplotlib.text import Text

    ground, color = PAGES[theme]
    grey = [part for part in figure.findobj(Text) if same_color(part.get_color(), GREY)]
    for part in grey:
        part.set_color(color)
    figure.savefig(file, dpi=100 * SCALE, facecolor=ground)
    for part in grey:
        part.set_color(GREY)


def photographed(html: str, width: int, theme: str, file: Path, chromium: str) -> None:
    """Write HTML as a browser shows it, cut to its height."""
    ground, color = PAGES[theme]
    style = f"body{{margin:0;padding:12px 0 4px 12px;background:{ground};color:{color};width:{width - 12}px}}"
    height = "<script>document.title=Math.ceil(document.body.getBoundingClientRect().height)</script>"
    page = f"<!doctype html><meta charset=utf-8><style>{style}</style><body>{html}{height}"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "page.html")
        source.write_text(page, encoding="utf-8")
        base = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        dumped = subprocess.run([*base, "--dump-dom", str(source)], capture_output=True, text=True, check=True).stdout
        tall = int(dumped.split("<title>")[1].split("<")[0])
        shot = [f"--screenshot={file}", f"--window-size={width},{tall}", f"--force-device-scale-factor={SCALE}"]
        subprocess.run([*base, *shot, str(source)], capture_output=True, check=True)


def write(name: str, made: Any, chromium: str) -> None:
    """Write a picture for light and dark pages, as few bytes as its colours need."""
    from PIL import Image

    for theme in PAGES:
        file = TO / f"{name}-{theme}.png"
        if isinstance(made, tuple):
            html, width = made
            photographed(html, width, theme, file, chromium)
        else:
            saved(made, theme, file)
        with Image.open(file) as opened:
            picture = opened.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        picture.save(file, optimize=True)
        size = file.stat().st_size
        assert size < MOST_BYTES, f"{file.name} has {size:,} bytes, more than {MOST_BYTES:,}"
        print(f"{file.relative_to(ROOT)}  {picture.width} x {picture.height}  {size / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "pictures", help="where fits are saved and found")
    parser.add_argument("--only", nargs="*", choices=PICTURES, default=list(PICTURES), help="these pictures")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium", help="the browser")
    arguments = parser.parse_args()
    import matplotlib as mpl

    mpl.use("Agg")
    TO.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        write(name, PICTURES[name](arguments.runs), arguments.chromium)
    made_from = {"sample": f"questions, {ROWS} rows", **{name: version(name) for name in VERSIONS}}
    (TO / "made_from.json").write_text(json.dumps(made_from, indent=2) + "\n", encoding="utf-8")
    print(f"by {thermocline.__file__}")


if __name__ == "__main__":
    main()
