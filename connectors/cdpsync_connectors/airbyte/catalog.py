"""A connector's catalog: its streams, and how a run reads each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cdpsync.model import ChangeLog, Stream
from cdpsync_connectors._bridge.json_schema import columns_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cdpsync.connector import ReadRequest

Json = dict[str, Any]  # Any: JSON, as the connector wrote it

_INCREMENTAL = "incremental"


@dataclass(frozen=True, slots=True)
class SourceStream:
    """One entry of a catalog."""

    entry: Json

    @property
    def name(self) -> str:
        """The stream's name."""
        return str(self.entry["name"])

    @property
    def key(self) -> tuple[str, ...]:
        """The fields that identify a record; none where one is inside of another field."""
        paths = self.entry.get("source_defined_primary_key") or []
        if any(len(path) != 1 for path in paths):
            return ()
        return tuple(str(path[0]) for path in paths)

    @property
    def follows_state(self) -> bool:
        """Whether the connector can go on from a state of this stream."""
        modes = self.entry.get("supported_sync_modes") or []
        return _INCREMENTAL in modes and bool(
            self.entry.get("source_defined_cursor") or self.entry.get("default_cursor_field")
        )

    @property
    def declared(self) -> dict[str, str]:
        """The types that the schema declares, by column."""
        return columns_of(self.entry.get("json_schema") or {}, self.key)[1]

    def stream(self, table_of: Callable[[str], str]) -> Stream:
        """Return the stream as cdpsync knows it."""
        columns, _ = columns_of(self.entry.get("json_schema") or {}, self.key)
        names = {column.name for column in columns}
        return Stream(
            self.name,
            table_of(self.name),
            columns,
            primary_key=self.key if names.issuperset(self.key) else (),
            kind="stream",
            key_enforced=False,
            open_schema=True,
            changes=ChangeLog(None) if self.follows_state else None,
        )

    def configured(self, request: ReadRequest) -> Json:
        """Return the entry of a configured catalog, for one read."""
        configured: Json = {
            "stream": self.entry,
            "sync_mode": _INCREMENTAL if request.follows_state else "full_refresh",
            "destination_sync_mode": "append",
        }
        cursor = self.entry.get("default_cursor_field")
        if request.follows_state and cursor:
            configured["cursor_field"] = cursor
        if self.key:
            configured["primary_key"] = [[name] for name in self.key]
        return configured
