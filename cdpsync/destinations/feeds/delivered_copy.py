"""The copy of what was delivered of a query: per key a digest, and the row where it is needed.

It is a Parquet file. The digest is an MD5 of the values' texts, because DuckDB's own hashes may
change with its version, and then every row would be sent again. Rows are kept as texts, too,
because Parquet has no type for some values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdpsync.sql import glob_escaped, quote_name, quote_text
from cdpsync.system import disk, private_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import duckdb

    from cdpsync.model import Column

_OLD = "old "  # before the name of a column of the row

_COPY = """
    copy (
        select key, digest{values} from feed_rows where key not in ({leave_out})
        {before}
    ) to {file} (format parquet, compression zstd)
"""

_BEFORE = "union all by name select * from {copy} where key in ({leave_out})"


def digest_sql(columns: Iterable[Column]) -> str:
    """Return SQL of a 64-bit digest of a row's values, whatever their types.

    A column without a value is left out, so that a new column alone makes no row another one.
    """
    parts = []
    for column in columns:
        text = f"cast({quote_name(column.name)} as varchar)"
        name = quote_text(f"{len(column.name)}:{column.name}")
        parts.append(f"coalesce({name} || strlen({text}) || ':' || {text}, '')")
    return f"md5_number_lower({' || '.join(parts)})"


def read_copy(file: Path) -> str:
    """Return SQL of the rows of a copy."""
    path = quote_text(glob_escaped(str(file)))
    return f"read_parquet([{path}], hive_partitioning = false)"


def old_row(con: duckdb.DuckDBPyConnection, file: Path, columns: Sequence[Column]) -> str | None:
    """Return SQL of the row in a copy as a struct of these columns; None: it has no rows.

    A column that the copy lacks is NULL, as is a value that the column's type no longer takes.
    """
    described = con.execute(f"describe select * from {read_copy(file)}").fetchall()
    names = {row[0] for row in described}
    if not any(name.startswith(_OLD) for name in names):
        return None
    values = (
        f"{quote_name(column.name)} := "
        + (
            f"try_cast({quote_name(_OLD + column.name)} as {column.type})"
            if _OLD + column.name in names
            else f"null::{column.type}"
        )
        for column in columns
    )
    return f"struct_pack({', '.join(values)})"


def write_copy(
    con: duckdb.DuckDBPyConnection,
    target: Path,
    columns: Iterable[Column],
    previous: Path | None,
    leave_out: str | None,
) -> None:
    """Write the copy of `feed_rows` (key, digest, row), and sync it to the disk.

    The keys of the SELECT `leave_out` stay as they are in the previous copy. The row is written
    where there are columns.
    """
    values = "".join(
        f', cast("row".{quote_name(column.name)} as varchar) as {quote_name(_OLD + column.name)}'
        for column in columns
    )
    keys = leave_out or "select null::varchar where false"
    before = ""
    if previous is not None and leave_out is not None:
        before = _BEFORE.format(copy=read_copy(previous), leave_out=keys)
    private_files.make_folder(target.parent)
    con.execute(
        _COPY.format(values=values, leave_out=keys, before=before, file=quote_text(str(target)))
    )
    private_files.make_private(target)
    disk.fsync(target)
    disk.fsync(target.parent)
