"""Sources that cannot be asked: what was asked of them is told as failed, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.servers import free_port

from cdpsync import project, sync
from cdpsync.model import SyncMode, TableStatus
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from support.shop import Shop

TABLES = """
    create table orders as select i as id from generate_series(1, 10) i;
    create table plans as select i as id from generate_series(1, 3) i;
"""
HOURLY = {"mode": "append_only", "cursor_field": "id", "every": "1h"}


def cdpsync(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in the project's folder."""
    command = [str(Path(sys.executable).with_name("cdpsync")), *arguments]
    return subprocess.run(command, cwd=shop.folder, capture_output=True, text=True, check=False)


def goes_down(shop: Shop, tables: dict[str, Any] | None = None) -> None:
    """Let nothing listen any more where the source is."""
    url = shop.pg.url.replace(f":{shop.pg.port}", f":{free_port()}")
    shop.configure(tables, url=url)


def failed(shop: Shop, *select: str, **choices: Any) -> list[str]:
    result = shop.run(*select, **choices)
    assert all(one.error.type == "ConnectError" for one in result.tables if one.error)
    return [one.table for one in result.tables if one.status is TableStatus.FAILED]


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
    """Nothing is known of the source: what is asked of it may be there, and is not left out."""
    goes_down(shop)
    done = cdpsync(shop, *arguments)
    assert done.returncode == 1, done
    assert "nothing listens" in done.stderr


def test_exclusion_of_the_whole_source_leaves_nothing_to_do(shop: Shop) -> None:
    """Who takes a source out does not hear of it."""
    goes_down(shop)
    for left in ("shop", "shop.*", "sh*"):
        assert failed(shop, exclude=[left]) == []
    assert failed(shop, exclude=["shop.orders"]) == ["shop.*"]


def test_name_that_is_not_known_fails_while_the_source_is_down(shop: Shop) -> None:
    """Known tables go by their names; an unknown one may be a new one."""
    shop.pg.execute(TABLES)
    shop.configure(None)
    shop.run()
    goes_down(shop)
    assert failed(shop, "shop.orders") == ["shop.orders"]
    assert failed(shop, "shop.nosuch") == ["shop.*"]
    assert failed(shop, "shop.nosuch", "shop.pl*") == ["shop.*", "shop.plans"]
    assert failed(shop) == ["shop.orders", "shop.plans"]
    assert cdpsync(shop, "run", "shop.nosuch").returncode == 1


def test_source_that_a_glob_cannot_mean_is_not_asked(shop: Shop) -> None:
    """`fi*` is of no source called shop."""
    goes_down(shop)
    said = json.loads(shop.file.read_text())
    (shop.folder / "one.csv").write_text("id\n1\n")
    said["sources"]["files"] = {"type": "files", "path": "./*.csv"}
    shop.file.write_text(json.dumps(said))
    assert [one.table for one in shop.run("fi*").tables] == ["files.one"]
    assert failed(shop, "*.one") == ["shop.*"]


def test_tables_that_are_not_due_rest_while_the_source_is_down(shop: Shop) -> None:
    """`--due` has nothing to say of a table whose time has not come."""
    shop.pg.execute(TABLES)
    said = {"public.orders": HOURLY, "public.plans": {}}
    shop.configure(said)
    shop.run()
    goes_down(shop, said)
    assert failed(shop, due=True) == ["shop.plans"]
    planned = sync.plan(shop.file, due=True)
    assert [one.table for one in planned.skipped] == ["shop.orders"]
    assert shop.status() == {"shop.orders": "ok", "shop.plans": "failed"}
    with project.catalog_of(project.load(shop.file)).writer() as con:
        con.execute("update lake.cdpsync.runs set started_at = '2020-01-01'")
    assert failed(shop, due=True) == ["shop.orders", "shop.plans"]


def test_tables_that_were_not_read_have_their_mode_and_cursor(shop: Shop) -> None:
    """Not asked, not planned or not due: what the file and the state say of a table is known."""
    shop.pg.execute(TABLES)
    said = {"public.orders": HOURLY, "public.plans": {}}
    shop.configure(said)
    shop.run()
    (skipped,) = (one for one in shop.run(due=True).tables if one.status is TableStatus.SKIPPED)
    goes_down(shop, said)
    orders, plans = shop.run().tables
    for one in (skipped, orders):
        assert (one.mode, one.cursor_before.value) == (SyncMode.APPEND_ONLY, 10)
        assert one.cursor_after == one.cursor_before
    assert (plans.mode, plans.cursor_before) == (SyncMode.FULL_TABLE, None)
    (placeholder,) = shop.run("shop.nosuch").tables
    assert (placeholder.mode, placeholder.cursor_before) == (None, None)
    (verdict,) = verify(shop.file, ["shop.plans"])
    assert verdict.mode is SyncMode.FULL_TABLE


def states(shop: Shop, *select: str) -> list[tuple[str, str, str | None]]:
    """Return each table's stream, status and type of error."""
    found = project.status(project.load(shop.file), select)
    return [(one.stream, one.status, one.error and one.error.type) for one in found]


def test_status_tells_of_a_source_that_was_never_reached(shop: Shop) -> None:
    """Its failure stands for its tables until something newer is known of one of them."""
    shop.pg.execute(TABLES)
    goes_down(shop)
    assert states(shop) == states(shop, "shop") == []
    shop.run()
    assert states(shop) == states(shop, "shop") == [("*", "failed", "ConnectError")]
    shown = cdpsync(shop, "status", "shop")
    assert (shown.returncode, shown.stdout.splitlines()[2].split()[:3]) == (
        0,
        ["shop.*", "-", "failed"],
    )
    assert len(project.history(project.load(shop.file), ["shop"])) == 1
    shop.configure({"public.orders": {}})
    shop.run()
    assert states(shop) == [("public.orders", "ok", None)]
    assert cdpsync(shop, "delete", "shop", "-y").stderr == "1 table dropped\n"
    assert states(shop) == [("public.orders", "never", None)]


def test_configured_source_may_be_named_before_it_is_known(shop: Shop) -> None:
    """Nothing is known of its tables, and that is no mistake; a name of none is."""
    goes_down(shop)
    shop.run()
    for arguments in (["status"], ["status", "--history"], ["state", "show"]):
        assert cdpsync(shop, *arguments, "shop").returncode == 0
        assert cdpsync(shop, *arguments, "ship").returncode == 2
    assert cdpsync(shop, "reset", "shop", "-y").stderr == "nothing to reset: never loaded\n"
    assert cdpsync(shop, "delete", "shop", "-y").stderr == "nothing to drop\n"
    assert cdpsync(shop, "verify", "shop").returncode == 1
    assert [one.table for one in shop.run().tables] == ["shop.*"]


def test_failure_of_a_whole_source_goes_with_the_source(shop: Shop) -> None:
    """A source that is no more in the file has no line."""
    goes_down(shop)
    shop.run()
    said = json.loads(shop.file.read_text())
    said["sources"] = {"other": said["sources"]["shop"]}
    shop.file.write_text(json.dumps(said))
    assert states(shop) == []
