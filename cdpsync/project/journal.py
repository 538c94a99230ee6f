"""Run journal: the id of a run, and the file that marks it as started until it ends."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from cdpsync.project.workspace import journal_folder, locks_folder
from cdpsync.system import clock, locks, private_files

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cdpsync.model import Config

_FILE_OF_RUN = re.compile(r"(\d{8}T\d{6}Z-[0-9a-f]{6})(?:-\d+)?-\d{5}\.parquet")


@dataclass(slots=True)
class Run:
    """A run or a repair: its id, which is part of its files' names, and its start.

    The journal is a folder with an empty file for each run that has started and not ended well.
    The run holds the lock of its file, because it lets go of each table's lock as the table ends.
    Maintenance removes the files that runs left in the storage whose process has ended. `close`
    must be called at the end.
    """

    config: Config
    run_id: str
    started_at: datetime
    _file: IO[str] | None = field(default=None, repr=False)

    @property
    def _entry(self) -> Path:
        return journal_folder(self.config) / self.run_id

    def mark_started(self) -> None:
        """Add the run to the journal. Must be called before its first file is written.

        The caller holds the lock of a table until this returns, because `crashed_runs` may look
        between the creation of the file and its lock.
        """
        if self._file is None:
            private_files.make_folder(self._entry.parent)
            self._file = private_files.open_file(self._entry, "a")
            locks.hold_file(self._file)

    def mark_finished(self) -> None:
        """Remove the run from the journal, because every file it left is named by a commit."""
        self._entry.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file's lock: if it is still in the journal, the run counts as crashed."""
        if self._file is not None:
            self._file.close()
            self._file = None


def start_run(config: Config) -> Run:
    """Return a run that starts now, with a new id."""
    started_at = clock.now()
    return Run(config, f"{started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}", started_at)


def crashed_runs(config: Config) -> set[str]:
    """Return the ids of the runs that started, did not end well, and no longer work.

    A run has the lock of a table until it has that of its file. So the tables' locks are looked at
    first, and a run that had none of them by then has the other.
    """
    journal = journal_folder(config)
    entries = tuple(journal.iterdir()) if journal.exists() else ()
    live = locks.live_runs(locks_folder(config))
    return {
        entry.name for entry in entries if entry.name not in live and not locks.is_locked(entry)
    }


def run_of(file: str) -> str | None:
    """Return the id of the run that wrote a file, by the file's name or path; None: not a run's."""
    match = _FILE_OF_RUN.fullmatch(file.rsplit("/", 1)[-1])
    return match[1] if match else None


def default_threads() -> int:
    """Return the number of workers: one more than cores, because workers wait for the source."""
    return min(4, (os.cpu_count() or 1) + 1)
