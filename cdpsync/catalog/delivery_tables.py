"""The system tables of destinations: positions and health, deliveries, dead letters and masks."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cdpsync.catalog import ducklake
from cdpsync.catalog.transaction import transaction
from cdpsync.model.deliveries import (
    DeadLetter,
    DeliveryRecord,
    DeliveryResult,
    DestinationState,
    Health,
    HealthState,
    MaskWindow,
    Position,
)
from cdpsync.model.results import Failure
from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    import duckdb

KEPT = timedelta(days=90)
"""How long deliveries and dead letters are kept."""

_MIN_OLD = 1_000  # rows; because fewer are not worth a new table

_DESTINATION_COLUMNS = {
    "name": "varchar",
    "source": "varchar",
    "table_uuid": "varchar",
    "snapshot_id": "bigint",
    "snapshot_time": "timestamptz",
    "outbox": "varchar",
    "state": "varchar",
    "tokens": "double",
    "state_at": "timestamptz",
    "counted_at": "timestamptz",
    "probes": "integer",
    "reason": "varchar",
    "config": "varchar",
    "held": "bigint",
    "held_since": "timestamptz",
    "last_delivery_at": "timestamptz",
    "hold_seconds": "double",
}
_DELIVERY_COLUMNS = {
    "run_id": "varchar",
    "started_at": "timestamptz",
    "finished_at": "timestamptz",
    "destination": "varchar",
    "table_name": "varchar",
    "status": "varchar",
    "state": "varchar",
    "triggered": "bigint",
    "filtered": "bigint",
    "masked": "bigint",
    "succeeded": "bigint",
    "held": "bigint",
    "dead": "bigint",
    "retried": "bigint",
    "requests": "bigint",
    "bytes_sent": "bigint",
    "p50_ms": "double",
    "p95_ms": "double",
    "seconds": "double",
    "error_type": "varchar",
    "error_message": "varchar",
    "notices": "varchar",
}
_DEAD_LETTER_COLUMNS = {
    "id": "varchar",
    "destination": "varchar",
    "table_name": "varchar",
    "key": "varchar",
    "change": "varchar",
    "snapshot_id": "bigint",
    "event_id": "varchar",
    "method": "varchar",
    "url": "varchar",
    "body": "varchar",
    "status": "integer",
    "response": "varchar",
    "error": "varchar",
    "attempts": "integer",
    "first_at": "timestamptz",
    "last_at": "timestamptz",
    "replayed_at": "timestamptz",
}
_MASK_COLUMNS = {
    "destination": "varchar",
    "hash": "varchar",
    "window_start": "timestamptz",
    "seen": "bigint",
}
_TABLES = {
    "destinations": _DESTINATION_COLUMNS,
    "deliveries": _DELIVERY_COLUMNS,
    "dead_letters": _DEAD_LETTER_COLUMNS,
    "masks": _MASK_COLUMNS,
}
_RESULT_FIELDS = [field.name for field in fields(DeliveryResult) if field.name in _DELIVERY_COLUMNS]

_LATEST_DELIVERIES = """
    from lake.cdpsync.deliveries
    qualify row_number() over (partition by destination order by rowid desc) = 1
"""

_DEAD_BY_DESTINATION = """
    select destination, count(*) from lake.cdpsync.dead_letters
    where replayed_at is null
    group by destination
