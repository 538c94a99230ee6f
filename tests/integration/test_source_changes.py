"""Sources whose tables collide, vanish or come back: those tables tell of it, the others go on."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from support.servers import free_port
from support.shop import Shop
from typer.testing import CliRunner

from cdpsync import project, sync
from cdpsync.catalog import Lake
from cdpsync.cli.main import app
from cdpsync.model import RunStatus, TableStatus
from cdpsync.project.edit import delete

if TYPE_CHECKING:
    from pathlib import Path

    from support.mysql_server import MariaDatabase

    from cdpsync.model import RunResult, TableOverview, TableResult

ALL = {"public.*": {}}


def cli(shop: Shop, *arguments: str) -> Any:
    command, *others = arguments
    return CliRunner().invoke(app, [command, "-c", str(shop.file), *others])


def configure(shop: Shop, tables: dict[str, Any] | None, **source: Any) -> None:
    """Write a project whose second source has one file."""
    shop.configure(tables, **source)
    (shop.folder / "rates.csv").write_text("id\n1\n")
    document = json.loads(shop.file.read_text())
    document["sources"]["other"] = {"type": "files", "path": "./*.csv"}
    shop.file.write_text(json.dumps(document))


def by_stream(result: RunResult) -> dict[str, TableResult]:
    return {f"{table.source}.{table.stream}": table for table in result.tables}


def statuses(result: RunResult) -> dict[str, str]:
    return {name: table.status.value for name, table in by_stream(result).items()}


def overviews(shop: Shop) -> dict[str, TableOverview]:
    rows = project.status(project.load(shop.file))
    return {f"{row.source}.{row.stream}": row for row in rows}


def saved_at(shop: Shop) -> dict[str, Any]:
    state = project.load_state(project.load(shop.file))
    return {saved.stream: saved.missing_since for saved in state.saved_states}


def snapshots(shop: Shop) -> int:
    with project.catalog_of(project.load(shop.file)).reader() as con:
        return con.execute("select count(*) from lake.snapshots()").fetchone()[0]


def test_newcomer_to_a_taken_name_fails_alone(shop: Shop) -> None:
    """The stream that the table was loaded from goes on, whatever its place in the list."""
    shop.pg.execute('create table orders as select 1 as id; create schema "a"')
    configure(shop, {**ALL, "a.*": {}})
    assert cli(shop, "run").exit_code == 3  # "a.*" matches nothing yet
    configure(shop, ALL)
    assert cli(shop, "run").exit_code == 0
    shop.pg.execute('create table "Orders" as select 7 as id; create table free (id int)')
    process = cli(shop, "run")
    assert process.exit_code == 3
    result = by_stream(shop.run())
    newcomer = result.pop("shop.public.Orders")
    assert {table.status for table in result.values()} == {TableStatus.OK}
    assert set(result) == {"shop.public.orders", "shop.public.free", "other.rates"}
    message = newcomer.error.message
    assert 'streams "public.Orders" and "public.orders" (' in message
    assert "would both be table shop.Orders" in message
    assert "'public.Orders': {name: Orders_2}" in message
    assert message in process.stderr
    rows = overviews(shop)
    assert (rows["shop.public.orders"].status, rows["shop.public.Orders"].status) == (
        "ok",
        "failed",
    )
    assert cli(shop, "plan").exit_code == 3
    assert cli(shop, "run", "shop.free").exit_code == 0
    assert shop.ask("select id from shop.orders") == [(1,)]
    assert delete(project.load(shop.file), ["shop.public.Orders"])
    assert shop.ask("select id from shop.orders") == [(1,)]  # it is the other stream's table
    configure(shop, {**ALL, "public.Orders": {"name": "Orders_2"}})
    assert cli(shop, "run").exit_code == 0
    assert shop.ask("select id from shop.orders_2") == [(7,)]


def test_table_renamed_in_case_keeps_its_rows_from_an_emptier_one(shop: Shop) -> None:
    """To the lake both names are one table, so the replacement may not lose most of its rows."""
    shop.pg.execute('create table "Orders" as select i as id from generate_series(1, 100) i')
    shop.configure(None)
    shop.one()
    shop.pg.execute('drop table "Orders"; create table orders as select 1 as id')
    (result,) = shop.run().tables
    assert result.error is not None
    assert "less than half" in result.error.message
    assert shop.ask("select count(*) from shop.orders") == [(100,)]
    assert shop.one(allow_shrink=True).rows_deleted == 100


@pytest.mark.parametrize("mode", ["append_only", "incremental"])
def test_table_renamed_in_case_does_not_replace_rows_that_are_nowhere_else(
    shop: Shop, mode: str
) -> None:
    """It fails until it has another name, or the old table is dropped on purpose."""
    shop.pg.execute("create table orders (id int primary key)")
    shop.pg.execute("insert into orders select generate_series(1, 10)")
    shop.configure({"public.*": {"mode": mode, "cursor_field": "id"}})
    assert shop.one().rows_inserted == 10
    shop.pg.execute('delete from orders where id < 4; alter table orders rename to "Orders"')
    for _ in range(2):
        (result,) = shop.run().tables
        assert result.error is not None
        assert "cdpsync delete shop.public.orders" in result.error.message
        assert shop.ask("select count(*) from shop.orders") == [(10,)]
    assert cli(shop, "delete", "shop.public.orders", "-y").exit_code == 0
    assert shop.one().rows_inserted == 7
    assert shop.one().rows_inserted == 0


def test_pattern_that_excludes_nothing_fails_no_run(shop: Shop) -> None:
    """Also where it is the only result; a missing table beside it still fails the run."""
    shop.pg.execute("create table orders (id int primary key)")
    shop.configure({"gone.*": {"enabled": False}, "public.*": {}})
    assert shop.run().status == "ok"
    result = shop.run(exclude=["shop.public.orders"])
    assert (result.status, [table.stream for table in result.tables]) == ("ok", ["gone.*"])
    shop.pg.execute("create table other (id int); drop table orders")
    result = shop.run(exclude=["shop.public.other"])
    assert (result.status, len(result.tables)) == ("failed", 2)
    shop.configure({"gone.*": {"enabled": False}, "*": {"enabled": False}})
    assert cli(shop, "run").exit_code == 0


def test_table_that_another_run_has_loaded_meanwhile_is_not_noted_as_missing(shop: Shop) -> None:
    """The table's lock is not held for the note, so it must not undo what a run has saved."""
    shop.pg.execute("create table orders (id int primary key)")
    shop.configure(None)
    shop.one()
    (seen,) = project.load_state(project.load(shop.file)).saved_states
    shop.pg.execute("insert into orders values (1)")
    shop.one()
    missing = replace(seen, missing_since=datetime.now(UTC))
    with project.catalog_of(project.load(shop.file)).writer(data=False) as con:
        Lake(con).save_missing([missing])
    assert saved_at(shop) == {"public.orders": None}
    (newest,) = project.load_state(project.load(shop.file)).saved_states
    with project.catalog_of(project.load(shop.file)).writer(data=False) as con:
        Lake(con).save_missing([replace(newest, missing_since=missing.missing_since)])
    assert saved_at(shop) == {"public.orders": missing.missing_since}


