"""Failures outside cdpsync: one line names each, no table is half loaded, other tables load."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest
from support import commands
from support.faults import FaultProxy
from support.servers import free_port

from cdpsync import project
from cdpsync.errors import CatalogError, ConfigError, LockHeldError
from cdpsync.model import RunStatus
from cdpsync.project import workspace

if TYPE_CHECKING:
    from support.shop import Shop

TWO_TABLES = """
    create table good as select i as id from generate_series(1, 50) i;
    create table bad as select i as id, 1 as n from generate_series(1, 50) i;
"""


def cdpsync(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in the project's folder."""
    return commands.run(*arguments, cwd=shop.folder)


def run_failures(shop: Shop) -> dict[str, str]:
    """Run; return the message of each table that fails, while `shop.good` is loaded."""
    result = shop.run()
    assert result.status is RunStatus.PARTIAL
    messages = {str(table.table): table.error.message for table in result.tables if table.error}
    assert "shop.good" not in messages
    assert shop.ask("select count(*) from shop.good") == [(50,)]
    assert not any("\n" in message for message in messages.values())
    return messages


def run_failure(shop: Shop, table: str = "shop.bad") -> str:
    """Run; return the message of a table that fails, while `shop.good` is loaded."""
    return run_failures(shop)[table]


def test_permission_denied_fails_one_table(shop: Shop) -> None:
    """The message names the table and the GRANT that it needs."""
    shop.pg.execute(TWO_TABLES)
    shop.pg.execute("drop role if exists reader; create role reader login password 'readerpw'")
    shop.pg.execute("grant select on good to reader")
    url = shop.pg.url.replace(f"postgres:{shop.pg.password}", "reader:readerpw")
    try:
        shop.configure(None, url=url)
        message = run_failure(shop)
        assert "bad" in message
        assert "GRANT SELECT" in message
    finally:
        shop.pg.execute("drop owned by reader; drop role reader")


def test_missing_table_fails_alone(shop: Shop) -> None:
    """The message for a stream that does not exist names the command that lists the streams."""
    shop.pg.execute(TWO_TABLES)
    shop.configure({"public.good": {}, "public.gone": {}})
    assert "cdpsync discover shop" in run_failure(shop, "shop.gone")


def test_missing_column_fails_alone(shop: Shop) -> None:
    """The message names the cursor field that the stream does not have."""
    shop.pg.execute(TWO_TABLES)
    shop.configure({"public.good": {}, "public.bad": {"mode": "append_only", "cursor_field": "x"}})
    assert 'has no column "x"' in run_failure(shop)


def test_view_without_key_fails_alone(shop: Shop) -> None:
    """The message for an incremental view names the option to add."""
    shop.pg.execute(TWO_TABLES + "drop table bad; create view bad as select * from good;")
    options = {"mode": "incremental", "cursor_field": "id"}
    shop.configure({"public.good": {}, "public.bad": options})
    assert "primary_key" in run_failure(shop)


def test_statement_timeout_is_named(shop: Shop) -> None:
    """A view that takes too long fails alone, and the message names the setting."""
    shop.pg.execute(TWO_TABLES + "drop table bad; create view bad as select pg_sleep(5) is null b;")
    shop.configure(None, statement_timeout="300ms")
    assert "statement_timeout" in run_failure(shop)


def test_value_that_cannot_be_read_keeps_the_old_table(shop: Shop) -> None:
    """A failing load changes nothing: rows and cursor stay, and the next run goes on from there."""
    shop.pg.execute("create table good as select 1 as id from generate_series(1, 50)")
    shop.pg.execute("create table bad (id int primary key, at timestamp, n numeric)")
    shop.pg.execute("insert into bad values (1, '2024-01-01', 1.5)")
    types = {"types": {"n": "decimal(10,1)"}}  # the user's word, which no row widens
    options = {"mode": "incremental", "cursor_field": "at", "columns": types}
    shop.configure({"public.good": {}, "public.bad": options})
    shop.run()
    state = shop.state()["public.bad"]
    shop.pg.execute("insert into bad values (2, '2024-01-02', 1.25)")
    message = run_failure(shop)
    assert '"n"' in message
    assert "1.25" in message
    assert shop.ask("select id from shop.bad") == [(1,)]
    assert shop.state()["public.bad"] == state
    shop.pg.execute("update bad set n = 2.5 where id = 2")
    assert shop.run().status is RunStatus.OK
    assert shop.ask("select id, n from shop.bad order by id")[1][0] == 2


