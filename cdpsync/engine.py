"""DuckDB: its connections, extensions, access to storage, and errors in plain words."""

from __future__ import annotations

import importlib.util
import logging
import re
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cdpsync.errors import ConfigError
from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import duckdb
    from fsspec import AbstractFileSystem

log = logging.getLogger("cdpsync.engine")

T = TypeVar("T")

_SETTINGS = """
    set timezone = 'UTC';
    set autoinstall_known_extensions = false;
    set autoload_known_extensions = false;
    set enable_progress_bar = false;
    set allow_persistent_secrets = false;
"""

LARGE_ROWS = "set preserve_insertion_order = false; set enable_caching_operators = false"
"""The settings of a connection that writes Parquet files.

Row groups are limited in bytes only where insertion order is not preserved. The other setting joins
vectors of few rows, which are few because they are large.
"""

ONE_THREAD = "set threads = 1"
"""The setting of a connection whose queries are small: a second thread then costs more than it
does. It holds for all connections of the same database."""

ALL_THREADS = "reset threads"
"""The setting of a connection whose queries may be large."""

# Connections of `preconnect`, by their extensions and threads.
_preconnected: dict[tuple[tuple[str, ...], int | None], Future[duckdb.DuckDBPyConnection]] = {}


@dataclass(frozen=True, slots=True)
class StorageKeys:
    """DuckDB's credentials for a bucket. `type` is DuckDB's name of the service: s3, gcs."""

    type: str
    scope: str
    key_id: str
    secret: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str | None = None
    endpoint: str | None = None
    path_style: bool = False
    use_ssl: bool = True


def connect(
    *,
    threads: int | None = None,
    memory_limit: int | None = None,
    temp: Path | None = None,
    extensions: Iterable[str] = (),
) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB with these extensions, without a download if wheels have them.

    `memory_limit` is in bytes. `temp` is the folder for its temporary files; without it DuckDB
    writes none. The signature of an extension that pip installed is not checked again:
    docs/decisions/0012.
    """
    names = tuple(extensions)
    con = _take_preconnected(names, threads)
    if con is None:
        return _connect(names, threads, memory_limit, temp)
    con.execute(f"set temp_directory = {quote_text(str(temp) if temp else '')}")
    if memory_limit is not None:
        limit_memory(con, memory_limit)
    return con


def limit_memory(con: duckdb.DuckDBPyConnection, size: int) -> None:
    """Limit the memory of a connection, and of those that share its database, to so many bytes."""
    con.execute(f"set memory_limit = '{size}B'")


def memory_per_thread(con: duckdb.DuckDBPyConnection) -> int:
    """Return a connection's limit of memory, in bytes, divided by its threads."""
    row = con.execute("select current_setting('memory_limit'), current_setting('threads')")
    limit, threads = row.fetchone() or ("0 bytes", 1)
    number, unit = limit.split()
    power = 0 if unit == "bytes" else "KMGT".index(unit[0]) + 1
    return int(float(number) * 1024**power) // int(threads)


def _take_preconnected(
    extensions: tuple[str, ...], threads: int | None
) -> duckdb.DuckDBPyConnection | None:
    """Take a connection of `preconnect`; load the last extensions if it lacks them."""
    for length in range(len(extensions), 0, -1):
        future = _preconnected.pop((extensions[:length], threads), None)
        if future is not None and future.exception() is None:
            con = future.result()
            for name in extensions[length:]:
                load_extension(con, name)
            return con
    return None


def preconnect(extensions: Iterable[str], threads: int | None = None) -> None:
    """Start to open a connection with these extensions, for the next call of `connect`.

    Errors are ignored, because `connect` then raises them.
    """
    key = (tuple(extensions), threads)
    if key[0] and key not in _preconnected:
        executor = ThreadPoolExecutor(1, "cdpsync-duckdb")
        _preconnected[key] = executor.submit(_connect, *key)
        executor.shutdown(wait=False)


def _connect(
    extensions: Sequence[str],
    threads: int | None,
    memory_limit: int | None = None,
    temp: Path | None = None,
) -> duckdb.DuckDBPyConnection:
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "temp_directory": str(temp) if temp else ""
    }
    if extensions and all(wheel_file(name, duckdb.__version__) for name in extensions):
        config["allow_unsigned_extensions"] = "true"
    if threads is not None:
        config["threads"] = threads
    if memory_limit is not None:
        config["memory_limit"] = f"{memory_limit}B"
    con = duckdb.connect(config=config)
    con.execute(_SETTINGS)
    for name in extensions:
        load_extension(con, name)
    return con