def test_streams_of_one_name_all_fail_where_none_was_loaded(shop: Shop) -> None:
    """Their order does not decide; the others go on, and nothing is stored under the name."""
    shop.pg.execute(
        'create schema a; create table a.b_c (id int); create schema "a_b"; '
        "create table a_b.c (id int); create table free (id int)"
    )
    configure(shop, None)
    result = shop.run()
    assert statuses(result) == {
        "other.rates": "ok", "shop.public.free": "ok", "shop.a.b_c": "failed",
        "shop.a_b.c": "failed",
    }  # fmt: skip
    for name, other in (("a.b_c", "a_b.c"), ("a_b.c", "a.b_c")):
        assert f'"{name}" and "{other}"' in by_stream(result)[f"shop.{name}"].error.message


def test_renamed_schema_fails_its_tables_alone(shop: Shop) -> None:
    """A glob that matches nothing any more fails the tables of the lake that it is of."""
    shop.pg.execute("create schema audit; create table audit.log (id int); create table a (id int)")
    configure(shop, {"audit.*": {}, **ALL})
    assert cli(shop, "run").exit_code == 0
    shop.pg.execute("alter schema audit rename to later")
    process = cli(shop, "run", "-o", "json")
    assert process.exit_code == 3
    result = {table["stream"]: table for table in json.loads(process.stdout)["tables"]}
    assert {name: table["status"] for name, table in result.items()} == {
        "audit.log": "failed", "public.a": "ok", "rates": "ok",
    }  # fmt: skip
    message = result["audit.log"]["error"]["message"]
    assert '"audit.*" matches no stream of source "shop". It has: ' in message
    assert "missing at the source since" in message
    row = overviews(shop)["shop.audit.log"]
    assert row.status == "failed"
    assert row.missing_since is not None
    since = row.missing_since
    assert cli(shop, "run", "shop.audit_log").exit_code == 1
    assert cli(shop, "run", "shop.a").exit_code == 0
    assert overviews(shop)["shop.audit.log"].missing_since == since
    kinds = [record.result.status for record in project.history(project.load(shop.file))]
    assert kinds.count(TableStatus.FAILED) == 2


