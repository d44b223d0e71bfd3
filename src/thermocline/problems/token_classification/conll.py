"""CoNLL files: a token and its tag a line, an empty line between sentences."""

from __future__ import annotations

from pathlib import Path

from thermocline.errors import DataError, LabelError, did_you_mean
from thermocline.problems.token_classification.info import INFO

DOCUMENT = "-DOCSTART-"


def is_conll(path: Path) -> bool:
    """Whether a path is a CoNLL file by its name."""
    return path.suffix.lower() in INFO.file_types


def read_conll(path: Path) -> tuple[list[list[str]], list[list[str]]]:
    """Return tokens and tags of each sentence: the first and the last field of each line.

    Fields are parted by tabs where a line has some, else by spaces. Lines of `-DOCSTART-` and comments before a
    sentence, which begin with `# `, are left out.

    Raises:
        DataError: No such file, or one that is not UTF-8 or has no sentence.
        LabelError: A line that has no tag; the message names file and line.
    """
    if not path.is_file():
        near = did_you_mean(path.name, [one.name for one in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise DataError(f"The file {str(path)!r} does not exist.{near}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{str(path)!r} is not UTF-8 ({error.reason} at byte {error.start}). Convert it.") from None
    tokens: list[list[str]] = [[]]
    tags: list[list[str]] = [[]]
    for number, line in enumerate(text.split("\n"), start=1):
        fields = _fields(line)
        if not fields or fields[0] == DOCUMENT:
            if tokens[-1]:
                tokens.append([])
                tags.append([])
            continue
        if not tokens[-1] and line.startswith("# ") and not _is_tag(fields[-1]):
            continue
        if len(fields) < 2:
            raise LabelError(f"{str(path)!r}, line {number}: {line.strip()[:60]!r} has a token and no tag.")
        tokens[-1].append(fields[0])
        tags[-1].append(fields[-1])
    if not tokens[-1]:
        del tokens[-1], tags[-1]
    if not tokens:
        raise DataError(f"{str(path)!r} has no sentence: each line is a token and its tag.")
    return tokens, tags


def _fields(line: str) -> list[str]:
    line = line.rstrip("\r")
    return [one.strip() for one in line.split("\t")] if "\t" in line.strip() else line.split()


def _is_tag(field: str) -> bool:
    return field == "O" or (len(field) > 2 and field[1] == "-")
