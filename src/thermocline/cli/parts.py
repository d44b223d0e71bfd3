"""What several commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def load(given: argparse.Namespace) -> Any:
    """Return the saved predictor that a command names."""
    from thermocline.predictor import Predictor

    return Predictor.load(given.model, trust_remote_code=given.trust_remote_code)


@contextmanager
def notes_on_stderr() -> Iterator[None]:
    """Write what predictions note to stderr; stdout holds nothing but the result."""
    import logging

    from thermocline.report.console import LOG

    handler, level = logging.StreamHandler(sys.stderr), LOG.level
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.setLevel(level)
        LOG.removeHandler(handler)


def check_out(file: str | None, option: str = "--out") -> None:
    """What cannot be written must show before the work, not after it."""
    from thermocline.errors import ConfigError

    if file and (Path(file).is_dir() or not Path(file).absolute().parent.is_dir()):
        raise ConfigError(f"{option} {file!r} cannot be written: it is a folder, or lies in one that is not there.")