def test_pattern_that_never_matched_fails_by_itself(shop: Shop) -> None:
    """A typo is told as a result, beside what the source has; it is gone when it is mended."""
    shop.pg.execute("create table a (id int)")
    configure(shop, {"pubic.*": {}, **ALL, "secret.*": {"enabled": False}})
    result = shop.run()
    assert statuses(result) == {
        "shop.pubic.*": "failed", "shop.secret.*": "skipped", "shop.public.a": "ok",
        "other.rates": "ok",
    }  # fmt: skip
    table = by_stream(result)["shop.pubic.*"]
    assert 'tables: "pubic.*" matches no stream of source "shop". It has: public.a.' in (
        table.error.message
    )
    assert '"secret.*" matches no stream' in by_stream(result)["shop.secret.*"].notices[0]
    assert overviews(shop)["shop.pubic.*"].status == "failed"
    assert cli(shop, "run", "shop.pubic.*").exit_code == 1
    assert cli(shop, "run", "shop.a").exit_code == 0
    configure(shop, ALL)
    assert cli(shop, "run").exit_code == 0
    assert set(overviews(shop)) == {"shop.public.a", "other.rates"}


def test_schema_option_that_matches_nothing_fails_by_itself(shop: Shop) -> None:
    """`schemas:` of the connector is a pattern as those of `tables:` are."""
    shop.pg.execute("create schema audit; create table audit.log (id int); create table a (id int)")
    configure(shop, None, schemas=["public", "publik"])
    result = shop.run()
    assert statuses(result) == {
        "shop.publik.*": "failed", "shop.public.a": "ok", "other.rates": "ok",
    }  # fmt: skip
    assert 'schemas: "publik" matches no schema. There are: audit, public.' in (
        by_stream(result)["shop.publik.*"].error.message
    )
    discovered = cli(shop, "discover", "shop", "-o", "json")
    assert [stream["stream"] for stream in json.loads(discovered.stdout)] == ["public.a"]
    assert '"publik" matches no schema' in discovered.stderr
    assert cli(shop, "check", "shop").exit_code != 0
    configure(shop, None, schemas=["public", "audit"])
    assert statuses(shop.run())["shop.audit.log"] == "ok"
    shop.pg.execute("alter schema audit rename to later")
    result = shop.run()
    assert statuses(result)["shop.audit.log"] == "failed"
    assert 'schemas: "audit" matches no schema' in by_stream(result)["shop.audit.log"].error.message
    configure(shop, None, schemas=["public"])
    assert statuses(shop.run()) == {"shop.public.a": "ok", "other.rates": "ok"}
    assert saved_at(shop)["audit.log"] is not None
    assert overviews(shop)["shop.audit.log"].missing_since is None  # nobody asks for it any more


