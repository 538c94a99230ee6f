"""Verification: whether the lake has what the source has, table by table, and mending it."""

from __future__ import annotations

import logging
import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cdpsync import project
from cdpsync.catalog import private_folder, sql_name, sweep
from cdpsync.engine import first_line
from cdpsync.errors import CatalogError, CdpsyncError
from cdpsync.extract.chunk_cache import forget_known
from cdpsync.extract.table import extract
from cdpsync.extract.workers import Workers
from cdpsync.model import DELETED_AT, Column, Config, Deletes, Failure, SyncMode, TablePlan
from cdpsync.model.verification import Compared, Kind, Sample, Verdict, VerifyStatus
from cdpsync.project.journal import begin, default_threads
from cdpsync.sync.session import Choice, Survey
from cdpsync.verify.compare import Comparison, compare, share_of
from cdpsync.verify.repair import Mender, export_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import duckdb

    from cdpsync.connector import Share
    from cdpsync.model import TableResult

log = logging.getLogger("cdpsync.verify")


def verify(
    config: Config | str | Path | None,
    select: Sequence[str] = (),
    *,
    sample: Sample | None = None,
    repair: bool = False,
    threads: int | None = None,
    on_verdict: Callable[[Verdict], None] | None = None,
) -> tuple[Verdict, ...]:
    """Compare the chosen tables of the lake with their source, and return a verdict on each.

    With `repair`, rows that are in error are read again and committed, as by a run. Raises
    ConfigError when the project or the choice is wrong, LockHeldError when a table that is to be
    repaired is being synced. A table that cannot be compared does not stop the others.
    """
    begun = begin(config if isinstance(config, Config) else project.load(config))
    verdicts: list[Verdict] = []

    def tell(verdict: Verdict) -> None:
        verdicts.append(verdict)
        if on_verdict is not None:
            on_verdict(verdict)

    with Survey(begun.config, Choice(select)) as survey, ExitStack() as held:
        if repair:
            held.enter_context(survey.locked(begun.run_id, begun.started_at))
        planned = survey.plan()
        for failed in planned.failed:
            tell(_of_result(failed))
        if not planned.plans:
            return tuple(verdicts)
        sweep(survey.catalog.scratch)
        folder = held.enter_context(private_folder(survey.catalog.scratch, "verify-"))
        workers = Workers(threads or default_threads(), folder / "spill")
        try:
            mender = Mender(survey, workers, begun) if repair else None
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


def _of_result(result: TableResult) -> Verdict:
    return Verdict(
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

    survey: Survey
    workers: Workers
    sample: Sample | None
    mender: Mender | None

    def verdict(self, plan: TablePlan, folder: Path) -> Verdict:
        """Return the verdict on a table; an error is one, too."""
        import duckdb

        clock = time.monotonic()
        verdict = Verdict(
            plan.source,
            plan.stream.name,
            str(plan.table),
            plan.mode,
            VerifyStatus.SKIPPED,
            cursor_field=plan.cursor_field,
        )
        if plan.landed is None:
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

    def _compared(self, plan: TablePlan, folder: Path, verdict: Verdict) -> Verdict:
        """Compare a table, with the lake as it was just before the source is read."""
        folder.mkdir()
        reading, notices = _reading(plan)
        with self.survey.catalog.reader(keep=False) as con:
            share = self._share(con, plan)
            columns, files = self._digests(reading, share, folder)
            how = _comparison(reading, columns, share)
            found = compare(con, how, files, sql_name(plan.table))
            wrong = None
            if found.wrong and self.mender is not None:
                wrong = export_wrong(con, how, found, folder)
        verdict = replace(
            verdict,
            status=VerifyStatus.DIFFERENT if found.wrong else VerifyStatus.EQUAL,
            compared=found,
            share=share.parts if share else 1,
            notices=(*notices, *_notices(plan, found)),
        )
        if wrong is None or self.mender is None:
            return verdict
        left = self.mender.mend(plan, how, wrong, folder)
        status = VerifyStatus.DIFFERENT if left else VerifyStatus.REPAIRED
        return replace(verdict, status=status, repaired=found.wrong - left)

    def _share(self, con: duckdb.DuckDBPyConnection, plan: TablePlan) -> Share | None:
        if self.sample is None:
            return None
        row = con.execute(f"select count(*) from {sql_name(plan.table)}").fetchone()
        parts = self.sample.parts(row[0] if row else 0)
        return share_of(plan, parts, secrets.randbelow(parts))

    def _digests(
        self, plan: TablePlan, share: Share | None, folder: Path
    ) -> tuple[tuple[Column, ...], list[Path]]:
        """Read the source's rows down to their digests."""
        connector = self.survey.connectors[plan.source]
        known = None
        if share is None:  # a share is another one each time
            known = project.verified_folder(self.survey.config, plan.table)

        def project_(columns: tuple[Column, ...], rows: str) -> str:
            return _comparison(plan, columns, share).digests_of_source(rows)

        digests = folder / "digests"
        digests.mkdir()
        extracted = extract(
            replace(plan, window=None, deletes=Deletes.IGNORE),
            connector,
            self.workers,
            digests,
            lambda *_: None,
            project=project_,
            only=share if share and share.column else None,
            known=known,
        )
        files = [file.path for file in extracted.files]
        if known is not None:
            forget_known(known, files)
        return extracted.columns, files


def _reading(plan: TablePlan) -> tuple[TablePlan, list[str]]:
    """Return the plan that reads in the lake's types, and what is not compared."""
    held = {column.name.lower() for column in plan.landed.columns} if plan.landed else set()
    own = {DELETED_AT} if plan.deletes is Deletes.SOFT else set()
    columns = tuple(one for one in plan.columns if one.name not in own)
    news = [one for one in columns if one.name.lower() not in held and not plan.stream.open]
    notices = [
        f'column "{column.name}" is not in the lake yet, and was not compared' for column in news
    ]
    kept = tuple(column for column in columns if column not in news)
    return replace(plan, columns=kept, replace=False, full_refresh=False), notices


def _comparison(plan: TablePlan, columns: tuple[Column, ...], share: Share | None) -> Comparison:
    """Return how the columns that arrive are compared with those that the lake has."""
    held = {column.name.lower() for column in plan.landed.columns} if plan.landed else set()
    log_cursor = plan.stream.changes.cursor.name if plan.stream.changes else None
    known = [one for one in columns if one.name.lower() in held]
    return Comparison(
        plan,
        tuple(column for column in known if column.name != log_cursor),
        tuple(column for column in known if column.name == log_cursor),
        share,
    )


def _notices(plan: TablePlan, found: Compared) -> list[str]:
    """Say of rows that are no errors why they are none."""
    notices = []
    gone, newer = found.counts.get(Kind.GONE, 0), found.counts.get(Kind.NEWER, 0)
    if newer:
        notices.append(f"{newer:,} rows are not synced yet: the next run reads them")
    if gone and plan.mode is SyncMode.APPEND_ONLY:
        notices.append(f"{gone:,} rows were changed or deleted at the source, and are kept")
    elif gone:
        notices.append(f"{gone:,} rows were deleted at the source, and are kept (deletes: ignore)")
    return notices
