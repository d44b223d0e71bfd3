"""Dotted names of modules and parameters: what lies above, inside, or is shared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def prefixes(name: str) -> list[str]:
    """Return `a`, `a.b`, `a.b.c` for `a.b.c`."""
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def join_names(prefix: str, name: str) -> str:
    """Return `prefix.name`, or the name alone where the prefix is empty."""
    return f"{prefix}.{name}" if prefix else name


def is_inside(name: str, path: str) -> bool:
    """Whether a name is `path` or lies inside it; everything lies inside the empty path."""
    return not path or name == path or name.startswith(f"{path}.")


def common_module(names: Sequence[str]) -> str:
    """Return the longest module path that all parameter names share, or `""`."""
    shared = names[0].split(".")[:-1]
    for name in names[1:]:
        shared = shared[: shared_segments(shared, name.split(".")[:-1])]
    return ".".join(shared)


def shared_segments(a: Sequence[str], b: Sequence[str]) -> int:
    """Return how many leading segments two split names share."""
    count = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        count += 1
    return count


def exclusive_module(names: Sequence[str], every: Iterable[str]) -> str:
    """Return the outermost module that holds these parameters and no others of `every`, or `""`."""
    shared = [path for path in prefixes(names[0])[:-1] if all(name.startswith(f"{path}.") for name in names)]
    others = set(every).difference(names)
    alone = (path for path in shared if not any(name.startswith(f"{path}.") for name in others))
    return next(alone, "")
