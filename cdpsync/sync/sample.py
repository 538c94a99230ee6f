"""Sample loads: the first rows of a table, into a table of their own that no run knows."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cdpsync.catalog import Lake
from cdpsync.errors import CdpsyncError, ContractError
from cdpsync.load.commit import commit_of
from cdpsync.model import Planned, TableName, TableResult, TableStatus
from cdpsync.model.plan import sample_name
from cdpsync.plan.source_changes import folded
from cdpsync.sync.committer import failed_result

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from cdpsync.load.table import LoadedTable
    from cdpsync.load.upload import Uploader
    from cdpsync.model import SavedState, TablePlan
    from cdpsync.project.journal import Run
    from cdpsync.sync.session import RunSession

log = logging.getLogger("cdpsync.sync")


def sampled(planned: Planned, rows: int, own_tables: Collection[TableName]) -> Planned:
    """Return the plans of sample loads: each replaces its sample by at most so many rows.

    No plan goes on from a cursor. A sample whose name the lake takes for that of another table of
    the project, one of `own_tables`, fails.
    """
    plans, failed = [], list(planned.failed)
    own_names = {folded(table) for table in own_tables}
    for plan in planned.plans:
        sample = _sample_of(plan, rows)
        if folded(sample.table) in own_names:
            error = ContractError(
                f"{plan.table}: its sample would be {sample.table}, which is a table of the "
                'project. Give that one another "name:".'
            )
            failed.append(failed_result(plan, error))
        else:
            plans.append(sample)
    return Planned(tuple(plans), tuple(failed), planned.skipped, planned.locked)


def _sample_of(plan: TablePlan, rows: int) -> TablePlan:
    table = sample_name(plan.table)
    return replace(
        plan,
        table=table,
        limit=rows,
        window=None,
        cursor_before=None,
        lake_table=None,
        saved_state=None,
        replace=True,
        full_refresh=True,
        allow_shrink=True,
        compares_keys=False,
        notices=(f"a sample of at most {rows:,} rows: {plan.table} and its cursor are as before",),
    )


@dataclass(slots=True)
class SampleCommitter:
    """Commits samples: their tables alone, without a cursor and without an entry in the history.

    It takes the place of `Committer`, and is used from one thread.
    """

    session: RunSession
    run: Run
    uploader: Uploader
    on_result: Callable[[TableResult], None]
    tables_to_compact: list[TableName] = field(default_factory=list)
    expiry_is_due: bool = False
    _loaded: list[LoadedTable] = field(default_factory=list)
    _failures: list[TableResult] = field(default_factory=list)

    def add(self, table: LoadedTable) -> None:
        """Add a sample to the commit."""
        self._loaded.append(table)

    def add_failure(self, failure: TableResult) -> None:
        """Add a failure to those that are reported."""
        self._failures.append(failure)

    def record_failures(self, failures: Sequence[TableResult]) -> None:
        """Do nothing, because samples have no history."""

    def save_missing(self, states: Sequence[SavedState]) -> None:
        """Do nothing, because the next run sees what is missing."""

    def commit_added(self, *, is_last: bool) -> None:
        """Commit the samples, each in a transaction of its own, once all are loaded."""
        if not is_last:
            return
        for failure in self._failures:
            self.on_result(failure)
        if not self._loaded:
            return
        try:
            with self.session.catalog.writer() as con:
                lake = Lake(con)
                while self._loaded:
                    self._commit(lake, self._loaded.pop(0))
        except CdpsyncError as error:  # the catalog could not be opened or closed
            self.uploader.may_have_orphans = True
            for table in self._loaded:
                self.on_result(failed_result(table.plan, error, table))

    def _commit(self, lake: Lake, table: LoadedTable) -> None:
        try:
            result = lake.replace_sample(commit_of(table, self.run.run_id))
        except CdpsyncError as error:
            self.uploader.may_have_orphans = True
            self.on_result(failed_result(table.plan, error, table))
        else:
            self.on_result(
                replace(result, status=TableStatus.OK, cursor_after=None, rows_deleted=0)
            )
