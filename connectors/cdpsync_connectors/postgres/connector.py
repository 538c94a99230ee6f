"""Postgres: its catalogs as streams, its rows through DuckDB's scanner, exactly.

A read holds one REPEATABLE READ transaction and hands its snapshot to every chunk, so that the
chunks, read at once by many connections, are parts of one moment.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from cdpsync.connector import ConcurrencyLimit
from cdpsync.errors import ConnectorError, ReadError
from cdpsync.model import Column, CursorType, Stream
from cdpsync_connectors._shared.naming import likely_cursors, matches, refuse_idle, split_pair
from cdpsync_connectors._shared.rate_limit import RowLimiter
from cdpsync_connectors.postgres.catalog import (
    Relation,
    fetch_identity,
    fetch_leaves,
    fetch_relations,
    fetch_schemas,
    quote_literal,
    quote_name,
    was_rewritten,
)
from cdpsync_connectors.postgres.chunks import (
    PAGE,
    PostgresChunk,
    View,
    chunks_of,
    cut,
    finds_by_bitmaps,
    scans_much,
)
from cdpsync_connectors.postgres.connections import Sessions
from cdpsync_connectors.postgres.errors import translate_connecting, translate_reading
from cdpsync_connectors.postgres.options import PostgresOptions
from cdpsync_connectors.postgres.replica import catch_up, refuse_stranger, written
from cdpsync_connectors.postgres.safe_cursor import (
    NumberLimit,
    SettledChunks,
    TimeLimit,
    cursor_kind,
    settled_number,
    unlimited,
)
from cdpsync_connectors.postgres.select import explain, find_relation, select_rows
from cdpsync_connectors.postgres.transactions import (
    fetch_clock,
    fetch_horizon,
    is_idle_since,
    next_transaction,
)
from cdpsync_connectors.postgres.types import natural_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    import psycopg
    from pydantic import BaseModel

    from cdpsync.connector import ReadRequest
    from cdpsync_connectors.postgres.safe_cursor import Limit
    from cdpsync_connectors.postgres.transactions import Horizon

_VIEWS = 5  # that are opened of a table which is emptied again and again


class PostgresConnector:
    """A Postgres database, 10 or newer, as a source."""

    Options: ClassVar[type[BaseModel]] = PostgresOptions
    extensions: ClassVar[tuple[str, ...]] = ("postgres_scanner",)

    def __init__(self, options: BaseModel) -> None:
        if not isinstance(options, PostgresOptions):
            raise TypeError(
                f"PostgresConnector takes PostgresOptions, not {type(options).__name__}"
            )
        self._options = options
        most = options.max_connections
        self.concurrency_limit = (
            None if most is None else ConcurrencyLimit(most // 2, most - most // 2)
        )
        views = None if self.concurrency_limit is None else self.concurrency_limit.tables
        self._sessions = Sessions(options.parameters(), options.statement_timeout, views)
        self._replica: Sessions | None = None
        if options.replica is not None:
            told = options.replica_parameters()
            self._replica = Sessions(told, options.statement_timeout, views)
        self._rows = self._replica or self._sessions
        self._related = False
        self._pace = None if options.max_rate is None else RowLimiter(options.max_rate)
        self._snapshots_travel: bool | None = None
        self._trying = threading.Lock()

    def check(self) -> None:
        """Return when the database lets us in and answers; else raise ConnectError."""
        with self._sessions.lend() as con, self._translated(connecting=True):
            con.execute("select 1 from pg_catalog.pg_class limit 1").fetchone()
            if self._replica is not None:
                with self._replica.lend() as replica:
                    refuse_stranger(con, replica, self._replica.place)
            self._refuse_idle(con)

    def discover(self) -> Sequence[Stream]:
        """Return every table, view, materialised view, foreign table and partitioned parent."""
        with self._sessions.lend() as con, self._translated():
            self._refuse_idle(con)
            relations = fetch_relations(con)
        globs = self._options.schemas
        return [self._stream(one) for one in relations if matches(one.schema, globs)]

    def _refuse_idle(self, con: psycopg.Connection[Any]) -> None:
        if self._options.schemas is not None:
            place, names = self._sessions.place, fetch_schemas(con)
            refuse_idle(place, "schema", self._options.schemas, names)

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[PostgresChunk]]:
        """Hold one view of the stream open, and hand over its chunks; see `Connector.read`.

        Where a cursor is followed, what is handed over says how far it is settled.
        """
        with ExitStack() as held:
            con = held.enter_context(self._rows.lend())
            primary = con
            if self._replica is not None:
                primary = held.enter_context(self._sessions.lend())
            table = ".".join(
                quote_name(part) for part in split_pair(request.stream.name, "schema.table")
            )
            with self._translated(table):
                if request.cursor_field is None:
                    self._catch_up(primary, con, request)
                    found: Iterable[PostgresChunk] = self._view(con, request, held)
                elif cursor_kind(request) in {CursorType.INTEGER, CursorType.DECIMAL}:
                    found = self._settled_by_number(primary, con, request, held)
                else:
                    found = self._settled_by_time(primary, con, request, held)
            yield found
            chunks = list(found)
            if len(chunks) > 1 or chunks[0].view.snapshot is None:
                # The lock on the table goes with the view, and with it what stands on which page.
                with self._translated(table):
                    con.execute("select")

    def _catch_up(
        self, primary: psycopg.Connection[Any], con: psycopg.Connection[Any], request: ReadRequest
    ) -> None:
        """Wait until the replica, where one is read, has all that the primary has now."""
        if self._replica is None:
            return
        if not self._related:
            refuse_stranger(primary, con, self._replica.place)
            self._related = True
        catch_up(con, written(primary), self._replica.place, request.is_stopped)

    def _view(
        self, con: psycopg.Connection[Any], request: ReadRequest, held: ExitStack
    ) -> list[PostgresChunk]:
        """Open a view; another one where what is read was rewritten before it could be locked.

        Who empties or rewrites a table takes away what older views would see of it.
        """
        for _ in range(_VIEWS):
            with ExitStack() as opened:
                opened.enter_context(self._rows.view(con))
                chunks = self._chunks(con, request)
                if not was_rewritten(con):
                    held.push(opened.pop_all())
                    return chunks
        raise ReadError(
            f'table "{request.stream.name}" was emptied or rewritten each of the {_VIEWS} times '
            "that a read of it began. Nothing was read. Run again when that is over."
        )

    def _settled_by_time(
        self,
        primary: psycopg.Connection[Any],
        con: psycopg.Connection[Any],
        request: ReadRequest,
        held: ExitStack,
    ) -> SettledChunks:
        """Open the view, knowing what was open before."""
        horizon = fetch_horizon(primary)
        self._catch_up(primary, con, request)
        chunks = self._view(con, request, held)

        def now() -> datetime:
            with self._translated():
                return fetch_clock(primary)

        follows_zone = cursor_kind(request) is CursorType.TIMESTAMPTZ
        if chunks[0].view.snapshot is None or follows_zone:
            return SettledChunks(chunks, request, TimeLimit(horizon, now), horizon)
        began = fetch_clock(primary)
        return SettledChunks(chunks, request, TimeLimit(horizon, lambda: began), horizon)

    def _settled_by_number(
        self,
        primary: psycopg.Connection[Any],
        con: psycopg.Connection[Any],
        request: ReadRequest,
        held: ExitStack,
    ) -> SettledChunks:
        """Open the view; once more where somebody was writing."""
        self._catch_up(primary, con, request)
        with ExitStack() as first:
            first.enter_context(self._rows.view(con))
            number = next_transaction(con)
            if number is not None and is_idle_since(primary, number):
                chunks = self._chunks(con, request)
                if chunks[0].view.snapshot is not None and not was_rewritten(con):
                    held.push(first.pop_all())
                    return SettledChunks(chunks, request, unlimited)
        horizon = fetch_horizon(primary)
        limit = self._number_limit(primary, con, request, horizon)
        self._catch_up(primary, con, request)
        chunks = self._view(con, request, held)
        return SettledChunks(chunks, request, limit, horizon)

    def _number_limit(
        self,
        primary: psycopg.Connection[Any],
        con: psycopg.Connection[Any],
        request: ReadRequest,
        horizon: Horizon,
    ) -> Limit:
        """Return how far numbers are settled; a standby cannot tell, so a `lookback` is trusted."""
        if horizon.is_standby:
            return unlimited if request.looks_back else NumberLimit(None)
        relation = find_relation(con, request)
        return NumberLimit(settled_number(primary, relation, request.cursor_field or ""))

    def translate(self, error: Exception) -> ConnectorError | None:
        """Name an error that came out of reading a chunk; None when it is not Postgres'."""
        if isinstance(error, ConnectorError):
            return error
        return translate_reading(error, self._rows.place, quote_name(self._rows.user))

    def close(self) -> None:
        """Let go of every connection. May be called twice."""
        self._sessions.close()
        self._rows.close()

    @contextmanager
    def _translated(self, table: str | None = None, *, connecting: bool = False) -> Iterator[None]:
        import psycopg

        try:
            yield
        except psycopg.Error as error:
            place, user = self._rows.place, quote_name(self._rows.user)
            if connecting:
                raise translate_connecting(error, place) from error
            raise translate_reading(error, place, user, table) or ReadError(str(error)) from error

    def _stream(self, relation: Relation) -> Stream:
        keeps_name = relation.schema == self._options.omitted_schema
        key = relation.primary_key
        return Stream(
            name=relation.stream,
            table=relation.name if keeps_name else f"{relation.schema}_{relation.name}",
            columns=tuple(
                Column(c.name, natural_type(c), not (c.required or c.name in key), c.display)
                for c in relation.columns
            ),
            primary_key=key,
            cursor_fields=cursor_fields(relation),
            estimated_rows=relation.estimated_rows,
            kind=relation.kind,
            has_safe_cursor=True,
            identity=relation.identity,
        )

    def _export(self, con: psycopg.Connection[Any]) -> str | None:
        """Return a snapshot that other connections can take up, or None where none can.

        Poolers and balancers may hand a second connection to another server, so it is tried once.
        """
        import psycopg

        if self._snapshots_travel is False:
            return None
        try:
            row = con.execute("select pg_export_snapshot()").fetchone()
            snapshot = str(row[0]) if row else None
        except psycopg.DatabaseError:
            if con.closed:
                raise
            self._snapshots_travel = False
            con.execute("rollback")
            con.execute("begin isolation level repeatable read, read only")
            return None
        with self._trying:
            if self._snapshots_travel is None:
                self._snapshots_travel = snapshot is not None and self._can_import(snapshot)
        return snapshot if self._snapshots_travel else None

    def _can_import(self, snapshot: str) -> bool:
        import psycopg

        with self._rows.lend() as other, self._rows.view(other):
            try:
                other.execute(f"set transaction snapshot {quote_literal(snapshot)}".encode())
            except psycopg.DatabaseError:
                if other.closed:
                    raise
                return False
        return True

    def _chunks(self, con: psycopg.Connection[Any], request: ReadRequest) -> list[PostgresChunk]:
        snapshot = self._export(con)
        relation = find_relation(con, request)
        select = select_rows(con, request, relation, nan_is_null=self._options.on_nan == "null")
        plan = explain(con, select, request)
        # Bitmaps of "above or NULL" are too small for many pages; a view is not worked out twice.
        apart = relation.kind != "view" and finds_by_bitmaps(plan)
        select = replace(select, apart=apart)
        cuttable = (
            snapshot is not None
            and con.info.server_version >= 140000  # before, a range of pages reads every page
            and relation.kind in {"table", "materialized view"}
            and (not select.is_filtered or scans_much(plan))
        )
        leaves = fetch_leaves(con, relation) if cuttable else ()
        rows = float(plan["Plan Rows"])
        if self._pace is not None:
            request = replace(request, workers=self._pace.parts(rows))
        groups = cut(leaves, request)
        pages = sum(leaf.pages + leaf.toast_pages for leaf in leaves)
        there = relation.estimated_rows or rows
        view = View(self._rows, snapshot, row_bytes=pages * PAGE / max(there, 1.0))
        select = select.padded(view.row_bytes)
        if request.stable_chunks or len(groups) > 1:
            identity, moment = fetch_identity(con, relation, request)
            view = replace(view, identity=identity, moment=moment)
        chunks = chunks_of(view, select, groups)
        if self._pace is None:
            return chunks
        turn = partial(self._pace.wait, rows / len(chunks), request.is_stopped)
        return [replace(chunk, turn=turn) for chunk in chunks]


_ORDERED = {"int2", "int4", "int8", "date", "timestamp", "timestamptz"}


def cursor_fields(relation: Relation) -> tuple[str, ...]:
    """Return the columns that a cursor may follow, the likeliest first."""
    able = [
        (column.name, not column.kind.startswith("int"))
        for column in relation.columns
        if column.kind in _ORDERED and not column.dimensions
    ]
    return likely_cursors(able, relation.primary_key)
