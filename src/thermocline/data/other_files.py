"""Files that are not read: what reads them, for the error."""

from __future__ import annotations

import re
from pathlib import Path

from thermocline.errors import DataError

_ADDRESS = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
"""How the address of a file on another machine begins."""

PARQUET = (".parquet", ".pq")
TABLES = (".csv", ".tsv", *PARQUET)
"""Extensions of files that are read."""

_READERS = {
    ".jsonl": "read_json({path}, lines=True)",
    ".ndjson": "read_json({path}, lines=True)",
    ".json": "read_json({path})",
    ".feather": "read_feather({path})",
    ".arrow": "read_feather({path})",
    ".orc": "read_orc({path})",
    ".xlsx": "read_excel({path})",
    ".xls": "read_excel({path})",
    ".ods": "read_excel({path})",
    ".xml": "read_xml({path})",
    ".html": "read_html({path})[0]",
    ".dta": "read_stata({path})",
    ".sas7bdat": "read_sas({path})",
    ".sav": "read_spss({path})",
    ".h5": "read_hdf({path})",
    ".pkl": "read_pickle({path})",
    ".pickle": "read_pickle({path})",
    ".txt": "read_csv({path}, sep=None, engine='python')",
    ".data": "read_csv({path}, sep=None, engine='python')",
    ".zip": "read_csv({path})",
    ".gz": "read_csv({path})",
}
"""What reads the files of an extension in pandas."""


def how_to_read(path: Path, kind: str) -> str:
    """Return what to do with a path that is no .csv, .tsv or .parquet file: a sentence, or an empty text.

    Args:
        path: The path.
        kind: Its extension.
    """
    if path.is_dir():
        tables = sorted(file for file in path.iterdir() if file.suffix.lower() in TABLES)
        if len(tables) < 2:
            return f" It holds {tables[0].name!r}: pass the path of that file." if tables else ""
        suffix = tables[0].suffix
        every = f"Path({str(path)!r}).glob('*{suffix}')"
        return f" It is a folder of tables: pass `pd.concat(map(pd.{_reader(suffix)}, {every}), ignore_index=True)`."
    if kind in (".yaml", ".yml"):
        return f" A preset is given as presets={str(path)!r}, options as hyperparameters={str(path)!r}."
    reader = _READERS.get(kind, "")
    return f" Pass `pd.{reader.format(path=repr(str(path)))}`." if reader else ""


def check_path(given: str) -> None:
    """Check that a text is a path, and no address of another machine and no content of a file.

    Raises:
        DataError: It is one of these.
    """
    if "\n" in given:
        raise DataError(
            f"{given[:40]!r}… has several lines, so it is no path. For the content of a file pass "
            "`pd.read_csv(io.StringIO(text))`."
        )
    if _ADDRESS.match(given):
        suffix = Path(given.split("?")[0]).suffix.lower()
        raise DataError(
            f"{given!r} is an address, not a path. Download the file and pass its path, or pass "
            f"`pd.{_reader(suffix)}({given!r})`."
        )


def of_no_file(path: Path) -> str:
    """Return what to do with a path at which there is nothing: a pattern of many, a text; or an empty text."""
    if any(letter in str(path) for letter in "*?["):
        every = f"map(pd.{_reader(path.suffix)}, glob.glob({str(path)!r}))"
        return f" For all files of a pattern pass `pd.concat({every}, ignore_index=True)`."
    if not path.suffix and " " in path.name.strip():
        return " A text is a value of a column: pass `{'column': [text]}`."
    return ""


def _reader(suffix: str) -> str:
    """Return the function of pandas that reads tables of an extension."""
    return "read_parquet" if suffix.lower() in PARQUET else "read_csv"
