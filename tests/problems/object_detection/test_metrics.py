"""COCO's average precision: as pycocotools has it, as it is by hand, and where there is nothing to score."""

import contextlib
import io
import math
import sys

import numpy as np
import pytest

from support.tiny import told
from thermocline.errors import DataError, LabelError, MissingDependencyError
from thermocline.problems.object_detection.info import INFO
from thermocline.problems.object_detection.metrics import coco_scores

CLASSES = ("cat", "dog", "owl")
NAMES = tuple(metric.name for metric in INFO.metrics)


def truth(label, *box, crowd=False):
    return {"label": label, "box": list(box), "crowd": crowd}


def found(label, score, *box):
    return {"label": label, "score": score, "box": list(box)}


def random_sets(seed, images=30):
    """True boxes, some around crowds, and predictions: near ones, doubled ones, wrong ones, with equal scores."""
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for image in range(images):
        boxes = [] if image % 7 == 3 else [random_box(rng) for _ in range(rng.integers(0, 8))]
        own = [truth(str(rng.choice(CLASSES)), *box, crowd=rng.random() < 0.08) for box in boxes]
        given = []
        for entry in own:
            for _ in range(rng.integers(0, 3)):
                label = entry["label"] if rng.random() < 0.85 else str(rng.choice(CLASSES))
                moved = np.array(entry["box"]) + rng.normal(0, 4, 4)
                given.append(found(label, round(float(rng.random()), 1), *moved[:2], *np.maximum(moved[2:], moved[:2])))
        given += [found("dog", float(rng.random()), *random_box(rng)) for _ in range(rng.integers(0, 4))]
        truths.append(own)
        predictions.append(given)
    return truths, predictions


def random_box(rng):
    x, y = rng.uniform(0, 300, 2)
    width, height = np.exp(rng.uniform(np.log(6), np.log(200), 2))
    return [float(v) for v in (x, y, x + width, y + height)]


