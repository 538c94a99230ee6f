"""Processes at the same time: runs of several tables, queries and maintenance."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from support import commands

from cdpsync import project
from cdpsync.model import RunStatus

if TYPE_CHECKING:
    from support.shop import Shop

_ROWS = 10  # in each commit

# A separate process, in a loop, because DuckDB locks a catalog for the process that has it open.
# It yields to the runs, which the test waits for.
_LOOP = """
import os, sys
os.nice(5)
from cdpsync import maintain, project, query, sync
action, file = sys.argv[1:]
print("ready", flush=True)
config = project.load(file)
while True:
    if action == "query":
        print(query("select count(*) from shop.orders", config)[0][0], flush=True)
    elif action == "maintain":
        print(len(maintain.maintain(config)), flush=True)
"""


def start_loop(shop: Shop, action: str) -> subprocess.Popen[str]:
    """Start a process that repeats an action and prints the result of each repetition."""
    process = subprocess.Popen(
        [sys.executable, "-c", _LOOP, action, str(shop.file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def stop_loop(process: subprocess.Popen[str]) -> tuple[list[int], str]:
    """Stop the process; return the numbers that it printed, and its stderr."""
    still_running = process.poll() is None
    process.kill()
    stdout, stderr = process.communicate()
    assert still_running, stderr
    return [int(line) for line in stdout.splitlines()], stderr


def test_queries_and_maintenance_during_runs(shop: Shop) -> None:
    """Each query sees a whole number of commits, never fewer than before, and no process fails.

    A run waits while maintenance works on its table.
    """
    add = """
        insert into orders
        select (select count(*) from orders) + i, {} from generate_series(1, 10) i
    """
    shop.pg.execute("create table orders (id int primary key, rev int)")
    shop.pg.execute(add.format(0))
    shop.configure({"public.orders": {"mode": "incremental", "cursor_field": "rev"}})
    shop.run()
    loops = [start_loop(shop, action) for action in ("query", "query", "maintain")]
    try:
        for number in range(1, 8):
            shop.pg.execute(add.format(number))
            assert shop.run().status is RunStatus.OK
    finally:
        outputs = [stop_loop(process) for process in loops]
    for counts, stderr in outputs[:2]:
        assert stderr == ""
        assert counts == sorted(counts)
        assert all(count % _ROWS == 0 for count in counts)
    assert outputs[2][1] == ""
    assert outputs[0][0]
    shop.same()


def test_parallel_runs_of_different_tables_all_commit(shop: Shop) -> None:
    """Processes that sync different tables wait for each other's commits, and lose none."""
    names = ("one", "two", "three")
    for name in names:
        shop.pg.execute(f"create table {name} as select i as id from generate_series(1, 20) i")
    shop.configure({f"public.{name}": {} for name in names})
    for _ in range(2):
        running = [commands.start("-q", "run", f"shop.{name}", cwd=shop.folder) for name in names]
        for process in running:
            with process:
                assert process.wait() == 0
        for name in names:
            shop.same(stream=f"public.{name}", table=f"shop.{name}")
            shop.pg.execute(f"insert into {name} values (0)")
    state = project.load_state(project.load(shop.file))
    run_ids = {key: entry.run_id for key, entry in state.entries.items()}
    assert run_ids == {(saved.source, saved.stream): saved.run_id for saved in state.saved_states}
    assert len(run_ids) == len(names)
