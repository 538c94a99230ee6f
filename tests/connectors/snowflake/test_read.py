"""Reads of a result with many parts: in parallel, and complete or not at all."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
from support.snowflake_fake import (
    OPTIONS,
    FakeSnowflake,
    Storage,
    inline_batch,
    remote_batch,
    whole_numbers,
)

from cdpsync import engine, query, sync
from cdpsync_connectors.snowflake.decode import in_small_parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cdpsync.model import TableResult

WORKERS = 4
ROWS = 100  # of one part
COLUMNS = [("ID", "NUMBER", 18, 0), ("NOTE", "TEXT", None, None)]


@pytest.fixture
def sync_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TableResult]:
    """Run a project over these parts of an answer, and return its one table's result."""
    project = {"warehouse": {"path": "./warehouse"}, "sources": {"sf": {"type": "snowflake"}}}
    project["sources"]["sf"] |= OPTIONS
    file = tmp_path / "cdpsync.yml"
    file.write_text(json.dumps(project))

    def run(batches: list[Any]) -> TableResult:
        fake = FakeSnowflake(COLUMNS, batches)
        monkeypatch.setattr("snowflake.connector.connect", fake.connect)
        (result,) = sync.run(file, threads=WORKERS).tables
        return result

    return run


def parts_of(count: int) -> list[bytes]:
    return [whole_numbers(number * ROWS, ROWS) for number in range(count)]


def parquet_below(folder: Path) -> set[str]:
    return {
        f"{path}/{name}"
        for path, _, names in os.walk(folder)
        for name in names
        if name.endswith(".parquet")
    }


def test_parts_are_fetched_at_once_and_land_as_they_come(
    sync_of: Callable[..., TableResult], tmp_path: Path
) -> None:
    """Four workers download at once; none fetches a part before the last one is written."""
    files_at_fetch: list[int] = []

    def count_files(_: int) -> None:
        while (files := parquet_below(tmp_path)) != parquet_below(tmp_path):
            pass  # one of them moved from the spool to the warehouse, and may not have been seen
        files_at_fetch.append(len(files))

    storage = Storage(parts_of(20), at_once=WORKERS, on_request=count_files)
    with storage.serving() as url:
        batches = [remote_batch(f"{url}{number}", ROWS) for number in range(20)]
        result = sync_of(batches)
    assert result.error is None
    assert storage.most == WORKERS
    assert all(files >= number - WORKERS for number, files in enumerate(files_at_fetch, start=1))
    rows = query("select count(*), count(distinct id), sum(id) from sf.t", tmp_path / "cdpsync.yml")
    assert rows == [(2000, 2000, sum(range(2000)))]
    assert [batch._data for batch in batches] == [None] * 20  # nothing is kept


def test_part_that_was_cut_off_is_fetched_again(
    sync_of: Callable[..., TableResult], tmp_path: Path
) -> None:
    """A download with fewer rows than announced is not accepted, even as valid Arrow."""
    storage = Storage(parts_of(3), replace={1: [whole_numbers(0, 7)]})
    with storage.serving() as url:
        result = sync_of([remote_batch(f"{url}{number}", ROWS) for number in range(3)])
    assert (result.error, result.rows_read) == (None, 300)
    assert storage.requests == 4


def test_part_that_stays_short_fails_the_table(sync_of: Callable[..., TableResult]) -> None:
    """No table is better than a table without some of its rows."""
    result = sync_of([inline_batch(whole_numbers(0, 7), ROWS)])
    assert result.error is not None
    assert "has 7 rows instead of the announced 100" in result.error.message


def test_bytes_that_are_no_arrow_are_fetched_again(sync_of: Callable[..., TableResult]) -> None:
    """A stream that breaks off is downloaded again."""
    storage = Storage(parts_of(1), replace={0: [whole_numbers(0, ROWS)[:200]]})
    with storage.serving() as url:
        result = sync_of([remote_batch(f"{url}0", ROWS)])
    assert (result.error, result.rows_read) == (None, ROWS)


def test_answer_without_any_part_is_an_empty_table(
    sync_of: Callable[..., TableResult], tmp_path: Path
) -> None:
    """The columns are known from the catalog."""
    assert sync_of([]).rows_in_table == 0
    assert sync_of([inline_batch(b"", 0)]).rows_in_table == 0
    assert query("select id, note from sf.t", tmp_path / "cdpsync.yml") == []


def test_answer_in_json_is_refused(sync_of: Callable[..., TableResult]) -> None:
    """JSON numbers are not exact; the error names the parameter to unset."""
    from snowflake.connector.result_batch import JSONResultBatch

    batch = JSONResultBatch.from_data([["1", "x"]], 1, [], [], False)
    result = sync_of([batch])
    assert result.error is not None
    assert "PYTHON_CONNECTOR_QUERY_RESULT_FORMAT" in result.error.message


def test_rows_of_a_part_are_taken_few_at_a_time_where_they_are_large(tmp_path: Path) -> None:
    """40 rows of a megabyte among small ones are written within 90 MB."""
    bodies = [str(i) * 330_000 if 100 <= i < 140 else "small" for i in range(1000)]
    table = pa.table({"ID": list(range(1000)), "BODY": bodies})
    parts = in_small_parts(table)
    assert parts.equals(table)
    assert max(batch.nbytes for batch in parts.to_batches()) <= 8_000_000
    assert in_small_parts(table.slice(0, 50)).column(0).num_chunks == 1
    con = engine.connect(threads=1, memory_limit=90_000_000)
    con.execute(engine.LARGE_ROWS)
    copy = f"copy ({{}}) to '{tmp_path}/part.parquet' (row_group_size_bytes 10000000)"
    con.register("parts", parts)
    con.execute(copy.format("from parts"))
    assert con.sql(f"select count(*) from '{tmp_path}/part.parquet'").fetchall() == [(1000,)]
    con.register("whole", table)
    with pytest.raises(duckdb.OutOfMemoryException):
        con.execute(copy.format("from whole"))
