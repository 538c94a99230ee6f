"""A project as its commands see it: what is configured, known, remembered and asked."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from cdpsync import config as config_module
from cdpsync.catalog import CatalogFile
from cdpsync.connector import registry
from cdpsync.errors import ConfigError
from cdpsync.storage import Storage, open_storage
from cdpsync.storage.paths import folder_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cdpsync.connector import Connector
    from cdpsync.model import (
        Config,
        Source,
        TableName,
    )


CATALOG_PATIENCE = 60.0
"""Seconds to wait for another process that has the catalog open."""


def load(path: Path | str | None = None) -> Config:
    """Read a project file or folder. Raises ConfigError that names each line to mend."""
    return config_module.load_config(path, options_for=registry.options_for)


def catalog_of(config: Config, storage: Storage | None = None) -> CatalogFile:
    """Return the catalog file of a project, over this storage where it is open already."""
    storage = storage or open_storage(config.warehouse)
    return CatalogFile(config.warehouse.catalog, storage.root, CATALOG_PATIENCE, storage.prepare)


def locks_folder(config: Config) -> Path:
    """Return where the lock files of a project are."""
    return config.warehouse.catalog.parent / "locks"


def journal_folder(config: Config) -> Path:
    """Return where each run that has begun and not ended well has an empty file of its name."""
    return config.warehouse.catalog.parent / "runs"


def verified_folder(config: Config, table: TableName | None = None) -> Path:
    """Return where `verify` keeps what it knows of a table's rows, or of all."""
    folder = config.warehouse.catalog.parent / "verified"
    return folder if table is None else folder / folder_of(table)


@contextmanager
def open_connector(source: Source) -> Iterator[Connector]:
    """Make a source's connector, and let go of its connections at the end."""
    connector = registry.create(source)
    try:
        yield connector
    finally:
        connector.close()


def source_of(config: Config, name: str) -> Source:
    """Return a source by name. Raises ConfigError that lists the valid ones."""
    if name not in config.sources:
        known = ", ".join(config.sources) or "none"
        raise ConfigError(f'unknown source "{name}". This project has: {known}.')
    return config.sources[name]
