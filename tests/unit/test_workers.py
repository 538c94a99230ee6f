"""The workers that read chunks: what one has to write to disk for want of memory is its own."""

from types import SimpleNamespace

from cdpsync.workers import Workers

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
