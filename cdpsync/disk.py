"""What the system says against a write: the disk is full, a quota, a limit; and what to do then."""

from __future__ import annotations

import errno

_REFUSALS = {
    errno.ENOSPC: "the disk is full. Make room there; nothing was committed.",
    errno.EDQUOT: "the disk quota is used up. Make room there; nothing was committed.",
    errno.EFBIG: (
        "a file may not become larger there. Raise the limit (ulimit -f, or the file system's); "
        "nothing was committed."
    ),
}
_WORDS = {
    "No space left on device": errno.ENOSPC,
    "disk is full": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "File too large": errno.EFBIG,
}


def refusal(error: OSError) -> str:
    """Return what follows a path and a colon: why it cannot be written, and the next step."""
    said = _REFUSALS.get(error.errno or 0)
    return said or f"cannot be written: {error.strerror or error}. Nothing was committed."


def refusal_in(text: str) -> str | None:
    """Return the same for what DuckDB says of a failed write; None when it speaks of another."""
    for words, number in _WORDS.items():
        if words.lower() in text.lower():
            return _REFUSALS[number]
    return None
