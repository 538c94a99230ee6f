"""Snapshots that several connections of one read share."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ReadError
from cdpsync.sql import quote_text
from cdpsync_connectors.postgres.locks import is_lock_timeout, lock_message
from cdpsync_connectors.postgres.relation_state import REWRITTEN, definition_sql

if TYPE_CHECKING:
    import psycopg
    from duckdb import DuckDBPyConnection

    from cdpsync_connectors.postgres.catalog import Relation
    from cdpsync_connectors.postgres.connections import Sessions


@dataclass(frozen=True, slots=True)
class SharedSnapshot:
    """The snapshot that the chunks of one read share.

    `exported_id` lets other connections import it; None where none can. `identity` identifies what
    the values of a row version depend on beside the version itself; None where that is unknown.
    `oldest_open` is the oldest transaction that was open. `row_bytes` is about what a row takes on
    disk. `definition` is set where the snapshot has ended before its rows are read, because there
    is only one connection: the columns that were planned.
    """

    sessions: Sessions
    exported_id: str | None
    identity: str | None = None
    oldest_open: str = ""
    row_bytes: float = 0.0
    definition: str | None = None

    @property
    def is_one_moment(self) -> bool:
        """Whether all chunks are read in this snapshot."""
        return self.exported_id is not None

    def open(self, con: DuckDBPyConnection, sql: str, relation: Relation) -> str:
        """Begin a statement's transaction on a DuckDB connection; return the database's name there.

        Where nothing holds a lock on the table yet, planning the statement takes it. Raises
        ReadError where the table was changed or rewritten since it was planned.
        """
        sessions = self.sessions
        is_single = self.definition is not None
        settings = sessions.relation_settings(self.exported_id)
        if not is_single:
            alias = quote_text(sessions.attach(con))
            con.execute(f"call postgres_execute({alias}, {quote_text(settings)})")
            return alias
        alias = quote_text(sessions.attach(con, keeps_connections=False))
        start = quote_text(f"{settings}; explain {sql}")

        def begin() -> None:
            con.rollback()
            con.begin()
            con.execute(f"call postgres_execute({alias}, {start})")

        try:
            sessions.retry_refused(begin)
        except Exception as error:
            if not is_lock_timeout(error):
                raise
            con.rollback()
            con.begin()
            raise ReadError(lock_message(sessions, relation.sql)) from error
        state = quote_text(f"select ({REWRITTEN}), ({definition_sql(relation)})")
        row = con.execute(f"select * from postgres_query({alias}, {state})").fetchone()
        if row != (False, self.definition):
            raise ReadError(
                f"{sessions.location}: {relation.sql} was changed as its read began.",
                retryable=True,
            )
        return alias


class SnapshotExporter:
    """Exports snapshots, where the database's connections can import them.

    A pooler or balancer may give the next connection to another server, so the first snapshot is
    tried. Safe from many threads.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._is_possible: bool | None = None
        self._guard = threading.Lock()

    def export(self, con: psycopg.Connection[Any]) -> str | None:
        """Return the id of the connection's snapshot; None where no other one can import it."""
        import psycopg

        if self._is_possible is False:
            return None
        try:
            row = con.execute("select pg_export_snapshot()").fetchone()
            snapshot_id = str(row[0]) if row else None
        except psycopg.DatabaseError:
            if con.closed:
                raise
            self._is_possible = False
            self._sessions.begin_snapshot(con)
            return None
        with self._guard:
            if self._is_possible is None:
                self._is_possible = snapshot_id is not None and self._can_import(snapshot_id)
        return snapshot_id if self._is_possible else None

    def _can_import(self, snapshot_id: str) -> bool:
        import psycopg

        with self._sessions.lend() as con, self._sessions.snapshot(con):
            try:
                con.execute(f"set transaction snapshot {quote_text(snapshot_id)}".encode())
            except psycopg.DatabaseError:
                if con.closed:
                    raise
                return False
        return True
