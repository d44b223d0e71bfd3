"""Boxes of a column: every way to write them, every fault named with row, column and value, nothing lost quietly."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from support.tiny import told
from thermocline.errors import ImageReadError, LabelError, MissingColumnError, ThermoclineWarning, counted
from thermocline.problems.object_detection.boxes import read_boxes
from thermocline.problems.object_detection.options import BoxOptions

WIDTH, HEIGHT = 40, 30
GOOD = [[1, 2, 11, 22, "a"], [0.5, 3, 40, 30, "b"]]


def frame_of(*cells, index=None):
    pictures = [Image.new("RGB", (WIDTH, HEIGHT))] * len(cells)
    column = pd.Series(list(cells), dtype=object)
    frame = pd.DataFrame({"pic": pd.Series(pictures, dtype=object), "rois": column})
    return frame if index is None else frame.set_axis(index)


def read(*cells, index=None, what="train_data", **options):
    return read_boxes(frame_of(*cells, index=index), "rois", "pic", None, BoxOptions(**options), what=what)


def refused(*cells, index=None, **options):
    return told(LabelError, ValueError, lambda: read(*cells, index=index, **options))


# ways to write them


def as_object_array(boxes):
    rows = np.empty(len(boxes), dtype=object)
    rows[:] = [np.array(box, dtype=object) for box in boxes]
    return rows


@pytest.mark.parametrize(
    "write",
    [
        list,
        tuple,
        lambda boxes: [tuple(box) for box in boxes],
        lambda boxes: [np.array(box) for box in boxes],  # of text, numbers too
        np.array,
        lambda boxes: np.array(boxes, dtype=object),
        as_object_array,
        json.dumps,
        str,  # Python's own list, as pandas writes it into a CSV
    ],
)
def test_every_way_to_write_a_cell_is_the_same(write):
    boxes = read(write(GOOD))
    np.testing.assert_array_equal(boxes.boxes[0], np.array([[1, 2, 11, 22], [0.5, 3, 40, 30]], dtype=np.float32))
    assert boxes.boxes[0].dtype == np.float32
    assert boxes.labels == (("a", "b"),)
    assert boxes.notes == ()


@pytest.mark.parametrize("cell", [[], (), "[]", " [] ", np.zeros((0, 5)), np.array([]), np.array([], dtype=object)])
def test_an_empty_cell_is_an_image_without_boxes(cell):
    boxes = read(cell, GOOD)
    assert boxes.boxes[0].shape == (0, 4)
    assert boxes.labels[0] == ()
    assert [len(row) for row in boxes.boxes] == [0, 2]


def test_a_frame_without_any_box_is_read_but_has_no_classes():
    boxes = read([], [])
    assert [row.shape for row in boxes.boxes] == [(0, 4), (0, 4)]
    assert "no box in any of 2 rows" in told(LabelError, ValueError, boxes.classes)


@pytest.mark.parametrize("write", [list, np.array, json.dumps])
def test_whole_numbers_are_labels(write):
    boxes = read(write([[1, 2, 11, 22, 3], [0.5, 3, 40, 30, 0]]))  # an array makes fractions of all
    assert boxes.labels == ((3, 0),)
    assert all(type(label) is int for label in boxes.labels[0])
    assert boxes.classes() == (0, 3)


def test_width_and_height():
    boxes = read([[1, 2, 10, 20, "a"]], box_format="xywh")
    np.testing.assert_array_equal(boxes.boxes[0], [[1, 2, 11, 22]])


def test_the_frame_is_not_touched():
    frame = frame_of(GOOD, json.dumps(GOOD))
    before = frame.copy()
    read_boxes(frame, "rois", "pic", None)
    pd.testing.assert_frame_equal(frame, before)


# cells that are none


@pytest.mark.parametrize("cell", [None, np.nan, pd.NA, "", "  ", "NaN", "null"])
def test_a_missing_label_is_an_error_that_names_the_row(cell):
    message = refused(GOOD, cell, index=["x", "y"])
    assert "'rois' of train_data is missing in 1 of 2 rows: row 1 (index 'y')" in message
    assert "[]" in message


@pytest.mark.parametrize("cell", [3, "[[1, 2", "a cat", {"box": 1}, [1, 2, 3, 4, "a"], np.arange(5.0), True])
def test_a_cell_that_is_no_list_of_boxes(cell):
    message = refused(GOOD, cell, what="tuning_data")
    assert "'rois' of tuning_data holds something else than a list of boxes in 1 row: row 1: " in message


def test_columns_that_are_not_there():
    frame = frame_of(GOOD)
    told(MissingColumnError, KeyError, lambda: read_boxes(frame, "boxes", "pic", None))
    told(MissingColumnError, KeyError, lambda: read_boxes(frame, "rois", "image", None))


def test_an_image_that_is_not_there():
    frame = frame_of(GOOD).assign(pic="gone.jpg")
    message = told(ImageReadError, OSError, lambda: read_boxes(frame, "rois", "pic", None, what="test_data"))
    assert "test_data: column 'pic': 1 of 1 image cannot be read: row 0: gone.jpg: no such file" in message


# boxes that are none

FAULTS = [
    ([1, 2, 3, 4], "not 5 entries"),
    ([1, 2, 3, 4, "a", 0.5], "not 5 entries"),
    (7, "not 5 entries"),
    ([1, "two", 3, 4, "a"], "coordinates that are not numbers"),
    ([1, "2", 3, 4, "a"], "coordinates that are not numbers"),
    ([1, True, 3, 4, "a"], "coordinates that are not numbers"),
    ([1, [2], 3, 4, "a"], "coordinates that are not numbers"),
    ([1, 2, 3, 4, None], "no label"),
    ([1, 2, 3, 4, float("nan")], "no label"),
    ([1, 2, 3, 4, " "], "no label"),
    ([1, 2, 3, 4, 1.5], "a label that is neither text nor a whole number"),
    ([1, 2, 3, 4, ["a"]], "a label that is neither text nor a whole number"),
    ([1, 2, 3, 4, True], "a label that is neither text nor a whole number"),
    ([1, 2, float("nan"), 4, "a"], "not finite"),
    ([1, 2, None, 4, "a"], "not finite"),
    ([1, 2, float("inf"), 4, "a"], "not finite"),
    ([1, 2, 10**400, 4, "a"], "not finite"),
    ([float("inf")] * 4 + ["a"], "not finite"),
    ([-1e308, 2, 1e308, float("-inf"), "a"], "not finite"),
    ([9, 2, 3, 4, "a"], "inverted"),
    ([1, 9, 3, 4, "a"], "inverted"),
    ([3, 2, 3, 4, "a"], "zero area"),
    ([-9, 2, -3, 4, "a"], "outside the image"),
    ([40, 2, 50, 4, "a"], "outside the image"),
    ([1, 30.5, 9, 44, "a"], "outside the image"),
    ([1, 2, 1 + 1e-12, 4, "a"], "outside the image"),  # nothing is left of it in float32
]


@pytest.mark.parametrize(("box", "fault"), FAULTS, ids=str)
def test_a_box_that_cannot_be_used_is_named_with_row_place_and_value(box, fault):
    message = refused(GOOD, [*GOOD, box], index=[10, 20])
    assert "Label 'rois' of train_data holds 1 box that cannot be used, of 5: 1 " in message
    assert f"1 {fault} (row 1 (index 20), box 2: {box!r:.120}" in message
    assert "data.bad_boxes: drop" in message


@pytest.mark.parametrize(("box", "fault"), FAULTS, ids=str)
def test_or_left_out_with_a_count(box, fault):
    with pytest.warns(ThermoclineWarning, match=r"1 box that cannot be used, of 3.*left out") as caught:
        boxes = read([GOOD[0], box, GOOD[1]], bad_boxes="drop")
    assert boxes.labels == (("a", "b"),)
    assert len(caught) == len(boxes.notes) == 1
    assert fault in boxes.notes[0]


def test_faults_are_counted_by_kind():
    message = refused([[9, 2, 3, 4, "a"]] * 5 + [[1, 2, 3, 4]], GOOD, [[1, 1, 1, 1, "b"]])
    assert "holds 7 boxes that cannot be used, of 9" in message
    assert "5 inverted (row 0, box 0: [9, 2, 3, 4, 'a'], row 0, box 1" in message
    assert "and 2 more" in message
    assert "1 not 5 entries" in message
    assert "1 zero area (row 2, box 0" in message


def test_inverted_boxes_raise_the_question_of_the_format():
    assert "If they are xywh, set data.box_format: xywh" in refused([[20, 15, 10, 10, "a"]])
    assert "If they are xyxy, set data.box_format: xyxy" in refused([[20, 15, -10, 10, "a"]], box_format="xywh")


def test_boxes_over_the_edge_are_cut_and_counted():
    with pytest.warns(ThermoclineWarning, match=r"2 boxes, of 4, that reach over the edge.*row 0, box 0: \[-5, "):
        boxes = read([[-5, 2, 10, 44, "a"], *GOOD], [[1, 1, 41, 3, "b"]])
    np.testing.assert_array_equal(boxes.boxes[0][0], [0, 2, 10, 30])
    np.testing.assert_array_equal(boxes.boxes[1][0], [1, 1, 40, 3])


def test_rounding_over_the_edge_is_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        boxes = read([[0, 0, 40.005, 30.004, "a"]])
    np.testing.assert_array_equal(boxes.boxes[0], [[0, 0, 40, 30]])


edge = st.floats(-100, 140, width=32)


@given(st.lists(st.tuples(edge, edge, edge, edge), max_size=6))
def test_what_is_read_lies_inside_the_image_and_nothing_is_lost_uncounted(corners):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        boxes = read([[*box, "a"] for box in corners], bad_boxes="drop")
    found = boxes.boxes[0]
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] <= [WIDTH, HEIGHT]).all()
    assert (found[:, 2:] > found[:, :2]).all()
    lost = len(corners) - len(found)
    assert any(f"{counted(lost, 'box', 'boxes')} that cannot be used" in str(w.message) for w in caught) == (lost > 0)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(2.5),
    lambda inner: st.lists(inner, max_size=6) | st.lists(inner, max_size=6).map(json.dumps),
    max_leaves=24,
)


@given(st.lists(anything, min_size=1, max_size=3), st.sampled_from(["xyxy", "xywh"]))
def test_whatever_a_cell_holds_is_boxes_or_an_error_of_ours(cells, box_format):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ThermoclineWarning)
        try:
            boxes = read(*cells, box_format=box_format, bad_boxes="drop")
        except LabelError:
            return
    assert len(boxes) == len(cells)


# classes


def test_classes_of_several_types_have_no_order():
    boxes = read([[1, 2, 3, 4, "a"], [1, 2, 3, 4, 1]])
    assert "mix class labels of types 'int', 'str'" in told(LabelError, ValueError, boxes.classes)


def test_a_class_that_was_never_trained_is_named_with_its_rows():
    boxes = read(
        GOOD, [[1, 2, 3, 4, "c"], [1, 2, 3, 4, "c"], [5, 6, 7, 8, "d"]], [[1, 2, 3, 4, "c"]], index=list("xyz")
    )
    message = told(LabelError, ValueError, lambda: boxes.encode(("a", "b"), what="test_data"))
    assert "'rois' of test_data holds boxes of 'c', 'd', which training never saw: 4 boxes in 2 rows" in message
    assert "row 1 (index 'y'): ['c', 'c', 'd']" in message
    assert "Known: 'a', 'b'" in message


def test_classes_become_numbers_in_their_order():
    codes = read(GOOD, [], GOOD[:1]).encode(("b", "a"))
    assert [row.tolist() for row in codes] == [[1, 0], [], [1]]
    assert all(row.dtype == np.int64 for row in codes)


# crowds, truths, rows


def test_a_crowd_column_joins_its_row():
    frame = frame_of(GOOD, []).assign(rois_crowd=pd.Series([None, [[1, 1, 9, 9, "a"]]], dtype=object))
    boxes = read_boxes(frame, "rois", "pic", None)
    assert [row.tolist() for row in boxes.crowd] == [[False, False], [True]]
    assert boxes.truths()[1] == [{"label": "a", "box": [1.0, 1.0, 9.0, 9.0], "crowd": True}]


def test_crowds_interleave_in_row_order():
    frame = frame_of(GOOD, GOOD[:1]).assign(rois_crowd=pd.Series([[[1, 1, 9, 9, "c"]], [[2, 2, 9, 9, "d"]]]))
    boxes = read_boxes(frame, "rois", "pic", None)
    assert boxes.labels == (("a", "b", "c"), ("a", "d"))
    assert boxes.boxes[1][1].tolist() == [2, 2, 9, 9]


def test_rows_can_be_taken():
    boxes = read(GOOD, [], GOOD[:1], index=list("xyz")).take(np.array([2, 0]))
    assert list(boxes.index) == ["z", "x"]
    assert boxes.labels == (("a",), ("a", "b"))
    assert len(boxes) == 2
