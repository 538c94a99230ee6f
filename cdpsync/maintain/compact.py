"""Light upkeep at the end of a run: a table's small and much deleted files become one.

It is a commit like any other: a file under the run's name, uploaded, exchanged for those whose
rows it holds. docs/decisions/0007 says when and why.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cdpsync.catalog import ducklake, sql_name, transaction
from cdpsync.engine import first_line
from cdpsync.errors import CatalogError, CdpsyncError
from cdpsync.load.merge import write
from cdpsync.sql import quote_text
from cdpsync.storage.paths import folder_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import duckdb

    from cdpsync.catalog import CatalogFile
    from cdpsync.catalog.ducklake import DataFile
    from cdpsync.load.upload import Uploader
    from cdpsync.model import TableName

log = logging.getLogger("cdpsync.maintain.compact")

_SMALL = 4_000_000  # bytes
_LARGE = 32_000_000
_SHARE = 20  # between the two, a file is small that has less than such a part of its table
_MANY = 8  # small files
_DELETED = 0.2  # of a larger file's rows
_AT_ONCE = 512_000_000  # bytes of one table in one run; what is left is the next run's
# Of the larger ones: DuckLake keeps 50 bytes for each row that leaves, and no run should take long.
_ROWS_AT_ONCE = 3_000_000
_ATTEMPT = 90  # in the file's name: no attempt at a load comes that far


def files_to_compact(files: Sequence[DataFile]) -> tuple[DataFile, ...]:
    """Return the files that should become one: nothing, while questions are still quick.

    Small ones once they are many, each but a few times in its life (those of a first load are no
    fragments, many as they are); larger ones when many of their rows are deleted, the worst first
    and no more than one run should carry.
    """
    share = sum(file.bytes for file in files) // _SHARE
    limit = min(_LARGE, max(_SMALL, share))
    small = sorted((file for file in files if file.bytes < limit), key=lambda file: file.bytes)
    large = [file for file in files if file.bytes >= limit and file.deleted > _DELETED * file.rows]
    large.sort(key=lambda file: file.deleted / file.rows, reverse=True)
    chosen: set[DataFile] = set()
    left, rows_left = _AT_ONCE, _ROWS_AT_ONCE
    for file in small if len(small) >= _MANY else ():
        if file.bytes <= left:
            chosen.add(file)
            left -= file.bytes
    for file in large:
        if file.bytes <= left and (file.rows <= rows_left or rows_left == _ROWS_AT_ONCE):
            chosen.add(file)
            left -= file.bytes
            rows_left -= file.rows
    return tuple(file for file in files if file in chosen)


@dataclass(frozen=True, slots=True)
class Compactor:
    """Who looks after tables whose locks a run holds, once their news are committed."""

    catalog: CatalogFile
    uploader: Uploader
    spool: Path
    run_id: str

    def compact(self, tables: Sequence[TableName]) -> None:
        """Exchange what is worn; nothing of a run hangs on it, so that a failure is a warning."""
        for number, table in enumerate(tables):
            try:
                self._compact(table, self.spool / f"compacted-{number:05d}.parquet")
            except CdpsyncError as error:
                log.warning("%s: its small files stay as they are: %s", table, error.message)

    def _compact(self, table: TableName, target: Path) -> None:
        import duckdb

        try:
            with self.catalog.reader() as con:
                old = files_to_compact(self._files(con, table))
                if not old:
                    return
                rows, size = _gather(con, table, old, target)
                if not rows:  # all deleted: DuckLake lets such files go by itself
                    return
        except duckdb.Error as error:
            raise CatalogError(f"they could not be read ({first_line(error)}).") from error
        delivery = self.uploader.start_table(folder_of(table), _ATTEMPT)
        try:
            delivery.add(target, size)
            new = delivery.wait()
        except BaseException:
            delivery.rollback()
            raise
        try:
            self._exchange(table, old, new, rows)
        except BaseException:
            self.uploader.may_have_orphans = True
            raise
        before = sum(file.bytes for file in old)
        log.info("%s: %d files of %d bytes became one of %d", table, len(old), before, size)

    def _files(self, con: duckdb.DuckDBPyConnection, table: TableName) -> tuple[DataFile, ...]:
        """Return the files of a table; none where its own columns hide which row is in which."""
        described = con.execute(f"describe {sql_name(table)}").fetchall()
        if any(name.lower() == "filename" for name, *_ in described):
            return ()
        return ducklake.data_files(con, table, self.catalog.data_path)

    def _exchange(
        self, table: TableName, old: Sequence[DataFile], new: Sequence[str], rows: int
    ) -> None:
        """Let the new file take the place of the old ones, or change nothing."""
        message = f"{self.run_id}: {table}, compacted"
        with self.catalog.writer() as con, transaction(con, message, table):
            _replace(con, table, old, new, rows)


def _replace(
    con: duckdb.DuckDBPyConnection,
    table: TableName,
    old: Sequence[DataFile],
    new: Sequence[str],
    rows: int,
) -> None:
    deleted = con.execute(
        f"delete from {sql_name(table)} where filename in ({_listed(old)})"
    ).fetchone()
    if deleted is None or deleted[0] != rows:
        raise CatalogError("they are not what they were. Nothing was changed.")
    ducklake.add_data_files(con, table, new)


def _gather(
    con: duckdb.DuckDBPyConnection, table: TableName, old: Sequence[DataFile], target: Path
) -> tuple[int, int]:
    """Write the rows that these files still hold; return how many, and their bytes."""
    select = f"select * from {sql_name(table)} where filename in ({_listed(old)})"
    columns = len(con.execute(f"describe {sql_name(table)}").fetchall())
    return write(con, select, target, columns)


def _listed(files: Sequence[DataFile]) -> str:
    return ", ".join(quote_text(file.path) for file in files)
