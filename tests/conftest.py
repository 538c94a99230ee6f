"""What every test can ask for: a real Postgres with a fresh database in it, S3, and a GCS."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import queue
import shutil
import ssl
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers
from support import commands, lake_reading
from support.database_pool import DatabasePool
from support.mysql_server import MariaDatabase, MariaServer, mariadb
from support.postgres_15 import postgres_15
from support.servers import (
    READER,
    Buckets,
    Database,
    Server,
    fake_gcs,
    postgres,
    read_models_once,
    seaweedfs,
    standby,
)
from support.snowflake_server import Account, fakesnow

from cdpsync import redact
from cdpsync.catalog import file as catalog_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb


# A shared machine is slow at times; no test here is about time.
settings.register_profile("cdpsync", deadline=None)
settings.load_profile("cdpsync")

# Hypothesis tries constants of the modules of this project, too: those that a worker has imported
# before, so a derandomized test would depend on the tests that ran before it.
providers._get_local_constants = lambda: providers._local_constants

# A second thread of DuckDB costs more than it does where rows are few: with one, a run takes 40 %
# less processor time. DuckDB reads this where no number is set, in every process that inherits it.
os.environ.setdefault("SLURM_CPUS_ON_NODE", "1")

# DuckDB plans each query in very many small pieces of memory. glibc keeps seven freed pieces of a
# size at hand; with more, a run takes 15 % less processor time. It reads this where a process
# starts: so do the workers, because this process starts them.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.tcache_count=2000")

_MEMORY = Path("/dev/shm")  # noqa: S108 - files of a folder of our own below it
_ENOUGH = 4 << 30  # bytes; the suite needs one at most

_KEPT = 3  # idle connections, from one test to the next

_numbers = itertools.count(1)


def _files_in_memory() -> None:
    """Keep all temporary files in memory, where there is room and nobody has chosen a folder.

    They are made and removed by the hundred thousand, and no test is about the disk's own speed.
    """
    chosen = any(name in os.environ for name in ("TMPDIR", "TEMP", "TMP"))
    if chosen or not _MEMORY.is_dir() or not os.access(_MEMORY, os.W_OK | os.X_OK):
        return
    can_execute = not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC  # Postgres may be copied there
    if can_execute and shutil.disk_usage(_MEMORY).free > _ENOUGH:
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None  # it is looked up anew


_files_in_memory()

# PyMySQL reads the certificates of all public authorities for each of its connections, which takes
# most of a small test's time. No server of the tests has one of theirs.
ssl.SSLContext.load_default_certs = lambda *_: None  # type: ignore[method-assign]


# These take the longest, in processor time, so they begin first: whatever runs last is short, and
# all workers end together. The unit tests have no server and come last.
_FIRST = (
    "test_crash_points.py",
    "test_delivery_kills.py",
    "test_modes.py",
    "test_bucket_crashes.py",
    "test_readme.py",
    "test_compact.py",
    "test_failures.py",
    "test_safe_cursor.py",
    "test_month.py",
    "test_verify.py",
    "test_source_changes.py",
    "test_snowflake_modes.py",
    "test_many_tables.py",
    "test_planted_secrets.py",
    "test_schema_changes.py",
    "test_late_commits.py",
    "test_hostile_names.py",
    "test_conformance.py",
)


def pytest_xdist_auto_num_workers() -> int | None:
    """Have one worker more than cores, because at times a worker waits for its servers."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # xdist follows it
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with the longest tests first, and the unit tests last."""

    def rank(item: pytest.Item) -> int:
        if item.path.name in _FIRST:
            return _FIRST.index(item.path.name)
        return len(_FIRST) + ("unit" in item.path.parts)

    items.sort(key=rank)  # stable: within a file the order stays


def pytest_collection_finish() -> None:
    """Let the collector of garbage pass over what lives as long as this process, and come seldom.

    Between two collections there are as many objects as in the command.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.fixture
def all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let DuckDB use as many threads as it does for a user: where there are many files or rows."""
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test plants as a secret is no secret in the next."""
    monkeypatch.setattr(redact, "_known", set())
    monkeypatch.setattr(redact, "_pattern", None)
    monkeypatch.setattr(redact, "_sources", set())


