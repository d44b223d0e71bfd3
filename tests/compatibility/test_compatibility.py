"""What the version before the package was laid out anew wrote is read, and what it computed is computed, bit for bit.

`make_fixtures.py` made the fixtures with that version. What a fit computes today is recorded apart, since the probe
that heads start at has changed. Bits depend on the packages and the processor as well, so they are compared where these
are as recorded; a release of a dependency skips the comparison.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fixture_cases import CANVAS, CASES, STEP, STORED, file_name, fit_case, labelled_rows, new_rows
from recorded import (
    FIXTURES,
    RECORD,
    differences,
    environment,
    measure,
    predictions,
    recorded_in,
    scores,
    where_images_are,
)

from thermocline import LayerPlan, Predictor
from thermocline.errors import ResumeError

KINDS = STORED[:5]  # one stored case for each kind of frame
RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the backbones and, below their names, the stored cases."""
    folder = tmp_path_factory.mktemp("compatibility")
    shutil.unpack_archive(FIXTURES / "backbones.zip", folder)
    for name in STORED:
        shutil.unpack_archive(FIXTURES / file_name(name), folder / file_name(name).removesuffix(".zip"))
    return folder


@pytest.fixture(scope="module")
def now(place):
    """The environment of this test run."""
    with contextlib.chdir(place):
        return environment()


@pytest.fixture(autouse=True)
def inside(place, monkeypatch):
    """The paths in the fixtures are relative."""
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def whole(place):
    """Fit a case without a stop, once; return what is measured of it."""
    done = {}

    def fit(name):
        if name not in done:
            path = Path("whole") / file_name(name).removesuffix(".zip")
            done[name] = measure(fit_case(name, path), new_rows(name), path)
        return done[name]

    return fit


def stored(name: str) -> Path:
    return Path(file_name(name).removesuffix(".zip"))


def check_predictions(found: dict, recorded: dict) -> None:
    """Compare labels exactly, numbers to a hundred-thousandth; that of a box is of the image's side."""
    assert found["index"] == recorded["index"]
    kind = recorded["problem_type"]
    if kind == "object_detection":
        for ours, theirs in zip(found["predictions"], recorded["predictions"], strict=True):
            assert [one["label"] for one in ours] == [one["label"] for one in theirs]
            assert [one["score"] for one in ours] == pytest.approx([one["score"] for one in theirs], abs=1e-5)
            edges, known = (np.array([one["box"] for one in cell]) for cell in (ours, theirs))
            np.testing.assert_allclose(edges, known, rtol=0, atol=1e-5 * CANVAS)
    elif kind == "regression":
        assert found["predictions"] == pytest.approx(recorded["predictions"], rel=1e-5, abs=1e-5)
    else:
        assert found["predictions"] == recorded["predictions"]
        assert found["columns"] == recorded["columns"]
        np.testing.assert_allclose(found["probabilities"], recorded["probabilities"], rtol=0, atol=1e-5)


# what was saved


@pytest.mark.parametrize("name", STORED)
def test_a_saved_predictor_predicts_as_recorded(name):
    recorded = RECORDED["saved"][name]
    predictor = Predictor.load(stored(name) / "saved", verbosity=0)
    assert predictor.problem_type == recorded["problem_type"]
    check_predictions(predictions(predictor, new_rows(name)), recorded)
    scored = predictor.evaluate(labelled_rows(name, recorded), image_folder=where_images_are(predictor))
    assert scored == pytest.approx(recorded["scores"], abs=1e-5)
    assert scores(predictor) == recorded["history"]


@pytest.mark.parametrize("name", STORED)
def test_a_saved_predictor_shows_itself(name):
    predictor = Predictor.load(stored(name) / "saved", verbosity=0)
    assert predictor.problem_type in repr(predictor)
    for shown in (predictor.plan, predictor.columns, predictor.config):
        assert len(str(shown).splitlines()) > 1
        assert "<" in shown._repr_html_()
    assert "train_loss" in predictor.history.to_string()
    assert predictor.history.lrs is not None
    assert list(predictor.history.lrs.columns) == list(predictor.plan.labels)
    assert LayerPlan.from_json(predictor.plan.to_json()) == predictor.plan


@pytest.mark.parametrize("name", STORED)
def test_a_saved_predictor_is_saved_again(name, tmp_path):
    first = Predictor.load(stored(name) / "saved", verbosity=0)
    again = Predictor.load(first.save(tmp_path / "again"), verbosity=0)
    assert measure(again, new_rows(name), tmp_path / "again") == measure(first, new_rows(name), stored(name) / "saved")


@pytest.mark.parametrize("name", KINDS)
def test_a_run_that_ended_is_loaded_by_the_same_command(name, tmp_path):
    shutil.copytree(stored(name) / "saved", tmp_path / "run")
    kept = (tmp_path / "run" / "thermocline.json").read_bytes()
    predictor = fit_case(name, tmp_path / "run", resume=True)
    check_predictions(predictions(predictor, new_rows(name)), RECORDED["saved"][name])
    assert (tmp_path / "run" / "thermocline.json").read_bytes() == kept


# what was interrupted


@pytest.mark.parametrize("name", STORED)
def test_an_interrupted_run_is_resumed_to_the_end_that_it_had_then(name, tmp_path, now):
    shutil.copytree(stored(name) / "run-checkpoints", tmp_path / "run-checkpoints")
    state = json.loads((tmp_path / "run-checkpoints" / f"step-{STEP:09d}" / "state.json").read_text(encoding="utf-8"))
    predictor = fit_case(name, tmp_path / "run", resume=True)
    assert not (tmp_path / "run-checkpoints").exists()
    history = pd.DataFrame(predictor.history)
    seconds = [row["seconds"] for row in state["rows"]]
    assert history["seconds"].tolist()[: len(seconds)] == seconds  # it was not begun anew
    assert history["step"].tolist()[: len(seconds)] == [row["step"] for row in state["rows"]]
    resumed, never_stopped = measure(predictor, new_rows(name), tmp_path / "run"), RECORDED["then"][name]
    assert [row["step"] for row in resumed["history"]] == [row["step"] for row in never_stopped["history"]]
    if not differences(RECORDED["saved_in"], now):  # elsewhere the steps before the stop would end in other bits
        assert resumed == never_stopped


@pytest.mark.parametrize("name", ["table", "image"])
def test_a_checkpoint_of_another_run_is_still_refused(name, tmp_path):
    shutil.copytree(stored(name) / "run-checkpoints", tmp_path / "run-checkpoints")
    with pytest.raises(ResumeError, match=r"optim\.weight_decay: .* then, 0\.5 now") as caught:
        fit_case(name, tmp_path / "run", resume=True, **{"optim.weight_decay": 0.5})
    lines = [line for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert len(lines) == 1  # and nothing else differs
    assert (tmp_path / "run-checkpoints" / f"step-{STEP:09d}").is_dir()


# what was computed


@pytest.mark.parametrize("name", CASES)
def test_the_same_seed_gives_the_same_bits(name, now, whole):
    runs, why = recorded_in(now, RECORDED)
    if not runs:
        pytest.skip(why)
    found = whole(name)
    assert found["history"] == runs[name]["history"]
    assert found["weights"] == runs[name]["weights"]
    assert found["predictions"] == runs[name]["predictions"]
