"""One read of a table: its snapshot, the limit of its cursor, its chunks."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ReadError
from cdpsync.model import CursorType
from cdpsync_connectors.postgres.chunks import (
    PAGE,
    PostgresChunk,
    chunks_of,
    cut,
    finds_by_bitmaps,
    scans_much,
)
from cdpsync_connectors.postgres.padding import padding_of
from cdpsync_connectors.postgres.relation_state import (
    fetch_definition,
    fetch_identity,
    fetch_leaves,
    was_rewritten,
)
from cdpsync_connectors.postgres.safe_cursor import (
    CursorLimitedChunks,
    NumberLimit,
    TimeLimit,
    cursor_kind,
    safe_number,
    unlimited,
)
from cdpsync_connectors.postgres.select import explain, find_relation, select_rows
from cdpsync_connectors.postgres.snapshots import SharedSnapshot
from cdpsync_connectors.postgres.transactions import (
    fetch_clock,
    fetch_horizon,
    is_idle_since,
    next_transaction,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from datetime import datetime

    import psycopg

    from cdpsync.connector import ReadRequest
    from cdpsync_connectors._shared.rate_limit import RowLimiter
    from cdpsync_connectors.postgres.connections import Sessions
    from cdpsync_connectors.postgres.replica import Replica
    from cdpsync_connectors.postgres.safe_cursor import Limit
    from cdpsync_connectors.postgres.snapshots import SnapshotExporter
    from cdpsync_connectors.postgres.transactions import Horizon

_SNAPSHOTS = 5  # that are opened of a table which is emptied again and again


@dataclass(frozen=True, slots=True)
class ReadSource:
    """The parts that all reads of one source share.

    `sessions` are those that rows come from: the replica's, where there is one. `primary` are the
    same ones where there is none. `is_single` is whether there is only one connection, so that
    the snapshot of a read ends before its rows are read. `translated` turns the driver's errors
    into ours.
    """

    sessions: Sessions
    primary: Sessions
    replica: Replica | None
    exporter: SnapshotExporter
    limiter: RowLimiter | None
    nan_is_null: bool
    is_single: Callable[[], bool]
    translated: Callable[[], AbstractContextManager[None]]


class TableRead:
    """One read, from the open connections to its chunks.

    `con` reads the rows, and its snapshot stays open until `stack` is closed. `primary` is asked
    which transactions are open; it is the same connection where there is no replica.
    """

    def __init__(
        self,
        source: ReadSource,
        request: ReadRequest,
        con: psycopg.Connection[Any],
        primary: psycopg.Connection[Any],
        stack: ExitStack,
    ) -> None:
        self._source = source
        self._request = request
        self._con = con
        self._primary = primary
        self._stack = stack
        self._is_single = source.is_single()

    def open(self) -> Iterable[PostgresChunk]:
        """Open the snapshot; return its chunks, which limit the next cursor if there is one."""
        if self._request.cursor_field is None:
            self._catch_up()
            return self._open_snapshot()
        if cursor_kind(self._request) in {CursorType.INTEGER, CursorType.DECIMAL}:
            return self._open_limited_by_number()
        return self._open_limited_by_time()

    def _catch_up(self) -> None:
        """Wait until the replica, if one is read, has all that the primary has now."""
        if self._source.replica is not None:
            self._source.replica.catch_up(self._primary, self._con, self._request.is_stopped)

    def _open_limited_by_time(self) -> CursorLimitedChunks:
        """Open the snapshot after the primary was asked for its open transactions."""
        horizon = fetch_horizon(self._primary)
        self._catch_up()
        chunks = self._open_snapshot()

        is_one_moment = chunks[0].snapshot.is_one_moment
        follows_zone = cursor_kind(self._request) is CursorType.TIMESTAMPTZ
        opened_at = fetch_clock(self._primary) if is_one_moment and not follows_zone else None

        def read_until() -> datetime:
            if opened_at is not None:
                return opened_at
            with self._source.translated(), self._source.primary.lend() as primary:
                return fetch_clock(primary)

        return CursorLimitedChunks(chunks, self._request, TimeLimit(horizon, read_until), horizon)

    def _open_limited_by_number(self) -> CursorLimitedChunks:
        """Open the snapshot; open another one if a transaction was writing."""
        self._catch_up()
        idle_chunks = None if self._is_single else self._open_while_idle()
        if idle_chunks is not None:
            return CursorLimitedChunks(idle_chunks, self._request, unlimited)
        self._source.primary.begin(self._primary)
        horizon = fetch_horizon(self._primary)
        limit = self._number_limit(horizon)
        self._catch_up()
        return CursorLimitedChunks(self._open_snapshot(), self._request, limit, horizon)

    def _open_while_idle(self) -> list[PostgresChunk] | None:
        """Open a snapshot; return its chunks if no transaction was writing, else close it."""
        with ExitStack() as opened:
            opened.enter_context(self._source.sessions.snapshot(self._con))
            transaction = next_transaction(self._con)
            if transaction is None or not is_idle_since(self._primary, transaction):
                return None
            chunks = self._cut()
            if not chunks[0].snapshot.is_one_moment or was_rewritten(self._con):
                return None
            self._stack.push(opened.pop_all())
            return chunks

    def _number_limit(self, horizon: Horizon) -> Limit:
        """Return the limit of a number; on a standby, which knows no writers, trust a lookback."""
        if horizon.is_standby:
            return unlimited if self._request.looks_back else NumberLimit(None)
        if self._con is not self._primary:
            self._source.sessions.begin(self._con)
        relation = find_relation(self._con, self._request)
        return NumberLimit(safe_number(self._primary, relation, self._request.cursor_field or ""))

    def _open_snapshot(self) -> list[PostgresChunk]:
        """Open a snapshot; open another one if the table was rewritten before it could be locked.

        A TRUNCATE or a rewrite removes the rows that an older snapshot would see.
        """
        for _ in range(_SNAPSHOTS):
            with ExitStack() as opened:
                opened.enter_context(self._source.sessions.snapshot(self._con))
                chunks = self._cut()
                if not was_rewritten(self._con):
                    self._stack.push(opened.pop_all())
                    return chunks
        raise ReadError(
            f'table "{self._request.stream.name}" was emptied or rewritten each of the '
            f"{_SNAPSHOTS} times that a read of it began. Nothing was read. Run again when that is "
            "over."
        )

    def _cut(self) -> list[PostgresChunk]:
        """Return the chunks of the open snapshot."""
        con, request, source = self._con, self._request, self._source
        exported_id = None if self._is_single else source.exporter.export(con)
        relation = find_relation(con, request)
        select = select_rows(con, request, relation, nan_is_null=source.nan_is_null)
        plan = explain(con, select, request)
        # One bitmap for "above or NULL" does not fit into memory for many pages. A view is read
        # once, because it would be computed for each window.
        separate = relation.kind != "view" and finds_by_bitmaps(plan)
        select = replace(select, separate_windows=separate)
        can_cut = (
            exported_id is not None
            and con.info.server_version >= 140000  # older ones read all pages for a range
            and relation.kind in {"table", "materialized view"}
            and (not select.is_filtered or scans_much(plan))
        )
        leaves = fetch_leaves(con, relation) if can_cut else ()
        planned_rows = float(plan["Plan Rows"])
        if source.limiter is not None:
            request = replace(request, workers=source.limiter.parts(planned_rows))
        groups = cut(leaves, request)
        pages = sum(leaf.pages + leaf.toast_pages for leaf in leaves)
        row_bytes = pages * PAGE / max(relation.estimated_rows or planned_rows, 1.0)
        padding = padding_of(relation, select.columns, row_bytes)
        snapshot = SharedSnapshot(source.sessions, exported_id, row_bytes=row_bytes)
        if request.stable_chunks or len(groups) > 1:
            identity, oldest_open = fetch_identity(con, relation, request)
            snapshot = replace(snapshot, identity=identity, oldest_open=oldest_open)
        if self._is_single:
            snapshot = replace(snapshot, definition=fetch_definition(con, relation))
        chunks = chunks_of(snapshot, replace(select, padding=padding), groups)
        if source.limiter is None:
            return chunks
        wait = partial(source.limiter.wait, planned_rows / len(chunks), request.is_stopped)
        return [replace(chunk, wait_for_turn=wait) for chunk in chunks]
