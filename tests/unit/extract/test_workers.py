"""Workers: connections that spill to their own folders, and memory that large rows share."""

import threading
from types import SimpleNamespace

import pytest

from cdpsync.extract.workers import Workers
from cdpsync.system.memory import MemoryBudget

pytestmark = pytest.mark.usefixtures("all_cores")

_FILL = (
    "create temp table many as select i, md5((i + {seed})::varchar) as v from range(600000) r(i)"
)
_SUM = "select count(*), sum(i), bit_xor(hash(v)) from many"


def test_workers_that_run_out_of_memory_do_not_share_a_file(tmp_path):
    """Two connections that spill at once each read back the rows that they wrote themselves."""
    workers = Workers(2, tmp_path / "spill")
    source = SimpleNamespace(extensions=())
    expected = []
    with workers.connection(source) as con:
        for seed in (1, 2):
            con.execute(_FILL.format(seed=seed))
            expected.append(con.execute(_SUM).fetchall())
            con.execute("drop table many")
    with workers.connection(source) as first, workers.connection(source) as second:
        for seed, con in ((1, first), (2, second)):
            con.execute("set memory_limit = '16MB'")
            con.execute(_FILL.format(seed=seed))
        assert [first.execute(_SUM).fetchall(), second.execute(_SUM).fetchall()] == expected
    workers.close()


def test_large_rows_take_turns(tmp_path):
    """A reservation that exceeds the shared memory waits; alone, any size is accepted."""
    workers = Workers(2, tmp_path / "spill")
    reserved, finish = threading.Event(), threading.Event()

    def reserve():
        with workers.reserve_memory(300e6):
            reserved.set()
            finish.wait()

    with workers.reserve_memory(900e6):
        thread = threading.Thread(target=reserve)
        thread.start()
        assert not reserved.wait(0.3)
    assert reserved.wait(60)
    with workers.reserve_memory(50e6):  # fits beside the 300 MB
        finish.set()
    thread.join()
    workers.close()


def test_stopped_workers_do_not_wait_for_memory(tmp_path):
    """A run that is interrupted ends."""
    workers = Workers(2, tmp_path / "spill")
    with workers.reserve_memory(400e6):
        workers.stop()
        with workers.reserve_memory(400e6):
            pass
    workers.close()


def test_task_that_needs_all_memory_runs_alone(tmp_path):
    """It waits for those that run; those that come later wait for it, and it has their memory."""
    workers = Workers(2, tmp_path / "spill", MemoryBudget(320_000_000, workers=2))
    source = SimpleNamespace(extensions=())
    running, finish, order = threading.Event(), threading.Event(), []

    def first():
        with workers.reserve_memory(0):
            running.set()
            finish.wait()
            order.append("first")

    def alone():
        with workers.reserve_memory(0, alone=True), workers.connection(source, alone=True) as con:
            order.append(con.execute("select current_setting('memory_limit')").fetchall()[0][0])

    def later():
        with workers.reserve_memory(0), workers.connection(source) as con:
            order.append(con.execute("select current_setting('memory_limit')").fetchall()[0][0])

    threads = [threading.Thread(target=task) for task in (first, alone, later)]
    threads[0].start()
    assert running.wait(60)
    threads[1].start()
    while not workers._waiting_alone:
        pass
    threads[2].start()
    finish.set()
    for thread in threads:
        thread.join()
    assert order == ["first", "114.4 MiB", "57.2 MiB"]
    workers.close()
