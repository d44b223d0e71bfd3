"""Arguments of what is shown, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from thermocline.contracts.problem import Assembly
from thermocline.errors import ConfigError, DataError, MissingColumnError, did_you_mean, listing
from thermocline.pipeline.arguments import shown


def used_columns(assembly: Assembly, given: Any, *, what: str = "columns") -> list[str]:
    """Return columns that the model reads, in their order; None: all of them.

    Raises:
        MissingColumnError: There is no such column.
        ConfigError: It is not a list, or names a column that the model does not read, or one twice.
    """
    columns = assembly.columns
    if given is None:
        return list(columns.used)
    names = [given] if isinstance(given, str) else given
    if isinstance(names, dict) or not isinstance(names, Iterable):
        raise ConfigError(f"{what} is the name of a column or a list of names, not {shown(given)}.")
    names = list(names)
    if not names:
        raise ConfigError(f"{what} is an empty list. Name columns of {listing(columns.used)}, or leave it out for all.")
    if len(set(map(str, names))) < len(names):
        raise ConfigError(f"{what} names a column twice: {listing(names)}.")
    for name in names:
        _check_used(assembly, name, what)
    return [name for name in columns.used if name in names]


def _check_used(assembly: Assembly, name: object, what: str) -> None:
    columns = assembly.columns
    if name in columns.used:
        return
    if name in assembly.target.labels:
        raise ConfigError(f"{what} names {name!r}, which is the label. The model reads {listing(columns.used)}.")
    unused = {column.name: column.reason for column in columns if column.kind == "null"}
    if name in unused:
        why = f" ({unused[str(name)]})" if unused[str(name)] else ""
        raise ConfigError(
            f"{what} names {name!r}, which the model does not read{why}: it changes no prediction. The model reads "
            f"{listing(columns.used)}."
        )
    raise MissingColumnError(
        f"{what} names {name!r}, and there is no such column. The model reads {listing(columns.used)}."
        f"{did_you_mean(name, columns.used)}"
    )


def check_some_rows(count: int, what: str) -> None:
    """Check that there is a row to show.

    Raises:
        DataError: There is none.
    """
    if not count:
        raise DataError(f"The data have no rows: there is nothing for {what}. Give a frame with at least one row.")
