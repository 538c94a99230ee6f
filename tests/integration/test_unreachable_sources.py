"""Sources that cannot be reached: their selected tables fail, and no other table does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support import commands
from support.servers import free_port

from cdpsync import project, sync
from cdpsync.model import SyncMode, TableStatus
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    import subprocess

    from support.shop import Shop

TABLES = """
    create table orders as select i as id from generate_series(1, 10) i;
    create table plans as select i as id from generate_series(1, 3) i;
"""
HOURLY = {"mode": "append_only", "cursor_field": "id", "every": "1h"}


def cdpsync(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in the project's folder."""
    return commands.run(*arguments, cwd=shop.folder)


def goes_down(shop: Shop, tables: dict[str, Any] | None = None) -> None:
    """Change the source's URL to a port on which no server listens."""
    url = shop.pg.url.replace(f":{shop.pg.port}", f":{free_port()}")
    shop.configure(tables, url=url)


def failed(shop: Shop, *select: str, **options: Any) -> list[str]:
    result = shop.run(*select, **options)
    assert all(table.error.type == "ConnectError" for table in result.tables if table.error)
    return [table.table for table in result.tables if table.status is TableStatus.FAILED]


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "shop.orders"),
        ("run", "-s", "shop.orders"),
        ("run", "shop.o*"),
        ("run", "*.orders"),
        ("run", "shop", "-e", "shop.orders"),
        ("run", "--dry-run", "shop.orders"),
        ("plan", "shop.orders"),
        ("verify", "shop.orders"),
    ],
)
def test_table_of_a_source_that_was_never_reached_fails(
    shop: Shop, arguments: tuple[str, ...]
) -> None:
    """No table of the source is known, so any selected one may exist, and the command fails."""
    goes_down(shop)
    process = cdpsync(shop, *arguments)
    assert process.returncode == 1, process
    assert "nothing listens" in process.stderr


def test_exclusion_of_the_whole_source_leaves_nothing_to_do(shop: Shop) -> None:
    """A source that is excluded whole is not reported."""
    goes_down(shop)
    for exclusion in ("shop", "shop.*", "sh*"):
        assert failed(shop, exclude=[exclusion]) == []
    assert failed(shop, exclude=["shop.orders"]) == ["shop.*"]


def test_unknown_table_fails_while_the_source_is_unreachable(shop: Shop) -> None:
    """Known tables fail by their names. An unknown name may be a new table, so it fails too."""
    shop.pg.execute(TABLES)
    shop.configure(None)
    shop.run()
    goes_down(shop)
    assert failed(shop, "shop.orders") == ["shop.orders"]
    assert failed(shop, "shop.nosuch") == ["shop.*"]
    assert failed(shop, "shop.nosuch", "shop.pl*") == ["shop.*", "shop.plans"]
    assert failed(shop) == ["shop.orders", "shop.plans"]
    assert cdpsync(shop, "run", "shop.nosuch").returncode == 1


def test_source_that_a_glob_cannot_match_is_not_reported(shop: Shop) -> None:
    """`fi*` cannot match a table of the source shop."""
    goes_down(shop)
    document = json.loads(shop.file.read_text())
    (shop.folder / "one.csv").write_text("id\n1\n")
    document["sources"]["files"] = {"type": "files", "path": "./*.csv"}
    shop.file.write_text(json.dumps(document))
    assert [result.table for result in shop.run("fi*").tables] == ["files.one"]
    assert failed(shop, "*.one") == ["shop.*"]


def test_tables_that_are_not_due_are_skipped_while_the_source_is_unreachable(shop: Shop) -> None:
    """With `--due`, a table that is not due does not fail."""
    shop.pg.execute(TABLES)
    tables = {"public.orders": HOURLY, "public.plans": {}}
    shop.configure(tables)
    shop.run()
    goes_down(shop, tables)
    assert failed(shop, due=True) == ["shop.plans"]
    planned = sync.plan(shop.file, due=True)
    assert [result.table for result in planned.skipped] == ["shop.orders"]
    assert shop.status() == {"shop.orders": "ok", "shop.plans": "failed"}
    with project.catalog_of(project.load(shop.file)).writer() as con:
        con.execute("update lake.cdpsync.runs set started_at = '2020-01-01'")
    assert failed(shop, due=True) == ["shop.orders", "shop.plans"]


def test_tables_that_were_not_read_have_their_mode_and_cursor(shop: Shop) -> None:
    """A skipped or failed table has its mode from the file and its cursor from the state."""
    shop.pg.execute(TABLES)
    tables = {"public.orders": HOURLY, "public.plans": {}}
    shop.configure(tables)
    shop.run()
    results = shop.run(due=True).tables
    (skipped,) = (result for result in results if result.status is TableStatus.SKIPPED)
    goes_down(shop, tables)
    orders, plans = shop.run().tables
    for result in (skipped, orders):
        assert (result.mode, result.cursor_before.value) == (SyncMode.APPEND_ONLY, 10)
        assert result.cursor_after == result.cursor_before
    assert (plans.mode, plans.cursor_before) == (SyncMode.FULL_TABLE, None)
    (placeholder,) = shop.run("shop.nosuch").tables
    assert (placeholder.mode, placeholder.cursor_before) == (None, None)
    (verdict,) = verify(shop.file, ["shop.plans"])
    assert verdict.mode is SyncMode.FULL_TABLE


def states(shop: Shop, *select: str) -> list[tuple[str, str, str | None]]:
    """Return each table's stream, status and type of error."""
    rows = project.status(project.load(shop.file), select)
    return [(row.stream, row.status, row.error and row.error.type) for row in rows]


def test_status_shows_a_source_that_was_never_reached(shop: Shop) -> None:
    """Its failure stands for its tables until one of them has a newer result."""
    shop.pg.execute(TABLES)
    goes_down(shop)
    assert states(shop) == states(shop, "shop") == []
    shop.run()
    assert states(shop) == states(shop, "shop") == [("*", "failed", "ConnectError")]
    process = cdpsync(shop, "status", "shop")
    assert (process.returncode, process.stdout.splitlines()[2].split()[:3]) == (
        0,
        ["shop.*", "-", "failed"],
    )
    assert len(project.history(project.load(shop.file), ["shop"])) == 1
    shop.configure({"public.orders": {}})
    shop.run()
    assert states(shop) == [("public.orders", "ok", None)]
    assert cdpsync(shop, "delete", "shop", "-y").stderr == "1 table dropped\n"
    assert states(shop) == [("public.orders", "never", None)]


def test_configured_source_may_be_selected_before_its_tables_are_known(shop: Shop) -> None:
    """A source without known tables is not a usage error; a name that is no source is."""
    goes_down(shop)
    shop.run()
    for arguments in (["status"], ["status", "--history"], ["state", "show"]):
        assert cdpsync(shop, *arguments, "shop").returncode == 0
        assert cdpsync(shop, *arguments, "ship").returncode == 2
    assert cdpsync(shop, "reset", "shop", "-y").stderr == "nothing to reset: never loaded\n"
    assert cdpsync(shop, "delete", "shop", "-y").stderr == "nothing to drop\n"
    assert cdpsync(shop, "verify", "shop").returncode == 1
    assert [result.table for result in shop.run().tables] == ["shop.*"]


def test_failure_of_a_removed_source_is_not_shown(shop: Shop) -> None:
    """A source that the file no longer has has no line in the status."""
    goes_down(shop)
    shop.run()
    document = json.loads(shop.file.read_text())
    document["sources"] = {"other": document["sources"]["shop"]}
    shop.file.write_text(json.dumps(document))
    assert states(shop) == []
