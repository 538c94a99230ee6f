"""A planned table into the storage, ready for its commit: read, dropped what is there, put."""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from cdpsync import engine
from cdpsync.catalog import sql_name
from cdpsync.deliver import Arrivals
from cdpsync.errors import CdpsyncError, LandingError
from cdpsync.extract import Extracted, Workers, extract
from cdpsync.stage import Staged, lands_as_it_arrives, stage

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from cdpsync.deliver import Courier
    from cdpsync.model import Column, TableName, TablePlan
    from cdpsync.survey import Survey

log = logging.getLogger("cdpsync.land")

_STAGE_MEMORY = "2GB"
_TABLE_TRIES = 2
_LONGEST_FOLDER = 100


class Tell(Protocol):
    """Whoever listens to how far a table is."""

    def __call__(
        self,
        plan: TablePlan,
        step: str,
        *,
        rows: int = 0,
        chunks_done: int = 0,
        chunks: int | None = None,
    ) -> None:
        """Hear of one step."""


@dataclass(frozen=True, slots=True)
class Landed:
    """A table whose files are in the storage and wait for their commit."""

    plan: TablePlan
    columns: tuple[Column, ...]
    staged: Staged
    files: tuple[str, ...]
    rows_read: int
    started_at: datetime
    clock: float


@dataclass(frozen=True, slots=True)
class Lander:
    """The way of one run's tables into the storage. Used from a thread per table."""

    survey: Survey
    courier: Courier
    workers: Workers
    spool: Path
    stopped: threading.Event
    tell: Tell
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def land(self, plan: TablePlan) -> Landed | None:
        """Read a table into the storage; None when the run was stopped before it began."""
        import duckdb

        if self.stopped.is_set():
            return None
        started_at, clock = datetime.now(UTC), time.monotonic()
        folder = self.spool / f"{next(self._numbers):05d}"
        folder.mkdir()
        self.tell(plan, "reading")
        extracted, arrivals = self._extract(plan, folder)
        self.tell(plan, "landing", rows=extracted.rows)
        try:
            staged = self._stage(plan, extracted, arrivals, folder)
            files = arrivals.delivery.wait()
        except duckdb.Error as error:
            raise LandingError(
                f"{plan.table}: what is new could not be told from what is there "
                f"({engine.first_line(error)}). Nothing was committed."
            ) from error
        except BaseException:
            arrivals.delivery.take_back()
            raise
        if staged.upserted is None:
            shutil.rmtree(folder, ignore_errors=True)
        return Landed(plan, extracted.columns, staged, files, extracted.rows, started_at, clock)

    def _extract(self, plan: TablePlan, folder: Path) -> tuple[Extracted, Arrivals]:
        """Read a table, once more from its start where its view of the source was lost."""
        connector = self.survey.connectors[plan.source]

        def tell(rows: int, done: int, chunks: int) -> None:
            self.tell(plan, "reading", rows=rows, chunks_done=done, chunks=chunks)

        for attempt in range(_TABLE_TRIES):
            delivery = self.courier.delivery(folder_of(plan.table), attempt)
            arrivals = Arrivals(plan, delivery, plan.cursor_before, lands_as_it_arrives(plan))
            try:
                extracted = extract(
                    plan,
                    connector,
                    self.workers,
                    folder,
                    tell,
                    on_file=arrivals.take,
                    wait_for_room=self.courier.spool.wait,
                )
            except BaseException as error:
                delivery.take_back()
                is_last = attempt + 1 == _TABLE_TRIES or self.stopped.is_set()
                if not isinstance(error, CdpsyncError) or not error.retryable or is_last:
                    raise
                log.warning("%s: %s Reading it again from its start.", plan.table, error.message)
            else:
                return extracted, arrivals
        raise AssertionError("unreachable: the last try returns or raises")

    def _stage(
        self, plan: TablePlan, extracted: Extracted, arrivals: Arrivals, folder: Path
    ) -> Staged:
        """Say what lands, and send off what is not yet on its way."""
        files = [file.path for file in extracted.files]
        if arrivals.at_once:
            size = sum(file.bytes for file in extracted.files)
            return Staged(tuple(files), extracted.rows, size, arrivals.cursor)
        if plan.replace:
            con = engine.connect(threads=1, memory_limit=_STAGE_MEMORY, temp=folder / "spill")
            try:
                staged = stage(con, plan, files, extracted.columns, "", folder)
            finally:
                con.close()
        else:
            with self.survey.catalog.reader() as con:
                name = sql_name(plan.table)
                staged = stage(con, plan, files, extracted.columns, name, folder)
        for file in staged.files:
            arrivals.delivery.send(file, file.stat().st_size, keep=file == staged.upserted)
        return staged


def folder_of(table: TableName) -> str:
    """Return the folder of a table below the data path: its name, where that is a plain one.

    DuckLake keeps a table's files under the same name, and their paths relative, where the name
    has only letters, digits, `_` and `-`.
    """
    return f"{_plain(table.schema)}/{_plain(table.name)}"


def _plain(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]", lambda found: f"~{ord(found[0]):x}", name)
    if len(plain) <= _LONGEST_FOLDER:
        return plain
    return f"{plain[:60]}~{hashlib.sha256(name.encode()).hexdigest()[:20]}"
