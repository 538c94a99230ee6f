"""The Singer connector: a tap as a source, its streams read by one process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar

from cdpsync.errors import CdpsyncError, ConfigError
from cdpsync_connectors._bridge.connector import ProgramConnector
from cdpsync_connectors.singer.options import SingerOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import ExitStack

    from pydantic import BaseModel

    from cdpsync.connector import ReadRequest
    from cdpsync_connectors._bridge.collecting import Outcome
    from cdpsync_connectors._bridge.environments import Environment
    from cdpsync_connectors.singer.catalog import TapStream
    from cdpsync_connectors.singer.states import ReadGroup

_OLD_OPTION = b"--properties"


class SingerConnector(ProgramConnector["TapStream"]):
    """A Singer tap as a source."""

    Options: ClassVar[type[BaseModel]] = SingerOptions
    extensions: ClassVar[tuple[str, ...]] = ()
    noun = "tap"

    def __init__(self, options: BaseModel) -> None:
        if not isinstance(options, SingerOptions):
            raise TypeError(f"SingerConnector takes SingerOptions, not {type(options).__name__}")
        super().__init__(options)
        self._options = options
        self._takes_properties = False

    def check(self) -> None:
        """Return if the tap can list its streams: that is how taps check their configuration."""
        self._discover()

    @property
    def needs_install(self) -> bool:
        """Whether a package is to be installed; a command is there already."""
        return self._options.package is not None

    def _environment(self) -> Environment:
        from cdpsync_connectors._bridge.environments import Environment, Wanted

        options = self._options
        if options.package is None:
            raise ConfigError("a command is not installed by cdpsync.")
        if self.place is None:
            raise ConfigError("a package needs a project, in which it is installed.")
        wanted = Wanted(options.package, options.with_, options.python, options.as_of)
        return Environment(self.place, wanted)

    @property
    def _name(self) -> str:
        """The name of the tap for messages."""
        if self._options.package is not None:
            return self._environment().wanted.name
        from cdpsync_connectors._bridge.options import program_name

        return program_name(self._command()[0])

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

    def _read_known(self, requests: Sequence[ReadRequest], stack: ExitStack) -> dict[str, Outcome]:
        """Run the tap once for all streams whose states go together."""
        from cdpsync_connectors.singer.states import groups_of

        outcomes: dict[str, Outcome] = {}
        for group in groups_of(requests):
            try:
                outcomes |= self._run(group, stack)
            except CdpsyncError as error:
                outcomes |= dict.fromkeys([r.stream.name for r in group.requests], error)
        return outcomes

    def _run(self, group: ReadGroup, stack: ExitStack) -> dict[str, Outcome]:
        """Run the tap for a group of requests; its records are kept until `stack` is closed."""
        from cdpsync_connectors._bridge.private import write_private
        from cdpsync_connectors.singer.catalog import selected_catalog
        from cdpsync_connectors.singer.reading import TapRun

        records = self._records(group.requests, stack)
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
