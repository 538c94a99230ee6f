"""The Singer connector: a tap as a source, its streams read by one process."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cdpsync.errors import CdpsyncError, ConfigError, ReadError
from cdpsync_connectors.singer.options import SingerOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pydantic import BaseModel

    from cdpsync.connector import Chunk, Installation, ReadRequest, SourcePlace
    from cdpsync.errors import ConnectorError
    from cdpsync.model import Stream
    from cdpsync_connectors._bridge.environments import Environment
    from cdpsync_connectors._bridge.runner import Command, Runner
    from cdpsync_connectors.singer.catalog import TapStream
    from cdpsync_connectors.singer.reading import Outcome
    from cdpsync_connectors.singer.states import ReadGroup

_OLD_OPTION = b"--properties"


class SingerConnector:
    """A Singer tap as a source."""

    Options: ClassVar[type[BaseModel]] = SingerOptions
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: BaseModel) -> None:
        if not isinstance(options, SingerOptions):
            raise TypeError(f"SingerConnector takes SingerOptions, not {type(options).__name__}")
        self._options = options
        self._own_runner: Runner | None = None
        self._streams: dict[str, TapStream] = {}
        self._takes_properties = False
        self.place: SourcePlace | None = None
        self.uses_cache = True

    def check(self) -> None:
        """Return if the tap can list its streams: that is how taps check their configuration."""
        self._discover()

    def discover(self) -> Sequence[Stream]:
        """Return the streams of the tap's catalog."""
        if not (self.uses_cache and self._load_catalog()):
            self._discover()
        table_of = self._options.default_table
        return [stream.stream(table_of) for stream in self._streams.values()]

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[Iterable[Chunk]]:
        """Run the tap for one stream, then yield its chunks; see `Connector.read`."""
        with self.read_many([request]) as outcomes:
            outcome = outcomes[request.stream.name]
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome

    @contextmanager
    def read_many(self, requests: Sequence[ReadRequest]) -> Iterator[Mapping[str, Outcome]]:
        """Run the tap once for all streams whose states go together; see `Grouped.read_many`."""
        from cdpsync_connectors.singer.states import groups_of

        if not self._streams and not self._load_catalog():
            self._discover()
        outcomes: dict[str, Outcome] = {}
        with ExitStack() as stack:
            for group in groups_of(self._known(requests, outcomes)):
                try:
                    outcomes |= self._run(group, stack)
                except CdpsyncError as error:
                    outcomes |= dict.fromkeys([r.stream.name for r in group.requests], error)
            yield outcomes

    def _known(
        self, requests: Sequence[ReadRequest], outcomes: dict[str, Outcome]
    ) -> Iterator[ReadRequest]:
        """Go through the requests that the tap can answer; note the errors of the others."""
        for request in requests:
            name = request.stream.name
            if name not in self._streams:
                outcomes[name] = ReadError(
                    f"stream {name}: the tap has none of this name. Its streams are: "
                    f"{', '.join(self._streams)}."
                )
            elif request.cursor_field is not None:
                outcomes[name] = ReadError(
                    f"stream {name}: the tap cannot read it from a value of "
                    f'"{request.cursor_field}" on. Use mode: full_table.'
                )
            else:
                yield request

    @property
    def needs_install(self) -> bool:
        """Whether a package is to be installed; a command is there already."""
        return self._options.package is not None

    def install(self, *, upgrade: bool) -> Installation:
        """Install the package; see `Installable.install`."""
        return self._environment().install(upgrade=upgrade)

    def translate(self, error: Exception) -> ConnectorError | None:
        """Return the error of a value in a chunk as a ReadError; None for any other."""
        from cdpsync.connector.exact_sql import inexact

        return inexact(error)

    def close(self) -> None:
        """Do nothing: a tap ends with its read."""

    def _environment(self) -> Environment:
        from cdpsync_connectors._bridge.environments import Environment, Wanted

        options = self._options
        if options.package is None:
            raise ConfigError("a command is not installed by cdpsync.")
        if self.place is None:
            raise ConfigError("a package needs a project, in which it is installed.")
        wanted = Wanted(options.package, options.with_, options.python, options.as_of)
        return Environment(self.place, wanted)

    def _command(self) -> Command:
        """Return the tap's command, and the folder of its other programs."""
        from cdpsync_connectors._bridge.options import command_line

        if self._options.command is not None:
            return command_line(self._options.command, self._options.folder), None
        return self._environment().command()

    @property
    def _name(self) -> str:
        """The name of the tap for messages."""
        if self._options.package is not None:
            return self._environment().wanted.name
        from cdpsync_connectors._bridge.options import program_name

        return program_name(self._command()[0])

    def _runner(self) -> Runner:
        from cdpsync_connectors._bridge.runner import Runner

        if self._own_runner is None:
            self._own_runner = Runner(self._options, self.place)
        return self._own_runner

    def _discover(self) -> None:
        """Run the tap's discovery, and keep its catalog for the next runs."""
        from cdpsync_connectors.singer.catalog import parse_catalog
        from cdpsync_connectors.singer.errors import tap_error

        runner, command = self._runner(), self._command()
        with runner.work_folder() as folder:
            arguments = ["--config", folder.config_file, "--discover"]
            text, ended = runner.output(command, arguments, folder.path)
            if ended.code or ended.was_killed:
                raise tap_error(self._name, ended, wrote=False)
            streams = parse_catalog(text, self._name)
            help_text, _ = runner.output(command, ["--help"], folder.path)
        self._take_catalog(streams, takes_properties=_OLD_OPTION in help_text)
        document = {
            "properties": self._takes_properties,
            "streams": [stream.entry for stream in streams],
        }
        runner.save_catalog(document, command)

    def _load_catalog(self) -> bool:
        """Take the catalog of an earlier run, if it is not too old; return whether there is one."""
        from cdpsync_connectors.singer.catalog import TapStream

        document = self._runner().load_catalog(self._command())
        if document is None:
            return False
        streams = [TapStream(entry) for entry in document["streams"]]
        self._take_catalog(streams, takes_properties=document["properties"])
        return True

    def _take_catalog(self, streams: Iterable[TapStream], *, takes_properties: bool) -> None:
        self._streams = {stream.name: stream for stream in streams}
        self._takes_properties = takes_properties

    def _run(self, group: ReadGroup, stack: ExitStack) -> dict[str, Outcome]:
        """Run the tap for a group of requests; its records are kept until `stack` is closed."""
        from cdpsync_connectors._bridge.collecting import StreamRecords
        from cdpsync_connectors._bridge.private import write_private
        from cdpsync_connectors.singer.catalog import selected_catalog
        from cdpsync_connectors.singer.reading import TapRun

        records: dict[str, StreamRecords] = {}
        for request in group.requests:
            own = request.folder
            if own is None:
                own = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            name = request.stream.name
            records[name] = StreamRecords(request, own, self._streams[name].declared)
            stack.callback(records[name].close)
        run = TapRun(self._name, records, {name: self._streams[name] for name in records})
        runner = self._runner()
        with runner.work_folder() as folder:
            catalog_file, state_file = folder.path / "catalog.json", folder.path / "state.json"
            write_private(catalog_file, json.dumps(selected_catalog(self._streams, group.requests)))
            arguments = ["--config", folder.config_file, "--catalog", str(catalog_file)]
            if self._takes_properties:
                arguments += [_OLD_OPTION.decode(), str(catalog_file)]
            if group.state is not None:
                write_private(state_file, group.state.decode())
                arguments += ["--state", str(state_file)]
            program = runner.program(self._command(), arguments, folder.path, group.requests)
            program.on_error_line = run.note_stderr
            program.only_kill = True
            with program:
                return run.read(program)