@pytest.mark.parametrize("tables", [None, ALL])
def test_table_that_left_the_source_is_told(shop: Shop, tables: dict[str, Any] | None) -> None:
    """Each run says so, and `status` and `verify` know it, until it is back or forgotten."""
    shop.pg.execute("create table a as select 1 as id; create table b as select 1 as id")
    configure(shop, tables)
    shop.run()
    assert {row.missing_since for row in overviews(shop).values()} == {None}
    shop.pg.execute("alter table b rename to c")
    process = cli(shop, "run")
    assert process.exit_code == 0
    assert "warning: shop.b: missing at the source since" in process.stderr
    assert "cdpsync delete shop.b" in process.stderr
    since = overviews(shop)["shop.public.b"].missing_since
    assert since is not None
    assert json.loads(cli(shop, "status", "-o", "json").stdout)[2]["missing_since"] == (
        since.isoformat()
    )
    status = cli(shop, "status").stdout
    assert f"shop.b: missing at the source since {since:%Y-%m-%d %H:%M} UTC" in status
    before = snapshots(shop), saved_at(shop)
    result = shop.run("shop.b")
    assert statuses(result) == {"shop.public.b": "skipped"}
    assert result.status is RunStatus.FAILED  # nothing else was asked for
    assert f"since {since:%Y-%m-%d %H:%M} UTC" in result.tables[0].notices[0]
    assert (snapshots(shop), saved_at(shop)) == before  # told again, written once
    assert "shop.b: missing at the source since" in cli(shop, "plan").stderr
    verified = cli(shop, "verify")
    assert verified.exit_code == 3
    assert "shop.b: it cannot be compared: missing at the source since" in verified.stderr
    assert "it cannot be compared" not in verified.stdout  # an error is printed once
    shop.configure(tables, url=shop.pg.url.replace(f":{shop.pg.port}", f":{free_port()}"))
    assert "shop.public.b" not in statuses(shop.run())  # an unreachable source says nothing of it
    assert overviews(shop)["shop.public.b"].missing_since == since
    configure(shop, tables)
    shop.pg.execute("create table b as select 2 as id")
    assert statuses(shop.run())["shop.public.b"] == "ok"
    assert overviews(shop)["shop.public.b"].missing_since is None
    shop.pg.execute("drop table b")
    shop.run()
    assert delete(project.load(shop.file), ["shop.b"])
    assert "shop.public.b" not in statuses(shop.run())
    assert "shop.public.b" not in overviews(shop)


def test_table_that_the_project_no_longer_asks_for_is_not_missing(shop: Shop) -> None:
    """Disabled, without a key, or beyond `schemas:`: that is the user's doing."""
    shop.pg.execute("create table a (id int); create table b (id int)")
    shop.configure(None)
    shop.run()
    shop.pg.execute("drop table b")
    for tables, options in (
        ({"public.a": {}}, {}),
        ({"public.*": {}, "public.b": {"enabled": False}}, {}),
        (None, {"schemas": ["pub*"]}),
    ):
        shop.configure(tables, **options)
        result = statuses(shop.run())
        assert result.get("shop.public.b") == (None if tables else "skipped")
        assert overviews(shop)["shop.public.b"].missing_since is None or tables is None
    shop.configure({"public.a": {}, "public.b": {}})
    result = by_stream(shop.run())  # named in full, it fails
    assert result["shop.public.b"].error.type == "ReadError"


