"""The workers that read chunks: what one has to write to disk for want of memory is its own."""

import threading
from types import SimpleNamespace

import pytest

from cdpsync.workers import Workers

pytestmark = pytest.mark.usefixtures("all_cores")

_MANY = (
    "create temp table many as select i, md5((i + {seed})::varchar) as v from range(600000) r(i)"
)
_SUM = "select count(*), sum(i), bit_xor(hash(v)) from many"


def test_workers_that_run_out_of_memory_do_not_share_a_file(tmp_path):
    """Two that spill at once each read back what they wrote themselves, and not the other's."""
    workers = Workers(2, tmp_path / "spill")
    source = SimpleNamespace(extensions=())
    truths = []
    with workers.connection(source) as plenty:
        for seed in (1, 2):
            plenty.execute(_MANY.format(seed=seed))
            truths.append(plenty.execute(_SUM).fetchall())
            plenty.execute("drop table many")
    with workers.connection(source) as one, workers.connection(source) as other:
        for seed, con in ((1, one), (2, other)):
            con.execute("set memory_limit = '16MB'")
            con.execute(_MANY.format(seed=seed))
        assert [one.execute(_SUM).fetchall(), other.execute(_SUM).fetchall()] == truths
    workers.close()


def test_large_rows_take_turns(tmp_path):
    """What does not fit beside what is held waits for it to go; alone, everything is let in."""
    workers = Workers(2, tmp_path / "spill")
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with workers.room(300e6):
            inside.set()
            leave.wait()

    with workers.room(900e6):
        other = threading.Thread(target=hold)
        other.start()
        assert not inside.wait(0.3)
    assert inside.wait(60)
    with workers.room(50e6):  # there is room beside it
        leave.set()
    other.join()
    workers.close()


def test_nobody_waits_for_room_once_all_is_given_up(tmp_path):
    """A run that is interrupted ends."""
    workers = Workers(2, tmp_path / "spill")
    with workers.room(400e6):
        workers.stop()
        with workers.room(400e6):
            pass
    workers.close()
