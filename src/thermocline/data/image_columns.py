"""Whether a column holds images, judged by all of its values; and what to do where they cannot be read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from thermocline.data.image_cells import READABLE, image_sort, opens
from thermocline.data.row_names import first_rows
from thermocline.data.verdict import Verdict
from thermocline.errors import ColumnTypeError, counted

IMAGE_SHARE = 0.95  # of the values that are there: a few broken names do not turn images into text
NOT_READ = "images not read"  # the form of a column of images that cannot be read as it is
OPENED = 20  # values of bytes without a known beginning whose header is read

_ONE_SORT = {
    "path": "{} end as image files do",
    "encoded": "{} are base64 or data URLs of images",
    "bytes": "bytes: {} begin as image files do",
    "record": "{} are dicts of an image's bytes or path",
}
_NOT_READ = {
    "address": "{count} addresses of images, such as {first}, which are not fetched: download them, and put the paths "
    "of the files into the column",
    "list": "{count} several images each, such as {first}: make one column of images of each, with None where a row "
    "has fewer",
    "format": "{count} names of image files that Pillow does not open, such as {first}: convert them, for instance to "
    "PNG, or put arrays or PIL images into the column",
}


def judge_images(counts: Mapping[object, int] | Iterable[object]) -> Verdict | None:
    """Return the verdict on a column of images, or None where it is none.

    Args:
        counts: The values, none of them missing, or how often each occurs.

    Returns:
        `image`; or `null` with the form `NOT_READ` where the images cannot be read as they are, and the reason says
        what to do.
    """
    pairs = list(counts.items() if isinstance(counts, Mapping) else ((value, 1) for value in counts))
    total = sum(count for _, count in pairs)
    found: Counter[str] = Counter()
    first: dict[str, object] = {}
    for value, count in pairs:
        sort = image_sort(value)
        found[sort] += count
        first.setdefault(sort, value)
        if found[""] > (1 - IMAGE_SHARE) * total:
            return None
    readable = sum(found[sort] for sort in READABLE)
    if readable >= IMAGE_SHARE * total:
        return _image(found, readable, total)
    worst = max(_NOT_READ, key=lambda sort: found[sort])
    count = f"{found[worst]:,} of {counted(total, 'value')} {'hold' if worst == 'list' else 'are'}"
    return Verdict("null", _NOT_READ[worst].format(count=count, first=_short(first[worst])), NOT_READ)


def _image(found: Counter[str], readable: int, total: int) -> Verdict:
    sorts = [sort for sort in found if sort in READABLE]
    if len(sorts) > 1:
        return Verdict("image", f"{readable:,} of {total:,} values are images: {', '.join(sorted(sorts))}", "mixed")
    sort = sorts[0]
    if sort in _ONE_SORT:
        return Verdict("image", _ONE_SORT[sort].format(f"{readable:,} of {total:,} values"), sort)
    return Verdict("image", f"{readable:,} {'PIL images' if sort == 'pil' else 'arrays'}", sort)


def _short(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    text = repr(list(value)) if isinstance(value, (list, tuple)) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def judge_bytes(values: list[bytes]) -> Verdict:
    """Judge bytes, none of them missing; formats without a beginning of their own are known by their header."""
    verdict = judge_images(values)
    if verdict is not None:
        return verdict
    places = np.unique(np.linspace(0, len(values) - 1, OPENED).astype(int))
    if all(opens(values[place]) for place in places):
        return Verdict("image", f"bytes: {len(places)} of {len(places)} that were looked at are images", "bytes")
    images = sum(image_sort(value) != "" for value in values)
    return Verdict("null", f"bytes that are not images: {images:,} of {len(values):,} values begin as image files do")


def given_image_form(present: pd.Series[Any], name: str) -> str:
    """Return the form of a column that the user says holds images; any text may then be a path.

    Args:
        present: Its values, none of them missing.
        name: Its name, for messages.

    Raises:
        ColumnTypeError: Values that are no images, or cannot be read.
    """
    values = present.astype(object).tolist()
    sorts = [image_sort(value) or ("path" if isinstance(value, str | os.PathLike) else "") for value in values]
    bad = np.array([sort not in READABLE for sort in sorts], dtype=bool)
    if bad.any():
        verdict = judge_images([value for value, wrong in zip(values, bad, strict=True) if wrong])
        raise ColumnTypeError(
            f"column_types[{name!r}] is 'image', which takes paths, bytes, PIL images or arrays, but "
            f"{counted(int(bad.sum()), 'value is', 'values are')} none: {first_rows(present.index, bad, present)}."
            + (f" {verdict.reason[0].upper()}{verdict.reason[1:]}." if verdict is not None else "")
        )
    found = sorted(set(sorts))
    return found[0] if len(found) == 1 else "mixed" if found else "path"


def check_images_read(columns: Iterable[Any]) -> None:
    """Check that no column holds images that cannot be read as they are, such as addresses.

    Args:
        columns: The columns (`data.columns.Column`).

    Raises:
        ColumnTypeError: One does; it would be left out, or read as text.
    """
    for column in columns:
        if column.form == NOT_READ:
            raise ColumnTypeError(
                f"Column {column.name!r} of train_data: {column.reason}. To leave the column out, pass "
                f"column_types={{{column.name!r}: 'null'}}; with 'text' names and addresses are read as words."
            )
