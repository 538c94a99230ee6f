"""The bytes that a query fetches from the bucket: only those of the row groups that it needs."""

from __future__ import annotations

import json
import uuid
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

ROWS = 1_500_000  # of 15 random numbers, which do not compress: 170 MB
GROUP = 122_880  # rows, DuckDB's default
COLUMNS = 16
WRITE = """
    copy (
        select range as id, {columns} from range({rows})
    ) to '{file}' (format parquet, compression uncompressed)
"""


@pytest.fixture(scope="module")
def large(s3: Buckets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose one table is twelve row groups in the bucket; its folder."""
    folder = tmp_path_factory.mktemp("large")
    path = f"lake/large/{uuid.uuid4().hex[:8]}"
    columns = ", ".join(f"random() as c{number}" for number in range(1, COLUMNS))
    with duckdb.connect() as con:
        con.execute(WRITE.format(columns=columns, rows=ROWS, file=folder / "events.parquet"))
    keys = {name: getattr(s3, name) for name in KEYS}
    content = {
        "warehouse": {"path": f"s3://{path}", "storage": keys},
        "sources": {"here": {"type": "files", "path": "events.parquet"}},
    }
    (folder / "cdpsync.yml").write_text(json.dumps(content))
    result = sync.run(folder / "cdpsync.yml")
    assert result.status is RunStatus.OK, result.tables
    assert result.tables[0].bytes_written > 160_000_000
    (folder / "events.parquet").unlink()
    return folder


def fetched(folder: Path, s3: Buckets, sql: str) -> tuple[list[tuple[object, ...]], int]:
    """Query through a proxy; return the rows and the number of bytes from the bucket."""
    text = (folder / "cdpsync.yml").read_text()
    with FaultProxy(s3.port) as proxy:
        counted = folder / "counted.yml"
        counted.write_text(text.replace(s3.endpoint, proxy.endpoint))
        return query(sql, counted), proxy.passed


def test_filtered_query_reads_only_the_row_groups_it_needs(large: Path, s3: Buckets) -> None:
    """A thousand rows of twelve row groups cost one, or two where they lie across a border."""
    group = GROUP * COLUMNS * 8  # bytes
    rows, size = fetched(
        large, s3, "select count(*), count(distinct c7) from here.events "
        "where id between 750_000 and 750_999",
    )  # fmt: skip
    assert rows == [(1000, 1000)]
    assert size < 2 * group
    rows, everything = fetched(
        large, s3, "select * from here.events where id between 750_000 and 750_999"
    )
    assert len(rows) == 1000
    assert size < everything < 3 * group


def test_query_of_one_column_reads_no_other(large: Path, s3: Buckets) -> None:
    """One column of sixteen is a sixteenth of the bytes; none at all for a count."""
    rows, size = fetched(large, s3, "select count(*), sum(id) from here.events")
    assert rows == [(ROWS, ROWS * (ROWS - 1) // 2)]
    assert size < 2 * 8 * ROWS
    rows, size = fetched(large, s3, "select count(*) from here.events")
    assert rows == [(ROWS,)]
    assert size < 1_000_000
