"""Verification: whether the lake has what the source has, table by table, and mending it."""

from __future__ import annotations

import logging
import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cdpsync import project
from cdpsync.catalog import remove_stale_dirs, sql_name, temp_dir
from cdpsync.engine import first_line
from cdpsync.errors import CatalogError, CdpsyncError
from cdpsync.extract.chunk_cache import cache_prune
from cdpsync.extract.chunk_writer import ChunkTransform
from cdpsync.extract.table import extract
from cdpsync.extract.workers import Workers
from cdpsync.model import DELETED_AT, Column, Config, Deletes, Failure, SyncMode, TablePlan
from cdpsync.model.verification import DiffKind, Sample, TableDiff, VerifyResult, VerifyStatus
from cdpsync.project.journal import default_threads, start_run
from cdpsync.sync.session import RunOptions, RunSession
from cdpsync.verify.compare import CompareSpec, compare, share_of
from cdpsync.verify.repair import Repairer, export_diff

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import duckdb

    from cdpsync.connector import Bucket
    from cdpsync.model import TableResult

log = logging.getLogger("cdpsync.verify")


def verify(
    config: Config | str | Path | None,
    select: Sequence[str] = (),
    *,
    sample: Sample | None = None,
    repair: bool = False,
    threads: int | None = None,
    on_verdict: Callable[[VerifyResult], None] | None = None,
) -> tuple[VerifyResult, ...]:
    """Compare the chosen tables of the lake with their source, and return a verdict on each.

    With `repair`, rows that are in error are read again and committed, as by a run. Raises
    ConfigError when the project or the choice is wrong, LockHeldError when a table that is to be
    repaired is being synced. A table that cannot be compared does not stop the others.
    """
    begun = start_run(config if isinstance(config, Config) else project.load(config))
    verdicts: list[VerifyResult] = []

    def tell(verdict: VerifyResult) -> None:
        verdicts.append(verdict)
        if on_verdict is not None:
            on_verdict(verdict)

    with RunSession(begun.config, RunOptions(select)) as survey, ExitStack() as held:
        if repair:
            held.enter_context(survey.locked(begun.run_id, begun.started_at))
        planned = survey.plan()
        for failed in planned.failed:
            tell(_of_result(failed))
        if not planned.plans:
            return tuple(verdicts)
        remove_stale_dirs(survey.catalog.scratch)
        folder = held.enter_context(temp_dir(survey.catalog.scratch, "verify-"))
        workers = Workers(threads or default_threads(), folder / "spill")
        try:
            mender = Repairer(survey, workers, begun) if repair else None
            verifier = _Verifier(survey, workers, sample, mender)
            for number, plan in enumerate(planned.plans):
                tell(verifier.verdict(plan, folder / f"{number:05d}"))
            if mender is not None:
                mender.finish()
        except BaseException:
            workers.stop()
            raise
        finally:
            workers.close()
    return tuple(sorted(verdicts, key=lambda one: (one.source, one.table)))


def _of_result(result: TableResult) -> VerifyResult:
    return VerifyResult(
        result.source,
        result.stream,
        result.table,
        result.mode,
        VerifyStatus.FAILED,
        error=result.error,
    )


