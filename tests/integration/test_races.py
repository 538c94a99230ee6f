"""Processes that meet: runs of several tables, and questions and upkeep in their midst."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cdpsync import project
from cdpsync.model import RunStatus

if TYPE_CHECKING:
    from support.shop import Shop

_ROWS = 10  # in each commit

# A process of its own, in a loop: DuckDB lets no other into a catalog that it has open.
_LOOP = """
import sys
from cdpsync import maintain, project, query, sync
act, file = sys.argv[1:]
print("ready", flush=True)
config = project.load(file)
while True:
    if act == "query":
        print(query("select count(*) from shop.orders", config)[0][0], flush=True)
    elif act == "maintain":
        print(len(maintain.maintain(config)), flush=True)
"""


def looping(shop: Shop, act: str) -> subprocess.Popen[str]:
    """Start a process that does the same thing again and again, and says what came of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _LOOP, act, str(shop.file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process: subprocess.Popen[str]) -> tuple[list[int], str]:
    """Stop it; return all that it said, and what it complained of."""
    still_running = process.poll() is None
    process.kill()
    said, complaints = process.communicate()
    assert still_running, complaints
    return [int(line) for line in said.splitlines()], complaints


def test_questions_and_upkeep_in_the_midst_of_runs(shop: Shop) -> None:
    """Each question sees a whole number of commits, never fewer than before; nobody fails.

    A run that meets upkeep on its table waits for it.
    """
    add = """
        insert into orders
        select (select count(*) from orders) + i, {} from generate_series(1, 10) i
    """
    shop.pg.execute("create table orders (id int primary key, rev int)")
    shop.pg.execute(add.format(0))
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "rev"}})
    shop.run()
    loops = [looping(shop, act) for act in ("query", "query", "maintain")]
    try:
        for number in range(1, 13):
            shop.pg.execute(add.format(number))
            assert shop.run().status is RunStatus.OK
    finally:
        heard = [ended(process) for process in loops]
    for counts, complaints in heard[:2]:
        assert complaints == ""
        assert counts == sorted(counts)
        assert all(count % _ROWS == 0 for count in counts)
    assert heard[2][1] == ""
    assert heard[0][0]
    shop.same()


def test_runs_of_two_tables_at_once_both_commit(shop: Shop) -> None:
    """Processes that sync different tables wait for each other's commits, and lose none."""
    names = ("one", "two", "three")
    for name in names:
        shop.pg.execute(f"create table {name} as select i as id from generate_series(1, 20) i")
    shop.configure({f"public.{name}": {} for name in names})
    command = str(Path(sys.executable).with_name("cdpsync"))
    for _ in range(2):
        running = [
            subprocess.Popen([command, "-q", "run", f"shop.{name}"], cwd=shop.folder)
            for name in names
        ]
        assert [process.wait() for process in running] == [0, 0, 0]
        for name in names:
            shop.same(stream=f"public.{name}", table=f"shop.{name}")
            shop.pg.execute(f"insert into {name} values (0)")
    entries = project.load_state(project.load(shop.file))
    said = {key: entry.run_id for key, entry in entries.entries.items()}
    assert said == {(one.source, one.stream): one.run_id for one in entries.saved_states}
    assert len(said) == len(names)
