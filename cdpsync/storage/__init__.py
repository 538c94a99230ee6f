"""Where landed files live: a small Protocol, and who fulfils it: a folder, S3 and its kin, GCS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cdpsync.errors import ConfigError
from cdpsync.storage.folder import FolderStorage
from cdpsync.storage.options import BucketUrl, StorageOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import duckdb

    from cdpsync.model import Warehouse

__all__ = ["FolderStorage", "Storage", "open_storage"]


class Storage(Protocol):
    """A place for files that, once put, never change. Opening one asks no server anything."""

    @property
    def root(self) -> str:
        """The place as DuckDB names it, with a final slash."""

    def ping(self, *, filled: bool = False) -> None:
        """Ask for the place, before a run reads anything for it. Raises LandingError.

        Passes wherever a run may go well: what is not let shows when it is tried. `filled`: files
        are in it already, so that one that a run would make is missing.
        """

    def put(self, file: Path, name: str) -> str:
        """Store a local file under a new name, durably; return its address for DuckDB.

        Never overwrites, and leaves nothing behind when it fails. May be called from several
        threads. Raises LandingError.
        """

    def replace(self, file: Path, name: str) -> None:
        """Store a file under a name of ours, at once and in place of an older one."""

    def read(self, name: str) -> bytes:
        """Return what is stored under a name. Raises LandingError where nothing is."""

    def remove(self, name: str) -> None:
        """Remove a file that was put; one that is not there is not missed."""

    def abort_uploads(self, is_over: Callable[[str, datetime], bool], *, dry_run: bool) -> int:
        """Take back half uploads whose name and beginning tell that they are; return how many."""

    def check(self) -> None:
        """Write, read, list and remove a probe. Raises LandingError that says what is not let."""

    def prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        """Let this connection read and write the place, with credentials as fresh as there are."""

    def refresh(self, con: duckdb.DuckDBPyConnection) -> None:
        """Give a prepared connection new credentials where its own may expire. Asks no server."""

    def close(self) -> None:
        """Break off what is being put, and take back its parts."""


def open_storage(warehouse: Warehouse) -> Storage:
    """Return the storage of a warehouse. Raises ConfigError when its keys do not fit its kind."""
    if "://" not in warehouse.path:
        return FolderStorage(Path(warehouse.path))
    place = BucketUrl.of(warehouse.path)
    if any(sign in warehouse.path for sign in "*?["):
        raise ConfigError(f"{warehouse.location}: warehouse.path: *, ? and [ cannot be in it.")
    access = StorageOptions.of(warehouse.storage, warehouse.location)
    if place.scheme == "gs" and access.access_key_id is None:
        from cdpsync.storage.gcs import GcsStorage

        return GcsStorage(place, access)
    from cdpsync.storage.s3 import S3Storage
    from cdpsync.storage.s3_client import service_of

    return S3Storage(place, access, service_of(place, access))
