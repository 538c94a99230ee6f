"""A local Snowflake for the tests: fakesnow, in an environment of its own.

fakesnow wants another DuckDB than cdpsync does. Its environment is made once, beside the one that
runs the tests, by whichever test process comes first. What it cannot say is told by stand-ins:
it collapses types, lists no views, knows no roles and no warehouses, and answers in a single batch.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.processes import ServerError, free_port, kept, serves, stop

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK = Path(__file__).with_name("fakesnow.lock")  # written by `make lock`

# fakesnow knows neither whose account it is nor when a table was made. DuckDB's id of a table
# stands for that: it changes by CREATE OR REPLACE, and not by ALTER.
_SERVE = """
import sys
import uvicorn
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.info_schema import SQL_CREATE_INFORMATION_SCHEMA_TABLES_VIEW as TABLES
from fakesnow.server import app

TABLES.template = TABLES.template.replace(
    'to_timestamp(0)::timestamptz AS "CREATED"', 'to_timestamp(tables.table_oid) AS "CREATED"')
SAYS = {"region": "AWS_EU_WEST_1", "account": "XY12345", "organization_name": "ACME",
    "account_name": "MAIN"}

def execute(cursor, command, *args, plain=FakeSnowflakeCursor.execute, **options):
    for name, value in SAYS.items():
        command = command.replace(f"current_{name}()", f"'{value}'")
    return plain(cursor, command, *args, **options)

FakeSnowflakeCursor.execute = execute
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
"""


@dataclass(frozen=True)
class Account:
    """A running fakesnow, seen through one database of it."""

    port: int
    database: str

    @property
    def options(self) -> dict[str, Any]:
        """The source's options, as a project file has them."""
        return {
            "type": "snowflake",
            "account": "fakesnow",
            "user": "reader",
            "password": "fakesnow-password",
            "database": self.database,
            "connect_options": {"host": "127.0.0.1", "port": self.port, "protocol": "http"},
        }

    @contextlib.contextmanager
    def connected(self) -> Iterator[Any]:
        """Lend a connection of the driver that may write."""
        import snowflake.connector

        con = snowflake.connector.connect(
            account="fakesnow",
            user="writer",
            password="any",
            database=self.database,
            schema="PUBLIC",
            host="127.0.0.1",
            port=self.port,
            protocol="http",
            platform_detection_timeout_seconds=0.0,
            session_parameters={"CLIENT_TELEMETRY_ENABLED": False},
        )
        try:
            yield con
        finally:
            con.close(retry=False)

    def execute(self, *statements: str) -> None:
        """Run statements, one after another."""
        with self.connected() as con:
            for statement in statements:
                con.cursor().execute(statement)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query, as the driver hands them out."""
        with self.connected() as con:
            return [tuple(row) for row in con.cursor().execute(sql).fetchall()]


@contextlib.contextmanager
def fakesnow() -> Iterator[int]:
    """Run fakesnow on a free port of 127.0.0.1, in memory; yield the port when it answers."""
    python = environment()
    root = Path(tempfile.mkdtemp(prefix="cdpsync-snowflake-"))
    port = free_port()
    keeper = kept(root, "TERM", [python, "-c", _SERVE, str(port)])
    try:
        if not serves(f"http://127.0.0.1:{port}/", keeper):
            log = (root / "log").read_text(errors="replace")
            raise ServerError(f"fakesnow did not start:\n{log}")
        yield port
    finally:
        stop(keeper)
        shutil.rmtree(root, ignore_errors=True)


def environment() -> Path:
    """Return the Python of fakesnow's environment, made now if it is not there or not whole."""
    home = Path(sys.prefix) / "fakesnow"
    ready = home / "ready"
    with (home.parent / "fakesnow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists() or ready.read_text() != _LOCK.read_text():
            _make(home)
            shutil.copy(_LOCK, ready)
    return home / "bin" / "python"


def _make(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    # Without a pip of its own, and with only those modules compiled that it imports.
    pip = [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "--quiet"]
    venv = [sys.executable, "-m", "venv", "--without-pip", home]
    for command in (venv, [*pip, "--no-deps", "--no-compile", "-r", _LOCK]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ServerError(f"fakesnow's environment cannot be made:\n{done.stderr}")
