"""The disk: that it has what was written, and what the system says when it does not take it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ADVICE = {
    errno.ENOSPC: "the disk is full. Make room there",
    errno.EDQUOT: "the disk quota is used up. Make room there",
    errno.EFBIG: (
        "a file may not become larger there. Raise the limit (ulimit -f, or the file system's)"
    ),
}
_WORDS = {
    "no space left on device": errno.ENOSPC,
    "disk is full": errno.ENOSPC,
    "disk quota exceeded": errno.EDQUOT,
    "file too large": errno.EFBIG,
}


def fsync(path: Path) -> None:
    """Return when a file, or what stands in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_error(error: OSError) -> str:
    """Return what follows a path and a colon: why it cannot be written, and the next step."""
    said = _ADVICE.get(error.errno or 0)
    if said is None:
        return f"cannot be written: {error.strerror or error}. Nothing was committed."
    return f"{said}; nothing was committed."


def disk_hint(text: str) -> str | None:
    """Return what to do about a failed write of DuckDB's, by its words; None for another error.

    A sentence and a half: what follows may be "; nothing was committed."
    """
    said = next((number for words, number in _WORDS.items() if words in text.lower()), None)
    return None if said is None else _ADVICE[said]
