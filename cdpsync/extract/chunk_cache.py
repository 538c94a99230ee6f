"""What was made of chunks before: a file each, found again by the chunk's place."""

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


def cache_path(folder: Path, place: str, how: str) -> Path:
    """Return the file of a chunk of this place, from which this was made.

    Hashes are DuckDB's, which may be others in another version of it.
    """
    import duckdb

    told = f"{_FORMAT}\n{duckdb.__version__}\n{how}\n{place}"
    return folder / f"{sha256(told.encode()).hexdigest()}.parquet"


def cache_get(con: duckdb.DuckDBPyConnection, known: Path, file: Path) -> tuple[str, int] | None:
    """Take what is known under a name of one's own, so that nobody removes it meanwhile.

    Return of which moment it is, and how many rows it has; None where there is nothing, or
    nothing that can be read.
    """
    try:
        os.link(known, file)
    except OSError:
        return None
    told = _told(con, file)
    if told is None:
        known.unlink(missing_ok=True)
        file.unlink()
    return told


def cache_put(file: Path, known: Path) -> None:
    """Keep a complete file for the next time; where that is not possible it is made again."""
    with suppress(OSError):
        for folder in (known.parents[2], known.parents[1], known.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # keys are rows' own values
        disk.fsync(file)
        fresh = known.with_suffix(f".{file.stem}")
        os.link(file, fresh)
        fresh.replace(known)


def cache_prune(folder: Path, used: Iterable[Path]) -> None:
    """Remove what is kept and was not used: those that share no bytes with `used`."""
    same = {file.stat().st_ino for file in used}
    with suppress(OSError):
        for known in list(folder.iterdir()):
            if known.stat().st_ino not in same:
                known.unlink()


def _told(con: duckdb.DuckDBPyConnection, file: Path) -> tuple[str, int] | None:
    """Return what a Parquet file tells; None of one that is damaged, which harms no transaction."""
    import duckdb

    path = quote_text(glob_escaped(str(file)))
    try:
        with con.cursor() as own:
            moment = own.execute(
                f"select value::varchar from parquet_kv_metadata({path}) where key = 'moment'"
            ).fetchone()
            rows = own.execute(f"select count(*) from read_parquet({path})").fetchone()
    except duckdb.Error:
        return None
    return (str(moment[0]), int(rows[0])) if moment and rows else None
