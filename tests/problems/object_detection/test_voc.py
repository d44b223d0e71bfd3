"""Pascal VOC folders as frames, whole and by split."""

import pytest
from PIL import Image

from support.tiny import told
from thermocline.data.roots import Roots
from thermocline.errors import DataError
from thermocline.problems.object_detection.voc import is_voc, read_voc

OBJECT = """<object><name>{name}</name><difficult>1</difficult><bndbox><xmax>{2}</xmax><xmin>{0}</xmin>
<ymin>{1}</ymin><ymax>{3}</ymax></bndbox><part><name>head</name><bndbox/></part></object>"""


def xml(*boxes, filename="x.jpg"):
    objects = "".join(OBJECT.format(*box[:4], name=box[4]) for box in boxes)
    return f"<annotation><filename>{filename}</filename><size><width>1</width></size>{objects}</annotation>"


@pytest.fixture
def voc(tmp_path):
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("a.jpg", "b.png", "c.jpg"):
        Image.new("RGB", (40, 30)).save(tmp_path / "JPEGImages" / name)
    files = {
        "a": xml((1, 2, 11, 22, "cat"), (3, 4, 5.5, 6, "dog"), filename="a.jpg"),
        "b": xml(filename="C:\\pictures\\b.jpg"),
        "c": xml((1, 2, 3, 4, "cat"), filename=""),
    }
    for name, text in files.items():
        (tmp_path / "Annotations" / f"{name}.xml").write_text(text)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("c\na\n")
    (tmp_path / "ImageSets" / "Main" / "cat_val.txt").write_text("b -1\nc  1\n\n")
    return tmp_path


def read(path):
    frame, roots = read_voc(path, image="image", label="rois", roots=Roots())
    return frame, roots.places[0].folder


def test_the_whole_folder(voc):
    frame, folder = read(voc)
    assert list(frame.index) == ["a", "b", "c"]
    assert list(frame["image"]) == ["a.jpg", "b.png", "c.jpg"]
    assert all((folder / name).is_file() for name in frame["image"])
    boxes = [[[1, 2, 11, 22, "cat"], [3, 4, 5.5, 6, "dog"]], [], [[1, 2, 3, 4, "cat"]]]
    assert frame["rois"].tolist() == boxes


@pytest.mark.parametrize(("split", "names"), [("train", ["c", "a"]), ("cat_val", ["b", "c"])])
def test_a_split(voc, split, names):
    path = voc / "ImageSets" / "Main" / f"{split}.txt"
    assert is_voc(path)
    assert list(read(path)[0].index) == names


def test_what_is_a_voc_folder(voc, tmp_path):
    assert is_voc(voc)
    assert not is_voc(voc / "JPEGImages")
    assert not is_voc(voc / "notes.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation", "unclosed token"),
        ("<html></html>", "its root is <html>, not <annotation>"),
        ("<annotation><object><name>a</name></object></annotation>", "object 0 has no <bndbox>"),
        ("<annotation><object><bndbox><xmin>x</xmin></bndbox></object></annotation>",
         "object 0 has a <bndbox> of ('xmin', 'x'), ('ymin', '')"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_named(voc, text, message):
    (voc / "Annotations" / "b.xml").write_text(text)
    told_message = told(DataError, ValueError, lambda: read(voc))
    assert "1 of 3 annotation files" in told_message
    assert "Annotations/b.xml: " in told_message
    assert message in told_message


def test_a_split_that_names_what_is_not_there(voc):
    path = voc / "ImageSets" / "Main" / "train.txt"
    path.write_text("a\nzebra\n")
    assert "Annotations/zebra.xml: no such file" in told(DataError, ValueError, lambda: read(path))
    path.write_text("a\nc\na\n")
    assert "lists 'a' more than once" in told(DataError, ValueError, lambda: read(path))
    path.write_text("\n")
    assert "lists no image" in told(DataError, ValueError, lambda: read(path))
    gone = path.with_name("trian.txt")
    assert "does not exist. Did you mean 'train.txt'" in told(DataError, ValueError, lambda: read(gone))


def test_an_empty_folder(tmp_path):
    (tmp_path / "Annotations").mkdir()
    assert "holds no .xml file" in told(DataError, ValueError, lambda: read(tmp_path))
