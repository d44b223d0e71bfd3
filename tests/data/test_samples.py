from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from thermocline.data import packaged_samples
from thermocline.data.docstrings import clean
from thermocline.data.packaged_samples import PACKAGED, all_rows, digest_of
from thermocline.data.sample_facts import SAMPLES
from thermocline.data.sample_shapes import SHAPES
from thermocline.data.samples import digits, docstrings, list_samples, load_sample, mixed
from thermocline.errors import ConfigError, DataError, MissingDependencyError

LIBRARIES = {"numpy", "pandas", "scipy", "scikit-learn", "torch"}
# of `load_sample(name)`, without the image files: which rows there are, and in which order
AS_LOADED = {
    "digits": "a7d023a30a80148e",
    "mixed": "16ccdce1bc4ad826",
    "shapes": "7c7c9fde6be65233",
    "penguins": "c0fe64f4c7d9b753",
    "weather": "8b7f1e8ed5316d4f",
    "questions": "5faf9b1be2a0c0ce",
    "textures": "3f9febbfffa1d2a4",
    "wine": "dd9c74492c22299c",
    "breast_cancer": "637877e3fd42c03d",
    "diabetes": "e959fb80f402c2c5",
}
OWN = re.compile(r"numpy|pandas|scipy|sklearn|scikit|torch|versionadded|deprecated::|:\w+:`|\b(np|pd)\.", re.IGNORECASE)


def test_the_list_names_every_sample(tmp_path):
    table = list_samples()
    assert list(table["name"]) == list(SAMPLES)
    assert (table[["what", "licence", "source"]] != "").all(axis=None)
    assert set(table["extra"]) == {"", "samples"}
    assert list(table.loc[~table["fixed"], "name"]) == ["docstrings"]
    for name, label in zip(table["name"], table["label"], strict=True):
        frame = load_sample(name, rows=20, folder=tmp_path)
        assert len(frame) == 20
        assert frame.columns[-1] == label
        pd.testing.assert_frame_equal(frame, load_sample(name, rows=20, folder=tmp_path))
        assert not frame.equals(load_sample(name, rows=20, seed=1, folder=tmp_path))
        assert frame.attrs["sample"] == name
        packages = {"docstrings": LIBRARIES, "shapes": {"numpy"}}.get(name, {SAMPLES[name].package or "scikit-learn"})
        assert frame.attrs["versions"].keys() == packages


def test_bad_arguments():
    with pytest.raises(ConfigError, match="Did you mean 'digits'") as caught:
        load_sample("digit")
    assert "  penguins: 344 rows, label 'species', CC0; extra 'samples'" in str(caught.value)
    for rows in (0, -1, 2.5, True, "10"):
        with pytest.raises(ConfigError, match="positive whole number"):
            load_sample("mixed", rows=rows)


def test_docstrings_are_masked_even_and_different():
    frame = docstrings()
    assert len(frame) == 2500
    assert list(frame.columns) == ["text", "kind", "n_parameters", "n_lines", "library"]
    assert frame["library"].value_counts().to_dict() == dict.fromkeys(
        ["numpy", "pandas", "scipy", "sklearn", "torch"], 500
    )
    assert not frame["text"].str.lower().duplicated().any()
    assert [text for text in frame["text"] if OWN.search(text)] == []
    assert set(frame["kind"]) == {"function", "class", "method"}
    assert frame["n_parameters"].dtype == np.float64
    assert frame["n_parameters"].isna().any()


@pytest.mark.parametrize(
    ("docstring", "text"),
    [
        ("abs(x, /, out=None)\n\nReturn the absolute value.\n", "Return the absolute value."),
        (
            "abs(input: Tensor) -> Tensor\n\nComputes it element by element.",
            "Computes it element by element.",
        ),
        (".. versionadded:: 2.0\n\nSay what this thing does.", "Say what this thing does."),
        ("See :class:`~torch.nn.Linear` and :func:`numpy.abs` for more.", "See Linear and abs for more."),
        (
            "Like np.dot or `numpy.linalg.dot` but for PyTorch tensors.",
            "Like library or library but for library tensors.",
        ),
        ("Title\n-----\n\nThe text below a heading.", "The text below a heading."),
        ("Too short.", None),
    ],
)
def test_cleaning(docstring, text):
    assert clean(docstring) == text


def test_digits_are_files_and_the_names_hold_no_label(tmp_path):
    frame = digits(rows=60, folder=tmp_path)
    assert frame["label"].dtype == np.int64
    assert set(frame["label"]) == set(range(10))
    for path in frame["image"]:
        assert Path(path).is_absolute()
    with Image.open(frame["image"][0]) as image:
        assert (image.size, image.mode) == ((32, 32), "L")
    assert len(list(tmp_path.iterdir())) == 60
    assert len(digits(rows=10**6, folder=tmp_path)) == 1797