def load_extension(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension from its wheel. Without a wheel, let DuckDB download it.

    Raises ConfigError that names the package to install.
    """
    import duckdb

    wheel = wheel_file(name, duckdb.__version__)
    try:
        if wheel:
            con.load_extension(str(wheel))
            return
        _refuse_unsigned(con)
        log.warning("no wheel of the DuckDB extension %s is installed: asking DuckDB for it", name)
        con.install_extension(name)
        con.load_extension(name)
    except duckdb.Error as error:
        package = f"duckdb-extension-{name.replace('_', '-')}=={duckdb.__version__}"
        raise ConfigError(
            f"the DuckDB extension {name} cannot be loaded ({first_line(error)}). "
            f"Install its wheel: pip install '{package}'."
        ) from error


def _refuse_unsigned(con: duckdb.DuckDBPyConnection) -> None:
    """Raise if DuckDB would load a download without checking its signature."""
    import duckdb

    row = con.execute("select current_setting('allow_unsigned_extensions')").fetchone()
    if row and row[0]:
        raise duckdb.Error("its wheel is not installed")


def storage_secret(con: duckdb.DuckDBPyConnection, keys: StorageKeys) -> None:
    """Give a connection the credentials of a bucket, and replace older ones; they stay in memory.

    DuckDB uses them only for addresses that begin with their scope.
    """
    import duckdb

    load_extension(con, "httpfs")
    values = {
        "scope": keys.scope,
        "key_id": keys.key_id,
        "secret": keys.secret,
        "session_token": keys.session_token,
        "region": keys.region,
        "endpoint": keys.endpoint,
        "url_style": "path" if keys.path_style else "vhost",
    }
    options = [f"type {keys.type}", f"use_ssl {str(keys.use_ssl).lower()}"]
    options += [
        f"{name} {quote_text(value)}" for name, value in values.items() if value is not None
    ]
    try:
        con.execute(f"create or replace temporary secret cdpsync ({', '.join(options)})")
    except duckdb.Error as error:
        raise ConfigError(
            f"{keys.scope}: DuckDB refuses these credentials ({first_line(error)})."
        ) from None  # its text has the statement


def use_filesystem(con: duckdb.DuckDBPyConnection, filesystem: AbstractFileSystem) -> None:
    """Register an fsspec filesystem for its addresses, and replace an older one."""
    protocol = filesystem.protocol
    for name in (protocol,) if isinstance(protocol, str) else protocol:
        if con.filesystem_is_registered(name):
            con.unregister_filesystem(name)
    con.register_filesystem(filesystem)


def wheel_file(name: str, version: str) -> Path | None:
    """Return the file of an extension's wheel for this version of DuckDB, or None."""
    spec = None
    with suppress(ModuleNotFoundError, ValueError):
        spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "extensions" / f"v{version}"
    file = folder / f"{name}.duckdb_extension"
    return file if file.exists() else None


def first_line(error: BaseException) -> str:
    """Return the message of a DuckDB error on one line, without the quoted SQL and the advice.

    DuckDB's advice is about its own settings, which a user of cdpsync does not set. So the message
    of an error of memory names ours.
    """
    fault = memory_fault(error)
    if fault is not None:
        return f"{fault}: set a higher warehouse.memory"
    text = str(error)
    if "max_temp_directory_size" in text:
        return "the rows do not fit into memory, and for temporary files the disk is full"
    for end in ("\nLINE ", "\n\nPossible solutions", "\n\nSee also"):
        text = text.split(end)[0]
    return " ".join(text.split())


def memory_fault(error: BaseException) -> str | None:
    """Return that DuckDB ran out of memory, and of how much; None for another error."""
    text = str(error)
    if "Out of Memory" not in text or "max_temp_directory_size" in text:
        return None
    limit = re.search(r"/([0-9.]+) ([KMGT]?i?B|bytes) used", text)
    size = re.search(r"of size ([0-9.]+) ([KMGT]?i?B|bytes)", text)
    parts = [f"it may use {_in_thousands(limit)}"] if limit else []
    parts += [f"{_in_thousands(size)} more were needed"] if size else []
    return "memory ran out" + (f" ({', and '.join(parts)})" if parts else "")


def _in_thousands(match: re.Match[str]) -> str:
    """Return a size of DuckDB's messages, which count in 1024, as `size_text` does."""
    number, unit = match[1], match[2]
    power = "KMGT".find(unit[0]) + 1 if unit != "bytes" else 0
    return size_text(int(float(number) * (1024 if "i" in unit else 1000) ** power))


def size_text(size: int) -> str:
    """Return bytes as `warehouse.memory` takes them: 1.5GB, 64MB."""
    return f"{size / 1e9:.1f}GB" if size >= 1e9 else f"{-(-size // 1_000_000)}MB"


def with_less_memory(con: duckdb.DuckDBPyConnection, task: Callable[[], T]) -> T:
    """Return the result of a task; if it runs out of memory, do it again with a single thread.

    A thread that reads or writes a Parquet file has a row group of it in memory.
    """
    import duckdb

    try:
        return task()
    except duckdb.OutOfMemoryException:
        con.execute("set threads = 1")
    try:
        return task()
    finally:
        con.execute("reset threads")


def retyped_advice(message: str, table: object = "TABLE") -> str:
    """Return the way out, if a DuckDB error is about old rows of a column that got another type.

    Otherwise return "". Earlier versions changed text to JSON in place, and text need not be JSON.
    """
    if "failed to cast column" not in message:
        return ""
    return (
        "Its rows were loaded before the column got this type. Load the table again: cdpsync run "
        f"{table} --full-refresh"
    )
