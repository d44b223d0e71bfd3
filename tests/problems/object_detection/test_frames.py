"""One shape for whatever detection data come as."""

import json

import pandas as pd
import pytest
from PIL import Image

from support.tiny import told
from thermocline.errors import DataError, MissingColumnError
from thermocline.problems.object_detection.frames import image_column, read_detection

BOXES = [[1, 2, 11, 22, "a"]]


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30)).save(tmp_path / name)
    return tmp_path


def frame_of(**columns):
    return pd.DataFrame({"picture": ["a.png", "b.png"], "width": [40, 40], "rois": [BOXES, []], **columns})


def test_a_frame_finds_its_column_of_images():
    found = read_detection(frame_of(), "rois", box_format="xywh")
    assert (found.image, found.label, found.roots.own, found.box_format) == ("picture", "rois", (), "xywh")


def test_a_csv_starts_paths_at_its_folder(folder):
    frame = frame_of()
    frame["rois"] = frame["rois"].map(json.dumps)
    frame.to_csv(folder / "boxes.csv", index=False)
    found = read_detection(str(folder / "boxes.csv"), "rois")
    assert (found.image, found.roots.places[0].folder) == ("picture", folder)


def test_coco_and_voc_bring_their_own_format(folder):
    coco = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "name": "a"}],
    }
    (folder / "boxes.json").write_text(json.dumps(coco))
    found = read_detection(folder / "boxes.json", "image", box_format="xyxy")
    assert (found.image, found.label, found.box_format) == ("picture", "image", "xywh")
    assert found.roots.places[0].folder == folder
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "a.xml").write_text("<annotation><filename>a.png</filename></annotation>")
    found = read_detection(folder, "rois", box_format="xywh")
    assert (found.image, found.roots.places[0].folder, found.box_format) == ("image", folder, "xyxy")
    assert found.frame["image"].tolist() == ["a.png"]


def test_what_cannot_be_read(tmp_path):
    assert "no subfolder 'Annotations'" in told(DataError, ValueError, lambda: read_detection(tmp_path, "rois"))
    (tmp_path / "train.json").write_text("{}")
    gone = tmp_path / "trian.json"
    assert "Did you mean 'train.json'" in told(DataError, ValueError, lambda: read_detection(gone, "rois"))
    told(MissingColumnError, KeyError, lambda: read_detection(frame_of(), "boxes"))
    told(DataError, ValueError, lambda: read_detection(frame_of().iloc[:0], "rois"))


def test_one_column_of_images_is_needed():
    message = told(DataError, ValueError, lambda: image_column(frame_of().drop(columns="picture"), "rois"))
    assert "no column of images" in message
    assert "width" in message
    two = frame_of(mask=["c.png", "d.png"])
    assert "2 columns of images: 'picture', 'mask'" in told(DataError, ValueError, lambda: image_column(two, "rois"))
    assert read_detection(two, "rois", image="mask").image == "mask"
