"""Who is at work: one lock file per table, held by the kernel and gone with its process."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from cdpsync import disk, private
from cdpsync.errors import CatalogError, LockHeldError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_PATIENCE = 0.5  # seconds: `status` holds a lock for an instant when it looks
_LONGEST = 150  # bytes of a file's name: file systems take 255 with the suffix, some a little less


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock, as it described itself."""

    pid: int
    host: str
    run_id: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (run {self.run_id}, since {self.since})"


@contextmanager
def hold(folder: Path, names: Iterable[str], run_id: str, since: str) -> Iterator[None]:
    """Hold the locks of these tables together, or none of them.

    Raises LockHeldError that names the process which holds the first one missing.
    """
    files: list[IO[str]] = []
    me = {"pid": os.getpid(), "host": socket.gethostname(), "run_id": run_id, "since": since}
    try:
        for name in sorted(set(names)):
            files.append(_acquire(folder, name, json.dumps(me)))  # noqa: PERF401 - kept when one fails
        yield
    finally:
        for file in files:
            file.truncate(0)
            file.close()


def holder(folder: Path, name: str) -> Holder | None:
    """Return who holds the lock of this table, or None."""
    return _holder_of(_file(folder, name))


def live_runs(folder: Path) -> set[str]:
    """Return the runs that hold a lock at this moment."""
    held = map(_holder_of, folder.glob("*.lock"))
    return {one.run_id for one in held if one is not None}


def _holder_of(path: Path) -> Holder | None:
    if not path.exists():
        return None
    with path.open("a+") as file:
        return None if _try(file, fcntl.LOCK_SH) else _read_holder(file)


def _acquire(folder: Path, name: str, description: str) -> IO[str]:
    path = _file(folder, name)
    try:
        private.make_folder(folder.parent)
        private.make_folder(folder)
        file = private.open_file(path, "a+")
    except OSError as error:
        raise CatalogError(f"{path}: {disk.refusal(error)}") from error
    deadline = time.monotonic() + _PATIENCE
    while not _try(file, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            who = _read_holder(file)
            file.close()
            raise LockHeldError(
                f"{name} is being worked on by {who or 'another process'}. "
                "Wait for it to end, or stop it; then run this again."
            )
        time.sleep(0.02)
    try:
        file.truncate(0)
        os.write(file.fileno(), description.encode())
    except OSError as error:
        file.close()
        raise CatalogError(f"{path}: {disk.refusal(error)}") from error
    return file


def _try(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(file: IO[str]) -> Holder | None:
    file.seek(0)
    try:
        said = json.loads(file.read())
        return Holder(said["pid"], said["host"], said["run_id"], said["since"])
    except (ValueError, KeyError, TypeError):
        return None  # it holds the lock but has not yet written its name


def _file(folder: Path, name: str) -> Path:
    """Return the lock file of a table: its name, of a long one the beginning and a digest."""
    encoded = quote(name, safe=".")
    if len(encoded) > _LONGEST:
        digest = sha256(name.encode()).hexdigest()
        encoded = f"{encoded[: _LONGEST - len(digest) - 1]}-{digest}"
    return folder / f"{encoded}.lock"
