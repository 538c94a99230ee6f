"""The state of a project's disk during a run, as far as the next run can tell it from another.

A run that is killed leaves nothing but what is on the disk: its locks, its sessions and its memory
are gone. So two steps between which nothing changes there are one moment to die.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class DiskState(NamedTuple):
    """The lake, which is the project, its warehouse, catalog and state file, and the remnants.

    The remnants are what a run leaves beside the lake and its own: descriptions in locks, its entry
    in the journal, scratch. They are the same for each table, in whichever mode it is loaded.
    """

    lake: int
    remnants: int


def disk_state(folder: Path) -> DiskState:
    """Return checksums of what is in a project's folder now."""
    own = folder / ".cdpsync"
    scratch, beside = own / "tmp", {own / "locks", own / "runs", own / "tmp"}
    lake, remnants = [], []
    for path in folder.rglob("*"):
        if scratch in path.parents:
            if path.parent == scratch:
                remnants.append(_scratch(path))
            continue
        try:
            mode, content = path.stat().st_mode, path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue  # removed meanwhile
        name = str(path.relative_to(folder))
        if path.parent in beside:
            remnants.append(_remnant(path, name, mode, content))
        else:
            lake.append((name, mode, crc32(content)))
    return DiskState(_checksum(lake), _checksum(remnants))


def _checksum(files: Sequence[object]) -> int:
    return crc32(repr(sorted(map(repr, files))).encode())


def _scratch(folder: Path) -> tuple[str, bool]:
    """Return the kind of a folder of scratch, and whether it has its lock.

    A run that finds its owner dead removes it without a look at the rest.
    """
    return f"scratch: {folder.name.split('-')[0]}", (folder / "in-use").exists()


def _remnant(path: Path, name: str, mode: int, content: bytes) -> tuple[str, int, bytes]:
    """Return an entry of the journal, or a lock and whether upkeep or another has described it.

    Which process that was, and which run, does not matter once it is dead.
    """
    if path.parent.name == "runs":
        return "runs", mode, content
    return name, mode, content.partition(b'"upkeep"')[2]
