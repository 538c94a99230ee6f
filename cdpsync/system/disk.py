"""Files on the disk: syncs them, lets many be open at once, and explains failed writes."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_HINTS = {
    errno.ENOSPC: "the disk is full. Make room there",
    errno.EDQUOT: "the disk quota is used up. Make room there",
    errno.EFBIG: (
        "the file reached the size limit there. Raise the limit (ulimit -f, or the file system's)"
    ),
    errno.EMFILE: "this process has too many files open. Raise the limit (ulimit -n)",
}
_WORDS = {
    "no space left on device": errno.ENOSPC,
    "disk is full": errno.ENOSPC,
    "disk quota exceeded": errno.EDQUOT,
    "file too large": errno.EFBIG,
    "too many open files": errno.EMFILE,
}


def fsync(path: Path) -> None:
    """Sync a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Sync an open file, or an open folder, to the disk.

    On macOS fsync leaves the data in the drive's memory, and F_FULLFSYNC has the drive write it:
    https://developer.apple.com/library/archive/documentation/System/Conceptual/ManPages_iPhoneOS/man2/fsync.2.html
    Some file systems, such as those of a network, have fsync only.
    """
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is not None:
        with suppress(OSError):
            fcntl.fcntl(descriptor, full_sync)
            return
    os.fsync(descriptor)


_OTHER_FILES = 1_000  # connections, files of chunks, merges and uploads


def allow_open_files(count: int) -> None:
    """Let this process have so many more files open, as far as the system's hard limit allows.

    A thousand locks are more than the usual soft limit of 1,024 leaves.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = count + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        with suppress(OSError, ValueError):  # macOS has another limit below an infinite one
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def write_error(error: OSError) -> str:
    """Return the message after a path and a colon: the reason of a failed write, the next step."""
    hint = _HINTS.get(error.errno or 0)
    if hint is None:
        return f"cannot be written: {error.strerror or error}. Nothing was committed."
    return f"{hint}; nothing was committed."


def disk_hint(text: str) -> str | None:
    """Return the hint for DuckDB's text of a failed write; None for another error.

    The hint has no final dot, so that "; nothing was committed." can follow.
    """
    number = next((number for words, number in _WORDS.items() if words in text.lower()), None)
    return None if number is None else _HINTS[number]
