"""The pictures of the docs: each is there for light and dark pages, small, and with what it was made from."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from pictures import MOST_BYTES, PAGES, PICTURES, SCALE, TO, VERSIONS


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_there_twice_and_small(name: str) -> None:
    sizes = set()
    for theme, (ground, _) in PAGES.items():
        file = TO / f"{name}-{theme}.png"
        assert file.stat().st_size < MOST_BYTES
        with Image.open(file) as picture:
            sizes.add(picture.size)
            corner = picture.convert("RGB").getpixel((picture.width - 1, picture.height - 1))
        assert max(abs(a - b) for a, b in zip(corner, bytes.fromhex(ground[1:]), strict=True)) < 8
    ((width, _),) = sizes
    assert width <= 1100 * SCALE


def test_it_is_said_what_they_were_made_from() -> None:
    made_from = json.loads((TO / "made_from.json").read_text(encoding="utf-8"))
    assert set(made_from) == {"sample", *VERSIONS}
