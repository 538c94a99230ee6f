"""One transaction of the lake: all of it, on the disk, or nothing."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync.catalog import ducklake
from cdpsync.system import disk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from cdpsync.model import TableName


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection, message: str, *tables: TableName) -> Iterator[None]:
    """Commit what the block does under a message, or nothing of it when it raises.

    What DuckLake itself writes for these tables (which rows are deleted, rows merged) is on the
    disk before the catalog names it: DuckDB 1.5.5 waits for it with its catalog, not with Parquet.
    """
    import duckdb

    con.begin()
    try:
        folders = _folders(con, tables)
        before = {folder: _written(folder) for folder in folders}
        yield
        for folder in folders:
            news = _written(folder) - before[folder]
            for file in news:
                disk.fsync(file)
            if news:
                disk.fsync(folder)
        ducklake.set_commit_message(con, message)
        con.commit()
    except BaseException:
        with suppress(duckdb.Error):  # a commit that failed has ended the transaction
            con.rollback()
        raise


def _folders(con: duckdb.DuckDBPyConnection, tables: Sequence[TableName]) -> list[Path]:
    """Return where DuckLake writes for tables that there are, unless that is a bucket."""
    folders = ducklake.table_folders(con, tables)
    return [Path(folder) for folder in folders if "://" not in folder]


def _written(folder: Path) -> set[Path]:
    return set(folder.glob("ducklake-*.parquet"))
