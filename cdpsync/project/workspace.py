"""A project's workspace: its configuration, catalog, folders and connectors."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cdpsync import config as config_module
from cdpsync.catalog import CatalogFile
from cdpsync.connector import MemoryLimited, Placed, SourcePlace, registry
from cdpsync.connector.faults import unknown_error
from cdpsync.errors import ConfigError
from cdpsync.storage import Storage, open_storage
from cdpsync.storage.paths import folder_of
from cdpsync.system.memory import memory_budget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cdpsync.connector import Connector
    from cdpsync.model import (
        Config,
        Source,
        TableName,
    )


log = logging.getLogger("cdpsync.project")

CATALOG_PATIENCE = 60.0
"""Seconds to wait while another process has the catalog open."""


def load(path: Path | str | None = None) -> Config:
    """Read a project file or folder. Raises ConfigError that names each line to fix."""
    return config_module.load_config(path, options_for=registry.options_for)


def catalog_of(config: Config, storage: Storage | None = None) -> CatalogFile:
    """Return the catalog file of a project, over this storage if it is already open."""
    storage = storage or open_storage(config.warehouse)
    memory = memory_budget(config.warehouse.memory).lake
    return CatalogFile(
        config.warehouse.catalog, storage.root, CATALOG_PATIENCE, storage.prepare, memory
    )


def locks_folder(config: Config) -> Path:
    """Return the folder of a project's lock files."""
    return config.warehouse.catalog.parent / "locks"


def journal_folder(config: Config) -> Path:
    """Return the folder with an empty file for each run that has started and not ended well."""
    return config.warehouse.catalog.parent / "runs"


def verified_folder(config: Config, table: TableName | None = None) -> Path:
    """Return the folder of the row digests that `verify` caches for a table, or for all."""
    folder = config.warehouse.catalog.parent / "verified"
    return folder if table is None else folder / folder_of(table)


def place_of(config: Config, source: Source) -> SourcePlace:
    """Return the folders of a source, for files of its connector."""
    folder = config.warehouse.catalog.parent
    project = config.files[0].parent if config.files else folder
    return SourcePlace(source.name, project, folder / "sources" / source.name, folder / "shared")


@contextmanager
def open_connector(source: Source, config: Config) -> Iterator[Connector]:
    """Make the connector of a source of this project, and close it at the end."""
    connector = registry.create(source)
    if isinstance(connector, MemoryLimited):
        connector.memory_limit = memory_budget(config.warehouse.memory).reading
    if isinstance(connector, Placed):
        connector.place = place_of(config, source)
    try:
        yield connector
    finally:
        try:
            connector.close()
        except Exception as error:  # noqa: BLE001 - the work is done, and must not be lost by this
            log.warning("%s", unknown_error(f"{source.name}: close", error, connector).message)


def source_of(config: Config, name: str) -> Source:
    """Return a source by name. Raises ConfigError that lists the valid ones."""
    if name not in config.sources:
        names = ", ".join(config.sources) or "none"
        raise ConfigError(f'unknown source "{name}". This project has: {names}.')
    return config.sources[name]
