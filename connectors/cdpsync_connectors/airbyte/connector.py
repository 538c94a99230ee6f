"""The Airbyte connector: a manifest that the CDK runs, or a package, as a source."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from cdpsync.errors import ConfigError, ConnectError, ReadError
from cdpsync_connectors._bridge.connector import ProgramConnector
from cdpsync_connectors.airbyte.catalog import SourceStream
from cdpsync_connectors.airbyte.options import AirbyteOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import ExitStack

    from pydantic import BaseModel

    from cdpsync.connector import Installation, ReadRequest, SourcePlace
    from cdpsync.model import Stream
    from cdpsync_connectors._bridge.collecting import Outcome
    from cdpsync_connectors._bridge.environments import Environment
    from cdpsync_connectors._bridge.runner import WorkFolder
    from cdpsync_connectors.airbyte.manifests import Manifest

_CDK_SCRIPT = "source-declarative-manifest"
_DOUBLES = (
    "Airbyte's connectors write numbers as doubles: at most 17 digits of a decimal, and integers "
    "of 64 bits, are those of the service. A Singer tap keeps all of them"
)


class AirbyteConnector(ProgramConnector[SourceStream]):
    """A connector of Airbyte as a source."""

    Options: ClassVar[type[BaseModel]] = AirbyteOptions
    extensions: ClassVar[tuple[str, ...]] = ()
    noun = "connector"

    def __init__(self, options: BaseModel) -> None:
        if not isinstance(options, AirbyteOptions):
            raise TypeError(f"AirbyteConnector takes AirbyteOptions, not {type(options).__name__}")
        super().__init__(options)
        self._options = options

    def check(self) -> None:
        """Return if the connector says that its configuration works."""
        run = self._asked("check")
        status = run.status or {}
        if status.get("status") != "SUCCEEDED":
            from cdpsync_connectors.airbyte.errors import short

            reason = short(str(status.get("message") or "it did not say why"))
            raise ConnectError(f"{self._name}: {reason}. Check config.")

    def suggest(self, _: Sequence[Stream]) -> Sequence[str]:
        """Say once what Airbyte's connectors do to numbers."""
        return (_DOUBLES,)

    @property
    def needs_install(self) -> bool:
        """Whether there is something to install: a package, or the CDK; a command is there."""
        return self._options.command is None

    def install(self, *, upgrade: bool) -> Installation:
        """Install the package, or the CDK and the manifest; see `Installable.install`."""
        installation = super().install(upgrade=upgrade)
        if self._options.manifest is None:
            return installation
        self._manifest().install(upgrade=upgrade)
        notice = (
            "the licence is that of Airbyte's CDK; a manifest has its own: those of Airbyte since "
            "2025 are under the Elastic License 2.0"
        )
        return replace(installation, notices=(notice,))

    def _require_place(self) -> SourcePlace:
        if self.place is None:
            raise ConfigError("a connector of Airbyte needs a project, in which it is installed.")
        return self.place

    def _environment(self) -> Environment:
        from cdpsync_connectors._bridge.environments import Environment, Wanted

        options = self._options
        program, script = options.package, ""
        if program is None:
            program, script = f"airbyte-cdk{options.cdk.replace(' ', '')}", _CDK_SCRIPT
        wanted = Wanted(program, options.with_, options.python, options.as_of, script)
        return Environment(self._require_place(), wanted)

    def _manifest(self) -> Manifest:
        from cdpsync_connectors.airbyte.manifests import Manifest

        return Manifest(self._options, self._require_place())

    @property
    def _name(self) -> str:
        """The name of the connector for messages."""
        if self._options.command is not None:
            from cdpsync_connectors._bridge.options import program_name

            return program_name(self._command()[0])
        return Path(self._options.package or self._options.manifest or "").name

    def _arguments(self, verb: str, folder: WorkFolder) -> list[str]:
        """Return the arguments of a verb: read, check or discover."""
        arguments = [verb, "--config", folder.config_file]
        if self._options.manifest is not None:
            manifest = self._manifest().path()
            arguments += ["--manifest-path", str(manifest)]
            components = manifest.with_name("components.py")
            if self._options.custom_code and components.exists():
                arguments += ["--components-path", str(components)]
        return arguments

    def _work_path(self, folder: WorkFolder) -> Path:
        """Return the folder in which the connector runs: schema files may lie beside a manifest."""
        if self._options.manifest_kind in {"package", "file"}:
            return self._manifest().path().parent
        return folder.path

    def _asked(self, verb: str) -> _Answer:
        """Run a verb that answers one question. Raises its error if it fails."""
        from cdpsync_connectors.airbyte.reading import SourceRun, parse_message

        runner, command = self._runner(), self._command()
        with runner.work_folder() as folder:
            run = SourceRun(self._name, {}, lambda values: _keep(folder, values))
            answer = _Answer()
            with runner.program(
                command, self._arguments(verb, folder), self._work_path(folder)
            ) as program:
                for lines in program.lines():
                    for line in filter(None, lines):
                        message = parse_message(line, self._name)
                        run.take(message)
                        answer.status = message.connection_status or answer.status
                        answer.catalog = message.catalog or answer.catalog
                ended = program.wait()
        if not ended.is_clean:
            raise run.error(ended)
        return answer

    def _discover(self) -> None:
        catalog = self._asked("discover").catalog
        if catalog is None:
            raise ReadError(f"{self._name}: discover wrote no catalog.")
        self._take_catalog(catalog["streams"])
        document = {"streams": catalog["streams"]}
        self._runner().save_catalog(document, self._command(), self._options.manifest or "")

    def _load_catalog(self) -> bool:
        """Take the catalog of an earlier run, if it is not too old; return whether there is one."""
        more = self._options.manifest or ""
        document = self._runner().load_catalog(self._command(), more)
        if document is None:
            return False
        self._take_catalog(document["streams"])
        return True

    def _take_catalog(self, entries: Iterable[dict[str, Any]]) -> None:  # Any: JSON
        self._streams = {str(entry["name"]): SourceStream(entry) for entry in entries}

    def _read_known(self, requests: Sequence[ReadRequest], stack: ExitStack) -> dict[str, Outcome]:
        """Run the connector once; its records are kept until `stack` is closed."""
        from cdpsync_connectors._bridge.private import write_private
        from cdpsync_connectors.airbyte.reading import SourceRun, state_file

        records = self._records(requests, stack)
        runner, command = self._runner(), self._command()
        with runner.work_folder() as folder:
            run = SourceRun(self._name, records, lambda values: _keep(folder, values))
            catalog = [self._streams[r.stream.name].configured(r) for r in requests]
            catalog_file, state = folder.path / "catalog.json", state_file(records)
            write_private(catalog_file, json.dumps({"streams": catalog}))
            arguments = [*self._arguments("read", folder), "--catalog", str(catalog_file)]
            if state is not None:
                write_private(folder.path / "state.json", state.decode())
                arguments += ["--state", str(folder.path / "state.json")]
            path = self._work_path(folder)
            with runner.program(command, arguments, path, requests) as program:
                return run.read(program)


class _Answer:
    """What a connector answered to a question: its status, or its catalog."""

    status: dict[str, Any] | None = None  # Any: JSON
    catalog: dict[str, Any] | None = None  # Any: JSON


def _keep(folder: WorkFolder, values: dict[str, Any]) -> None:  # Any: JSON
    """Keep a configuration that the connector has changed, such as one with a new token."""
    folder.config.keep(values, folder.written)
