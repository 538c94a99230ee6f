"""The peers of the comparison: dlt, and DuckDB's Postgres scanner alone; in their own environment.

dlt has the settings that its documentation of `sql_database` recommends for large tables:
`chunk_size` 100,000, the source's types (`full_with_precision`), Parquet as the loader's file
format. numpy and pandas are installed, because its pyarrow backend is faster with them. connectorx
returns whole Arrow tables, its default there, because as a stream it loses time zones. A first load
into a DuckDB file appends, because that is faster than a merge into an empty table; later loads
merge by key. Telemetry is off.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from measure import ROOT, WORK, Command, output

if TYPE_CHECKING:
    from support.servers import Database

_HOME = ROOT / "bench" / ".peers"
_PYTHON = _HOME / "bin" / "python"
_LOCK = ROOT / "bench" / "peers.lock"  # written by `make lock`
_READY = _HOME / "ready.txt"
_DLT = Path(__file__).with_name("peer_dlt.py")
_SCANNER = Path(__file__).with_name("peer_scanner.py")
_VERSIONS = """
from importlib.metadata import version
print(", ".join(f"{name} {version(name)}" for name in ("dlt", "connectorx", "pyarrow")))
"""
_ASK = """
import duckdb, sys
con = duckdb.connect(sys.argv[1])
con.execute("set enable_progress_bar = false")  # because it would be printed beside the answer
print(con.execute(sys.argv[2]).fetchone()[0])
"""


def install() -> None:
    """Create their environment if it is missing, or differs from bench/peers.lock."""
    if _READY.exists() and _READY.read_text() == _LOCK.read_text():
        return
    print("installing the peers", file=sys.stderr)
    shutil.rmtree(_HOME, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", _HOME], check=True)
    pip = [_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "-r", _LOCK], check=True)
    subprocess.run([_PYTHON, _DLT, "--help"], check=True, stdout=subprocess.DEVNULL)
    shutil.copy(_LOCK, _READY)


def versions() -> str:
    """Return the names and versions of the peers."""
    return output([_PYTHON, "-c", _VERSIONS])


def ask(file: str, sql: str) -> str:
    """Return the single value of a query on a DuckDB file (or `:memory:`)."""
    return output([_PYTHON, "-c", _ASK, file, sql])


def scanner(server: Database, table: str, folder: Path) -> Command:
    """Return the command that copies a table with the scanner to one Parquet file."""
    return Command([_PYTHON, _SCANNER, server.dsn, table, _empty(folder) / "all.parquet"])


def dlt_folder(server: Database, table: str, backend: str, folder: Path) -> Command:
    """Return the command that loads a table into a folder of Parquet files, from the start."""
    return _dlt(server, table, backend, _empty(folder), "--replace")


def dlt_file(server: Database, table: str, folder: Path, key: str, cursor: str) -> Command:
    """Return the command that loads a table into a DuckDB file, or updates it by key and cursor."""
    return _dlt(server, table, "connectorx", folder, "--key", key, "--cursor", cursor)


def _dlt(server: Database, table: str, backend: str, folder: Path, *options: str) -> Command:
    url = server.url.replace(
        "postgresql://", "postgresql+psycopg2://"
    )  # the driver that dlt installs
    words = [_PYTHON, _DLT, url, table, backend, folder, *options]
    return Command(words, {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"})


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def work(name: str) -> Path:
    """Return a peer's working folder."""
    return WORK / "peers" / name


def clear(name: str) -> None:
    """Remove a peer's working folder."""
    shutil.rmtree(work(name), ignore_errors=True)
