"""Who is at work: one lock file per table, held by the kernel and gone with its process."""

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

_PATIENCE = 0.5  # seconds: `status` holds a lock for an instant when it looks
PATIENCE_WITH_UPKEEP = 60.0
"""Seconds to wait for whoever only tidies a table."""
_LONGEST = 150  # bytes of a file's name: file systems take 255 with the suffix, some a little less


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock, as it described itself.

    `upkeep`: it merges files or the like, and lets go soon.
    """

    pid: int
    host: str
    run_id: str
    since: str
    upkeep: bool = False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (run {self.run_id}, since {self.since})"


@dataclass(frozen=True, slots=True)
class Held:
    """Locks that this process holds, and what they say of it."""

    me: Holder
    files: list[IO[str]]

    def only_upkeep(self) -> None:
        """Say that from now on the tables are only tidied: who wants them may wait."""
        with suppress(OSError):  # a full disk: then nobody waits
            for file in self.files:
                _describe(file, replace(self.me, upkeep=True))


@contextmanager
def hold(
    folder: Path,
    names: Iterable[str],
    run_id: str,
    since: str,
    *,
    upkeep: bool = False,
    waits: bool = False,
) -> Iterator[Held]:
    """Hold the locks of these tables together, or none of them.

    With `waits`, a table that is only being tidied is waited for, up to a minute. Raises
    LockHeldError that names the process which holds the first one missing.
    """
    held = Held(Holder(os.getpid(), socket.gethostname(), run_id, since, upkeep), [])
    try:
        for name in sorted(set(names)):
            held.files.append(_acquire(folder, name, held.me, waits=waits))
        yield held
    finally:
        for file in held.files:
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


def _acquire(folder: Path, name: str, me: Holder, *, waits: bool) -> IO[str]:
    path = _file(folder, name)
    try:
        private_files.make_folder(folder.parent)
        private_files.make_folder(folder)
        private_files.open_file(path, "a").close()
        file = path.open("r+")  # "a+" would put each description behind the last
    except OSError as error:
        raise CatalogError(f"{path}: {disk.write_error(error)}") from error
    try:
        _wait_for(file, name, waits=waits)
        _describe(file, me)
    except OSError as error:
        file.close()
        raise CatalogError(f"{path}: {disk.write_error(error)}") from error
    except BaseException:
        file.close()
        raise
    return file


def _wait_for(file: IO[str], name: str, *, waits: bool) -> None:
    start, told = time.monotonic(), False
    deadline, longest = start + _PATIENCE, start + PATIENCE_WITH_UPKEEP
    while not _try(file, fcntl.LOCK_EX):
        who = _read_holder(file)
        if waits and who is not None and who.upkeep:
            deadline = min(time.monotonic() + _PATIENCE, longest)
            if not told:
                log.info("%s: waiting for upkeep by %s", name, who)
                told = True
        if time.monotonic() > deadline:
            raise LockHeldError(
                f"{name} is being worked on by {who or 'another process'}. "
                "Wait for it to end, or stop it; then run this again."
            )
        time.sleep(0.02)


def _describe(file: IO[str], me: Holder) -> None:
    """Write who holds a lock, never less than all of it: it may be read meanwhile."""
    said = json.dumps(asdict(me)).encode()
    os.pwrite(file.fileno(), said, 0)
    file.truncate(len(said))


def _try(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(file: IO[str]) -> Holder | None:
    try:
        said = json.loads(os.pread(file.fileno(), 4096, 0))  # past the buffers: it may have changed
        return Holder(**said)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # it holds the lock but has not yet written its name


def _file(folder: Path, name: str) -> Path:
    """Return the lock file of a table: its name, of a long one the beginning and a digest."""
    encoded = quote(name, safe=".")
    if len(encoded) > _LONGEST:
        digest = sha256(name.encode()).hexdigest()
        encoded = f"{encoded[: _LONGEST - len(digest) - 1]}-{digest}"
    return folder / f"{encoded}.lock"
