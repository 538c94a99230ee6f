"""Temporary folders of processes, each with a lock that shows whether its process is alive."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from cdpsync.errors import CatalogError
from cdpsync.system import disk, private_files

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK = "in-use"
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def temp_dir(parent: Path, prefix: str) -> Iterator[Path]:
    """Create a folder that only this user can read; remove it with its files at the end."""
    try:
        folder, lock = _create(parent, prefix)
    except OSError as error:
        raise CatalogError(f"{parent}: {disk.write_error(error)}") from error
    with lock:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temp_dir_for_reading(parent: Path, prefix: str) -> Iterator[Path]:
    """Create a folder as `temp_dir` does; where this user may not write, one of the system's.

    To look at a lake takes no right to write beside it.
    """
    try:
        folder, lock = _create(parent, prefix)
    except OSError as error:
        if error.errno not in _NOT_ALLOWED:
            raise CatalogError(f"{parent}: {disk.write_error(error)}") from error
        with tempfile.TemporaryDirectory(prefix=f"cdpsync-{prefix}") as name:
            yield Path(name)
        return
    with lock:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _create(parent: Path, prefix: str) -> tuple[Path, IO[str]]:
    """Create a folder with a lock; return both."""
    folder: Path | None = None
    try:
        private_files.make_folder(parent.parent)
        private_files.make_folder(parent)
        with exclusive(parent):
            folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=parent))
            lock = private_files.open_file(folder / _LOCK, "w")
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder, lock


def remove_stale_dirs(parent: Path) -> None:
    """Remove the folders that nobody has locked, because their processes have ended."""
    if not parent.exists():
        return
    with exclusive(parent):
        stale = [folder for folder in parent.glob("*-*-*") if _is_stale(folder)]
    for folder in stale:
        shutil.rmtree(folder, ignore_errors=True)


def _is_stale(folder: Path) -> bool:
    """Whether no process uses a folder.

    One without a lock file is stale, because the caller's lock keeps others from creating one now.
    """
    try:
        with (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def exclusive(parent: Path) -> Iterator[None]:
    """Keep other processes from creating, removing or renaming temporary folders and files here."""
    with private_files.open_file(parent.with_name(f".{parent.name}.lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
