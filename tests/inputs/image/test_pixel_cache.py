"""Kept pixels: decoded once, and never another bit for it, in whatever place and by whatever process."""

import multiprocessing
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from thermocline.data import pixel_cache as pixels
from thermocline.data.batches import Rows, decoded_kept
from thermocline.data.columns import Column
from thermocline.data.loading import Wanted, load
from thermocline.data.memory_budget import Budget
from thermocline.data.pixel_cache import HEAD, Keep, PixelCache, pixels_kept
from thermocline.errors import ThermoclineWarning
from thermocline.inputs.image import rows as image
from thermocline.inputs.image.processor import ImageProcessor
from thermocline.inputs.image.spec import ImageSpec

SPEC = ImageSpec((16, 16), (0.5,) * 3, (0.5,) * 3, crop_fraction=0.9)
N = 8


@pytest.fixture
def frame(tmp_path):
    """Files and bytes of several sizes, a grey one, one of 16 bits, one turned by EXIF, open images, missing cells."""
    rng = np.random.default_rng(0)
    turned = Image.Exif()
    turned[0x0112] = 6
    for i in range(N):
        picture = Image.fromarray(rng.integers(0, 255, (20 + 3 * i, 40 - i, 3), dtype=np.uint8))
        picture = picture.convert("L") if i == 2 else picture
        picture.save(tmp_path / f"{i}.png", **({"exif": turned} if i == 3 else {}))
    Image.fromarray(rng.integers(0, 60_000, (24, 24)).astype(np.uint16)).save(tmp_path / "4.png")
    names = [f"{i}.png" for i in range(N)]
    with Image.open(tmp_path / "5.png") as file:
        opened = file.copy()
    other = [None, (tmp_path / "1.png").read_bytes(), opened, None] * 2
    return pd.DataFrame({"a": [None if i == 6 else name for i, name in enumerate(names)], "b": other})


def made(frame, folder, **options):
    columns = [Column("a", "image", form="path"), Column("b", "image", form="bytes")]
    return Rows({"image": ImageProcessor(columns, SPEC).rows(frame, folder, seed=7, **options)})


def keep(where="memory", *, size=10**7, folder=None, shared=False):
    return Keep(where, Budget(size), folder, shared)


def passes(rows, workers=0, epochs=(0, 1, 2, None)):
    """All pixels of some epochs, each in its own order."""
    plan = [
        Wanted(part, epoch)
        for i, epoch in enumerate(epochs)
        for part in np.array_split(np.random.default_rng(i).permutation(N), 3)
    ]
    return [(b["rows"], b["image"]["pixels"], b["image"]["present"]) for b in load(rows, plan, num_workers=workers)]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("where", ["auto", "memory", "disk"])
@pytest.mark.parametrize(("augment", "views"), [(None, None), ("light", None), ("light", 1), ("light", 3)])
def test_the_same_bits_as_without_a_cache(frame, tmp_path, where, workers, augment, views):
    if workers and where == "auto":
        pytest.skip("the same as memory")
    rows = made(frame, tmp_path, augment=augment, views=views)
    without = passes(rows)
    with decoded_kept([rows], keep(where, folder=tmp_path / "cache", shared=workers > 0)) as (kept,):
        for _ in range(2):
            got = passes(kept, workers)
            for one, two in zip(without, got, strict=True):
                assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
        held = len(kept.parts["image"].cache)
        assert held == (11 if augment is None else 9)  # open images are not decoded again
    assert list((tmp_path / "cache").glob("*")) == []


@pytest.mark.parametrize("augment", [None, "standard"])
def test_each_image_is_decoded_once(frame, tmp_path, augment, monkeypatch):
    opened = []
    read = image.open_image
    monkeypatch.setattr(image, "open_image", lambda cell, *how: opened.append(str(cell)[:50]) or read(cell, *how))
    rows = made(frame.drop(columns="b").assign(b=None), tmp_path, augment=augment, views=2)
    with decoded_kept([rows], keep()) as (kept,):
        passes(kept)
    assert sorted(opened) == sorted(frame["a"].dropna())
    opened.clear()
    passes(rows)
    assert len(opened) == 4 * 7


@pytest.mark.parametrize("augment", [None, "light"])
def test_what_workers_decode_the_next_pass_finds(frame, tmp_path, augment, monkeypatch):
    rows = made(frame.assign(b=None), tmp_path, augment=augment)
    with decoded_kept([rows], keep(shared=True)) as (kept,):
        passes(kept, workers=2)
        assert len(kept.parts["image"].cache) == 7
        monkeypatch.setattr(image, "open_image", lambda *_: pytest.fail("decoded again"))
        passes(kept)
        passes(kept, workers=1)


def test_views_are_functions_of_seed_view_row_and_column(frame, tmp_path):
    rows, everything = made(frame, tmp_path, augment="light", views=3), np.arange(N)
    shown = [rows.batch(everything, epoch)["image"]["pixels"] for epoch in range(6)]
    number = [rows.parts["image"].variant(everything, epoch) for epoch in range(6)]
    for row in range(N):  # balanced: each variant once in three epochs
        assert sorted(int(number[e][row]) for e in (0, 1, 2)) == [0, 1, 2]
    for one in range(6):
        for two in range(one):
            same = (number[one] == number[two])[0]
            assert torch.equal(shown[one], shown[two]) == same
    unending = made(frame, tmp_path, augment="light")
    assert torch.equal(
        unending.batch(everything, 2)["image"]["pixels"], shown[2]
    )  # the first views are those of epochs
    assert not torch.equal(unending.batch(everything, 3)["image"]["pixels"], shown[3])


