"""Types of the project file on cursor columns, as people write them, over every database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cdpsync import query, sync
from cdpsync.model import RunStatus
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from pathlib import Path

    from support.mysql_server import MariaDatabase
    from support.servers import Database
    from support.snowflake_server import Account

SPELLINGS = {
    "pg": {"n": "Int8", "ts": "TIMESTAMPTZ", "day": '"timestamp"(6)'},
    "maria": {"n": "bigint", "ts": "Timestamp(6)", "day": "date"},
    "snow": {"n": "bigint", "ts": "timestamp_ns", "day": "TimeStamp", "amount": "decimal(20, 4)"},
}
DDL = {
    "pg": "create table {}(id int primary key, n int, ts timestamp, day date)",
    "maria": "create table {}(id int primary key, n int, ts datetime(6), day date)",
    "snow": "create table {}(id int, n int, ts timestamp_ntz, day date, amount number(12,2))",
}
FIRST = ["1, 5, '2024-01-01 10:00', '2024-01-01'", "2, 6, '2024-01-01 10:00:00.5', '2024-01-02'"]
SECOND = ["3, 6, '2024-01-01 10:00:00.5', '2024-01-02'", "4, 9, '2024-02-01 10:00', '2024-02-01'"]
AMOUNT = {1: "1.25", 2: "7.50", 3: "7.50", 4: "7.51"}


def _insert(server: Any, kind: str, rows: list[str]) -> None:
    for name in SPELLINGS[kind]:
        for number, row in enumerate(rows, start=1 if rows is FIRST else 3):
            amount = f", {AMOUNT[number]}" if kind == "snow" else ""
            server.execute(f"insert into by_{name} values ({row}{amount})")


def _tables(kind: str, prefix: str) -> dict[str, Any]:
    return {
        f"{prefix}.by_{name}": {
            "mode": "incremental",
            "primary_key": ["id"],
            "cursor_field": name,
            "schema_changes": "freeze",
            "columns": {"types": {name: type_}},
        }
        for name, type_ in SPELLINGS[kind].items()
    }


def test_cursor_of_a_written_type_continues_in_every_database(
    tmp_path: Path, pg: Database, maria: MariaDatabase, snow: Account
) -> None:
    """Two runs and `verify`: rows at the cursor come once, and no type counts as changed.

    In Snowflake, whose names are in upper case, those of the project file are in lower case.
    """
    servers = {"pg": pg, "maria": maria, "snow": snow}
    sources = {
        "pg": {"type": "postgres", "url": pg.url, "tables": _tables("pg", "public")},
        "maria": {"type": "mysql", "url": maria.url, "tables": _tables("maria", maria.name)},
        "snow": snow.options | {"tables": _tables("snow", "public")},
    }
    project = tmp_path / "cdpsync.yml"
    project.write_text(json.dumps({"sources": sources}))
    for kind, server in servers.items():
        for name in SPELLINGS[kind]:
            server.execute(DDL[kind].format(f"by_{name}"))
    for rows, counts in ((FIRST, {2}), (SECOND, {4})):
        for kind, server in servers.items():
            _insert(server, kind, rows)
        result = sync.run(project)
        assert result.status is RunStatus.OK, [table.error for table in result.tables]
        assert {table.rows_in_table for table in result.tables} == counts
        assert {table.rows_inserted for table in result.tables} == {2}
    assert {str(found.status) for found in verify(project)} == {"equal"}
    types = query(
        "select column_name || ' ' || data_type from information_schema.columns "
        "where table_schema = 'snow' and table_name = 'by_' || lower(column_name)",
        project,
    )
    assert {text for (text,) in types} == {
        "N BIGINT", "TS TIMESTAMP_NS", "DAY TIMESTAMP", "AMOUNT DECIMAL(20,4)",
    }  # fmt: skip
