"""A cache of chunks for `verify`: the result of a query over each chunk, as one Parquet file."""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from cdpsync.sql import glob_escaped, quote_text
from cdpsync.system import disk

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import duckdb

_FORMAT = "2"


def cache_path(folder: Path, chunk_key: str, query: str) -> Path:
    """Return the cached file for a chunk and the query over its rows.

    The name depends on DuckDB's version, because another version may hash rows differently.
    """
    import duckdb

    identity = f"{_FORMAT}\n{duckdb.__version__}\n{query}\n{chunk_key}"
    return folder / f"{sha256(identity.encode()).hexdigest()}.parquet"


def cache_get(con: duckdb.DuckDBPyConnection, cached: Path, file: Path) -> tuple[str, int] | None:
    """Link a cached file to `file`, and return its chunk's version and how many rows it has.

    The link keeps the file while another process removes it from the cache. Returns None where
    there is no cached file. A damaged one is removed.
    """
    try:
        os.link(cached, file)
    except OSError:
        return None
    entry = _version_and_rows(con, file)
    if entry is None:
        cached.unlink(missing_ok=True)
        file.unlink()
    return entry


def cache_put(file: Path, cached: Path) -> None:
    """Add a complete file to the cache. Where the disk refuses, nothing is cached."""
    with suppress(OSError):
        for folder in (cached.parents[2], cached.parents[1], cached.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # files hold key values of rows
        disk.fsync(file)
        new_link = cached.with_suffix(f".{file.stem}")
        os.link(file, new_link)
        new_link.replace(cached)


def cache_prune(folder: Path, used: Iterable[Path]) -> None:
    """Remove the cached files that are not hard links of a `used` file."""
    used_inodes = {file.stat().st_ino for file in used}
    with suppress(OSError):
        for cached in list(folder.iterdir()):
            if cached.stat().st_ino not in used_inodes:
                cached.unlink()


def _version_and_rows(con: duckdb.DuckDBPyConnection, file: Path) -> tuple[str, int] | None:
    """Return the chunk's version and the number of rows in a file; None where it is damaged.

    It reads on a cursor of its own, because an error would end the connection's transaction.
    """
    import duckdb

    path = quote_text(glob_escaped(str(file)))
    try:
        with con.cursor() as own:
            version = own.execute(
                f"select value::varchar from parquet_kv_metadata({path}) where key = 'moment'"
            ).fetchone()
            rows = own.execute(f"select count(*) from read_parquet({path})").fetchone()
    except duckdb.Error:
        return None
    return (str(version[0]), int(rows[0])) if version and rows else None
