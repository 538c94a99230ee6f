"""A folder of this machine as a lake's storage."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from cdpsync.errors import LandingError
from cdpsync.system import disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    import duckdb


class FolderStorage:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def root(self) -> str:
        """The folder, with a final slash."""
        return f"{self._folder}/"

    def abort_uploads(self, is_over: Callable[[str, datetime], bool], *, dry_run: bool) -> int:  # noqa: ARG002
        """Do nothing: a folder has no half files under their final names."""
        return 0

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Do nothing: DuckDB reads folders by itself."""

    def refresh(self, con: duckdb.DuckDBPyConnection) -> None:
        """Do nothing: a folder knows no credentials."""

    def close(self) -> None:
        """Do nothing: no connection is held."""

    def ping(self, *, filled: bool = False) -> None:
        """Look whether the folder is there where it has to be: a run makes one that is not."""
        if filled and not self._folder.is_dir():
            raise LandingError(
                f"{self._folder}: the warehouse's folder is not there. Move it back, or let "
                "warehouse.path name where it is."
            )

    def put(self, file: Path, name: str) -> str:
        """Link the file in (copy it from another file system) and wait until the disk has it."""
        target = self._folder / name
        try:
            _make_folders(target.parent)
            disk.fsync(file)
            try:
                target.hardlink_to(file)
            except FileExistsError:
                raise
            except OSError:  # another file system, or one without links
                with target.open("xb") as copy:
                    _fill(copy, file)
            disk.fsync(target.parent)
        except OSError as error:
            raise _landing_error(target, error) from error
        return str(target)

    def replace(self, file: Path, name: str) -> None:
        """Write a copy beside the older one and rename it; remove what others left half copied."""
        target = self._folder / name
        draft = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
        try:
            _make_folders(target.parent)
            _remove_dead_drafts(target)
            with draft.open("xb") as copy:
                fcntl.flock(copy, fcntl.LOCK_EX)
                _fill(copy, file)
                draft.replace(target)
            disk.fsync(target.parent)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise _landing_error(target, error) from error

    def read(self, name: str) -> bytes:
        """Read a file."""
        path = self._folder / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise LandingError(f"{path}: cannot be read: {error.strerror}.") from error

    def remove(self, name: str) -> None:
        """Remove a file that was put."""
        path = self._folder / name
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise LandingError(f"{path}: cannot be removed: {error.strerror}.") from error

    def check(self) -> None:
        """Write, read and remove a probe file."""
        probe = self._folder / f".cdpsync-probe-{uuid.uuid4().hex}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"probe")
            if probe.read_bytes() != b"probe":
                raise LandingError(f"{self._folder}: what was written does not read back the same.")
            probe.unlink()
        except OSError as error:
            raise _landing_error(probe, error) from error


def _fill(copy: BinaryIO, file: Path) -> None:
    with file.open("rb") as source:
        shutil.copyfileobj(source, copy, 1 << 20)
    copy.flush()
    os.fsync(copy.fileno())


def _remove_dead_drafts(target: Path) -> None:
    """Remove the drafts of this file whose writers died: the kernel let go of their locks."""
    for draft in target.parent.glob(f".{target.name}-*"):
        with suppress(OSError), draft.open("rb") as left:  # someone's at work, or gone by now
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.unlink()


def _make_folders(folder: Path) -> None:
    """Make a folder and those above it, and wait until the disk has each."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    with suppress(PermissionError):  # who may make a folder here need not be one who may list it
        disk.fsync(folder.parent)


def _landing_error(path: Path, error: OSError) -> LandingError:
    return LandingError(f"{path}: {disk.write_error(error)}")
