"""DuckDB's errors in plain words."""

import duckdb
import pytest

from cdpsync import engine


def test_error_of_memory_names_our_setting(tmp_path):
    """DuckDB's own advice is not repeated, because its settings are not the user's."""
    con = engine.connect(threads=1, memory_limit=20_000_000)
    with pytest.raises(duckdb.OutOfMemoryException) as raised:
        con.execute("create table t as select repeat('x', 1000) || i as v from range(100000) r(i)")
    message = engine.first_line(raised.value)
    assert message.startswith("memory ran out (it may use 20MB")
    assert message.endswith(": set a higher warehouse.memory")
    assert "memory_limit" not in message
    assert "SET" not in message


def test_task_that_runs_out_of_memory_is_done_again_with_one_thread():
    """The second attempt has a single thread; afterwards there are as many as before."""
    con = engine.connect(threads=3)
    threads = []

    def task() -> str:
        threads.append(con.execute("select current_setting('threads')").fetchall()[0][0])
        if len(threads) == 1:
            raise duckdb.OutOfMemoryException("Out of Memory Error: …")
        return "done"

    assert engine.with_less_memory(con, task) == "done"
    assert threads == [3, 1]
