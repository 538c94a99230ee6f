"""What connectors share that run a program: streams of a kept catalog, one run for many tables."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from cdpsync.errors import ReadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from cdpsync.connector import Chunk, Installation, ReadRequest, SourcePlace
    from cdpsync.errors import ConnectorError
    from cdpsync.model import Stream
    from cdpsync_connectors._bridge.collecting import Outcome, StreamRecords
    from cdpsync_connectors._bridge.environments import Environment
    from cdpsync_connectors._bridge.options import ProgramOptions
    from cdpsync_connectors._bridge.runner import Command, Runner


class ProgramStream(Protocol):
    """A stream of a program's catalog."""

    @property
    def declared(self) -> Mapping[str, str]:
        """The types that the catalog gives to fields."""

    def stream(self, table_of: Callable[[str], str]) -> Stream:
        """Return the stream; `table_of` names its table."""


S = TypeVar("S", bound=ProgramStream)


class ProgramConnector(ABC, Generic[S]):
    """A source whose streams are read by a program of other people. `noun` is what it is called."""

    noun: str

    def __init__(self, options: ProgramOptions) -> None:
        self._program_options = options
        self._own_runner: Runner | None = None
        self._streams: dict[str, S] = {}
        self.place: SourcePlace | None = None
        self.uses_cache = True

    def discover(self) -> Sequence[Stream]:
        """Return the streams of the program's catalog."""
        if not (self.uses_cache and self._load_catalog()):
            self._discover()
        table_of = self._program_options.default_table
        return [stream.stream(table_of) for stream in self._streams.values()]

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[Chunk]]:
        """Run the program for one stream, then yield its chunks; see `Connector.read`."""
        with self.read_many([request]) as outcomes:
            outcome = outcomes[request.stream.name]
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome

    @contextmanager
    def read_many(self, requests: Sequence[ReadRequest]) -> Iterator[Mapping[str, Outcome]]:
        """Run the program for all streams; see `Grouped.read_many`."""
        if not self._streams and not self._load_catalog():
            self._discover()
        outcomes: dict[str, Outcome] = {}
        known = list(self._known(requests, outcomes))
        with ExitStack() as stack:
            if known:
                outcomes |= self._read_known(known, stack)
            yield outcomes

    def install(self, *, upgrade: bool) -> Installation:
        """Install the package; see `Installable.install`."""
        return self._environment().install(upgrade=upgrade)

    def translate(self, error: Exception) -> ConnectorError | None:
        """Return the error of a value in a chunk as a ReadError; None for any other."""
        from cdpsync.connector.exact_sql import inexact

        return inexact(error)

    def close(self) -> None:
        """Do nothing: a program ends with its read."""

    @abstractmethod
    def _discover(self) -> None:
        """Ask the program for its catalog, take it, and keep it for the next runs."""

    @abstractmethod
    def _load_catalog(self) -> bool:
        """Take the catalog of an earlier run, if it is not too old; return whether there is one."""

    @abstractmethod
    def _read_known(
        self, requests: Sequence[ReadRequest], stack: ExitStack
    ) -> Mapping[str, Outcome]:
        """Run the program for streams that it has; records are kept until `stack` is closed."""

    @abstractmethod
    def _environment(self) -> Environment:
        """Return the environment of the package. Raises ConfigError where there is none."""

    def _known(
        self, requests: Sequence[ReadRequest], outcomes: dict[str, Outcome]
    ) -> Iterator[ReadRequest]:
        """Go through the requests that the program can answer; note the errors of the others."""
        for request in requests:
            name = request.stream.name
            if name not in self._streams:
                outcomes[name] = ReadError(
                    f"stream {name}: the {self.noun} has none of this name. Its streams are: "
                    f"{', '.join(self._streams)}."
                )
            elif request.cursor_field is not None:
                outcomes[name] = ReadError(
                    f"stream {name}: the {self.noun} cannot read it from a value of "
                    f'"{request.cursor_field}" on. Use mode: full_table.'
                )
            else:
                yield request

    def _records(
        self, requests: Sequence[ReadRequest], stack: ExitStack
    ) -> dict[str, StreamRecords]:
        """Return where the records of each stream are collected, until `stack` is closed."""
        from cdpsync_connectors._bridge.collecting import StreamRecords

        records: dict[str, StreamRecords] = {}
        for request in requests:
            folder = request.folder
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            name = request.stream.name
            records[name] = StreamRecords(request, folder, self._streams[name].declared)
            stack.callback(records[name].close)
        return records

    def _command(self) -> Command:
        """Return the program's command, and the folder of its other programs."""
        from cdpsync_connectors._bridge.options import command_line

        options = self._program_options
        if options.command is not None:
            return command_line(options.command, options.folder), None
        return self._environment().command()

    def _runner(self) -> Runner:
        from cdpsync_connectors._bridge.runner import Runner

        if self._own_runner is None:
            self._own_runner = Runner(self._program_options, self.place)
        return self._own_runner
