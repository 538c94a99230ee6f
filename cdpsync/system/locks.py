"""Locks of tables: one file per table, whose lock the kernel releases when its process ends."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from cdpsync.errors import CatalogError, LockHeldError
from cdpsync.system import disk, private_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

log = logging.getLogger("cdpsync.system.locks")

_PATIENCE = 0.5  # seconds, because `status` holds a lock for an instant
PATIENCE_WITH_UPKEEP = 60.0
"""Seconds to wait for the upkeep of tables, all of them together."""
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
    """Locks that this process holds, by the table's name, and the holders of those it lacks."""

    holder: Holder
    files: dict[str, IO[str]] = field(default_factory=dict)
    taken: dict[str, Holder | None] = field(default_factory=dict)

    def release(self, names: Iterable[str]) -> None:
        """Let go of the locks of these tables; a table that is not locked is passed over."""
        for name in names:
            file = self.files.pop(name, None)
            if file is not None:
                file.truncate(0)
                file.close()

    def keep(self) -> None:
        """Hold what is left until this process ends."""
        _kept.extend(self.files.values())
        self.files.clear()


_kept: list[IO[str]] = []


@contextmanager
def hold(
    folder: Path,
    names: Iterable[str],
    run_id: str,
    since: str,
    *,
    upkeep: bool = False,
    waits: bool = False,
    patience: float | None = None,
) -> Iterator[Locks]:
    """Hold the locks of all these tables, or none of them.

    With `waits`, it waits for the upkeep of tables, up to a minute for all of them together. Raises
    LockHeldError that names the process with the first lock that is not free, after `patience`
    seconds.
    """
    acquired = _no_locks(run_id, since, upkeep=upkeep)
    waiting = _Waiting(waits, _PATIENCE if patience is None else patience, time.monotonic())
    try:
        for name in sorted(set(names)):
            with _opened(folder, [name]) as pending:
                waiting.acquire(acquired, pending)
            for taken_name, holder in acquired.taken.items():
                raise lock_error([taken_name], holder)
        yield acquired
    finally:
        acquired.release(tuple(acquired.files))


@contextmanager
def hold_free(folder: Path, names: Iterable[str], run_id: str, since: str) -> Iterator[Locks]:
    """Hold the locks of those tables that are free; `taken` has the holders of the others.

    It waits for the upkeep of tables, up to a minute for all of them together.
    """
    acquired = _no_locks(run_id, since)
    waiting = _Waiting(waits=True, patience=_PATIENCE, start=time.monotonic())
    try:
        with _opened(folder, sorted(set(names))) as pending:
            with _turn(folder):
                waiting.try_each(acquired, pending)
            waiting.acquire(acquired, pending)
        yield acquired
    finally:
        acquired.release(tuple(acquired.files))


def lock_error(names: Sequence[str], holder: Holder | None) -> LockHeldError:
    """Return the error of tables that another process has locked; `holder` has the first."""
    others = f" (and {len(names) - 1:,} more)" if len(names) > 1 else ""
    return LockHeldError(
        f"{names[0]}{others} is being worked on by {holder or 'another process'}. "
        "Wait for it to end, or stop it; then run this again."
    )


def _no_locks(run_id: str, since: str, *, upkeep: bool = False) -> Locks:
    return Locks(Holder(os.getpid(), socket.gethostname(), run_id, since, upkeep))


def holder(folder: Path, name: str) -> Holder | None:
    """Return the holder of the lock of this table, or None."""
    return _holder_of(_file(folder, name))


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of this file; False where there is no such file."""
    try:
        with path.open() as file:
            return not _try(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def hold_file(file: IO[str]) -> None:
    """Hold the lock of an open file until it is closed; wait for one who looks at it."""
    fcntl.flock(file, fcntl.LOCK_EX)


def try_file(file: IO[str]) -> bool:
    """Hold the lock of an open file until it is closed, if nobody else does; return whether."""
    return _try(file, fcntl.LOCK_EX)


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


@contextmanager
def _opened(folder: Path, names: Iterable[str]) -> Iterator[dict[str, IO[str]]]:
    """Open the lock files of these tables; close those that are still pending at the end."""
    pending: dict[str, IO[str]] = {}
    path = folder
    try:
        private_files.make_folder(folder.parent)
        private_files.make_folder(folder)
        names = tuple(names)
        disk.allow_open_files(len(names))
        for name in names:
            path = _file(folder, name)
            private_files.open_file(path, "a").close()
            pending[name] = path.open("r+")  # because "a+" would append each description
        yield pending
    except OSError as error:
        raise CatalogError(f"{path}: {disk.write_error(error)}") from error
    finally:
        for file in pending.values():
            file.close()


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Let one process at a time try its locks, so that two runs do not share out their tables.

    It lasts for an instant. A process that was stopped in it is not waited for any longer.
    """
    with private_files.open_file(folder / ".turn", "a") as file:
        deadline = time.monotonic() + _PATIENCE
        while not _try(file, fcntl.LOCK_EX) and time.monotonic() < deadline:
            time.sleep(0.005)
        yield


@dataclass(slots=True)
class _Waiting:
    """The patience of one process, over all locks that it asks for."""

    waits: bool
    patience: float
    start: float
    is_logged: bool = False

    def acquire(self, locks: Locks, pending: dict[str, IO[str]]) -> None:
        """Acquire the pending locks; note the holders of those that do not become free in time."""
        now = time.monotonic()
        deadlines = dict.fromkeys(pending, now + self.patience)
        while True:
            self.try_each(locks, pending)
            for name, file in tuple(pending.items()):
                holder = _read_holder(file)
                deadlines[name] = self._deadline(name, holder, deadlines[name])
                if time.monotonic() > deadlines[name]:
                    locks.taken[name] = holder
                    pending.pop(name).close()
            if not pending:
                return
            time.sleep(0.02)

    def try_each(self, locks: Locks, pending: dict[str, IO[str]]) -> None:
        """Move the locks that are free now from `pending` to `locks`."""
        for name, file in tuple(pending.items()):
            if _try(file, fcntl.LOCK_EX):
                locks.files[name] = pending.pop(name)
                _describe(file, locks.holder)

    def _deadline(self, name: str, holder: Holder | None, deadline: float) -> float:
        """Return until when a lock is waited for: longer where its holder has only upkeep left."""
        if not self.waits or holder is None or not holder.upkeep:
            return deadline
        if not self.is_logged:
            log.info("%s: waiting for upkeep by %s", name, holder)
            self.is_logged = True
        return min(time.monotonic() + self.patience, self.start + PATIENCE_WITH_UPKEEP)


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
