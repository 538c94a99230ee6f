"""The measured Postgres: its tables, a project over it, and the commands of a comparison."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from measure import CDPSYNC, WORK, Command, aside, output

from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Database

FOLDER = {"path": "./warehouse"}


@dataclass(frozen=True)
class Setting:
    """The database of one part, and the amount of work.

    `runs` of each command are counted. `scale` is 1 for the sizes to which the limits apply. A
    table is changed `times` times.
    """

    server: Database
    runs: int
    scale: float
    times: int

    @property
    def few(self) -> int:
        """The number of runs of a slow peer."""
        return min(3, self.runs)


def load_tpch(server: Database, scale: float, *tables: str) -> None:
    """Load TPC-H tables from DuckDB's generator into the server."""
    aside(_generate, server.dsn, scale, tables)
    for table in tables:
        server.execute(f"vacuum analyze {table}")


def _generate(dsn: str, scale: float, tables: tuple[str, ...]) -> None:
    import duckdb

    from cdpsync import engine

    con = duckdb.connect()
    con.execute("set enable_progress_bar = false")
    for name in ("tpch", "postgres_scanner"):
        engine.load_extension(con, name)
    con.execute(f"call dbgen(sf = {scale})")
    con.execute(f"attach {quote_text(dsn)} as pg (type postgres)")
    for table in tables:
        con.execute(f"create table pg.{table} as from {table}")


def project(
    name: str, server: Database, tables: dict[str, Any], warehouse: dict[str, Any] | None = None
) -> Path:
    """Write a project file over this server into an empty folder; return the folder."""
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shop = {"type": "postgres", "url": server.url, "tables": tables}
    config = {"warehouse": warehouse or FOLDER, "sources": {"shop": shop}}
    file = folder / "cdpsync.yml"
    file.write_text(json.dumps(config))
    file.chmod(0o600)  # because it contains a password
    return folder


def cdpsync(folder: Path, *words: str) -> Command:
    """Return a cdpsync command over a project."""
    return Command([CDPSYNC, "-q", "-c", folder / "cdpsync.yml", *words])


def ask(folder: Path, sql: str) -> str:
    """Return the single value of a query on a lake."""
    words = cdpsync(folder, "query", "-o", "csv", sql).words
    return output(words).splitlines()[-1].strip('"')


def copy(server: Database, table: str) -> Command:
    """Return psql's COPY of a table to /dev/null: no load of the table can be much faster."""
    sql = f"copy {table} to stdout (format binary)"
    words = [server.bin / "psql", "-X", "-q", "-d", server.dsn_bare, "-c", sql]
    return Command(words, {"PGPASSWORD": server.password})
