"""Loads the files of a project and merges them into one `Config`."""

import os
from collections.abc import Mapping
from pathlib import Path

from cdpsync.config.build import (
    OptionsFor,
    build_source,
    build_warehouse,
    check_source_names,
    default_warehouse,
)
from cdpsync.config.destinations import build_destination
from cdpsync.config.document import read_document
from cdpsync.config.locate import project_files
from cdpsync.config.nodes import Entry, Section, filled
from cdpsync.config.problems import Problems, quoted, unknown_key
from cdpsync.config.secret_warnings import warn_of_readable_secrets
from cdpsync.config.secrets import hide_secrets
from cdpsync.config.validate import note_unfilled
from cdpsync.model import Config
from cdpsync.redact import remember_source

_ROOT_KEYS = ("warehouse", "sources", "destinations")


def load_config(
    path: Path | str | None = None,
    *,
    options_for: OptionsFor,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Return the project of a file, of a folder of files, or of the current folder or one above.

    `options_for` gives the options model of a source type and raises ConfigError for an unknown
    one. `environ` is the process's own if not given. Raises one ConfigError with a line for each
    problem of the project; `redact` knows its secrets by then.
    """
    files = project_files(path)
    problems = Problems()
    project = _Project(problems)
    for file in files:
        root = read_document(file, os.environ if environ is None else environ, problems)
        if root is not None:
            hide_secrets(root)
            warn_of_readable_secrets(file, root)
            project.add(root, file.absolute().parent)
    for name in project.sources:
        remember_source(name)
    check_source_names({name: entry for name, (entry, _) in project.sources.items()}, problems)
    sources = [
        build_source(name, entry, folder, options_for, problems)
        for name, (entry, folder) in project.sources.items()
    ]
    destinations = [
        build_destination(name, entry, folder, problems)
        for name, (entry, folder) in project.destinations.items()
    ]
    described = build_warehouse(*project.warehouse, problems) if project.warehouse else None
    problems.raise_if_any()
    return Config(
        warehouse=described or default_warehouse(files[0].absolute().parent, str(path or files[0])),
        sources={source.name: source for source in sources if source},
        files=tuple(file.absolute() for file in files),
        destinations={destination.name: destination for destination in destinations if destination},
    )


class _Project:
    """The sections of every file, each with the folder its relative paths start from."""

    def __init__(self, problems: Problems) -> None:
        self.warehouse: tuple[Entry, Path] | None = None
        self.sources: dict[str, tuple[Entry, Path]] = {}
        self.destinations: dict[str, tuple[Entry, Path]] = {}
        self._problems = problems

    def add(self, root: Section, folder: Path) -> None:
        """Add the sections of one file; note those that an earlier file has too."""
        for key, entry in root.entries.items():
            if key == "sources":
                self._add_sources(filled(entry), folder)
                continue
            if key == "destinations":
                self._add_destinations(filled(entry), folder)
                continue
            note_unfilled(entry.node, self._problems)
            if key == "warehouse":
                self._add_warehouse(entry, folder)
            else:
                self._problems.add(entry.place, unknown_key(key, _ROOT_KEYS))

    def _add_warehouse(self, entry: Entry, folder: Path) -> None:
        if self.warehouse is None:
            self.warehouse = entry, folder
        else:
            self._note_second("warehouse", entry, self.warehouse[0])

    def _add_sources(self, entry: Entry, folder: Path) -> None:
        if not isinstance(entry.node, Section):
            note_unfilled(entry.node, self._problems)
            self._problems.add(
                entry.place,
                '"sources" must be a mapping of names. Write sources: {shop: {type: …}}',
            )
            return
        for name, source in entry.node.entries.items():
            if name in self.sources:
                self._note_second(f"source {quoted(name)}", source, self.sources[name][0])
            else:
                self.sources[name] = source, folder
                note_unfilled(source.node, self._problems.of_source(name))

    def _add_destinations(self, entry: Entry, folder: Path) -> None:
        if not isinstance(entry.node, Section):
            note_unfilled(entry.node, self._problems)
            self._problems.add(
                entry.place,
                '"destinations" must be a mapping of names. Write destinations: {ops: {type: …}}',
            )
            return
        for name, destination in entry.node.entries.items():
            if name in self.destinations:
                first = self.destinations[name][0]
                self._note_second(f"destination {quoted(name)}", destination, first)
            else:
                self.destinations[name] = destination, folder

    def _note_second(self, subject: str, second: Entry, first: Entry) -> None:
        self._problems.add(
            second.place, f"{subject} is already described at {first.place}. Keep one of them"
        )
