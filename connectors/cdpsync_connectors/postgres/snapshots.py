"""Snapshots that several connections of one read share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from cdpsync.sql import quote_text

if TYPE_CHECKING:
    import psycopg

    from cdpsync_connectors.postgres.connections import Sessions


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
            con.execute("rollback")
            con.execute("begin isolation level repeatable read, read only")
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
