"""The journal of an outbox: what came of its changes so far, kept for a run that goes on.

Each line is a JSON object. Lines are written as answers come, and synced ten times a second, so a
killed process loses nothing that it wrote, and a machine that stops loses 0.1 s.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cdpsync.errors import CatalogError
from cdpsync.system import disk, private_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

SYNC_INTERVAL = 0.1
"""Seconds between two syncs to the disk."""

PENDING, DELIVERED, DEAD = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a change is a dead letter, or why its last attempt failed.

    `retry_at`: until then the destination asks to wait.
    """

    error: str
    status: int | None = None
    response: str | None = None
    attempts: int = 0
    first_at: str | None = None
    last_at: str | None = None
    retry_at: str | None = None


@dataclass(slots=True)
class Settlements:
    """What came of each change of an outbox; `states` has a byte for each, from 1 on."""

    states: bytearray
    refusals: dict[int, Refusal] = field(default_factory=dict)
    failures: dict[int, Refusal] = field(default_factory=dict)

    @classmethod
    def none_of(cls, rows: int) -> Settlements:
        """Return those of an outbox of which nothing was sent yet."""
        return cls(bytearray(rows + 1))

    def deliver(self, first: int, last: int) -> None:
        """Count the changes of a range as delivered, but those that are settled already."""
        part = self.states[first : last + 1]
        self.states[first : last + 1] = part.replace(b"\x00", b"\x01")

    def bury(self, seq: int, refusal: Refusal) -> None:
        """Count a change as a dead letter."""
        self.states[seq] = DEAD
        self.refusals[seq] = refusal
        self.failures.pop(seq, None)

    def fail(self, first: int, last: int, failure: Refusal) -> None:
        """Keep the failure of an attempt for the changes of a range that are not settled."""
        for seq in range(first, last + 1):
            if self.states[seq] == PENDING:
                self.failures[seq] = failure

    def count(self, state: int) -> int:
        """Return how many changes have this state."""
        return self.states.count(state) - (1 if state == PENDING else 0)

    def ranges(self, state: int) -> list[tuple[int, int]]:
        """Return the changes of this state as ranges, with both ends, in ascending order."""
        runs = re.compile(b"%c+" % state).finditer(self.states, 1)
        return [(run.start(), run.end() - 1) for run in runs]


class Journal:
    """The open journal of an outbox. Close it, because that syncs its last lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending: list[tuple[int, int]] = []
        self._lines: list[str] = []
        self._is_synced = True
        self._synced_at = 0.0
        with _Explained(path):
            self._file = private_files.open_file(path, "a+")
            self._end_torn_line()
            disk.fsync(path.parent)

    def _end_torn_line(self) -> None:
        """End the last line, if a killed process left a part of it."""
        size = os.fstat(self._file.fileno()).st_size
        if size and os.pread(self._file.fileno(), 1, size - 1) != b"\n":
            os.write(self._file.fileno(), b"\n")

    def deliver(self, first: int, last: int) -> None:
        """Note that the pending changes of a range were taken."""
        self._pending.append((first, last))

    def bury(self, seq: int, refusal: Refusal) -> None:
        """Note a dead letter."""
        self._lines.append(_line({"dead": seq, **_fields(refusal)}))

    def fail(self, first: int, last: int, failure: Refusal) -> None:
        """Note an attempt that failed and may be repeated."""
        self._lines.append(_line({"failed": [first, last], **_fields(failure)}))

    def write(self) -> None:
        """Write what was noted; it then outlives this process."""
        if self._pending:
            self._lines.append(_line({"delivered": _merged(self._pending)}))
            self._pending = []
        if self._lines:
            with _Explained(self.path):
                _write_all(self._file.fileno(), "".join(self._lines).encode())
            self._lines = []
            self._is_synced = False

    def sync(self, now: float) -> None:
        """Sync to the disk what was written, if the last sync is 0.1 s ago."""
        if not self._is_synced and now - self._synced_at >= SYNC_INTERVAL:
            self._sync()
            self._synced_at = now

    def _sync(self) -> None:
        with _Explained(self.path):
            disk.sync(self._file.fileno())
        self._is_synced = True

    def flush(self) -> None:
        """Write and sync what is left."""
        self.write()
        if not self._is_synced:
            self._sync()

    def close(self) -> None:
        """Write and sync what is left, and close the file."""
        try:
            self.flush()
        finally:
            self._file.close()


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def read(path: Path, rows: int) -> Settlements:
    """Return what a journal says of an outbox of so many changes; a torn line is left out."""
    settlements = Settlements.none_of(rows)
    for entry in _entries(path):
        _apply(settlements, entry)
    settlements.failures = {
        seq: failure
        for seq, failure in settlements.failures.items()
        if settlements.states[seq] == PENDING
    }
    return settlements


def _entries(path: Path) -> Iterator[dict[str, Any]]:  # the lines are JSON
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry


def _apply(settlements: Settlements, entry: dict[str, Any]) -> None:
    for first, last in entry.pop("delivered", ()):
        settlements.deliver(first, last)
    if (seq := entry.pop("dead", None)) is not None:
        settlements.bury(seq, Refusal(**entry))
    elif (failed := entry.pop("failed", None)) is not None:
        settlements.fail(failed[0], failed[1], Refusal(**entry))


def _fields(refusal: Refusal) -> dict[str, object]:
    values = {name: getattr(refusal, name) for name in refusal.__slots__}
    return {name: value for name, value in values.items() if value is not None}


def _line(entry: dict[str, object]) -> str:
    return json.dumps(entry, separators=(",", ":")) + "\n"


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in ascending order, those that touch as one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first == merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged


class _Explained:
    """Raises CatalogError in place of an OSError of a file, with the reason and the next step."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise CatalogError(f"{self._path}: {disk.write_error(error)}") from error
