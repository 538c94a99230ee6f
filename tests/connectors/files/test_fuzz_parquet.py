"""Any Parquet file lands as pyarrow reads it; a damaged one does too, or is refused by name.

`CDPSYNC_FUZZ` is how many examples are tried; `make fuzz` sets it. Damaged files are read in a
process of their own, because pyarrow itself may die of one.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.file_damage import Damage, places
from support.file_fuzzing import fuzz, fuzz_connection
from support.parquet_reading import Rows, read_both, require_same

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_US = {"min_value": -(10**15), "max_value": 10**15}


def _decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit = 10**precision - 1
    return st.integers(-limit, limit).map(lambda n: Decimal(n).scaleb(-scale))


small_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
SCALARS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    *(
        (type_, st.integers(*limits))
        for type_, limits in [
            (pa.int8(), (-128, 127)),
            (pa.int16(), (-(2**15), 2**15 - 1)),
            (pa.int32(), (-(2**31), 2**31 - 1)),
            (pa.int64(), (-(2**63), 2**63 - 1)),
            (pa.uint8(), (0, 255)),
            (pa.uint32(), (0, 2**32 - 1)),
            (pa.uint64(), (0, 2**64 - 1)),
        ]
    ),
    (pa.bool_(), st.booleans()),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.string(), small_texts),
    (pa.large_string(), small_texts),
    (pa.binary(), st.binary(max_size=6)),
    (pa.decimal128(9, 2), _decimals(9, 2)),
    (pa.decimal128(38, 10), _decimals(28, 10)),
    (pa.date32(), st.dates()),
    (pa.timestamp("us"), st.integers(**_US)),
    (pa.timestamp("ms"), st.integers(-(10**12), 10**12)),
    (pa.timestamp("ns"), st.integers(-(10**18), 10**18)),
    (pa.timestamp("us", "UTC"), st.integers(**_US)),
    (pa.time64("us"), st.integers(0, 86_399_999_999)),
]
_NESTED = [
    pa.list_,
    lambda type_: pa.struct([("a", type_), ("b", pa.list_(type_))]),
    lambda type_: pa.map_(pa.string(), type_),
]


def _nested(kind: int, type_: pa.DataType, values: st.SearchStrategy[Any]) -> Any:
    values = st.none() | values
    lists = st.lists(values, max_size=3)
    if kind == 0:
        return pa.list_(type_), lists
    if kind == 1:
        struct = pa.struct([("a", type_), ("b", pa.list_(type_))])
        return struct, st.fixed_dictionaries({"a": values, "b": st.none() | lists})
    return pa.map_(pa.string(), type_), st.dictionaries(small_texts, values, max_size=3).map(
        lambda pairs: list(pairs.items())
    )


@st.composite
def columns(draw: st.DrawFn) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    """Return a type, and a strategy of its values."""
    type_, values = draw(st.sampled_from(SCALARS))
    if draw(st.integers(0, 3)) == 0:
        type_, values = _nested(draw(st.integers(0, 2)), type_, values)
    return type_, st.none() | values


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Return a table of any types and values; some are long enough for several pages."""
    kinds = draw(st.lists(columns(), min_size=1, max_size=4))
    height = draw(st.integers(0, 8))
    rows = [[draw(values) for _ in range(height)] for _, values in kinds]
    repeats = draw(st.sampled_from([1, 1, 1, 300]))
    arrays = [pa.array(row * repeats, type_) for row, (type_, _) in zip(rows, kinds, strict=True)]
    return pa.table(arrays, names=[f"c{number} é\"'"[: 2 + number] for number in range(len(kinds))])


writings = st.fixed_dictionaries(
    {
        "compression": st.sampled_from(["none", "snappy", "zstd", "gzip", "lz4"]),
        "use_dictionary": st.booleans(),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "data_page_size": st.sampled_from([64, 1 << 20]),
        "row_group_size": st.sampled_from([100, 1 << 20]),
        "write_page_checksum": st.booleans(),
        "write_statistics": st.booleans(),
    }
)


@fuzz
@given(table=tables(), writing=writings)
def test_every_parquet_lands_as_pyarrow_reads_it(tmp_path_factory, table, writing):
    """Each value of each type, in pages and compressions of any kind.

    It is also how a narrowed value is found: `verify` reads by the same reader as a run.
    """
    with fuzz_connection(tmp_path_factory) as (_, folder):
        path = folder / "a.parquet"
        pq.write_table(table, path, **writing)
        landed, expected = read_both(str(path))
        assert isinstance(landed, Rows), landed
        assert isinstance(expected, Rows), expected
        require_same(landed, expected)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    workers.stop()


class Workers:
    """A process that reads files, made anew if it dies of one."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def read(self, path: str) -> tuple[Any, Any]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            return self._pool.submit(read_both, path).result(timeout=120)
        except BrokenProcessPool:
            self.stop()
            raise

    def stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None


damages = st.one_of(
    st.builds(Damage, st.just("cut"), places),
    st.builds(Damage, st.just("flip"), places),
    st.builds(Damage, st.just("flip"), places),
    st.builds(Damage, st.just("more"), places, st.binary(min_size=1, max_size=3)),
    st.builds(Damage, st.just("behind"), st.just(0), st.just(b"more")),
)


@fuzz
@given(table=tables(), writing=writings, damage=damages)
def test_damaged_parquet_lands_as_pyarrow_reads_it_or_is_refused(
    tmp_path_factory, workers, table, writing, damage
):
    """Never a third thing. Where pyarrow refuses more than it must, the rows are those written."""
    with fuzz_connection(tmp_path_factory) as (_, folder):
        path: Path = folder / "a.parquet"
        pq.write_table(table, path, **writing)
        written = Rows.of(table)
        path.write_bytes(damage.apply(path.read_bytes()))
        landed, expected = workers.read(str(path))
        if isinstance(landed, Rows):
            require_same(landed, expected if isinstance(expected, Rows) else written)
        else:
            assert landed.startswith(str(path)), landed
            assert "cannot be read (" not in landed, landed
