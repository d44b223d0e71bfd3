"""Boxes on pictures: where they are said to be, in their class's colour, on small and large images."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from thermocline.inputs.image.pictures import show_grid
from thermocline.problems.object_detection.drawing import draw

GREY = (128, 128, 128)


def entry(label, *box, **more):
    return {"label": label, "box": list(box), **more}


def changed(picture):
    """Where a picture drawn on grey is no longer grey: left, upper, right, lower."""
    rows, columns = np.nonzero((np.asarray(picture) != GREY[0]).any(axis=2))
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_lines_run_along_the_box():
    picture = draw(Image.new("RGB", (640, 480), GREY), [entry("cat", 100, 150, 300, 400, score=0.5)])
    left, _, right, lower = changed(picture)
    assert abs(left - 100) <= 3
    assert abs(right - 300) <= 3
    assert abs(lower - 400) <= 3
    assert picture.getpixel((200, 300)) == GREY  # what is inside stays to be seen


def test_the_image_itself_is_not_drawn_on():
    image = Image.new("RGB", (640, 480), GREY)
    draw(image, [entry("cat", 100, 150, 300, 400)])
    assert (np.asarray(image) == GREY[0]).all()


@pytest.mark.parametrize(("size", "shown"), [((64, 48), (512, 384)), ((481, 100), (481, 100)), ((1, 1), (480, 480))])
def test_small_images_are_enlarged_by_whole_numbers(size, shown):
    assert draw(Image.new("RGB", size), []).size == shown


def test_text_and_lines_grow_with_the_image():
    def label_height(times):
        image = Image.new("RGB", (640 * times, 480 * times), GREY)
        picture = draw(image, [entry("cat", 100 * times, 200 * times, 300 * times, 400 * times)])
        return 200 * times - changed(picture)[1]

    assert label_height(5) > 3.5 * label_height(1) > 35


def test_a_class_has_one_colour_in_every_picture():
    def colour(label, classes):
        box = [entry(label, 100, 100, 300, 300)]
        return draw(Image.new("RGB", (640, 480), GREY), box, classes).getpixel((101, 200))

    assert colour("a", ("a", "b")) != colour("b", ("a", "b"))
    assert colour("b", ("a", "b")) == colour("b", ("a", "b", "c"))
    assert colour("x", ()) != colour("y", ())
    assert len({colour(k, range(7)) for k in range(7)}) == 7


def test_labels_stay_inside_the_picture():
    """At the corners the picture has the colours of texts, and Pillow draws nothing outside."""
    boxes = [entry("a long name", *box) for box in ((0, 0, 9, 9), (630, 470, 640, 480), (0, 470, 9, 480))]
    picture = np.asarray(draw(Image.new("RGB", (640, 480), GREY), boxes, ("a long name",)))
    fill = (picture == (230, 159, 0)).all(axis=2)
    for corner in (fill[:25, :80], fill[-25:, -80:], fill[-35:, :80]):
        assert corner.sum() > 300


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_any_mode_of_image_and_any_box(mode):
    boxes = [entry(3, 30, 30, 10, 10, score=1.0), entry("é", -50, -50, 9000, 9000), entry("c", 5, 5, 5, 5, crowd=True)]
    assert draw(Image.new(mode, (90, 90)), boxes).mode == "RGB"


@pytest.mark.parametrize(("count", "axes"), [(1, 1), (2, 2), (4, 6)])
def test_a_grid_is_a_figure_that_no_one_has_to_close(count, axes):
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    figure = show_grid([Image.new("RGB", (40, 30))] * count, ["a"])
    assert isinstance(figure, Figure)
    assert len(figure.axes) == axes
    assert sum(bool(axis.images) for axis in figure.axes) == count
    assert figure.axes[0].get_title() == "a"
    assert pyplot.get_fignums() == before


def test_an_empty_grid_is_refused():
    with pytest.raises(ValueError, match="no pictures"):
        show_grid([])
