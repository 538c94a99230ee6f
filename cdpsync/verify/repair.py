"""Repair of the rows that a comparison found wrong: reads them again and commits them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cdpsync.catalog import Commit, Lake
from cdpsync.errors import CdpsyncError, ContractError
from cdpsync.extract.table import extract
from cdpsync.load.upload import Uploader
from cdpsync.maintain.publish import publish_after_run
from cdpsync.model import (
    RunKind,
    RunRecord,
    SavedState,
    TablePlan,
    TableResult,
    TableStatus,
)
from cdpsync.storage.paths import folder_of
from cdpsync.system import clock
from cdpsync.verify.compare import read_whole
from cdpsync.verify.repair_files import write_repair_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cdpsync.connector import KeyFilter
    from cdpsync.extract.table import Extracted
    from cdpsync.extract.workers import Workers
    from cdpsync.project.journal import Run
    from cdpsync.sync.session import RunSession
    from cdpsync.verify.compare import CompareSpec
    from cdpsync.verify.repair_files import DiffFiles, RepairFile, RepairFiles


@dataclass(slots=True)
class Repairer:
    """Repairs the tables of one verification, whose locks it holds. Call `finish` at the end."""

    session: RunSession
    workers: Workers
    run: Run
    uploader: Uploader = field(init=False)
    _has_started: bool = False

    def __post_init__(self) -> None:
        spool_max = self.session.config.warehouse.spool_max
        self.uploader = Uploader(self.session.storage, self.run.run_id, spool_max)

    def repair(self, spec: CompareSpec, diff_files: DiffFiles, folder: Path) -> int:
        """Read the wrong rows again and commit them; return how many rows stay wrong.

        Those are rows that the source lost after the comparison.
        """
        start = time.monotonic()
        self.run.mark_started()
        self._has_started = True
        plan = spec.plan
        extracted = self._extract(plan, diff_files.key_filter, folder / "fresh")
        repair_files = write_repair_files(
            spec, diff_files, extracted, folder, self.workers.budget.merge
        )
        urls = self._upload(plan, repair_files.files)
        saved_state = self._saved_state(plan)
        result = TableResult(
            plan.source,
            plan.stream.name,
            plan.table,
            plan.mode,
            TableStatus.OK,
            rows_read=extracted.rows,
            bytes_written=sum(file.size for file in repair_files.files),
            cursor_before=saved_state.cursor,
            cursor_after=saved_state.cursor,
            seconds=round(time.monotonic() - start, 3),
            notices=("repaired by cdpsync verify",),
        )
        record = RunRecord(
            self.run.run_id, self.run.started_at, clock.now(), result, RunKind.REPAIR
        )
        self._commit(_commit_of(plan, diff_files, repair_files, urls, saved_state, record))
        return repair_files.remaining

    def _extract(self, plan: TablePlan, key_filter: KeyFilter | None, folder: Path) -> Extracted:
        folder.mkdir()
        return extract(
            replace(read_whole(plan), compares_rows=False),
            self.session.connectors[plan.source],
            self.workers,
            folder,
            row_filter=key_filter,
        )

    def _upload(self, plan: TablePlan, files: Sequence[RepairFile]) -> tuple[str, ...]:
        upload = self.uploader.start_table(folder_of(plan.table))
        try:
            for file in files:
                upload.add(file.path, file.size, keep=True)
            return upload.wait()
        except BaseException:
            upload.rollback()
            raise

    def _saved_state(self, plan: TablePlan) -> SavedState:
        """Return the table's saved state, which the repair does not change."""
        with self.session.catalog.reader(data=False) as con:
            saved_states = Lake(con).system_tables.saved_states()
        for saved_state in saved_states:
            if (saved_state.source, saved_state.stream) == (plan.source, plan.stream.name):
                return saved_state
        raise ContractError(
            f"{plan.table}: the lake has no saved state of its last load. Load it anew: cdpsync "
            f"run {plan.table} --full-refresh."
        )

    def _commit(self, commit: Commit) -> None:
        try:
            with self.session.catalog.writer() as con:
                Lake(con).commit(commit)
        except CdpsyncError:
            self.uploader.may_have_orphans = True
            raise

    def finish(self) -> None:
        """Close the uploader, finish the run, and publish the lake where that is configured."""
        self.uploader.close()
        if self.uploader.may_have_orphans or not self._has_started:
            return
        self.run.mark_finished()
        publish_after_run(
            self.session.config, self.session.catalog, self.session.storage, self.run.run_id
        )


def _commit_of(
    plan: TablePlan,
    diff_files: DiffFiles,
    repair_files: RepairFiles,
    urls: Sequence[str],
    saved_state: SavedState,
    record: RunRecord,
) -> Commit:
    upserts, soft_deletes = repair_files.upserts, repair_files.soft_deletes
    return Commit(
        table=plan.table,
        columns=repair_files.columns,
        replace=False,
        files=urls,
        rows=sum(file.rows for file in repair_files.files),
        saved_state=saved_state,
        record=record,
        key=diff_files.key,
        upsert_files=[upserts.path] if upserts else [],
        delete_keys=diff_files.delete_keys,
        soft_deleted=soft_deletes.rows if soft_deletes else 0,
    )
