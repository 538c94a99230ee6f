"""A run that was begun: its name, its line in the journal, and what it shows at its end."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync import project
from cdpsync.system import clock, locks, private_files

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cdpsync.model import Config

_OF_A_RUN = re.compile(r"(\d{8}T\d{6}Z-[0-9a-f]{6})(?:-\d+)?-\d{5}\.parquet")


@dataclass(frozen=True, slots=True)
class Run:
    """A run, or a repair, by the name that its files bear, and when it began.

    The journal is a folder with an empty file for each that has begun and not ended well: upkeep
    looks for what those left behind.
    """

    config: Config
    run_id: str
    started_at: datetime

    @property
    def _entry(self) -> Path:
        return project.journal_folder(self.config) / self.run_id

    def mark_started(self) -> None:
        """Write it into the journal; that must be done before its first file."""
        private_files.make_folder(self._entry.parent)
        self._entry.touch(mode=0o600)

    def mark_finished(self) -> None:
        """Take it out of the journal: nothing that no commit names is left of it."""
        self._entry.unlink(missing_ok=True)


def start_run(config: Config) -> Run:
    """Return a run that begins now, under a name that no other has."""
    started_at = clock.now()
    return Run(config, f"{started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}", started_at)


def crashed_runs(config: Config) -> set[str]:
    """Return the runs that began, did not end well, and are at work no more."""
    journal = project.journal_folder(config)
    begun = {entry.name for entry in journal.iterdir()} if journal.exists() else set()
    return begun - locks.live_runs(project.locks_folder(config))


def run_of(file: str) -> str | None:
    """Return the run that a file's name, or its path, says it is of."""
    found = _OF_A_RUN.fullmatch(file.rsplit("/", 1)[-1])
    return found[1] if found else None


def default_threads() -> int:
    """Return how many workers: one more than cores, since they wait for the source in turns."""
    return min(4, (os.cpu_count() or 1) + 1)