UNREACHABLE = {
    "password": (lambda url, _: url.replace("postgres:", "postgres:wrong"), "password"),
    "port": (lambda url, port: url.replace(f":{port}", f":{free_port()}"), "nothing listens"),
    "host": (lambda url, _: url.replace("127.0.0.1", "no-such-host.invalid"), "no-such-host"),
    "database": (lambda url, _: url.rsplit("/", 1)[0] + "/no_such_db", "no_such_db"),
}


def test_source_that_cannot_be_reached_fails_alone(shop: Shop) -> None:
    """The other source is synced; the message names the host and never shows the password."""
    shop.pg.execute("create table good as select 1 as id from generate_series(1, 50)")
    shop.configure(None)
    config = json.loads(shop.file.read_text())
    for name, (change_url, _) in UNREACHABLE.items():
        url = change_url(shop.pg.url, shop.pg.port)
        config["sources"][name] = {"type": "postgres", "url": url, "tables": {"public.t": {}}}
    shop.file.write_text(json.dumps(config))
    messages = run_failures(shop)
    for name, (_, cause) in UNREACHABLE.items():
        assert cause in messages[f"{name}.t"]
        assert shop.pg.password not in messages[f"{name}.t"]
    only = cdpsync(shop, "run", "password", "-o", "json")
    assert only.returncode == 1
    assert json.loads(only.stdout)["status"] == "failed"
    assert cdpsync(shop, "run").returncode == 3
    assert shop.pg.password not in only.stdout + only.stderr


def test_lost_connection_is_retried(shop: Shop) -> None:
    """A lost connection is replaced or fails the table; no table is half committed."""
    shop.pg.execute("create table orders as select i as id, repeat('x', 200) as t "
                    "from generate_series(1, 100000) i")  # fmt: skip
    with FaultProxy(shop.pg.port) as proxy:
        proxy.cut_after = 3_000_000
        shop.configure(None, url=shop.pg.url.replace(str(shop.pg.port), str(proxy.port)))
        result = shop.run()
    if result.status is RunStatus.OK:
        shop.same("id")
    else:
        assert "\n" not in result.tables[0].error.message
        assert shop.status()["shop.orders"] == "failed"
    shop.configure(None)
    assert shop.run().status is RunStatus.OK
    shop.same("id")


def test_crash_between_commit_and_state_file_loses_no_cursor(shop: Shop, monkeypatch) -> None:
    """The commit has the cursor, too, so a run that dies before it writes the file is complete."""
    shop.pg.execute("create table orders (id int primary key, v text)")
    shop.pg.execute("insert into orders select i, 'a' from generate_series(1, 10) i")
    shop.configure({"public.orders": {"mode": "append_only", "cursor_field": "id"}})
    shop.run()
    before = shop.state_file.read_text()
    shop.pg.execute("insert into orders select i, 'b' from generate_series(11, 20) i")
    shop.run()
    shop.state_file.write_text(before)  # as if the second run had died just before
    assert shop.one().rows_inserted == 0
    assert shop.state()["public.orders"]["cursor"]["value"] == 20
    shop.state_file.unlink()
    assert shop.one().rows_inserted == 0
    shop.same()


def test_person_may_rewind_the_state_file(shop: Shop) -> None:
    """The next run follows an edited cursor: it reads the rows again, and doubles none."""
    shop.pg.execute("create table orders (id int primary key, v text)")
    shop.pg.execute("insert into orders select i, 'a' from generate_series(1, 10) i")
    shop.configure({"public.orders": {"mode": "append_only", "cursor_field": "id"}})
    shop.run()
    state = json.loads(shop.state_file.read_text())
    state["tables"]["shop"]["public.orders"]["cursor"]["value"] = 4
    shop.state_file.write_text(json.dumps(state))
    result = shop.one()
    assert (result.cursor_before.value, result.rows_read, result.rows_inserted) == (4, 7, 0)
    assert result.cursor_after.value == 10
    shop.same()


@pytest.mark.parametrize("garbage", [b"", b"garbage" * 1000, b"{"])
def test_corrupt_catalog_is_refused_and_left_alone(shop: Shop, garbage: bytes) -> None:
    """The message names the path and what to do, and the file is not changed."""
    shop.pg.execute("create table orders (id int)")
    shop.configure(None)
    shop.run()
    catalog = shop.folder / ".cdpsync/catalog.ducklake"
    catalog.write_bytes(garbage)
    for command in (["run"], ["status"], ["query", "select 1"]):
        done = cdpsync(shop, *command)
        assert done.returncode == 1
        assert "catalog.ducklake: this is not a readable catalog" in done.stderr
        assert "move it away" in done.stderr
        assert catalog.read_bytes() == garbage


