"""Images that were replaced between the stop of a run and its resumption: another run, and the message names them."""

from __future__ import annotations

import os
import shutil

import pandas as pd
import pytest
from PIL import Image

from support.stopping import killed_before
from support.tiny import TINY, told, write_images
from thermocline import Predictor
from thermocline.data.batches import Rows
from thermocline.errors import ResumeError
from thermocline.inputs.image.rows import ImageRows
from thermocline.inputs.image.spec import ImageSpec
from thermocline.problems.object_detection.box_spec import DetectionSpec
from thermocline.problems.object_detection.rows import DetectionRows
from thermocline.training.file_facts import file_facts
from thermocline.training.run_identity import changes

SPEC = ImageSpec((32, 32), (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, image_folder):
    """What fits or resumes a run, and the folder of its images; the run was killed once."""
    place = tmp_path_factory.mktemp("stopped")
    frame = write_images(place / "images", 40)

    def job(resume=True, images=place / "images"):
        options = {**TINY, "model.image.checkpoint": str(image_folder), "model.image.augment": "none"}
        options |= {"data.image_folder": str(images), "env.checkpoint_every": 1, "env.batch_size": 8}
        return Predictor("y", path=place / "run", verbosity=0).fit(frame, hyperparameters=options, resume=resume)

    with killed_before(3):
        job(resume=False)
    return job, place / "images"


def refused(job) -> str:
    return told(ResumeError, ValueError, job)


def test_a_run_is_not_resumed_on_other_images(stopped, tmp_path):
    job, images = stopped
    copy = shutil.copytree(images, tmp_path / "moved")
    job_there = lambda: job(images=copy)  # noqa: E731
    kept = (copy / "3.png").read_bytes()

    Image.new("RGB", (50, 50)).save(copy / "3.png")
    message = refused(job_there)
    assert "The checkpoint of step 2" in message
    assert "files: size of " in message
    assert f"image '3.png': \"{len(kept):,} bytes\" then" in message
    assert "files: content of " in message
    assert len([line for line in message.splitlines() if "files: " in line]) == 2
    assert "'4.png'" not in message

    (copy / "3.png").write_bytes(kept[:-1] + b"x")  # of the same size
    message = refused(job_there)
    assert "files: content of " in message
    assert "size" not in message

    for row in range(40):
        Image.new("L", (9, 9)).save(copy / f"{row}.png")
    message = refused(job_there)
    assert "model.image.size: 96 then, 64 now" in message  # chosen from the images
    assert "files: size of training image '" in message
    assert "and 69 more" in message
    assert len(message.splitlines()) < 16

    shutil.copytree(images, copy, dirs_exist_ok=True)  # moved, and written anew: the same run
    os.utime(copy / "3.png", (1, 1))
    assert job_there().history["note"].str.contains("resumed at step 2").any()

    Image.new("RGB", (50, 50)).save(copy / "3.png")  # a run that has ended is compared too
    assert "The run that ended" in refused(job_there)


def facts_of(folder, names, make=None):
    make = make or (lambda: ImageRows(tuple((name,) for name in names), folder, SPEC))
    return file_facts(Rows({"image": make()}), "training")


def test_of_many_files_a_few_are_named(tmp_path):
    names = [f"{number}.png" for number in range(1000)]
    for name in names:
        (tmp_path / name).write_bytes(b"12345678")
    before = facts_of(tmp_path, names)
    assert len(before) == 264
    (tmp_path / "502.png").write_bytes(b"123456789")
    (found,) = changes(before, facts_of(tmp_path, names))
    assert found == "files: size of training image '500.png' to '504.png' (5 files)"
    (tmp_path / "502.png").write_bytes(b"12345678")
    (tmp_path / "999.png").write_bytes(b"87654321")
    (found,) = changes(before, facts_of(tmp_path, names))
    assert found == "files: content of training image '999.png'"
    (tmp_path / "999.png").unlink()
    assert "absent" in str(changes(before, facts_of(tmp_path, names)))


def test_two_files_that_change_places(tmp_path):
    names = [f"{number}.png" for number in range(1000)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(b"1" * (number + 1))
    before = facts_of(tmp_path, names)
    (tmp_path / "501.png").write_bytes(b"1" * 503)
    (tmp_path / "502.png").write_bytes(b"1" * 502)
    assert "files: size of training image '500.png' to '504.png' (5 files)" in changes(
        before, facts_of(tmp_path, names)
    )


def test_images_of_detectors_and_images_that_are_no_files(tmp_path):
    frame = write_images(tmp_path, 3)
    spec = DetectionSpec((64, 64))
    facts = facts_of(tmp_path, [], lambda: DetectionRows.of(frame["img"], tmp_path, spec))
    assert set(facts) == {
        f"files: {fact} of training image '{n}.png'" for fact in ("size", "content") for n in range(3)
    }
    cells = pd.Series([(tmp_path / "0.png").read_bytes(), None, Image.new("L", (2, 2))], dtype=object)
    assert facts_of(tmp_path, [], lambda: DetectionRows.of(cells, tmp_path, spec)) == {}


def test_checkpoints_of_versions_that_did_not_know_it_resume(tmp_path):
    facts = facts_of(tmp_path, write_images(tmp_path, 3)["img"])
    assert changes({}, facts) == changes(facts, {}) == {}