@dataclass(frozen=True, slots=True)
class _Verifier:
    """One verification's tables, one after the other, their chunks side by side."""

    session: RunSession
    workers: Workers
    sample: Sample | None
    repairer: Repairer | None

    def verdict(self, plan: TablePlan, folder: Path) -> VerifyResult:
        """Return the verdict on a table; an error is one, too."""
        import duckdb

        clock = time.monotonic()
        verdict = VerifyResult(
            plan.source,
            plan.stream.name,
            str(plan.table),
            plan.mode,
            VerifyStatus.SKIPPED,
            cursor_field=plan.cursor_field,
        )
        if plan.lake_table is None:
            notice = f"it was never loaded: cdpsync run {plan.table}"
            return replace(verdict, notices=(notice,))
        try:
            verdict = self._compared(plan, folder, verdict)
        except CdpsyncError as error:
            verdict = replace(verdict, status=VerifyStatus.FAILED, error=Failure.of(error))
        except duckdb.Error as error:
            failure = CatalogError(f"{plan.table}: it could not be compared ({first_line(error)}).")
            verdict = replace(verdict, status=VerifyStatus.FAILED, error=Failure.of(failure))
        return replace(verdict, seconds=round(time.monotonic() - clock, 3))

    def _compared(self, plan: TablePlan, folder: Path, verdict: VerifyResult) -> VerifyResult:
        """Compare a table, with the lake as it was just before the source is read."""
        folder.mkdir()
        reading, notices = _reading(plan)
        with self.session.catalog.reader(keep=False) as con:
            share = self._share(con, plan)
            columns, files = self._digests(reading, share, folder)
            how = _comparison(reading, columns, share)
            found = compare(con, how, files, sql_name(plan.table))
            wrong = None
            if found.wrong and self.repairer is not None:
                wrong = export_diff(con, how, found, folder)
        verdict = replace(
            verdict,
            status=VerifyStatus.DIFFERENT if found.wrong else VerifyStatus.EQUAL,
            compared=found,
            share=share.parts if share else 1,
            notices=(*notices, *_notices(plan, found)),
        )
        if wrong is None or self.repairer is None:
            return verdict
        left = self.repairer.repair(plan, how, wrong, folder)
        status = VerifyStatus.DIFFERENT if left else VerifyStatus.REPAIRED
        return replace(verdict, status=status, repaired=found.wrong - left)

    def _share(self, con: duckdb.DuckDBPyConnection, plan: TablePlan) -> Bucket | None:
        if self.sample is None:
            return None
        row = con.execute(f"select count(*) from {sql_name(plan.table)}").fetchone()
        parts = self.sample.parts(row[0] if row else 0)
        return share_of(plan, parts, secrets.randbelow(parts))

    def _digests(
        self, plan: TablePlan, share: Bucket | None, folder: Path
    ) -> tuple[tuple[Column, ...], list[Path]]:
        """Read the source's rows down to their digests."""
        connector = self.session.connectors[plan.source]
        known = None
        if share is None:  # a share is another one each time
            known = project.verified_folder(self.session.config, plan.table)

        def project_(columns: tuple[Column, ...], rows: str) -> str:
            return _comparison(plan, columns, share).digests_of_source(rows)

        digests = folder / "digests"
        digests.mkdir()
        extracted = extract(
            replace(plan, window=None, deletes=Deletes.IGNORE),
            connector,
            self.workers,
            digests,
            transform=ChunkTransform(project_, known),
            row_filter=share if share and share.column else None,
        )
        files = [file.path for file in extracted.files]
        if known is not None:
            cache_prune(known, files)
        return extracted.columns, files


def _reading(plan: TablePlan) -> tuple[TablePlan, list[str]]:
    """Return the plan that reads in the lake's types, and what is not compared."""
    held = {column.name.lower() for column in plan.lake_table.columns} if plan.lake_table else set()
    own = {DELETED_AT} if plan.deletes is Deletes.SOFT else set()
    columns = tuple(one for one in plan.columns if one.name not in own)
    news = [one for one in columns if one.name.lower() not in held and not plan.stream.open_schema]
    notices = [
        f'column "{column.name}" is not in the lake yet, and was not compared' for column in news
    ]
    kept = tuple(column for column in columns if column not in news)
    return replace(plan, columns=kept, replace=False, full_refresh=False), notices


def _comparison(plan: TablePlan, columns: tuple[Column, ...], share: Bucket | None) -> CompareSpec:
    """Return how the columns that arrive are compared with those that the lake has."""
    held = {column.name.lower() for column in plan.lake_table.columns} if plan.lake_table else set()
    log_cursor = plan.stream.changes.cursor.name if plan.stream.changes else None
    known = [one for one in columns if one.name.lower() in held]
    return CompareSpec(
        plan,
        tuple(column for column in known if column.name != log_cursor),
        tuple(column for column in known if column.name == log_cursor),
        share,
    )


def _notices(plan: TablePlan, found: TableDiff) -> list[str]:
    """Say of rows that are no errors why they are none."""
    notices = []
    gone, newer = found.counts.get(DiffKind.GONE, 0), found.counts.get(DiffKind.NEWER, 0)
    if newer:
        notices.append(f"{newer:,} rows are not synced yet: the next run reads them")
    if gone and plan.mode is SyncMode.APPEND_ONLY:
        notices.append(f"{gone:,} rows were changed or deleted at the source, and are kept")
    elif gone:
        notices.append(f"{gone:,} rows were deleted at the source, and are kept (deletes: ignore)")
    return notices