"""


class DeliveryTables:
    """The tables of destinations in an open lake, through a connection of `CatalogFile`.

    They exist from the first delivery on. Until then every reader finds nothing.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con
        self._exist = self._look()

    def _look(self) -> bool:
        """Whether the tables exist. DuckDB's own list of tables takes ten times as long."""
        import duckdb

        try:
            self.con.execute("select 1 from lake.cdpsync.destinations limit 0")
        except duckdb.CatalogException:
            return False
        return True

    def prepare(self) -> None:
        """Create the tables. The system tables must have been prepared before."""
        if self._exist:
            return
        with transaction(self.con, "system tables"):
            for name, columns in _TABLES.items():
                listed = ", ".join(f"{column} {type_}" for column, type_ in columns.items())
                self.con.execute(f"create table if not exists lake.cdpsync.{name} ({listed})")
        self._exist = True

    # ---- reading

    def states(self) -> dict[str, DestinationState]:
        """Return the state of each destination that was ever sent to, by its name."""
        return {row["name"]: _state(row) for row in self._rows("from lake.cdpsync.destinations")}

    def pinned(self, now: datetime) -> datetime | None:
        """Return the time of the oldest position that expiry must not pass, or None.

        A position older than its destination's `hold` pins no longer: the destination is stale.
        """
        times = [
            state.position.snapshot_time
            for state in self.states().values()
            if state.position is not None and now - state.position.snapshot_time <= state.hold
        ]
        return min(times, default=None)

    def latest_deliveries(self) -> dict[str, DeliveryRecord]:
        """Return the record of the last send of each destination, by its name."""
        return {row["destination"]: _record(row) for row in self._rows(_LATEST_DELIVERIES)}

    def deliveries(self) -> tuple[DeliveryRecord, ...]:
        """Return the record of every send, newest first."""
        rows = self._rows("from lake.cdpsync.deliveries order by rowid desc")
        return tuple(_record(row) for row in rows)

    def dead_counts(self) -> dict[str, int]:
        """Count the dead letters of each destination that were not replayed."""
        if not self._exist:
            return {}
        return dict(self.con.execute(_DEAD_BY_DESTINATION).fetchall())

    def dead_letters(
        self, destinations: Sequence[str], where: str | None = None, limit: int | None = None
    ) -> tuple[DeadLetter, ...]:
        """Return the dead letters of these destinations that were not replayed, oldest first.

        `where` is SQL over the table's columns. Raises duckdb.Error where it is wrong.
        """
        if not self._exist:
            return ()
        condition = f"and ({where})" if where else ""
        rows = self._rows(
            "from (select rowid as letter_order, * from lake.cdpsync.dead_letters) "
            f"where replayed_at is null and list_contains(?, destination) {condition} "
            f"order by letter_order {f'limit {limit}' if limit else ''}",
            [list(destinations)],
        )
        return tuple(_letter(row) for row in rows)

    def masks(self, destination: str) -> tuple[MaskWindow, ...]:
        """Return what a destination's mask has seen."""
        # No parameter, because DuckDB imports numpy for the first one: 0.4 s.
        rows = self._rows(f"from lake.cdpsync.masks where destination = {quote_text(destination)}")
        return tuple(MaskWindow(row["hash"], row["window_start"], row["seen"]) for row in rows)

    # ---- writing, inside a transaction of the caller's

    def save(self, state: DestinationState) -> None:
        """Replace the state of a destination."""
        self.con.execute("delete from lake.cdpsync.destinations where name = ?", [state.name])
        self._insert("destinations", _DESTINATION_COLUMNS, [_state_row(state)])

    def record(self, record: DeliveryRecord) -> None:
        """Add what came of a send to the history."""
        self._insert("deliveries", _DELIVERY_COLUMNS, [_record_row(record)])

    def add_dead_letters(self, letters: Iterable[DeadLetter]) -> None:
        """Add changes that could not be delivered."""
        self._insert(
            "dead_letters", _DEAD_LETTER_COLUMNS, [_letter_row(letter) for letter in letters]
        )

    def mark_replayed(self, ids: Sequence[str], now: datetime) -> None:
        """Mark dead letters that were delivered after all."""
        self.con.execute(
            "update lake.cdpsync.dead_letters set replayed_at = ? where list_contains(?, id)",
            [now, list(ids)],
        )

    def drop_dead_letters(self, ids: Sequence[str]) -> None:
        """Delete dead letters."""
        self.con.execute(
            "delete from lake.cdpsync.dead_letters where list_contains(?, id)", [list(ids)]
        )

    def save_masks(self, destination: str, windows: Iterable[MaskWindow]) -> None:
        """Replace what a destination's mask has seen."""
        self.con.execute("delete from lake.cdpsync.masks where destination = ?", [destination])
        self._insert(
            "masks",
            _MASK_COLUMNS,
            [
                {
                    "destination": destination,
                    "hash": window.hash,
                    "window_start": window.start,
                    "seen": window.seen,
                }
                for window in windows
            ],
        )

    def prune(self, now: datetime, *, dry_run: bool = False) -> int:
        """Delete old deliveries and dead letters, and superseded states; return how many.

        The tables are created again, because DuckLake keeps deleted rows inside the catalog.
        """
        if not self._exist:
            return 0
        removed = 0
        for table, column in (("deliveries", "started_at"), ("dead_letters", "last_at")):
            old = self._count(f"{table} where {column} < $1", [now - KEPT])
            if old >= _MIN_OLD:
                self._recreate(f"{table} where {column} >= $1::timestamptz", [now - KEPT], dry_run)
                removed += old
        for table in ("destinations", "masks"):
            old = ducklake.inlined_rows(self.con, ducklake.system_table(table)) - self._count(table)
            if old >= _MIN_OLD:
                self._recreate(table, [], dry_run)
                removed += old
        return removed

    def _count(self, rows: str, values: Sequence[object] = ()) -> int:
        row = self.con.execute(f"select count(*) from lake.cdpsync.{rows}", values).fetchone()
        return int(row[0]) if row else 0

    def _recreate(self, rows: str, values: Sequence[object], dry_run: bool) -> None:
        table = rows.split()[0]
        if dry_run:
            return
        with transaction(self.con, "system tables"):
            self.con.execute(
                f"create or replace table lake.cdpsync.{table} as from lake.cdpsync.{rows}", values
            )

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:  # Any: rows
        if not self._exist:
            return []
        result = self.con.execute(sql, values)
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def _insert(
        self, table: str, columns: Mapping[str, str], rows: Sequence[Mapping[str, object]]
    ) -> None:
        """Insert rows in one statement of lists, because dead letters may be many."""
        if not rows:
            return
        lists = ", ".join(f"unnest(?::{type_}[])" for type_ in columns.values())
        self.con.execute(
            f"insert into lake.cdpsync.{table} ({', '.join(columns)}) select {lists}",
            [[row[name] for row in rows] for name in columns],
        )


