"""Files and folders that only their owner can read, whatever the umask."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def open_file(path: Path, mode: str) -> IO[str]:
    """Open a file as `open` does; where it is made, for its owner alone."""
    return open(path, mode, opener=_opener)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def make_folder(folder: Path) -> None:
    """Make a folder for its owner alone, where there is none; those above it as they usually are.

    One that is there keeps its permissions: they are somebody's choice.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True, mode=0o700)


def make_private(*files: Path) -> None:
    """Take from others what files that another library made let them do; a file may be missing."""
    for file in files:
        with suppress(FileNotFoundError, PermissionError):
            file.chmod(0o600)
