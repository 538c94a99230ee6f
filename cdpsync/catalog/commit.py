"""The change of one table of the lake, as a value, and its result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cdpsync.model import Column, RunRecord, SavedState, TableName, TableResult, TableStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Commit:
    """The change of one table, which becomes visible as a whole.

    `files` are in the storage already. With `replace` they become the whole table; otherwise rows
    whose `key` is in `upsert_files` or in `delete_keys` (local Parquet files) are deleted, and the
    files are added. `soft_deleted` of the `rows` only mark rows that were deleted at the source.
    `record` is the run's record; the commit fills in the counts that only it knows. `rows_before`
    is the number of rows in the table, if it is known without counting. `rejected` are files of
    records that are no rows, which become the whole table beside it; None: the source sets none
    aside.
    """

    table: TableName
    columns: tuple[Column, ...]
    replace: bool
    files: Sequence[str]
    rows: int
    saved_state: SavedState
    record: RunRecord
    key: tuple[str, ...] = ()
    upsert_files: Sequence[Path] = ()
    delete_keys: Path | None = None
    soft_deleted: int = 0
    allow_shrink: bool = False
    rows_before: int | None = None
    rejected: Sequence[str] | None = None

    @property
    def moves_cursor(self) -> bool:
        """Whether this run has a new cursor. Otherwise the system tables have it already."""
        return self.saved_state.run_id == self.record.run_id


def counted_result(commit: Commit, replaced: int, deleted: int, rows_in_table: int) -> TableResult:
    """Return the result of a commit, with the rows that it changed."""
    return replace(
        commit.record.result,
        status=TableStatus.OK,
        rows_inserted=commit.rows - replaced,
        rows_updated=max(0, replaced - commit.soft_deleted),
        rows_deleted=deleted + commit.soft_deleted,
        rows_in_table=rows_in_table,
    )