# ---- rows: from values and back


def _state_row(state: DestinationState) -> dict[str, object]:
    position, health = state.position, state.health
    return {
        "name": state.name,
        "source": state.source,
        "table_uuid": position and position.table_uuid,
        "snapshot_id": position and position.snapshot_id,
        "snapshot_time": position and position.snapshot_time,
        "outbox": state.outbox,
        "state": health.state.value,
        "tokens": health.tokens,
        "state_at": health.since,
        "counted_at": health.counted_at,
        "probes": health.probes,
        "reason": health.reason,
        "config": state.config,
        "held": state.held,
        "held_since": state.held_since,
        "last_delivery_at": state.last_delivery_at,
        "hold_seconds": state.hold.total_seconds(),
    }


def _state(row: dict[str, Any]) -> DestinationState:  # Any: a row of the database
    position = None
    if row["snapshot_id"] is not None:
        position = Position(
            row["name"], row["source"], row["table_uuid"], row["snapshot_id"], row["snapshot_time"]
        )
    return DestinationState(
        name=row["name"],
        source=row["source"],
        position=position,
        health=Health(
            HealthState(row["state"]),
            row["tokens"],
            row["state_at"],
            row["probes"],
            row["reason"],
            row["counted_at"],
        ),
        outbox=row["outbox"],
        config=row["config"],
        held=row["held"],
        held_since=row["held_since"],
        last_delivery_at=row["last_delivery_at"],
        hold=timedelta(seconds=row["hold_seconds"]),
    )


def _record_row(record: DeliveryRecord) -> dict[str, object]:
    result = record.result
    return {name: getattr(result, name) for name in _RESULT_FIELDS} | {
        "run_id": record.run_id,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "table_name": result.source,
        "state": result.state and result.state.value,
        "error_type": result.error and result.error.type,
        "error_message": result.error and result.error.message,
        "notices": json.dumps(result.notices) if result.notices else None,
    }


def _record(row: dict[str, Any]) -> DeliveryRecord:  # Any: a row of the database
    values: dict[str, Any] = {name: row[name] for name in _RESULT_FIELDS}
    error = None
    if row["error_type"] is not None:
        error = Failure(row["error_type"], row["error_message"])
    values |= {
        "source": row["table_name"],
        "state": HealthState(row["state"]) if row["state"] else None,
        "error": error,
        "notices": tuple(json.loads(row["notices"])) if row["notices"] else (),
    }
    return DeliveryRecord(
        row["run_id"], row["started_at"], row["finished_at"], DeliveryResult(**values)
    )


def _letter_row(letter: DeadLetter) -> dict[str, object]:
    row: dict[str, object] = {field.name: getattr(letter, field.name) for field in fields(letter)}
    return row | {"table_name": letter.source}


def _letter(row: dict[str, Any]) -> DeadLetter:  # Any: a row of the database
    names = [field.name for field in fields(DeadLetter) if field.name != "source"]
    return DeadLetter(source=row["table_name"], **{name: row[name] for name in names})