def test_corrupt_state_is_refused_and_left_alone(shop: Shop) -> None:
    """The message says that the state file is rebuilt, and the file is not changed."""
    shop.pg.execute("create table orders (id int)")
    shop.configure(None)
    shop.run()
    shop.state_file.write_text("{")
    with pytest.raises(CatalogError, match=r"state\.json: .*rebuilds it from the catalog"):
        shop.run()
    assert shop.state_file.read_text() == "{"


def test_catalog_of_a_newer_version_is_refused(shop: Shop) -> None:
    """An older cdpsync does not change a catalog that a newer one has written."""
    shop.pg.execute("create table orders (id int)")
    shop.configure(None)
    shop.run()
    with project.catalog_of(project.load(shop.file)).writer() as con:
        con.execute("update lake.cdpsync.meta set format_version = 99")
    with pytest.raises(CatalogError, match="newer cdpsync"):
        shop.run()
    for command in (["status"], ["query", "select 1"]):
        assert cdpsync(shop, *command).returncode == 1


def test_second_run_names_the_process_that_holds_the_lock(shop: Shop) -> None:
    """The second run exits with 4; a run of other tables works at the same time."""
    shop.pg.execute("create table orders (id int); insert into orders values (1)")
    shop.pg.execute("create table free (id int); insert into free values (1)")
    shop.pg.execute("create view slow as select 1 as id, pg_sleep(30) is null as n")
    shop.configure({"public.orders": {}, "public.free": {}, "public.slow": {}})
    command = [str(Path(sys.executable).with_name("cdpsync")), "run", "shop.slow", "shop.orders"]
    with _in_the_foreground(command, shop) as first:
        try:
            _until(lambda: shop.status().get("shop.slow") == "running")
            second = cdpsync(shop, "run", "shop.slow")
            assert second.returncode == 4
            assert f"process {first.pid}" in second.stderr
            with pytest.raises(LockHeldError):
                shop.run("shop.slow")
            assert shop.one("shop.free").rows_inserted == 1
            _until(lambda: shop.status().get("shop.orders") == "ok")
            assert shop.ask("select * from shop.free") == [(1,)]
        finally:
            first.send_signal(signal.SIGINT)
            stderr = first.stderr.read().decode()
    assert first.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert shop.run("shop.orders", "shop.free").status is RunStatus.OK


def test_interrupted_load_changes_nothing(shop: Shop) -> None:
    """Ctrl-C exits at once with 130: the old table stays, and the spool is removed."""
    shop.pg.execute("create table orders as select i as id from generate_series(1, 10) i")
    shop.configure({"public.orders": {}})
    shop.run()
    shop.pg.execute("drop table orders; create view orders as "
                    "select i as id, pg_sleep(0.05) is null as n "
                    "from generate_series(1, 1000) i")  # fmt: skip
    command = [str(Path(sys.executable).with_name("cdpsync")), "run", "--allow-shrink"]
    with _in_the_foreground(command, shop) as process:
        _until(lambda: shop.status()["shop.orders"] == "running")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.wait(20)
        stderr = process.stderr.read().decode()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert shop.ask("select count(*) from shop.orders") == [(10,)]
    assert shop.status()["shop.orders"] == "ok"
    assert not list((shop.folder / ".cdpsync/tmp").glob("spool-*"))


