"""Folders that live as long as one process; those of dead ones are known by their locks."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.errors import CatalogError
from cdpsync.system import disk, private_files

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK = "in-use"


@contextmanager
def temp_dir(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a folder that only this user can read, and remove it with all it holds."""
    folder: Path | None = None
    try:
        private_files.make_folder(parent.parent)
        private_files.make_folder(parent)
        with exclusive(parent):
            folder = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=parent))
            lock = private_files.open_file(folder / _LOCK, "w")
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise CatalogError(f"{parent}: {disk.write_error(error)}") from error
    with lock:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_stale_dirs(parent: Path) -> None:
    """Remove the private folders whose owners are no more: the kernel let go of their locks."""
    if not parent.exists():
        return
    with exclusive(parent):
        dead = [folder for folder in parent.glob("*-*-*") if _is_dead(folder)]
    for folder in dead:
        shutil.rmtree(folder, ignore_errors=True)


def _is_dead(folder: Path) -> bool:
    """Whether nobody has a folder; one without a lock died before it had one: none is in making."""
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
    """Let no other process make a private folder here, look for dead ones, or name what it made."""
    with private_files.open_file(parent.with_name(f".{parent.name}.lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
