"""Which folder relative file names start at: one for each source of data, its own first, and none of the training's."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from support.shapes import write_coco, write_shapes, write_voc
from support.tiny import TINY, make_table, told, write_images
from thermocline import Predictor, cli
from thermocline.config import resolve
from thermocline.contracts.labelled import Reading
from thermocline.contracts.request import Request
from thermocline.data.columns import Column, Columns
from thermocline.data.roots import Roots
from thermocline.errors import ConfigError, ImageReadError, ThermoclineWarning
from thermocline.pipeline.prepare import prepare
from thermocline.problems.object_detection.problem import ObjectDetection

ROWS = 12
USES = ["predict", "predict_proba", "evaluate", "embed"]
IMAGE = {"model.image.checkpoint": "test_resnet", "model.image.pretrained": False, "env.device": "cpu"}


def write_table(folder, rows=ROWS, seed=0):
    """A CSV with its images in `img/` beside it."""
    frame = write_images(folder / "img", rows, seed)
    frame["img"] = "img/" + frame["img"]
    frame.to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


def absolute(table):
    """The rows of a table with absolute paths."""
    frame = pd.read_csv(table)
    frame["img"] = [str(table.parent / name) for name in frame["img"]]
    return frame


@pytest.fixture(scope="module")
def trained(tmp_path_factory, image_folder):
    """A predictor whose fit was told a folder of images, and where it was saved."""
    place = tmp_path_factory.mktemp("trained")
    table = write_table(place / "train")
    options = {**TINY, "optim.max_epochs": 1, "model.image.checkpoint": str(image_folder)}
    options |= {"data.image_folder": str(table.parent), "model.image.augment": "none"}
    predictor = Predictor("y", path=place / "model", verbosity=0)
    return predictor.fit(pd.read_csv(table), hyperparameters=options), place


@pytest.fixture
def test_table(tmp_path):
    """Other images under the same names, in a folder of their own."""
    return write_table(tmp_path / "test", seed=5)


def images_of(table, tuning=None, **options):
    """Which files a fit would read: of training and validation rows."""
    options = {**IMAGE, **options}
    made = prepare(Request(table, "y", tuning_data=tuning, hyperparameters=options, training=False))
    return made.train.folder, made.valid.folder


def refused(call) -> str:
    return told(ImageReadError, OSError, call)


# -- what is predicted


@pytest.mark.parametrize("loaded", [False, True], ids=["fitted", "loaded"])
def test_a_table_brings_its_own_images(loaded, trained, test_table, monkeypatch):
    predictor, place = trained
    if loaded:
        predictor = Predictor.load(place / "model", verbosity=0)
    monkeypatch.chdir(place / "train")  # its images have the same names
    expected = absolute(test_table)
    for use in USES:
        found, right = getattr(predictor, use)(str(test_table)), getattr(predictor, use)(expected)
        assert found == right if use == "evaluate" else np.array_equal(found, right)
    assert not np.array_equal(predictor.embed(test_table), predictor.embed(place / "train" / "rows.csv"))


def test_a_missing_file_is_not_taken_from_elsewhere(trained, test_table, monkeypatch):
    predictor, place = trained
    monkeypatch.chdir(place / "train")
    (test_table.parent / "img" / "3.png").unlink()
    for use in USES:
        message = refused(lambda use=use: getattr(predictor, use)(test_table))
        assert "1 of 12 rows of data names image files that are not there" in message
        assert f"11 below '{test_table.parent}' (the table's own folder)" in message
        assert f"12 below '{place / 'train'}' (the working folder)" in message
        assert f"Not below '{test_table.parent}': row 3: 'img/3.png'" in message
        assert "image_folder=" in message
        assert "--image-folder" in message


def test_the_folder_of_the_training_data_does_not_count(trained, tmp_path, monkeypatch):
    predictor, place = trained
    monkeypatch.chdir(tmp_path)
    frame = pd.read_csv(place / "train" / "rows.csv")
    message = refused(lambda: predictor.predict(frame))
    assert f"0 below '{tmp_path}' (the working folder). Not there: row 0: 'img/0.png'" in message
    assert str(place) not in message
    named = predictor.embed(frame, image_folder=place / "train")
    assert np.array_equal(named, predictor.embed(absolute(place / "train" / "rows.csv")))
    monkeypatch.chdir(place / "train")
    assert np.array_equal(named, predictor.embed(frame))


def test_a_folder_that_is_named_is_the_only_one(trained, test_table, tmp_path):
    predictor, place = trained
    expected = absolute(place / "train" / "rows.csv")
    for use in USES:
        found = getattr(predictor, use)(test_table, image_folder=str(place / "train"))
        right = getattr(predictor, use)(expected)
        assert found == right if use == "evaluate" else np.array_equal(found, right)
    (tmp_path / "empty").mkdir()
    message = refused(lambda: predictor.predict(test_table, image_folder=tmp_path / "empty"))
    assert f"0 below '{tmp_path / 'empty'}' (image_folder), 12 below '{test_table.parent}'" in message


def test_folders_that_cannot_be_named(trained, fitted_table, test_table, tmp_path):
    predictor, _ = trained
    for given, part in (
        (tmp_path / "no", "is no folder"),
        (5, "not 5"),
        ("", "names no folder"),
        (test_table, "is no folder"),
    ):
        message = told(ConfigError, ValueError, lambda given=given: predictor.predict(test_table, image_folder=given))
        assert "image_folder" in message
        assert part in message
    call = lambda: fitted_table.predict(make_table(4), image_folder=tmp_path)  # noqa: E731
    assert "trained on no column of images" in told(ConfigError, ValueError, call)


def test_the_command_line_names_it_too(trained, test_table, tmp_path, monkeypatch, capsys):
    _, place = trained
    monkeypatch.chdir(tmp_path)
    alone = tmp_path / "alone.csv"
    shutil.copy(test_table, alone)
    model = str(place / "model")
    assert cli.main(["predict", model, str(alone), "--proba"]) == 1
    assert "0 below" in capsys.readouterr().err
    assert cli.main(["predict", model, str(alone), "--proba", "--image-folder", "test"]) == 0
    named = capsys.readouterr().out
    assert cli.main(["predict", model, str(test_table), "--proba"]) == 0
    assert named == capsys.readouterr().out
    assert cli.main(["evaluate", model, str(alone), "--image-folder", "test", "--metrics", "accuracy"]) == 0


def test_a_link_to_a_table_is_looked_at_from_both_ends(test_table, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "rows.csv").symlink_to(test_table)
    assert images_of(tmp_path / "links" / "rows.csv") == (test_table.parent,) * 2
    write_images(tmp_path / "links" / "img", ROWS)
    assert images_of(tmp_path / "links" / "rows.csv") == (tmp_path / "links",) * 2


# -- training and tuning data


def test_tuning_data_have_their_own_folder(tmp_path, monkeypatch):
    train, valid = write_table(tmp_path / "train"), write_table(tmp_path / "valid", seed=5)
    for here in (tmp_path, train.parent, valid.parent):
        monkeypatch.chdir(here)
        assert images_of(train, valid) == (train.parent, valid.parent)
        named = {"data.image_folder": str(train.parent)}
        assert images_of(pd.read_csv(train), valid, **named) == (train.parent, valid.parent)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "valid.csv").write_bytes(valid.read_bytes())  # its images lie where the option says
    assert images_of(train, tmp_path / "valid.csv", **named) == (train.parent, train.parent)
    frame = pd.read_csv(valid)
    frame["y"] = [*frame["y"].iloc[1:], "red"]
    frame.to_csv(tmp_path / "other.csv", index=False)  # pictures of other labels under the same names
    with pytest.warns(ThermoclineWarning, match=r"All images of tuning_data are images of train_data too, 11 of 12"):
        images_of(train, tmp_path / "other.csv", **named)
    message = refused(lambda: images_of(train, tmp_path / "valid.csv"))
    assert message.startswith("12 of 12 rows of tuning_data name image files that are not there")
    assert "beside the table of tuning_data or below data.image_folder" in message


def test_training_data_without_a_table(tmp_path, monkeypatch):
    table = write_table(tmp_path / "train")
    frame = pd.read_csv(table)
    monkeypatch.chdir(table.parent)
    assert images_of(frame) == (table.parent,) * 2
    monkeypatch.chdir(tmp_path)
    assert images_of(frame, **{"data.image_folder": "train"}) == (table.parent,) * 2
    message = refused(lambda: images_of(frame, **{"data.image_folder": "trian"}))
    assert f"0 below '{tmp_path / 'trian'}' (data.image_folder, which is no folder)" in message
    assert "Name their folder with data.image_folder" in message


def test_a_few_files_may_be_nowhere_but_not_elsewhere(tmp_path, monkeypatch):
    table = write_table(tmp_path / "train", rows=40)
    (table.parent / "img" / "3.png").unlink()
    with pytest.warns(ThermoclineWarning, match=r"1 of 40 rows .*img/3\.png: no such file"):
        assert images_of(table) == (table.parent,) * 2
    write_table(tmp_path / "other", rows=40, seed=5)
    monkeypatch.chdir(tmp_path / "other")
    message = refused(lambda: images_of(table))
    assert f"39 below '{table.parent}'" in message
    assert f"40 below '{tmp_path / 'other'}'" in message


def test_cells_that_are_no_relative_paths_need_no_folder(tmp_path):
    index = pd.RangeIndex(2)
    assert Roots().find([[], []], index, what="data") is None
    assert Roots.of_use(tmp_path).find([[], []], index, what="data") is None


# -- annotation files


def detection_folder(data, *, purpose="predict", image_folder=None):
    """The folder that images of detection data are read from."""
    columns = Columns((Column("file", "image"),))
    reading = Reading("data", purpose, Request(data, "rois"), resolve(None, {}), columns, Roots.of_use(image_folder))
    return ObjectDetection().read(data, reading).folder


LAYOUTS = {
    "beside": ("train/_annotations.coco.json", "train"),
    "year": ("annotations/instances_train2017.json", "train2017"),
    "split": ("annotations/instances_train.json", "train"),
    "split without its year": ("annotations/instances_train.json", "train2017"),
    "another word for it": ("annotations/val.json", "valid"),
    "images": ("annotations/instances_train.json", "images"),
    "images by split": ("annotations/instances_train.json", "images/train"),
    "annotations by split": ("annotations/train/boxes.json", "images/train"),
    "subfolder": ("train/labels.json", "train/images"),
    "FiftyOne": ("labels.json", "data"),
    "all on top": ("train.json", "train"),
}


@pytest.mark.parametrize(("file", "images"), LAYOUTS.values(), ids=LAYOUTS)
def test_coco_layouts(file, images, tmp_path, monkeypatch):
    root, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    frame = write_shapes(root / images, rows=3)
    for name in ("val2017", "images/test", "valid2"):  # the same names in other splits
        if name.rstrip("0123456789") not in images:
            write_shapes(root / name, rows=3, seed=2)
    write_shapes(elsewhere, rows=3, seed=3)
    monkeypatch.chdir(elsewhere)
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    write_coco(frame, root / file)
    assert detection_folder(root / file) == root / images
    assert detection_folder(root / file, purpose="score") == root / images
    assert detection_folder(root / file, image_folder=elsewhere) == elsewhere


def test_voc_folders(tmp_path, monkeypatch):
    frame = write_shapes(tmp_path / "shapes", rows=3)
    voc = write_voc(frame, tmp_path / "voc", tmp_path / "shapes")
    monkeypatch.chdir(tmp_path / "shapes")  # the same names
    assert detection_folder(voc) == voc / "JPEGImages"
    (voc / "ImageSets" / "Main").mkdir(parents=True)
    split = voc / "ImageSets" / "Main" / "val.txt"
    split.write_text("0\n2\n")
    assert detection_folder(split) == voc / "JPEGImages"
    assert detection_folder(voc, image_folder=tmp_path / "shapes") == tmp_path / "shapes"
    (voc / "JPEGImages" / "2.png").unlink()
    message = refused(lambda: detection_folder(split))
    assert f"1 below '{voc / 'JPEGImages'}' (where VOC folders have images)" in message
    assert "row 1 (index '2'): '2.png'" in message


def test_voc_names_are_found_in_the_folder_that_is_named(tmp_path):
    (tmp_path / "voc" / "Annotations").mkdir(parents=True)
    xml = "<annotation><filename>C:\\x\\a.jpg</filename></annotation>"
    (tmp_path / "voc" / "Annotations" / "a.xml").write_text(xml)
    (tmp_path / "pngs").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pngs" / "a.png")
    assert detection_folder(tmp_path / "voc", image_folder=tmp_path / "pngs") == tmp_path / "pngs"
    assert "a.jpg" in refused(lambda: detection_folder(tmp_path / "voc"))


def test_the_annotations_of_one_split_are_not_scored_on_the_images_of_another(tmp_path, monkeypatch):
    for seed, split in enumerate(["train", "valid"]):
        frame = write_shapes(tmp_path / split, rows=3, seed=seed)
        write_coco(frame, tmp_path / split / "_annotations.coco.json")
    monkeypatch.chdir(tmp_path / "train")
    (tmp_path / "valid" / "1.png").unlink()
    file = tmp_path / "valid" / "_annotations.coco.json"
    message = refused(lambda: detection_folder(file, purpose="score"))
    assert f"2 below '{tmp_path / 'valid'}'" in message
    assert f"3 below '{tmp_path / 'train'}' (the working folder)" in message
    data = json.loads(file.read_text())
    data["images"] = [one for one in data["images"] if one["id"] != 1]
    data["annotations"] = [one for one in data["annotations"] if one["image_id"] != 1]
    file.write_text(json.dumps(data))
    assert detection_folder(file, purpose="score") == tmp_path / "valid"
