"""A table of each vendor into a lake: a first run, a run after changes, and `verify`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.api_billing import Paddle, Polar, moment
from support.api_cloud import DoIt, Frankfurter
from support.api_crm import Attio, Vitally
from support.api_messaging import CustomerIo, Mailjet
from support.api_server import Number, serving

from cdpsync import query, run
from cdpsync.model.verification import VerifyStatus
from cdpsync.verify.verifier import verify

if TYPE_CHECKING:
    from pathlib import Path

    from support.api_vendor import Row, VendorServer

    from cdpsync.model import TableResult

INCREMENTAL: list[tuple[type[VendorServer], str, str]] = [
    (Polar, "events", "timestamp"),
    (Paddle, "transactions", "updated_at"),
    (CustomerIo, "messages", "created"),
    (Mailjet, "messages", "ArrivedAt"),
    (Vitally, "accounts", "updatedAt"),
    (DoIt, "anomalies", "startTime"),
    (Frankfurter, "rates", "date"),
]


class Project:
    """A project with one table of a vendor."""

    def __init__(self, folder: Path, server: VendorServer, stream: str, **table: Any) -> None:
        self.file = folder / "cdpsync.yml"
        self.stream = stream
        source = {"type": server.type, **server.options, "rate": "1000/s"}
        source["tables"] = {stream: table}
        self.file.write_text(json.dumps({"sources": {"vendor": source}}))

    def run(self) -> TableResult:
        (result,) = run(self.file).tables
        assert result.error is None, result.error
        return result

    def keys(self, *names: str) -> list[tuple[Any, ...]]:
        return query(f"select {', '.join(names)} from vendor.{self.stream}", self.file)

    def is_verified(self) -> bool:
        (result,) = verify(self.file)
        return result.status is VerifyStatus.EQUAL


@pytest.mark.parametrize(
    ("vendor", "stream", "field"), INCREMENTAL, ids=[vendor.type for vendor, _, _ in INCREMENTAL]
)
def test_incremental(tmp_path: Path, vendor: type[VendorServer], stream: str, field: str) -> None:
    with serving(vendor()) as server:
        rows = server.rows[stream]
        del rows[30:]
        project = Project(tmp_path, server, stream, mode="incremental", cursor_field=field)
        assert project.run().rows_in_table == 30
        if vendor is not Frankfurter:  # which adds days, and changes no row
            rows[3] = {**rows[3], "note": "changed", field: later(rows, field, 1)}
        rows.append({**rows[4], **new_key(rows), field: later(rows, field, 2)})
        result = project.run()
        assert result.rows_in_table == 31
        assert len(project.keys("*")) == 31
        assert project.is_verified()
        assert project.run().rows_inserted == 0


def later(rows: list[Row], field: str, step: int) -> Any:
    last = max(str(row[field]) for row in rows)
    if last.isdigit():
        return int(last) + step * 1000
    return "2027-01-31" if len(last) == 10 else moment(1_000_000 + step * 10)


def new_key(rows: list[Row]) -> Row:
    """Return the key of a row that comes after all others; a day and its currency have none."""
    name = next((name for name in ("id", "ID") if name in rows[0]), None)
    if name is None:
        return {"rate": Number("1.5")}
    last = max(rows, key=lambda row: str(row[name]))[name]
    return {name: last + 1 if isinstance(last, int) else f"{last[:-1]}z"}


def test_full_table_of_records(tmp_path: Path) -> None:
    """Attio has no filter for changes; a key stands inside its id."""
    with serving(Attio()) as server:
        project = Project(tmp_path, server, "list_entries", mode="full_table")
        assert project.run().rows_in_table == 1010
        entries = server.rows["list_entries"]
        del entries[5]
        entries[6] = {**entries[6], "values": {"stage": "won"}}
        result = project.run()
        assert (result.rows_in_table, result.rows_updated, result.rows_deleted) == (1009, 1, 1)
        assert sorted(project.keys("entry_id", "id->>'entry_id'")) == [
            (entry["id"]["entry_id"],) * 2 for entry in entries
        ]
        assert project.is_verified()


def test_append_only_events(tmp_path: Path) -> None:
    """Two events share each time: those at the cursor come again, and are not added again."""
    with serving(Polar()) as server:
        events = server.rows["events"]
        held, server.rows["events"] = events[101:], events[:101]
        table = {"mode": "append_only", "cursor_field": "timestamp"}
        project = Project(tmp_path, server, "events", **table)
        assert project.run().rows_in_table == 101
        server.rows["events"] += held
        assert project.run().rows_in_table == 230
        assert sorted(project.keys("id")) == [(event["id"],) for event in events]
        assert project.is_verified()


def test_deleted_customers_leave_the_lake(tmp_path: Path) -> None:
    with serving(Vitally()) as server:
        table = {"mode": "incremental", "cursor_field": "updatedAt", "deletes": "hard"}
        project = Project(tmp_path, server, "users", **table)
        assert project.run().rows_in_table == 230
        del server.rows["users"][7]
        result = project.run()
        assert (result.rows_in_table, result.rows_deleted) == (229, 1)
        assert project.is_verified()
