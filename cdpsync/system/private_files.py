"""Files and folders that only their owner can read, whatever the umask."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def open_file(path: Path, mode: str) -> IO[str]:
    """Open a file as `open` does; a new one is readable by its owner only."""
    return open(path, mode, opener=_opener)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def make_folder(folder: Path) -> None:
    """Create a folder for its owner only, and its parents with the usual permissions.

    An existing folder keeps its permissions, because the user may have chosen them.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True, mode=0o700)


def make_private(*files: Path) -> None:
    """Restrict files that a library created to their owner; a file may be missing."""
    for file in files:
        with suppress(FileNotFoundError, PermissionError):
            file.chmod(0o600)
