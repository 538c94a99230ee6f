"""One run of a tap: its messages, and whether what it wrote is all that it has."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import msgspec

from cdpsync.errors import CdpsyncError, ReadError
from cdpsync_connectors._bridge.collecting import (
    Outcome,
    StateChunks,
    StreamRecords,
    compact,
)
from cdpsync_connectors.singer.errors import tap_error
from cdpsync_connectors.singer.states import TapState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cdpsync.model import Cursor
    from cdpsync_connectors._bridge.process import Ended, Program
    from cdpsync_connectors.singer.catalog import TapStream

_METRIC = re.compile(r'"sync_duration".*"status": ?"failed"')
_STREAM = re.compile(r'"stream": ?"([^"]*)"')


class Message(msgspec.Struct):
    """A message of a tap: https://hub.meltano.com/singer/spec. Values stay as they were written."""

    type: str
    stream: str = ""
    record: msgspec.Raw = msgspec.Raw(b"")
    value: msgspec.Raw = msgspec.Raw(b"")
    encoding: dict[str, str] = {}
    manifest: list[str] = []


_decoder = msgspec.json.Decoder(Message)
_raw = msgspec.json.Decoder(msgspec.Raw)


@dataclass(slots=True)
class TapRun:
    """The messages of one run of a tap. `streams` have the selected streams by their name."""

    program: str
    records: Mapping[str, StreamRecords]
    streams: Mapping[str, TapStream]
    _by_name: dict[str, StreamRecords] = field(default_factory=dict, init=False)
    _described: set[str] = field(default_factory=set, init=False)
    _failed: set[str] = field(default_factory=set, init=False)
    _state: bytes | None = field(default=None, init=False)
    _messages: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name, records in self.records.items():
            for alias in self.streams[name].names:
                self._by_name[alias] = records
        self._by_name |= self.records

    def read(self, program: Program) -> dict[str, Outcome]:
        """Read a running tap to its end; return what came of each stream.

        Raises ReadError for a line that is no message, because nothing is sure of the others then.
        """
        for lines in program.lines():
            for line in lines:
                if line:
                    self._take(line)
            if all(records.has_enough for records in self.records.values()):
                program.kill()
                break
        ended = program.wait()
        return {name: self._outcome(name, ended) for name in self.records}

    def note_stderr(self, line: str) -> None:
        """Take a line of stderr: an SDK tap tells there which stream has failed."""
        if "sync_duration" in line and _METRIC.search(line):
            match = _STREAM.search(line)
            self._failed.add(match[1] if match else "")

    def _take(self, line: bytes) -> None:
        try:
            message = _decoder.decode(compact(line))
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ReadError(
                f"{self.program} wrote a line that is no message of Singer ({error}): "
                f"{line[:60].decode(errors='replace')!r}. Nothing of it was committed."
            ) from error
        self._messages += 1
        if message.type == "RECORD":
            records = self._by_name.get(message.stream)
            if records is not None:
                records.add(message.record)
        elif message.type == "STATE":
            self._state = bytes(message.value)
        elif message.type == "SCHEMA":
            self._described.add(message.stream)
        elif message.type == "BATCH":
            self._take_batch(message)

    def _take_batch(self, message: Message) -> None:
        """Take records that the tap has written to files, in place of lines."""
        records = self._by_name.get(message.stream)
        if records is None:
            return
        if message.encoding.get("format") != "jsonl":
            raise ReadError(f"{self.program}: a batch of {message.encoding} cannot be read.")
        for url in message.manifest:
            path = Path(unquote(urlsplit(url).path))
            opener = gzip.open if message.encoding.get("compression") == "gzip" else open
            try:
                with opener(path, "rb") as file:
                    for line in file:
                        records.add(_raw.decode(compact(line)))
            except (OSError, EOFError, msgspec.MsgspecError) as error:
                raise ReadError(
                    f"{self.program}: its batch {path} cannot be read: {error}."
                ) from error
            path.unlink(missing_ok=True)

    def _outcome(self, name: str, ended: Ended) -> Outcome:
        records = self.records[name]
        try:
            if records.has_enough:
                return StateChunks(records.chunks(), None)
            self._require_whole(name, ended)
            return StateChunks(records.chunks(), self._cursor_of(name))
        except CdpsyncError as error:
            return error

    def _cursor_of(self, name: str) -> Cursor | None:
        """Return the state of a stream; None where the tap reported none, or an empty one."""
        if self._state is None or not self.records[name].request.follows_state:
            return None
        return TapState.parse(self._state).cursor_of(name)

    def _require_whole(self, name: str, ended: Ended) -> None:
        """Raise an error unless all signs say that the tap has written all of a stream."""
        if not ended.is_clean:
            raise tap_error(self.program, ended, wrote=self._messages > 0)
        kept = "Nothing of it was committed."
        if self._failed & {*self.streams[name].names, ""}:
            raise ReadError(f"stream {name}: {self.program} reports that it failed. {kept}")
        if not self._described & self.streams[name].names:
            raise ReadError(
                f"stream {name}: {self.program} ended well and wrote nothing of it, not even its "
                f"schema. {kept} Does the account have it?"
            )
        if self._state is None:
            return
        state = TapState.parse(self._state)
        if state.unfinished_stream:
            raise ReadError(
                f"stream {name}: {self.program} ended while it was reading "
                f"{state.unfinished_stream}. {kept} The next run reads it again."
            )
        if not state.is_resumable(name):
            raise ReadError(
                f"stream {name}: {self.program} ended in the middle of it, by its state. {kept} "
                "The next run reads it again."
            )
