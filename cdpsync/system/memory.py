"""The memory that a process may use, and the parts of it that its steps get.

Each part is a limit of DuckDB's, not an allocation: what does not fit is written to the disk, where
DuckDB can do that.
"""

from __future__ import annotations

import os
import re
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
        return self.total // 2

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
        return self.total // 4

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


def size_text(size: int) -> str:
    """Return bytes as `warehouse.memory` takes them: 1.5GB, 64MB."""
    return f"{size / 1e9:.1f}GB" if size >= 1e9 else f"{-(-size // 1_000_000)}MB"


def memory_fault(text: str) -> str | None:
    """Return that memory ran out, and of how much, for DuckDB's text; None for another error.

    It has no final dot, so that "; nothing was committed." can follow.
    """
    if "Out of Memory" not in text or "max_temp_directory_size" in text:
        return None
    limit = re.search(r"/([0-9.]+) ([KMGT]?i?B|bytes) used", text)
    amount = f"the {_in_thousands(limit[1], limit[2])} of memory" if limit else "the memory"
    size = re.search(r"of size ([0-9.]+) ([KMGT]?i?B|bytes)", text)
    needed = f" when {_in_thousands(size[1], size[2])} more were needed" if size else ""
    return f"{amount} that it may use ran out{needed}"


def _in_thousands(number: str, unit: str) -> str:
    """Return a size of DuckDB's messages, which count in 1024, as `size_text` does."""
    power = "KMGT".find(unit[0]) + 1 if unit != "bytes" else 0
    return size_text(int(float(number) * (1024 if "i" in unit else 1000) ** power))


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