class _Idle(defaultdict[str, "queue.LifoQueue[duckdb.DuckDBPyConnection]"]):
    """The idle connections of a test's projects; those of local ones outlive the test.

    A new DuckDB takes a fifth of a small query's time, and nothing in it is of one project.
    """

    local: queue.LifoQueue[duckdb.DuckDBPyConnection] = queue.LifoQueue()

    def __missing__(self, data_path: str) -> queue.LifoQueue[duckdb.DuckDBPyConnection]:
        self[data_path] = queue.LifoQueue() if "://" in data_path else self.local
        return self[data_path]

    def end(self) -> None:
        """Close the connections that have credentials, and all but a few of the others."""
        kept = []
        for connections in {id(pool): pool for pool in self.values()}.values():
            while not connections.empty():
                con = connections.get()
                if connections is self.local and len(kept) < _KEPT:
                    con.execute("reset memory_limit")
                    kept.append(con)
                else:
                    con.close()
        for con in kept:
            self.local.put(con)


@pytest.fixture(autouse=True)
def idle_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep a few of a test's connections for the next test, and no others."""
    idle = _Idle()
    monkeypatch.setattr(catalog_file, "_idle", idle)
    yield
    lake_reading.close()
    idle.end()


@pytest.fixture(scope="session", autouse=True)
def end_of_commands() -> Iterator[None]:
    """What starts this process's commands ends with it."""
    yield
    commands.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One running Postgres for this test process."""
    with postgres() as server:
        _hash_once(server)
        yield server


@pytest.fixture(scope="session")
def postgres_15_server() -> Iterator[Server]:
    """One running Postgres of an older version for this test process."""
    with postgres_15() as server:
        yield server


def _hash_once(server: Server) -> None:
    """Let a login cost one round of the password's hash instead of 4,096, which take 6 ms."""
    server.psql(f"set scram_iterations = 1; alter user postgres password '{server.password}'")


@pytest.fixture(scope="session")
def replicated_servers() -> Iterator[tuple[Server, Server]]:
    """A running Postgres for this test process, and its streaming replica."""
    with postgres() as primary, standby(primary) as replica:
        _hash_once(primary)
        replica.wait_for(primary)
        yield primary, replica


@pytest.fixture(scope="session")
def database_pool(postgres_server: Server) -> Iterator[DatabasePool]:
    """The databases of this process's tests."""
    with contextlib.closing(DatabasePool(postgres_server)) as pool:
        yield pool


@pytest.fixture
def pg(database_pool: DatabasePool) -> Iterator[Database]:
    """An empty database of one's own."""
    with database_pool.database() as database:
        yield database


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaServer]:
    """One running MariaDB for this test process."""
    with mariadb() as server:
        yield server


@pytest.fixture
def maria(mariadb_server: MariaServer) -> Iterator[MariaDatabase]:
    """A database of one's own, dropped after the test."""
    with mariadb_server.database(f"test_{next(_numbers)}") as database:
        yield database


@pytest.fixture(scope="session")
def s3() -> Iterator[Buckets]:
    """A running S3 service with a bucket `lake`, and READER, who may only read."""
    reader = {"accessKey": READER[0], "secretKey": READER[1]}
    may_read = {"name": "reader", "credentials": [reader], "actions": ["Read", "List"]}
    read_models_once()
    with seaweedfs(may_read) as buckets:
        buckets.client().create_bucket(Bucket="lake")
        yield buckets


@pytest.fixture(scope="session")
def gcs() -> Iterator[str]:
    """The address of a running GCS with a bucket `lake`."""
    with fake_gcs() as address:
        said = json.dumps({"name": "lake"}).encode()
        asked = Request(f"{address}/storage/v1/b?project=test", said, method="POST")  # noqa: S310
        asked.add_header("content-type", "application/json")
        with urlopen(asked):  # noqa: S310 - our own http address
            yield address


@pytest.fixture(scope="session")
def snowflake_server() -> Iterator[int]:
    """The port of a running local Snowflake for this test process."""
    with fakesnow() as port:
        yield port


@pytest.fixture
def snow(snowflake_server: int) -> Account:
    """A database of one's own, with an empty schema PUBLIC."""
    name = f"TEST_{next(_numbers)}"
    Account(snowflake_server, "").execute(f"create database {name}", f"create schema {name}.public")
    return Account(snowflake_server, name)
