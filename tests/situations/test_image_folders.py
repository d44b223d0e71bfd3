"""Images brought as files: a folder by class, a glob, a list, one file."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from support.tiny import TINY, told
from thermocline import Predictor
from thermocline.cli import main
from thermocline.data.image_files import Naming, image_files
from thermocline.errors import DataError, ImageReadError, MissingColumnError
from thermocline.problems.rowwise.target import RowTarget

BY_CLASS = Naming("label", "image", what="train_data")
PLAIN = Naming(None, "image")


def write(folder: Path, *names: str) -> Path:
    """Image files whose colour is that of their class, and empty files of other names."""
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".png", ".ppm", ".jpg"):
            pixels = rng.integers(0, 90, (12, 12, 3), dtype=np.uint8)
            pixels[..., 0 if "cat" in name else 2] += 150
            Image.fromarray(pixels).save(path)
        else:
            path.write_bytes(b"")
    return folder


def pets(folder: Path, each: int = 8) -> Path:
    return write(folder, *(f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(each)))


# -- what is found ---------------------------------------------------------------------------------


def test_a_folder_by_class(tmp_path: Path):
    write(tmp_path, "dog/b.png", "dog/deep/a.ppm", "cat/c.png", "cat/._c.png", "cat/Thumbs.db", ".cache/x.png")
    write(tmp_path, "top.png", "empty/.keep", "dog/.ipynb_checkpoints/b.png")
    found = image_files(str(tmp_path) + "/", BY_CLASS)
    assert found.frame["image"].tolist() == ["cat/c.png", "dog/b.png", "dog/deep/a.ppm"]
    assert found.frame["label"].tolist() == ["cat", "dog", "dog"]
    assert found.frame.index.tolist() == found.frame["image"].tolist()
    assert found.folder == tmp_path.resolve()
    assert found.notes == (
        "train_data: left out 1 file that is no image, 4 hidden files and folders, 1 image in no class folder",
        "class folders without images: 'empty'",
    )


def test_a_folder_to_predict_needs_no_classes(tmp_path: Path):
    write(tmp_path, "b.png", "a.jpg", "more/c.png", "notes.txt")
    found = image_files(tmp_path, PLAIN)
    assert found.frame["image"].tolist() == ["a.jpg", "b.png", "more/c.png"]
    assert list(found.frame) == ["image"]
    assert found.notes == ("data: left out 1 file that is no image",)


@pytest.mark.parametrize("pattern", ["*/*.png", "*/*", "**/*.png", "[cd]*/?.png"])
def test_a_glob(tmp_path: Path, pattern: str, monkeypatch):
    write(tmp_path, "cat/1.png", "dog/2.png")
    found = image_files(str(tmp_path / pattern), BY_CLASS)
    assert found.frame.to_dict("list") == {"image": ["cat/1.png", "dog/2.png"], "label": ["cat", "dog"]}
    monkeypatch.chdir(tmp_path.parent)
    again = image_files(Path(tmp_path.name) / pattern, BY_CLASS)
    assert again.frame.equals(found.frame)
    assert again.folder == found.folder


def test_a_folder_of_a_name_with_brackets_is_no_glob(tmp_path: Path):
    folder = write(tmp_path / "set[1]", "cat/1.png", "dog/2.png")
    assert len(image_files(folder, BY_CLASS).frame) == 2


def test_class_folders_may_be_links(tmp_path: Path):
    write(tmp_path / "real", "1.png")
    write(tmp_path / "set", "dog/1.png")
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "real")
    assert image_files(tmp_path / "set", BY_CLASS).frame["label"].tolist() == ["cat", "dog"]


def test_lists_and_single_images(tmp_path: Path):
    picture = Image.new("RGB", (4, 4))
    assert image_files(["a.png", Path("b.jpg")], PLAIN).frame["image"].tolist() == ["a.png", Path("b.jpg")]
    assert image_files((picture, np.zeros((9, 9), np.uint8)), PLAIN).frame.shape == (2, 1)
    assert image_files(picture, PLAIN).frame["image"].tolist() == [picture]
    one = image_files(write(tmp_path, "x.png") / "x.png", PLAIN)
    assert (one.frame["image"].tolist(), one.folder) == (["x.png"], tmp_path.resolve())
    for other in (["good", "bad"], [1, 2], [], "data.csv", {"a": [1]}, pd.DataFrame({"a": [1]}), [{"image": "a.png"}]):
        assert image_files(other, PLAIN) is None


def test_numbers_as_names_of_classes_are_classes(tmp_path: Path):
    write(tmp_path, *(f"{n}/{k}.png" for n in range(1, 25) for k in range(2)))
    frame = image_files(tmp_path, BY_CLASS).frame
    target = RowTarget.of(frame, "label")
    assert (target.problem_type, len(target.classes)) == ("multiclass", 24)
    frame = image_files(tmp_path, Naming("label", "image", categories=False)).frame
    assert RowTarget.of(frame, "label", "regression").problem_type == "regression"


# -- what cannot be used ---------------------------------------------------------------------------


def fault(data: object, naming: Naming = BY_CLASS) -> str:
    return told(DataError, ValueError, lambda: image_files(data, naming))


def test_nothing_to_read(tmp_path: Path):
    assert f"the folder {str(tmp_path)!r} holds no image files (there are no files)" in fault(tmp_path)
    write(tmp_path, "a.txt", "train.csv")
    message = fault(tmp_path, PLAIN)
    assert "holds no image files (2 files that are no images)" in message
    assert "It holds 'train.csv': pass the path of that file." in message
    message = fault(str(tmp_path / "*" / "*.png"))
    assert "matches no image files (there are no files)" in message
    write(tmp_path, "cat/1.png")
    assert "1 folder matches; add '/*' for the files in them" in fault(str(tmp_path / "c*"))


def test_images_without_folders_by_class(tmp_path: Path):
    message = fault(write(tmp_path, "a.png", "b.png"))
    assert "train_data: the folder" in message
    assert "holds images, but no folders by class" in message
    assert "It holds 'labels.csv': pass the path of that file." in fault(write(tmp_path, "labels.csv"))


def test_folders_of_splits_are_no_classes(tmp_path: Path):
    write(tmp_path, "train/cat/1.png", "val/cat/2.png", "train/dog/1.png")
    message = fault(tmp_path)
    assert "the folders 'train', 'val'" in message
    assert "are splits, not classes" in message
    assert f"such as {str(tmp_path / 'train')!r}, and to fit another as tuning_data" in message
    assert len(image_files(tmp_path / "train", BY_CLASS).frame) == 2


def test_one_folder_around_those_of_classes(tmp_path: Path):
    message = fault(write(tmp_path, "data/cat/1.png", "data/dog/1.png"))
    assert f"For the classes 'cat', 'dog' pass {str(tmp_path / 'data')!r}" in message


def test_a_folder_that_is_not_there(tmp_path: Path, make_predictor):
    pets(tmp_path / "pets", 1)
    message = told(DataError, ValueError, lambda: make_predictor("label").fit(tmp_path / "pet"))
    assert "'pet'" not in message
    assert "does not exist. Did you mean 'pets'?" in message


def test_lists_have_no_labels(tmp_path: Path, make_predictor):
    files = [str(path) for path in sorted(pets(tmp_path).glob("*/*.png"))]
    message = told(MissingColumnError, KeyError, lambda: make_predictor("label").fit(files))
    assert "'label'" in message


# -- a fit -----------------------------------------------------------------------------------------


def test_fit_to_a_folder_and_predict_files(tmp_path: Path, image_folder: Path, capsys):
    options = {**TINY, "optim.max_epochs": 1, "model.image.checkpoint": str(image_folder), "model.image.size": 32}
    write(pets(tmp_path / "pets"), "cat/notes.txt")
    predictor = Predictor("label", path=tmp_path / "model", verbosity=0)
    predictor.fit(tmp_path / "pets", str(tmp_path / "pets" / "*" / "[0-3].png"), hyperparameters=options)
    assert "train_data: left out 1 file that is no image" in " ".join(predictor.history["note"].dropna())

    by_folder = predictor.predict(tmp_path / "pets")
    assert by_folder.index.tolist()[:2] == ["cat/0.png", "cat/1.png"]
    assert set(by_folder) <= {"cat", "dog"}
    files = sorted((tmp_path / "pets").glob("*/*.png"))
    for data in (
        files,
        [str(file) for file in files],
        [Image.open(file) for file in files],
        str(tmp_path / "pets/*/*"),
    ):
        np.testing.assert_array_equal(predictor.predict_proba(data), predictor.predict_proba(tmp_path / "pets"))
    assert predictor.predict(files[0]).tolist() == by_folder.tolist()[:1]
    assert 0 <= predictor.evaluate(tmp_path / "pets")["accuracy"] <= 1

    shutil.move(tmp_path / "pets", tmp_path / "moved")
    loaded = Predictor.load(tmp_path / "model", verbosity=0)
    assert loaded.predict(tmp_path / "moved").tolist() == by_folder.tolist()
    message = told(ImageReadError, OSError, lambda: loaded.predict([tmp_path / "moved" / "gone.png"]))
    assert "gone.png: no such file" in message
    assert "which is not fetched" in told(ImageReadError, OSError, lambda: loaded.predict(["https://a.org/1.png"]))

    assert main(["predict", str(tmp_path / "model"), str(tmp_path / "moved"), "--out", str(tmp_path / "out.csv")]) == 0
    written = pd.read_csv(tmp_path / "out.csv")
    assert list(written) == ["file", "label"]
    assert written["file"].tolist() == by_folder.index.tolist()
