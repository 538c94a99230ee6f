"""Rows of a destination as changes: for a preview, a test, and the replay of dead letters."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cdpsync.catalog.delivery_tables import DeliveryTables
from cdpsync.destinations.delivery.outbox import Outbox
from cdpsync.destinations.events import write_events
from cdpsync.destinations.feed_requests import feed_request, position_request, primary_keys
from cdpsync.destinations.feeds.feed import feed_of
from cdpsync.destinations.places import Places
from cdpsync.destinations.rendering import Rendering, render
from cdpsync.destinations.sendable import require_sendable
from cdpsync.destinations.templates.compile import compile_condition, row_of
from cdpsync.engine import connect, first_line
from cdpsync.errors import ConfigError
from cdpsync.model.deliveries import DestinationState
from cdpsync.project import catalog_of
from cdpsync.sql import fold_name, quote_name
from cdpsync.system import clock
from cdpsync.system.temp_dirs import temp_dir

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import duckdb

    from cdpsync.destinations.templates.compile import Row
    from cdpsync.model import Config
    from cdpsync.model.deliveries import DeadLetter
    from cdpsync.model.destinations import Destination

_ROWS = "create or replace temp table sampled as select c.* from changes as c where {condition}"
_OF_ROW = """
    event_id in (
        select event_id from (select event_id, unnest("row") from changes)
        where {row}
    )
"""

# Of a table without a key, a row is the letter's only if it came with the same snapshot.
_OF_LETTERS = """
    create or replace temp table sampled as
    select changes.* replace (l.event_id::uuid as event_id, l.change as change)
    from changes join letters as l
        on l.key = changes.key and ({has_key} or l.snapshot_id = changes.snapshot_id)
    where l.change <> 'delete' and {condition}
    union all by name
    select
        l.event_id::uuid as event_id, l.key, l.change, 0 as snapshot_id, now() as changed_at,
        0 as ord, coalesce(changes."row", {gone}) as "row", null as old
    from letters as l
    left join changes on changes.key = l.key
    where l.change = 'delete' and (changes.key is null or not {condition})
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """Some changes of a destination, rendered into an outbox that no send knows."""

    outbox: Outbox
    rendering: Rendering

    def event_ids(self) -> dict[int, str]:
        """Return the event of each change, by its number."""
        con = connect(threads=1)
        try:
            rows = con.execute(f"select seq, event_id from {self.outbox.relation}").fetchall()
        finally:
            con.close()
        return dict(rows)

    def of(self, seq: int) -> tuple[str, str]:
        """Return the key and the kind of a change."""
        con = connect(threads=1)
        try:
            row = con.execute(
                f"select key, change from {self.outbox.relation} where seq = ?", [seq]
            ).fetchone()
        finally:
            con.close()
        return row or ("", "")


@contextmanager
def sample(
    config: Config, destination: Destination, count: int, row: str | None = None
) -> Iterator[Sample]:
    """Render at most so many changes: those that are pending, else rows as they are now.

    `row` is SQL over the columns of a row: then the rows as they are now that fulfil it. Raises
    ConfigError where there is none.
    """
    require_sendable(destination)
    catalog = catalog_of(config)
    if not catalog.exists():
        raise ConfigError(f"{destination.name}: there is no lake yet. Load it: cdpsync run.")
    with (
        temp_dir(catalog.scratch, "sample-") as folder,
        catalog.reader(keep=False) as con,
    ):
        state = (
            DeliveryTables(con)
            .states()
            .get(destination.name, DestinationState(destination.name, destination.source, None))
        )
        is_pending = (
            row is None
            and state.position is not None
            and _read_pending(con, config, destination, state)
        )
        if not is_pending:
            _read_rows(con, config, destination, row)
        rendered = _rendered(con, replace(destination, mask=None), folder, count)
        if not rendered.outbox.rows:
            raise ConfigError(
                f"{destination.name}: no row fulfils its conditions. Choose another one: "
                '--row "id = 5".'
            )
        yield rendered


