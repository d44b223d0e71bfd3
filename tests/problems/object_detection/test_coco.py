"""COCO files as frames, and every id that points nowhere."""

import copy
import json
import warnings

import numpy as np
import pytest
from PIL import Image

from support.tiny import told
from thermocline.errors import DataError
from thermocline.problems.object_detection.boxes import read_boxes
from thermocline.problems.object_detection.coco import read_coco
from thermocline.problems.object_detection.options import BoxOptions

GOOD = {
    "images": [
        {"id": 7, "file_name": "a.png", "width": 40, "height": 30},
        {"id": 3, "file_name": "b.png"},
        {"id": 9, "file_name": "c.png"},
    ],
    "annotations": [
        {"id": 1, "image_id": 3, "category_id": 5, "bbox": [1, 2, 10, 20], "iscrowd": 0, "area": 200},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0.5, 0, 4, 4]},
        {"id": 3, "image_id": 3, "category_id": 2, "bbox": [0, 0, 30, 20], "iscrowd": 1, "segmentation": {"size": []}},
    ],
    "categories": [{"id": 5, "name": "cat"}, {"id": 2, "name": "dog", "supercategory": "animal"}],
}


def write(folder, data):
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (40, 30)).save(folder / name)
    (folder / "boxes.json").write_text(data if isinstance(data, str) else json.dumps(data))
    return folder / "boxes.json"


def changed(**parts):
    """The good file with entries added to its lists."""
    data = copy.deepcopy(GOOD)
    for part, entries in parts.items():
        data[part] += entries
    return data


def refused(folder, data):
    return told(DataError, ValueError, lambda: read_coco(write(folder, data), image="image", label="rois"))


def test_a_row_an_image_by_id_with_and_without_boxes(tmp_path):
    frame = read_coco(write(tmp_path, GOOD), image="image", label="rois")
    assert list(frame.index) == [7, 3, 9]
    assert list(frame["image"]) == ["a.png", "b.png", "c.png"]
    assert frame["rois"].tolist() == [[[0.5, 0, 4, 4, "dog"]], [[1, 2, 10, 20, "cat"]], []]
    assert frame["rois_crowd"].tolist() == [[], [[0, 0, 30, 20, "dog"]], []]


def test_it_reads_on_as_boxes_of_width_and_height(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = read_coco(write(tmp_path, GOOD), image="image", label="rois")
        boxes = read_boxes(frame, "rois", "image", tmp_path, BoxOptions("xywh"))
    np.testing.assert_array_equal(boxes.boxes[1], [[1, 2, 11, 22], [0, 0, 30, 20]])
    assert boxes.crowd[1].tolist() == [False, True]
    assert boxes.classes() == ("cat", "dog")


def test_no_column_of_crowds_where_there_are_none(tmp_path):
    data = copy.deepcopy(GOOD)
    data["annotations"] = data["annotations"][:2]
    assert list(read_coco(write(tmp_path, data), image="pic", label="y").columns) == ["pic", "y", "y_image_size"]


def test_numbers_of_a_box_are_judged_with_the_others(tmp_path):
    data = changed(annotations=[{"id": 8, "image_id": 9, "category_id": 5, "bbox": [1, 2, -3, 4]}])
    frame = read_coco(write(tmp_path, data), image="image", label="rois")
    message = told(ValueError, ValueError, lambda: read_boxes(frame, "rois", "image", tmp_path, BoxOptions("xywh")))
    assert "1 inverted (row 2 (index 9), box 0: [1, 2, -3, 4, 'cat'])" in message


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"annotations": [{"id": 9, "image_id": 99, "category_id": 5, "bbox": [1, 2, 3, 4]}]},
         "1 annotation with an image_id of no image (annotations[3]: {'id': 9, 'image_id': 99"),
        ({"annotations": [{"id": 9, "image_id": 3, "category_id": 55, "bbox": [1, 2, 3, 4]}] * 1},
         "1 annotation with a category_id of no category (annotations[3]: "),
        ({"images": [{"id": 3, "file_name": "d.png"}]}, "1 value of id that several images share (3)"),
        ({"categories": [{"id": 5, "name": "cow"}]}, "1 value of id that several categories share (5)"),
        ({"categories": [{"id": 6, "name": "cat"}]}, "1 value of name that several categories share ('cat')"),
        ({"annotations": [{"id": 1, "image_id": 3, "category_id": 5, "bbox": [1, 2, 3, 4]}]},
         "1 value of id that several annotations share (1)"),
        ({"annotations": [{"id": 9, "image_id": 3, "category_id": 5, "segmentation": [[0] * 999]}]},
         "1 annotation with no image_id, category_id or bbox of a list (annotations[3]: {'id': 9, 'image_id': 3"),
        ({"annotations": [{"id": 9, "category_id": 5, "bbox": [1, 2, 3, 4]}] * 5}, "and 2 more)"),
        ({"annotations": [3]}, "1 annotation with no image_id"),
        ({"images": [{"id": 5}]}, "1 image with no id or file_name (images[3]: {'id': 5})"),
        ({"images": [{"id": [5], "file_name": "x"}]}, "1 image with no id or file_name"),
        ({"categories": [{"id": 8}]}, "1 category with no id or name"),
    ],
)  # fmt: skip
def test_ids_that_lead_nowhere_or_twice(tmp_path, parts, message):
    assert message in refused(tmp_path, changed(**parts))


def test_all_faults_of_a_file_are_told_at_once(tmp_path):
    data = changed(
        annotations=[{"id": 1, "image_id": 99, "category_id": 98, "bbox": [1, 2, 3, 4]}],
        images=[{"id": 3, "file_name": "d.png"}],
    )
    message = refused(tmp_path, data)
    for part in ("image_id of no image", "category_id of no category", "several annotations", "several images"):
        assert part in message


def test_annotations_need_no_id(tmp_path):
    data = changed(annotations=[{"image_id": 9, "category_id": 5, "bbox": [1, 2, 3, 4]}] * 2)
    assert len(read_coco(write(tmp_path, data), image="image", label="rois")["rois"].iloc[2]) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "lacks the lists 'images', 'annotations', 'categories'. It holds a list."),
        ('{"images": [], "boxes": []}', "lacks the lists 'annotations', 'categories'. It has 'images', 'boxes'."),
        ('{"images": [], "annotations": [], "categories": []}', "lists no images"),
    ],
)
def test_other_json(tmp_path, text, message):
    assert message in refused(tmp_path, text)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "x.json").write_bytes(b"\xff\xfe{")
    call = lambda: read_coco(tmp_path / "x.json", image="image", label="rois")  # noqa: E731
    assert "is not UTF-8 text" in told(DataError, ValueError, call)
