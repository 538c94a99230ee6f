"""The memory that a process may use, and the parts of it that its steps get.

Each part is a limit of DuckDB's, not an allocation: what does not fit is written to the disk, where
DuckDB can do that.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST = 64_000_000  # bytes of `warehouse.memory`
_SHARE = 0.6  # of the machine's memory: Python, drivers and the system need some, too
_LARGE_ROWS = 400_000_000  # bytes of chunks with large rows, so that few are read at once
_ROW_GROUP = 32_000_000  # bytes of a row group, which is in memory as a whole
_ROW_GROUP_PART = 6  # of a connection's memory, for a row group
_UNLIMITED = 1 << 62  # cgroups of version 1 write a number near 2^63 where there is no limit


@dataclass(frozen=True, slots=True)
class MemoryBudget:
    """The memory of one process, and how many workers read at once."""

    total: int
    workers: int = 1

    @property
    def reading(self) -> int:
        """The bytes of all workers together."""
        return self.total * 3 // 8

    @property
    def worker(self) -> int:
        """The bytes of one worker."""
        return self.reading // self.workers

    @property
    def large_rows(self) -> int:
        """The bytes of all chunks with large rows that are read at once."""
        return min(_LARGE_ROWS, self.reading)

    @property
    def lake(self) -> int:
        """The bytes of the connection that reads and writes the lake."""
        return self.total * 3 // 8

    @property
    def merge(self) -> int:
        """The bytes of the merges that do not read the lake."""
        return self.total // 4


def memory_budget(setting: int | None, workers: int = 1) -> MemoryBudget:
    """Return the budget of `warehouse.memory`; None: a share of the machine's memory."""
    return MemoryBudget(setting or max(LEAST, int(machine_memory() * _SHARE)), workers)


def row_group_bytes(memory: int) -> int:
    """Return the bytes of a row group that a connection with this memory writes."""
    return min(_ROW_GROUP, memory // _ROW_GROUP_PART)


def machine_memory(root: Path = Path("/")) -> int:
    """Return the bytes of memory that this machine has, or its container or service may use.

    `root` has the folders `proc` and `sys`.
    """
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_cgroup_limits(root)])


def _cgroup_limits(root: Path) -> Iterator[int]:
    """Return the limits of this process's control groups and of the groups around them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # another system than Linux
        return
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0":
            folder, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        inner = Path(group.lstrip("/"))
        # In a container, its own group may be the root of the folder, whatever its name outside.
        for part in (inner, *inner.parents):
            limit = _limit(folder / part / name)
            if limit is not None:
                yield limit


def _limit(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and 0 < int(text) < _UNLIMITED else None
