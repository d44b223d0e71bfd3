"""Faults of options that nobody set in this fit: they come from the predictor that it starts from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from thermocline.config import ResolvedConfig
from thermocline.config.resolved import STARTED
from thermocline.contracts.request import Request
from thermocline.errors import ConfigError, listing


@contextmanager
def told_inherited(request: Request, config: ResolvedConfig) -> Iterator[None]:
    """Say of an error about an option of the earlier fit where its value is from.

    Args:
        request: What was asked for.
        config: The options.

    Raises:
        ConfigError: What was raised, with a sentence more where it names such an option.
    """
    try:
        yield
    except ConfigError as error:
        said = str(error)
        names = [name for name in _inherited(config) if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w]|\.\w)", said)]
        if request.earlier is None or not names:
            raise
        error.args = (
            f"{said} {listing(names)} {'is' if len(names) == 1 else 'are'} as set in the fit that this one starts "
            f"from, {request.earlier.where!r}: give another value in hyperparameters.",
        )
        raise


def _inherited(config: ResolvedConfig) -> list[str]:
    return [name for name, _ in config.items() if config.provenance[name].startswith(STARTED)]
