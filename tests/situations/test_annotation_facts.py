"""What annotation files say besides boxes is compared with the pictures, and rows of one picture with each other."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from support.tiny import told
from thermocline.config import resolve
from thermocline.contracts.labelled import Reading
from thermocline.contracts.request import Request
from thermocline.data.columns import Column, Columns
from thermocline.errors import DataError, LabelError, ThermoclineWarning
from thermocline.pipeline.prepare import prepare
from thermocline.problems.object_detection.class_names import check_alike
from thermocline.problems.object_detection.problem import ObjectDetection
from thermocline.problems.object_detection.split import split_boxes

SIDES = (60, 40)
NAMES = tuple(f"{letter}.png" for letter in "abcdefgh")
OPTIONS = {
    "model.detector.checkpoint": "rt_detr",
    "model.detector.pretrained": False,
    "env.device": "cpu",
}


def pictures(folder, names=NAMES, size=SIDES, **options):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size, (30 * number, 9, 9)).save(folder / name, **options)
    return folder


def coco(folder, *, size=SIDES, names=NAMES, boxes=None, classes=("red",), **changes):
    """A COCO file beside its pictures: a box an image, of the classes in turn."""
    boxes = [[5, 5, 20, 20]] * len(names) if boxes is None else boxes
    data = {
        "images": [{"id": n, "file_name": name, "width": size[0], "height": size[1]} for n, name in enumerate(names)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": n % len(classes), "bbox": box} for n, box in enumerate(boxes)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(classes)],
    } | changes
    (folder / "boxes.json").write_text(json.dumps({key: value for key, value in data.items() if value is not None}))
    return folder / "boxes.json"


def voc(folder, *, size=SIDES, names=NAMES):
    (folder / "Annotations").mkdir(parents=True)
    pictures(folder / "JPEGImages", names)
    box = "<bndbox><xmin>5</xmin><ymin>5</ymin><xmax>25</xmax><ymax>25</ymax></bndbox>"
    for name in names:
        (folder / "Annotations" / name.replace("png", "xml")).write_text(
            f"<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
            f"<object><name>red</name>{box}</object></annotation>"
        )
    return folder


def frame_of(folder, names, boxes, **columns):
    return pd.DataFrame({"file": [str(folder / name) for name in names], "rois": boxes, **columns})


def prepared(data, tuning=None, **options):
    request = Request(data, "rois", tuning, "object_detection", hyperparameters={**OPTIONS, **options}, training=False)
    return prepare(request)


def read(data, purpose, column="file"):
    columns = Columns((Column(column, "image"),))
    return ObjectDetection().read(data, Reading("data", purpose, Request(data, "rois"), resolve(None, {}), columns))


def refused(call) -> str:
    return told(LabelError, ValueError, call)


# -- the size of images


@pytest.mark.parametrize("make", [coco, voc])
def test_sizes_that_are_not_those_of_the_files(make, tmp_path):
    pictures(tmp_path)
    data = make(tmp_path / "x" if make is voc else tmp_path, size=(120, 80))
    for call in (lambda: prepared(data), lambda: read(data, "score")):
        message = refused(call)
        assert "8 of 8 images" in message
        assert "a.png, 120 × 80 in the annotations, 60 × 40 in the file" in message
        assert "and 5 more" in message
        assert "resized copies" in message
    assert len(read(data, "predict")) == 8  # no boxes, nothing to compare


def test_a_size_shows_before_the_boxes_that_it_displaces(tmp_path):
    pictures(tmp_path)
    data = coco(tmp_path, size=(600, 400), boxes=[[300, 200, 100, 100]] * 8)
    assert "600 × 400 in the annotations, 60 × 40 in the file" in refused(lambda: prepared(data))


def test_pictures_that_exif_turns(tmp_path):
    """Pictures and boxes are in upright pixels; a size of the picture as it is stored says that boxes are not."""
    exif = Image.Exif()
    exif[0x0112] = 6
    names = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    pictures(tmp_path, names, exif=exif)
    upright = coco(tmp_path, names=names, size=(40, 60), boxes=[[5, 30, 20, 29]] * 4)
    found = read(upright, "score")
    np.testing.assert_array_equal(found.labels.sizes, [[60, 40]] * 4)
    np.testing.assert_array_equal(found.labels.boxes[0], [[5, 30, 25, 59]])
    message = refused(lambda: read(coco(tmp_path, names=names), "score"))
    assert "60 × 40 in the annotations, 40 × 60 in the file" in message
    assert "upright, as their EXIF orientation says" in message
    assert "exiftool" in message


@pytest.mark.parametrize("size", [(0, 0), (None, None), ("", "x"), (61, 39), ("60", "40")])
def test_sizes_that_say_nothing_else(size, tmp_path):
    pictures(tmp_path)
    assert len(read(coco(tmp_path, size=size), "score")) == 8
    assert len(read(voc(tmp_path / "voc", size=size), "score")) == 8


def test_frames_may_say_sizes_too(tmp_path):
    frame = frame_of(pictures(tmp_path), ["a.png", "b.png"], [[[5, 5, 9, 9, "red"]]] * 2)
    assert len(read(frame.assign(rois_image_size=[SIDES, None]), "score")) == 2
    assert "row 1: " in refused(lambda: read(frame.assign(rois_image_size=[SIDES, (40, 60)]), "score"))


def test_columns_of_a_table_that_say_sizes(tmp_path):
    frame = frame_of(pictures(tmp_path), ["a.png", "b.png"], [[[5, 5, 9, 9, "red"]]] * 2)
    with pytest.warns(ThermoclineWarning, match=r"1 of 2 images .*'width' and 'height' say.*row 1: .*b.png, 6 × 4 in"):
        read(frame.assign(width=[60, 6], height=[40, 4]), "score")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(frame.assign(width=[60, np.nan], height=[40.0, 5]), "score")
        read(frame.assign(width=[5, 5]), "score")


# -- shares in place of pixels


@pytest.mark.parametrize("box", [[0.1, 0.2, 0.5, 0.9], [0, 0, 1, 1]])
def test_boxes_that_all_lie_inside_one_pixel(box, tmp_path):
    folder = pictures(tmp_path)
    frame = frame_of(folder, NAMES, [[[*box, "red"]]] * 8)
    for call in (lambda: prepared(frame), lambda: read(frame, "score")):
        with pytest.warns(ThermoclineWarning, match=r"8 boxes that all lie inside 1 × 1 pixel. If they are shares of"):
            call()
    frame["rois"] = [[[*box, "red"]], [[*box, "red"], [0, 0, 20, 20, "red"]], *[[]] * 6]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(frame)


def test_shares_with_a_centre_are_told_as_such(tmp_path):
    frame = frame_of(pictures(tmp_path), ["a.png", "b.png"], [[[0.7, 0.6, 0.2, 0.3, "red"]]] * 2)
    message = refused(lambda: prepared(frame))
    assert "2 inverted" in message
    assert "YOLO files have the centre" in message


# -- names of classes


ALIKE = {
    "a space behind": ("red", "red "),
    "two spaces": ("light red", "light  red"),
    "a space that does not break": ("light red", "light\u00a0red"),
    "a space without width": ("red", "red\u200b"),
    "letters in two encodings": ("caf\u00e9", "cafe\u0301"),
}


@pytest.mark.parametrize("names", ALIKE.values(), ids=ALIKE)
def test_names_that_look_the_same(names, tmp_path):
    pictures(tmp_path)
    message = refused(lambda: prepared(coco(tmp_path, classes=names)))
    assert "differ only in spaces or invisible characters" in message
    assert " and " in message
    frame = frame_of(tmp_path, ["a.png", "b.png"], [[[5, 5, 9, 9, name]] for name in names])
    assert message == refused(lambda: prepared(frame))


def test_names_that_differ_in_capitals(tmp_path):
    pictures(tmp_path)
    with pytest.warns(ThermoclineWarning, match="differ only in capitals: 'Red' and 'red'"):
        prepared(coco(tmp_path, classes=("Red", "red")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_alike(["a", "A", 1, 2, "red", "reed"], "Label 'rois'")  # letters, as text in pictures has them


# -- one picture twice


def two_ids(folder, **options):
    """A COCO file that lists a file under two ids."""
    pictures(folder)
    return coco(folder, names=("a.png", "b.png", "./a.png", "c.png", "d.png"), **options)


def test_one_file_under_two_ids(tmp_path):
    other = [[5, 5, 20, 20], [5, 5, 20, 20], [1, 1, 9, 9], [5, 5, 20, 20]]
    said = "1 row of train_data has the picture of an earlier row and other boxes: './a.png' in row 0 and row 2"
    message = refused(lambda: prepared(two_ids(tmp_path, boxes=other)))
    assert said in message
    assert "several ids" in message
    assert "of data has the picture" in refused(lambda: read(tmp_path / "boxes.json", "score"))
    assert len(read(tmp_path / "boxes.json", "predict")) == 5


@pytest.mark.parametrize("seed", range(3))
def test_rows_of_one_picture_stay_together(seed, tmp_path):
    (pictures(tmp_path) / "link.png").symlink_to(tmp_path / "a.png")
    names = ["a.png", "b.png", "link.png", "c.png", "a.png", "d.png", "e.png", "f.png"]
    frame = frame_of(tmp_path, names, [[[5, 5, 9, 9, "red"]]] * 8)
    request = Request(frame, "rois", None, "object_detection", hyperparameters=OPTIONS, seed=seed, training=False)
    made = prepare(request)
    parts = [{name.replace("link", "a") for name in part.frame["file"]} for part in (made.train, made.valid)]
    assert not parts[0] & parts[1]
    assert len(made.train) + len(made.valid) == 8
    assert any("of 6 pictures, the rows of each kept together" in note for note in made.notes)
    one = frame_of(tmp_path, ["a.png", "link.png", "a.png"], [[[5, 5, 9, 9, "red"]]] * 3)
    assert "boxes of 1 image, in 3 rows" in refused(lambda: prepared(one))


def test_the_split_of_pictures_that_come_once_is_what_it_was():
    labels = [["a"], ["b"], ["a", "b"], [], ["a"], ["b"], []] * 5
    plain, keyed = (split_boxes(labels, 0.3, seed=2, pictures=keys) for keys in ((), tuple("x" * n for n in range(35))))
    assert all(np.array_equal(left, right) for left, right in zip(plain, keyed, strict=True))


def test_a_picture_to_train_on_and_to_validate_on(tmp_path):
    pictures(tmp_path)
    train = frame_of(tmp_path, NAMES[:5], [[[5, 5, 9, 9, "red"]]] * 5)
    valid = frame_of(tmp_path, ["h.png", "c.png"], [[[5, 5, 9, 9, "red"]]] * 2)
    with pytest.warns(ThermoclineWarning, match=r"1 of 2 pictures of tuning_data is in train_data too: row 1 of tun"):
        prepared(train, valid)
    valid["rois"] = [[[5, 5, 9, 9, "red"]], [[6, 6, 9, 9, "red"]]]
    message = refused(lambda: prepared(train, valid))
    assert "in train_data too, with other boxes: row 1 of tuning_data and row 2 of train_data" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(train, valid.iloc[:1])


def test_tuning_data_that_were_given_the_folder_of_the_training_data(tmp_path):
    """Their pictures have the same names, and nobody said where they lie: the boxes tell."""
    pictures(tmp_path / "train")
    coco(tmp_path / "train")
    (tmp_path / "valid").mkdir()
    valid = coco(tmp_path / "valid", boxes=[[9, 9, 30, 30]] * 8)
    options = {"data.image_folder": str(tmp_path / "train")}
    message = refused(lambda: prepared(tmp_path / "train" / "boxes.json", valid, **options))
    assert "8 of 8 pictures of tuning_data are in train_data too, with other boxes" in message
    assert f"Relative paths of tuning_data start at '{tmp_path / 'train'}'" in message


# -- files without annotations


@pytest.mark.parametrize(
    "parts", [{"annotations": None, "categories": None}, {"annotations": []}, {"categories": None}, {"annotations": 5}]
)
def test_images_alone_are_enough_to_predict(parts, tmp_path):
    pictures(tmp_path)
    data = coco(tmp_path, **parts)
    found = read(data, "predict")
    assert found.frame["file"].tolist() == list(NAMES)
    assert found.frame.index.tolist() == list(range(8))
    if parts != {"annotations": []}:
        for call in (lambda: read(data, "score"), lambda: prepared(data)):
            message = told(DataError, ValueError, call)
            assert "lacks the list" in message
            assert "Images alone are enough to predict" in message


def test_voc_splits_without_annotations(tmp_path):
    root = voc(tmp_path)
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "test.txt").write_text("x\ny\n")
    pictures(root / "JPEGImages", ("x.png", "y.png"))
    found = read(root / "ImageSets" / "test.txt", "predict")
    assert found.frame["file"].tolist() == ["x.png", "y.png"]
    assert "x.xml: no such file" in told(DataError, ValueError, lambda: read(root / "ImageSets" / "test.txt", "score"))


def test_files_that_windows_wrote(tmp_path):
    pictures(tmp_path / "img")
    data = coco(tmp_path, names=("img\\a.png", "img\\b.png", "img\\c.png", "img\\d.png"))
    data.write_text(data.read_text(), encoding="utf-8-sig")
    assert read(data, "score").folder == tmp_path
