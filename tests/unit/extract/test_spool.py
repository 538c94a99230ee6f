"""The highest cursor among the rows of spool files."""

from __future__ import annotations

from datetime import datetime

import duckdb
import pytest

from cdpsync.extract.spool import highest_cursor_sql
from cdpsync.model import Cursor, CursorType
from cdpsync.model.cursors import cursor_sql


@pytest.mark.parametrize("type_", ["timestamp", "timestamp_ns"])
@pytest.mark.parametrize(
    "value",
    [
        "1960-01-01 00:00:00.123456789",
        "1960-01-01 00:00:00.123456",
        "1969-12-31 23:59:59.999999999",
        "1970-01-01 00:00:00",
        "1970-01-01 00:00:00.000000999",
        "2024-02-29 12:00:00.123456789",
        "1677-09-22 00:00:00.000000001",
    ],
)
def test_row_of_the_highest_cursor_is_read_again(type_: str, value: str) -> None:
    """A cursor has microseconds and is never above its row, also before 1970."""
    con = duckdb.connect()
    con.execute(
        f"create table rows as select unnest([null, '{value}', '-infinity'])::{type_} as \"at\""
    )
    row = con.execute(
        f"select {highest_cursor_sql(CursorType.TIMESTAMP, 'at')} from rows"
    ).fetchone()
    assert row is not None
    expected = datetime.fromisoformat(value[:26])
    assert row[0] == expected if type_ == "timestamp_ns" else row[0] is not None
    condition = f'"at" >= {cursor_sql(Cursor(CursorType.TIMESTAMP, row[0]))}'
    again = con.execute(f"select count(*) from rows where {condition}").fetchone()
    assert again == (1,)