def test_defect_of_a_connector_is_its_source_alone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that nobody foresaw fails the source, or the stream, in which it is raised."""
    shop.pg.execute("create table a (id int)")
    configure(shop, None)
    with gzip.open(shop.folder / "cut.jsonl.gz", "wb") as file:
        file.write(b'{"id": 1}\n' * 5000)
    whole = (shop.folder / "cut.jsonl.gz").read_bytes()
    (shop.folder / "cut.jsonl.gz").write_bytes(whole[:-12])
    document = json.loads(shop.file.read_text())
    document["sources"]["other"]["path"] = "./*s*.*[vz]"
    document["sources"]["cut"] = {"type": "files", "path": "./*.gz"}
    shop.file.write_text(json.dumps(document))
    result = shop.run()
    assert statuses(result)["shop.public.a"] == "ok"
    assert statuses(result)["other.rates"] == "ok"
    from cdpsync_connectors.files import FilesConnector

    def broken(_: object) -> None:
        raise KeyError("r")

    monkeypatch.setattr(FilesConnector, "discover", broken)
    result = by_stream(shop.run())
    assert result["shop.public.a"].status is TableStatus.OK
    message = result["other.rates"].error.message
    assert re.search(r"KeyError: 'r' \(test_\w+\.py:\d+\)\. This is a defect of cdpsync's", message)


def test_revoked_grant_is_told_on_mysql(tmp_path: Path, maria: MariaDatabase) -> None:
    """MySQL hides what may not be read. Tables that were never loaded have their later names."""
    name = maria.name
    maria.execute(
        f"create table a (id int);\ncreate table b (id int);\n"
        f"create user 'r_{name}'@'%' identified by 'pw';\n"
        f"grant select on {name}.a to 'r_{name}'@'%';\n"
        f"grant select on {name}.b to 'r_{name}'@'%'"
    )
    shop = Shop(tmp_path, maria)  # type: ignore[arg-type]  # only its `url` is used
    url = f"mysql://r_{name}:pw@127.0.0.1:{maria.port}/{name}"
    try:
        shop.configure({f"{name}.a": {}, "other.x": {}}, type="mysql", url=url)
        assert [str(row.table) for row in overviews(shop).values()] == ["shop.other_x", "shop.a"][
            :: 1 if f"{name}.a" > "other.x" else -1
        ]
        shop.configure({f"{name}.*": {}}, type="mysql", url=url)
        assert statuses(shop.run()) == {f"shop.{name}.a": "ok", f"shop.{name}.b": "ok"}
        maria.execute(f"revoke select on {name}.b from 'r_{name}'@'%'")
        result = by_stream(shop.run())
        assert result[f"shop.{name}.b"].status is TableStatus.SKIPPED
        assert "missing at the source since" in result[f"shop.{name}.b"].notices[0]
        assert overviews(shop)[f"shop.{name}.b"].missing_since is not None
        shop.configure(None, type="mysql", url=url, schemas=[name, "nope"])
        assert statuses(shop.run())["shop.nope.*"] == "failed"
    finally:
        maria.execute(f"drop user 'r_{name}'@'%'")


def test_failure_has_its_time(shop: Shop) -> None:
    """The time of a load that failed is in the result and in the history, as that of a good one."""
    shop.pg.execute("create view slow as select 1 / (pg_sleep(0.2) is null)::int as id")
    configure(shop, None)
    failed = by_stream(shop.run())["shop.public.slow"]
    assert failed.status is TableStatus.FAILED
    assert failed.seconds >= 0.2
    with project.catalog_of(project.load(shop.file)).reader() as con:
        records = Lake(con).system_tables.history()
    assert [r.result.seconds for r in records if r.result.error] == [failed.seconds]
    shop.configure(None, url=shop.pg.url.replace(f":{shop.pg.port}", f":{free_port()}"))
    result = sync.run(shop.file)
    assert {table.seconds > 0 for table in result.tables} == {True}


def test_each_error_is_printed_once(shop: Shop) -> None:
    """When it happens; the summary names the tables. Tables that failed alike share one message."""
    shop.pg.execute("create table a (id int); create view b as select 1 / 0 as id")
    shop.configure(None)
    process = cli(shop, "run")
    assert process.stderr.count("division by zero") == 1
    assert "error: 1 of 2 tables failed: shop.b\n" in process.stderr
    assert cli(shop, "run", "-q").stderr.count("division by zero") == 1
    shop.configure(None, url=shop.pg.url.replace(f":{shop.pg.port}", f":{free_port()}"))
    process = cli(shop, "run")
    assert process.stderr.count("nothing listens") == 1
    assert "shop.b: failed for the same reason as shop.a" in process.stderr
    lines = cli(shop, "run", "--log-format", "json").stderr.splitlines()
    failures = [json.loads(line) for line in lines if '"event": "table"' in line]
    assert ["nothing listens" in line["error"] for line in failures] == [True, True]
