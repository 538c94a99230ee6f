"""A folder of this machine as a lake's storage."""

from __future__ import annotations

import fcntl
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
        """Do nothing: a folder has no unfinished files under their final names."""
        return 0

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Do nothing: DuckDB reads local files by itself."""

    def refresh(self, con: duckdb.DuckDBPyConnection) -> None:
        """Do nothing: a folder needs no credentials."""

    def close(self) -> None:
        """Do nothing: a folder has no connection."""

    def ping(self, *, filled: bool = False) -> None:
        """Check that the folder exists if it must; otherwise a run creates it."""
        if filled and not self._folder.is_dir():
            raise LandingError(
                f"{self._folder}: the warehouse's folder does not exist. Move it back, or set "
                "warehouse.path to where it is."
            )

    def put(self, file: Path, name: str) -> str:
        """Link the file (or copy it from another file system) and sync it to the disk."""
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
                    _copy_into(copy, file)
            disk.fsync(target.parent)
        except OSError as error:
            raise _landing_error(target, error) from error
        return str(target)

    def replace(self, file: Path, name: str) -> None:
        """Write a draft and rename it; remove the drafts of processes that died."""
        target = self._folder / name
        draft = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
        try:
            _make_folders(target.parent)
            _remove_dead_drafts(target)
            with draft.open("xb") as copy:
                fcntl.flock(copy, fcntl.LOCK_EX)
                _copy_into(copy, file)
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
                raise LandingError(f"{self._folder}: a probe file reads back with another content.")
            probe.unlink()
        except OSError as error:
            raise _landing_error(probe, error) from error


def _copy_into(copy: BinaryIO, file: Path) -> None:
    with file.open("rb") as source:
        shutil.copyfileobj(source, copy, 1 << 20)
    copy.flush()
    disk.sync(copy.fileno())


def _remove_dead_drafts(target: Path) -> None:
    """Remove the drafts of this file that nobody has locked, because their writers died."""
    for draft in target.parent.glob(f".{target.name}-*"):
        with suppress(OSError), draft.open("rb") as file:  # it is locked, or removed by now
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.unlink()


def _make_folders(folder: Path) -> None:
    """Create a folder and its parents, and sync each to the disk."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    with suppress(PermissionError):  # the permission to create a folder does not include to list it
        disk.fsync(folder.parent)


def _landing_error(path: Path, error: OSError) -> LandingError:
    return LandingError(f"{path}: {disk.write_error(error)}")
