"""Embeddings of one side of pairs, and search: which responses match a query best."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from thermocline.contracts.problem import Assembly
from thermocline.data.image_cells import is_pil
from thermocline.data.nearest import nearest
from thermocline.data.row_names import plain
from thermocline.data.tables import as_frame
from thermocline.errors import ConfigError, DataError, did_you_mean, listing
from thermocline.pipeline.arguments import whole_number
from thermocline.pipeline.corpus import Corpus
from thermocline.pipeline.predict import embed, found_rows
from thermocline.training.run_identity import weights_hash

QUERY, RESPONSE = "query", "response"
TABLES = (".csv", ".tsv", ".parquet", ".pq", ".gz", ".zip")


def embed_side(assembly: Assembly, data: object, side: str | None, **how: Any) -> np.ndarray:
    """Return features float32 `(rows, width)`, of one side of pairs where one is named; see `Predictor.embed`.

    Raises:
        ConfigError: There is no such side.
        DataError: The column is missing, or a cell cannot be read.
    """
    if side is None:
        return embed(assembly, data, **how)
    return _embedded(assembly, data, side, how)[1]


def corpus(assembly: Assembly, data: object, **how: Any) -> Corpus:
    """Return responses with their embeddings; see `Predictor.corpus`."""
    frame, embeddings = _embedded(assembly, data, RESPONSE, how)
    return Corpus(_names(frame.iloc[:, 0]), embeddings, _fingerprint(assembly))


def search(assembly: Assembly, queries: object, given: object, k: int, **how: Any) -> pd.DataFrame:
    """Return the responses that match each query best; see `Predictor.search`."""
    k = whole_number("k", k, 1)
    restricted_to(assembly, QUERY)  # an error where the problem has no sides
    if isinstance(given, Corpus):
        _check_made_by(given, _fingerprint(assembly))
    asked, wanted = _embedded(assembly, queries, QUERY, how)
    found = given if isinstance(given, Corpus) else corpus(assembly, given, **how)
    for rows, what in ((asked, "queries"), (found, "corpus")):
        if not len(rows):
            raise DataError(f"{what} is empty: there is nothing to search{' in' if what == 'corpus' else ''}.")
    k = min(k, len(found))
    places, scores = nearest(wanted, found.embeddings, k, assembly.device)
    responses = pd.Series(list(found.names), dtype=object).to_numpy()
    return pd.DataFrame(
        {
            QUERY: np.repeat(pd.Series(_names(asked.iloc[:, 0]), dtype=object).to_numpy(), k),
            RESPONSE: responses[places.reshape(-1)],
            "score": scores.reshape(-1),
            "rank": np.tile(np.arange(1, k + 1), len(asked)),
        },
        index=asked.index.repeat(k),
    )


def restricted_to(assembly: Assembly, side: str) -> Assembly:
    """Return an assembly that reads one side alone.

    Raises:
        ConfigError: There is no such side.
    """
    sides = assembly.problem.sides(assembly.target)
    if sides and side not in sides:
        raise ConfigError(f"side={side!r} is none of {listing(sides)}.{did_you_mean(side, list(sides))}")
    return assembly.problem.restricted(assembly, side)


def _embedded(assembly: Assembly, data: object, side: str, how: Mapping[str, Any]) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the column of a side, as a frame, and its embeddings. Equal texts are read once, so they are equal."""
    one = restricted_to(assembly, side)
    name = one.columns.used[0]
    frame, how = one_column(data, name), dict(how)
    if not one.columns.of("image") and assembly.columns.of("image"):
        how["image_folder"] = None  # it is for the other side
    if isinstance(frame, (str, os.PathLike)):
        found = found_rows(one, frame, "predict", how.get("image_folder"))
        frame = found.frame
        if found.folder is not None and one.columns.of("image"):
            how["image_folder"] = found.folder
    if name not in frame.columns:
        raise DataError(
            f"The data have no column {name!r}, which is the {side}.{did_you_mean(name, list(frame.columns))} "
            f"They have {listing(frame.columns, limit=10)}. Rename it, or pass the column alone: data['...']."
        )
    frame = frame[[name]]
    cells = frame[name].astype(object)
    if not all(isinstance(cell, str) for cell in cells):
        return frame, embed(one, frame, **how)
    codes, _ = pd.factorize(cells)
    first = np.unique(codes, return_index=True)[1]
    return frame, embed(one, frame.iloc[first], **how)[codes]


def one_column(data: object, name: str) -> Any:
    """Return data as a frame where they are the cells of one column, or one text; a path of a table stays a path."""
    if isinstance(data, os.PathLike) or (isinstance(data, str) and Path(data).suffix.lower() in TABLES):
        return data
    if isinstance(data, str) or is_pil(data):
        return pd.DataFrame({name: pd.Series([data], dtype=object)})
    if isinstance(data, pd.Series) and not (name in data.index and data.index.is_unique):
        return pd.DataFrame({name: data})
    if isinstance(data, list | tuple) and not any(isinstance(one, Mapping) for one in data):
        return pd.DataFrame({name: pd.Series(list(data), dtype=object)})
    return as_frame(pd.DataFrame([data]) if isinstance(data, pd.Series) else data)


def _names(cells: pd.Series[Any]) -> tuple[Any, ...]:
    """Return what each cell is called: its text or path, else its index."""
    return tuple(
        cell if isinstance(cell, str) else _label(label) for cell, label in zip(cells, cells.index, strict=True)
    )


def _label(label: Any) -> Any:
    label = plain(label)
    return label if isinstance(label, str | int | float | bool) else str(label)


def _fingerprint(assembly: Assembly) -> str:
    return weights_hash(assembly.model, assembly.model.state_dict())


def _check_made_by(given: Corpus, fingerprint: str) -> None:
    """Check that the weights that search are those that made the embeddings.

    Raises:
        ConfigError: They are not.
    """
    if fingerprint != given.fingerprint:
        raise ConfigError(
            f"This corpus was made by other weights ({given.fingerprint}) than those of this predictor "
            f"({fingerprint}): their embeddings cannot be compared. Make it again: predictor.corpus(data)."
        )
