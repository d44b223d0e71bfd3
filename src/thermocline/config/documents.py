"""YAML text to plain Python: `1e-4` is a number, a key given twice is an error, nothing is looked up."""

from __future__ import annotations

import copy
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from thermocline.errors import ConfigError


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds.

    Args:
        text: The YAML.
        where: What the text is, for the error, such as `preset 'mine.yaml'`.

    Raises:
        ConfigError: The text is no YAML, gives one key twice, or holds no mapping at its top.
    """
    import yaml
    from omegaconf.errors import OmegaConfBaseException

    try:
        content = copy.deepcopy(_content(text)) if text.strip() else {}
    except RecursionError:
        raise ConfigError(f"{where} cannot be read as YAML: it is nested too deeply.") from None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
        raise ConfigError(f"{where} cannot be read as YAML: {_one_line(error)}") from error
    if not isinstance(content, dict) or (len(content) == 1 and _is_bare_text(content)):
        raise ConfigError(f"{where} has to be a mapping of options, such as 'optim: {{lr: 1.0e-4}}'.")
    return {str(name): value for name, value in content.items()}


_MOST_VALUES = 100_000


@lru_cache(maxsize=64)  # presets are read at each fit
def _content(text: str) -> Any:
    """Return what OmegaConf reads in a text, which callers copy."""
    from omegaconf import OmegaConf

    _check_aliases(text)
    _check_base_sixty(text)
    return OmegaConf.to_container(OmegaConf.create(text), resolve=False)


def _check_aliases(text: str) -> None:
    """Check that a text stays small once its aliases (`*name`) are written out, which OmegaConf does.

    Raises:
        ValueError: It does not: a few lines of aliases to aliases may stand for millions of values.
    """
    import yaml

    if "*" not in text or "&" not in text:
        return
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = _MOST_VALUES  # an alias to what it lies in has no end
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            parts = [one for pair in pairs for one in pair]
            parts = node.value if isinstance(node, yaml.SequenceNode) else parts
            sizes[id(node)] = 1 + sum(map(size, parts))
        return sizes[id(node)]

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is not None and size(root) >= _MOST_VALUES:
        raise ValueError(f"written out, its aliases (`*name`) are {_MOST_VALUES:,} values or more")


def _check_base_sixty(text: str) -> None:
    """Check that no slice such as `1:3` stands without quotes: YAML 1.1 reads it as a number in base 60, here 63.

    Raises:
        ValueError: One does.
    """
    import yaml

    if not re.search(r"\d:\d", text):
        return
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if not isinstance(event, yaml.ScalarEvent) or event.style is not None:
            continue
        if re.fullmatch(r"[-+]?[1-9][\d_]*(:[0-5]?\d)+", event.value):
            raise ValueError(
                f"{event.value} without quotes is a number in base 60 to YAML; write it in quotes: '{event.value}'"
            )


def read_yaml(path: Path, where: str) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Args:
        path: The file.
        where: What the file is, for the error.

    Raises:
        ConfigError: The file is missing, no UTF-8 text, or not a YAML mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{where} is not there: no file {str(path)!r}.") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where} cannot be read: {_one_line(error)}") from error
    return parse_yaml(text, where)


def _is_bare_text(content: dict[Any, Any]) -> bool:
    """Whether OmegaConf made `{"some words": None}` of a text that is no mapping."""
    name, value = next(iter(content.items()))
    return value is None and not str(name).isidentifier()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
