"""The system tables of destinations: positions and health, deliveries, dead letters and masks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cdpsync.catalog import ducklake
from cdpsync.catalog.delivery_rows import (
    DEAD_LETTER_COLUMNS,
    DELIVERY_COLUMNS,
    DESTINATION_COLUMNS,
    MASK_COLUMNS,
    letter_of,
    letter_row,
    record_of,
    record_row,
    state_of,
    state_row,
)
from cdpsync.catalog.transaction import transaction
from cdpsync.model.deliveries import (
    DeadLetter,
    DeliveryRecord,
    DestinationState,
    MaskWindow,
)
from cdpsync.sql import quote_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    import duckdb

KEPT = timedelta(days=90)
"""How long deliveries and dead letters are kept."""

_MIN_OLD = 1_000  # rows; because fewer are not worth a new table

_TABLES = {
    "destinations": DESTINATION_COLUMNS,
    "deliveries": DELIVERY_COLUMNS,
    "dead_letters": DEAD_LETTER_COLUMNS,
    "masks": MASK_COLUMNS,
}

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
        return {row["name"]: state_of(row) for row in self._rows("from lake.cdpsync.destinations")}

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
        return {row["destination"]: record_of(row) for row in self._rows(_LATEST_DELIVERIES)}

    def deliveries(self) -> tuple[DeliveryRecord, ...]:
        """Return the record of every send, newest first."""
        rows = self._rows("from lake.cdpsync.deliveries order by rowid desc")
        return tuple(record_of(row) for row in rows)

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
        return tuple(letter_of(row) for row in rows)

    def masks(self, destination: str) -> tuple[MaskWindow, ...]:
        """Return what a destination's mask has seen."""
        # No parameter, because DuckDB imports numpy for the first one: 0.4 s.
        rows = self._rows(f"from lake.cdpsync.masks where destination = {quote_text(destination)}")
        return tuple(MaskWindow(row["hash"], row["window_start"], row["seen"]) for row in rows)

    # ---- writing, inside a transaction of the caller's

    def save(self, state: DestinationState) -> None:
        """Replace the state of a destination."""
        self.con.execute("delete from lake.cdpsync.destinations where name = ?", [state.name])
        self._insert("destinations", DESTINATION_COLUMNS, [state_row(state)])

    def record(self, record: DeliveryRecord) -> None:
        """Add what came of a send to the history."""
        self._insert("deliveries", DELIVERY_COLUMNS, [record_row(record)])

    def add_dead_letters(self, letters: Iterable[DeadLetter]) -> None:
        """Add changes that could not be delivered."""
        self._insert(
            "dead_letters", DEAD_LETTER_COLUMNS, [letter_row(letter) for letter in letters]
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
            MASK_COLUMNS,
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
