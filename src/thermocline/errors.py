"""The named errors: each is a `ThermoclineError` and the builtin it specialises.

A message says what was given, what is allowed and what to do next.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable


class ThermoclineError(Exception):
    """Root of every error that Thermocline raises on purpose.

    Catch it where any of them may be handled alike; what the message says is made to be shown to a user.

    Example:
        >>> from thermocline import ThermoclineError
        >>> try:
        ...     Predictor("verdict", eval_metric="accurracy")
        ... except ThermoclineError as error:
        ...     print(type(error).__name__, isinstance(error, ValueError))
        ConfigError True
    """


class ConfigError(ThermoclineError, ValueError):
    """An option, preset, metric or problem type that does not exist, or a value it does not take.

    Take one of the names or values in the message; `thermocline options NAME` says what an option takes.
    """


class ArgumentError(ThermoclineError, TypeError):
    """An argument that a method does not take, or more of them than it takes.

    Use the name in the message; where it is that of another library, the message says what it is called here.
    """


class SelectorError(ConfigError):
    """A layer selector that matches nothing, cannot be read, or leaves nothing to train.

    Print `predictor.explain(train)`: its rows have the names of the layers; or take a name from the message.
    """


class LayerMapError(ThermoclineError, ValueError):
    """The layers of a model could not be found with confidence.

    Name them with `LayerMap.from_patterns`, or use `lr_choice` `single_lr` or `two_stage`, which need no order.
    """


class DataError(ThermoclineError, ValueError):
    """A frame that cannot be used as it is.

    Change the columns or rows that the message names.
    """


class MissingColumnError(DataError, KeyError):
    """A column that is needed is not in the frame.

    Add it, or correct its name; the message has the names that are close.
    """

    def __str__(self) -> str:  # KeyError would quote the message
        return str(self.args[0]) if self.args else ""


class LabelError(DataError):
    """Labels that cannot be trained on or evaluated against.

    Drop or correct the rows that the message counts; labels that training did not see need a fit with them.
    """


class ColumnTypeError(DataError, TypeError):
    """A column whose values do not fit the type it has or was given.

    Correct the values that are shown, or give the column another type: `fit(column_types={…})`.
    """


class ImageReadError(DataError, OSError):
    """Image files that are missing or cannot be decoded.

    Check the folders in the message; `image_folder` says where relative paths start.
    """

    def __str__(self) -> str:  # OSError would print an errno tuple
        return str(self.args[0]) if self.args else ""


class CheckpointError(ThermoclineError, OSError):
    """Weights, a configuration or a tokenizer that cannot be found, reached or trusted.

    Give a local folder, use `presets="offline"`, or train from random weights with `pretrained=false`.
    """


class ArtifactError(ThermoclineError, OSError):
    """A saved predictor that is missing, damaged, or from a newer version.

    Check the path; load it with the version that wrote it; or fit again.
    """


class OutputExistsError(ThermoclineError, FileExistsError):
    """An output folder that already holds something else.

    Choose another path, or give `overwrite=True` where a saved predictor may be replaced.
    """


class OutputInUseError(ThermoclineError, BlockingIOError):
    """An output folder that another fit or save is writing to.

    Wait until that has ended, or choose another path.
    """


class OutputWriteError(ThermoclineError, OSError):
    """Files that cannot be written: the disk is full, or takes no file of this size.

    Make room, or choose a path on another disk; what was there before is as it was.
    """


class ResumeError(ThermoclineError, ValueError):
    """A checkpoint that is of another run than the one to be resumed.

    Give the data and options that the message lists as different as they were, or fit anew with `resume=False`.
    """


class NotFittedError(ThermoclineError, RuntimeError, AttributeError):
    """A predictor was asked for something that only `fit` brings about; `hasattr` is False until then.

    Call `fit` first, or load a saved one with `Predictor.load`.
    """


class StorageError(ThermoclineError, OSError):
    """The storage of a search that cannot be reached, or holds something else.

    Check path or URL and the name of the study.
    """


class SearchError(ThermoclineError, RuntimeError):
    """A search that gave no model.

    Read why its trials failed in the message; narrow the spaces, or give more time.
    """


class ExportError(ThermoclineError, RuntimeError):
    """A model that cannot be exported to the format that was asked for.

    Choose another format; the message says which part cannot be exported.
    """


class LoggerError(ThermoclineError, RuntimeError):
    """A logger that cannot begin: a folder that cannot be written, a service that is not reached.

    Check the folder or the service, or leave the logger out.
    """


class NonFiniteError(ThermoclineError, ArithmeticError):
    """The loss or the gradient norm stayed infinite or NaN.

    Lower the learning rate, or set `env.precision=fp32`; the message says at which step it began.
    """


class NotEnoughMemoryError(ThermoclineError, MemoryError):
    """A training step does not fit into the memory of the device, however few rows it has at once.

    Freeze more layers, use smaller inputs or a smaller backbone; `recommend(memory=…)` says what fits.
    """


class FrozenError(ThermoclineError, AssertionError):
    """A layer that a plan keeps frozen has changed.

    Build the optimizer from `plan.parameter_groups(model)`, and call `train()` of the applied plan.
    """


class MissingDependencyError(ThermoclineError, ImportError):
    """An optional package is needed; the message says which extra installs it.

    Install it by the line in the message.
    """


class ThermoclineWarning(UserWarning):
    """Root of the warnings: something was done that a user would want to know about.

    Read it; `warnings.filterwarnings("ignore", category=ThermoclineWarning)` hides them all.
    """


def did_you_mean(name: object, choices: Iterable[object], *, limit: int = 3) -> str:
    """Return `" Did you mean 'a' or 'b'?"`, or an empty string where nothing is close.

    Args:
        name: What was given.
        choices: What is allowed.
        limit: The most names to suggest.
    """
    texts = [str(choice) for choice in choices]
    lowered = {text.lower(): text for text in reversed(texts)}
    close = difflib.get_close_matches(str(name).lower(), list(lowered), n=limit, cutoff=0.6)
    if not close:
        return ""
    return " Did you mean " + " or ".join(repr(lowered[text]) for text in close) + "?"


def first_line(error: BaseException, *, limit: int = 300) -> str:
    """Return the first line of an error's message, or its kind where it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:limit]


def listing(items: Iterable[object], *, limit: int = 8) -> str:
    """Return the items as quoted text, cut after `limit` with a count of the rest."""
    texts = [repr(item) for item in items]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more


def escaped(text: str, *, lines: bool = False) -> str:
    """Return a text as a terminal may show it: control characters and those that turn its direction become escapes.

    Args:
        text: Such as the name of a column.
        lines: Whether it may be several lines.
    """
    if text.isprintable():
        return text
    return "".join(one if _is_shown(one) or (lines and one == "\n") else _escape(one) for one in text)


def _is_shown(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs" or letter in "\u200c\u200d"  # joiners


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number with what it counts, such as `"1 row"`, `"1,200 rows"` or `"1 row is"`.

    Args:
        number: How many.
        one: What stands behind 1.
        several: What stands behind any other number; `one` with an s by default.
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"
