"""Private files of a running program: a folder that ends with it, and files that only we read."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK = "in use"


def make_folder(folder: Path) -> Path:
    """Make a folder that only its owner can enter, and each that is missing above it; return it."""
    if not folder.parent.exists():
        make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def open_lock(file: Path) -> IO[str]:
    """Open a file to lock it; a new one is readable by its owner only."""
    return open(file, "a", opener=lambda path, flags: os.open(path, flags, 0o600))


def write_private(file: Path, text: str) -> None:
    """Write a new file that only its owner can read. Raises FileExistsError."""
    number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "w", encoding="utf-8") as opened:
        opened.write(text)


def replace_private(file: Path, text: str) -> None:
    """Write a private file, whole and on the disk before it takes the place of an older one."""
    make_folder(file.parent)
    number, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(number, "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(number)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_json(file: Path) -> dict[str, Any] | None:  # Any: JSON
    """Return the object in a JSON file; None where there is none."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


@contextmanager
def private_folder(parent: Path | None) -> Iterator[Path]:
    """Make a private folder under `parent`, and remove it at the end, whatever the end is.

    Folders of processes that were killed are removed first. Without a parent it is a temporary one.
    """
    if parent is None:
        with tempfile.TemporaryDirectory(prefix="cdpsync-") as name:
            yield Path(name)
        return
    make_folder(parent)
    with open_lock(parent / ".lock") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        _sweep(parent)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix="work-"))
        lock = open_lock(folder / _LOCK)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


def _sweep(parent: Path) -> None:
    """Remove the folders whose process has ended. The caller holds the lock of new ones."""
    for folder in parent.glob("work-*"):
        with suppress(OSError), open_lock(folder / _LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
