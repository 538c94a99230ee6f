"""Compaction at the end of a run: merges a table's small files and files with many deleted rows.

It is a commit like any other: one file, named after the run, is uploaded and replaces the files
whose rows it has. docs/decisions/0007 says when and why.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.catalog import ducklake, sql_name, transaction
from cdpsync.catalog.snapshots import compaction_message
from cdpsync.engine import first_line, retyped_advice, with_less_memory
from cdpsync.errors import CatalogError, CdpsyncError, LockHeldError
from cdpsync.load.parquet import write
from cdpsync.sql import quote_text
from cdpsync.storage.paths import folder_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import duckdb

    from cdpsync.catalog import CatalogFile
    from cdpsync.catalog.ducklake import DataFile
    from cdpsync.load.upload import Uploader
    from cdpsync.model import TableName

log = logging.getLogger("cdpsync.maintain.compact")

_SMALL_FILE = 4_000_000  # bytes
_SMALL_FILE_OF_LARGE_TABLE = 32_000_000
_TABLE_PARTS = 20  # between the two, a file is small if it is smaller than such a part of its table
_MIN_SMALL_FILES = 8
_MIN_DELETED_SHARE = 0.2  # of a larger file's rows
_MAX_BYTES = 512_000_000  # of one table in one run; later runs rewrite the remaining files
# Rows of larger files, because DuckLake needs 50 bytes of memory for each row that it deletes.
_MAX_ROWS = 3_000_000
_ATTEMPT = 90  # in the file's name, because no load of a table has so many attempts


def files_to_compact(files: Sequence[DataFile]) -> tuple[DataFile, ...]:
    """Return the files to merge; empty while queries are fast.

    Small files (< 4 MB, in larger tables < 5 % of it, at most 32 MB) qualify once there are 8, so
    each is rewritten only a few times. Larger ones qualify when more than 20 % of their rows are
    deleted; those with the largest share come first, up to what one run may rewrite.
    """
    table_part = sum(file.bytes for file in files) // _TABLE_PARTS
    limit = min(_SMALL_FILE_OF_LARGE_TABLE, max(_SMALL_FILE, table_part))
    small = sorted((file for file in files if file.bytes < limit), key=lambda file: file.bytes)
    large = [
        file
        for file in files
        if file.bytes >= limit and file.deleted > _MIN_DELETED_SHARE * file.rows
    ]
    large.sort(key=lambda file: file.deleted / file.rows, reverse=True)
    selected: set[DataFile] = set()
    bytes_left, rows_left = _MAX_BYTES, _MAX_ROWS
    for file in small if len(small) >= _MIN_SMALL_FILES else ():
        if file.bytes <= bytes_left:
            selected.add(file)
            bytes_left -= file.bytes
    for file in large:
        if file.bytes <= bytes_left and (file.rows <= rows_left or rows_left == _MAX_ROWS):
            selected.add(file)
            bytes_left -= file.bytes
            rows_left -= file.rows
    return tuple(file for file in files if file in selected)


@dataclass(frozen=True, slots=True)
class Compactor:
    """Compacts tables that a run has committed, each under the lock that `lock` lends.

    `lock` raises LockHeldError for a table on which another run works: its upkeep is that run's.
    """

    catalog: CatalogFile
    lock: Callable[[TableName], AbstractContextManager[object]]
    uploader: Uploader
    spool: Path
    run_id: str

    def compact(self, tables: Sequence[TableName]) -> None:
        """Merge the files of each table that qualify. A failure is a warning, not the run's."""
        for number, table in enumerate(tables):
            try:
                with self.lock(table):
                    self._compact(table, self.spool / f"compacted-{number:05d}.parquet")
            except LockHeldError as error:
                log.info("%s: its small files stay as they are: %s", table, error.message)
            except CdpsyncError as error:
                log.warning("%s: its small files stay as they are: %s", table, error.message)

    def _compact(self, table: TableName, target: Path) -> None:
        import duckdb

        try:
            with self.catalog.reader() as con:
                old = files_to_compact(ducklake.data_files(con, table, self.catalog.data_path))
                if not old or _hides_filename(con, table):
                    return
                rows, size = with_less_memory(con, lambda: _write_rows(con, table, old, target))
                if not rows:  # all are deleted, and DuckLake drops such files itself
                    return
        except duckdb.Error as error:
            message = first_line(error)
            advice = retyped_advice(message, table)
            raise CatalogError(
                f"the files could not be read ({message}).{advice and f' {advice}.'}"
            ) from error
        upload = self.uploader.start_table(folder_of(table), _ATTEMPT)
        try:
            upload.add(target, size)
            new = upload.wait()
        except BaseException:
            upload.rollback()
            raise
        try:
            self._commit(table, old, new, rows)
        except BaseException:
            self.uploader.may_have_orphans = True
            raise
        before = sum(file.bytes for file in old)
        log.info("%s: %d files of %d bytes became one of %d", table, len(old), before, size)

    def _commit(
        self, table: TableName, old: Sequence[DataFile], new: Sequence[str], rows: int
    ) -> None:
        """Replace the old files by the new ones in one transaction."""
        message = compaction_message(self.run_id, table)
        with self.catalog.writer() as con, transaction(con, message, table):
            _replace(con, table, old, new, rows)


def _hides_filename(con: duckdb.DuckDBPyConnection, table: TableName) -> bool:
    """Whether a column of the table's own hides the `filename` of each row.

    DuckLake reads the definitions of all tables for this. So it is asked of few.
    """
    described = con.execute(f"describe {sql_name(table)}").fetchall()
    return any(name.lower() == "filename" for name, *_ in described)


def _replace(
    con: duckdb.DuckDBPyConnection,
    table: TableName,
    old: Sequence[DataFile],
    new: Sequence[str],
    rows: int,
) -> None:
    deleted = con.execute(
        f"delete from {sql_name(table)} where filename in ({_quoted_paths(old)})"
    ).fetchone()
    if deleted is None or deleted[0] != rows:
        raise CatalogError("another commit changed them meanwhile. Nothing was changed.")
    ducklake.add_data_files(con, table, new)


def _write_rows(
    con: duckdb.DuckDBPyConnection, table: TableName, old: Sequence[DataFile], target: Path
) -> tuple[int, int]:
    """Write the rows of these files that are not deleted; return how many, and their bytes."""
    select = f"select * from {sql_name(table)} where filename in ({_quoted_paths(old)})"
    columns = len(con.execute(f"describe {sql_name(table)}").fetchall())
    return write(con, select, target, columns)


def _quoted_paths(files: Sequence[DataFile]) -> str:
    return ", ".join(quote_text(file.path) for file in files)
