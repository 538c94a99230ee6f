"""Locks of tables: one file per table, whose lock the kernel releases when its process ends."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from cdpsync.errors import CatalogError, LockHeldError
from cdpsync.system import disk, private_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

log = logging.getLogger("cdpsync.system.locks")

_PATIENCE = 0.5  # seconds, because `status` holds a lock for an instant
PATIENCE_WITH_UPKEEP = 60.0
"""Seconds to wait for upkeep of a table."""
_LONGEST = 150  # bytes of a file's name, because some file systems allow less than 255


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock, as it described itself.

    `upkeep`: it only merges files or the like, and releases the lock soon.
    """

    pid: int
    host: str
    run_id: str
    since: str
    upkeep: bool = False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (run {self.run_id}, since {self.since})"


@dataclass(frozen=True, slots=True)
class Locks:
    """Locks that this process holds, and its description in them."""

    holder: Holder
    files: list[IO[str]]

    def only_upkeep(self) -> None:
        """Write into the locks that only upkeep follows, so that other runs wait for it."""
        with suppress(OSError):  # a full disk: then other runs do not wait
            for file in self.files:
                _describe(file, replace(self.holder, upkeep=True))


@contextmanager
def hold(
    folder: Path,
    names: Iterable[str],
    run_id: str,
    since: str,
    *,
    upkeep: bool = False,
    waits: bool = False,
) -> Iterator[Locks]:
    """Hold the locks of all these tables, or none of them.

    With `waits`, it waits up to a minute for the upkeep of a table. Raises LockHeldError that names
    the process with the first lock that is not free.
    """
    acquired = Locks(Holder(os.getpid(), socket.gethostname(), run_id, since, upkeep), [])
    try:
        for name in sorted(set(names)):
            acquired.files.append(_acquire(folder, name, acquired.holder, waits=waits))
        yield acquired
    finally:
        for file in acquired.files:
            file.truncate(0)
            file.close()


def holder(folder: Path, name: str) -> Holder | None:
    """Return the holder of the lock of this table, or None."""
    return _holder_of(_file(folder, name))


def live_runs(folder: Path) -> set[str]:
    """Return the ids of the runs that hold a lock now."""
    holders = map(_holder_of, folder.glob("*.lock"))
    return {holder.run_id for holder in holders if holder is not None}


def _holder_of(path: Path) -> Holder | None:
    try:
        file = path.open()
    except OSError:  # there is none, or this user cannot read it, and so cannot know
        return None
    with file:
        return None if _try(file, fcntl.LOCK_SH) else _read_holder(file)


def _acquire(folder: Path, name: str, holder: Holder, *, waits: bool) -> IO[str]:
    path = _file(folder, name)
    try:
        private_files.make_folder(folder.parent)
        private_files.make_folder(folder)
        private_files.open_file(path, "a").close()
        file = path.open("r+")  # because "a+" would append each description
    except OSError as error:
        raise CatalogError(f"{path}: {disk.write_error(error)}") from error
    try:
        _wait_for(file, name, waits=waits)
        _describe(file, holder)
    except OSError as error:
        file.close()
        raise CatalogError(f"{path}: {disk.write_error(error)}") from error
    except BaseException:
        file.close()
        raise
    return file


def _wait_for(file: IO[str], name: str, *, waits: bool) -> None:
    start, is_logged = time.monotonic(), False
    deadline, longest = start + _PATIENCE, start + PATIENCE_WITH_UPKEEP
    while not _try(file, fcntl.LOCK_EX):
        holder = _read_holder(file)
        if waits and holder is not None and holder.upkeep:
            deadline = min(time.monotonic() + _PATIENCE, longest)
            if not is_logged:
                log.info("%s: waiting for upkeep by %s", name, holder)
                is_logged = True
        if time.monotonic() > deadline:
            raise LockHeldError(
                f"{name} is being worked on by {holder or 'another process'}. "
                "Wait for it to end, or stop it; then run this again."
            )
        time.sleep(0.02)


def _describe(file: IO[str], holder: Holder) -> None:
    """Write a lock's holder in one call, because another process may read it meanwhile."""
    text = json.dumps(asdict(holder)).encode()
    os.pwrite(file.fileno(), text, 0)
    file.truncate(len(text))


def _try(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(file: IO[str]) -> Holder | None:
    try:
        # Without buffers, because another process may have changed it.
        return Holder(**json.loads(os.pread(file.fileno(), 4096, 0)))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # it holds the lock but has not yet written its name


def _file(folder: Path, name: str) -> Path:
    """Return the lock file of a table, with its name; a long name is cut and gets a digest."""
    encoded = quote(name, safe=".")
    if len(encoded) > _LONGEST:
        digest = sha256(name.encode()).hexdigest()
        encoded = f"{encoded[: _LONGEST - len(digest) - 1]}-{digest}"
    return folder / f"{encoded}.lock"