def test_the_number_of_a_view_says_when_pixels_are_equal(frame, tmp_path):
    some = np.array([3, 1])
    assert made(frame, tmp_path).parts["image"].variant(some, 5).tolist() == [0, 0]
    assert made(frame, tmp_path, augment="none", views=3).parts["image"].variant(some, 5).tolist() == [0, 0]
    varied = made(frame, tmp_path, augment="light").parts["image"]
    assert varied.variant(some, 5).tolist() == [5, 5]
    assert varied.variant(some, None).tolist() == [-1, -1]
    assert made(frame, tmp_path, augment="light", views=3).parts["image"].variant(some, 5).tolist() == [2, 2]
    assert varied.variant(some, 0).dtype == np.int64


# what fits


def test_what_fits_is_kept(frame, tmp_path):
    rows = made(frame, tmp_path)
    one = 16 * 16 * 3
    cells = 2 * N
    enough = HEAD * cells + 11 * one
    for where, size, held in (
        ("auto", enough, 11),
        ("auto", enough - 1, 10),
        ("auto", HEAD * cells + 3 * one, 3),
        ("auto", HEAD * cells + one - 1, 0),
        ("memory", enough - 1, 10),
        ("off", enough, 0),
    ):
        shared = Budget(size)
        with decoded_kept([rows], Keep(where, shared)) as (kept,):
            passes(kept)
            cache = kept.parts["image"].cache
            assert (0 if cache is None else len(cache)) == held
            assert (shared.left < size) == bool(held)
        assert shared.left == size


def test_rows_of_one_fit_share_the_budget(frame, tmp_path):
    first, second = made(frame, tmp_path), made(frame, tmp_path)
    with decoded_kept([first, second], keep("auto", size=HEAD * 2 * N + 11 * 768 + 100)) as kept:
        passes(kept[0])
        assert len(kept[0].parts["image"].cache) == 11
        assert kept[1].parts["image"].cache is None


def test_rows_go_on_when_the_cache_has_ended(frame, tmp_path):
    rows = made(frame, tmp_path)
    with decoded_kept([rows], keep()) as (kept,):
        before = passes(kept)
    after = passes(kept)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(before, after, strict=True))
    assert len(kept.parts["image"].cache) == 0


def test_rows_without_images_are_left_as_they_are():
    from thermocline.inputs.text.rows import TextRows

    rows = Rows({"text": TextRows((np.zeros(3, np.int32),), 0)})
    with decoded_kept([rows], keep()) as (kept,):
        assert kept.parts["text"] is rows.parts["text"]


def test_an_image_of_another_size_than_its_head_said_is_not_kept():
    with pixels_kept([12, 0, 30], 3, keep()) as cache:
        cache.put(0, np.ones((1, 5, 3), np.uint8))
        cache.put(1, np.ones((1, 1, 3), np.uint8))
        cache.put(2, np.full((2, 5, 3), 9, np.uint8))
        assert cache.get(0) is None
        assert cache.get(1) is None
        assert (cache.get(2) == 9).all()
        assert cache.get(2).shape == (2, 5, 3)


def test_sizes_are_read_no_further_than_needed():
    read = []
    sizes = (read.append(i) or 100 for i in range(1000))
    with pixels_kept(sizes, 1000, keep("auto", size=HEAD * 1000 + 500)) as cache:
        assert (cache.sizes > 0).sum() == 5
    assert len(read) == 6
    with pixels_kept(iter([400, 200, 100]), 3, keep("auto", size=HEAD * 3 + 500)) as cache:
        assert cache.sizes.tolist() == [400, 0, 0]
    with pixels_kept(iter([400, 200, 100]), 3, keep("memory", size=HEAD * 3 + 500)) as cache:
        assert cache.sizes.tolist() == [400, 0, 100]


# disks and processes


def test_a_disk_without_room_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pixels, "reserve", full)
    with (
        pytest.warns(ThermoclineWarning, match=r"No space left.*env\.cache_images=off"),
        pixels_kept([100], 1, keep("disk", folder=tmp_path)) as cache,
    ):
        assert cache is None
    assert list(tmp_path.iterdir()) == []


def test_no_more_of_a_disk_than_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "_free_disk", lambda _: 200)
    with pixels_kept([100, 100, 20], 3, keep("disk", folder=tmp_path)) as cache:
        assert cache.sizes.tolist() == [100, 0, 20]


def test_a_process_that_is_started_anew_opens_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
    with pixels_kept([12, 27], 2, keep("memory", folder=tmp_path, shared=True)) as cache:
        cache.put(1, np.full((3, 3, 3), 7, np.uint8))
        there = pickle.loads(pickle.dumps(cache))
        assert (there.get(1) == 7).all()
        there.put(0, np.full((2, 2, 3), 8, np.uint8))
        assert (cache.get(0) == 8).all()
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
    late = pickle.loads(pickle.dumps(there))
    assert late.get(1) is None


def test_memory_that_another_process_cannot_see_holds_nothing_there():
    with pixels_kept([12], 1, keep()) as cache:
        cache.put(0, np.ones((2, 2, 3), np.uint8))
        there = pickle.loads(pickle.dumps(cache))
    assert isinstance(there, PixelCache)
    assert there.get(0) is None
    there.put(0, np.ones((2, 2, 3), np.uint8))
    assert len(there) == 0
