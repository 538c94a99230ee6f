"""The state of a project's disk during a run, as far as the next run can tell it from another.

A run that is killed leaves nothing but what is on the disk: its locks, its sessions and its memory
are gone. So two steps between which nothing changes there are one moment to die.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def disk_state(folder: Path) -> int:
    """Return a checksum of what is in a project's folder now."""
    return crc32(repr(sorted(_files(folder))).encode())


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Yield each file and folder with its permissions and the checksum of its content.

    Of a folder of scratch there is only its kind, and whether it has its lock: a run that finds
    its owner dead removes it without a look at the rest.
    """
    scratch = folder / ".cdpsync/tmp"
    for path in folder.rglob("*"):
        if path.parent == scratch:
            kind = path.name.split("-")[0]
            yield f"scratch: {kind}", int((path / "in-use").exists()), 0
        elif scratch not in path.parents:
            try:
                content = path.read_bytes() if path.is_file() else b""
                yield str(path.relative_to(folder)), path.stat().st_mode, crc32(content)
            except FileNotFoundError:
                continue  # removed meanwhile