def test_writing_at_the_same_time_is_safe(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        frames = list(pool.map(lambda _: digits(rows=40, folder=tmp_path), range(8)))
    assert all(frame.equals(frames[0]) for frame in frames)
    assert len(list(tmp_path.iterdir())) == 40


def test_the_default_folder_is_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    frame = digits(rows=3)
    assert Path(frame["image"][0]).is_relative_to(tmp_path.resolve())
    assert (tmp_path / Path(frame["image"][0]).relative_to(tmp_path.resolve())).is_file()


def test_each_part_of_the_mixed_frame_tells_something(tmp_path):
    frame = mixed(folder=tmp_path)
    assert frame["priority"].value_counts().to_dict() == {"low": 500, "medium": 500, "high": 500}
    assert 0 < frame["note"].isna().mean() < 0.06
    target = frame["priority"].map({"low": 0, "medium": 1, "high": 2})
    number = digits(rows=1797, folder=tmp_path).set_index("image")["label"]
    digit = frame["image"].map(number)
    assert digit.notna().all()
    urgent = frame["note"].str.contains("surgery|door|spoil|court|pump|tonight|medicine|flight", na=False)
    assert digit.corr(target) > 0.3
    assert frame["weight_kg"].rank().corr(target) < -0.3
    assert urgent.astype(int).corr(target) > 0.3
    depots = target.groupby(frame["depot"]).mean()
    assert depots["airport"] - depots["island"] > 0.4


@pytest.mark.parametrize("name", [name for name, facts in SAMPLES.items() if facts.fixed])
def test_fixed_samples_have_the_same_rows_in_the_same_order_everywhere(name, tmp_path):
    frame = load_sample(name, folder=tmp_path)
    assert (len(frame), frame.columns[-1]) == (SAMPLES[name].rows, SAMPLES[name].label)
    for column in {"image", "mask"} & set(frame):
        frame[column] = [Path(path).name for path in frame[column]]  # a number and a digest of the pixels
    assert digest_of(frame)[:16] == AS_LOADED[name]


def test_rows_are_those_of_the_file_and_all_of_them_by_default(tmp_path):
    for name in PACKAGED:
        whole, loaded = (f(name, folder=tmp_path).astype(str) for f in (all_rows, load_sample))
        key = list(whole.columns)
        pd.testing.assert_frame_equal(
            whole.sort_values(key, ignore_index=True), loaded.sort_values(key, ignore_index=True)
        )


def test_other_rows_than_expected_are_an_error(monkeypatch):
    read = packaged_samples.READERS["penguins"]
    monkeypatch.setitem(packaged_samples.READERS, "penguins", lambda facts: read(facts).iloc[1:])
    with pytest.raises(DataError, match=r"has other rows .* pip install 'palmerpenguins==0\.1\.6'"):
        load_sample("penguins")


@pytest.mark.parametrize("name", [name for name, facts in SAMPLES.items() if facts.extra])
def test_a_package_that_is_not_there_is_named_with_its_extra(name, monkeypatch):
    found = packaged_samples.importlib.util.find_spec
    missing = SAMPLES[name].module
    monkeypatch.setattr(
        packaged_samples.importlib.util, "find_spec", lambda module: None if module == missing else found(module)
    )
    with pytest.raises(MissingDependencyError, match=rf"{SAMPLES[name].package}, .* 'thermocline\[samples\]'"):
        load_sample(name)


def test_textures_are_pieces_in_their_own_files(tmp_path):
    frame = load_sample("textures", folder=tmp_path)
    assert frame["material"].value_counts().to_dict() == {"brick": 64, "grass": 64, "gravel": 64}
    assert frame["image"].nunique() == 192
    with Image.open(frame["image"][0]) as image:
        assert (image.size, image.mode) == ((64, 64), "L")


def test_shapes_have_masks_of_their_own_size_in_which_every_class_occurs(tmp_path):
    frame = load_sample("shapes", rows=40, folder=tmp_path)
    masks = []
    for path, mask in zip(frame["image"], frame["mask"], strict=True):
        with Image.open(path) as picture, Image.open(mask) as index:
            assert (picture.size, picture.mode, index.size, index.mode) == ((96, 72), "RGB", (96, 72), "P")
            masks.append(np.asarray(index))
    shares = np.bincount(np.stack(masks).ravel(), minlength=4) / np.stack(masks).size
    assert len(shares) == len(SHAPES)
    assert (shares[1:] > 0.04).all()
    assert 0.6 < shares[0] < 0.9
    assert len(list(tmp_path.iterdir())) == 80


def digest(frame: pd.DataFrame) -> str:
    return hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()


def test_another_process_makes_the_same_frames(tmp_path):
    code = (
        "import hashlib, sys; from thermocline.data.samples import load_sample\n"
        "for n in ('docstrings', 'digits', 'mixed'):\n"
        "    f = load_sample(n, rows=200, seed=3, folder=sys.argv[1])\n"
        "    print(hashlib.sha256(f.to_csv(index=False).encode()).hexdigest())\n"
    )
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "12345",
        "PYTHONPATH": str(Path(__file__).parents[2] / "src"),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    here = [digest(load_sample(n, rows=200, seed=3, folder=tmp_path)) for n in ("docstrings", "digits", "mixed")]
    assert done.stdout.split() == here
