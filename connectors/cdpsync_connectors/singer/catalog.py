"""A tap's catalog: its streams, and which of them a run selects."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cdpsync.errors import ReadError
from cdpsync.model import ChangeLog, Stream
from cdpsync_connectors._bridge.json_schema import columns_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cdpsync.connector import ReadRequest

Json = dict[str, Any]  # Any: JSON, as the tap wrote it

_FULL_TABLE = "FULL_TABLE"


@dataclass(frozen=True, slots=True)
class TapStream:
    """One entry of a catalog."""

    entry: Json

    @property
    def name(self) -> str:
        """The stream's id, by which the project file names it."""
        return str(self.entry.get("tap_stream_id") or self.entry.get("stream"))

    @property
    def names(self) -> set[str]:
        """The names that messages may give the stream."""
        return {str(self.entry[key]) for key in _NAMES if self.entry.get(key)}

    @property
    def metadata(self) -> Json:
        """What the catalog says of the stream as a whole."""
        entries = self.entry.get("metadata") or []
        return next((e.get("metadata") or {} for e in entries if not e.get("breadcrumb")), {})

    @property
    def key(self) -> tuple[str, ...]:
        """The fields that identify a record."""
        metadata = self.metadata
        for names in (
            self.entry.get("key_properties"),
            metadata.get("table-key-properties"),
            metadata.get("view-key-properties"),
        ):
            if names:
                return tuple(map(str, names))
        return ()

    @property
    def replication_keys(self) -> tuple[str, ...]:
        """The fields by whose values the tap may tell what changed."""
        metadata = self.metadata
        names = metadata.get("valid-replication-keys") or []
        names = [names] if isinstance(names, str) else [*names]
        names += [self.entry.get("replication_key"), metadata.get("replication-key")]
        return tuple(dict.fromkeys(str(name) for name in names if name))

    @property
    def follows_state(self) -> bool:
        """Whether the tap can go on from a state of this stream."""
        metadata = self.metadata
        method = metadata.get("forced-replication-method") or self.entry.get("replication_method")
        if isinstance(method, dict):  # some taps write why, too
            method = method.get("replication-method")
        return method not in {None, _FULL_TABLE} or (not method and bool(self.replication_keys))

    @property
    def declared(self) -> dict[str, str]:
        """The types that the schema declares, by column."""
        return columns_of(self.entry.get("schema") or {}, self.key)[1]

    def stream(self, table_of: Callable[[str], str]) -> Stream:
        """Return the stream as cdpsync knows it."""
        columns, _ = columns_of(self.entry.get("schema") or {}, self.key)
        names = {column.name for column in columns}
        return Stream(
            self.name,
            table_of(self.name),
            columns,
            primary_key=tuple(name for name in self.key if name in names),
            kind="stream",
            key_enforced=False,
            open_schema=True,
            changes=ChangeLog(None) if self.follows_state else None,
        )

    def selected(self, request: ReadRequest | None) -> Json:
        """Return the entry with the stream and its fields selected for a read; None: not."""
        entry = copy.deepcopy(self.entry)
        entries = entry.setdefault("metadata", [])
        whole = next((item for item in entries if not item.get("breadcrumb")), None)
        if whole is None:
            whole = {"breadcrumb": [], "metadata": {}}
            entries.append(whole)
        marks = whole.setdefault("metadata", {})
        marks["selected"] = entry["selected"] = request is not None
        if isinstance(entry.get("schema"), dict):  # where taps looked before there was metadata
            entry["schema"]["selected"] = request is not None
        if request is None:
            return entry
        if request.follows_state and self.replication_keys:
            marks.setdefault("replication-key", self.replication_keys[0])
            marks.setdefault("replication-method", "INCREMENTAL")
        self._select_fields(entries, request)
        return entry

    def _select_fields(self, entries: list[Json], request: ReadRequest) -> None:
        """Select each field that the table takes; the tap need not read the others."""
        by_field = {tuple(item.get("breadcrumb") or ()): item for item in entries}
        for name in (self.entry.get("schema") or {}).get("properties") or {}:
            item = by_field.get(("properties", name))
            if item is None:
                item = {"breadcrumb": ["properties", name], "metadata": {}}
                entries.append(item)
            marks = item.setdefault("metadata", {})
            if marks.get("inclusion") not in {"automatic", "unsupported"}:
                marks["selected"] = _takes(request, name) or name in self.key


_NAMES = ("tap_stream_id", "stream", "stream_alias", "table_name")


def _takes(request: ReadRequest, name: str) -> bool:
    return name not in request.exclude and (request.include is None or name in request.include)


def parse_catalog(text: bytes, program: str) -> tuple[TapStream, ...]:
    """Return the streams of a catalog. Raises ReadError for anything else."""
    try:
        entries = json.loads(text)["streams"]
        streams = tuple(TapStream(dict(entry)) for entry in entries)
        names = [stream.name for stream in streams]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReadError(
            f"{program}: what --discover writes is no catalog ({type(error).__name__}: {error}). "
            "Is it a Singer tap?"
        ) from error
    twin = next((name for name in names if names.count(name) > 1), None)
    if twin is not None or "None" in names:
        raise ReadError(f"{program}: its catalog has two streams {twin}, or one without a name.")
    return streams


def selected_catalog(
    streams: Mapping[str, TapStream], requests: Sequence[ReadRequest]
) -> dict[str, list[Json]]:
    """Return the catalog of one run: all streams, of which those that it reads are selected.

    A tap may read a stream through another one, which has to be there.
    """
    by_name = {request.stream.name: request for request in requests}
    return {"streams": [stream.selected(by_name.get(name)) for name, stream in streams.items()]}