@contextmanager
def letters_as_sample(
    config: Config, destination: Destination, letters: Sequence[DeadLetter], snapshot: int | None
) -> Iterator[Sample]:
    """Render the rows of dead letters, as they were in a snapshot, or as they are now.

    A letter whose row is not there, or does not fulfil the conditions, is left out. Raises
    ConfigError where the snapshot has expired.
    """
    catalog = catalog_of(config)
    at = None if snapshot is None else str(snapshot)
    with (
        temp_dir(catalog.scratch, "replay-") as folder,
        catalog.reader(at, keep=False) as con,
    ):
        _read_rows(con, config, destination, None)
        con.execute(
            "create temp table letters as select unnest($1) as event_id, unnest($2) as key, "
            "unnest($3) as change, unnest($4) as snapshot_id",
            [
                [letter.event_id for letter in letters],
                [letter.key for letter in letters],
                [letter.change for letter in letters],
                [letter.snapshot_id for letter in letters],
            ],
        )
        row = row_of(con, "changes", destination.alias)
        condition = "true"
        if destination.where is not None:
            condition = compile_condition(row, destination.where)
        key = _key(con, config, destination)
        con.execute(
            _OF_LETTERS.format(
                has_key="true" if key else "false",
                condition=condition,
                gone=_gone_row(row, key),
            )
        )
        con.execute("create or replace temp table changes as from sampled")
        plain = replace(destination, mask=None, where=None, on_exit=False)
        yield _rendered(con, plain, folder, len(letters))


def _key(
    con: duckdb.DuckDBPyConnection, config: Config, destination: Destination
) -> tuple[str, ...]:
    nothing = DestinationState(destination.name, destination.source, None)
    places = Places(config, destination.name)
    return position_request(destination, primary_keys(con), places, nothing).key


def _gone_row(row: Row, key: Sequence[str]) -> str:
    """Return SQL of a deleted row: the columns of its key, from the texts of a letter's key."""
    places = {fold_name(name): place for place, name in enumerate(key)}
    parts = []
    for name, type_ in row.columns.items():
        place = places.get(fold_name(name))
        value = "null" if place is None else f"json_extract_string(l.key, '$[{place}]')"
        parts.append(f"{quote_name(name)} := {value}::{type_}")
    return f"struct_pack({', '.join(parts)})"


def _read_pending(
    con: duckdb.DuckDBPyConnection,
    config: Config,
    destination: Destination,
    state: DestinationState,
) -> bool:
    """Read what would be sent now; return whether there is anything."""
    feed = feed_of(feed_request(con, destination, Places(config, destination.name), state))
    if not feed.is_behind(con, state.position):
        return False
    return feed.read(con, state.position).total > 0


def _read_rows(
    con: duckdb.DuckDBPyConnection, config: Config, destination: Destination, row: str | None
) -> None:
    """Read all rows as they are now; keep those that fulfil `row`."""
    import duckdb

    nothing = DestinationState(destination.name, destination.source, None)
    places = Places(config, destination.name)
    feed_of(feed_request(con, destination, places, nothing)).read(con, None)
    if row is None:
        return
    try:
        con.execute(_ROWS.format(condition=_OF_ROW.format(row=row)))
        con.execute("create or replace temp table changes as from sampled")
    except duckdb.Error as error:
        raise ConfigError(f"--row: {first_line(error)}.") from error


def _rendered(
    con: duckdb.DuckDBPyConnection, destination: Destination, folder: Path, count: int
) -> Sample:
    events = write_events(
        con,
        destination,
        folder / "events.parquet",
        held=None,
        windows=(),
        now=clock.now(),
        limit=count,
    )
    rendering = render(destination, events.row, events.relation, with_attempts=False)
    outbox = Outbox.create(
        con,
        rendering.select,
        folder / "outbox",
        nonce=rendering.nonce,
        order=destination.order,
        item_bytes=destination.batch.item_bytes if destination.batch else None,
    )
    return Sample(outbox, rendering)
