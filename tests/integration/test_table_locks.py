"""Runs that meet tables on which another run works: they do the others, and say which they left."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from typer.testing import CliRunner

from cdpsync import project
from cdpsync.cli.main import app
from cdpsync.errors import LockHeldError
from cdpsync.model import RunStatus, TableStatus
from cdpsync.project.journal import crashed_runs
from cdpsync.sync.runner import Runner
from cdpsync.system import locks
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.shop import Shop

    from cdpsync.model import RunResult

APPEND = {"mode": "append_only", "cursor_field": "id"}


@pytest.fixture
def three(shop: Shop) -> Shop:
    """A project with the tables a, b and c, a row in each."""
    for name in "abc":
        shop.pg.execute(f"create table {name} (id int); insert into {name} values (1)")
    shop.configure({"public.a": {}, "public.b": APPEND, "public.c": {"every": "1h"}})
    return shop


@contextmanager
def held(shop: Shop, *tables: str, upkeep: bool = False) -> Iterator[None]:
    """Hold the locks of tables as a run of another process does."""
    folder = project.locks_folder(project.load(shop.file))
    with locks.hold(folder, tables, "run-1", "10:00", upkeep=upkeep):
        yield


def cli(shop: Shop, *arguments: str) -> Any:
    command, *others = arguments
    return CliRunner().invoke(app, [command, "-c", str(shop.file), *others])


def statuses(result: RunResult) -> dict[str, str]:
    return {str(table.table): table.status.value for table in result.tables}


def test_run_does_the_tables_that_are_free(three: Shop) -> None:
    """It ends with 3, and names the holder of the others; with 4 where it could do nothing."""
    with held(three, "shop.a"):
        document = json.loads(cli(three, "run", "-o", "json").stdout)
        assert document["status"] == "partial"
        by_name = {table["table"]: table for table in document["tables"]}
        assert {name: table["status"] for name, table in by_name.items()} == {
            "shop.a": "skipped", "shop.b": "ok", "shop.c": "ok",
        }  # fmt: skip
        (notice,) = by_name["shop.a"]["notices"]
        assert "another run" not in notice
        assert "left out, because process" in notice
        assert "(run run-1, since 10:00)" in notice
        process = cli(three, "run")
        assert process.exit_code == 3
        assert f"shop.a: {notice}" in process.stderr
        assert "1 table left out, because another run works on it" in process.stderr
        assert three.status() == {"shop.a": "running", "shop.b": "ok", "shop.c": "ok"}
        due = three.run(due=True)
        assert (due.status, statuses(due)) == (
            RunStatus.PARTIAL,
            {"shop.a": "skipped", "shop.b": "ok", "shop.c": "skipped"},
        )
        for select in (("run", "shop.a"), ("run", "--due", "shop.a", "shop.c")):
            process = cli(three, *select)
            assert process.exit_code == 4
            assert "shop.a is being worked on by process" in process.stderr
    with held(three, "shop.c"):
        assert three.run(due=True).status is RunStatus.OK  # c is not due, so nothing is left out
    with held(three, "shop.a", "shop.b", "shop.c"):
        with pytest.raises(LockHeldError, match=r"shop\.a \(and 2 more\) is being worked on by"):
            three.run()
        assert cli(three, "plan").exit_code == 0
    assert three.run().status is RunStatus.OK


def test_failures_beside_locked_tables_are_partial(three: Shop) -> None:
    """A run whose other tables failed ends with 3, because not every table failed."""
    three.pg.execute("drop table b")
    with held(three, "shop.a"):
        assert cli(three, "run", "shop.a", "shop.b").exit_code == 3
    assert three.status()["shop.b"] == "failed"


def test_lock_of_a_table_is_released_as_the_table_ends(three: Shop) -> None:
    """While one table is still read, other runs have those that have ended, and nobody takes the
    run for a crashed one, not even when it holds no table at all.
    """
    three.pg.execute(
        "create view slow as select 1 as id from (select pg_advisory_lock_shared(7)) l"
    )
    tables = {"public.a": {}, "public.b": APPEND, "public.nosuch": {}, "public.slow": {}}
    three.configure(tables)
    config, results, finished = project.load(three.file), [], set()
    ended = threading.Event()

    def note(progress: Any) -> None:
        if progress.result is not None:
            finished.add(str(progress.table))

    def first() -> None:
        results.append(three.run(on_progress=note))
        ended.set()

    with psycopg.connect(three.pg.url, autocommit=True) as blocker:
        blocker.execute("select pg_advisory_lock(7)")
        thread = threading.Thread(target=first)
        thread.start()
        try:
            pause = threading.Event()
            while three.status().get("shop.b") != "ok" or three.status()["shop.a"] != "ok":
                assert not pause.wait(0.05)
            assert three.status()["shop.slow"] == "running"
            three.pg.execute("insert into b values (2)")
            second = three.run("shop.a", "shop.b")
            assert (second.status, statuses(second)) == (
                RunStatus.OK,
                {"shop.a": "ok", "shop.b": "ok"},
            )
            assert three.ask("select count(*) from shop.b") == [(2,)]
            assert cli(three, "run").exit_code == 3
            assert crashed_runs(config) == set()
            (entry,) = project.journal_folder(config).iterdir()
            assert locks.is_locked(entry)
        finally:
            blocker.execute("select pg_advisory_unlock(7)")
            thread.join()
    assert statuses(results[0])["shop.slow"] == "ok"
    assert list(project.journal_folder(config).iterdir()) == []
    assert locks.live_runs(project.locks_folder(config)) == set()


def test_upkeep_leaves_a_table_that_another_run_has_taken(
    three: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A table is locked again for its upkeep; where another run was faster, it is not compacted."""
    do_upkeep = Runner._do_upkeep

    def taken_before(self: Runner, spool: Any) -> None:
        with held(three, "shop.b"):
            do_upkeep(self, spool)

    monkeypatch.setattr(Runner, "_do_upkeep", taken_before)
    with caplog.at_level("INFO", "cdpsync.maintain"):
        assert three.run().status is RunStatus.OK
    assert [record.levelname for record in caplog.records] in ([], ["INFO"])
    with caplog.at_level("INFO", "cdpsync.maintain"):
        for number in range(2, 12):  # until it has so many small files that they are to be merged
            three.pg.execute(f"insert into b values ({number})")
            assert three.run("shop.b").status is RunStatus.OK
    assert "shop.b: its small files stay as they are: shop.b is being worked on" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_upkeep_of_many_tables_is_waited_for_once(
    three: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The minute of patience is for all tables together, for a run and for an edit."""
    now = [0.0]
    monkeypatch.setattr(locks.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    folder = three.folder / "locks"
    names = [f"shop.t{number}" for number in range(20)]
    with locks.hold(folder, names, "run-1", "10:00", upkeep=True):
        with locks.hold_free(folder, [*names, "shop.free"], "run-2", "10:01") as acquired:
            assert set(acquired.taken) == set(names)
            assert set(acquired.files) == {"shop.free"}
        assert locks.PATIENCE_WITH_UPKEEP <= now[0] < locks.PATIENCE_WITH_UPKEEP + 1
        start = now[0]
        with pytest.raises(LockHeldError), locks.hold(folder, names, "by hand", "", waits=True):
            pass
        assert now[0] - start < locks.PATIENCE_WITH_UPKEEP + 1


def test_repair_does_the_tables_that_are_free(three: Shop) -> None:
    """`verify --repair` leaves out what a run works on, says so, and ends with 3."""
    three.run()
    three.pg.execute("insert into b values (0)")
    with held(three, "shop.a"):
        results = {str(result.table): result for result in verify(three.file, repair=True)}
        assert [result.status for result in results.values()] == ["skipped", "repaired", "equal"]
        assert "(run run-1, since 10:00)" in results["shop.a"].notices[0]
        assert cli(three, "verify", "--repair").exit_code == 3
        assert cli(three, "verify", "--repair", "shop.a").exit_code == 4
    assert three.run().tables[0].status is TableStatus.OK
