"""Cached values are never those of other files: not of a file with the same name, nor of one in another folder."""

from __future__ import annotations

import os

import pytest
from PIL import Image

from support.cached_fits import check_same, fit, notes, of_images, weights
from support.stopping import killed_before
from support.tiny import write_images
from thermocline.errors import ResumeError
from thermocline.training import run_identity


@pytest.fixture(params=["backbone", 2], ids=["all layers frozen", "two layers frozen"])
def options(request, image_folder, tmp_path):
    return of_images(
        image_folder,
        **{"model.image.frozen_layers": request.param, "env.cache_folder": str(tmp_path / "shared")},
    )


def overwrite(file, color) -> None:
    """Another image under the same name, of the same size in bytes and with the time of change of the former one."""
    before = file.stat()
    Image.new("RGB", (20, 20), color).save(file, compress_level=0)
    size = max(file.stat().st_size, before.st_size)
    file.write_bytes(file.read_bytes().ljust(size, b"\0"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def test_an_overwritten_image_is_another_row(tmp_path, options):
    folder = tmp_path / "images"
    frame = write_images(folder, 22)
    options = {**options, "data.image_folder": str(folder)}
    first = fit(frame, "disk", **options)
    assert list((tmp_path / "shared").rglob("*.values"))
    for number in range(0, 22, 3):
        overwrite(folder / f"{number}.png", (number * 9, 255 - number * 9, 90))
    cached, plain = fit(frame, "disk", **options), fit(frame, "off", **options)
    assert "run once a row" in notes(cached)
    check_same(plain, cached, frame)
    assert any(not value.equal(weights(cached)[name]) for name, value in weights(first).items())


def test_the_same_names_in_another_folder_are_other_rows(tmp_path, options):
    frames = [write_images(tmp_path / name, 22, seed) for seed, name in enumerate(["one", "two"])]
    assert frames[0].equals(frames[1])
    fit(frames[0], "disk", **options, **{"data.image_folder": str(tmp_path / "one")})
    other = {**options, "data.image_folder": str(tmp_path / "two")}
    check_same(fit(frames[1], "off", **other), fit(frames[1], "disk", **other), frames[1])


@pytest.mark.parametrize("frozen", ["backbone", 2])
def test_prefixes_of_a_stopped_run_are_not_those_of_overwritten_images(tmp_path, image_folder, frozen, monkeypatch):
    """A run is not resumed on them; were it, as where a change went unseen, the prefixes would be others."""
    folder = tmp_path / "images"
    frame = write_images(folder, 22)
    options = of_images(
        image_folder,
        **{"model.image.frozen_layers": frozen, "data.image_folder": str(folder), "env.checkpoint_every": 1},
    )
    for mode in ("disk", "off"):
        with killed_before(4):
            fit(frame, mode, path=tmp_path / mode, **options)
    assert list(tmp_path.glob("disk-checkpoints/**/*.values"))
    for number in range(0, 22, 3):
        overwrite(folder / f"{number}.png", (number * 9, 255 - number * 9, 90))
    with pytest.raises(ResumeError, match="content of training image"):
        fit(frame, "disk", path=tmp_path / "disk", resume=True, **options)
    monkeypatch.setattr(run_identity, "file_facts", lambda *_: {})
    cached, plain = (fit(frame, mode, path=tmp_path / mode, resume=True, **options) for mode in ("disk", "off"))
    assert "resumed" in notes(cached) or cached.history["step"].max() > 4
    check_same(plain, cached, frame)
