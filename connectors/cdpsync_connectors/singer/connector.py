"""The Singer connector: a tap as a source, its streams read by one process."""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
import time
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
    from cdpsync_connectors._bridge.configs import ProgramConfig
    from cdpsync_connectors._bridge.environments import Environment
    from cdpsync_connectors._bridge.process import Ended, Program
    from cdpsync_connectors.singer.catalog import TapStream
    from cdpsync_connectors.singer.reading import Outcome
    from cdpsync_connectors.singer.states import ReadGroup

_CATALOG_AGE = 24 * 3600.0  # seconds for which a discovered catalog is used again
_OLD_OPTION = b"--properties"


class SingerConnector:
    """A Singer tap as a source."""

    Options: ClassVar[type[BaseModel]] = SingerOptions
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: BaseModel) -> None:
        if not isinstance(options, SingerOptions):
            raise TypeError(f"SingerConnector takes SingerOptions, not {type(options).__name__}")
        self._options = options
        self._one_at_a_time = threading.Lock()
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

    def _command(self) -> tuple[tuple[str, ...], Path | None]:
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
        return Path(self._command()[0][0]).name

    @property
    def _state_folder(self) -> Path | None:
        return self.place.state if self.place else None

    def _config(self) -> ProgramConfig:
        from cdpsync_connectors._bridge.configs import ProgramConfig, require_packages

        require_packages()
        folder = self._state_folder
        return ProgramConfig(self._options.config, folder and folder / "config.json")

    @contextmanager
    def _work_folder(self) -> Iterator[Path]:
        """Make the private folder of a run, with the configuration; keep what the tap changes."""
        from cdpsync_connectors._bridge.private import private_folder

        config = self._config()
        parent = self._state_folder and self._state_folder / "work"
        with self._one_at_a_time, private_folder(parent) as folder:
            file = folder / "config.json"
            written = config.write(file)
            try:
                yield folder
            finally:
                config.keep_changes(file, written)

    def _program(
        self, arguments: Sequence[str], folder: Path, requests: Sequence[ReadRequest] = ()
    ) -> Program:
        from cdpsync_connectors._bridge.process import Program

        command, path = self._command()
        return Program(
            [*command, *arguments],
            folder,
            self._options.silence,
            is_stopped=lambda: any(request.is_stopped() for request in requests),
            path=path,
        )

    def _discover(self) -> None:
        """Run the tap's discovery, and keep its catalog for the next runs."""
        from cdpsync_connectors.singer.catalog import parse_catalog
        from cdpsync_connectors.singer.errors import tap_error

        with self._work_folder() as folder:
            config = str(folder / "config.json")
            text, ended = self._output(["--config", config, "--discover"], folder)
            if ended.code or ended.was_killed:
                raise tap_error(self._name, ended, wrote=False)
            streams = parse_catalog(text, self._name)
            help_text, _ = self._output(["--help"], folder)
        self._take_catalog(streams, takes_properties=_OLD_OPTION in help_text)
        self._save_catalog()

    def _output(self, arguments: Sequence[str], folder: Path) -> tuple[bytes, Ended]:
        """Run the tap; return all that it writes to stdout, and how it ended."""
        with self._program(arguments, folder) as program:
            text = b"\n".join(line for lines in program.lines() for line in lines)
            text += program.rest
            return text, program.wait()

    def _take_catalog(self, streams: Iterable[TapStream], *, takes_properties: bool) -> None:
        self._streams = {stream.name: stream for stream in streams}
        self._takes_properties = takes_properties

    @property
    def _catalog_file(self) -> Path | None:
        """The file of the catalog that this configuration gave at last."""
        if self._state_folder is None:
            return None
        parts = [self._config().digest, *map(str, self._command()[0])]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        return self._state_folder / f"catalog-{digest}.json"

    def _load_catalog(self) -> bool:
        """Take the catalog of an earlier run, if it is not too old; return whether there is one."""
        from cdpsync_connectors._bridge.private import read_json
        from cdpsync_connectors.singer.catalog import TapStream

        file = self._catalog_file
        document = read_json(file) if file else None
        if document is None or not 0 <= time.time() - document["at"] < _CATALOG_AGE:
            return False
        streams = [TapStream(entry) for entry in document["streams"]]
        self._take_catalog(streams, takes_properties=document["properties"])
        return True

    def _save_catalog(self) -> None:
        from cdpsync_connectors._bridge.private import replace_private

        file = self._catalog_file
        if file is None:
            return
        for older in file.parent.glob("catalog-*.json"):
            older.unlink(missing_ok=True)
        document = {
            "at": time.time(),
            "properties": self._takes_properties,
            "streams": [stream.entry for stream in self._streams.values()],
        }
        replace_private(file, json.dumps(document))

    def _run(self, group: ReadGroup, stack: ExitStack) -> dict[str, Outcome]:
        """Run the tap for a group of requests; its records are kept until `stack` is closed."""
        from cdpsync_connectors._bridge.collecting import StreamRecords
        from cdpsync_connectors._bridge.private import write_private
        from cdpsync_connectors.singer.catalog import selected_catalog
        from cdpsync_connectors.singer.reading import TapRun

        records: dict[str, StreamRecords] = {}
        for request in group.requests:
            folder = request.folder
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            name = request.stream.name
            records[name] = StreamRecords(request, folder, self._streams[name].declared)
            stack.callback(records[name].close)
        run = TapRun(self._name, records, {name: self._streams[name] for name in records})
        with self._work_folder() as folder:
            catalog = selected_catalog(self._streams, group.requests)
            write_private(folder / "catalog.json", json.dumps(catalog))
            arguments = ["--config", "config.json", "--catalog", "catalog.json"]
            if self._takes_properties:
                arguments += ["--properties", "catalog.json"]
            if group.state is not None:
                write_private(folder / "state.json", group.state.decode())
                arguments += ["--state", "state.json"]
            arguments = [str(folder / a) if a.endswith(".json") else a for a in arguments]
            program = self._program(arguments, folder, group.requests)
            program.on_error_line = run.note_stderr
            with program:
                return run.read(program)
