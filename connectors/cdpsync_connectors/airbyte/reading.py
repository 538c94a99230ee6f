"""One run of a connector: its messages, and whether what it wrote is all that it has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from cdpsync.errors import CdpsyncError, ReadError
from cdpsync.model import Cursor, CursorType
from cdpsync_connectors._bridge.collecting import (
    Outcome,
    StateChunks,
    StreamRecords,
    compact,
)
from cdpsync_connectors.airbyte.errors import Trace, source_error, trace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cdpsync_connectors._bridge.process import Ended, Program


class Descriptor(msgspec.Struct):
    """The name of a stream."""

    name: str = ""


class RecordPart(msgspec.Struct):
    """A record; its values stay as they were written."""

    stream: str
    data: msgspec.Raw


class StreamState(msgspec.Struct):
    """The state of one stream."""

    stream_descriptor: Descriptor
    stream_state: msgspec.Raw = msgspec.Raw(b"null")


class GlobalState(msgspec.Struct):
    """The state of all streams, of connectors that have only one."""

    stream_states: list[StreamState] = []


class StatePart(msgspec.Struct):
    """A state."""

    type: str = ""
    stream: StreamState | None = None
    global_: GlobalState | None = msgspec.field(default=None, name="global")


class ErrorPart(msgspec.Struct):
    """An error that the connector traced."""

    message: str | None = None
    failure_type: str | None = None
    stream_descriptor: Descriptor | None = None


class StatusPart(msgspec.Struct):
    """How far the connector is with a stream."""

    stream_descriptor: Descriptor
    status: str


class TracePart(msgspec.Struct):
    """A trace."""

    type: str = ""
    error: ErrorPart | None = None
    stream_status: StatusPart | None = None


class ConfigPart(msgspec.Struct):
    """A configuration that the connector has changed."""

    config: dict[str, Any] = {}  # Any: JSON


class ControlPart(msgspec.Struct, rename="camel"):
    """A request to whoever runs the connector."""

    type: str = ""
    connector_config: ConfigPart | None = None


class Message(msgspec.Struct, rename="camel"):
    """A message of a connector: https://docs.airbyte.com/understanding-airbyte/airbyte-protocol."""

    type: str
    record: RecordPart | None = None
    state: StatePart | None = None
    trace: TracePart | None = None
    control: ControlPart | None = None
    connection_status: dict[str, Any] | None = None  # Any: JSON
    catalog: dict[str, Any] | None = None  # Any: JSON


_decoder = msgspec.json.Decoder(Message)
_COMPLETE = "COMPLETE"


def parse_message(line: bytes, program: str) -> Message:
    """Return a message. Raises ReadError for a line that is none."""
    try:
        return _decoder.decode(compact(line))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ReadError(
            f"{program} wrote a line that is no message of Airbyte ({error}): "
            f"{line[:60].decode(errors='replace')!r}. Nothing of it was committed."
        ) from error


@dataclass(slots=True)
class SourceRun:
    """The messages of one run. `on_config` takes a configuration that the connector changed."""

    program: str
    records: Mapping[str, StreamRecords]
    on_config: Callable[[dict[str, Any]], None]  # Any: JSON
    _states: dict[str, bytes] = field(default_factory=dict, init=False)
    _statuses: dict[str, str] = field(default_factory=dict, init=False)
    _traces: list[Trace] = field(default_factory=list, init=False)

    def read(self, program: Program) -> dict[str, Outcome]:
        """Read a running connector to its end; return what came of each stream.

        Raises ReadError for a line that is no message, because nothing is sure of the others then.
        """
        for lines in program.lines():
            for line in lines:
                if line:
                    self.take(parse_message(line, self.program))
            if self.records and all(records.has_enough for records in self.records.values()):
                program.kill()
                break
        ended = program.wait()
        return {name: self._outcome(name, ended) for name in self.records}

    def take(self, message: Message) -> None:
        """Take a message."""
        if message.record is not None:
            records = self.records.get(message.record.stream)
            if records is not None:
                records.add(message.record.data)
        elif message.state is not None:
            self._take_state(message.state)
        elif message.trace is not None:
            self._take_trace(message.trace)
        elif message.control is not None and message.control.connector_config is not None:
            self.on_config(message.control.connector_config.config)

    def _take_state(self, state: StatePart) -> None:
        parts = [state.stream] if state.stream else []
        parts += state.global_.stream_states if state.global_ else []
        for part in parts:
            self._states[part.stream_descriptor.name] = bytes(part.stream_state)

    def _take_trace(self, trace: TracePart) -> None:
        if trace.stream_status is not None:
            name = trace.stream_status.stream_descriptor.name
            self._statuses[name] = trace.stream_status.status
        if trace.error is not None:
            descriptor = trace.error.stream_descriptor
            self._traces.append(
                Trace(
                    trace.error.message or "",
                    trace.error.failure_type or "",
                    descriptor.name if descriptor else "",
                )
            )

    def error(self, ended: Ended, stream: str = "") -> CdpsyncError:
        """Return why the connector did not end well."""
        return source_error(self.program, ended, trace_of(self._traces, stream))

    def _outcome(self, name: str, ended: Ended) -> Outcome:
        records = self.records[name]
        try:
            if records.has_enough:
                return StateChunks(records.chunks(), None)
            if not ended.is_clean:
                return self.error(ended, name)
            status = self._statuses.get(name)
            if status != _COMPLETE:
                return ReadError(
                    f"stream {name}: {self.program} ended well, and says of it: "
                    f"{status or 'nothing'}, not {_COMPLETE}. Nothing of it was committed."
                )
            return StateChunks(records.chunks(), self._cursor_of(name))
        except CdpsyncError as error:
            return error

    def _cursor_of(self, name: str) -> Cursor | None:
        """Return the state of a stream; None where there is none, or an empty one."""
        raw = self._states.get(name, b"null")
        if not self.records[name].request.follows_state or raw in (b"null", b"{}"):
            return None
        return Cursor(CursorType.STATE, raw.decode())


def state_file(records: Mapping[str, StreamRecords]) -> bytes | None:
    """Return the states of all streams as the connector takes them; None where none has one."""
    states = []
    for name, stream in records.items():
        saved = stream.request.saved_cursor if stream.request.follows_state else None
        if saved is not None:
            state = {"stream_descriptor": {"name": name}}
            raw = msgspec.Raw(str(saved.value).encode())
            states.append({"type": "STREAM", "stream": {**state, "stream_state": raw}})
    return msgspec.json.encode(states) if states else None
