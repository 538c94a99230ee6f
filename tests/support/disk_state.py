"""The state of a project's disk during a run, as far as the next run can tell it from another.

A run that is killed leaves nothing but what is on the disk: its locks, its sessions and its memory
are gone. So two steps between which nothing changes there are one moment to die.
"""

from __future__ import annotations

import os
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
    """Return checksums of what is in a project's folder now.

    Files are strings here, three times as fast as paths: the run waits at each of its steps.
    """
    scratch, *beside = (f"{folder}/.cdpsync/{name}" for name in ("tmp", "locks", "runs"))
    lake: list[object] = []
    remnants: list[object] = []
    for parent, folders, names in os.walk(folder):
        if parent == scratch:
            remnants += [_scratch(parent, name) for name in folders]
            folders.clear()
        for name in (*folders, *names):
            path = f"{parent}/{name}"
            try:
                mode = os.stat(path).st_mode  # noqa: PTH116 - see above
                content = b"" if name in folders else _content(path)
            except FileNotFoundError:
                continue  # removed meanwhile
            if parent in beside:
                remnants.append(_remnant(path, mode, content))
            else:
                lake.append((path, mode, crc32(content)))
    return DiskState(_checksum(lake), _checksum(remnants))


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - see above
        return file.read()


def _checksum(files: Sequence[object]) -> int:
    return crc32(repr(sorted(map(repr, files))).encode())


def _scratch(parent: str, name: str) -> tuple[str, bool]:
    """Return the kind of a folder of scratch, and whether it has its lock.

    A run that finds its owner dead removes it without a look at the rest.
    """
    has_lock = os.path.exists(f"{parent}/{name}/in-use")  # noqa: PTH110 - see above
    return f"scratch: {name.split('-')[0]}", has_lock


def _remnant(path: str, mode: int, content: bytes) -> tuple[str, int, bytes]:
    """Return an entry of the journal, or a lock and whether upkeep or another has described it.

    Which process that was, and which run, does not matter once it is dead.
    """
    folder, name = path.rsplit("/", 2)[1:]
    if folder == "runs":
        return "runs", mode, content
    return name, mode, content.partition(b'"upkeep"')[2]
