"""Runs the program of one source: one at a time, with its configuration in a private folder."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cdpsync_connectors._bridge.configs import ProgramConfig, require_packages
from cdpsync_connectors._bridge.private import private_folder, read_json, replace_private
from cdpsync_connectors._bridge.process import Program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cdpsync.connector import ReadRequest, SourcePlace
    from cdpsync_connectors._bridge.options import ProgramOptions
    from cdpsync_connectors._bridge.process import Ended

Command = tuple[tuple[str, ...], "Path | None"]
"""A program with its first arguments, and the folder of the programs beside it."""

_CATALOG_AGE = 24 * 3600.0  # seconds for which what was discovered is used again
_CONFIG_FILE = "config.json"


@dataclass(frozen=True, slots=True)
class WorkFolder:
    """The private folder of one run of a program, with its configuration."""

    path: Path
    config: ProgramConfig
    written: dict[str, Any]  # Any: JSON

    @property
    def config_file(self) -> str:
        """The path of the configuration."""
        return str(self.path / _CONFIG_FILE)


@dataclass(slots=True)
class Runner:
    """The program of one source. `place` are its folders, None: it keeps nothing between runs."""

    options: ProgramOptions
    place: SourcePlace | None
    _guard: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def _state(self) -> Path | None:
        return self.place.state if self.place else None

    def config(self) -> ProgramConfig:
        """Return the configuration. Raises ConfigError where packages are missing."""
        require_packages()
        state = self._state
        return ProgramConfig(self.options.config, state and state / _CONFIG_FILE)

    @contextmanager
    def work_folder(self) -> Iterator[WorkFolder]:
        """Make the folder of a run; keep what the program changes in its configuration.

        One run at a time, because two that get new tokens would void each other's.
        """
        config = self.config()
        state = self._state
        with self._guard, private_folder(state and state / "work") as path:
            file = path / _CONFIG_FILE
            folder = WorkFolder(path, config, config.write(file))
            try:
                yield folder
            finally:
                config.keep_changes(file, folder.written)

    def program(
        self,
        command: Command,
        arguments: Sequence[str],
        folder: Path,
        requests: Sequence[ReadRequest] = (),
    ) -> Program:
        """Return the program, to be started; it ends when one of the requests is to stop."""
        first, path = command
        return Program(
            [*first, *arguments],
            folder,
            self.options.silence,
            is_stopped=lambda: any(request.is_stopped() for request in requests),
            path=path,
        )

    def output(
        self, command: Command, arguments: Sequence[str], folder: Path
    ) -> tuple[bytes, Ended]:
        """Run the program; return all that it writes to stdout, and how it ended."""
        with self.program(command, arguments, folder) as program:
            text = b"\n".join(line for lines in program.lines() for line in lines)
            return text + program.rest, program.wait()

    def _catalog_file(self, command: Command, more: str) -> Path | None:
        """Return the file of what this configuration and this program have last discovered."""
        if self._state is None:
            return None
        parts = [self.config().digest, *command[0], more]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        return self._state / f"catalog-{digest}.json"

    def load_catalog(self, command: Command, more: str = "") -> dict[str, Any] | None:  # Any: JSON
        """Return what was discovered in the last day by this program; None: nothing."""
        file = self._catalog_file(command, more)
        document = read_json(file) if file else None
        if document is None or not 0 <= time.time() - document.get("at", 0) < _CATALOG_AGE:
            return None
        return document

    def save_catalog(self, document: dict[str, Any], command: Command, more: str = "") -> None:
        """Keep what was discovered, in the place of all before."""
        file = self._catalog_file(command, more)
        if file is None:
            return
        for older in file.parent.glob("catalog-*.json"):
            older.unlink(missing_ok=True)
        replace_private(file, json.dumps({"at": time.time(), **document}))
