"""The bytes that a query fetches from the bucket: only those of the row groups that it needs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import duckdb
import pytest
from support.faults import FaultProxy
from support.shop import KEYS

from cdpsync import query, sync
from cdpsync.model import RunStatus

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Buckets

ROWS = 9_000_000  # of 15 random numbers, which do not compress: 1.0 GB
GROUP = 122_880  # rows, DuckDB's default
COLUMNS = 16
WRITE = """
    copy (
        select range as id, {columns} from range({rows})
    ) to '{file}' (format parquet, compression uncompressed)
"""


@pytest.fixture(scope="module")
def gigabyte(s3: Buckets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose one table is a gigabyte in the bucket, loaded by cdpsync; its folder."""
    folder = tmp_path_factory.mktemp("gigabyte")
    columns = ", ".join(f"random() as c{number}" for number in range(1, COLUMNS))
    with duckdb.connect() as con:
        con.execute(WRITE.format(columns=columns, rows=ROWS, file=folder / "events.parquet"))
    keys = {name: getattr(s3, name) for name in KEYS}
    content = {
        "warehouse": {"path": "s3://lake/gigabyte", "storage": keys},
        "sources": {"here": {"type": "files", "path": "events.parquet"}},
    }
    (folder / "cdpsync.yml").write_text(json.dumps(content))
    result = sync.run(folder / "cdpsync.yml")
    assert result.status is RunStatus.OK, result.tables
    assert result.tables[0].bytes_written > 1_000_000_000
    (folder / "events.parquet").unlink()
    return folder


def fetched(folder: Path, s3: Buckets, sql: str) -> tuple[list[tuple[object, ...]], int]:
    """Query through a proxy; return the rows and the number of bytes from the bucket."""
    text = (folder / "cdpsync.yml").read_text()
    with FaultProxy(s3.port) as proxy:
        counted = folder / "counted.yml"
        counted.write_text(text.replace(s3.endpoint, proxy.endpoint))
        return query(sql, counted), proxy.passed


def test_filtered_query_reads_only_the_row_groups_it_needs(gigabyte: Path, s3: Buckets) -> None:
    """A thousand rows of a gigabyte cost one row group, or two where they lie across a border."""
    group = GROUP * COLUMNS * 8  # bytes
    rows, size = fetched(
        gigabyte, s3, "select count(*), count(distinct c7) from here.events "
        "where id between 5_000_000 and 5_000_999",
    )  # fmt: skip
    assert rows == [(1000, 1000)]
    assert size < 2 * group
    rows, everything = fetched(
        gigabyte, s3, "select * from here.events where id between 5_000_000 and 5_000_999"
    )
    assert len(rows) == 1000
    assert size < everything < 3 * group


def test_query_of_one_column_reads_no_other(gigabyte: Path, s3: Buckets) -> None:
    """One column of sixteen is a sixteenth of the bytes; none at all for a count."""
    rows, size = fetched(gigabyte, s3, "select count(*), sum(id) from here.events")
    assert rows == [(ROWS, ROWS * (ROWS - 1) // 2)]
    assert size < 2 * 8 * ROWS
    rows, size = fetched(gigabyte, s3, "select count(*) from here.events")
    assert rows == [(ROWS,)]
    assert size < 1_000_000
