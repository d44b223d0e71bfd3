"""How much memory caches may take, shared by all of them."""

from __future__ import annotations

from pathlib import Path

GIGABYTE = 10**9
SHARE = 0.25  # of the free memory
CONTROL_GROUP = Path("/sys/fs/cgroup")


class Budget:
    """Bytes of memory that the caches of a fit share.

    Args:
        size: Bytes in all.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.left = size

    @classmethod
    def of(cls, gigabytes: float | None) -> Budget:
        """Return a budget.

        Args:
            gigabytes: Its size in 10⁹ bytes; `None` for a quarter of what is free now, that of a container included.
        """
        return cls(int(SHARE * free_memory() if gigabytes is None else gigabytes * GIGABYTE))

    def take(self, size: int) -> bool:
        """Take `size` bytes, all or none, and return whether there were enough."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def give_back(self, size: int) -> None:
        """Give back bytes that were taken."""
        self.left = min(self.left + size, self.size)

    def __repr__(self) -> str:
        return f"Budget({self.left / GIGABYTE:.2f} of {self.size / GIGABYTE:.2f} GB left)"


def free_memory() -> int:
    """Return the bytes of memory that are free, or could be at once, for this process."""
    import psutil  # type: ignore[import-untyped]

    free = int(psutil.virtual_memory().available)
    in_group = _free_in_group(CONTROL_GROUP)
    return free if in_group is None else max(0, min(free, in_group))


def _free_in_group(folder: Path) -> int | None:
    """Return what a container's limit leaves (cgroup v2, then v1), or `None` where there is no limit."""
    for limit, used, stat in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        try:
            most, taken = int((folder / limit).read_text()), int((folder / used).read_text())
            lines = dict(line.split() for line in (folder / stat).read_text().splitlines())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        # files that were read and would be dropped at need
        return most - taken + int(lines.get("total_inactive_file", lines.get("inactive_file", 0)))
    return None