def test_query_works_during_commits(shop: Shop) -> None:
    """A query waits only while a commit is made, and sees complete tables."""
    shop.pg.execute("create table orders as select i as id from generate_series(1, 10) i")
    shop.configure(None)
    shop.run()
    stop = threading.Event()
    counts = set()

    def ask() -> None:
        while not stop.is_set():
            counts.add(shop.ask("select count(*) from shop.orders")[0][0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(5):
            shop.pg.execute("insert into orders select 1 from generate_series(1, 10)")
            shop.one()
    finally:
        stop.set()
        asking.join()
    assert counts <= {10, 20, 30, 40, 50, 60}


def test_run_waits_for_a_catalog_that_another_process_has_open(shop: Shop, monkeypatch) -> None:
    """After a bounded wait it fails with a message that names the catalog."""
    shop.pg.execute("create table orders (id int)")
    shop.configure(None)
    shop.run()
    catalog = shop.folder / ".cdpsync/catalog.ducklake"
    code = (
        f"import duckdb, sys; con = duckdb.connect({str(catalog)!r}); "
        "print(1, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        monkeypatch.setattr(workspace, "CATALOG_PATIENCE", 0.3)
        with pytest.raises(LockHeldError, match=r"catalog\.ducklake"):
            shop.run()
        process.stdin.close()
    assert shop.run().status is RunStatus.OK


def test_moved_project_keeps_its_tables(shop: Shop, tmp_path_factory) -> None:
    """The folder can be moved, also with tables whose names are not plain folder names."""
    shop.pg.execute("create table orders (id int); insert into orders values (1)")
    shop.pg.execute('create table "Ünusual name" (id int); insert into "Ünusual name" values (2)')
    shop.configure(None)
    shop.run()
    target = tmp_path_factory.mktemp("moved") / "project"
    shop.folder.rename(target)
    shop.folder = target
    sql = 'select id from shop.orders union all from shop."Ünusual name" order by 1'
    assert shop.ask(sql) == [(1,), (2,)]
    assert shop.run().status is RunStatus.OK
    assert shop.ask(sql) == [(1,), (2,)]


def test_lake_opens_without_cdpsync(shop: Shop) -> None:
    """Two lines of DuckDB open the tables, as the README says."""
    shop.pg.execute("create table orders as select i as id from generate_series(1, 10) i")
    shop.configure(None)
    shop.run()
    from cdpsync import engine

    con = duckdb.connect()
    engine.load_extension(con, "ducklake")
    con.execute(f"attach 'ducklake:{shop.folder}/.cdpsync/catalog.ducklake' as lake (read_only)")
    assert con.execute("select count(*) from lake.shop.orders").fetchall() == [(10,)]
    con.close()


def test_unwritable_warehouse_is_named(shop: Shop) -> None:
    """The message names the path of a warehouse that is a file."""
    shop.pg.execute("create table orders as select 1 as id")
    shop.configure(None)
    (shop.folder / "warehouse").write_text("a file")
    (result,) = shop.run().tables
    assert result.error.type == "LandingError"
    assert str(shop.folder / "warehouse") in result.error.message


def test_select_that_matches_nothing_is_an_error(shop: Shop) -> None:
    """A typo on the command line runs no table and exits with 2."""
    shop.pg.execute("create table orders (id int)")
    shop.configure(None)
    for arguments in (["run", "shopp"], ["run", "shop.ordres"], ["run", "-e", "shop.x"]):
        done = cdpsync(shop, *arguments)
        assert done.returncode == 2, done.stderr
        assert arguments[-1] in done.stderr
    with pytest.raises(ConfigError):
        shop.run("nothing.*")


def _in_the_foreground(command: list[str], shop: Shop) -> subprocess.Popen[bytes]:
    """Start a process that Ctrl-C ends, because the tests may run where it is ignored."""
    return subprocess.Popen(
        command,
        cwd=shop.folder,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _until(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def test_files_of_strange_table_names_stay_inside_the_warehouse(shop: Shop) -> None:
    """A table may have any name, and its files are below the warehouse."""
    names = ["../../out", "a/b", "q\"uo'te; drop table x", "ü" * 31, "..", "lake", "new\nline"]
    for number, name in enumerate(names):
        quoted = '"' + name.replace('"', '""') + '"'
        shop.pg.execute(f"create table {quoted} as select {number} as n")
    shop.configure(None)
    result = shop.run()
    assert [(table.table, table.error) for table in result.tables if table.error] == []
    for number, name in enumerate(names):
        quoted = '"' + name.replace('"', '""') + '"'
        assert shop.ask(f"select n from shop.{quoted}") == [(number,)]
    outside = [path for path in shop.folder.rglob("*.parquet")
               if not path.is_relative_to(shop.folder / "warehouse/shop")]  # fmt: skip
    assert outside == []


def test_defect_in_one_table_does_not_stop_the_others(shop: Shop, monkeypatch) -> None:
    """An unexpected error fails its table alone, and the history has a record of it."""
    from cdpsync.load.table import TableLoader

    shop.pg.execute(TWO_TABLES)
    shop.configure(None)
    original = TableLoader._extract

    def broken(self, plan, *arguments):
        extracted = original(self, plan, *arguments)
        if plan.table.name == "bad":
            raise RuntimeError("a defect")
        return extracted

    monkeypatch.setattr(TableLoader, "_extract", broken)
    reason = "RuntimeError: a defect. This is a defect of cdpsync: report what -v shows."
    assert run_failure(shop) == f"shop.bad: {reason}"
    assert shop.status()["shop.bad"] == "failed"