def reference(truths, predictions):
    """Return pycocotools' precision and recall."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def entry(image, box):
        x1, y1, x2, y2 = box["box"]
        return {"image_id": image, "category_id": 10 + CLASSES.index(box["label"]), "bbox": [x1, y1, x2 - x1, y2 - y1]}

    with contextlib.redirect_stdout(io.StringIO()):
        true = COCO()
        true.dataset = {
            "images": [{"id": image} for image in range(len(truths))],
            "categories": [{"id": 10 + place} for place in range(len(CLASSES))],
            "annotations": [
                {**entry(image, box), "iscrowd": int(box["crowd"])} for image, row in enumerate(truths) for box in row
            ],
        }
        for number, annotation in enumerate(true.dataset["annotations"], start=1):
            annotation["id"] = number
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
        true.createIndex()
        results = [{**entry(image, box), "score": box["score"]} for image, row in enumerate(predictions) for box in row]
        evaluation = COCOeval(true, true.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_numbers_are_those_of_pycocotools(seed):
    truths, predictions = random_sets(seed)
    scores = coco_scores(truths, predictions, CLASSES)
    expected = reference(truths, predictions)
    names = {"map": 0, "map_50": 1, "map_75": 2, "map_small": 3, "map_medium": 4, "map_large": 5, "mar_100": 8}
    assert tuple(names) == NAMES
    for name, place in names.items():
        assert scores[name] == pytest.approx(expected.stats[place], abs=1e-9), name
    for place, label in enumerate(CLASSES):
        precision = expected.eval["precision"][:, :, place, 0, 2]
        assert scores["per_class"][label]["ap"] == pytest.approx(precision.mean(), abs=1e-9)
        assert scores["per_class"][label]["ap_50"] == pytest.approx(precision[0].mean(), abs=1e-9)
    assert 0.1 < scores["map"] < 0.9


# by hand


def test_a_perfect_prediction():
    scores = coco_scores([[truth("cat", 0, 0, 10, 10)], []], [[found("cat", 0.3, 0, 0, 10, 10)], []], ["cat"])
    assert scores["map"] == scores["map_50"] == scores["map_75"] == scores["mar_100"] == 1.0
    assert scores["per_class"] == {"cat": {"ap": 1.0, "ap_50": 1.0, "boxes": 1}}
    assert math.isnan(scores["map_large"])


def test_an_overlap_of_62_percent_counts_at_three_of_ten():
    scores = coco_scores([[truth("cat", 0, 0, 10, 10)]], [[found("cat", 0.9, 0, 0, 10, 6.2)]], ["cat"])
    assert (scores["map_50"], scores["map_75"]) == (1.0, 0.0)
    assert scores["map"] == pytest.approx(3 / 10)


def test_a_false_alarm_between_two_hits():
    """Precision is 1 up to a recall of a half (51 of 101 points), then 2/3."""
    truths = [[truth("cat", 0, 0, 10, 10)], [truth("cat", 20, 20, 30, 30)]]
    given = [[found("cat", 0.9, 0, 0, 10, 10), found("cat", 0.8, 50, 50, 60, 60)], [found("cat", 0.7, 20, 20, 30, 30)]]
    assert coco_scores(truths, given, ["cat"])["map"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_second_box_on_one_object_is_a_false_alarm_unless_it_is_a_crowd():
    given = [[found("cat", 0.9, 0, 0, 10, 10), found("cat", 0.8, 0, 0, 10, 10), found("cat", 0.7, 50, 50, 60, 60)]]
    alone = [truth("cat", 0, 0, 10, 10), truth("cat", 50, 50, 60, 60)]
    assert coco_scores([alone], given, ["cat"])["map"] == pytest.approx((51 + 50 * 2 / 3) / 101)
    beside = [*alone, truth("cat", 0, 0, 12, 12, crowd=True)]
    scores = coco_scores([beside], given, ["cat"])
    assert scores["map"] == 1.0
    assert scores["per_class"]["cat"]["boxes"] == 2


def test_the_mean_is_over_classes_not_boxes():
    truths = [[truth("cat", 0, 0, 10, 10)] * 1 + [truth("dog", x, 0, x + 9, 9) for x in (20, 40, 60)]]
    scores = coco_scores(truths, [[found("cat", 0.9, 0, 0, 10, 10)]], ["cat", "dog"])
    assert scores["map"] == 0.5
    assert scores["per_class"]["dog"] == {"ap": 0.0, "ap_50": 0.0, "boxes": 3}


# nothing to score


def test_a_class_without_true_boxes_is_nan_and_left_out():
    scores = coco_scores(
        [[truth("cat", 0, 0, 9, 9)]], [[found("cat", 1, 0, 0, 9, 9), found("owl", 1, 0, 0, 9, 9)]], ["cat", "owl"]
    )
    assert scores["map"] == 1.0
    assert math.isnan(scores["per_class"]["owl"]["ap"])
    assert scores["per_class"]["owl"]["boxes"] == 0


def test_no_predictions_at_all():
    scores = coco_scores([[truth("cat", 0, 0, 9, 9)], []], [[], []], CLASSES)
    assert scores["map"] == scores["map_50"] == scores["mar_100"] == 0.0
    assert math.isnan(scores["per_class"]["dog"]["ap"])


@pytest.mark.parametrize("predictions", [[[], []], [[found("cat", 0.5, 0, 0, 9, 9)], []]])
def test_no_true_boxes_at_all(predictions):
    scores = coco_scores([[], []], predictions, CLASSES)
    assert all(math.isnan(scores[name]) for name in NAMES)
    assert set(scores["per_class"]) == set(CLASSES)


def test_no_images():
    assert math.isnan(coco_scores([], [], CLASSES)["map"])


@pytest.mark.parametrize("labels", [(0, 1), ("0", 1), (True, "x")])
def test_classes_of_any_kind(labels):
    rows = [[truth(labels[0], 0, 0, 9, 9), truth(labels[1], 20, 20, 30, 30)]]
    given = [[found(box["label"], 0.5, *box["box"]) for box in rows[0]]]
    scores = coco_scores(rows, given, labels)
    assert [scores["per_class"][label]["ap"] for label in labels] == [1.0, 1.0]


def test_arrays_are_boxes_too_and_nothing_is_changed_or_printed(capfd):
    box = np.array([0, 0, 9, 9], dtype=np.float32)
    truths, given = [[{"label": "cat", "box": box}]], [[{"label": "cat", "score": np.float32(0.5), "box": box}]]
    assert coco_scores(truths, given, ["cat"])["map"] == 1.0
    assert set(truths[0][0]) == {"label", "box"}
    assert box.tolist() == [0, 0, 9, 9]
    assert capfd.readouterr() == ("", "")


# what cannot be scored


def test_faults_are_named():
    one = [[truth("cat", 0, 0, 9, 9)]]
    assert "1 image with true boxes and 2 with" in told(
        DataError, ValueError, lambda: coco_scores(one, [[], []], CLASSES)
    )
    strange = [[found("cow", 0.5, 0, 0, 9, 9)]]
    message = told(LabelError, ValueError, lambda: coco_scores(one, strange, CLASSES))
    assert (
        "predictions hold labels that are none of the classes 'cat', 'dog', 'owl': 'cow' (first in image 0)" in message
    )
    assert "true boxes hold" in told(LabelError, ValueError, lambda: coco_scores(strange, [[]], CLASSES))
    for bad in (found("cat", math.nan, 0, 0, 9, 9), found("cat", 0.5, 0, 0, math.inf, 9), found("cat", 0.5, 0, 0, 9)):
        message = told(DataError, ValueError, lambda bad=bad: coco_scores(one, [[bad]], CLASSES))
        assert "The predictions of image 0 hold {'label': 'cat'" in message


def test_the_package_is_asked_for_by_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    one = [[truth("cat", 0, 0, 9, 9)]]
    message = told(MissingDependencyError, ImportError, lambda: coco_scores(one, one, CLASSES))
    assert "pip install 'thermocline[detection]'" in message
