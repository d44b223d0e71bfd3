"""Makes the fixtures of these tests with the version of the package that is imported.

    PYTHONPATH=<checkout>/src python tests/compatibility/make_fixtures.py                   # all of them, anew
    PYTHONPATH=<checkout>/src python tests/compatibility/make_fixtures.py --environment     # one more environment
    PYTHONPATH=<checkout>/src python tests/compatibility/make_fixtures.py --results         # what fits give from now on

Run it with the version whose artifacts are to be read for ever after. The second form adds what a fit gives with the
packages and the processor at hand to `recorded.json`; it is to be run with a version that passes where it is recorded
already. The third is for a version that is meant to give something else: its results take the place of the former. The
saved predictors and the checkpoints stay as they are, with the results of the runs that these are of.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from unittest import mock

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from fixture_cases import (
    BACKBONES,
    CASES,
    STEP,
    STORED,
    file_name,
    fit_case,
    labelled_rows,
    new_rows,
    write_backbones,
)
from recorded import FIXTURES, RECORD, differences, environment, measure, predictions, scores, where_images_are

import thermocline


class Stopped(BaseException):
    """Ends a run as a signal would."""


def main(*, environment_only: bool, results_only: bool = False) -> None:
    torch.set_num_threads(1)
    FIXTURES.mkdir(exist_ok=True)
    environment_only |= results_only
    record = json.loads(RECORD.read_text(encoding="utf-8")) if environment_only else {"environments": []}
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            if environment_only:
                shutil.unpack_archive(FIXTURES / "backbones.zip", ".")
            else:
                write_backbones()
                pack(FIXTURES / "backbones.zip", [BACKBONES])
            if results_only:
                record["environments"] = []
            _add_environment(record)
            if not environment_only:
                record["saved_in"] = record["environments"][0]["environment"]
                record["then"] = {name: record["environments"][0]["runs"][name] for name in STORED}
                record["saved"] = {name: _store(name) for name in STORED}
        finally:
            os.chdir(home)
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _add_environment(record: dict) -> None:
    """Fit every case, and write down what comes out."""
    now = environment()
    runs = {}
    for name in CASES:
        path = Path("runs") / file_name(name).removesuffix(".zip")
        predictor = fit_case(name, path)
        runs[name] = measure(predictor, new_rows(name), path)
        sys.stdout.write(f"{name}: {runs[name]['weights'][:12]}\n")
    hashes = {run["weights"] for run in runs.values()}
    assert len(hashes) == len(runs), "two cases end alike: tuning validated worse, and the probe was kept"
    kept = [one for one in record["environments"] if differences(one["environment"], now)]
    record["environments"] = [*kept, {"version": thermocline.__version__, "environment": now, "runs": runs}]


def _store(name: str) -> dict:
    """Store a case's saved predictor and a checkpoint of it, and return what the predictor gives once loaded."""
    saved = Path("runs") / file_name(name).removesuffix(".zip")
    stopped = stop(name, Path("stopped"))
    place = Path("stored")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    shutil.copytree(saved, place / "saved")
    shutil.copytree(stopped, place / "run-checkpoints")
    os.chdir(place)
    try:
        pack(FIXTURES / file_name(name), [Path("saved"), Path("run-checkpoints")])
    finally:
        os.chdir("..")
    predictor = thermocline.Predictor.load(saved, verbosity=0)
    told = predictions(predictor, new_rows(name))
    return {
        "problem_type": predictor.problem_type,
        **told,
        "scores": predictor.evaluate(labelled_rows(name, told), image_folder=where_images_are(predictor)),
        "history": scores(predictor),
    }


def stop(name: str, folder: Path) -> Path:
    """Fit a case until its first checkpoint behind step 0 is written, and return the folder of checkpoints."""
    rename = Path.rename

    def stopping(self: Path, target: Path) -> Path:
        done = rename(self, target)
        if Path(target).name == f"step-{STEP:09d}":
            raise Stopped
        return done

    shutil.rmtree(folder, ignore_errors=True)
    with mock.patch.object(Path, "rename", stopping):
        try:
            fit_case(name, folder / "run")
        except Stopped:
            pass
        else:
            raise RuntimeError(f"{name} was not stopped")
    checkpoints = folder / "run-checkpoints"
    shutil.rmtree(checkpoints / f"step-{0:09d}")
    assert [one.name for one in checkpoints.iterdir()] == [f"step-{STEP:09d}"], list(checkpoints.iterdir())
    return checkpoints


def pack(target: Path, folders: list[Path]) -> None:
    """Write folders into a zip file whose bytes do not depend on the time; no file may name a path of this machine."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for one in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
            content = one.read_bytes()
            for private in (tempfile.gettempdir(), str(Path.home()), str(FIXTURES.parents[2])):
                assert private == "/" or private.encode() not in content, (one, private)
            file.writestr(zipfile.ZipInfo(one.as_posix()), content, zipfile.ZIP_DEFLATED, 9)
    sys.stdout.write(f"{target.name}: {target.stat().st_size // 1024} kB\n")


if __name__ == "__main__":
    main(environment_only="--environment" in sys.argv[1:], results_only="--results" in sys.argv[1:])
